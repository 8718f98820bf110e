"""Time to compare two models on three bins of 6,000 pairs.

Run: python benchmarks/compare.py [--quick]
"""

from __future__ import annotations

import resource
import statistics
from typing import Any

import numpy as np

from evaluator.metrics.sharing import pair_sharing
from evaluator.statistics.comparison import compare_pairs, overall_of, tested_figure
from evaluator.statistics.differences import mean_of
from evaluator.statistics.verdicts import verdict
from rows import Row, parsed, parser, say
from table import finish
from timing import seconds_of


def noisy_copies(pairs: int, seed: int) -> dict[str, Any]:
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
        "sharing": pair_sharing(*images),
    }


def main() -> None:
    options = parsed(parser(__doc__))
    pairs = 600 if options.quick else 6000
    bins = [noisy_copies(pairs, seed) for seed in range(3)]

    def comparison() -> str:
        compared = [found for each in bins if (found := compare_pairs(**each))]
        overall = overall_of(mean_of([each.differences for each in compared]), compared)
        return verdict(overall, ("A", "B"), overall.p_value, tested_figure("accuracy"))

    comparison()
    seconds = statistics.median(seconds_of(comparison).wall for _ in range(options.rounds))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    say(f"3 bins x {pairs:,} pairs: {comparison()}; peak memory {peak:.0f} MB")
    row = Row(
        "compare", f"compare, 3 bins x {pairs:,} pairs", "-", seconds, "s", 2,
        at_most=True, rounds=options.rounds, detail=f"peak memory {peak:.0f} MB",
    )  # fmt: skip
    finish([row], options)


if __name__ == "__main__":
    main()
