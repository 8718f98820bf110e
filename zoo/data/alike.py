"""Images and people of training data that a model finds alike.

Cosines are those of embeddings less the mean of all of them, at unit length: many models keep every
face in a narrow cone, where impostors' cosines are 0.9; centred, they are about 0 for any.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import InputError
from training.data.sources.faces import FaceSet
from zoo.data.findings import Finding, of_two
from zoo.data.looking import BLOCK, Looked, unit

Floats = NDArray[np.float32]

# Other people whose images each image is compared with one by one: a copy under a wrong name is
# near the right person.
_NEAREST = 3

# Bytes of cosines at once.
_MEMORY = 256 * 2**20

# An image is likelier another's where nine of ten are no nearer to their own people's means.
_OWN_SHARE = 0.1


@dataclass(frozen=True)
class Alike:
    """Centred unit embeddings ``rows`` (images, size), in a file, ``means`` (people, size) of unit
    length, zeros for those without any, and what was found.
    """

    centre: Floats
    rows: Floats
    means: Floats
    same_image: float
    same_person: float
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def centred(self, embeddings: Floats) -> Floats:
        """Unit embeddings of others in the same form."""
        usable = embeddings.any(axis=1, keepdims=True)
        return np.asarray(unit(np.where(usable, embeddings - self.centre, 0)))

    def near_images(self, others: Floats) -> Iterator[tuple[int, int, float]]:
        """Images and rows of ``others`` that are nearly the same: both numbers and the cosine."""
        for start, cosines in _blocks(self.rows, others):
            for i, k in np.argwhere(cosines >= self.same_image).tolist():
                yield start + i, k, float(cosines[i, k])

    def near_people(
        self, others: Floats, person: NDArray[np.int64], count: int
    ) -> Iterator[tuple[int, int, float]]:
        """People here and of ``others``, whose rows are of ``person``, that are likely one: both
        numbers and the cosine of their means.
        """
        sums = np.zeros((count, others.shape[1]), np.float32)
        np.add.at(sums, person, others)
        for start, cosines in _blocks(self.means, unit(sums)):
            for p, q in np.argwhere(cosines >= self.same_person).tolist():
                yield start + p, q, float(cosines[p, q])


def alike(
    faces: FaceSet,
    looked: Looked,
    same: set[tuple[int, int]],
    same_image: float,
    same_person: float | None,
) -> Alike:
    """Near-duplicates but those that are the ``same``, likely wrong labels, and people who are
    likely one; the embeddings of ``looked`` are centred in place.

    Raises InputError where no two images of one person have embeddings, and no ``same_person`` is
    given.
    """
    rows = looked.embeddings
    if rows is None or not len(rows):
        raise InputError(f"{faces.source}: no image to embed")
    centre = _centre(rows)
    sums = np.zeros((faces.people, rows.shape[1]))
    halves = np.zeros((faces.people, rows.shape[1]))
    turn = np.zeros(faces.people, np.int64)
    for start in range(0, len(rows), BLOCK):
        block, labels = rows[start : start + BLOCK], faces.labels[start : start + BLOCK]
        usable = block.any(axis=1)
        block[usable] = unit(block[usable] - centre)
        np.add.at(sums, labels, block)
        for label, row in zip(labels[usable], block[usable], strict=True):
            turn[label] += 1
            if turn[label] % 2:
                halves[label] += row
    means = unit(sums.astype(np.float32))
    notes = []
    if same_person is None:
        both = turn >= 2
        if not both.any():
            raise InputError(
                "--same-person: no person has two images whose halves could tell it; give one"
            )
        first = unit(halves[both].astype(np.float32))
        second = unit((sums - halves)[both].astype(np.float32))
        same_person = float(np.median((first * second).sum(axis=1)))
        notes.append(
            f"people with a cosine from {same_person:.3f} on are taken for one: half of "
            f"{int(both.sum()):,} people's own halves reach it (--same-person takes another)"
        )
    found = Alike(centre, rows, means, same_image, same_person, [], notes)
    people = _same_people(found)
    _look_at_images(faces, found, sums, same, {(p, q) for _, p, q in people})
    found.findings.extend(
        Finding("same person", "", faces.names[p], "", faces.names[q], cosine)
        for cosine, p, q in people
    )
    return found


def _centre(rows: Floats) -> Floats:
    total, count = np.zeros(rows.shape[1]), 0
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        total += block.sum(axis=0, dtype=np.float64)
        count += int(block.any(axis=1).sum())
    return np.asarray(total / max(count, 1), np.float32)


def _blocks(rows: Floats, others: Floats) -> Iterator[tuple[int, Floats]]:
    """Where a block of rows begins, and its cosines with all others."""
    height = max(1, min(BLOCK, _MEMORY // (4 * max(len(others), 1))))
    for start in range(0, len(rows), height):
        yield start, rows[start : start + height] @ others.T


def _look_at_images(
    faces: FaceSet,
    found: Alike,
    sums: NDArray[np.float64],
    same: set[tuple[int, int]],
    people: set[tuple[int, int]],
) -> None:
    """Adds near-duplicates and likely wrong labels to the findings; those of ``people`` who are
    likely one are no surprise.
    """
    order = np.argsort(faces.labels, kind="stable")
    starts = np.searchsorted(faces.labels[order], np.arange(faces.people + 1))
    own, nearest, person = (np.zeros(len(faces), np.float32) for _ in range(3))
    near = dict[tuple[int, int], float]()
    count = min(_NEAREST, faces.people - 1)
    for start, cosines in _blocks(found.rows, found.means):
        rows, places = found.rows[start : start + len(cosines)], np.arange(len(cosines))
        labels = faces.labels[start : start + len(cosines)]
        rest = unit((sums[labels] - rows).astype(np.float32))
        own[start : start + len(rows)] = (rest * rows).sum(axis=1)
        cosines[places, labels] = -np.inf
        others = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        best = cosines.argmax(axis=1)
        nearest[start : start + len(rows)] = cosines[places, best]
        person[start : start + len(rows)] = best
        for i, row in enumerate(rows):
            for p in (int(labels[i]), *others[i].tolist()):
                theirs = order[starts[p] : starts[p + 1]]
                values = found.rows[theirs] @ row
                for at in np.flatnonzero(values >= found.same_image).tolist():
                    pair = (int(min(theirs[at], start + i)), int(max(theirs[at], start + i)))
                    if pair[0] != pair[1] and pair not in same:
                        near[pair] = float(values[at])
    for (j, i), cosine in sorted(near.items()):
        kind = "near-duplicate" + ("" if faces.labels[i] == faces.labels[j] else ", two people")
        found.findings.append(of_two(kind, faces, i, j, cosine))
    has_own = found.rows.any(axis=1) & (own != 0)
    if not has_own.any():
        return
    least = float(np.quantile(own[has_own], _OWN_SHARE))
    wrong = np.flatnonzero(has_own & (own < nearest) & (nearest >= least))
    found.notes.append(
        f"an image is listed as another's where it is nearer to that one than to its own and from "
        f"{least:.3f} on, which nine of ten reach with their own"
    )
    for i in sorted(wrong.tolist(), key=lambda i: float(own[i] - nearest[i])):
        label, other = int(faces.labels[i]), int(person[i])
        if (min(label, other), max(label, other)) not in people:
            names = faces.names[label], faces.names[other]
            found.findings.append(
                Finding("mislabelled", faces.origin(i), names[0], "", names[1], float(nearest[i]))
            )


def _same_people(found: Alike) -> list[tuple[float, int, int]]:
    """The cosines and numbers of people who are likely one, the most alike first."""
    pairs = []
    for start, cosines in _blocks(found.means, found.means):
        for i, q in np.argwhere(cosines >= found.same_person).tolist():
            if start + i < q:
                pairs.append((float(cosines[i, q]), start + i, q))
    return sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2]))
