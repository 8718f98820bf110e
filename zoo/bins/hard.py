"""Hard impostors: the pairs that a model finds most alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import InputError
from evaluator.isolation.process import open_model
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
    progress: Callable[[int], None] | None = None,
) -> dict[str, NDArray[np.float32]]:
    """The unit embedding of every image by a model file. Raises ModelError and InputError."""
    names = [name for images in people.values() for name in images]
    images = read_images(names, read)
    options = LoadOptions(profile=profile)
    check_model(model, options)
    with open_model(model, options) as embedder:
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
        starts = np.cumsum([0] + [len(people[person]) for person in fold])
        found: list[tuple[float, int, int]] = []
        for person in range(len(fold) - 1):
            rest = starts[person + 1]
            cosines = rows[starts[person] : rest] @ rows[rest:].T
            best_own, best = cosines.argmax(axis=0), cosines.max(axis=0)
            for other in range(person + 1, len(fold)):
                part = slice(starts[other] - rest, starts[other + 1] - rest)
                at = int(best[part].argmax()) + part.start
                found.append((float(best[at]), int(starts[person] + best_own[at]), int(rest + at)))
        if len(found) < wanted:
            raise InputError(
                f"--negatives hard: takes one pair of any two people, which are {len(found)} in a"
                f" fold of {len(fold)} people, and {wanted} are wanted; lower --impostors"
            )
        found.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
        return [(names[left], names[right]) for _, left, right in found[:wanted]]

    return choose
