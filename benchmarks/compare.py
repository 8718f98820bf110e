"""Time to compare two models on three bins of 6,000 pairs with 10,000 bootstrap replicates.

Run: python benchmarks/compare.py [--quick]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time

import numpy as np

from evaluator.comparison import combine, compare_pairs, verdict


def noisy_copies(pairs: int, seed: int) -> dict[str, object]:
    """Two noisy copies of one model on pairs that reuse images as often as LFW's do."""
    generator = np.random.default_rng(seed)
    genuine = np.arange(pairs) % 2 == 0
    shared = generator.normal(size=pairs) + 5 * genuine
    scores = [shared + 0.5 * generator.normal(size=pairs) for _ in range(2)]
    images = generator.integers(0, int(1.3 * pairs), size=(2, pairs))
    return {
        "scores_a": scores[0],
        "scores_b": scores[1],
        "genuine": genuine,
        "correct_a": (scores[0] > 2.5) == genuine,
        "correct_b": (scores[1] > 2.5) == genuine,
        "images": (images[0], images[1]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one repetition of 600 pairs a bin")
    quick = parser.parse_args().quick
    pairs, repetitions = (600, 1) if quick else (6000, 5)
    bins = [noisy_copies(pairs, seed) for seed in range(3)]
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        comparisons = [compare_pairs(**each, replicates=10_000) for each in bins]
        overall = combine({f"bin {i}": each for i, each in enumerate(comparisons)})
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"3 bins x {pairs:,} pairs, 10,000 replicates: {comparisons[0].basis}")
    print(f"overall: {verdict(overall)}")
    print(f"{statistics.median(seconds):.2f} s median of {repetitions}; peak memory {peak:.0f} MiB")


if __name__ == "__main__":
    main()
