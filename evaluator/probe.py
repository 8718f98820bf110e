"""Which input profile a model was trained with, told from how well each one separates pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evaluator.bins.verification_set import VerificationSet, distinct_images
from evaluator.images.inputs import PROFILES, Embedder
from evaluator.measure.embed import EmbedOptions, embed_images, pair_scores, unusable_rows
from evaluator.metrics.all_figures import Figures, figures
from evaluator.statistics.pair_tests import delong_test

FLIPS = ("none", "sum")

# These two differ by 0.4 % of the scale and nothing else: no bin will ever tell them apart.
_TWINS = ("symmetric", "insightface")


@dataclass(frozen=True, eq=False)
class Trial:
    """One way to prepare images, and what it gave: figures without and with the mirrored image.

    ``scores`` (pairs,) are those without it. All three are None where an embedding is not finite.
    """

    profile: str
    channels: str
    scores: NDArray[np.float64] | None
    plain: Figures | None
    flipped: Figures | None


@dataclass(frozen=True, eq=False)
class Finding:
    """Trials, best AUC first, and the first few that the sample cannot tell from the best.

    ``profiles`` and ``channels`` are those of ``alike``, best first: one of each is a clear winner.
    The twins ``symmetric`` and ``insightface`` count as one profile.
    """

    trials: tuple[Trial, ...]
    alike: tuple[Trial, ...]
    profiles: tuple[str, ...]
    channels: tuple[str, ...]

    @property
    def clear(self) -> bool:
        """Whether one profile and one channel order remain."""
        return len(self.profiles) == 1 and len(self.channels) == 1


def sample_pairs(whole: VerificationSet, pairs: int) -> VerificationSet:
    """A bin of ``pairs`` pairs at most, half genuine where there are as many, drawn evenly over
    the file. The same bin gives the same sample.
    """
    kinds = [np.flatnonzero(whole.genuine), np.flatnonzero(~whole.genuine)]
    half = pairs // 2
    wanted = [min(half, len(kind)) for kind in kinds]
    # What one kind lacks, the other gives.
    wanted = [min(len(kinds[i]), wanted[i] + half - wanted[1 - i]) for i in range(2)]
    chosen = np.sort(
        np.concatenate([_spread(kind, n) for kind, n in zip(kinds, wanted, strict=True)])
    )
    images = tuple(whole.images[slot] for pair in chosen for slot in (2 * pair, 2 * pair + 1))
    return replace(whole, images=images, genuine=whole.genuine[chosen])


def _spread(indices: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """``count`` of the indices, at even distances."""
    at = np.linspace(0, len(indices), count, endpoint=False).astype(np.intp)
    return indices[at]


def probe_inputs(
    embedder: Embedder,
    sample: VerificationSet,
    *,
    batch_size: int = 64,
    on_progress: Callable[[int], None] | None = None,
) -> Finding:
    """Tries every profile, with RGB and BGR where the model takes colour.

    ``on_progress`` is called with the number of images embedded since the last call. Raises
    BinError for an image that does not decode.
    """
    orders = ("gray",) if embedder.input.channels == "gray" else ("rgb", "bgr")
    images, slots = distinct_images(sample.images)
    trials = []
    for profile in PROFILES:
        for channels in orders:
            spec = replace(embedder.input, profile=profile, channels=channels)
            trial = replace(embedder, input=spec)
            found = [
                embed_images(
                    trial,
                    images,
                    options=EmbedOptions(flip=flip, batch_size=batch_size),
                    on_progress=on_progress,
                )
                for flip in FLIPS
            ]
            trials.append(_trial(profile, channels, found, slots=slots, genuine=sample.genuine))
    return find_winner(trials, sample.genuine)


def _trial(
    profile: str,
    channels: str,
    found: Sequence[NDArray[np.float32]],
    *,
    slots: NDArray[np.intp],
    genuine: NDArray[np.bool_],
) -> Trial:
    if any(unusable_rows(embeddings).any() for embeddings in found):
        return Trial(profile, channels, None, None, None)
    plain, flipped = (pair_scores(each, slots[0::2], slots[1::2]) for each in found)
    return Trial(profile, channels, plain, figures(plain, genuine), figures(flipped, genuine))


def find_winner(trials: Sequence[Trial], genuine: NDArray[np.bool_]) -> Finding:
    """The trials ranked, and those that DeLong's test does not part from the best.

    The test is at 5 % over all comparisons together (Bonferroni).
    """

    def rank(trial: Trial) -> float:
        area = trial.plain.auc if trial.plain is not None else None
        return -1.0 if area is None else area

    ranked = sorted(trials, key=rank, reverse=True)
    best = ranked[0]
    if best.scores is None or best.plain is None or best.plain.auc is None:
        return Finding(tuple(ranked), (), (), ())
    level = 0.05 / max(1, len(ranked) - 1)
    alike = [best]
    for other in ranked[1:]:
        if other.scores is None:
            continue
        tested = delong_test(best.scores, other.scores, genuine)
        if tested is None or tested.p_value >= level:
            alike.append(other)
    profiles = dict.fromkeys(_family(trial.profile, best.profile) for trial in alike)
    channels = dict.fromkeys(trial.channels for trial in alike)
    return Finding(tuple(ranked), tuple(alike), tuple(profiles), tuple(channels))


def _family(profile: str, best: str) -> str:
    return best if profile in _TWINS and best in _TWINS else profile
