"""Time to compare two models on three bins of 6,000 pairs with 10,000 bootstrap replicates.

Run: python benchmarks/compare.py [--quick]
"""

from __future__ import annotations

import resource
import statistics

import numpy as np

from evaluator.statistics.comparison import combine, compare_pairs, verdict
from rows import Row, parsed, parser, say
from table import finish
from timing import seconds_of


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
    options = parsed(parser(__doc__))
    pairs = 600 if options.quick else 6000
    bins = [noisy_copies(pairs, seed) for seed in range(3)]

    def comparison() -> str:
        return verdict(
            combine(
                {
                    f"bin {i}": compare_pairs(**each, replicates=10_000)
                    for i, each in enumerate(bins)
                }
            )
        )

    comparison()
    seconds = statistics.median(seconds_of(comparison).wall for _ in range(options.rounds))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    say(f"3 bins x {pairs:,} pairs: {comparison()}; peak memory {peak:.0f} MB")
    row = Row(
        "compare", f"compare, 3 bins x {pairs:,} pairs, 10,000 bootstraps", "-", seconds, "s", 2,
        at_most=True, rounds=options.rounds, detail=f"peak memory {peak:.0f} MB",
        quick=options.quick,
    )  # fmt: skip
    finish([row], options)


if __name__ == "__main__":
    main()
