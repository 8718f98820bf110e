"""How often `compare` and leaderboards call models different: equal ones, and ones that differ.

Three tables, in % of draws. The first has equal models on pairs that share images in many ways, at
5 %. The second has two models whose scores correlate by 0.7, on 6,000 pairs that reuse images and
people as LFW's do, with their true accuracies at the left: four rows of equal models, and four that
show power. ``fixed`` takes best thresholds for fixed ones, ``McNemar`` also takes pairs that share
people for independent ones. The third has leaderboards of 20 models on such pairs: tables with any
false "better", tables whose ranks do not run in the order of the figures, and, where models differ,
the share of couples told apart.

    PYTHONPATH=. python tests/evaluator/level_table.py --draws 500
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import test_comparison_level as level
from test_interval_coverage import drawn, reused

from evaluator.metrics.all_figures import all_figures
from evaluator.metrics.sharing import pair_sharing
from evaluator.statistics.differences import (
    best_decisions,
    differences_of_decisions,
    differences_on_bin,
    p_values,
)
from evaluator.statistics.pair_tests import SIGNIFICANCE, mcnemar_p_value
from evaluator.statistics.ranks import rank_intervals

SHARED = Path("../shared")
STRUCTURES = {
    "no image twice": (level.unshared_pairs(), {"photo": 0.5, "noise": 0.3}),
    "the same, few errors": (level.unshared_pairs(), {"photo": 0.45, "noise": 0.25}),
    "images used 4 times": (level.reused_pairs(150, 3, 1000), {"photo": 0.6, "noise": 0.4}),
    "images used 10 times": (level.reused_pairs(40, 5, 1000), {"photo": 0.8, "noise": 0.5}),
    "people used 33 times": (
        level.reused_pairs(60, 5, 1000),
        {"photo": 0.8, "noise": 0.3, "person_noise": 0.4, "by": "identities"},
    ),
    "70 clusters": (level.separate_groups(70, 4, 1000), {"photo": 0.7, "noise": 0.4}),
}
ACCURACIES = [(a, a) for a in (0.9, 0.99, 0.998, 0.9998)]
ACCURACIES += [(0.9, 0.89), (0.99, 0.985), (0.998, 0.996), (0.9998, 0.998)]
METRICS = ("accuracy", "fixed", "McNemar", "auc", "eer", "tar@1e-2")
MODELS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=500)
    draws = parser.parse_args().draws
    structures = dict(STRUCTURES)
    if (SHARED / "bins" / "lfw_devtest.bin").is_file():
        structures["LFW's dev-test pairs"] = level.lfw_pairs(SHARED), {"photo": 0.6, "noise": 0.4}
    print("equal models          accuracy  parting")
    for name, (structure, noises) in structures.items():
        alarms, parting, _ = level.false_alarms(structure, **noises, model_pairs=4 * draws)
        say(f"{name:<20}  {100 * alarms:8.1f}  {parting:7.0f}")
    structure = reused(4000, 6000)
    print("\nA/B           " + "  ".join(f"{name:>15}" for name in METRICS))
    for accuracies in ACCURACIES:
        found = told_apart(structure, accuracies, draws)
        cells = "  ".join(f"{100 * each:15.1f}" for each in found)
        say(f"{'/'.join(f'{each:g}' for each in accuracies):<14}{cells}")
    print(f"\n{MODELS} models             false better  out of order  told apart")
    ladders = {"all equal": 0.0, "4 families, 0.2 apart": 0.002, "4 families, 0.9 apart": 0.009}
    for name, step in ladders.items():
        false, disorder, told = leaderboards(structure, step, draws)
        say(f"{name:<21}  {100 * false:14.1f}  {100 * disorder:12.1f}  {100 * told:10.1f}")


def say(line: str) -> None:
    print(line)
    sys.stdout.flush()


def shift_of(accuracy: float) -> float:
    from scipy.stats import norm

    return float(2 * norm.ppf(accuracy))


def models_drawn(structure, shifts, generator, correlation: float = 0.7):
    """Scores of models that have a share of their errors in common, and the generator's next."""
    common = drawn(structure, 0.0, generator)
    return [
        shift * structure[2]
        + math.sqrt(correlation) * common
        + math.sqrt(1 - correlation) * drawn(structure, 0.0, generator)
        for shift in shifts
    ]


def told_apart(structure, accuracies: tuple[float, float], draws: int) -> list[float]:
    """The share of draws in which two models are called different, by each of `METRICS`."""
    left, right, genuine, person = structure
    sharing = pair_sharing(person[left], person[right], unit="person")
    generator = np.random.default_rng(1)
    found = dict.fromkeys(METRICS, 0)
    for _ in range(draws):
        scores = models_drawn(structure, map(shift_of, accuracies), generator)
        decisions = best_decisions(scores, genuine)
        only = [int((decisions[i] & ~decisions[1 - i]).sum()) for i in (0, 1)]
        fixed = differences_of_decisions(decisions, sharing)
        p = {"fixed": p_values([fixed])[0, 1], "McNemar": mcnemar_p_value(*only)}
        for metric in METRICS:
            if metric not in p:
                differences = differences_on_bin(scores, genuine, sharing, all_figures()[metric])
                p[metric] = p_values([differences])[0, 1]
            found[metric] += p[metric] < SIGNIFICANCE
    return [count / draws for count in found.values()]


def leaderboards(structure, step: float, draws: int) -> tuple[float, float, float]:
    """Shares of leaderboards with a false "better" and with ranks out of order, and of couples that
    truly differ the share told apart; four families, whose accuracies are ``step`` apart.
    """
    left, right, genuine, person = structure
    sharing = pair_sharing(person[left], person[right], unit="person")
    truth = np.repeat([0.97 + step * family for family in range(4)], MODELS // 4)
    generator = np.random.default_rng(2)
    false = disorder = told = 0
    for _ in range(draws):
        scores = models_drawn(structure, map(shift_of, truth), generator)
        found = differences_on_bin(scores, genuine, sharing, all_figures()["accuracy"])
        order = np.argsort(-best_decisions(scores, genuine).mean(axis=1), kind="stable")
        at = np.ix_(order, order)
        ranks = rank_intervals(p_values([found])[at], found.gaps[at])
        ahead = truth[order][:, None] - truth[order]
        false += (ranks.beats & (ahead <= 0)).any()
        disorder += (np.diff(ranks.best) < 0).any() or (np.diff(ranks.worst) < 0).any()
        told += (ranks.beats & (ahead > 0)).sum() / max(1, (ahead > 0).sum())
    return false / draws, disorder / draws, told / draws


if __name__ == "__main__":
    main()
