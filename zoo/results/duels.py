"""Every two of some models, compared on the bins they share."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from evaluator.errors import InputError
from evaluator.results.choice import labelled
from evaluator.statistics.duels import Duel, compare_sides
from evaluator.statistics.sides import nothing_shared, stored_side
from zoo.results.selection import Chosen, contestants_of


def compare_models(
    models: Sequence[Chosen], *, metric: str = "accuracy", margin: float | None = None
) -> list[Duel]:
    """All pairs of the models, in the order given, as `compare_sides` has it.

    Raises InputError for fewer than two models, or where two are one or share no bin; ResultError
    for scores that are not there.
    """
    if len(models) < 2:
        raise InputError(f"expected two models or more to compare; got only {models[0].asked!r}")
    for a, b in itertools.combinations(models, 2):
        if a.identity == b.identity and a.variant == b.variant:
            raise InputError(
                f"{a.asked} and {b.asked} are one model with the same settings ({a.identity[:8]}); "
                "nothing to compare"
            )
    sides = labelled(contestants_of(models))
    duels, apart = compare_sides(
        [stored_side(each) for each in sides], metric=metric, margin=margin
    )
    if apart:
        raise InputError(nothing_shared(apart[0]))
    return duels


def failures(duels: Sequence[Duel]) -> list[str]:
    """Which models are worse than the first one, a line each; with a margin, which are not shown
    to be as good but for that.
    """
    found = [failure(duel) for duel in duels if duel.a is duels[0].a]
    return [line for line in found if line is not None]


def failure(duel: Duel) -> str | None:
    """Why the second model of a comparison is not good enough; None where it is."""
    if duel.by_margin is None:
        if not duel.b_is_worse:
            return None
        return f"{duel.b.label} is worse than {duel.a.label}: {duel.words}"
    return duel.margin_words if duel.by_margin in ("worse", "cannot tell") else None
