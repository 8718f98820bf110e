"""Embeddings of images made into one vector a template: averaged within media, then added.

Exact in float64, whatever the embeddings' type, and in blocks: beside the embeddings stand some
numbers an image, two blocks and what comes back, never a copy of all embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluator.array_types import BoolArray, FloatArray
from evaluator.choices import Norm, check_settings
from evaluator.errors import InputError
from evaluator.templates.template_set import TemplateSet

Embeddings = NDArray[np.float32] | FloatArray

# Numbers in a block of embeddings: 32 MB as float64.
_BLOCK = 1 << 22


@dataclass(frozen=True, eq=False)
class Pooled:
    """Templates as vectors: ``vectors`` (t, d) of length 1, NaN where no image of one works.

    ``failed`` are the images that gave no direction (an embedding that is zero or not finite), in
    ascending order; they were left out as if the template did not have them.
    """

    vectors: FloatArray
    failed: NDArray[np.intp]

    @property
    def unusable(self) -> NDArray[np.intp]:
        """The templates that have no vector."""
        return np.flatnonzero(np.isnan(self.vectors[:, 0]))


def pooled(
    held: TemplateSet,
    embeddings: Embeddings,
    mirrored: Embeddings | None = None,
    *,
    norm: Norm = "raw",
    detector_score: bool = False,
) -> Pooled:
    """The vector of each template from the embeddings (n, d) of the set's n images.

    Embeddings of ``mirrored`` images are added first. An embedding x then counts as it is (norm
    ``raw``: its length is a weight of quality) or as x / |x| (``unit``), times its image's detector
    score where that is asked for. A template is the sum over its media of the mean over the images
    of a medium, so that a video weighs as one photograph, made a vector of length 1.

    Raises InputError for other shapes, and where no file gave the detector scores asked for.
    """
    _check(held, embeddings, mirrored, norm, detector_score)
    images, size = embeddings.shape
    order = np.lexsort((held.media, held.template))
    blocks = [
        order[start : start + max(1, _BLOCK // max(1, size))]
        for start in range(0, images, max(1, _BLOCK // max(1, size)))
    ]
    lengths = np.empty(images)
    for block in blocks:
        rows = _rows(embeddings, mirrored, block)
        lengths[block] = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    works = np.isfinite(lengths) & (lengths > 0)
    weight = _weights(held, order, works)
    if norm == "unit":
        np.divide(weight, lengths, out=weight, where=works)
    if detector_score and held.detector_scores is not None:
        weight *= held.detector_scores
    sums = np.zeros((held.templates, size))
    for block in blocks:
        kept = block[works[block]]
        if len(kept):
            rows = _rows(embeddings, mirrored, kept)
            rows *= weight[kept, None]
            template = held.template[kept]
            starts = np.flatnonzero(np.diff(template, prepend=-1))
            # A template goes on in the next block, so it is added to.
            sums[template[starts]] += np.add.reduceat(rows, starts, axis=0)
    return Pooled(_unit(sums), np.flatnonzero(~works))


def _check(
    held: TemplateSet,
    embeddings: Embeddings,
    mirrored: Embeddings | None,
    norm: Norm,
    detector_score: bool,
) -> None:
    check_settings(norm=norm)
    if embeddings.ndim != 2 or len(embeddings) != len(held.images) or not embeddings.shape[1]:
        raise InputError(
            f"{held.path}: expected one embedding for each of {len(held.images):,} images; "
            f"got shape {embeddings.shape}"
        )
    if mirrored is not None and mirrored.shape != embeddings.shape:
        raise InputError(
            f"{held.path}: embeddings have shape {embeddings.shape}, those of the mirrored images "
            f"{mirrored.shape}; expected the same"
        )
    if detector_score and held.detector_scores is None:
        raise InputError(
            f"{held.path}: detector scores were asked for, and no file of this set has them"
        )


def _rows(
    embeddings: Embeddings, mirrored: Embeddings | None, block: NDArray[np.intp]
) -> FloatArray:
    """The rows of a block in float64, those of mirrored images added."""
    rows = embeddings[block].astype(np.float64)
    return rows if mirrored is None else np.add(rows, mirrored[block], out=rows)


def _weights(held: TemplateSet, order: NDArray[np.intp], works: BoolArray) -> FloatArray:
    """1 over how many images of its medium work, for each image (n,); 0 for one that does not."""
    template, media = held.template[order], held.media[order]
    new = np.ones(len(order), dtype=np.bool_)
    new[1:] = (template[1:] != template[:-1]) | (media[1:] != media[:-1])
    medium = np.cumsum(new) - 1
    working = np.bincount(medium, weights=works[order])
    weight = np.zeros(len(order))
    weight[order] = works[order] / np.maximum(working, 1)[medium]
    return weight


def _unit(sums: FloatArray) -> FloatArray:
    """The sums as vectors of length 1, NaN where a sum is 0."""
    lengths = np.sqrt(np.einsum("ij,ij->i", sums, sums))
    lengths[lengths == 0] = np.nan
    sums /= lengths[:, None]
    return sums
