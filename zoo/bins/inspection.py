"""What is in a bin and what is wrong with it: every image decoded, every pair compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.bins.pairs_file import linked_people, read_people
from evaluator.bins.verification_set import (
    StoredBin,
    VerificationSet,
    distinct_images,
    read_stored,
)
from evaluator.errors import BinError, plain_name
from evaluator.images.decode import DecodeError, decode_image
from evaluator.images.image_format import image_format
from training.data.convert.convert import in_order
from zoo.bins.placement import Placement, on_template, placement, placement_advice
from zoo.entries.public_bins import OTHERS, origin_of

FOLDS = 10


@dataclass(frozen=True)
class BinReport:
    """A bin's content. Numbers of pairs and slots count from 0, in the file's order.

    ``sizes`` ("height x width") and ``formats`` count distinct images. ``folds`` are genuine and
    impostor pairs of the ten contiguous parts that evaluators cut, empty below ten pairs.
    ``repeated`` are [first, again]: pairs of the same two images and label; ``contradicting`` the
    same with another label; ``linked`` other impostor pairs whose images genuine pairs join to one
    person; ``same_image`` pairs with equal bytes on both sides; ``undecodable`` slots and causes.
    ``people`` are how many there are and how many appear in several folds, where a pairs file
    tells. ``alignment`` is where the faces lie, if that was asked. ``problems`` make a bin wrong;
    ``notes`` are worth knowing.
    """

    path: str
    name: str
    sha256: str
    known: str | None
    layout: str
    bytes: int
    pairs: int
    genuine: int
    impostor: int
    images: int
    unique_images: int
    sizes: dict[str, int]
    formats: dict[str, int]
    folds: list[list[int]]
    repeated: list[list[int]]
    contradicting: list[list[int]]
    linked: list[int]
    same_image: list[int]
    undecodable: dict[int, str]
    people: dict[str, int] | None
    alignment: Placement | None
    notes: list[str]
    problems: list[str]


def inspect_bin(
    path: Path, *, alignment: bool = False, progress: Callable[[int], None] | None = None
) -> BinReport:
    """The report of one bin, with ``alignment`` by landmarks found in some of its images.

    Raises BinError for what is no list of labelled pairs; InputError if there is no detector;
    OSError.
    """
    stored = read_stored(path)
    distinct, slots = distinct_images(stored.images)
    kinds = list(in_order(looked_at, distinct, progress))
    causes = {i: kind for i, kind in enumerate(kinds) if isinstance(kind, str)}
    undecodable = {
        slot: stored.faults.get(slot, causes[image])
        for slot, image in enumerate(slots.tolist())
        if image in causes
    }
    whole = [kind for kind in kinds if not isinstance(kind, str)]
    repeated, contradicting = _compared(slots, stored.genuine)
    direct = {pair for pairs in contradicting for pair in pairs}
    linked = [pair for pair in _linked(slots, stored.genuine) if pair not in direct]
    faces = _placement(distinct, kinds) if alignment else None
    genuine = int(stored.genuine.sum())
    people, people_problem = _people(stored)
    facts = BinReport(
        path=str(path),
        name=plain_name(path.stem),
        sha256=stored.sha256,
        known=OTHERS.get(stored.sha256) or origin_of(path, stored.sha256),
        layout=stored.layout,
        bytes=stored.size,
        pairs=len(stored.genuine),
        genuine=genuine,
        impostor=len(stored.genuine) - genuine,
        images=len(slots),
        unique_images=len(distinct),
        sizes=dict(Counter(size for _, size in whole).most_common()),
        formats=dict(Counter(name for name, _ in whole).most_common()),
        folds=_folds(stored.genuine),
        repeated=repeated,
        contradicting=contradicting,
        linked=linked,
        same_image=np.flatnonzero(slots[0::2] == slots[1::2]).tolist(),
        undecodable=undecodable,
        people=people,
        alignment=faces,
        notes=[],
        problems=people_problem,
    )
    facts.problems.extend(_problems(facts))
    facts.notes.extend(_notes(facts))
    return facts


def _placement(images: Sequence[bytes], kinds: Sequence[tuple[str, str] | str]) -> Placement:
    """Where the faces lie in the images that decode."""
    whole = [number for number, kind in enumerate(kinds) if not isinstance(kind, str)]
    sizes = []
    for number in whole:
        height, width = kinds[number][1].split("x")
        sizes.append((int(height), int(width)))
    return placement([bytes(images[number]) for number in whole], sizes)


def looked_at(image: bytes) -> tuple[str, str] | str:
    """Format and size of an image, or what is wrong with it."""
    try:
        height, width, _ = decode_image(image).shape
    except DecodeError as error:
        return str(error)
    return image_format(image) or "", f"{height}x{width}"


def _folds(genuine: NDArray[np.bool_]) -> list[list[int]]:
    if len(genuine) < FOLDS:
        return []
    return [
        [int(part.sum()), int((~part).sum())]
        for part in np.array_split(genuine, FOLDS)  # the parts of scikit-learn's KFold
    ]


def _compared(
    slots: NDArray[np.intp], genuine: NDArray[np.bool_]
) -> tuple[list[list[int]], list[list[int]]]:
    """Pairs of the same two images as an earlier pair, by whether the label is the same too."""
    first: dict[tuple[int, int], int] = {}
    repeated: list[list[int]] = []
    contradicting: list[list[int]] = []
    ends = np.sort(slots.reshape(-1, 2), axis=1)
    for pair, (a, b) in enumerate(ends.tolist()):
        earlier = first.setdefault((a, b), pair)
        if earlier != pair:
            same = genuine[earlier] == genuine[pair]
            (repeated if same else contradicting).append([earlier, pair])
    return repeated, contradicting


def _linked(slots: NDArray[np.intp], genuine: NDArray[np.bool_]) -> list[int]:
    """Impostor pairs of two images that a chain of genuine pairs says are one person's."""
    ends, (person, _) = slots.reshape(-1, 2), linked_people(slots, genuine)
    found = ~genuine & (person[ends[:, 0]] == person[ends[:, 1]]) & (ends[:, 0] != ends[:, 1])
    pairs: list[int] = np.flatnonzero(found).tolist()
    return pairs


def _people(stored: StoredBin) -> tuple[dict[str, int] | None, list[str]]:
    """People by the pairs file, and what is wrong with that file."""
    bin_set = VerificationSet("", stored.path, stored.sha256, stored.images, stored.genuine)
    try:
        ends = read_people(bin_set)
    except BinError as error:
        return None, [str(error)]
    if ends is None:
        return None, []
    known, number = np.unique(np.stack(ends, axis=1), return_inverse=True)
    seen = np.zeros((FOLDS, len(known)), np.bool_)
    for fold, part in enumerate(np.array_split(number.reshape(-1, 2), FOLDS)):
        seen[fold, part.ravel()] = True
    return {"count": len(known), "in_several_folds": int((seen.sum(axis=0) > 1).sum())}, []


def _problems(report: BinReport) -> list[str]:
    found = []
    if report.undecodable:
        broken = next(iter(report.undecodable.items()))
        found.append(
            f"{len(report.undecodable)} images do not decode:"
            f" {first_few(list(report.undecodable))}; image {broken[0]} {broken[1]}"
        )
    contradicting = [pair for _, pair in report.contradicting]
    for pairs, wrong in (
        (contradicting, "pairs have the images of an earlier pair and the other label"),
        (report.linked, "impostor pairs have images that genuine pairs join to one person"),
        (report.same_image, "pairs have the same image on both sides"),
    ):
        found += [f"{len(pairs)} {wrong}: {first_few(pairs)}"] if pairs else []
    found += [
        f"no {kind} pairs: accuracy and every error rate are undefined"
        for kind, count in (("genuine", report.genuine), ("impostor", report.impostor))
        if not count
    ]
    if report.genuine and report.impostor and any(0 in fold for fold in report.folds):
        found.append("a tenth of the pairs has one label only: k-fold figures are distorted")
    return found


def _notes(report: BinReport) -> list[str]:
    found = []
    if report.repeated:
        pairs = [pair for _, pair in report.repeated]
        found.append(f"{len(pairs)} pairs are repeated and count again: {first_few(pairs)}")
    if len(report.sizes) > 1:
        found.append("images of several sizes: were all of them aligned?")
    elif report.sizes and "112x112" not in report.sizes:
        found.append(f"images are {next(iter(report.sizes))}; aligned bins are usually 112x112")
    if report.alignment and not on_template(report.alignment):
        found.append(placement_advice(report.alignment))
    if report.people and report.people["in_several_folds"]:
        found.append(
            f"{report.people['in_several_folds']} people are in several folds: the k-fold mean"
            " tests on people that its thresholds have seen"
        )
    return found


def first_few(numbers: Sequence[int]) -> str:
    """The first five of some numbers, in words."""
    return ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")


def counted(counts: Mapping[str, int]) -> str:
    """Names and how many there are of each, the first six, in words."""
    shown = [f"{name} ({count:,})" for name, count in list(counts.items())[:6]]
    more = [f"and {len(counts) - 6} more"] if len(counts) > 6 else []
    return ", ".join(shown + more) or "none"
