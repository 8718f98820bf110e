"""Time template sets of IJB-C's size beside insightface's own pipeline, and searches beside faiss.

    python benchmarks/templates.py            # minutes, 3 GB: 469,375 images, 15,660,000 pairs
    python benchmarks/templates.py --quick    # seconds: a fiftieth of both

Embeddings are made up. insightface's pipeline is restated below, its scores timed on a tenth of the
pairs; ours must give its scores to 1e-5 and its TARs.
Searched are 2,000 probes among 200,000 templates: a 25th of 10,000 among 1,000,000.
"""

from __future__ import annotations

import argparse
import resource
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from evaluator.metrics.figures import tar_at_far
from evaluator.metrics.protocols import SortedPairs
from evaluator.metrics.sharing import pair_sharing
from evaluator.metrics.sweep import scored_pairs, sweep_of
from evaluator.templates.identification import identification
from evaluator.templates.nearest_far import tar_nearest_far
from evaluator.templates.pair_scores import pair_scores
from evaluator.templates.pooling import pooled
from evaluator.templates.search import search
from evaluator.templates.template_set import Gallery, TemplatePairs, TemplateSet
from rows import Row, agree, parsed, parser, say
from table import finish
from timing import interleaved, median, ratio, seconds_of

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
SIZE = 512
# Pairs that insightface scores at a time, and of which batches it is timed.
_BATCH, _TENTH = 100_000, 10
FARS = list(tar_at_far.FARS)


@dataclass
class Verified:
    """What the 1:1 figures of a set were read off."""

    scores: Doubles
    nearest: list[float]
    vectors: Doubles


def main() -> None:
    options = parsed(parser(__doc__))
    scale = 50 if options.quick else 1
    held, embeddings = made_up(3531 // scale, 469_375 // scale, 23_124 // scale)
    rows = verification_rows(held, embeddings)
    del embeddings
    finish([*rows, million_row(options), cells_row(options)], options)


def verification_rows(held: TemplateSet, embeddings: Floats) -> list[Row]:
    """1:1 and 1:N of one set, in seconds, and 1:1 beside insightface."""
    found: list[Verified] = []
    scored = seconds_of(lambda: found.append(verified(held, embeddings)))
    intervals = seconds_of(lambda: with_intervals(held, found[0].scores))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    searched = seconds_of(lambda: identified(held, found[0].vectors))
    peer = insightface_seconds(held, embeddings, found[0])
    assert held.pairs is not None
    pairs, images = f"{len(held.pairs.left):,} pairs", f"{len(held.images):,} images"
    probes = f"{len(held.probes):,} probes in 2 galleries of {len(held.galleries[0].templates):,}"
    whole = scored.wall + intervals.wall
    return [
        Row(
            "templates-peer", f"TAR at 6 nearest FARs, {images}, {pairs}", "insightface's loops",
            peer / scored.wall, "x", 10, rounds=1,
            detail=f"{peer:.1f} s against {scored.wall:.1f} s",
        ),
        Row(
            "templates-1-to-1", f"and at 6 exact ones, intervals by people, {pairs}", "20 s",
            whole, "s", 20, at_most=True, rounds=1,
            detail=f"{whole:.1f} s, of CPU {scored.cpu + intervals.cpu:.1f} s",
        ),
        Row(
            "templates-memory", f"the same: peak, embeddings of {images} with it", "3,000 MB",
            peak, "MB", 3000, at_most=True, rounds=1,
        ),
        Row(
            "templates-1-to-n", f"1:N figures, {probes}", "3 s", searched.wall, "s", 3,
            at_most=True, rounds=1,
            detail=f"{searched.wall:.1f} s, of CPU {searched.cpu:.1f} s",
        ),
    ]  # fmt: skip


def million_row(options: argparse.Namespace) -> Row:
    """Every probe's mate, its rank and the best stranger, beside the 20 nearest of faiss."""
    count, probes = (20_000, 200) if options.quick else (200_000, 2_000)
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((count + probes, SIZE), dtype=np.float32)
    person = np.arange(count + probes)
    half = slice(count, count + probes // 2)
    person[half] -= count  # half of the probes show one of the gallery
    vectors[half] = vectors[: probes // 2] + 2 * vectors[half]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    gallery, searched = Gallery("", np.arange(count)), np.arange(count, count + probes)
    index = faiss.IndexFlatIP(SIZE)
    index.add(vectors[:count])
    found = search(vectors, person, gallery, searched)
    best, _ = index.search(vectors[count:], 1)
    difference = np.abs(best[:, 0] - np.maximum(found.score, found.rival_score)).max()
    agree("faiss's highest cosines", float(difference), 1e-5)
    times = interleaved(
        {
            "ours": lambda: search(vectors, person, gallery, searched),
            "faiss": lambda: index.search(vectors[count:], 20),
        },
        options.rounds,
        warm_up=False,
    )
    ours, peer = median(times, "ours"), median(times, "faiss")
    return Row(
        "templates-search", f"{probes:,} probes among {count:,} templates", "faiss, IndexFlatIP",
        ratio(times, "ours", "faiss"), "x", 1.2, at_most=True, rounds=options.rounds,
        detail=f"{ours:.2f} s against {peer:.2f} s",
    )  # fmt: skip


def cells_row(options: argparse.Namespace) -> Row:
    """How often an index that looks at a tenth of its cells misses the most alike stranger."""
    count, cells, looked = (4_000, 63, 6) if options.quick else (100_000, 316, 32)
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((count + 500, SIZE), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    flat = faiss.IndexFlatIP(SIZE)
    index = faiss.IndexIVFFlat(flat, SIZE, cells, faiss.METRIC_INNER_PRODUCT)
    index.nprobe = looked
    index.train(vectors[: 40 * cells])
    index.add(vectors[:count])
    found, _ = index.search(vectors[count:], 1)
    person, probes = np.arange(count + 500), np.arange(count, count + 500)
    exact = search(vectors, person, Gallery("", np.arange(count)), probes).score
    lower = found[:, 0] < exact - 1e-5
    return Row(
        "templates-cells", f"too low a top score, {looked} of {cells} cells searched", "all cells",
        100 * float(lower.mean()), "%", None, rounds=1,
        detail=f"by {float((exact - found[:, 0])[lower].mean()):.3f} on average",
    )  # fmt: skip


def verified(held: TemplateSet, embeddings: Floats) -> Verified:
    """Scores of the list and TAR at the nearest FARs, from embeddings of images."""
    assert held.pairs is not None
    vectors = pooled(held, embeddings, norm="raw", detector_score=True).vectors
    scores = pair_scores(vectors, held.pairs)
    near = tar_nearest_far(sweep_of(scored_pairs(scores, held.pairs.genuine)), FARS)
    return Verified(scores, [each.tar for each in near or []], vectors)


def with_intervals(held: TemplateSet, scores: Doubles) -> None:
    """TAR at exact FARs with intervals that draw people."""
    assert held.pairs is not None
    checked = scored_pairs(scores, held.pairs.genuine)
    pairs = SortedPairs(checked, sweep_of(checked), ())
    people = (held.person[side] for side in (held.pairs.left, held.pairs.right))
    sharing = pair_sharing(*people, unit="person")
    for far in FARS:
        tar_at_far.tar_at_far(pairs.sweep, far)
        start = seconds_of(lambda far=far: tar_at_far.interval(pairs, far, sharing))  # type: ignore[misc]
        say(f"interval at FAR {far:g}: {start.wall:.2f} s, of CPU {start.cpu:.2f} s")


def identified(held: TemplateSet, vectors: Doubles) -> None:
    """The figures of 1:N, with intervals."""
    found = [search(vectors, held.person, each, held.probes) for each in held.galleries]
    identification(found, held.person[held.probes], held.person)


def made_up(people: int, images: int, templates: int) -> tuple[TemplateSet, Floats]:
    """A set with IJB-C's counts: a gallery template a person, in two galleries; its list has every
    probe with its own person's, and 22.5 % of all couples with others'.
    """
    rng = np.random.default_rng(0)
    others = templates - 2 * people
    person = np.concatenate([np.tile(np.arange(people), 2), rng.integers(0, people, others)])
    template = np.sort(np.concatenate([np.arange(templates), rng.integers(0, templates, images)]))
    template = template[np.sort(rng.permutation(len(template))[:images])]
    missing = np.setdiff1d(np.arange(templates), template)
    template[rng.integers(0, images, len(missing))] = missing
    centre = rng.standard_normal((people, SIZE), dtype=np.float32)
    embeddings = np.empty((images, SIZE), np.float32)
    for start in range(0, images, 1 << 14):
        own = person[template[start : start + (1 << 14)]]
        embeddings[start : start + (1 << 14)] = rng.standard_normal((len(own), SIZE), np.float32)
        embeddings[start : start + (1 << 14)] *= 6.0
        embeddings[start : start + (1 << 14)] += centre[own]
    probes = np.arange(people, templates)
    share = 15_638_932 / (3531 * 19_593)
    right = [np.flatnonzero(rng.random(len(probes)) < share) for _ in range(people)]
    left = np.repeat(np.arange(people), [len(each) for each in right])
    pairs_left = np.concatenate([person[probes], left]).astype(np.int32)
    pairs_right = probes[np.concatenate([np.arange(len(probes)), *right])].astype(np.int32)
    half = rng.permutation(people)
    galleries = (np.sort(half[: people // 2]), np.sort(half[people // 2 :]))
    held = TemplateSet(
        name="made-up", path=Path("made-up"), kind="ijb", sha256="", folder=None,
        images=("",) * images, template=template, media=rng.integers(0, 8, images),
        detector_scores=rng.uniform(0.3, 1, images), points=None, names=("",) * templates,
        person=person,
        pairs=TemplatePairs(pairs_left, pairs_right, person[pairs_left] == person[pairs_right]),
        galleries=tuple(Gallery(f"G{i}", each) for i, each in enumerate(galleries, 1)),
        probes=probes,
    )  # fmt: skip
    return held, embeddings


def insightface_seconds(held: TemplateSet, embeddings: Floats, ours: Verified) -> float:
    """What insightface's eval_ijbc.py takes from embeddings on, of which the scores of every tenth
    100,000 pairs are computed and count ten times. Ends where it finds other scores, or other TARs
    than ours at scikit-learn's ROC curve of our scores.
    """
    assert held.pairs is not None
    vectors: list[Doubles] = []
    seconds = seconds_of(lambda: vectors.append(insightface_templates(held, embeddings))).wall
    parts = [slice(at, at + _BATCH) for at in range(0, len(ours.scores), _BATCH)]
    for part in parts[::_TENTH]:
        scores: list[Doubles] = []
        left, right = held.pairs.left[part], held.pairs.right[part]
        taken = seconds_of(lambda s=scores, i=left, j=right: s.append(  # type: ignore[misc]
            insightface_scores(vectors[0], i, j)
        ))  # fmt: skip
        seconds += taken.wall * len(parts) / len(parts[::_TENTH])
        agree("insightface's scores", float(np.abs(scores[0] - ours.scores[part]).max()), 1e-5)
    tars: list[list[float]] = []
    seconds += seconds_of(
        lambda: tars.append(insightface_tars(held.pairs.genuine, ours.scores))  # type: ignore[union-attr]
    ).wall
    agree("insightface's TARs", float(np.abs(np.subtract(tars[0], ours.nearest)).max()), 0.0)
    return seconds


def insightface_templates(held: TemplateSet, embeddings: Floats) -> Doubles:
    """Its image2template_feature: a loop over templates and one over media."""
    assert held.detector_scores is not None
    features = embeddings * held.detector_scores[:, None].astype(np.float32)
    vectors = np.zeros((held.templates, SIZE))
    for template in range(held.templates):
        (own,) = np.where(held.template == template)
        face, media = features[own], held.media[own]
        parts = []
        for medium, count in zip(*np.unique(media, return_counts=True), strict=True):
            (inside,) = np.where(media == medium)
            rows = face[inside]
            parts.append(rows if count == 1 else np.mean(rows, axis=0, keepdims=True))
        vectors[template] = np.sum(np.concatenate(parts), axis=0)
    return vectors / np.sqrt(np.sum(vectors**2, -1, keepdims=True))


def insightface_scores(
    vectors: Doubles, left: NDArray[np.int32], right: NDArray[np.int32]
) -> Doubles:
    """Its verification, of 100,000 pairs at a time."""
    found: Doubles = np.sum(vectors[left] * vectors[right], -1)
    return found


def insightface_tars(genuine: NDArray[np.bool_], scores: Doubles) -> list[float]:
    """Its TAR at the nearest FAR."""
    fpr, tpr, _ = roc_curve(genuine, scores)
    fpr, tpr = np.flipud(fpr), np.flipud(tpr)
    return [float(tpr[np.argmin(np.abs(fpr - far))]) for far in FARS]


if __name__ == "__main__":
    main()
