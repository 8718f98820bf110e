"""Time the figures beside insightface's evaluate and beside one np.sort.

    python benchmarks/figures.py            # 6,000 pairs; 10,000,000 and 15,000,000 scores
    python benchmarks/figures.py --quick    # seconds: 600 pairs; 1,000,000 scores
    python benchmarks/figures.py --alternatives   # what evaluator/metrics.py does not do, and why

Both sides of a row run in turn in one process; the row gives the median of each and the median of
the rounds' ratios, which holds on a busy machine where the times themselves do not.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import interp1d
from sklearn.model_selection import KFold

from evaluator.all_figures import figures
from evaluator.metrics import scored_pairs, sweep_of


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the figures beside a peer and a sort.")
    parser.add_argument("--quick", action="store_true", help="small sizes, a few seconds")
    parser.add_argument("--rounds", type=int, default=5, help="rounds a row (default: 5)")
    parser.add_argument("--alternatives", action="store_true", help="ways to sweep, by np.sort")
    args = parser.parse_args()
    if args.alternatives:
        print_alternatives(1_000_000 if args.quick else 15_000_000, rounds=args.rounds)
        return

    pairs = 600 if args.quick else 6000
    embeddings, genuine = unit_embeddings(pairs)
    print_row(
        f"{pairs:,} pairs x 512: insightface's evaluate / cosines + figures",
        lambda: insightface_evaluate(embeddings, genuine),
        lambda: figures(np.einsum("ij,ij->i", embeddings[0::2], embeddings[1::2]), genuine),
        rounds=args.rounds,
    )
    for count in [1_000_000] if args.quick else [10_000_000, 15_000_000]:
        for share in (0.5, 0.001):
            scores, labels = random_scores(count, share)
            print_row(
                f"{count:,} scores, {share:.1%} genuine: all figures / np.sort",
                lambda s=scores, g=labels: figures(s, g),  # type: ignore[misc]
                lambda s=scores: np.sort(s),  # type: ignore[misc]
                rounds=args.rounds,
            )


def print_alternatives(count: int, *, rounds: int) -> None:
    """Ways to sort two classes together, each beside one np.sort of all scores."""
    scores, genuine = random_scores(count, 0.5)
    order, pairs = np.argsort(scores), scored_pairs(scores, genuine)
    matches, others = np.sort(pairs.genuine), np.sort(pairs.impostor)
    ways: dict[str, Callable[[], object]] = {
        "argsort": lambda: np.argsort(scores),
        "scores[order], genuine[order]": lambda: (scores[order], genuine[order]),
        "boolean index a class": lambda: (scores[genuine], scores[~genuine]),
        "scored_pairs (check, split in pieces)": lambda: scored_pairs(scores, genuine),
        "searchsorted of all genuine scores": lambda: np.searchsorted(others, matches),
        "sweep_of (two sorts, search in pieces)": lambda: sweep_of(pairs),
    }
    for name, way in ways.items():
        print_row(
            f"{count:,} scores: {name} / np.sort", way, lambda: np.sort(scores), rounds=rounds
        )


def print_row(
    name: str, first: Callable[[], object], second: Callable[[], object], *, rounds: int
) -> None:
    """Run both once to warm up, then in turn; print medians and the median ratio first/second."""
    first(), second()
    times = [(seconds_of(first), seconds_of(second)) for _ in range(rounds)]
    medians = [statistics.median(column) for column in zip(*times, strict=True)]
    ratio = statistics.median(a / b for a, b in times)
    print(f"{name:68}  {medians[0]:9.4f} s  {medians[1]:9.4f} s  ratio {ratio:7.1f}", flush=True)


def seconds_of(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def unit_embeddings(pairs: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    rng = np.random.default_rng(0)
    genuine = rng.random(pairs) < 0.5
    people = rng.normal(size=(pairs, 2, 512))
    people[genuine, 1] = people[genuine, 0] + 3.5 * rng.normal(size=(genuine.sum(), 512))
    flat = people.reshape(2 * pairs, 512)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True), genuine


def random_scores(count: int, share: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    rng = np.random.default_rng(1)
    genuine = rng.random(count) < share
    return rng.normal(np.where(genuine, 0.5, 0.0), 0.15).clip(-1, 1), genuine


def insightface_evaluate(
    embeddings: NDArray[np.float64], genuine: NDArray[np.bool_]
) -> tuple[float, float]:
    """insightface's accuracy and TAR at FAR 1e-3 with its loops: folds x thresholds x pairs."""
    left, right = embeddings[0::2], embeddings[1::2]
    accuracies, tars = [], []
    grid = np.arange(0, 4, 0.01)
    distances = np.sum(np.square(left - right), axis=1)
    for train, test in KFold(10, shuffle=False).split(distances):
        known = [accuracy_at(t, distances[train], genuine[train]) for t in grid]
        for t in grid:  # its ROC on the fold, which the accuracy does not need
            accuracy_at(t, distances[test], genuine[test])
        chosen = grid[int(np.argmax(known))]
        accuracies.append(accuracy_at(chosen, distances[test], genuine[test]))
    grid = np.arange(0, 4, 0.001)
    distances = np.sum(np.square(left - right), axis=1)
    for train, test in KFold(10, shuffle=False).split(distances):
        far = [rates_at(t, distances[train], genuine[train])[1] for t in grid]
        threshold = interp1d(far, grid, kind="linear")(1e-3) if max(far) >= 1e-3 else 0.0
        tars.append(rates_at(threshold, distances[test], genuine[test])[0])
    return float(np.mean(accuracies)), float(np.mean(tars))


def accuracy_at(
    threshold: float, distances: NDArray[np.float64], genuine: NDArray[np.bool_]
) -> float:
    near = np.less(distances, threshold)
    true_accepts = np.sum(np.logical_and(near, genuine))
    np.sum(np.logical_and(near, np.logical_not(genuine)))
    true_rejects = np.sum(np.logical_and(np.logical_not(near), np.logical_not(genuine)))
    np.sum(np.logical_and(np.logical_not(near), genuine))
    return float(true_accepts + true_rejects) / distances.size


def rates_at(
    threshold: float, distances: NDArray[np.float64], genuine: NDArray[np.bool_]
) -> tuple[float, float]:
    near = np.less(distances, threshold)
    true_accepts = np.sum(np.logical_and(near, genuine))
    false_accepts = np.sum(np.logical_and(near, np.logical_not(genuine)))
    return true_accepts / np.sum(genuine), false_accepts / np.sum(np.logical_not(genuine))


if __name__ == "__main__":
    main()
