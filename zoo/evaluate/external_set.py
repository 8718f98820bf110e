"""`zoo eval --embeddings` of a template set: images embedded elsewhere, known by their names."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import InputError, cause_of, plain_name
from evaluator.npz import NpzError, array_names, mapped_array, opened_npz, read_array
from evaluator.results.measured import Measured
from evaluator.results.record import Result, Settings
from evaluator.results.set_result import external_set_result, set_scores
from evaluator.results.store import save_result
from evaluator.results.stored import UNKNOWN, file_sha256
from evaluator.templates.evaluation import Embedded, evaluate_set
from evaluator.templates.layouts import read_template_set
from evaluator.templates.pooling import Embeddings
from evaluator.templates.template_set import TemplateSet
from zoo.evaluate.external_files import names_in
from zoo.evaluate.request import Request

NAMES, EMBEDDINGS, MIRRORED = "names", "embeddings", "mirrored"


def is_of_set(path: Path) -> bool:
    """Whether a file of embeddings names its images. Raises InputError for a file that is none."""
    return NAMES in names_in(path)


def store_set_embeddings(path: Path, request: Request, *, name: str) -> Result:
    """Stores what embeddings made elsewhere give on the one template set of a request.

    Rows stand in any order, and belong to images by name. Raises InputError, BinError for an image
    of the set that no row is of; OSError.
    """
    names, embeddings, mirrored = _read(path)
    held = _set_of(request.bins[0], names)
    ordered, rows = _in_order_of(held, names)
    if rows is not None:
        embeddings = embeddings[rows]
        mirrored = None if mirrored is None else mirrored[rows]
    settings = replace(request.settings_on(held), flip=UNKNOWN, decoder=UNKNOWN, precision=UNKNOWN)
    measurement = evaluate_set(
        ordered,
        Embedded(embeddings, len(ordered.images), 0),
        mirrored=mirrored,
        norm="unit" if request.norm == "unit" else "raw",
        detector_score=settings.detector_score == "yes",
        nan=request.nan,
        sizes=request.gallery_sizes,
    )
    result = external_set_result(
        measurement, name=name, path=str(path), file_sha256=file_sha256(path), settings=settings
    )
    usual = replace(settings, flip=Settings().flip, decoder=Settings().decoder, precision="float32")
    where = Measured((name, result.model.sha256), (held.name, held.sha256), usual)
    return save_result(where.path_in(request.results), result, set_scores(measurement))


def _set_of(path: Path, names: tuple[str, ...]) -> TemplateSet:
    """The set whose images somebody has embedded: with these where they are all here, too, so that
    it is the same set as that on which models are evaluated.
    """
    held = read_template_set(path, embeddings_names=names)
    folder = held.folder
    if folder is None or not all((folder / each).is_file() for each in held.images):
        return held
    return read_template_set(path)


def _read(path: Path) -> tuple[tuple[str, ...], Embeddings, Embeddings | None]:
    """The names of images, embeddings (n, d), and those of mirrored images."""
    try:
        with opened_npz(path) as archive:
            there = array_names(archive)
            for needed in (NAMES, EMBEDDINGS):
                if needed not in there:
                    found = plain_name(", ".join(there))[:200]
                    raise InputError(f"{path}: expected an array named {needed}; found {found}")
            names = _names(path, read_array(archive, NAMES))
            embeddings = _floats(path, EMBEDDINGS, mapped_array(path, archive, EMBEDDINGS))
            mirrored = None
            if MIRRORED in there:
                mirrored = _floats(path, MIRRORED, mapped_array(path, archive, MIRRORED))
    except (NpzError, KeyError) as error:
        raise InputError(f"{path}: cannot be read: {cause_of(error)}") from None
    if len(embeddings) != len(names):
        raise InputError(
            f"{path}: {len(names):,} names and {len(embeddings):,} embeddings; expected one a name"
        )
    if mirrored is not None and mirrored.shape != embeddings.shape:
        raise InputError(
            f"{path}: {MIRRORED} has shape {mirrored.shape}, {EMBEDDINGS} {embeddings.shape}; "
            "expected the same"
        )
    return names, embeddings, mirrored


def _names(path: Path, array: NDArray[np.generic]) -> tuple[str, ...]:
    if array.ndim != 1 or array.dtype.kind not in "US":
        raise InputError(
            f"{path}: {NAMES} must be texts of shape (n,), the images' names in the set's files; "
            f"found {array.dtype} of shape {array.shape}"
        )
    try:
        found = tuple(
            each.decode() if isinstance(each, bytes) else str(each) for each in array.tolist()
        )
    except UnicodeDecodeError:
        raise InputError(f"{path}: {NAMES} is no text in UTF-8") from None
    if len(set(found)) < len(found):
        twice = Counter(found).most_common(1)[0][0]
        raise InputError(f"{path}: {plain_name(twice)} is named twice in {NAMES}")
    return found


def _floats(path: Path, name: str, array: NDArray[np.generic]) -> Embeddings:
    if array.dtype.kind != "f" or array.ndim != 2 or not array.shape[1]:
        raise InputError(
            f"{path}: {name} must be floats of shape (n, d), a row a name; "
            f"found {array.dtype} of shape {array.shape}"
        )
    floats: Embeddings = array  # type: ignore[assignment]
    return floats


def _in_order_of(
    held: TemplateSet, names: tuple[str, ...]
) -> tuple[TemplateSet, NDArray[np.intp] | None]:
    """The set with its images in the order of a file's rows, and which rows, where it has more.

    So that embeddings which fill half of the memory are not copied.
    """
    place = {name: i for i, name in enumerate(held.images)}
    of_rows = np.array([place.get(name, -1) for name in names], np.intp)
    rows = np.flatnonzero(of_rows >= 0)
    order = of_rows[rows]
    ordered = replace(
        held,
        images=tuple(held.images[i] for i in order.tolist()),
        template=held.template[order],
        media=held.media[order],
        detector_scores=None if held.detector_scores is None else held.detector_scores[order],
        points=None if held.points is None else held.points[order],
    )
    return ordered, None if len(rows) == len(names) else rows
