"""Models as `zoo eval` loads them: the file that was hashed, in batches that memory holds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from evaluator.errors import ForwardError, ModelError
from evaluator.evaluation import Measurement
from evaluator.inputs import Embedder
from evaluator.memory import in_smaller_batches
from evaluator.models import (
    FileStamp,
    LoadOptions,
    ModelIdentity,
    file_stamp,
    load_embedder,
    model_identity,
)
from zoo.lookup import ModelChoice
from zoo.words import detail, note, warn


def load_unchanged(
    choice: ModelChoice, options: LoadOptions, *, identity: ModelIdentity, stamp: FileStamp
) -> Embedder:
    """The model as an Embedder, and its notes on stderr.

    ``stamp`` is the file's before ``identity`` was taken. Raises ModelError for a model that cannot
    be loaded, and where its file is another one by now.
    """
    start = time.perf_counter()
    try:
        embedder = load_embedder(choice.path, options)
    except (ModelError, OSError) as error:
        _check_unchanged(choice.path, identity, stamp)
        if isinstance(error, OSError):
            raise ModelError(f"{choice.path}: {error.strerror or error}") from None
        raise
    _check_unchanged(choice.path, identity, stamp)
    detail(f"{choice.name}: loaded in {time.perf_counter() - start:.1f} s")
    for line in embedder.notes:
        note(f"{choice.name}: {line}")
    return embedder


def _check_unchanged(path: Path, identity: ModelIdentity, stamp: FileStamp) -> None:
    """Raises ModelError where the model's files, or the note beside it, are other ones by now."""
    try:
        now = file_stamp(path)
        # A file that was merely touched, or written again with the same content, is the same.
        same = now == stamp or (now.note == stamp.note and model_identity(path) == identity)
    except (ModelError, OSError):
        same = False
    if not same:
        raise ModelError(
            f"{path}: was changed while it was read, so nothing is stored of it; "
            "repeat the command when the file is complete"
        )


def fitting_memory(embedder: Embedder, name: str, said: set[str]) -> Embedder:
    """The Embedder with batches halved until memory holds them; that is said once a run.

    ``said`` is what the run has said already. A model of fixed batch size is left as it is.
    """
    if embedder.fixed_batch is not None:
        return embedder

    def say_smaller(size: int) -> None:
        if "smaller" not in said:
            said.add("smaller")
            images = "1 image" if size == 1 else f"{size} images"
            warn(
                f"{name}: memory does not hold the batch: going on with {images} at once; "
                f"--batch-size {size} begins with that"
            )

    return replace(embedder, forward=in_smaller_batches(embedder.forward, say_smaller))


def naming_model(measurements: Iterator[Measurement], path: Path) -> Iterator[Measurement]:
    """The measurements; an error of the forward pass, which knows no file, names the model's."""
    try:
        yield from measurements
    except ForwardError as error:
        raise ModelError(f"{path}: {error}") from None
