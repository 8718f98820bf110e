"""Many models compared with one another: who beats whom, in one table."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from evaluator.statistics.duels import Duel
from evaluator.statistics.sides import Side, alone_notes, gathered

#: Models that a matrix shows: so many columns stand beside names in 80.
SHOWN = 8
# Names of one list.
_NAMED = 5
# So many notes that say the same of different models are one.
_ALIKE = 3


@dataclass(frozen=True, eq=False)
class Standing:
    """A model among others: those that it beats, that beat it, and that it cannot be told from,
    the best first.
    """

    side: Side
    beats: tuple[Side, ...]
    beaten_by: tuple[Side, ...]
    tied: tuple[Side, ...]

    @property
    def words(self) -> str:
        """As "better than 3, worse than none; not separable from b, c"."""
        said = (
            f"better than {len(self.beats) or 'none'}, worse than {len(self.beaten_by) or 'none'}"
        )
        return f"{said}; not separable from {listed(self.tied)}" if self.tied else said


@dataclass(frozen=True, eq=False)
class Matrix:
    """Models from the best to the worst by how many they beat less how many beat them, then by
    their mean difference from the others; ``baseline`` is the first that was named. ``notes`` are
    those of the duels, alike ones made one.
    """

    duels: tuple[Duel, ...]
    standings: tuple[Standing, ...]
    baseline: Side
    notes: tuple[str, ...]
    most: int = SHOWN

    @property
    def shown(self) -> tuple[Standing, ...]:
        """The best ``most``, the baseline among them."""
        best = self.standings[: self.most]
        if any(each.side is self.baseline for each in best):
            return best
        own = next(each for each in self.standings if each.side is self.baseline)
        return (*best[:-1], own)

    def between(self, one: Side, other: Side) -> tuple[float, bool]:
        """The difference of the first from the second, and whether it is real at 5 %."""
        duel = self._known[id(one), id(other)]
        sign = 1 if duel.a is one else -1
        return sign * duel.overall.difference, duel.separable

    @functools.cached_property
    def _known(self) -> dict[tuple[int, int], Duel]:
        return _by_sides(self.duels)


def matrix_of(duels: Sequence[Duel]) -> Matrix:
    """The standings of models of which every two were compared."""
    sides = list({id(side): side for duel in duels for side in (duel.a, duel.b)}.values())
    gaps: dict[int, list[tuple[float, bool]]] = {id(side): [] for side in sides}
    for duel in duels:
        for side in (duel.a, duel.b):
            gaps[id(side)].append((_gap(duel, side), duel.separable))
    wins = {
        key: sum((gap > 0) - (gap < 0) for gap, real in own if real) for key, own in gaps.items()
    }
    lead = {key: sum(gap for gap, _ in own) / len(own) for key, own in gaps.items()}
    sides.sort(key=lambda side: (-wins[id(side)], -lead[id(side)]))
    known = _by_sides(duels)
    found = []
    for side in sides:
        others = [(other, known[id(side), id(other)]) for other in sides if other is not side]
        real = [(other, _gap(duel, side)) for other, duel in others if duel.separable]
        found.append(
            Standing(
                side,
                beats=tuple(other for other, gap in real if gap > 0),
                beaten_by=tuple(other for other, gap in real if gap < 0),
                tied=tuple(other for other, duel in others if not duel.separable),
            )
        )
    return Matrix(tuple(duels), tuple(found), duels[0].a, tuple(_notes(duels, sides)))


def _by_sides(duels: Sequence[Duel]) -> dict[tuple[int, int], Duel]:
    return {
        ends: each
        for each in duels
        for ends in ((id(each.a), id(each.b)), (id(each.b), id(each.a)))
    }


def _gap(duel: Duel, side: Side) -> float:
    """By how much a model is better than the other of a duel, whichever way the figure goes."""
    sign = 1 if (duel.a is side) == duel.figure.higher_is_better else -1
    return sign * duel.overall.difference


def listed(sides: Sequence[Side]) -> str:
    """The first names, and how many more there are."""
    names = [each.label for each in sides[:_NAMED]]
    more = len(sides) - len(names)
    return ", ".join(names) + (f" and {more:,} more" if more > 0 else "")


def _notes(duels: Sequence[Duel], sides: Sequence[Side]) -> list[str]:
    """What models lack, a line a bin, then the other notes, those that are alike in one."""
    bins = {sha256: each.bin.name for side in sides for sha256, each in side.results.items()}
    lacking, found = [], []
    for name in dict.fromkeys(bins.values()):
        without = [
            side for side in sides if not any(r.bin.name == name for r in side.results.values())
        ]
        if without:
            models = f"{len(without):,} model{'s' * (len(without) > 1)}"
            lacking.append(f"{models}: no result on {name}: {listed(without)}")
    alike: dict[str, list[str]] = {}
    for duel in duels:
        for note in duel.notes:
            if note not in alone_notes(duel.a, duel.b):
                own = alike.setdefault(_without_names(note, duel), [])
                own += [note] * (note not in own)
    for template, own in alike.items():
        if len(own) < _ALIKE:
            found += own
        else:
            found.append(f"{len(own):,} times: {template}")
    return [*lacking, *gathered(found)]


def _without_names(note: str, duel: Duel) -> str:
    """A note with A and B for the models' names."""
    for label, letter in sorted(
        ((duel.a.label, "A"), (duel.b.label, "B")), key=lambda x: -len(x[0])
    ):
        note = note.replace(label, letter)
    return note
