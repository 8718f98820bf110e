"""Offline mining beside the founding system's loop and beside the bare blocked product.

    python benchmarks/triplets.py            10,000 people x 5 images x 512 features
    python benchmarks/triplets.py --million  hard negatives of 50,000 among 1,000,000 x 128
    python benchmarks/triplets.py --quick    1,000 people, in seconds: shows that it runs

``--json`` prints one object instead, its ``rows`` those of the tables.

The three are run in turn in one process, on the same embeddings. The loop is restated here and
timed on the people that fit ``--loop-people``, then scaled: every person costs it the same.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.nearest import (
    cosine_blocks,
    fastest_product,
    hardest_negatives,
    people_of,
    unit_rows,
)
from training.triplets import CHOICES, mine_triplets


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


class Seconds(NamedTuple):
    """What a call takes by the clock, and of all cores' time: the second stands still while
    other programs have the cores.
    """

    wall: float
    cpu: float


def seconds(call: Callable[..., object], *arguments: object, **options: object) -> Seconds:
    """How long a call takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    call(*arguments, **options)
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


class Row(NamedTuple):
    """A line of the table: the two ratios are of all cores' time."""

    case: str
    what: str
    wall_seconds: float
    cpu_seconds: float
    loop_over_it: float
    it_over_product: float


def mining(arguments: argparse.Namespace) -> list[Row]:
    """Rows where few negatives violate and where nearly all do: medians of the rounds."""
    # Importing Keras is no part of what is timed first.
    fastest_product(np.eye(2, dtype=np.float32))
    rows = []
    for name, spread in (("few violate", 1.5), ("nearly all violate", 3.0)):
        units, labels = faces(arguments.people, arguments.images, arguments.size, spread)
        rounds = [timed_round(units, labels, arguments) for _ in range(arguments.repeat)]
        medians = {
            key: Seconds(*map(float, np.median([each[key] for each in rounds], axis=0)))
            for key in rounds[0]
        }
        case = f"{name}: {len(labels):,} x {arguments.size}, median of {arguments.repeat}"
        for key, each in medians.items():
            loop = medians["loop"].cpu / each.cpu
            product = each.cpu / medians["product"].cpu
            rows.append(Row(case, key, each.wall, each.cpu, loop, product))
    return rows


def print_rows(rows: list[Row]) -> None:
    """The rows as tables, and the process's peak memory."""
    for case in dict.fromkeys(row.case for row in rows):
        print(case)
        print(f"  {'':18} {'wall':>18} {'all cores':>18}   loop/it it/product (all cores)")
        for row in rows:
            if row.case == case:
                print(
                    f"  {row.what:18} {row.wall_seconds:16.2f} s {row.cpu_seconds:16.2f} s   "
                    f"{row.loop_over_it:7.1f} {row.it_over_product:7.2f}"
                )
    print(f"peak memory of the process {peak_mib():,.0f} MiB")


def timed_round(
    units: NDArray, labels: NDArray, arguments: argparse.Namespace
) -> dict[str, Seconds]:
    """The loop, the bare product and each choice, one after the other."""
    memory = arguments.memory * 2**20
    sample = min(arguments.loop_people, arguments.people)
    loop = seconds(seed_loop, units, labels, range(sample), 0.2)
    found = {
        "loop": Seconds(*(each * arguments.people / sample for each in loop)),
        "product": seconds(bare_product, units, labels, memory),
    }
    for choice in arguments.choices:
        found[choice] = seconds(mine_triplets, units, labels, choice=choice, memory=memory)
    return found


def million(arguments: argparse.Namespace) -> None:
    """Prints time and memory of the hardest negatives among a million."""
    units, labels = faces(200_000, 5, 128, 1.0)
    rows = np.arange(0, len(units), len(units) // 50_000)[:50_000]
    begin = time.perf_counter()
    _, cosines = hardest_negatives(
        units, people_of(labels), rows, count=16, memory=arguments.memory * 2**20
    )
    took = time.perf_counter() - begin
    print(f"{len(rows):,} of {len(units):,} x 128, 16 each: {took:.0f} s")
    ends = cosines[:, 0].mean(), cosines[:, -1].mean()
    print(f"mean cosine of the hardest {ends[0]:.4f}, of the last {ends[1]:.4f}")
    print(f"peak memory of the process {peak_mib():,.0f} MiB")


def peak_mib() -> float:
    """The process's peak memory, the embeddings and imports included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=10_000)
    parser.add_argument("--images", type=int, default=5)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--memory", type=int, default=256, help="MiB for a block of cosines")
    parser.add_argument("--loop-people", type=int, default=500)
    parser.add_argument("--choices", nargs="+", default=["random"], choices=list(CHOICES))
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--quick", action="store_true", help="1,000 people, once, every choice")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.people, arguments.repeat, arguments.loop_people = 1000, 1, 5
        arguments.choices = list(CHOICES)
    if arguments.million:
        million(arguments)
        return
    rows = mining(arguments)
    if arguments.json:
        print(json.dumps({"rows": [row._asdict() for row in rows], "peak_mib": peak_mib()}))
    else:
        print_rows(rows)


if __name__ == "__main__":
    main()
