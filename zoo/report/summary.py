"""The first paragraph of a report: which model is better, by how much, and is it real."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evaluator.results.choice import Contestant
from evaluator.statistics.duels import Duel
from zoo.report.charts import signed
from zoo.report.standings import Standings


@dataclass(frozen=True)
class Summary:
    """A headline and the sentences under it, plain text."""

    headline: str
    text: str


def summary(table: Standings) -> Summary:
    """What a reader should take away who reads nothing else."""
    complete = [each for each in table.contestants if each.key in table.ranks]
    if not complete:
        return Summary(
            "No model can be ranked",
            "No model has a figure on every bin, so a mean would compare different pairs. "
            "Evaluate the models on the same bins, with genuine and impostor pairs in each.",
        )
    leader = complete[0]
    opening = _opening(leader, table)
    if len(complete) == 1:
        return Summary(
            f"{leader.label} decides {_accuracy(leader, table)} of the pairs rightly",
            f"{opening} There is no second model on these bins to compare it with.",
        )
    beaten = [
        (each, duel)
        for each in complete[1:]
        if (duel := table.duel(leader, each)) is not None and duel.separable
    ]
    tied = [each for each in complete[1:] if each not in [loser for loser, _ in beaten]]
    if tied:
        headline = f"No single winner: {_listed([leader, *tied])} cannot be told apart"
        text = f"{opening} {_tie_sentence(leader, tied, table)}"
        if beaten:
            text += f" {_win_sentence(leader, beaten, table)}"
    else:
        headline = (
            f"{leader.label} is better than {beaten[0][0].label}"
            if len(beaten) == 1
            else f"{leader.label} is the best of {len(complete)} models"
        )
        text = f"{opening} {_win_sentence(leader, beaten, table)}"
    return Summary(headline, text)


def _opening(leader: Contestant, table: Standings) -> str:
    bins = table.ranked_bins
    where = f"On {_words([each.label for each in bins])}"
    pairs = sum(each.record.pairs for each in bins)
    share = _accuracy(leader, table)
    mean = " on average" if len(bins) > 1 else ""
    return (
        f"{where} ({pairs:,} pairs), {leader.label} decides {share} of the pairs rightly{mean}, "
        "with thresholds chosen on other pairs."
    )


def _win_sentence(
    leader: Contestant, beaten: Sequence[tuple[Contestant, Duel]], table: Standings
) -> str:
    following, duel = beaten[0]
    low, high, difference = _oriented(duel, leader)
    which = "the next, " if len(beaten) > 1 else ""
    return (
        f"It is {difference:.2f} percentage points ahead of {which}{following.label} (95 % "
        f"interval {low:.2f} to {high:.2f}). That difference is real: luck alone would hardly give "
        f"it ({_p(duel.p_value)}{_corrected(table)})."
    )


def _tie_sentence(leader: Contestant, tied: Sequence[Contestant], table: Standings) -> str:
    duel = table.duel(leader, tied[0])
    if duel is None:
        return f"{tied[0].label} shares no bin with it."
    low, high, difference = _oriented(duel, leader)
    return (
        f"Its lead over {tied[0].label}, {difference:.2f} percentage points (95 % interval "
        f"{signed(low)} to {high:.2f}), may be luck ({_p(duel.p_value)}{_corrected(table)}): "
        f"{duel.overall.pairs:,} pairs like these reliably show only differences of at least "
        f"{100 * duel.overall.detectable_difference:.2f} points."
    )


def _oriented(duel: Duel, leader: Contestant) -> tuple[float, float, float]:
    """Interval and difference in points, seen from the leader."""
    sign = 100 if duel.a.key == leader.key else -100
    low, high = sorted(sign * end for end in duel.overall.interval)
    return low, high, sign * duel.overall.difference


def _accuracy(leader: Contestant, table: Standings) -> str:
    return f"{100 * (table.means[leader.key].value or 0.0):.2f} %"


def _corrected(table: Standings) -> str:
    tests = len(table.duels)
    return f", corrected for {tests} comparisons" if tests > 1 else ""


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _listed(contestants: Sequence[Contestant]) -> str:
    if len(contestants) > 4:
        return f"{contestants[0].label} and {len(contestants) - 1} others"
    return _words([each.label for each in contestants])


def _words(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
