"""`zoo eval --scores` and `--embeddings`: files of another system, stored as its results.

With a bin, its figures are paired with those of every model on it; without, with those of every
system that was scored on the same pairs, by their names if the file has them, and labels.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from evaluator.bins.pairs_file import slot_people
from evaluator.bins.stored_images import distinct_of, slot_digests
from evaluator.bins.verification_set import VerificationSet, read_bin
from evaluator.errors import InputError, plain_name
from evaluator.results.external import ExternalPairs, external_result, listed
from evaluator.results.record import BinRecord, Result, Scores, Settings
from evaluator.results.store import save_result
from evaluator.results.stored import file_sha256, read_folder
from zoo.evaluate.external_files import read_embeddings, read_scores
from zoo.evaluate.external_set import is_of_set, store_set_embeddings
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
