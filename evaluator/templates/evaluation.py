"""A model on a template set: images -> embeddings -> templates -> 1:1 scores, searches, figures."""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evaluator.choices import Norm
from evaluator.images.inputs import Embedder
from evaluator.measure.embed import EmbedOptions, embed_images, score_of_failed
from evaluator.metrics.all_figures import Figures, figures
from evaluator.metrics.figures.tar_at_far import FARS, far_key
from evaluator.metrics.sharing import pair_sharing
from evaluator.metrics.sweep import scored_pairs, sweep_of
from evaluator.templates.gallery_size import GallerySizes, gallery_sizes
from evaluator.templates.identification import Identification, identification
from evaluator.templates.image_files import image_bytes, template_image
from evaluator.templates.kept_embeddings import HeldEmbeddings, KeptEmbeddings
from evaluator.templates.nearest_far import NearestTar, tar_nearest_far
from evaluator.templates.pair_scores import pair_scores
from evaluator.templates.pooling import Embeddings, pooled
from evaluator.templates.search import search
from evaluator.templates.searches import Searches
from evaluator.templates.template_set import TemplateSet

# Images whose embeddings are stored at once: what an interruption costs, and whose bytes stand in
# memory together.
_BLOCK = 1024


@dataclass(frozen=True, eq=False)
class SetMeasurement:
    """What a model did on one template set.

    ``scores`` (pairs,) float64 are cosines in the order of the list, NaN for a pair left out, -inf
    for one missed; ``searches`` are one a gallery, of all probes, with the same two. ``unusable``
    are the numbers of the images that no template could use; ``failed_pairs`` and
    ``failed_probes`` count what that cost, by what ``nan`` says of them. Where there are such
    images and ``nan="fail"``, ``figures``, ``scores`` and ``identification`` are None; these are
    also None of a set without a 1:1 list, or without galleries. ``nearest`` is by the keys of TARs,
    None where undefined. ``embedded`` is how many images were new, ``seconds`` the time for them
    and all after.
    """

    bin: TemplateSet
    scores: NDArray[np.float64] | None
    searches: tuple[Searches, ...]
    figures: Figures | None
    nearest: Mapping[str, NearestTar] | None
    identification: Identification | None
    gallery_sizes: Sequence[GallerySizes] | None
    unusable: NDArray[np.intp]
    failed_pairs: int
    failed_probes: int
    nan: str
    embedding_size: int
    unique_images: int
    embedded: int
    seconds: float

    @property
    def genuine(self) -> NDArray[np.bool_]:
        """The labels of the 1:1 list, (pairs,)."""
        return np.zeros(0, np.bool_) if self.bin.pairs is None else self.bin.pairs.genuine


@dataclass(frozen=True, eq=False)
class Embedded:
    """Embeddings (n, d) of a set's images, how many were distinct, and how many new."""

    embeddings: Embeddings
    unique: int
    new: int
    seconds: float = 0.0


def embed_set(
    embedder: Embedder,
    held: TemplateSet,
    *,
    options: EmbedOptions,
    kept: KeptEmbeddings | None = None,
    on_progress: Callable[[int], None] | None = None,
    on_resize: Callable[[tuple[int, int]], None] | None = None,
    on_single: Callable[[], None] | None = None,
) -> Embedded:
    """The embeddings (n, d) of a set's images, aligned by their points, equal ones once.

    With ``kept`` they are stored a block at a time, and what is there already is not embedded
    again. The callbacks and the errors are those of `embed_images`; BinError for an image that is
    missing, does not decode or cannot be aligned.
    """
    start = time.perf_counter()
    count = len(held.images)
    store = HeldEmbeddings(count) if kept is None else kept
    first = store.rows
    if on_progress is not None:
        on_progress(first)
    known: dict[bytes, int] = {}
    for begin in range(first, count, _BLOCK):
        data = [image_bytes(held, i) for i in range(begin, min(begin + _BLOCK, count))]
        keys = [_key(held, begin + i, each) for i, each in enumerate(data)]
        # Where the image stood first, in this block or before.
        places = [known.setdefault(key, begin + i) for i, key in enumerate(keys)]
        new = [i for i, place in enumerate(places) if place == begin + i]
        found = embed_images(
            embedder,
            [data[i] for i in new],
            options=options,
            pixels=functools.partial(_pixels, held, begin, data, new, options.decoder),
            describe=functools.partial(_described, held, begin, new),
            on_resize=on_resize,
            on_single=on_single,
        )
        store.append(_with_repeated(found, new, places, begin, store))
        if on_progress is not None:
            on_progress(len(data))
    seconds = time.perf_counter() - start
    return Embedded(store.array(), first + len(known), count - first, seconds)


def _with_repeated(
    found: NDArray[np.float32],
    new: Sequence[int],
    places: Sequence[int],
    begin: int,
    store: HeldEmbeddings | KeptEmbeddings,
) -> NDArray[np.float32]:
    """The rows of a block, of which ``new`` were found just now and others stood before."""
    if len(new) == len(places):
        return found
    own = dict(zip((begin + i for i in new), found, strict=True))
    before = store.array() if begin else found  # of the first block all stand in it
    return np.stack([own[place] if place in own else before[place] for place in places])


def _described(held: TemplateSet, begin: int, new: Sequence[int], i: int) -> str:
    return str((held.folder or held.path) / held.images[begin + new[i]])


def _key(held: TemplateSet, image: int, data: bytes) -> bytes:
    """What is equal for images that are the same pixels after alignment."""
    digest = hashlib.blake2b(data, digest_size=16)
    if held.points is not None:
        digest.update(held.points[image].tobytes())
    return digest.digest()


def _pixels(
    held: TemplateSet, begin: int, data: Sequence[bytes], new: Sequence[int], decoder: str, i: int
) -> NDArray[np.uint8]:
    return template_image(held, begin + new[i], data[new[i]], decoder=decoder)


def evaluate_set(
    held: TemplateSet,
    embedded: Embedded,
    *,
    mirrored: Embeddings | None = None,
    norm: Norm = "raw",
    detector_score: bool = False,
    nan: str = "fail",
    sizes: bool = False,
    jobs: int = 1,
) -> SetMeasurement:
    """What embeddings (n, d) give on a set; of ``mirrored`` images (n, d) they are added.

    ``nan``: ``fail`` scores nothing where an image is of no use, ``drop`` leaves such images out
    of their templates, and templates without any other image out of pairs and searches; ``miss``
    takes the pairs of such templates as rejected, and their searches as finding nobody. A search
    whose mate alone has no image left is one that did not find it. ``jobs`` is that of
    `search`. Raises InputError as `pooled`.
    """
    start = time.perf_counter()
    smaller: list[GallerySizes] | None = None
    templates = pooled(
        held, embedded.embeddings, mirrored, norm=norm, detector_score=detector_score
    )
    lost = np.isin(held.template, templates.unusable)
    lost[templates.failed] = True
    unusable = np.flatnonzero(lost)
    scored = nan != "fail" or not len(unusable)
    scores, failed = None, np.zeros(0, np.bool_)
    if scored and held.pairs is not None:
        scores = pair_scores(templates.vectors, held.pairs)
        failed = np.isnan(scores)
        scores[failed] = score_of_failed(nan)
    searches: tuple[Searches, ...] = ()
    blind = np.isin(held.probes, templates.unusable)
    left_out = blind & (nan == "drop")
    found = None
    if scored and held.galleries:
        whole = [
            search(templates.vectors, held.person, gallery, held.probes, jobs=jobs)
            for gallery in held.galleries
        ]
        found = identification(
            [each.only(~left_out) for each in whole],
            held.person[held.probes[~left_out]],
            held.person,
        )
        searches = tuple(_without(each, left_out) for each in whole)
        if sizes:
            searched = held.probes[~left_out]
            each_size = (
                gallery_sizes(templates.vectors, held.person, gallery, searched, own)
                for gallery, own in zip(held.galleries, found.galleries, strict=True)
            )
            smaller = [each for each in each_size if each is not None]
    block, nearest = figures(np.zeros(0), np.zeros(0, np.bool_), folds="none"), None
    if scores is not None and held.pairs is not None:
        ends = held.pairs.left, held.pairs.right
        block, nearest = verified(scores, held.pairs.genuine, named_people(held.person), ends)
    return SetMeasurement(
        bin=held,
        scores=scores,
        searches=searches,
        figures=block if scored else None,
        nearest=nearest,
        identification=found,
        gallery_sizes=smaller,
        unusable=unusable,
        failed_pairs=int(failed.sum()),
        failed_probes=int(blind.sum()) if scored else 0,
        nan=nan,
        embedding_size=embedded.embeddings.shape[1],
        unique_images=embedded.unique,
        embedded=embedded.new,
        seconds=embedded.seconds + time.perf_counter() - start,
    )


def verified(
    scores: NDArray[np.float64],
    genuine: NDArray[np.bool_],
    person: NDArray[np.int64],
    ends: tuple[NDArray[np.signedinteger], NDArray[np.signedinteger]],
) -> tuple[Figures, dict[str, NearestTar] | None]:
    """The 1:1 figures of scores (pairs,), NaN for a pair that is left out, exact and by the nearest
    FAR. ``ends`` are the templates of each pair, ``person`` (templates,) numbers who they show, as
    `named_people`.
    """
    kept = ~np.isnan(scores)
    values, labels = scores[kept], genuine[kept]
    sharing = pair_sharing(*(person[end[kept]] for end in ends), unit="person")
    near = tar_nearest_far(sweep_of(scored_pairs(values, labels)), list(FARS))
    named = None if near is None else dict(zip(map(far_key, FARS), near, strict=True))
    return figures(values, labels, folds="none", sharing=sharing), named


def named_people(person: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers of people (templates,), with one of its own for each whom nobody names."""
    found = person.copy()
    nobody = person < 0
    found[nobody] = int(person.max(initial=-1)) + 1 + np.arange(int(nobody.sum()))
    return found


def _without(found: Searches, left_out: NDArray[np.bool_]) -> Searches:
    """The searches with NaN for the scores of those that are left out."""
    return replace(found, score=np.where(left_out, np.nan, found.score))
