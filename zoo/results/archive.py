"""Results in one file to hand in: packed, and taken in as what a stranger may have made."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PureWindowsPath
from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from evaluator.errors import InputError, ResultError, cause_of, plain_name
from evaluator.files import open_regular, whole_path
from evaluator.results.bin_facts import facts_path
from evaluator.results.measured import is_place_of
from evaluator.results.recomputed import recomputed, unlike
from evaluator.results.record import Result, Scores, reading_problem, versions
from evaluator.results.store import load_scores, save_result
from evaluator.results.stored import Stored, read_store
from zoo.results.housekeeping import Merged, measured_at

MANIFEST = "manifest.json"
#: What an archive begins with.
BEGINS = b"PK\x03\x04"
# Of JSON and packed HDF5, an honest archive unfolds to some five times its size.
_MOST_TIMES, _ROOM = 100, 1 << 20
MOST_FILES = 20_000
_LARGEST_MANIFEST = 10 << 20
_SPARE = 64 << 20
_PART = r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]{0,250}"
# A folder a model with results and their scores; facts of bins and of sets beside them.
_NAME = re.compile(rf"{_PART}/{_PART}\.(?:json|h5)|(?:bin|set)-[0-9a-f]{{64}}\.h5")


class _File(msgspec.Struct, forbid_unknown_fields=True):
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    bytes: Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class _Manifest(msgspec.Struct, forbid_unknown_fields=True):
    """What an archive says of itself: the version of zoo that made it, and each of its files."""

    schema: Literal[1]
    zoo: Annotated[str, msgspec.Meta(max_length=100)]
    files: dict[str, _File]


# ---- Packed --------------------------------------------------------------------------------------


def pack(stored: Sequence[Stored], output: Path) -> tuple[int, list[str]]:
    """Writes results with their scores to a zip, whole or not at all; how many, and a line for each
    that is not fit to be handed in: it is outdated, its scores are gone, or its figures are others.

    No image, no embedding and no path is in it, and of names those of models and bins alone; of
    people, images and templates it has numbers. Raises InputError where none is fit, OSError.
    """
    failed: list[str] = []
    count = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each in stored:
            try:
                if problem := reading_problem(each.result):
                    raise ResultError(f"{each.path}: {problem}")
                result, scores = _derived(each)
                save_result(folder / each.path.parent.name / each.path.name, _bare(result), scores)
                count += 1
            except ResultError as error:
                failed.append(str(error))
        if not count:
            raise InputError(f"nothing to pack: {failed[0] if failed else 'no results are stored'}")
        paths = [path for path in folder.rglob("*") if path.is_file()]
        files = {path.relative_to(folder).as_posix(): path for path in paths}
        with whole_path(output) as part, zipfile.ZipFile(part, "x") as archive:
            hashes = {}
            for name, path in sorted(files.items()):
                data = path.read_bytes()
                hashes[name] = _File(hashlib.sha256(data).hexdigest(), len(data))
                _write(archive, name, data)
            manifest = _Manifest(1, versions()["zoo"], hashes)
            _write(archive, MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
    return count, failed


def _bare(result: Result) -> Result:
    """The result without paths, and without names of images, which may be those of people."""
    model = replace(result.model, path=PureWindowsPath(result.model.path).name)
    bin = replace(result.bin, path=PureWindowsPath(result.bin.path).name)
    lost = {key: value for key, value in result.non_finite.items() if key != "names"}
    return replace(result, model=model, bin=bin, non_finite=lost)


def _derived(each: Stored) -> tuple[Result, Scores | None]:
    """A result with its figures computed anew from its scores, and these. Raises ResultError where
    they are others than it has.
    """
    if each.result.figures is None:
        return each.result, None
    scores = load_scores(each.path, each.result)
    found = recomputed(each.result, scores)
    if why := unlike(each.result.figures, found):
        raise ResultError(f"{each.path}: {why}")
    return replace(each.result, figures=found), scores


def _write(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name)  # of 1980, whenever it is written
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, data)


# ---- Taken in ------------------------------------------------------------------------------------


def unpack(path: Path, target: Path) -> Merged:
    """Takes the results of an archive into a folder of results; what is there already stays.

    Nothing is written before all of it is found to be right: hashes, files, and every figure, which
    is computed anew from its scores. Raises InputError naming file and figure, OSError.
    """
    with _unfolded(path) as folder:
        added = kept = 0
        for each in _checked(path, folder, target):
            result, at = each.result, target / each.path.relative_to(folder)
            if measured_at(at) is not None:
                kept += 1
                continue
            scores = load_scores(each.path, result) if result.scores else None
            if scores is not None and facts_path(target, result.bin.sha256).is_file():
                # Who and what is on a bin that is known here, strangers do not change.
                scores = replace(scores, people=None, digests=None)
            save_result(at, result, scores)
            added += 1
    return Merged(added, 0, kept, ())


@contextmanager
def _unfolded(path: Path) -> Iterator[Path]:
    """A folder with the files of an archive, each as its manifest has it. Raises InputError."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            with (
                os.fdopen(open_regular(path), "rb") as file,
                zipfile.ZipFile(file) as archive,
            ):
                files = _members(path, archive)
                manifest = _manifest(path, archive)
                if missing := sorted(files.keys() ^ manifest.keys()):
                    where = "its manifest" if missing[0] in files else "the archive"
                    raise InputError(f"{path}: {cause_of(missing[0])} is not in {where}")
                for name, info in files.items():
                    _extract(path, archive, info, manifest[name], folder / name)
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
            raise InputError(f"{path}: no whole archive of results ({cause_of(error)})") from None
        yield folder


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The files in an archive by their names, without the manifest; nothing is unpacked yet.

    Raises InputError for what none that was packed here has.
    """
    found: dict[str, zipfile.ZipInfo] = {}
    infos = archive.infolist()
    if len(infos) > MOST_FILES:
        raise InputError(f"{path}: {len(infos):,} files, and {MOST_FILES:,} are the most")
    for info in infos:
        name, mode = info.filename, info.external_attr >> 16
        why = ""
        if name.lower() in found:
            why = "stands twice"
        elif name != MANIFEST and _NAME.fullmatch(name) is None:
            why = "is no name of a result's file"
        elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            why = "is no plain file"
        elif info.flag_bits & 1 or info.compress_type not in (
            zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED,
        ):  # fmt: skip
            why = "is packed as zoo packs none"
        if why:
            raise InputError(f"{path}: {plain_name(name[:200])} {why}; nothing was taken")
        found[name.lower()] = info
    size, most = sum(info.file_size for info in infos), path.stat().st_size * _MOST_TIMES + _ROOM
    if size > most:
        raise InputError(
            f"{path}: unfolds to {size:,} bytes, and {most:,} are the most of its size"
        )
    free = shutil.disk_usage(tempfile.gettempdir()).free - _SPARE
    if size > free:
        raise InputError(f"{path}: unfolds to {size:,} bytes, and {free:,} are free")
    if MANIFEST not in found:
        raise InputError(f"{path}: no archive of results: there is no {MANIFEST} in it")
    return {info.filename: info for info in infos if info.filename != MANIFEST}


def _manifest(path: Path, archive: zipfile.ZipFile) -> Mapping[str, _File]:
    info = archive.getinfo(MANIFEST)
    if info.file_size > _LARGEST_MANIFEST:
        raise InputError(f"{path}: {MANIFEST} has {info.file_size:,} bytes")
    try:
        return msgspec.json.decode(archive.read(info), type=_Manifest).files
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: {MANIFEST} is none of ours ({cause_of(error)})") from None


def _extract(
    path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, said: _File, target: Path
) -> None:
    """Writes one file out of an archive. Raises InputError where the manifest says otherwise."""
    digest, size = hashlib.sha256(), 0
    target.parent.mkdir(exist_ok=True)
    with archive.open(info) as packed, target.open("xb") as file:
        while block := packed.read(1 << 20):
            size += len(block)
            digest.update(block)
            file.write(block)
    if (size, digest.hexdigest()) != (said.bytes, said.sha256):
        raise InputError(
            f"{path}: {info.filename} has another SHA-256 than {MANIFEST} says: it was changed, or "
            "damaged on the way; nothing was taken"
        )


def _checked(path: Path, folder: Path, target: Path) -> list[Stored]:
    """The results in a folder that an archive was unfolded to, with figures computed here.

    Raises InputError, its paths those in the archive.
    """
    labels = _Labels(target)
    found = []
    try:
        store = read_store(folder)
        if store.damaged:
            raise ResultError(store.damaged[0])
        for each in (*store.results, *store.outdated):
            if not is_place_of(each.path, each.result):
                raise ResultError(f"{each.path}: is not where a result of its model and bin stands")
            # Without paths: what lies at one that a stranger names is not looked at.
            result, scores = _derived(replace(each, result=_bare(each.result)))
            if scores is not None and not labels.are(result, scores):
                raise ResultError(
                    f"{each.path}: its labels are not those of the other results on "
                    f"{result.bin.name} ({result.bin.sha256[:8]})"
                )
            found.append(Stored(each.path, result))
    except InputError as error:
        said = str(error).replace(f"{folder}/", "").replace(f"{folder}\\", "")
        raise InputError(f"{path}: {said}; nothing was taken") from None
    if not found:
        raise InputError(f"{path}: there are no results in it")
    return found


class _Labels:
    """Which pairs of a bin are genuine: as the results of a folder have it, or the first seen."""

    def __init__(self, folder: Path) -> None:
        """Those of a folder of results, each bin's read when it is asked after."""
        self._stored = {
            each.result.bin.sha256: each
            for each in read_store(folder).results
            if each.result.scores is not None
        }
        self._known: dict[str, NDArray[np.bool_]] = {}

    def are(self, result: Result, scores: Scores) -> bool:
        """Whether scores have the labels of their bin; of one not seen before they are its own."""
        sha256 = result.bin.sha256
        if sha256 not in self._known:
            own = self._stored.get(sha256)
            known = scores if own is None else load_scores(own.path, own.result)
            self._known[sha256] = known.genuine
        return np.array_equal(self._known[sha256], scores.genuine)
