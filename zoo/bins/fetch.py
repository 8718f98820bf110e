"""LFW and Olivetti as scikit-learn downloads and keeps them: their files, and pairs over them; and
bins that others made, as they are.
"""

from __future__ import annotations

import hashlib
import itertools
import sys
import tarfile
import urllib.error
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluator.bins.pairs_file import Pair
from evaluator.bins.verification_set import read_bin
from evaluator.errors import BinError, InputError
from evaluator.files import file_sha256, whole_path
from evaluator.images.png import png_bytes
from zoo.bins.build import Read, check_new, image_names
from zoo.bins.lists import read_pair_list
from zoo.bins.sampling import Sampling, sample_pairs
from zoo.entries.public_bins import PUBLIC, keep_origin, origin_path, pinned
from zoo.entries.transfer import answered
from zoo.terminal.words import note

_LFW_PAIRS = "pairs.txt"
_LFW_ARCHIVE = "lfw-funneled.tgz"
_LFW_FOLDER = "lfw_funneled"  # what the archive holds, and what scikit-learn unpacks it to
_OLIVETTI = "olivetti_py3.pkz"
_ABSENT = "they are not"

#: LFW's faces fill about this share of the funneled images' 250 pixels: the centre to take where
#: no face is found. scikit-learn's fetch_lfw_people cuts out 125 rows by its default slice_.
LFW_CROP = 0.6
# The largest public bins have some 80 MB.
_LARGEST_BIN = 1 << 30


@dataclass(frozen=True)
class Source:
    """A data set's pairs and folds, how to read its images by name, and where they are from."""

    pairs: list[Pair]
    folds: int
    read: Read
    origin: str


def data_home() -> Path:
    """scikit-learn's folder: ``$SCIKIT_LEARN_DATA``, else ``~/scikit_learn_data``. Made if absent.

    Raises OSError.
    """
    from sklearn.datasets import get_data_home

    return Path(get_data_home())


def olivetti(*, download: bool = True) -> Source:
    """All 400 Olivetti faces: 10 folds of 4 people, each with all 45 pairs of each of them.

    As many impostor pairs, drawn with seed 0 among the fold's people. Images are 64x64 gray PNGs
    of the 8-bit values that scikit-learn's floats stand for. Raises InputError where the faces are
    neither there nor to be downloaded.
    """
    from sklearn.datasets import fetch_olivetti_faces

    home = data_home()
    with _wanted(home, (_OLIVETTI,)):
        faces = fetch_olivetti_faces(download_if_missing=download)
    levels = np.rint(faces.images * 255).astype(np.uint8)
    images = {
        f"{person:02d}/{person:02d}_{number:04d}.png": png_bytes(level)
        for (person, number), level in zip(
            itertools.product(range(40), range(1, 11)), levels, strict=True
        )
    }
    people: dict[str, list[str]] = {}
    for name in images:
        people.setdefault(name.split("/")[0], []).append(name)
    sampling = Sampling(pairs_per_person=45)
    origin = f"{home / _OLIVETTI}, 40 people x 10 images, 64x64"
    return Source(sample_pairs(people, sampling), sampling.folds, images.__getitem__, origin)


def lfw(*, download: bool = True) -> Source:
    """LFW's official ten folds over the funneled images, whose JPEG bytes ``read`` gives.

    From scikit-learn's ``lfw_home``: ``pairs.txt``, and the images unpacked or still in their
    archive, which is read and not unpacked. Raises InputError naming the files where they are
    neither there nor to be downloaded, and for an archive without an image that a pair wants.
    """
    home = data_home() / "lfw_home"
    if not _lfw_is_there(home) and download:
        from sklearn.datasets import fetch_lfw_pairs

        # The public way to scikit-learn's download and its checksums; one pixel of each image.
        with _wanted(home, (_LFW_PAIRS, _LFW_ARCHIVE)):
            fetch_lfw_pairs(subset="10_folds", slice_=(slice(0, 1), slice(0, 1)), resize=None)
    if not _lfw_is_there(home):
        raise _not_there(home, (_LFW_PAIRS, _LFW_ARCHIVE), _ABSENT)
    listed = read_pair_list(home / _LFW_PAIRS)
    if listed.folds is None:
        raise InputError(f"{home / _LFW_PAIRS}: expected folds in its first line, as '10 300'")
    pairs = [Pair(f"{p.left}.jpg", f"{p.right}.jpg", p.genuine, p.people) for p in listed.pairs]
    names = image_names(pairs)
    folder, archive = home / _LFW_FOLDER, home / _LFW_ARCHIVE
    if folder.is_dir():
        return Source(pairs, listed.folds, lambda name: (folder / name).read_bytes(), str(folder))
    images = _from_archive(archive, names)
    return Source(pairs, listed.folds, images.__getitem__, str(archive))


def published_bin(name: str, source: str, out: Path, *, force: bool, timeout: float = 30.0) -> str:
    """Brings a bin that others made to ``out`` and returns a line on it; ``source`` is "public" or
    an address.

    What came the first time from an address is noted beside it, and no other bin is taken from
    there later: not without ``force``. Raises InputError, OSError.
    """
    url = source
    if source == "public":
        public = PUBLIC.get(name)
        if public is None or public.url is None:
            raise InputError(f"--from public: nobody is known to publish {name}.bin")
        url = public.url
    elif not source.startswith(("http://", "https://")):
        raise InputError(f"--from {source}: expected public, or an address that starts with http")
    pin = pinned(out, url)
    if not force and pin is not None and out.is_file() and file_sha256(out) == pin:
        return f"{out}: is there already\nsha256 {pin}"
    check_new(out, force=force)
    out.parent.mkdir(parents=True, exist_ok=True)
    note(f"from {url}")
    with whole_path(out) as part:
        digest = _downloaded(url, part, trusted=pin is not None, timeout=timeout)
        if pin not in (None, digest) and not force:
            raise InputError(
                f"{url}: what came has SHA-256 {digest}, and the first time it had {pin}, as "
                f"{origin_path(out)} says: nothing was replaced; --force takes the new one"
            )
        try:
            found = read_bin(part)
        except BinError as error:
            cause = str(error).removeprefix(f"{part}: ")
            raise InputError(f"{url}: what came is no bin, and was removed: {cause}") from None
    keep_origin(out, digest, url)
    if pin != digest:
        note(f"{origin_path(out)}: from now on, no other bin is taken from there without --force")
    genuine = int(found.genuine.sum())
    return f"{out}: {found.pairs:,} pairs ({genuine:,} genuine)\nsha256 {digest}"


def _downloaded(url: str, part: Path, *, trusted: bool, timeout: float) -> str:
    """Writes what is at an address to a file, and returns its SHA-256. Raises InputError."""
    digest, came = hashlib.sha256(), 0
    with (
        answered(url, start=0, tag=None, trusted=trusted, timeout=timeout) as answer,
        part.open("xb") as file,
    ):
        for block in answer.blocks():
            came += len(block)
            if came > _LARGEST_BIN:
                raise InputError(f"{url}: sends more than the {_LARGEST_BIN:,} bytes of any bin")
            file.write(block)
            digest.update(block)
    return digest.hexdigest()


def _lfw_is_there(home: Path) -> bool:
    images = (home / _LFW_FOLDER).is_dir() or (home / _LFW_ARCHIVE).is_file()
    return images and (home / _LFW_PAIRS).is_file()


def _from_archive(archive: Path, names: Sequence[str]) -> dict[str, bytes]:
    wanted = {f"{_LFW_FOLDER}/{name}": name for name in names}
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(archive, "r|gz") as tar:
            for member in tar:
                name = wanted.get(member.name.removeprefix("./"))
                content = tar.extractfile(member) if name and member.isfile() else None
                if name and content:
                    found[name] = content.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise InputError(f"{archive}: is no whole archive ({error}); get it again") from None
    missing = [name for name in names if name not in found]
    if missing:
        raise InputError(
            f"{archive}: {len(missing)} of {len(names)} images are not in it, the first"
            f" {_LFW_FOLDER}/{missing[0]}; get it again"
        )
    return found


@contextmanager
def _wanted(home: Path, files: Sequence[str]) -> Iterator[None]:
    """Turns a download that fails into the files that are wanted."""
    try:
        # scikit-learn says on stdout that it downloads, and warns of each attempt that fails.
        with warnings.catch_warnings(), redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise _not_there(
            home, files, f"the download failed ({getattr(error, 'reason', error)})"
        ) from None
    except OSError as error:
        if error.errno is not None:  # the system's own, as a full disk
            raise
        raise _not_there(home, files, _ABSENT) from None


def _not_there(home: Path, files: Sequence[str], why: str) -> InputError:
    return InputError(
        f"{home}: wants {' and '.join(files)} there, as scikit-learn names them, and {why}; put"
        " them there, or point SCIKIT_LEARN_DATA to a folder that has them"
    )
