"""Offline mining beside the founding system's loop and beside the bare blocked product.

    python benchmarks/triplets.py            10,000 people x 5 images x 512 features
    python benchmarks/triplets.py --spread 3 the same where nearly all negatives violate
    python benchmarks/triplets.py --million  hard negatives of 50,000 among 1,000,000 x 128

The three are run in turn in one process, on the same embeddings. The loop is restated here and
timed on ``--loop-people`` people, then scaled: every person costs it the same. Of these both must
find the same number of triplets.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rows import Row, agree, parsed, parser, say
from table import finish
from timing import interleaved, median, ratio
from training.triplets.mining import CHOICES, mine_triplets
from training.triplets.nearest import cosine_blocks, hardest_negatives, people_of, unit_rows


def faces(people: int, images: int, size: int, spread: float) -> tuple[NDArray, NDArray]:
    """Unit embeddings around a random center each, and their labels."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(people), images)
    centers = random.standard_normal((people, size), np.float32)
    noise = random.standard_normal((len(labels), size), np.float32)
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    noise *= spread / np.sqrt(size)
    noise += centers[labels]
    return unit_rows(noise), labels


def seed_loop(units: NDArray, labels: NDArray, people: range, alpha: float) -> int:
    """The founding system's mining of some people, restated: how many triplets it finds."""
    found = 0
    for person in people:
        own = np.where(labels == person)[0]
        cosines = units[own[:-1]] @ units.T
        rows = np.concatenate([[i] * (len(own) - 1 - i) for i in range(len(own) - 1)])
        later = np.concatenate([own[i + 1 :] for i in range(len(own) - 1)])
        margins = cosines[rows, later][:, None] - cosines[rows] - alpha
        margins[:, own] = 1
        pair, negative = np.where(margins < 0)
        for each in np.unique(pair):
            np.random.choice(negative[pair == each])  # noqa: NPY002 - as it stands there
            found += 1
    return found


def bare_product(units: NDArray, labels: NDArray, memory: int) -> None:
    """The same blocks of cosines as mining makes, and nothing else."""
    people = people_of(labels)
    anchors = people.order[np.arange(len(labels)) < people.stop[people.order] - 1]
    for _ in cosine_blocks(units, anchors, memory=memory):
        pass


def mining(options: argparse.Namespace) -> list[Row]:
    """Rows of each choice beside the loop, and beside the product alone."""
    units, labels = faces(options.people, options.images, options.size, options.spread)
    memory = options.memory * 2**20
    sample = min(options.loop_people, options.people)
    found = {
        choice: mine_triplets(units, labels, choice=choice, memory=memory)
        for choice in options.choices
    }
    if "random" in found:
        ours = int((labels[found["random"].anchors] < sample).sum())
        loop = seed_loop(units, labels, range(sample), 0.2)
        # A product that lies on the margin may be rounded across it.
        agree("triplets of the loop's people, of all", abs(ours - loop) / max(loop, 1), 1e-3)
    sides: dict[str, Callable[[], object]] = {
        "loop": lambda: seed_loop(units, labels, range(sample), 0.2),
        "product": lambda: bare_product(units, labels, memory),
    }
    for choice in options.choices:
        sides[choice] = lambda c=choice: mine_triplets(  # type: ignore[misc]
            units, labels, choice=c, memory=memory
        )
    times = interleaved(sides, options.rounds, warm_up=False)
    scale = options.people / sample
    name = f"{options.people:,} x {options.images} x {options.size}"
    rows = []
    for choice in options.choices:
        loop_s, product_s, ours_s = (median(times, k) for k in ("loop", "product", choice))
        rows += [
            Row(
                f"mining-{choice}-loop", f"offline mining, {name}, {choice}", "the seed's loop",
                scale * ratio(times, "loop", choice), "x", 8, rounds=options.rounds,
                detail=f"{scale * loop_s:.1f} s (scaled) against {ours_s:.2f} s",
            ),
            Row(
                f"mining-{choice}-product", f"offline mining, {name}, {choice}",
                "the bare product", ratio(times, choice, "product"), "x", 1.6, at_most=True,
                rounds=options.rounds, detail=f"{ours_s:.2f} s against {product_s:.2f} s",
            ),
        ]  # fmt: skip
    print_peak()
    return rows


def million(arguments: argparse.Namespace) -> None:
    """Prints time and memory of the hardest negatives among a million."""
    units, labels = faces(200_000, 5, 128, 1.0)
    rows = np.arange(0, len(units), len(units) // 50_000)[:50_000]
    begin = time.perf_counter()
    _, cosines = hardest_negatives(
        units, people_of(labels), rows, count=16, memory=arguments.memory * 2**20
    )
    took = time.perf_counter() - begin
    say(f"{len(rows):,} of {len(units):,} x 128, 16 each: {took:.0f} s")
    ends = cosines[:, 0].mean(), cosines[:, -1].mean()
    say(f"mean cosine of the hardest {ends[0]:.4f}, of the last {ends[1]:.4f}")
    print_peak()


def print_peak() -> None:
    """Prints the process's peak memory, the embeddings and imports included."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    say(f"peak memory of the process {peak:,.0f} MiB")


def main() -> None:
    """Runs what the command line asks for."""
    made = parser(__doc__)
    made.add_argument("--people", type=int)
    made.add_argument("--images", type=int, default=5)
    made.add_argument("--size", type=int, default=512)
    made.add_argument("--spread", type=float, default=1.5, help="3: nearly all negatives violate")
    made.add_argument("--memory", type=int, default=256, help="MiB for a block of cosines")
    made.add_argument("--loop-people", type=int, default=100)
    made.add_argument("--choices", nargs="+", default=["random"], choices=list(CHOICES))
    made.add_argument("--million", action="store_true")
    options = parsed(made)
    options.people = options.people or (200 if options.quick else 10_000)
    if options.million:
        million(options)
        return
    finish(mining(options), options)


if __name__ == "__main__":
    main()
