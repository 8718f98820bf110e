"""Time the figures beside insightface's evaluate and beside one np.sort, and how it grows.

    python benchmarks/figures.py            # 6,000 pairs; 15,000,000 scores; 1e3 to 1e7 scores
    python benchmarks/figures.py --quick    # seconds: 600 pairs; 300,000 scores
    python benchmarks/figures.py --alternatives   # what metrics/sweep.py does not do, and why

insightface's rule is restated below; ours must give its accuracy and TAR to 1e-9.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import interp1d
from sklearn.model_selection import KFold

from evaluator.metrics.all_figures import figures, to_json
from evaluator.metrics.sweep import scored_pairs, sweep_of
from rows import Row, agree, parsed, parser, say
from table import finish
from timing import interleaved, median, ratio, seconds_of


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--alternatives", action="store_true", help="ways to sweep, by np.sort")
    options = parsed(made)
    if options.alternatives:
        print_alternatives(1_000_000 if options.quick else 15_000_000, rounds=options.rounds)
        return
    finish([peer_row(options), *sort_rows(options), growth_row(options)], options)


def peer_row(options: argparse.Namespace) -> Row:
    """All figures of one bin, from embeddings, beside insightface's."""
    pairs = 600 if options.quick else 6000
    embeddings, genuine = unit_embeddings(pairs)
    ours = protocol_figures(embeddings, genuine)
    for name, a, b in zip(
        ("accuracy", "TAR"), insightface_evaluate(embeddings, genuine), ours, strict=True
    ):
        agree(f"insightface's {name}", abs(a - b), 1e-9)
    times = interleaved(
        {
            "peer": lambda: insightface_evaluate(embeddings, genuine),
            "ours": lambda: figures(
                np.einsum("ij,ij->i", embeddings[0::2], embeddings[1::2]), genuine
            ),
        },
        options.rounds,
    )
    peer, mine = median(times, "peer"), median(times, "ours")
    return Row(
        "figures-peer", f"all figures, {pairs:,} pairs", "insightface's evaluate",
        ratio(times, "peer", "ours"), "x", 60, rounds=options.rounds,
        detail=f"{peer:.2f} s against {1000 * mine:.1f} ms",
    )  # fmt: skip


def sort_rows(options: argparse.Namespace) -> list[Row]:
    """All figures of many scores, intervals too, beside one np.sort of them."""
    count = 300_000 if options.quick else 15_000_000
    rows = []
    for share in (0.5, 0.001):
        scores, labels = random_scores(count, share)
        times = interleaved(
            {
                "figures": lambda s=scores, g=labels: figures(s, g),  # type: ignore[misc]
                "sort": lambda s=scores: np.sort(s),  # type: ignore[misc]
            },
            options.rounds,
        )
        ours, sort = median(times, "figures"), median(times, "sort")
        rows.append(
            Row(
                f"figures-sort-{share:g}",
                f"all figures and intervals, {count:,} scores, {share:.1%} genuine",
                "one np.sort", ratio(times, "figures", "sort"), "x", 6, at_most=True,
                rounds=options.rounds, detail=f"{ours:.2f} s against {sort:.2f} s",
            )
        )  # fmt: skip
    return rows


def growth_row(options: argparse.Namespace) -> Row:
    """How the time grows with the pairs: the exponent of the line through 1e3 to 1e7 pairs."""
    counts = [10**power for power in range(3, 6 if options.quick else 8)]
    seconds = []
    for count in counts:
        scores, labels = random_scores(count, 0.5)
        figures(scores, labels)
        rounds = max(options.rounds, 3) if count < 10**6 else 2
        seconds.append(
            statistics.median(
                seconds_of(lambda s=scores, g=labels: figures(s, g)).wall  # type: ignore[misc]
                for _ in range(rounds)
            )
        )
    shown = ", ".join(f"{n:.0e}: {t:.4f} s" for n, t in zip(counts, seconds, strict=True))
    say(f"all figures by scores: {shown}")
    tail = slice(-3, None)  # below 1e5 pairs fixed costs are what is measured
    exponent = np.polyfit(np.log(counts[tail]), np.log(seconds[tail]), 1)[0]
    return Row(
        "figures-exponent", f"all figures, {counts[-3]:,} to {counts[-1]:,} scores: exponent",
        "n log n: 1.06 there", float(exponent), "", None, rounds=2,
        detail=shown,
    )  # fmt: skip


def protocol_figures(
    embeddings: NDArray[np.float64], genuine: NDArray[np.bool_]
) -> tuple[float, float]:
    """Accuracy and TAR by our insightface protocol."""
    found = to_json(figures(np.einsum("ij,ij->i", embeddings[0::2], embeddings[1::2]), genuine))
    protocol = found["insightface"]
    return protocol["accuracy"], protocol["tar_at_far_1e-3"]["tar"]


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
        times = interleaved({"way": way, "sort": lambda: np.sort(scores)}, rounds)
        say(f"{count:,} scores: {name} / np.sort: {ratio(times, 'way', 'sort'):.2f}")


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
