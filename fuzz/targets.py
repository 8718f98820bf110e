"""What is fuzzed: each reader as a function of one file's bytes, and what may come out of it.

A reader may accept a file or raise the error it declares, as one printable line. Anything else
(another exception, a warning, a message that could take over a terminal) is a finding. Where a
file is accepted, what was read is checked: a reader that lets damage through silently is as wrong
as one that falls over.
"""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluator.bins.containers import container_kind
from evaluator.bins.pairs_file import read_pairs_csv, write_sidecar
from evaluator.bins.verification_set import is_pickle, read_bin, read_stored, write_bin
from evaluator.errors import BinError, InputError, ModelError, ResultError
from evaluator.images.decode import MAX_PIXELS, DecodeError, decode_image
from evaluator.images.image_format import image_format
from evaluator.models.torch_weights.read import read_weights, weights_kind
from evaluator.results import bin_facts
from evaluator.results.record import to_dict
from evaluator.results.store import load_result, load_scores
from fuzz import model_files, seeds, stored_seeds, template_sets, torch_seeds
from training.data.sources.recordio import RecordError
from training.data.sources.records import image_labels, open_records, person_ranges, read_image
from training.recipes.parts import RecipeError
from zoo.bins.lists import read_pair_list
from zoo.entries.registry import read_registry
from zoo.entries.yaml_nodes import RegistryError

# A path's length and a file's own words, shortened; more is a file that floods the screen.
_LONGEST_MESSAGE = 1500


class FindingError(Exception):
    """A reader did what it must not; the message says what."""


@dataclass(frozen=True)
class Target:
    """One reader: the file's name, how it is read, what it may raise, and where fuzzing starts.

    ``build`` turns the fuzzer's bytes into the file's: it repairs checksums and containers, so that
    changes reach the reader behind them. ``tokens`` are strings of the format to be put in.
    ``weight`` is the target's share of the inputs of a run over all targets.
    """

    name: str
    file: str
    read: Callable[[Path], None]
    declared: tuple[type[InputError], ...]
    seeds: Callable[[], list[bytes]]
    tokens: tuple[bytes, ...]
    weight: int
    build: Callable[[bytes], bytes] = bytes
    prepare: Callable[[Path], None] | None = None


def execute(target: Target, folder: Path, data: bytes) -> bool:
    """Feeds one input to the target; True if the file was accepted, False for a declared error.

    The file stays in the folder, so that an input that ends the process can be found there.
    Raises FindingError, or whatever the reader wrongly raised.
    """
    path = folder / target.file
    path.write_bytes(target.build(data))
    try:
        target.read(path)
    except target.declared as error:
        check_message(str(error))
        return False
    return True


def check_message(message: str) -> None:
    """Raises FindingError unless the message is one line of printable text, and not a long one."""
    if not message or not message.isprintable():
        raise FindingError(f"a message that is no printable line: {message[:200]!r}")
    if len(message) > _LONGEST_MESSAGE:
        raise FindingError(f"a message of {len(message)} characters: {message[:200]!r}...")


def must(condition: bool, claim: str) -> None:
    """Raises FindingError unless the claim holds."""
    if not condition:
        raise FindingError(claim)


# ---- Bins ----------------------------------------------------------------------------------------


def _read_bin(path: Path) -> None:
    known = is_pickle(path) or container_kind(path) is not None
    stored = read_stored(path)
    must(known, "a bin that is not known by how it begins")
    must(len(stored.images) == 2 * len(stored.genuine) > 0, "images and labels do not fit")
    must(all(type(image) is bytes for image in stored.images), "an image is not bytes")
    found = read_bin(path)  # raises for the first of stored.faults
    must(not stored.faults, "read_bin let a fault through")
    copy = path.with_name("copy.bin")
    write_bin(copy, found.images, found.genuine)
    again = read_bin(copy)
    must(again.images == found.images, "images change when written and read")
    must(bool((again.genuine == found.genuine).all()), "labels change when written and read")


_NPY = b"\x93NUMPY"


def _npz_of(data: bytes) -> bytes:
    """A zip with right checksums around what lies between the NumPy signatures in the data."""
    names = ("face_zoo_bin", "data", "offsets", "slots", "genuine")
    members = [_NPY + part for part in data.split(_NPY)[1:]]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, member in zip(names, members, strict=False):
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member)
    return buffer.getvalue()


# ---- Images --------------------------------------------------------------------------------------


def _read_image(path: Path) -> None:
    data = path.read_bytes()
    pixels = decode_image(data)
    must(image_format(data) is not None, "pixels of no known format")
    must(pixels.size <= 3 * MAX_PIXELS, "an image above the limit")
    must(pixels.ndim == 3 and pixels.shape[2] == 3, "pixels of another shape")
    must(pixels.dtype == np.uint8, "pixels that are no bytes")


# ---- PyTorch weights -----------------------------------------------------------------------------


def _read_weights(path: Path) -> None:
    kind = weights_kind(path)
    arrays = read_weights(path)
    must(kind in ("zip", "legacy", "safetensors"), "weights of no known kind")
    size = path.stat().st_size
    must(all(type(name) is str for name in arrays), "a name that is no text")
    must(all(each.dtype.kind in "fiub" for each in arrays.values()), "numbers of another type")
    # Two bytes of bfloat16 become four; a pickle may have several tensors on one storage.
    must(sum(each.nbytes for each in arrays.values()) <= 4 * size + 8_000_000, "more than the file")
    for each in arrays.values():
        each.tobytes()  # every number is there


# ---- Records -------------------------------------------------------------------------------------


def _read_records(path: Path) -> None:
    records = open_records(path)
    labels = image_labels(records)
    read = [read_image(records, number).labels[0] for number in range(len(records))]
    must(labels.tolist() == read, "labels differ between the two ways of reading them")
    ranges = person_ranges(records)
    must(ranges.shape == (len(records.people), 2), "ranges that are no pairs")


def _read_index(path: Path) -> None:
    _read_records(path.with_suffix(".rec"))


def _read_property(path: Path) -> None:
    _read_records(path.with_name("train.rec"))


# ---- models.yaml ---------------------------------------------------------------------------------


def _read_registry(path: Path) -> None:
    for name, entry in read_registry(path).items():
        must(isinstance(name, str) and name == entry.name, "an entry under another name")
        must(entry.embedding_size is None or entry.embedding_size > 0, "no embedding size")
        must(entry.recipe is None or len(entry.recipe.stages) > 0, "a recipe without stages")
        for figure in entry.published.values():
            must(0 <= figure.accuracy <= 1, "a published accuracy outside 0..1")


# ---- Results -------------------------------------------------------------------------------------


def _read_result(path: Path) -> None:
    result = load_result(path)
    must(result.bin.pairs >= 0 and isinstance(result.model.name, str), "a result with wrong parts")
    # What save_result will do with it: a result that is read can be written.
    json.dumps(to_dict(result), allow_nan=False)


def _read_scores(path: Path) -> None:
    scores = load_scores(path.with_name("result.json"), stored_seeds.result(scores=path.name))
    must(scores.scores.shape == scores.genuine.shape, "scores and labels do not fit")
    must(scores.images.shape == (2 * len(scores.scores),), "images do not fit")
    must(scores.people is None or scores.people.shape == scores.images.shape, "people do not fit")
    must(scores.scores.dtype == np.float64, "scores that are no floats")


def _read_facts(path: Path) -> None:
    bin_facts._read.cache_clear()  # the same path may be written twice within the clock's tick
    record = dataclasses.replace(stored_seeds.result().bin, path="")
    people = bin_facts.known_people(path.parent, record, np.array([True, False, True]))
    must(people is not None and people.shape == (2 * record.pairs,), "people do not fit")


def _read_pairs(path: Path) -> None:
    pairs = read_pairs_csv(path)
    must(len(pairs) > 0, "no pairs")
    copy = path.with_name("copy.csv")
    write_sidecar(copy, pairs)
    named = all(pair.people for pair in pairs)
    for pair, again in zip(pairs, read_pairs_csv(copy), strict=True):
        must(dataclasses.replace(pair, people=again.people) == again, "a pair changes")
        must(not named or pair.people == again.people, "people change")


def _read_list(path: Path) -> None:
    listed = read_pair_list(path)
    must(listed.folds is None or len(listed.pairs) % listed.folds == 0, "folds of other sizes")
    must(len(listed.own_folds) in (0, len(listed.pairs)), "folds of other pairs")


TARGETS = {
    target.name: target
    for target in (
        Target(
            "pickle",
            "faces.bin",
            _read_bin,
            (BinError,),
            seeds.pickles,
            seeds.PICKLE_TOKENS,
            weight=34,
        ),
        Target("npz", "faces.npz", _read_bin, (BinError,), seeds.npz, seeds.NPZ_TOKENS, weight=8),
        Target(
            "npz-members",
            "faces.npz",
            _read_bin,
            (BinError,),
            seeds.npz_members,
            seeds.NPZ_TOKENS,
            weight=8,
            build=_npz_of,
        ),
        Target(
            "hdf5-bin",
            "faces.h5",
            _read_bin,
            (BinError,),
            seeds.hdf5_bins,
            seeds.HDF5_TOKENS,
            weight=6,
        ),
        Target("pairs", "faces.pairs.csv", _read_pairs, (BinError,), seeds.pairs, (), weight=4),
        Target(
            "ijb-lists",
            "lists",
            template_sets.read_ijb_lists,
            (BinError,),
            template_sets.ijb_lists,
            template_sets.IJB_TOKENS,
            weight=4,
        ),
        Target(
            "mat",
            "probe_img_ID_pairs.mat",
            template_sets.read_mat_file,
            (BinError,),
            template_sets.mat_files,
            template_sets.MAT_TOKENS,
            weight=4,
        ),
        Target("wrapped", "faces.npy", _read_bin, (BinError,), seeds.wrapped, (), weight=3),
        Target("lists", "pairs.txt", _read_list, (InputError,), seeds.lists, (), weight=3),
        Target("image", "face", _read_image, (DecodeError,), seeds.images, (), weight=8),
        Target(
            "torch",
            "weights.pth",
            _read_weights,
            (ModelError,),
            torch_seeds.files,
            torch_seeds.TOKENS,
            weight=8,
        ),
        Target(
            "torch-pickle",
            "weights.pth",
            _read_weights,
            (ModelError,),
            torch_seeds.pickles,
            torch_seeds.TOKENS,
            weight=12,
            build=torch_seeds.zip_around,
        ),
        Target(
            "openvino-xml",
            "model.xml",
            model_files.read_description,
            (ModelError,),
            model_files.descriptions,
            model_files.XML_TOKENS,
            weight=6,
        ),
        Target(
            "other-files",
            "model",
            model_files.read_other,
            (ModelError,),
            model_files.others,
            model_files.OTHER_TOKENS,
            weight=6,
        ),
        Target(
            "record",
            "train.rec",
            _read_records,
            (RecordError,),
            seeds.records,
            seeds.RECORD_TOKENS,
            weight=10,
        ),
        Target(
            "record-index",
            "train.idx",
            _read_index,
            (RecordError,),
            seeds.indexes,
            seeds.INDEX_TOKENS,
            weight=4,
            prepare=seeds.write_record,
        ),
        Target(
            "property",
            "property",
            _read_property,
            (RecordError,),
            seeds.properties,
            (),
            weight=1,
            prepare=seeds.write_record,
        ),
        Target(
            "models.yaml",
            "models.yaml",
            _read_registry,
            (RegistryError, RecipeError),
            seeds.registries,
            seeds.YAML_TOKENS,
            weight=5,
        ),
        Target(
            "result",
            "result.json",
            _read_result,
            (ResultError,),
            stored_seeds.results,
            seeds.JSON_TOKENS,
            weight=8,
        ),
        Target(
            "scores",
            stored_seeds.SCORES_NAME,
            _read_scores,
            (ResultError,),
            stored_seeds.scores,
            seeds.HDF5_TOKENS,
            weight=4,
        ),
        Target(
            "facts",
            f"bin-{stored_seeds.result().bin.sha256}.h5",
            _read_facts,
            (ResultError,),
            stored_seeds.facts,
            seeds.HDF5_TOKENS,
            weight=2,
        ),
    )
}
