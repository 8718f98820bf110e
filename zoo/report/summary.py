"""The first paragraph of a report: which model is better, by how much, and is it real."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evaluator.results.choice import Contestant
from evaluator.statistics.duels import Duel
from zoo.report.charts import signed
from zoo.report.standings import Standings

# Models that lack a bin, of which a sentence says where they stand.
_NAMED = 3


@dataclass(frozen=True)
class Summary:
    """A headline and the sentences under it, plain text."""

    headline: str
    text: str


def summary(table: Standings) -> Summary:
    """What a reader should take away who reads nothing else."""
    ranked, apart = table.ranked, _apart_sentences(table)
    if not ranked and table.only_sets:
        return Summary(
            "Template sets: no ten folds, and so no ranks here",
            "The order of their pairs means nothing, so 10-fold accuracy is undefined on them. "
            "Verification and identification stand below; zoo leaderboard --metric tpir@0.01, "
            "rank1 or tar@1e-4 ranks models by one figure.",
        )
    if not ranked:
        return Summary(
            "No model can be ranked",
            "No model has a figure on every bin, so a mean would compare different pairs. "
            "Evaluate the models on the same bins, with genuine and impostor pairs in each."
            + apart,
        )
    leader = ranked[0]
    opening = _opening(leader, table)
    if len(ranked) == 1:
        return Summary(
            f"{leader.label} decides {_accuracy(leader, table)} of the pairs rightly",
            f"{opening} There is no second model on these bins to compare it with.{apart}",
        )
    beats = table.ranking.beats[0]
    beaten = [each for i, each in enumerate(ranked) if beats[i]]
    tied = [each for i, each in enumerate(ranked) if i and not beats[i]]
    if tied:
        headline = f"No single winner: {_listed([leader, *tied])} cannot be told apart"
        text = f"{opening} {_tie_sentence(leader, tied[0], table)}"
        if beaten:
            text += f" {_win_sentence(leader, beaten, table)}"
    else:
        among = " on every bin" if table.apart else ""
        headline = (
            f"{leader.label} is better than {beaten[0].label}"
            if len(beaten) == 1
            else f"{leader.label} is the best of {len(ranked)} models{among}"
        )
        text = f"{opening} {_win_sentence(leader, beaten, table)}"
    return Summary(headline, text + apart)


def _apart_sentences(table: Standings) -> str:
    """Where models stand that lack a bin, and so are not in the headline."""
    found = []
    for each in table.apart[:_NAMED]:
        place, on = table.places[each.key], _words(table.on(each))
        found.append(
            f" {each.label} has no figure on {_words(table.lacks(each))}: its rank on {on} is "
            f"{place.text} of {place.models}."
        )
    if (more := len(table.apart) - _NAMED) > 0:
        found.append(f" {more} more models lack a bin, too.")
    return "".join(found)


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


def _win_sentence(leader: Contestant, beaten: Sequence[Contestant], table: Standings) -> str:
    following = beaten[0]
    duel = table.duel(leader, following)
    if duel is None:
        return f"It is better than {following.label} ({_p(following, table)})."
    low, high, difference = _oriented(duel, leader)
    which = "the next, " if len(beaten) > 1 else ""
    return (
        f"At each model's best threshold it is {signed(difference)} percentage points ahead of "
        f"{which}{following.label} (95 % interval {signed(low)} to {signed(high)}). That "
        f"difference is real: luck alone would hardly give it ({_p(following, table)})."
    )


def _tie_sentence(leader: Contestant, tied: Contestant, table: Standings) -> str:
    duel = table.duel(leader, tied)
    if duel is None:
        return f"It cannot be compared with {tied.label} pair by pair."
    low, high, difference = _oriented(duel, leader)
    first, second = f"its lead over {tied.label}", ""
    if difference < 0:  # by other thresholds than those that made it the leader
        low, high, difference = -high, -low, -difference
        first, second = f"the lead of {tied.label}", " over it"
    return (
        f"At each model's best threshold {first}{second}, {difference:.2f} percentage points (95 % "
        f"interval {signed(low)} to {signed(high)}), may be luck ({_p(tied, table)}): "
        f"{duel.overall.pairs:,} pairs like these reliably show only differences of at least "
        f"{100 * duel.overall.detectable_difference:.2f} points."
    )


def _oriented(duel: Duel, leader: Contestant) -> tuple[float, float, float]:
    """Interval and difference in points, seen from the leader."""
    sign = 100 if duel.a.key == leader.key else -100
    low, high = sorted(sign * end for end in duel.overall.interval)
    return low, high, sign * duel.overall.difference


def _accuracy(leader: Contestant, table: Standings) -> str:
    return f"{100 * table.places[leader.key].mean:.2f} %"


def _p(other: Contestant, table: Standings) -> str:
    """The p-value that the ranks rest on, of the leader and another."""
    p = table.ranking.p_values[0][table.ranked.index(other)]
    corrected = ", corrected as the ranks are" if len(table.ranked) > 2 else ""
    return ("p < 0.001" if p < 0.001 else f"p = {p:.3f}") + corrected


def _listed(contestants: Sequence[Contestant]) -> str:
    if len(contestants) > 4:
        return f"{contestants[0].label} and {len(contestants) - 1} others"
    return _words([each.label for each in contestants])


def _words(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
