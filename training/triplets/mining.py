"""Offline triplets: which images to embed, and which (anchor, positive, negative) to train on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import InputError
from evaluator.measure.embed import unusable_rows
from training.triplets.choices import CHOICES, NUMBERS_A_PAIR, Source, drawn_columns
from training.triplets.nearest import (
    Floats,
    People,
    Rows,
    cosine_blocks,
    hardest_negatives,
    people_of,
    unit_rows,
)

# Pairs whose positives' cosines are made at once where only candidates are looked at.
_PAIRS_AT_ONCE = 65_536


class TripletError(InputError):
    """No triplets can be made of what was given; the message says why and what to change."""


class Pairs(NamedTuple):
    """Anchor-positive pairs: row numbers, each (pairs,)."""

    anchors: Rows
    positives: Rows


@dataclass(frozen=True)
class Mined:
    """Triplets as row numbers of the embeddings, shuffled: three arrays of the same length.

    ``pairs`` is how many anchor-positive pairs there are: those without a violating negative give
    no triplet. ``dropped`` counts embeddings that are not finite or have no length.
    """

    anchors: Rows
    positives: Rows
    negatives: Rows
    pairs: int
    dropped: int

    @property
    def active(self) -> float:
        """The share of pairs that gave a triplet, 0 to 1."""
        return len(self.anchors) / self.pairs


def choose_images(
    labels: NDArray[np.int64], *, people: int, images_per_person: int, seed: int
) -> NDArray[np.int64]:
    """Numbers of the images to embed: ``images_per_person`` each of up to ``people`` people.

    All drawn at random; a person with fewer images gives some of them again.

    Raises:
        TripletError: fewer than two people there, fewer than two images a person asked for.
    """
    if images_per_person < 2:
        raise TripletError(
            f"images_per_person: a pair takes 2 images or more; found {images_per_person}"
        )
    random = np.random.default_rng(seed)
    groups = people_of(labels).each()
    if len(groups) < 2:
        raise TripletError("expected images of two people or more; found one person only")
    chosen = []
    for person in random.permutation(len(groups))[:people]:
        own = groups[person]
        chosen.append(random.choice(own, images_per_person, replace=len(own) < images_per_person))
    return np.concatenate(chosen).astype(np.int64)


def mine_triplets(
    embeddings: NDArray[np.floating[Any]],
    labels: NDArray[np.int64],
    *,
    alpha_cosine: float = 0.2,
    choice: str = "random",
    seed: int = 0,
    memory: int = 256 * 2**20,
    candidates: int = 0,
    index: str = "exact",
) -> Mined:
    """One negative for each pair of a person's images that some negative violates.

    Each two rows of a person are a pair, the earlier one its anchor. A negative violates it where
    cosine(anchor, positive) - cosine(anchor, negative) < ``alpha_cosine``. ``choice`` picks it:
        "random": any of them alike (the founding system's);
        "semi_hard": any of those less alike than the positive (Schroff et al. 2015, sec. 3.2);
            a pair with harder ones only gives no triplet;
        "hardest": the most alike, the first of equals;
        "distance_weighted": with the inverse of the density of distances on the unit sphere (Wu
            et al. 2017, eq. 5), distances clipped to 0.5 to 1.4.
    The same seed gives the same triplets, whatever ``memory`` is, as long as no product is rounded
    across the margin.

    ``memory`` bounds the block of cosines, in bytes; the unit embeddings, float32, come on top.
    With ``candidates``, only so many of each anchor's hardest negatives are looked at, found by
    ``index`` (`hardest_negatives`): for a million embeddings and more.

    Raises:
        TripletError: one person, no finite embedding, no two images of a person, no violating
            negative, an unknown ``choice``, ``alpha_cosine`` not in (0, 2].
        InputError: as `hardest_negatives` and `cosine_blocks`.
    """
    if choice not in CHOICES:
        raise TripletError(f"choice: expected one of {', '.join(CHOICES)}; found {choice!r}")
    usable, units, people = _usable(embeddings, labels, alpha_cosine)
    pairs = _pairs(people)
    rule = CHOICES[choice](units.shape[1])
    random = np.random.default_rng(seed)
    if candidates:
        sources = _candidate_rows(units, people, pairs, candidates, memory, index)
    else:
        sources = _all_rows(units, people, pairs, memory)
    negatives = np.full(len(pairs.anchors), -1, np.intp)
    with ThreadPoolExecutor() as pool:
        for span, source in sources:
            numbers = random.random((span.stop - span.start, NUMBERS_A_PAIR))
            drawn = drawn_columns(source, rule, alpha_cosine, numbers, pool)
            negatives[span] = source.rows(drawn)
    kept = np.flatnonzero(negatives >= 0)
    if not len(kept):
        raise TripletError(
            f"no violating triplet: each of {len(pairs.anchors):,} pairs is closer by "
            f"{alpha_cosine:g} than any negative that {choice!r} allows; raise alpha_cosine, or "
            "end the training here"
        )
    kept = random.permutation(kept)
    columns = (pairs.anchors[kept], pairs.positives[kept], negatives[kept])
    anchors, positives, drawn = (usable[each] for each in columns)
    dropped = len(embeddings) - len(usable)
    return Mined(anchors, positives, drawn, len(pairs.anchors), dropped)


def _usable(
    embeddings: NDArray[np.floating[Any]], labels: NDArray[np.int64], alpha: float
) -> tuple[Rows, Floats, People]:
    """The rows that can be used, their unit embeddings and people. Raises TripletError."""
    if embeddings.ndim != 2 or len(embeddings) != len(labels):
        raise TripletError(
            f"expected embeddings (images, features) and a label for each; found shapes "
            f"{embeddings.shape} and {labels.shape}"
        )
    if not 0 < alpha <= 2:
        raise TripletError(
            f"alpha_cosine: expected a difference of cosines above 0 and up to 2; found {alpha!r}"
        )
    usable = np.flatnonzero(~unusable_rows(embeddings))
    if not len(usable):
        raise TripletError(
            f"none of {len(embeddings):,} embeddings is finite and of some length: the model is "
            "broken; go back to an earlier checkpoint, or lower the learning rate"
        )
    people = people_of(labels[usable])
    if len(np.unique(people.start)) < 2:
        dropped = len(embeddings) - len(usable)
        note = f" ({dropped:,} embeddings are not finite)" if dropped else ""
        raise TripletError(f"expected images of two people or more; found one person only{note}")
    everything = len(usable) == len(embeddings)
    return usable, unit_rows(embeddings if everything else embeddings[usable]), people


def _pairs(people: People) -> Pairs:
    """Each two rows of a person, the earlier first, person by person."""
    places = np.arange(len(people.order))
    later = people.stop[people.order] - places - 1
    first = np.repeat(places, later)
    if not len(first):
        raise TripletError("expected two images or more of some person; found one of each")
    step = np.arange(len(first)) - np.repeat(np.cumsum(later) - later, later) + 1
    return Pairs(people.order[first], people.order[first + step])


def _all_rows(
    units: Floats, people: People, pairs: Pairs, memory: int
) -> Iterator[tuple[slice, Source]]:
    """The pairs in order, a block of anchors at a time, against all rows."""
    first = np.flatnonzero(np.diff(pairs.anchors, prepend=-1))
    ends = np.append(first[1:], len(pairs.anchors))
    at = 0
    for anchors, cosines in cosine_blocks(units, pairs.anchors[first], memory=memory):
        span = slice(int(first[at]), int(ends[at + len(anchors) - 1]))
        places = np.repeat(np.arange(len(anchors)), (ends - first)[at : at + len(anchors)])
        likeness = cosines[places, pairs.positives[span]]
        cosines[people.members(anchors)] = -np.inf
        yield span, Source(cosines, None, places, likeness)
        at += len(anchors)


def _candidate_rows(
    units: Floats, people: People, pairs: Pairs, count: int, memory: int, index: str
) -> Iterator[tuple[slice, Source]]:
    """The pairs in order, against each anchor's hardest negatives."""
    new = np.diff(pairs.anchors, prepend=-1) != 0
    places = np.cumsum(new) - 1
    columns, cosines = hardest_negatives(
        units, people, pairs.anchors[new], count=count, memory=memory, index=index
    )
    for at in range(0, len(places), _PAIRS_AT_ONCE):
        span = slice(at, min(at + _PAIRS_AT_ONCE, len(places)))
        likeness = np.einsum("ij,ij->i", units[pairs.anchors[span]], units[pairs.positives[span]])
        yield span, Source(cosines, columns, places[span], likeness)
