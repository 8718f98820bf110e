"""A model on bins: distinct images -> embeddings -> pair scores -> figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluator.bins.stored_images import distinct_of, slot_digests
from evaluator.bins.verification_set import VerificationSet
from evaluator.images.inputs import Embedder
from evaluator.measure.embed import (
    EmbedOptions,
    embed_images,
    norms_of,
    pair_scores,
    score_of_failed,
    unusable_rows,
)
from evaluator.measure.rows import check_size
from evaluator.metrics.all_figures import Figures, scored_figures


@dataclass(frozen=True)
class Measurement:
    """What a model did on one bin.

    ``scores`` (pairs,) float64 are cosines in file order, NaN for a pair left out, -inf for one
    that is missed; ``genuine`` (pairs,) bool; ``images`` (2 x pairs,) the number of the distinct
    image in each slot, so that pairs sharing an image are known, and ``digests`` (2 x pairs,) its
    number in all bins. ``unusable`` lists the slots whose embedding is not finite or has no length.
    ``figures`` and ``scores`` are None where there are such slots and ``nan="fail"``. ``embedded``
    is how many images were new, ``seconds`` the time for them. ``norms`` (2 x pairs,) float32 are
    those of the embeddings, before they are normalised.
    """

    bin: VerificationSet
    genuine: NDArray[np.bool_]
    images: NDArray[np.intp]
    digests: NDArray[np.int64]
    scores: NDArray[np.float64] | None
    figures: Figures | None
    unusable: NDArray[np.intp]
    dropped_pairs: int
    embedding_size: int
    embedded: int
    seconds: float
    missed_pairs: int = 0
    norms: NDArray[np.float32] | None = None


def evaluate_bins(
    embedder: Embedder,
    sets: Sequence[VerificationSet],
    *,
    options: EmbedOptions,
    nan: str = "fail",
    on_progress: Callable[[int], None] | None = None,
    on_resize: Callable[[tuple[int, int]], None] | None = None,
    on_single: Callable[[], None] | None = None,
) -> Iterator[Measurement]:
    """One Measurement a bin, in order. Images of equal bytes are embedded once for all bins.

    ``nan``: ``fail`` scores nothing in a bin with an unusable embedding, ``drop`` leaves the pairs
    out that have one, ``miss`` takes them as rejected at every threshold. ``on_progress``,
    ``on_resize`` and ``on_single`` are those of ``embed_images``. Raises BinError for an image that
    does not decode, ForwardError where the model fails.
    """
    bins = [distinct_of(each) for each in sets]
    last_use = {key: number for number, (images, _) in enumerate(bins) for key in images.keys}
    known: dict[bytes, NDArray[np.float32]] = {}
    for number, (verification_set, (images, slots)) in enumerate(zip(sets, bins, strict=True)):
        start = time.perf_counter()
        new = [i for i, key in enumerate(images.keys) if key not in known]
        if new:
            found = embed_images(
                embedder,
                images.only(new),
                options=options,
                describe=_describer(verification_set, new, slots),
                on_progress=on_progress,
                on_resize=on_resize,
                on_single=on_single,
            )
            if known:
                check_size(found.shape[1], len(next(iter(known.values()))))
            known |= zip((images.keys[i] for i in new), found, strict=True)
        all_new = len(new) == len(images)
        embeddings = found if all_new else np.stack([known[key] for key in images.keys])
        # Of a finished bin only what a later one shows again is kept.
        for key in images.keys:
            if last_use[key] > number:
                known[key] = known[key].copy()
            else:
                del known[key]
        seconds = time.perf_counter() - start
        yield _measure(
            verification_set,
            embeddings,
            (slots, slot_digests(images, slots)),
            nan=nan,
            embedded=len(new),
            seconds=seconds,
        )


def _measure(
    verification_set: VerificationSet,
    embeddings: NDArray[np.float32],
    shown: tuple[NDArray[np.intp], NDArray[np.int64]],
    *,
    nan: str,
    embedded: int,
    seconds: float,
) -> Measurement:
    slots, digests = shown
    bad = unusable_rows(embeddings)[slots]
    unusable = np.flatnonzero(bad)
    left, right = slots[0::2], slots[1::2]
    genuine = verification_set.genuine
    failed = bad[0::2] | bad[1::2]
    scores = None
    if nan != "fail" or not len(unusable):
        scores = np.full(len(genuine), score_of_failed(nan))
        scores[~failed] = pair_scores(embeddings, left[~failed], right[~failed])
    return Measurement(
        bin=verification_set,
        genuine=genuine,
        images=slots,
        digests=digests,
        scores=scores,
        figures=None if scores is None else scored_figures(scores, genuine, images=slots),
        unusable=unusable,
        dropped_pairs=int(failed.sum()) if nan == "drop" else 0,
        missed_pairs=int(failed.sum()) if nan == "miss" else 0,
        embedding_size=embeddings.shape[1],
        embedded=embedded,
        seconds=seconds,
        norms=norms_of(embeddings)[slots],
    )


def _describer(
    verification_set: VerificationSet, numbers: Sequence[int], slots: NDArray[np.intp]
) -> Callable[[int], str]:
    """A function that names the i-th of these distinct images by its bin and first slot."""

    def describe(i: int) -> str:
        slot = int((slots == numbers[i]).argmax())
        return f"{verification_set.path}: image {slot} (pair {slot // 2})"

    return describe
