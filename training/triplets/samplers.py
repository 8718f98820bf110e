"""Which images an epoch has, and in what order, where not each comes once at random.

All are pure functions of labels, seed and epoch; a mined one is of the model's weights too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import keras
import numpy as np
from numpy.typing import NDArray

from evaluator.errors import InputError
from training.data.batches.pipeline import TrainingData, epoch_order, still_batches
from training.recipes.parts import Triplets
from training.triplets.mining import choose_images, mine_triplets
from training.triplets.orders import balanced_order, shuffled_triplets, sliding_window_order

Numbers = NDArray[np.int64]

# Streams of randomness that must not be the same numbers.
_CHOOSE, _MINE, _WINDOW, _SHUFFLE, _BALANCE = range(100, 105)

# A batch where nothing else is said, and one of triplets.
_BATCH, _TRIPLET_BATCH = 128, 126


@dataclass(frozen=True)
class PersonSampler:
    """Batches of ``people`` people with ``images`` images each, for losses on the triplets that a
    batch holds. People come in shuffled rounds, and so do each one's images.
    """

    people: int
    images: int

    def __post_init__(self) -> None:
        """Refuses what holds no triplet, with InputError."""
        _at_least(2, people=self.people, images=self.images)

    def order(self, data: TrainingData, epoch: int) -> Numbers:
        """The image numbers of an epoch, as many batches as each image once would give.

        Raises TripletError for fewer people than a batch has.
        """
        order = balanced_order(
            data.faces.labels[data.train],
            people=self.people,
            images=self.images,
            batches=data.steps,
            seed=purpose_seed(data.recipe.seed, _BALANCE, epoch),
        )
        return data.train[order]


@dataclass(frozen=True)
class BalancedSampler:
    """As many images as there are, a person with n of them n^(1 - ``power``) times as often as one
    with a single image: 1 is each person alike (class-balanced sampling), 0 each image once.
    """

    power: float = 1.0

    def __post_init__(self) -> None:
        """Refuses a power outside of 0 to 1, with InputError."""
        if not 0 <= self.power <= 1:
            raise InputError(f"power: expected 0 to 1; found {self.power!r}")

    def order(self, data: TrainingData, epoch: int) -> Numbers:
        """The image numbers of an epoch."""
        recipe = replace(data.recipe, balance=self.power)
        return epoch_order(replace(data, recipe=recipe), epoch)


@dataclass(frozen=True)
class SlidingWindowSampler:
    """The founding MLP's triplets, anchor, positive, negative, anchor, ...: neighbours of each
    person's shuffled images and any other's image, ``rounds`` times over all people.
    """

    rounds: int = 1

    def __post_init__(self) -> None:
        """Refuses less than a round, with InputError."""
        _at_least(1, rounds=self.rounds)

    def order(self, data: TrainingData, epoch: int) -> Numbers:
        """The image numbers of an epoch, whole triplets. Raises TripletError for one person only,
        or one with a single image.
        """
        seed, labels = data.recipe.seed, data.faces.labels[data.train]
        window = purpose_seed(seed, _WINDOW, epoch)
        order = sliding_window_order(labels, seed=window, rounds=self.rounds)
        return data.train[shuffled_triplets(order, seed=purpose_seed(seed, _SHUFFLE, epoch))]


@dataclass(frozen=True, kw_only=True, eq=False)
class MinedSampler:
    """Triplets found before each epoch with what ``embedding``, the model in training, gives for
    ``images`` images of up to ``people`` people: `mine_triplets`, whose ``choice``,
    ``alpha_cosine``, ``candidates`` and ``index`` these are; ``memory_mb`` bounds its block of
    cosines.

    ``batches`` is how many an epoch has for Keras's fit, which wants to know before: triplets that
    are left are for another time, missing ones come again. None: those of the first mining.
    """

    embedding: keras.Model
    people: int = 10000
    images: int = 5
    choice: str = "random"
    alpha_cosine: float = 0.2
    candidates: int = 0
    index: str = "exact"
    memory_mb: int = 256
    batches: int | None = None

    def __post_init__(self) -> None:
        """Refuses what holds no triplet, with InputError."""
        _at_least(2, people=self.people, images=self.images)
        _at_least(1, batches=1 if self.batches is None else self.batches)

    def order(self, data: TrainingData, epoch: int) -> Numbers:
        """The image numbers of an epoch, whole triplets. Raises as `mine_triplets` does."""
        return self.mined(data, epoch)[0]

    def mined(self, data: TrainingData, epoch: int) -> tuple[Numbers, str]:
        """The order of an epoch, and a line about how it was found."""
        seed = data.recipe.seed
        chosen = choose_images(
            data.faces.labels[data.train],
            people=self.people,
            images_per_person=self.images,
            seed=purpose_seed(seed, _CHOOSE, epoch),
        )
        numbers = data.train[chosen]
        distinct, places = np.unique(numbers, return_inverse=True)
        mined = mine_triplets(
            embed_numbers(self.embedding, data, distinct)[places],
            data.faces.labels[numbers],
            alpha_cosine=self.alpha_cosine,
            choice=self.choice,
            seed=purpose_seed(seed, _MINE, epoch),
            memory=self.memory_mb * 2**20,
            candidates=self.candidates,
            index=self.index,
        )
        columns = [mined.anchors, mined.positives, mined.negatives]
        line = (
            f"{len(mined.anchors):,} triplets found among {mined.pairs:,} pairs of "
            f"{len(np.unique(data.faces.labels[numbers])):,} people ({mined.active:.1%} active)"
        )
        line += f", {mined.dropped:,} images dropped" if mined.dropped else ""
        return numbers[np.stack(columns, axis=1).ravel()], line


Sampler = PersonSampler | BalancedSampler | SlidingWindowSampler | MinedSampler


def sampler_of(recipe: Triplets, embedding: keras.Model) -> Sampler:
    """What a recipe's stage says."""
    if recipe.sampler == "balanced":
        return PersonSampler(recipe.people, recipe.images)
    if recipe.sampler == "sliding_window":
        return SlidingWindowSampler(recipe.rounds)
    return MinedSampler(
        embedding=embedding,
        people=recipe.people,
        images=recipe.images,
        choice=recipe.choice,
        alpha_cosine=recipe.alpha_cosine,
        candidates=recipe.candidates,
        index=recipe.index,
        memory_mb=recipe.memory_mb,
    )


def fitting_batch(sampler: Sampler | None, batch: int | None) -> int:
    """The images of a batch: ``batch``, or what suits the sampler. Raises InputError for one that
    does not.
    """
    if isinstance(sampler, PersonSampler):
        own = sampler.people * sampler.images
        if batch not in (None, own):
            raise InputError(
                f"batch_size: expected people x images = {own}, or nothing; found {batch}"
            )
        return own
    if isinstance(sampler, SlidingWindowSampler | MinedSampler):
        if batch is not None and batch % 3:
            raise InputError(f"batch_size: triplets fill it: expected 3, 6, 9, ...; found {batch}")
        return _TRIPLET_BATCH if batch is None else batch
    return _BATCH if batch is None else batch


def embed_numbers(model: keras.Model, data: TrainingData, numbers: Numbers) -> NDArray[np.float32]:
    """Embeddings of images, unchanged ones, as the model gives them; NaN for one that cannot be
    read, which ``data.broken`` names.
    """
    batches = still_batches(data, numbers)
    parts = [np.array(model.predict_on_batch(each.images), np.float32) for each in batches]
    # The last batch was filled up.
    embeddings = np.concatenate(parts)[: len(numbers)]
    origins = (data.faces.origin(int(number)) for number in numbers)
    lost = [i for i, origin in enumerate(origins) if origin in data.broken]
    embeddings[lost] = np.nan
    return embeddings


def purpose_seed(seed: int, *counter: int) -> int:
    """A seed for one purpose and epoch."""
    return int(np.random.SeedSequence([seed, *counter]).generate_state(1, np.uint64)[0])


def _at_least(least: int, **given: int) -> None:
    for name, value in given.items():
        if value < least:
            raise InputError(f"{name}: expected {least} or more; found {value}")
