"""Which place each model has: ranks as intervals, on every bin or on those that a model has.

Whoever ranks asks here, so that `zoo leaderboard` and `zoo report` have one answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from evaluator.errors import ResultError
from evaluator.files import natural
from evaluator.metrics.figure import Figure
from evaluator.results.choice import Contestant, core_bins
from evaluator.results.names import labels
from evaluator.results.overlap import shared_images
from evaluator.results.store import load_scores
from evaluator.results.stored import Stored
from evaluator.statistics.differences import mean_of, p_values
from evaluator.statistics.ranks import rank_intervals
from evaluator.statistics.shared_pairs import Scored, differences_of, unlike_the_others

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

# Reading and testing a model on three bins takes 15 ms; beyond so many the figure alone decides.
TESTED = 100


@dataclass(frozen=True)
class Place:
    """A model's rank, from ``best`` to ``worst``, by its ``mean`` figure over ``bins`` (SHA-256),
    among the ``models`` that have a figure on all of these.
    """

    best: int
    worst: int
    models: int
    mean: float
    bins: tuple[str, ...]

    @property
    def text(self) -> str:
        """As "2", or "1-3" where the rank is not settled."""
        return str(self.best) if self.best == self.worst else f"{self.best}-{self.worst}"


@dataclass(frozen=True)
class Ranking:
    """Where models stand, by their index.

    ``bins`` (SHA-256) are those ranked on; ``order`` are the models with a figure on each of them,
    the best first, and ``others`` those with some. ``places`` are of these and those. ``p_values``
    and ``beats`` (tested, tested) are those of `rank_intervals`, in the order of ``order``, of the
    first `TESTED`. ``notes`` name models that were not tested.
    """

    bins: tuple[str, ...]
    order: tuple[int, ...]
    others: tuple[int, ...]
    places: Mapping[int, Place]
    p_values: tuple[tuple[float, ...], ...]
    beats: tuple[tuple[bool, ...], ...]
    notes: tuple[str, ...]


def bins_ranked_on(models: Sequence[Contestant], figure: Figure, *, every: bool) -> set[str]:
    """The bins (SHA-256) on which models are ranked: ``every`` one on which any has a figure, or
    else those that make the most of the table (`core_bins`).
    """
    known = [_figures(model, figure) for model in models]
    return {sha256 for each in known for sha256 in each} if every else core_bins(known)


def rank_models(models: Sequence[Contestant], bins: Sequence[str], figure: Figure) -> Ranking:
    """The ranking of models by their mean figure over bins (SHA-256).

    Who is better is tested on the difference of their figures on the pairs that both scored, and
    `rank_intervals` says what follows. A model that lacks a bin is ranked on those it has, among
    the models that have them too. One whose scores cannot be read may have any rank.
    """
    known = [_figures(model, figure) for model in models]
    # Sums round by their order, and readers list bins in orders of their own.
    used = tuple(sha256 for sha256 in sorted(bins) if any(sha256 in each for each in known))
    sets = [tuple(sha256 for sha256 in used if sha256 in each) for each in known]
    read = _Reader(models, figure)
    places: dict[int, Place] = {}
    order: list[int] = []
    tests: tuple[FloatArray, BoolArray] = np.ones((0, 0)), np.zeros((0, 0), dtype=bool)
    for own in dict.fromkeys((used, *sets)):
        if not own:
            continue
        found = _by_mean(models, known, own, figure)
        ranges, own_tests = _intervals(found, read, own, figure)
        if own == used:
            order, tests = [i for i, _ in found], own_tests
        places |= {
            i: Place(*range_, len(found), mean, own)
            for (i, mean), range_ in zip(found, ranges, strict=True)
            if sets[i] == own
        }
    partial = [i for i, own in enumerate(sets) if own and own != used]
    partial.sort(
        key=lambda i: (-len(sets[i]), places[i].best, places[i].worst, natural(models[i].name))
    )
    return Ranking(
        used,
        tuple(order),
        tuple(partial),
        places,
        tuple(map(tuple, tests[0].tolist())),
        tuple(map(tuple, tests[1].tolist())),
        tuple(dict.fromkeys(read.notes)),
    )


def _figures(model: Contestant, figure: Figure) -> dict[str, float]:
    """The model's figures by bin, where they are defined."""
    read = {sha256: figure.read(each.result.figures) for sha256, each in model.results.items()}
    return {sha256: value for sha256, value in read.items() if value is not None}


def _by_mean(
    models: Sequence[Contestant],
    known: Sequence[Mapping[str, float]],
    bins: Sequence[str],
    figure: Figure,
) -> list[tuple[int, float]]:
    """The models that have all of these bins, with their means, the best first, then by name."""
    means = {
        i: sum(own[sha256] for sha256 in bins) / len(bins)
        for i, own in enumerate(known)
        if own.keys() >= set(bins)
    }
    sign = -1 if figure.higher_is_better else 1
    return sorted(
        means.items(),
        key=lambda each: (sign * each[1], natural(models[each[0]].name), models[each[0]].identity),
    )


def _intervals(
    ordered: Sequence[tuple[int, float]], read: _Reader, bins: Sequence[str], figure: Figure
) -> tuple[list[tuple[int, int]], tuple[FloatArray, BoolArray]]:
    """The best and worst rank of models; p-values and who beats whom (tested, tested) of the first.

    Below those that are tested may be any rank from the last one's on.
    """
    count = len(ordered)
    numbers = [i for i, _ in ordered[:TESTED]]
    p = np.ones((len(numbers), len(numbers)))
    beats = np.zeros_like(p, dtype=bool)
    scores = read.all_of(numbers, bins) if count > 1 else [[] for _ in numbers]
    readable = [place for place, own in enumerate(scores) if own]
    if not readable:
        return [(1, count)] * count, (p, beats)
    at = np.ix_(readable, readable)
    gaps, raw = _couples([scores[place] for place in readable], figure, read.notes)
    ranks = rank_intervals(raw, gaps if figure.higher_is_better else -gaps)
    p[at], beats[at] = ranks.p_values, ranks.beats
    unread = len(numbers) - len(readable)
    found = [(1, count)] * len(numbers)
    for place, best, worst in zip(readable, ranks.best.tolist(), ranks.worst.tolist(), strict=True):
        # Who is not shown to be better than the last one tested may be worse than any below it.
        open_ended = worst == len(readable)
        found[place] = best, count if open_ended else worst + unread
    return found + [(found[readable[-1]][0], count)] * (count - len(numbers)), (p, beats)


@dataclass
class _Reader:
    """The scores of models, each read once, and a line on each that cannot be tested."""

    models: Sequence[Contestant]
    figure: Figure
    notes: list[str] = field(default_factory=list)
    _known: dict[tuple[int, str], Scored] = field(default_factory=dict)

    def all_of(self, numbers: Sequence[int], bins: Sequence[str]) -> list[list[Scored]]:
        """The scores of each of these models, bin by bin; none for one that lacks some, or whose
        pairs on a bin are not those of most.
        """
        found = [self._of(i, bins) for i in numbers]
        for place, sha256 in enumerate(bins):
            for i in unlike_the_others([own[place].scores if own else None for own in found]):
                found[i] = []
                model = self.models[numbers[i]]
                self.notes.append(
                    f"{model.label}: ranked as if tied, {model.results[sha256].path} has other "
                    "pairs than the other results on that bin; use --fresh"
                )
        return found

    def _of(self, i: int, bins: Sequence[str]) -> list[Scored]:
        try:
            for sha256 in bins:
                if (i, sha256) not in self._known:
                    self._known[i, sha256] = _scored(self.models[i].results[sha256], self.figure)
        except ResultError as error:
            label = self.models[i].label
            self.notes.append(f"{label}: ranked as if tied, its scores cannot be read: {error}")
            return []
        return [self._known[i, sha256] for sha256 in bins]


def _scored(stored: Stored, figure: Figure) -> Scored:
    """The scores of a result that has a figure. Raises ResultError, OSError."""
    found = Scored(stored.result, load_scores(stored.path, stored.result)).asked(figure)
    if not found.scores.counted.any():
        raise ResultError(f"{stored.path}: it has figures, and no pair has a score; use --fresh")
    return found


def _couples(
    models: Sequence[Sequence[Scored]], figure: Figure, notes: list[str]
) -> tuple[FloatArray, FloatArray]:
    """The differences (models, models) of every two models' mean figures, and their p-values; a
    note on bins that share pairs, images or people, which are drawn together.
    """
    found = [differences_of(of_bin, figure) for of_bin in zip(*models, strict=True)]
    named = labels([(each.result.bin.sha256, each.result.bin.name) for each in models[0]])
    known = shared_images({named[each.result.bin.sha256]: each.scores for each in models[0]})
    if known.words:
        notes.append(f"{known.words}: they are drawn together, and the mean counts each bin")
    return mean_of(found, known.across).gaps, p_values(found, known.across)
