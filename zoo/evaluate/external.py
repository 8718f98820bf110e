"""`zoo eval --scores` and `--embeddings`: files of another system, stored as its results.

With a bin, its figures are paired with those of every model on it; without, with those of every
system that was scored on the same pairs, by their names if the file has them, and labels. Images of
a template set are known by their names.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.bins.pairs_file import slot_people
from evaluator.bins.stored_images import distinct_of, slot_digests
from evaluator.bins.verification_set import VerificationSet, read_bin
from evaluator.errors import InputError, cause_of, plain_name
from evaluator.npz import NpzError, array_names, mapped_array, opened_npz, read_array
from evaluator.results.external import ExternalPairs, external_result, listed
from evaluator.results.measured import Measured
from evaluator.results.record import BinRecord, Result, Scores, Settings
from evaluator.results.set_result import external_set_result, set_scores
from evaluator.results.store import save_result
from evaluator.results.stored import UNKNOWN, file_sha256, read_folder
from evaluator.templates.evaluation import Embedded, evaluate_set
from evaluator.templates.layouts import read_template_set
from evaluator.templates.pooling import Embeddings
from evaluator.templates.template_set import TemplateSet
from zoo.evaluate.external_files import names_in, read_embeddings, read_scores
from zoo.evaluate.request import Request
from zoo.terminal.words import note, warn

# Whether the pairs have names -> what that means for other files of the list.
_ROWS = {
    True: "",
    False: "; two systems are compared row by row, so their files must have one order, unless "
    "columns left and right name the pairs",
}


def stored_external(
    request: Request, *, scores: Path | None, embeddings: Path | None, name: str | None
) -> Result:
    """Another system's scores or embeddings, stored as the request says, which has no models.

    Raises InputError for more than one file, and for what only models have, or OSError.
    """
    if request.models:
        raise InputError("--scores and --embeddings stand for a model; give no MODEL beside them")
    if scores is not None and embeddings is not None:
        raise InputError("give --scores or --embeddings, not both")
    if len(request.bins) > 1:
        raise InputError(f"one file is of one bin; --bins names {len(request.bins)}")
    given = (request.profile, request.channels, request.settings)
    if given != (None, None, Settings(nan=request.nan)):
        raise InputError(
            "--flip, --input, --channels, --decoder, --precision and --engine are for models; "
            "--scores and --embeddings come from elsewhere"
        )
    if embeddings is not None and _is_of_set(embeddings, request):
        return store_set_embeddings(embeddings, request, name=plain_name(name or embeddings.stem))
    if request.bins and request.bins[0].is_dir():
        raise InputError(
            f"--bins {request.bins[0]}: a template set takes --embeddings with arrays names (n,) "
            "and embeddings (n, d)"
        )
    verification_set = read_bin(request.bins[0]) if request.bins else None
    if scores is not None:
        path, pairs = scores, read_scores(scores)
    elif embeddings is not None:
        path, pairs = embeddings, read_embeddings(embeddings, verification_set)
    named = bool(pairs.pair_list)
    result = store_external(
        path,
        pairs,
        name=plain_name(name or path.stem),
        verification_set=verification_set,
        nan=request.nan,
        results=request.results,
    )
    if result.bin.folds is not None and (result.figures or {}).get("kfold") is not None:
        note(f"note: {path}: ten folds {result.bin.folds}, whatever their order{_ROWS[named]}")
    if _looks_like_distances(result):
        warn(
            f"note: {path}: genuine pairs score lower than impostors; if these are distances, "
            "negate them: higher must be more alike"
        )
    return result


def _is_of_set(embeddings: Path, request: Request) -> bool:
    """Whether embeddings are of a template set. Raises InputError where none is named."""
    if not is_of_set(embeddings):
        return False
    if not request.bins or not request.bins[0].is_dir():
        raise InputError(
            f"{embeddings}: has names, so it is of a template set; name that by --bins FOLDER"
        )
    return True


def store_external(
    path: Path,
    pairs: ExternalPairs,
    *,
    name: str,
    verification_set: VerificationSet | None,
    nan: str,
    results: Path,
) -> Result:
    """Stores the pairs as the result of a model of that name, replacing an earlier one.

    With a bin, the pairs must be its own: as many, with its labels. ``nan`` "drop" leaves pairs
    without a score out, "miss" counts them as missed; "fail" stores a result without figures.
    Raises InputError, or OSError.
    """
    if verification_set is not None:
        _check_pairs_are(path, pairs, verification_set)
        distinct, slots = distinct_of(verification_set)
        pairs = replace(pairs, images=slots.astype(np.int64))
        bin = verification_set.name, str(verification_set.path), verification_set.sha256
        people, digests = slot_people(verification_set), slot_digests(distinct, slots)
    else:
        pairs, digests = listed(pairs), None
        bin, people = (plain_name(path.stem), str(path), pairs.sha256), pairs.people
    pairs = pairs.taken(nan)
    result, block, measured = external_result(
        pairs, name=name, bin=bin, nan=nan, path=str(path), file_sha256=file_sha256(path)
    )
    where = measured.path_in(results)
    if verification_set is None and not pairs.pair_list:
        _check_is_no_other_list(path, where, result.bin)
    scores = None
    if block is not None:
        # Unknown images count as all different: no more is claimed than that pairs are independent.
        images = np.arange(2 * len(pairs.genuine)) if pairs.images is None else pairs.images
        folds = None if pairs.folds is None else pairs.folds.numbers
        scores = Scores(pairs.scores, pairs.genuine, images, people, folds, digests)
    return save_result(where, result, scores)


def _check_is_no_other_list(path: Path, where: Path, record: BinRecord) -> None:
    """Raises InputError where the system has scores of pairs with equal labels by another name.

    LFW's, AgeDB's and CALFW's 6,000 labels are the same: these may be other pairs.
    """
    for each in read_folder(where.parent).results if where.parent.is_dir() else ():
        known = each.result.bin
        if known.sha256 == record.sha256 and known.name != record.name:
            raise InputError(
                f"{path}: there are scores of pairs with the same labels already, {known.name}; if "
                "these are other pairs, name them in columns left and right, or by --bins; if "
                f"not, remove {each.path}"
            )


def _looks_like_distances(result: Result) -> bool:
    """Whether genuine pairs score below impostors, as distances do."""
    area = None if result.figures is None else result.figures["auc"]
    return area is not None and area < 0.5


def _check_pairs_are(path: Path, pairs: ExternalPairs, verification_set: VerificationSet) -> None:
    expected, found = verification_set.pairs, len(pairs.genuine)
    if expected != found:
        raise InputError(
            f"{path}: {found:,} pairs, but {verification_set.path} has {expected:,}; give one "
            f"score for each pair of the bin, in its order"
        )
    differing = np.flatnonzero(pairs.genuine != verification_set.genuine)
    if len(differing):
        first = int(differing[0])
        words = ("impostor", "genuine")
        raise InputError(
            f"{path}: pair {first} is {words[int(pairs.genuine[first])]}, but "
            f"{words[int(verification_set.genuine[first])]} in {verification_set.path} "
            f"({len(differing):,} pairs differ); the pairs must be in the bin's order"
        )


# ---- Template sets -------------------------------------------------------------------------------


NAMES, EMBEDDINGS, MIRRORED = "names", "embeddings", "mirrored"


def is_of_set(path: Path) -> bool:
    """Whether a file of embeddings names its images. Raises InputError for a file that is none."""
    return NAMES in names_in(path)


def store_set_embeddings(path: Path, request: Request, *, name: str) -> Result:
    """Stores what embeddings made elsewhere give on the one template set of a request.

    Rows stand in any order, and belong to images by name. Raises InputError, BinError for an image
    of the set that no row is of; OSError.
    """
    names, embeddings, mirrored = _read(path)
    held = _set_of(request.bins[0], names)
    ordered, rows = _in_order_of(held, names)
    if rows is not None:
        embeddings = embeddings[rows]
        mirrored = None if mirrored is None else mirrored[rows]
    settings = replace(request.settings_on(held), flip=UNKNOWN, decoder=UNKNOWN, precision=UNKNOWN)
    measurement = evaluate_set(
        ordered,
        Embedded(embeddings, len(ordered.images), 0),
        mirrored=mirrored,
        norm="unit" if request.norm == "unit" else "raw",
        detector_score=settings.detector_score == "yes",
        nan=request.nan,
        sizes=request.gallery_sizes,
    )
    result = external_set_result(
        measurement, name=name, path=str(path), file_sha256=file_sha256(path), settings=settings
    )
    usual = replace(settings, flip=Settings().flip, decoder=Settings().decoder, precision="float32")
    where = Measured((name, result.model.sha256), (held.name, held.sha256), usual)
    return save_result(where.path_in(request.results), result, set_scores(measurement))


def _set_of(path: Path, names: tuple[str, ...]) -> TemplateSet:
    """The set whose images somebody has embedded: with these where they are all here, too, so that
    it is the same set as that on which models are evaluated.
    """
    held = read_template_set(path, embeddings_names=names)
    folder = held.folder
    if folder is None or not all((folder / each).is_file() for each in held.images):
        return held
    return read_template_set(path)


def _read(path: Path) -> tuple[tuple[str, ...], Embeddings, Embeddings | None]:
    """The names of images, embeddings (n, d), and those of mirrored images."""
    try:
        with opened_npz(path) as archive:
            there = array_names(archive)
            for needed in (NAMES, EMBEDDINGS):
                if needed not in there:
                    found = plain_name(", ".join(there))[:200]
                    raise InputError(f"{path}: expected an array named {needed}; found {found}")
            names = _names(path, read_array(archive, NAMES))
            embeddings = _floats(path, EMBEDDINGS, mapped_array(path, archive, EMBEDDINGS))
            mirrored = None
            if MIRRORED in there:
                mirrored = _floats(path, MIRRORED, mapped_array(path, archive, MIRRORED))
    except (NpzError, KeyError) as error:
        raise InputError(f"{path}: cannot be read: {cause_of(error)}") from None
    if len(embeddings) != len(names):
        raise InputError(
            f"{path}: {len(names):,} names and {len(embeddings):,} embeddings; expected one a name"
        )
    if mirrored is not None and mirrored.shape != embeddings.shape:
        raise InputError(
            f"{path}: {MIRRORED} has shape {mirrored.shape}, {EMBEDDINGS} {embeddings.shape}; "
            "expected the same"
        )
    return names, embeddings, mirrored


def _names(path: Path, array: NDArray[np.generic]) -> tuple[str, ...]:
    if array.ndim != 1 or array.dtype.kind not in "US":
        raise InputError(
            f"{path}: {NAMES} must be texts of shape (n,), the images' names in the set's files; "
            f"found {array.dtype} of shape {array.shape}"
        )
    try:
        found = tuple(
            each.decode() if isinstance(each, bytes) else str(each) for each in array.tolist()
        )
    except UnicodeDecodeError:
        raise InputError(f"{path}: {NAMES} is no text in UTF-8") from None
    if len(set(found)) < len(found):
        twice = Counter(found).most_common(1)[0][0]
        raise InputError(f"{path}: {plain_name(twice)} is named twice in {NAMES}")
    return found


def _floats(path: Path, name: str, array: NDArray[np.generic]) -> Embeddings:
    if array.dtype.kind != "f" or array.ndim != 2 or not array.shape[1]:
        raise InputError(
            f"{path}: {name} must be floats of shape (n, d), a row a name; "
            f"found {array.dtype} of shape {array.shape}"
        )
    floats: Embeddings = array  # type: ignore[assignment]
    return floats


def _in_order_of(
    held: TemplateSet, names: tuple[str, ...]
) -> tuple[TemplateSet, NDArray[np.intp] | None]:
    """The set with its images in the order of a file's rows, and which rows, where it has more.

    So that embeddings which fill half of the memory are not copied.
    """
    place = {name: i for i, name in enumerate(held.images)}
    of_rows = np.array([place.get(name, -1) for name in names], np.intp)
    rows = np.flatnonzero(of_rows >= 0)
    order = of_rows[rows]
    ordered = replace(
        held,
        images=tuple(held.images[i] for i in order.tolist()),
        template=held.template[order],
        media=held.media[order],
        detector_scores=None if held.detector_scores is None else held.detector_scores[order],
        points=None if held.points is None else held.points[order],
    )
    return ordered, None if len(rows) == len(names) else rows
