"""Many models compared with one another: who beats whom, in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    those of the duels, alike ones made one. ``gaps`` are by how much a model is better than
    another, by the ids of both, and whether that is real at 5 %.
    """

    duels: tuple[Duel, ...]
    standings: tuple[Standing, ...]
    baseline: Side
    notes: tuple[str, ...]
    gaps: Mapping[tuple[int, int], tuple[float, bool]]
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
        gap, real = self.gaps[id(one), id(other)]
        return gap if self.duels[0].figure.higher_is_better else -gap, real


def matrix_of(duels: Sequence[Duel]) -> Matrix:
    """The standings of models of which every two were compared."""
    sides = list({id(side): side for duel in duels for side in (duel.a, duel.b)}.values())
    gaps = {
        (id(side), id(other)): (_gap(duel, side), duel.separable)
        for duel in duels
        for side, other in ((duel.a, duel.b), (duel.b, duel.a))
    }

    def others(side: Side) -> list[tuple[Side, float, bool]]:
        return [(each, *gaps[id(side), id(each)]) for each in sides if each is not side]

    def order(side: Side) -> tuple[int, float]:
        own = others(side)
        wins = sum((gap > 0) - (gap < 0) for _, gap, real in own if real)
        return -wins, -sum(gap for _, gap, _ in own) / len(own)

    sides = sorted(sides, key=order)
    found = [
        Standing(
            side,
            beats=tuple(each for each, gap, real in others(side) if real and gap > 0),
            beaten_by=tuple(each for each, gap, real in others(side) if real and gap < 0),
            tied=tuple(each for each, _, real in others(side) if not real),
        )
        for side in sides
    ]
    return Matrix(tuple(duels), tuple(found), duels[0].a, tuple(_notes(duels, sides)), gaps)


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
