"""How often intervals of single figures hold the truth, and how wide they are beside a bootstrap.

Scores are Gaussian with parts of people, images and pairs that add up, on pairs that reuse images
and people as LFW's do, or on all pairs of a few people, so that every true figure is a formula.
A figure without an interval counts as a miss. ``boot`` is the median width of a bootstrap of the
same scores that draws clusters of people, or for all pairs people, over the median width of ours,
on a few draws: below 1 where ours is wider.

    PYTHONPATH=. python tests/evaluator/coverage_table.py --draws 2000
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from test_interval_coverage import NAMES, all_to_all, drawn, independent, reused, truths

from evaluator.metrics.all_figures import all_figures
from evaluator.metrics.protocols import sorted_pairs
from evaluator.metrics.sharing import Sharing, pair_sharing

STRUCTURES = {
    "independent": lambda: independent(6000),
    "LFW-like": lambda: reused(4000, 6000),
    "100 people": lambda: all_to_all(100, 4, 20_000),
    "30 people": lambda: all_to_all(30, 6, 5_000),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--structures", nargs="*", default=list(STRUCTURES))
    parser.add_argument("--accuracies", nargs="*", type=float, default=[0.9, 0.99, 0.998])
    options = parser.parse_args()
    print("structure    accuracy  " + "  ".join(f"{name:>13}" for name in NAMES))
    for name in options.structures:
        for accuracy in options.accuracies:
            cells = table_row(STRUCTURES[name](), accuracy, options.draws, name == "independent")
            print(f"{name:<13}{accuracy:<8}  " + "  ".join(f"{each:>13}" for each in cells))
            sys.stdout.flush()


def table_row(structure, accuracy: float, draws: int, apart: bool) -> list[str]:
    """Coverage, and the bootstrap's width over ours, of each figure."""
    from scipy.stats import norm

    left, right, genuine, person = structure
    shift, share = 2 * norm.ppf(accuracy), genuine.mean()
    sharing = None if apart else pair_sharing(person[left], person[right], unit="person")
    generator, true = np.random.default_rng(1), truths(shift, share)
    ends = {name: [] for name in NAMES}
    by_bootstrap = {name: [] for name in NAMES}
    expected = []
    for draw in range(draws):
        pairs = sorted_pairs(drawn(structure, shift, generator), genuine)
        cuts = np.array(pairs.kfold.thresholds)
        expected.append(np.mean(share * norm.cdf(shift - cuts) + (1 - share) * norm.cdf(cuts)))
        for name in NAMES:
            ends[name].append(all_figures()[name].interval_of(pairs, sharing) or (np.nan, np.nan))
        if draw < 10:
            for name, width in bootstrap_widths(pairs, sharing, generator).items():
                by_bootstrap[name].append(width)
    true["kfold"] = np.mean(expected)
    cells = []
    for name in NAMES:
        low, high = np.array(ends[name]).T
        covered = np.mean((low <= true[name]) & (true[name] <= high))
        ratio = np.median(by_bootstrap[name]) / np.nanmedian(high - low)
        cells.append(f"{covered:.3f} ({ratio:.2f})")
    return cells


def bootstrap_widths(pairs, sharing: Sharing | None, generator, times: int = 200):
    """Widths of percentile intervals: pairs are drawn, clusters, or people (a pair as often as the
    product of its people's draws).
    """
    scores, genuine = pairs.pairs.scores, pairs.pairs.is_genuine
    found = {name: [] for name in NAMES}
    for _ in range(times):
        weights = drawn_weights(len(scores), sharing, generator)
        at = np.repeat(np.arange(len(scores)), weights)
        again = sorted_pairs(scores[at], genuine[at])
        for name in NAMES:
            value = all_figures()[name].value(again)
            found[name].append(np.nan if value is None else value)
    return {
        name: float(np.nanpercentile(own, 97.5) - np.nanpercentile(own, 2.5))
        for name, own in found.items()
    }


def drawn_weights(count: int, sharing: Sharing | None, generator):
    if sharing is None or sharing.method == "pairs":
        return np.bincount(generator.integers(0, count, count), minlength=count)
    if sharing.method == "clusters":
        units = sharing.clusters
        return np.bincount(generator.integers(0, units, units), minlength=units)[sharing.cluster]
    people = np.bincount(
        generator.integers(0, sharing.nodes, sharing.nodes), minlength=sharing.nodes
    )
    own = people[sharing.left]
    return np.where(sharing.left == sharing.right, own, own * people[sharing.right])


if __name__ == "__main__":
    main()
