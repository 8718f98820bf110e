"""Scores and embeddings that another system made, as results like any other.

Such a system is known by its name alone: the model's record has ``format`` "scores" or
"embeddings", as ``sha256`` that of "external NAME", so that its files for several bins are one row,
and the file's own hash as ``input.file_sha256``. Settings and input are "unknown". With a bin, its
figures are paired with those of every model on it; without, with those of every system that was
scored on the same pairs, by their names if the file has them, and labels: that list is the bin.
``bin.unique_images`` is 0 where the images are not known.
"""

from __future__ import annotations

import hashlib
import time
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from evaluator.bins.pairs_file import slot_people
from evaluator.bins.verification_set import VerificationSet, distinct_images
from evaluator.errors import InputError, plain_name
from evaluator.metrics.all_figures import figures, to_json
from evaluator.results.record import BinRecord, ModelRecord, Result, Scores, Settings, versions
from evaluator.results.store import result_path, save_result
from evaluator.results.stored import UNKNOWN, file_sha256, read_folder
from zoo.evaluate.external_files import ExternalPairs

# How many unusable images or pairs a result names; the count is always whole.
_NAMED = 20


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
    without a score out; "fail" stores a result without figures. Raises InputError, or OSError.
    """
    start = time.perf_counter()
    known = pairs.images
    if verification_set is not None:
        _check_pairs_are(path, pairs, verification_set)
        known = distinct_images(verification_set.images)[1].astype(np.int64)
    # Unknown images count as all different, which claims no more than that pairs are independent.
    images = np.arange(2 * len(pairs.genuine)) if known is None else known
    people = pairs.people if verification_set is None else slot_people(verification_set)
    scored = np.isfinite(pairs.scores)
    usable = nan == "drop" or bool(scored.all())
    own_sha256 = file_sha256(path)
    sha256 = hashlib.sha256(f"external {name}".encode()).hexdigest()
    model = ModelRecord(
        name=name,
        path=str(path),
        sha256=sha256,
        format=pairs.format,
        embedding_size=pairs.embedding_size,
        input={
            "size": [],
            "range": UNKNOWN,
            "channels": UNKNOWN,
            "layout": UNKNOWN,
            "file_sha256": own_sha256,
        },
    )
    record = BinRecord(
        name=plain_name(path.stem) if verification_set is None else verification_set.name,
        path=str(path if verification_set is None else verification_set.path),
        sha256=pairs.sha256 if verification_set is None else verification_set.sha256,
        pairs=len(pairs.genuine),
        genuine=int(pairs.genuine.sum()),
        impostor=int((~pairs.genuine).sum()),
        images=len(images),
        unique_images=0 if known is None else int(known.max()) + 1,
    )
    block = figures(pairs.scores[scored], pairs.genuine[scored]) if usable else None
    result = Result(
        status="non_finite" if block is None else "ok",
        model=model,
        bin=record,
        settings=Settings(flip=UNKNOWN, decoder=UNKNOWN, precision=UNKNOWN, nan=nan),
        figures=None if block is None else to_json(block),
        non_finite={
            "count": len(pairs.unusable),
            "images": pairs.unusable[:_NAMED].tolist(),
            "dropped_pairs": int((~scored).sum()) if usable else 0,
        },
        cost={"seconds": round(time.perf_counter() - start, 4), "images_per_second": 0.0},
        versions=versions(),
        created=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
    )
    where = result_path(
        results,
        model=(name, sha256),
        bin=(record.name, record.sha256),
        settings=Settings(nan=nan),
        profile="unit",
        channels="rgb",
    )
    if verification_set is None and not pairs.pair_list:
        _check_is_no_other_list(path, where, record)
    return save_result(
        where, result, Scores(pairs.scores, pairs.genuine, images, people) if usable else None
    )


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


def looks_like_distances(result: Result) -> bool:
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
