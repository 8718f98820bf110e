"""The straight line of `zoo project`: embed, map, write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import InputError
from evaluator.images.decode import decode_image
from evaluator.images.inputs import InputSpec, write_model_input
from evaluator.isolation.process import open_model
from evaluator.measure.embed import EmbedOptions, embed_images, unusable_rows
from zoo.evaluate.loading import say_of
from zoo.evaluate.request import Request, checked_model
from zoo.projection.exports import write_tensorboard, write_tsv
from zoo.projection.page import Space, render_projection
from zoo.projection.pictures import Pictures, fewer_rows, thumbnail_sheet
from zoo.report.page import size_in_words, write_report
from zoo.terminal.progress import Progress

# Raw pixels are compared at no more than this many a side: a larger image says no more to a
# Euclidean distance, and takes a hundred times the memory.
_RAW_SIDE = 32


@dataclass(frozen=True)
class Wanted:
    """One call of `zoo project`, its names resolved and its images read: ``request`` has the model
    and how to load it.
    """

    request: Request
    shown: str
    pictures: Pictures
    output: Path
    maps: list[str]
    tsv: bool
    tensorboard: Path | None


def make_projection(wanted: Wanted) -> list[str]:
    """Writes the page and what else is wanted; says where it is, a line each.

    Raises InputError for a model or an image that cannot be used, or fewer than three embeddings
    that are finite; OSError for files that cannot be written.
    """
    (model,) = wanted.request.models
    _, options = checked_model(model, wanted.request)
    pictures = wanted.pictures
    with open_model(model.path, options) as embedder:
        say_of(model, embedder, options)
        with Progress(model.name, len(pictures)) as bar:
            embeddings = embed_images(
                embedder,
                pictures.images,
                options=EmbedOptions(),
                describe=lambda i: pictures.origins[i],
                on_progress=bar.advance,
            )
    usable = np.flatnonzero(~unusable_rows(embeddings))
    lost = len(pictures) - len(usable)
    if len(usable) < 3:
        raise InputError(
            f"{model.name}: only {len(usable)} of {len(pictures)} embeddings are finite and "
            "of some length; there is nothing to draw"
        )
    pictures, embeddings = fewer_rows(pictures, usable), embeddings[usable]
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    raw, raw_words = raw_pixels(pictures, embedder.input)
    spaces = [
        Space("Pixels", raw_words, raw),
        Space(
            "Embedding",
            f"{embeddings.shape[1]} numbers an image from {model.name}, at unit length.",
            units,
        ),
    ]
    notes = list(embedder.notes)
    if lost:
        notes.append(f"{lost:,} images are left out: their embeddings are not finite or zero.")
    sheet = thumbnail_sheet(pictures.images)
    html = render_projection(
        f"{model.name} on {wanted.shown}",
        spaces,
        pictures,
        sheet,
        maps=wanted.maps,
        notes=notes,
    )
    write_report(wanted.output, html)
    said = [f"{wanted.output}: {len(pictures):,} images, {size_in_words(html)}"]
    names = [pictures.names[i] for i in pictures.people]
    if wanted.tsv:
        write_tsv(wanted.output.absolute().parent, embeddings, names)
        said.append(f"{wanted.output.parent / 'vecs.tsv'}, {wanted.output.parent / 'meta.tsv'}")
    if wanted.tensorboard is not None:
        tensors = {"pixels": raw, "embedding": embeddings}
        write_tensorboard(wanted.tensorboard, tensors, names, sheet)
        said.append(f"{wanted.tensorboard}: tensorboard --logdir {wanted.tensorboard}")
    return said + ([notes[-1]] if lost else [])


def raw_pixels(pictures: Pictures, spec: InputSpec) -> tuple[NDArray[np.float32], str]:
    """What the model sees of each image, no larger than 32 x 32, one row an image; and in words."""
    side = (min(spec.height, _RAW_SIDE), min(spec.width, _RAW_SIDE))
    small = InputSpec(*side, spec.profile, spec.channels)
    rows = np.empty((len(pictures), *small.batch_shape), np.float32)
    for row, data in zip(rows, pictures.images, strict=True):
        write_model_input(decode_image(data), small, row)
    shrunk = "" if side == (spec.height, spec.width) else " once shrunk"
    kind = "gray levels" if spec.channels == "gray" else "colour values"
    count = int(np.prod(small.batch_shape))
    words = f"The model’s input itself, {side[0]} x {side[1]} pixels{shrunk}: {count:,} {kind}."
    return rows.reshape(len(rows), -1), words
