"""Scores and embeddings that another system made, as results like any other.

Such a system is known by its name alone: the model's record has ``format`` "scores" or
"embeddings", as ``sha256`` that of "external NAME", so that its files for several bins are one row,
and the file's own hash as ``input.file_sha256``. Settings and input are "unknown". Without a bin
the file is its own bin, and its figures stand in a column of their own; with one, they are paired
with those of every model on that bin. ``bin.unique_images`` is 0 where the images are not known.
"""

from __future__ import annotations

import hashlib
import time
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from evaluator.bins.verification_set import VerificationSet, distinct_images, read_bin
from evaluator.errors import InputError, plain_name
from evaluator.metrics.all_figures import figures, to_json
from evaluator.results.measured import Measured
from evaluator.results.record import BinRecord, ModelRecord, Result, Scores, Settings, versions
from evaluator.results.store import save_result
from evaluator.results.stored import UNKNOWN, file_sha256
from zoo.evaluate.external_files import ExternalPairs, read_embeddings, read_scores
from zoo.evaluate.request import Request
from zoo.terminal.words import warn

# How many unusable images or pairs a result names; the count is always whole.
_NAMED = 20


def external_result(
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
    verification_set = read_bin(request.bins[0]) if request.bins else None
    if scores is not None:
        path, pairs = scores, read_scores(scores)
    elif embeddings is not None:
        path, pairs = embeddings, read_embeddings(embeddings, verification_set)
    result = store_external(
        path,
        pairs,
        name=plain_name(name or path.stem),
        verification_set=verification_set,
        nan=request.nan,
        results=request.results,
    )
    if _looks_like_distances(result):
        warn(
            f"note: {path}: genuine pairs score lower than impostors; if these are distances, "
            "negate them: higher must be more alike"
        )
    return result


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
        sha256=own_sha256 if verification_set is None else verification_set.sha256,
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
    measured = Measured((name, sha256), (record.name, record.sha256), Settings(nan=nan))
    scores = Scores(pairs.scores, pairs.genuine, images) if usable else None
    return save_result(measured.path_in(results), result, scores)


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
