"""How often intervals of identification, and of TAR on all pairs of templates, hold the truth.

People are points on a sphere of 32 dimensions with a difficulty each: how far their templates
scatter. Each person has a template in one of two galleries and some probes that are searched in
both. The truth is what many such sets give together, in galleries of the same size.

    PYTHONPATH=. python tests/evaluator/templates/search_coverage_table.py --draws 1000
"""

from __future__ import annotations

import argparse

import numpy as np

from evaluator.metrics.figures import tar_at_far
from evaluator.metrics.protocols import SortedPairs
from evaluator.metrics.sharing import pair_sharing
from evaluator.metrics.sweep import scored_pairs, sweep_of
from evaluator.templates.identification import identification
from evaluator.templates.searches import Searches

SIZE = 32
FPIRS = {"0.1": 0.1, "0.01": 0.01}


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def world(people: int, probes: int, noise: float, rng) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of people's gallery templates (people, d) and of their probes (people, probes, d)."""
    centre = unit(rng.normal(size=(people, SIZE)))
    scatter = noise * rng.uniform(0.5, 1.5, (people, 1, 1)) / np.sqrt(SIZE)
    drawn = unit(centre[:, None] + scatter * rng.normal(size=(people, probes + 1, SIZE)))
    return drawn[:, 0], drawn[:, 1:]


def searched(gallery: np.ndarray, probe: np.ndarray, people: slice) -> Searches:
    """Every probe in the gallery of some of the people, densely; template i is person i's."""
    persons, probes, _ = probe.shape
    who = np.repeat(np.arange(persons), probes)
    cosines = probe.reshape(-1, SIZE) @ gallery[people].T
    inside = np.arange(persons)[people]
    mate = who[:, None] == inside[None, :]
    mated = mate.any(axis=1)
    own = np.where(mate, cosines, -np.inf).max(axis=1)
    others = np.where(mate, -np.inf, cosines)
    rival = others.argmax(axis=1)
    top = others[np.arange(len(who)), rival]
    rank = np.where(mated, 1 + (others >= own[:, None]).sum(axis=1), 0)
    return Searches(
        "", len(inside), mated, np.where(mated, own, top), rank, inside[rival], top
    )  # fmt: skip


def truths(people: int, probes: int, noise: float) -> dict[str, float]:
    """Rank-1 and TPIR of endless people in galleries of half of ``people``; TAR of all pairs."""
    rng = np.random.default_rng(99)
    size, hits, mates, tops = people // 2, [], [], []
    genuine, impostor = [], []
    for _ in range(max(40, 120_000 // (size * probes * 2))):
        gallery, probe = world(2 * size, probes, noise, rng)
        found = searched(gallery, probe, slice(0, size))
        hits.append(found.rank[found.mated] == 1)
        mates.append(found.score[found.mated])
        tops.append(found.score[~found.mated])
        g, i = all_pairs(gallery, probe)[:2]
        genuine.append(g)
        impostor.append(i)
    hit, mate = np.concatenate(hits), np.concatenate(mates)
    stranger = np.sort(np.concatenate(tops))
    true = {"rank": hit.mean()}
    for key, fpir in FPIRS.items():
        true[f"tpir {key}"] = (hit & (mate > np.quantile(stranger, 1 - fpir))).mean()
    cut = np.quantile(np.concatenate(impostor), 1 - 1e-3)
    true["tar"] = (np.concatenate(genuine) > cut).mean()
    return true


def all_pairs(gallery: np.ndarray, probe: np.ndarray):
    """Genuine and impostor scores of all pairs of templates, and their people."""
    vectors = np.concatenate([gallery[:, None], probe], axis=1)
    persons, each, _ = vectors.shape
    who = np.repeat(np.arange(persons), each)
    left, right = np.triu_indices(len(who), 1)
    flat = vectors.reshape(-1, SIZE)
    scores = (flat @ flat.T)[left, right]
    same = who[left] == who[right]
    return scores[same], scores[~same], scores, same, who[left], who[right]


def coverage(people: int, probes: int, noise: float, draws: int) -> dict[str, list[float]]:
    """For each figure that has intervals: the share of them that hold the truth, lie under and
    over it, the share of draws that have one, the mean figure, the truth, the mean width, and what
    the width would be of a normal distribution as wide as the draws.
    """
    rng = np.random.default_rng(1)
    true = truths(people, probes, noise)
    half = people // 2
    ends: dict[str, list] = {}
    for _ in range(draws):
        gallery, probe = world(2 * half, probes, noise, rng)
        both = [searched(gallery, probe, part) for part in (slice(0, half), slice(half, None))]
        person = np.arange(2 * half)
        found = identification(both, np.repeat(person, probes), person)
        one = found.galleries[0]
        taken = {
            "rank, one gallery": (one.rank["1"], one.rank_ci95["1"], true["rank"]),
            "rank, both": (found.rank["1"], found.rank_ci95["1"], true["rank"]),
        }
        for key in FPIRS:
            for name, block in (("one gallery", one), ("mean", found)):
                at = block.tpir_at_fpir[key]
                own = (np.nan, None) if at is None else (at.tpir, at.tpir_ci95)
                taken[f"TPIR {key}, {name}"] = (*own, true[f"tpir {key}"])
        _, _, scores, same, left, right = all_pairs(gallery, probe)
        checked = scored_pairs(scores, same)
        pairs = SortedPairs(checked, sweep_of(checked), ())
        sharing = pair_sharing(left, right, unit="person")
        tar = tar_at_far.tar_at_far(pairs.sweep, 1e-3)
        taken["TAR 1e-3, all pairs"] = (
            tar.tar, tar_at_far.interval(pairs, 1e-3, sharing), true["tar"]
        )  # fmt: skip
        for name, (value, interval, at) in taken.items():
            low, high = interval or (np.nan, np.nan)
            ends.setdefault(name, []).append((low, high, value, at))
    table = {}
    for name, rows in ends.items():
        low, high, value, at = np.array(rows).T
        with np.errstate(invalid="ignore"):
            held, under, over = (low <= at) & (at <= high), high < at, low > at
        some = ~np.isnan(low)
        if some.any():
            table[name] = [
                held[some].mean(), under[some].mean(), over[some].mean(), some.mean(),
                value[some].mean(), at[0], (high - low)[some].mean(), 3.92 * value[some].std(),
            ]  # fmt: skip
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--people", nargs="*", type=int, default=[40, 100])
    parser.add_argument("--probes", type=int, default=3)
    parser.add_argument("--noise", nargs="*", type=float, default=[1.2, 0.7])
    options = parser.parse_args()
    for people in options.people:
        for noise in options.noise:
            print(f"{people} people, {options.probes} probes each, noise {noise}")
            print(" " * 24 + "held   under  over   some   figure truth  width  3.92 std")
            for name, row in coverage(people, options.probes, noise, options.draws).items():
                print(f"  {name:<22}" + "  ".join(f"{each:.3f}" for each in row), flush=True)


if __name__ == "__main__":
    main()
