"""What a stage of triplets does at the begin and the end of its epochs."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from evaluator.errors import InputError
from evaluator.files import whole_file
from training.data.batches.pipeline import TrainingData
from training.recipes.parts import Recipe, Triplets
from training.triplets.mining import TripletError
from training.triplets.orders import sliding_window_order
from training.triplets.samplers import MinedSampler, embed_numbers, purpose_seed, sampler_of

# So many epochs in a row with the loss this near the margin are no progress any more.
_STUCK_EPOCHS = 3
_STUCK = 0.02

# Below it, embeddings differ by a few degrees only.
_NO_SPREAD = 0.01

# Fewer active triplets than this teach next to nothing.
_FEW_ACTIVE = 0.01

# A stream of randomness beside those of the samplers.
_TEST = 105


def epoch_order_of_triplets(
    recipe: Triplets,
    data: TrainingData,
    model: keras.Model,
    *,
    epoch: int,
    step: int,
    saved: Path,
) -> tuple[NDArray[np.int64], str]:
    """The image numbers of an epoch in their order, and a line about how they were found ("" if
    nothing needs saying). Whole triplets, or whole batches of people.

    Mined ones depend on the weights at the epoch's begin; they are written to ``saved``, from where
    a run that goes on at a later ``step`` reads them.

    Raises TripletError as the samplers do, and for triplets that
    several processes would have to mine together; InputError where ``saved`` is not the epoch's.
    """
    if recipe.sampler != "balanced" and data.shard[1] > 1:
        raise TripletError(
            f"triplets.sampler: {recipe.sampler} is for one process, found {data.shard[1]}; "
            "expected balanced, or one process with all GPUs"
        )
    sampler = sampler_of(recipe, model)
    if not isinstance(sampler, MinedSampler):
        return sampler.order(data, epoch), ""
    if step:
        return load_order(saved, epoch), ""
    order, line = sampler.mined(data, epoch)
    save_order(saved, order, epoch)
    return order, line


def most_images(recipe: Triplets, labels: NDArray[np.int64]) -> int:
    """How many images an epoch of these labels has, at most: mining finds fewer and fewer."""
    counts = np.bincount(labels)
    counts = counts[counts > 0]
    if recipe.sampler == "mined":
        return 3 * min(recipe.people, len(counts)) * recipe.images * (recipe.images - 1) // 2
    if recipe.sampler == "sliding_window":
        return 3 * recipe.rounds * len(counts) * int(counts.min() - 1)
    return len(labels)


def steps_an_epoch(recipe: Recipe, labels: NDArray[np.int64]) -> list[int]:
    """The steps of an epoch of each stage, those of mined triplets at most."""
    return [
        -(
            -(len(labels) if stage.triplets is None else most_images(stage.triplets, labels))
            // recipe.batch
        )
        for stage in recipe.stages
    ]


def held_back_triplets(
    recipe: Triplets,
    data: TrainingData,
    model: keras.Model,
    loss: Any,
    *,
    epoch: int,
    mean_loss: float,
) -> tuple[dict[str, float], tuple[str, ...]]:
    """``val_loss`` and ``val_accuracy`` of the images held back, and the founding MLP's two lines
    of an epoch. Nothing for other samplers than the sliding window: a tenth of a set of faces holds
    back one image of most people, and a triplet takes two.

    The triplets are drawn by the sliding window, the same ones for each epoch. One is right if its
    positive is nearer than its negative (a margin of 0). Distances are of the embeddings as they
    come, or of unit-length ones for ``cosine``.
    """
    if recipe.sampler != "sliding_window" or data.shard[1] > 1:
        return {}, ()
    labels = data.faces.labels[data.held_back]
    seed = purpose_seed(data.recipe.seed, _TEST)
    order = sliding_window_order(labels, seed=seed, rounds=recipe.rounds)
    embeddings = embed_numbers(model, data, data.held_back).astype(np.float64)
    if loss.distance == "cosine":
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    anchors, *others = embeddings[order].reshape(len(order) // 3, 3, -1).transpose(1, 0, 2)
    near, far = (np.square(anchors - other).sum(axis=1) for other in others)
    if loss.distance == "cosine":
        near, far = near / 2, far / 2
    elif loss.distance == "euclidean":
        near, far = np.sqrt(near), np.sqrt(far)
    right, total = int((near < far).sum()), len(near)
    lines = (
        f"Epoch: {epoch}, Triplet Loss: {mean_loss:.8g}",
        f"准确率: {right / total:.4f} ({right} / {total})",
    )
    value = float(np.maximum(near - far + loss.margin, 0).mean())
    return {"val_loss": value, "val_accuracy": right / total}, lines


def triplet_lines(
    losses: Sequence[float], *, margin: float, spread: float, active: float
) -> list[str]:
    """How many triplets were active in an epoch, and what `collapse_alarm` says."""
    words = f"triplets: {active:.1%} active, embeddings' variance {spread:.3f} of 1"
    alarm = collapse_alarm(losses, margin=margin, spread=spread, active=active)
    return [words, f"warning: {alarm}"] if alarm else [words]


def collapse_alarm(
    losses: Sequence[float], *, margin: float, spread: float, active: float
) -> str | None:
    """A line about what went wrong in the last epoch, or None.

    ``losses`` are those of the epochs so far; ``spread`` is `embedding_spread`, ``active`` the
    share of triplets that have a loss.
    """
    last = losses[-_STUCK_EPOCHS:]
    if spread < _NO_SPREAD:
        return (
            f"the embeddings have collapsed (variance {spread:.2g} of 1): lower the learning rate, "
            "or choose semi_hard or random negatives"
        )
    if len(last) == _STUCK_EPOCHS and all(abs(each - margin) <= _STUCK * margin for each in last):
        return (
            f"the loss has stood at the margin, {margin:g}, for {_STUCK_EPOCHS} epochs: nothing is "
            "learnt; lower the learning rate, or choose random negatives"
        )
    if active < _FEW_ACTIVE:
        return (
            f"{active:.2%} of the triplets are active: little is left to learn from them; raise "
            "the margin, or choose harder ones"
        )
    return None


def save_order(path: Path, order: NDArray[np.int64], epoch: int) -> None:
    """Writes an epoch's order, so that a resumed run goes on in it; whole or not at all."""
    with whole_file(path, follow=False) as file:
        np.savez(file, order=order, epoch=epoch)


def load_order(path: Path, epoch: int) -> NDArray[np.int64]:
    """The order that `save_order` wrote for this epoch. Raises InputError if it is not there."""
    try:
        with np.load(path, allow_pickle=False) as file:
            order, saved = np.asarray(file["order"], np.int64), int(file["epoch"])
    except (ValueError, KeyError, EOFError, FileNotFoundError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not the triplets of an epoch ({error})") from None
    if saved != epoch:
        raise InputError(f"{path}: holds the triplets of epoch {saved + 1}, not {epoch + 1}")
    return order
