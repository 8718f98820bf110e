"""Hard impostors: the pairs that a model finds most alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import InputError
from evaluator.isolation.several import open_several
from evaluator.measure.embed import EmbedOptions, embed_images, unusable_rows
from evaluator.models.load import check_model
from evaluator.models.options import LoadOptions
from zoo.bins.build import Read, read_images
from zoo.bins.sampling import Impostors, People


def model_embeddings(
    people: People,
    read: Read,
    model: Path,
    *,
    profile: str | None,
    jobs: int = 1,
    progress: Callable[[int], None] | None = None,
) -> dict[str, NDArray[np.float32]]:
    """The unit embedding of every image by a model file, in so many processes. Raises ModelError
    and InputError.
    """
    names = [name for images in people.values() for name in images]
    images = read_images(names, read)
    options = LoadOptions(profile=profile)
    check_model(model, options)
    with open_several(model, options, jobs) as embedder:
        rows = embed_images(
            embedder,
            [images[name] for name in names],
            options=EmbedOptions(),
            describe=names.__getitem__,
            on_progress=progress,
        )
    if unusable_rows(rows).any():
        first = names[int(np.flatnonzero(unusable_rows(rows))[0])]
        raise InputError(f"{model}: gives no finite embedding for {first}; take another model")
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return dict(zip(names, rows, strict=True))


def hardest(people: People, embeddings: dict[str, NDArray[np.float32]]) -> Impostors:
    """A chooser of a fold's most similar impostor pairs, at most one for two people.

    For every two people of the fold their most similar images, by cosine; of these the highest,
    the earlier of equal ones. A bin made so is hard for this model in particular: it compares
    other models with each other, never this one with them.
    """

    def choose(fold: Sequence[str], wanted: int) -> list[tuple[str, str]]:
        names = [name for person in fold for name in people[person]]
        rows = np.stack([embeddings[name] for name in names])
        sizes = np.array([len(people[person]) for person in fold])
        starts = np.concatenate([[0], np.cumsum(sizes)])
        count = len(fold) * (len(fold) - 1) // 2
        if count < wanted:
            raise InputError(
                f"--negatives hard: takes one pair of any two people, which are {count} in a"
                f" fold of {len(fold)} people, and {wanted} are wanted; lower --impostors"
            )
        found = [
            _most_alike(rows, starts, sizes, person, wanted) for person in range(len(fold) - 1)
        ]
        cosines, left, right = (np.concatenate(each) for each in zip(*found, strict=True))
        order = np.lexsort((right, left, -cosines))[:wanted]
        return [(names[left[i]], names[right[i]]) for i in order.tolist()]

    return choose


def _most_alike(
    rows: NDArray[np.float32],
    starts: NDArray[np.intp],
    sizes: NDArray[np.intp],
    person: int,
    wanted: int,
) -> tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.intp]]:
    """Of a person and each one after: the highest cosine, and whose rows have it, the first of
    equal ones; where there are more than are wanted, those that may be among them.
    """
    rest = starts[person + 1]
    cosines = rows[starts[person] : rest] @ rows[rest:].T
    best_own, best = cosines.argmax(axis=0), cosines.max(axis=0)
    others = starts[person + 1 : -1] - rest
    highest = np.maximum.reduceat(best, others)
    equal = np.flatnonzero(best == np.repeat(highest, sizes[person + 1 :]))
    first = equal[np.searchsorted(equal, others)]
    if len(first) > wanted:
        floor = np.partition(highest, -wanted)[-wanted]
        first, highest = first[highest >= floor], highest[highest >= floor]
    return highest, starts[person] + best_own[first], rest + first
