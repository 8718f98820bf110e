"""Which input a model was trained with, told from how well each one separates pairs.

What a few pairs do not tell more pairs may: the sample grows until the best input is real, by the
paired comparison of the project, or all pairs are used. Inputs that are shown to be worse on the
way are not tried on more.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from evaluator.bins.pairs_file import slot_people
from evaluator.bins.verification_set import VerificationSet, distinct_images
from evaluator.images.inputs import Embedder, mirrored
from evaluator.measure.collapse import looks_collapsed
from evaluator.measure.embed import EmbedOptions, embed_images, pair_scores, unusable_rows
from evaluator.metrics.figures.auc import auc_and_error as of_sweep
from evaluator.metrics.sharing import Sharing, slots_sharing
from evaluator.metrics.sweep import sweep
from evaluator.profiles import PROFILES, profile_of
from evaluator.statistics.comparison import compare_pairs
from evaluator.statistics.pair_tests import SIGNIFICANCE

# These two differ by 0.4 % of the scale and nothing else: no bin will ever tell them apart.
_TWINS = ("symmetric", "insightface")
# Cosines that differ by no more are the same: a network may not mind the scale, or gray faces BGR.
_SAME = 1e-4
# Networks that know faces are far above; cosines of the pixels themselves reach 0.6 to 0.7 on LFW.
_WORKING_AUC = 0.7
# Standard errors by which every AUC has to be below that to be given up before all pairs are used.
_SURE = 3.0

# What is told of a round before it begins: its pairs, its inputs and the images to embed. It gives
# what is called with the number of images embedded since the last call.
OnRound = Callable[[int, int, int], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True, eq=False)
class Trial:
    """One way to prepare images, and what it gave: cosines (pairs,) of images alone, ``plain``, and
    with the mirrored image's embedding added, ``flipped``; None where an embedding is not finite.

    Inputs are judged by the second, which are the less noisy ones. ``genuine`` (pairs,) are labels.
    """

    profile: str
    channels: str
    plain: NDArray[np.float64] | None
    flipped: NDArray[np.float64] | None
    genuine: NDArray[np.bool_]

    @property
    def named(self) -> tuple[str, str]:
        """What tells it from the others."""
        return self.profile, self.channels

    @property
    def pairs(self) -> int:
        """On how many pairs it was tried."""
        return len(self.genuine)

    @functools.cached_property
    def auc(self) -> float:
        """By what inputs are ranked; -1 where there is none."""
        return -1.0 if self.flipped is None else auc_and_error(self.flipped, self.genuine)[0]

    @property
    def collapsed(self) -> bool:
        """Whether impostors' cosines are almost all alike."""
        return self.flipped is not None and looks_collapsed(self.flipped, self.genuine)


def auc_and_error(scores: NDArray[np.float64], genuine: NDArray[np.bool_]) -> tuple[float, float]:
    """The AUC and its standard error, of independent pairs; -1 without pairs of both kinds."""
    return of_sweep(sweep(scores, genuine)) or (-1.0, 0.0)


@dataclass(frozen=True, eq=False)
class Finding:
    """Trials, best AUC first, and the first few that the sample cannot tell from the best.

    ``profiles`` and ``channels`` are those of ``alike``, best first: one of each is a clear winner.
    The twins ``symmetric`` and ``insightface`` count as one. ``pairs`` is how many were used in the
    end, ``all_pairs`` whether that is the whole bin.
    """

    trials: tuple[Trial, ...]
    alike: tuple[Trial, ...]
    profiles: tuple[str, ...]
    channels: tuple[str, ...]
    pairs: int = 0
    all_pairs: bool = False

    @property
    def clear(self) -> bool:
        """Whether one profile and one channel order remain."""
        return len(self.profiles) == 1 and len(self.channels) == 1

    @property
    def same(self) -> bool:
        """Whether all that remain give the same cosines, which more pairs do not change."""
        return all(_same(self.alike[0], each) for each in self.alike[1:])

    @property
    def works(self) -> bool:
        """Whether any input lets the network tell faces apart."""
        return bool(self.alike) and self.trials[0].auc >= _WORKING_AUC

    @property
    def collapsed(self) -> bool:
        """Whether impostors' cosines are almost all alike under every input that gives some."""
        return all(each.collapsed for each in self.trials if each.flipped is not None)

    @property
    def recommended(self) -> Trial | None:
        """What to use: the best, or the same in RGB where BGR is not shown to be better; None where
        nothing works.
        """
        if not self.works:
            return None
        best = self.alike[0]
        if best.channels != "bgr":
            return best
        in_rgb = (each for each in self.alike if each.named == (best.profile, "rgb"))
        return next(in_rgb, best)


def sample_pairs(whole: VerificationSet, pairs: int) -> VerificationSet:
    """A bin of ``pairs`` pairs at most, half genuine where there are as many, drawn evenly over
    the file. The same bin gives the same sample, and a larger one has the smaller in it.
    """
    return _chosen(whole, np.sort(_order(whole.genuine)[:pairs]))


def _chosen(whole: VerificationSet, chosen: NDArray[np.intp]) -> VerificationSet:
    images = tuple(whole.images[slot] for pair in chosen for slot in (2 * pair, 2 * pair + 1))
    return replace(whole, images=images, genuine=whole.genuine[chosen])


def _order(genuine: NDArray[np.bool_]) -> NDArray[np.intp]:
    """All pairs so that the first few are spread over the file, and half of them genuine."""
    kinds = [_spread(np.flatnonzero(own)) for own in (genuine, ~genuine)]
    both = min(map(len, kinds))
    alternating = np.stack([kind[:both] for kind in kinds], axis=1).ravel()
    return np.concatenate([alternating, *(kind[both:] for kind in kinds)])


def _spread(indices: NDArray[np.intp]) -> NDArray[np.intp]:
    """The indices by van der Corput's sequence: any first few are at about even distances."""
    places = np.zeros(1 << max(0, len(indices) - 1).bit_length(), np.intp)
    step, length = len(places), 1
    while length < len(places):
        step //= 2
        places[length : 2 * length] = places[:length] + step
        length *= 2
    return indices[places[places < len(indices)]]


def probe_inputs(
    embedder: Embedder,
    whole: VerificationSet,
    *,
    pairs: int = 200,
    most: int | None = None,
    batch_size: int = 64,
    on_round: OnRound | None = None,
) -> Finding:
    """Tries every profile, with RGB and BGR where the model takes colour, on ``pairs`` pairs, then
    on twice as many until one is shown to be the best, none is left that may work, or ``most``
    pairs or all of the bin are used.

    Comparisons are at 5 % over all of them together (Bonferroni) and allow for images, or people,
    that pairs share. Raises BinError for an image that does not decode.
    """
    order = _order(whole.genuine)
    order = order[: min(len(order), most or len(order))]
    people = slot_people(whole)
    rounds = list(_rounds(pairs, len(order)))
    tried = list(_tried(embedder, batch_size))
    known: dict[tuple[str, str], Trial] = {}
    for number in rounds:
        chosen = np.sort(order[:number])
        sample = _chosen(whole, chosen)
        images, slots = distinct_images(sample.images)
        new = sum(each.lacks(images) for each in tried)
        with (
            nullcontext(lambda _: None)
            if on_round is None
            else on_round(number, len(tried), 2 * new) as advance
        ):
            trials = [each.on(images, slots, sample.genuine, advance) for each in tried]
        known |= {each.named: each for each in trials}
        ends = np.stack([2 * chosen, 2 * chosen + 1], axis=1).ravel()
        finding = find_winner(
            list(known.values()),
            sample.genuine,
            sharing=slots_sharing(
                np.arange(number), images=slots, people=None if people is None else people[ends]
            ),
            looks=len(rounds),
        )
        finding = replace(finding, all_pairs=number == len(whole.genuine))
        if finding.clear or finding.same or _hopeless(trials):
            break
        left = {each.named for each in finding.alike}
        tried = [each for each in tried if each.named in left]
    return finding


def _rounds(first: int, last: int) -> Iterator[int]:
    while first < last:
        yield first
        first *= 2
    yield last


def _tried(embedder: Embedder, batch_size: int) -> Iterator[_Tried]:
    """Every input that the model may take: the named ones and its own, with its crop and feed."""
    own = embedder.input.pixels
    gray = embedder.input.channels == "gray"
    numbers = dict.fromkeys([*PROFILES.values(), own.values])
    for profile in (replace(each, crop=own.crop, feed=own.feed) for each in numbers):
        if gray and max(len(profile.mean), len(profile.std)) > 1:
            continue
        for channels in ("gray",) if gray else ("rgb", "bgr"):
            spec = replace(embedder.input, profile=str(profile), channels=channels)
            yield _Tried(replace(embedder, input=spec), batch_size)


@dataclass(eq=False)
class _Tried:
    """An input, and the embeddings that are known under it: two, the mirrored image's last."""

    embedder: Embedder
    batch_size: int
    places: dict[bytes, int] = field(default_factory=dict)
    embeddings: list[NDArray[np.float32]] = field(default_factory=list)

    @property
    def named(self) -> tuple[str, str]:
        return self.embedder.input.profile, self.embedder.input.channels

    def lacks(self, images: Sequence[bytes]) -> int:
        """How many of the distinct images are not embedded yet."""
        return sum(each not in self.places for each in images)

    def on(
        self,
        images: Sequence[bytes],
        slots: NDArray[np.intp],
        genuine: NDArray[np.bool_],
        advance: Callable[[int], None],
    ) -> Trial:
        """What it gives on pairs of these distinct images."""
        new = [each for each in images if each not in self.places]
        if new:
            found = self._embedded(new, advance)
            before = self.embeddings or [np.empty((0, each.shape[1]), np.float32) for each in found]
            self.embeddings = [np.concatenate(both) for both in zip(before, found, strict=True)]
            self.places |= {each: len(self.places) + i for i, each in enumerate(new)}
        rows = np.asarray([self.places[each] for each in images])[slots]
        both = [each[rows] for each in self.embeddings]
        plain, summed = both[0], both[0] + both[1]
        if unusable_rows(plain).any() or unusable_rows(summed).any():
            return Trial(*self.named, None, None, genuine)
        left, right = (np.arange(side, len(rows), 2) for side in (0, 1))
        scores = [pair_scores(each, left, right) for each in (plain, summed)]
        return Trial(*self.named, scores[0], scores[1], genuine)

    def _embedded(
        self, images: Sequence[bytes], advance: Callable[[int], None]
    ) -> list[NDArray[np.float32]]:
        spec, forward = self.embedder.input, self.embedder.forward
        flipped = replace(
            self.embedder,
            forward=lambda batch: forward(np.ascontiguousarray(mirrored(batch, spec))),
        )
        options = EmbedOptions(batch_size=self.batch_size)
        return [
            embed_images(each, images, options=options, on_progress=advance)
            for each in (self.embedder, flipped)
        ]


def find_winner(
    trials: Sequence[Trial],
    genuine: NDArray[np.bool_],
    *,
    sharing: Sharing | None = None,
    looks: int = 1,
) -> Finding:
    """The trials ranked, and those that are not shown to be worse than the best.

    Those on most pairs, to which ``genuine`` and ``sharing`` belong, come first. The tests are at
    5 % over all comparisons and ``looks`` together (Bonferroni).
    """
    ranked = sorted(trials, key=lambda each: (each.pairs, each.auc), reverse=True)
    best = ranked[0]
    if best.flipped is None or best.auc < 0:
        return Finding(tuple(ranked), (), (), (), best.pairs)
    level = SIGNIFICANCE / (looks * max(1, len(ranked) - 1))
    alike = [best]
    for other in ranked[1:]:
        if other.flipped is None or other.pairs < best.pairs:
            continue
        tested = (
            None
            if _same(best, other)
            else compare_pairs(best.flipped, other.flipped, genuine, metric="auc", sharing=sharing)
        )
        if tested is None or tested.p_value >= level:
            alike.append(other)
    profiles = dict.fromkeys(_family(each.profile, best.profile) for each in alike)
    channels = dict.fromkeys(each.channels for each in alike)
    return Finding(tuple(ranked), tuple(alike), tuple(profiles), tuple(channels), best.pairs)


def _same(one: Trial, other: Trial) -> bool:
    if one.flipped is None or other.flipped is None or one.pairs != other.pairs:
        return False
    return bool(np.abs(one.flipped - other.flipped).max() < _SAME)


def _family(profile: str, best: str) -> str:
    one, other = profile_of(profile), profile_of(best)
    twins = {str(one.values), str(other.values)} <= {*_TWINS} and one.crop == other.crop
    return best if twins else profile


def _hopeless(trials: Sequence[Trial]) -> bool:
    """Whether every AUC lies so far below that of a working network that more pairs are vain."""
    areas = [
        auc_and_error(each.flipped, each.genuine) for each in trials if each.flipped is not None
    ]
    return all(area + _SURE * error < _WORKING_AUC for area, error in areas)
