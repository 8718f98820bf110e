"""Scores and embeddings that another system made, as results like any other.

Such a system is known by its name alone: the model's record has ``format`` "scores" or
"embeddings", as ``sha256`` that of "external NAME", so that what it made on several bins is one
row. Settings and input are "unknown". ``bin.unique_images`` is 0 where the images are not known.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evaluator.bins.pairs_file import Pair, numbered_people
from evaluator.measure.embed import pair_scores, score_of_failed, unusable_rows
from evaluator.metrics.all_figures import Figures, scored_figures, to_json
from evaluator.metrics.folds import RuledFolds, folds_by_rule
from evaluator.results.measured import Measured
from evaluator.results.record import (
    BinRecord,
    ModelRecord,
    Result,
    Settings,
    failures,
    list_sha256,
    result_of,
)
from evaluator.results.stored import UNKNOWN


@dataclass(frozen=True, eq=False)
class ExternalPairs:
    """Pairs scored elsewhere: ``scores`` (pairs,) float64, NaN where there is none, -inf once it is
    ``taken`` as missed; ``genuine`` (pairs,) bool; ``images`` (2 x pairs,) numbers equal images, or
    is None where nobody knows them; ``unusable`` lists the slots that leave their pair without a
    score; of a pair that came without one, the first slot. ``pair_list`` are the pairs' names where
    the file has them. ``folds`` are those of a list of its own, None for a bin's pairs: they are
    contiguous.
    """

    format: str
    scores: NDArray[np.float64]
    genuine: NDArray[np.bool_]
    images: NDArray[np.int64] | None
    unusable: NDArray[np.intp]
    embedding_size: int
    pair_list: Sequence[Pair] = ()
    folds: RuledFolds | None = None

    def taken(self, nan: str) -> ExternalPairs:
        """The same with what pairs score that have no score, by what becomes of them."""
        missing = np.isnan(self.scores)
        return replace(self, scores=np.where(missing, score_of_failed(nan), self.scores))

    @property
    def people(self) -> NDArray[np.int64] | None:
        """The number of the person in each slot, (2 x pairs,), where the list names them."""
        return numbered_people(self.pair_list) if self.pair_list else None

    @property
    def sha256(self) -> str:
        """What stands for a bin's hash: of the pairs' names, where there are any, and the labels.

        The same for all systems that were scored on one list.
        """
        if not self.pair_list:
            return list_sha256(self.genuine)
        names = json.dumps([(pair.left, pair.right) for pair in self.pair_list])
        return list_sha256(self.genuine, hashlib.sha256(names.encode()).hexdigest())


def scored_elsewhere(
    scores: NDArray[np.float64],
    genuine: NDArray[np.bool_],
    images: NDArray[np.int64] | None = None,
    *,
    pair_list: Sequence[Pair] = (),
) -> ExternalPairs:
    """Pairs by their scores (pairs,); one that is not finite is none."""
    values = np.where(np.isfinite(scores), scores, np.nan)
    unusable = 2 * np.flatnonzero(np.isnan(values))
    return ExternalPairs("scores", values, genuine, images, unusable, 0, pair_list)


def embedded_elsewhere(
    embeddings: NDArray[np.floating], genuine: NDArray[np.bool_]
) -> ExternalPairs:
    """Pairs by the embeddings (2 x pairs, size) of their images, rows 2i and 2i + 1 being pair i.

    Scores are cosines. Rows of equal bytes are one image.
    """
    values = embeddings.astype(np.float32)
    unusable = unusable_rows(values)
    kept = np.flatnonzero(~(unusable[0::2] | unusable[1::2]))
    scores = np.full(len(values) // 2, np.nan)
    scores[kept] = pair_scores(values, 2 * kept, 2 * kept + 1)
    numbers: dict[bytes, int] = {}
    images = [numbers.setdefault(row.tobytes(), len(numbers)) for row in embeddings]
    return ExternalPairs(
        "embeddings",
        scores,
        genuine,
        np.array(images, np.int64),
        np.flatnonzero(unusable),
        values.shape[1],
    )


def listed(pairs: ExternalPairs) -> ExternalPairs:
    """Pairs that are of no bin, as a list of their own: with folds by rule and, where they have
    names, in the order of these, the first of a pair's two at the left.

    So files of one list that have other orders are one bin, with one 10-fold figure.
    """
    if not pairs.pair_list:
        found = folds_by_rule(pairs.scores, pairs.genuine, images=pairs.images)
        return replace(pairs, folds=found)
    named = [_in_order(pair) for pair in pairs.pair_list]
    values = np.where(np.isnan(pairs.scores), -np.inf, pairs.scores).tolist()
    keys = [(each.left, each.right, each.genuine) for each in named]
    order = sorted(range(len(named)), key=lambda i: (keys[i], values[i]))
    place_of = {key: place for place, key in enumerate(sorted(set(keys)))}
    names = [named[i] for i in order]
    ordered = scored_elsewhere(
        pairs.scores[order], pairs.genuine[order], image_numbers(names), pair_list=names
    )
    found = folds_by_rule(
        ordered.scores,
        ordered.genuine,
        places=np.array([place_of[keys[i]] for i in order], np.int64),
        images=ordered.images,
        people=ordered.people,
    )
    return replace(ordered, folds=found)


def _in_order(pair: Pair) -> Pair:
    """The pair with the first of its two names at the left."""
    if pair.left <= pair.right:
        return pair
    people = None if pair.people is None else (pair.people[1], pair.people[0])
    return Pair(pair.right, pair.left, pair.genuine, people)


def image_numbers(pair_list: Sequence[Pair]) -> NDArray[np.int64]:
    """The number of the image in each slot, by name, from 0 as they come."""
    number_of: dict[str, int] = {}
    names = (name for pair in pair_list for name in (pair.left, pair.right))
    return np.array([number_of.setdefault(name, len(number_of)) for name in names], np.int64)


_RULE = {
    "person": "by rule, pairs linked by people in one fold",
    "image": "by rule, pairs linked by images in one fold",
    "pair": "by rule, pair by pair",
}


def name_sha256(name: str) -> str:
    """What stands for the SHA-256 of a model that is known by its name alone."""
    return hashlib.sha256(f"external {name}".encode()).hexdigest()


def external_model(
    name: str, format: str, *, embedding_size: int, path: str, file_sha256: str | None
) -> ModelRecord:
    """The record of a system of that name, which came in the file of that path and SHA-256."""
    input = {"size": [], "range": UNKNOWN, "channels": UNKNOWN, "layout": UNKNOWN}
    return ModelRecord(
        name=name,
        path=path,
        sha256=name_sha256(name),
        format=format,
        embedding_size=embedding_size,
        input=input if file_sha256 is None else {**input, "file_sha256": file_sha256},
    )


def external_result(
    pairs: ExternalPairs,
    *,
    name: str,
    bin: tuple[str, str, str],
    nan: str,
    path: str = "",
    file_sha256: str | None = None,
) -> tuple[Result, Figures | None, Measured]:
    """The result of a system of that name, its figures, and what it is stored by.

    ``bin`` is (name, path, SHA-256). The pairs are ``taken`` by ``nan``: "drop" leaves those
    without a score out, "fail" makes a result without figures of them. ``path`` and ``file_sha256``
    are of the file they came in.
    """
    start = time.perf_counter()
    scored = ~np.isnan(pairs.scores)
    usable = nan == "drop" or bool(scored.all())
    folds = None if pairs.folds is None else pairs.folds.numbers
    block = (
        scored_figures(pairs.scores, pairs.genuine, images=pairs.images, folds=folds)
        if usable
        else None
    )
    record = BinRecord(
        name=bin[0],
        path=bin[1],
        sha256=bin[2],
        pairs=len(pairs.genuine),
        genuine=int(pairs.genuine.sum()),
        impostor=int((~pairs.genuine).sum()),
        images=2 * len(pairs.genuine),
        unique_images=0 if pairs.images is None else int(pairs.images.max()) + 1,
        folds=None if pairs.folds is None else _RULE[pairs.folds.together],
    )
    parts = {
        "bin": record,
        "figures": None if block is None else to_json(block),
        "non_finite": failures(
            pairs.unusable,
            int((~scored).sum()) if usable else 0,
            int(np.isneginf(pairs.scores).sum()),
        ),
    }
    model = external_model(
        name, pairs.format, embedding_size=pairs.embedding_size, path=path, file_sha256=file_sha256
    )
    settings = Settings(flip=UNKNOWN, decoder=UNKNOWN, precision=UNKNOWN, nan=nan)
    result = result_of(model, settings, parts, seconds=time.perf_counter() - start)
    measured = Measured((name, model.sha256), (bin[0], bin[2]), Settings(nan=nan))
    return result, block, measured
