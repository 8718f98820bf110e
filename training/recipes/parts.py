"""The parts of a recipe: what each says, its default and its limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from evaluator.errors import InputError, cause_of
from training.recipes.schedules import Schedule, make_schedule

Place = tuple[str | int, ...]
Fail = Callable[[Place, str], Exception]

BACKBONES = (
    "resnet50v2",
    "resnet101v2",
    "mobilenetv2",
    "mobilenetv3_small",
    "mobilenetv3_large",
    "mobilefacenet",
    "ghostfacenet",
    "iresnet18",
    "iresnet34",
    "iresnet50",
    "iresnet100",
    "ir18",
    "ir34",
    "ir50",
    "ir101",
    "vit_t",
    "conv4",
    "mlp",
)
POOLINGS = ("gap", "gdc", "e", "none")
# The losses on embeddings themselves: on triplets found before the epoch, and in each batch.
MINED_LOSSES = ("triplet",)
BATCH_LOSSES = ("triplet_semihard", "triplet_batch_hard", "triplet_batch_all")
TRIPLET_LOSSES = MINED_LOSSES + BATCH_LOSSES
# Margins that keep a state or draw numbers, so that the head itself has the loss; the names in
# `network.margins`, which imports Keras.
HEAD_LOSSES = ("adaface", "curricularface", "magface", "elasticface")
OPTIMIZERS = ("adamax", "adam", "adamw", "lamb", "sgd", "sgdw")
LOSSES = ("softmax", "margin", *HEAD_LOSSES, *TRIPLET_LOSSES)
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
# Those of `images.inputs`, which imports NumPy; reading models.yaml must not. A test holds the
# two together.
PROFILES = ("unit", "symmetric", "insightface", "raw", "whiten", "imagenet")
CHANNELS = ("rgb", "bgr", "gray")
# The names in `network.losses.MARGINS`, which imports Keras; a test holds the two together.
MARGIN_PRESETS = (
    *("arcface", "cosface", "combined", "seed", "seed_swapped", "seed_threshold"),
    *("founding", "founding_swapped", "founding_threshold"),
)
# Schedules that the founding systems change between epochs; the others change with every step.
EPOCH_SCHEDULES = ("constant", "founding", "seed")
# Those that end at a number of epochs.
DECAYING_SCHEDULES = ("polynomial", "cosine")


class RecipeError(InputError):
    """A recipe cannot be used; the message says which key, what was expected and what was found."""


def fail_in(where: str, *before: str) -> Fail:
    """What makes the error of a recipe in the file ``where``, below the keys ``before``."""

    def fail(place: Place, message: str) -> RecipeError:
        key = ".".join(map(str, (*before, *place)))
        return RecipeError(f"{where}: {cause_of(f'{key}: {message}' if key else message)}")

    return fail


def _one_of(*names: str, default: Any = dataclasses.MISSING, kind: str | None = None) -> Any:
    """One of some names, or one that is registered as of that kind."""
    return field(default=default, metadata={"choices": names, "kind": kind})


def _number(low: float, high: float = float("inf"), default: Any = dataclasses.MISSING) -> Any:
    return field(default=default, metadata={"low": low, "high": high})


@dataclass(frozen=True)
class Augment:
    """What is done to a training image at random, each a pure function of seed, epoch and image.

    ``flip``: half of the images are mirrored; ``crop_px``: shifted by up to so many pixels each
    way, edges repeated; ``cutout_px``: a square of this side turned gray; ``randaugment_ops``: so
    many operations drawn from a table, at ``randaugment_magnitude`` of 10 (Cubuk et al., 2020).
    """

    flip: bool = True
    crop_px: int = _number(0, 64, default=0)
    cutout_px: int = _number(0, 512, default=0)
    randaugment_ops: int = _number(0, 8, default=0)
    randaugment_magnitude: float = _number(0, 10, default=5.0)


@dataclass(frozen=True)
class DataRecipe:
    """How images are split, ordered and kept.

    ``validation``: share of the images held back; each person keeps at least one for training.
    ``source``: ``digits`` (scikit-learn's) or ``mnist`` stand where --data gives none.
    ``seed`` draws that, the order, augmentation, first weights and dropout. ``cache``: ``memory``
    keeps decoded pixels, ``auto`` does so below 4 GB. ``class_weights``: ``balanced`` weighs an
    image by the inverse of how many its person has. ``balance``: how evenly people come in an
    epoch (`BalancedSampler`'s power): 0 as they have images, 1 each as often as any other.
    """

    source: str = _one_of("none", "digits", "mnist", default="none")
    validation: float = _number(0, 0.9, default=0.05)
    seed: int = _number(0, 2**31 - 1, default=0)
    cache: str = _one_of("auto", "memory", "none", default="auto")
    class_weights: str = _one_of("none", "balanced", default="none")
    balance: float = _number(0, 1, default=0.0)
    augment: Augment = Augment()


@dataclass(frozen=True)
class Preprocess:
    """What pixels the model sees: the evaluator's input profile, so that the exported model is
    evaluated on just what it was trained on. ``size`` is (height, width).
    """

    profile: str = _one_of(*PROFILES, default="unit")
    channels: str = _one_of(*CHANNELS, default="rgb")
    size: tuple[int, int] = (112, 112)


@dataclass(frozen=True)
class ModelRecipe:
    """The embedding model: backbone, where its weights start, and what follows it.

    ``pooling``: ``gap`` (global average, dropout, Dense), ``gdc`` (global depthwise convolution)
    or ``e`` (insightface's batch norm, dropout, Dense, batch norm). The backbone ``mlp`` is two
    dense layers, 256 and the embedding, with pooling ``none``. ``start``: a model file or the
    folder of a run (to `zoo train` also an entry's name) with the same layers; training goes on
    from its weights.
    """

    backbone: str = _one_of(*BACKBONES, kind="backbone")
    weights: str = _one_of("none", "imagenet", default="none")
    embedding_size: int = _number(2, 65536, default=512)
    dropout: float = _number(0, 0.95, default=0.1)
    pooling: str = _one_of(*POOLINGS, default="gap")
    start: str | None = None


@dataclass(frozen=True)
class LossRecipe:
    """``softmax``, or ``margin`` with a ``preset`` and what differs from it (`MarginLoss`), or a
    margin of ``training.network.margins`` with what differs from its paper, or a loss of
    ``training.network.triplet_losses`` with one margin, whose name says its unit, or a registered
    one with ``options`` of its own, which may stand beside its name.
    """

    name: str = _one_of(*LOSSES, kind="loss")
    preset: str | None = _one_of(*MARGIN_PRESETS, default=None)
    angular_mul: float | None = _number(1e-6, 16, default=None)
    angular_add: float | None = _number(-3.2, 3.2, default=None)
    cosine_sub: float | None = _number(-2, 2, default=None)
    scale: float | None = _number(1e-6, 1e6, default=None)
    fallback: str | None = _one_of("linear", "cosine", "none", default=None)
    margin_cosine: float | None = _number(1e-6, 2, default=None)
    margin_euclidean: float | None = _number(1e-6, 1e6, default=None)
    margin_squared_euclidean: float | None = _number(1e-6, 1e6, default=None)
    unit_length: bool | None = None
    label_smoothing: float | None = _number(0, 0.99, default=None)
    margin: float | None = _number(0, 3.2, default=None)
    h: float | None = _number(1e-6, 1e6, default=None)
    momentum: float | None = _number(0, 1, default=None)
    l_a: float | None = _number(1e-6, 1e6, default=None)
    u_a: float | None = _number(1e-6, 1e6, default=None)
    l_margin: float | None = _number(0, 3.2, default=None)
    u_margin: float | None = _number(0, 3.2, default=None)
    lambda_g: float | None = _number(0, 1e6, default=None)
    kind: str | None = _one_of("arc", "cos", default=None)
    std: float | None = _number(0, 3.2, default=None)
    options: Mapping[str, Any] | None = None

    @property
    def given(self) -> dict[str, Any]:
        """The options that are stated, of those that the losses take as they are."""
        held = {key: value for key, value in vars(self).items() if key not in ("name", "options")}
        stated = {key: value for key, value in held.items() if value is not None}
        return {**stated, **(self.options or {})}


@dataclass(frozen=True)
class OptimizerRecipe:
    """``weight_decay`` is added to the gradient by ``sgd`` (L2, as PyTorch does it) and
    decoupled from it, times the rate, by the others (as Keras does it); ``sgdw`` is SGD with that.
    ``decay``: ``kernels`` leaves norms, biases and slopes undecayed. ``clip_norm`` bounds the
    length of all gradients together, ``clip_each_norm`` that of each variable's. ``accumulate``:
    so many batches make one step, on the mean of their gradients. ``ema``: momentum of a moving
    average of the weights, which is then what is validated, verified and exported. ``options``
    are those of a registered optimizer.
    """

    name: str = _one_of(*OPTIMIZERS, kind="optimizer")
    momentum: float = _number(0, 0.9999, default=0.0)
    nesterov: bool = False
    beta_1: float | None = _number(0, 0.999999, default=None)
    beta_2: float | None = _number(0, 0.999999, default=None)
    weight_decay: float = _number(0, 1, default=0.0)
    decay: str = _one_of("all", "kernels", default="all")
    clip_norm: float = _number(0, default=0.0)
    clip_each_norm: float = _number(0, default=0.0)
    accumulate: int = _number(1, 65536, default=1)
    ema: float = _number(0, 0.999999, default=0.0)
    options: Mapping[str, Any] | None = None

    @property
    def own(self) -> dict[str, Any]:
        """The options that are stated, of those that not every optimizer has."""
        betas = {"beta_1": self.beta_1, "beta_2": self.beta_2}
        held = {"momentum": self.momentum or None, "nesterov": self.nesterov or None, **betas}
        return {name: value for name, value in held.items() if value is not None}


@dataclass(frozen=True)
class RateRecipe:
    """A schedule of ``schedules.py`` by name; ``options`` are its keyword arguments."""

    name: str
    options: Mapping[str, float]
    warmup_epochs: float = 0.0

    def over(self, epochs: int) -> Schedule:
        """The schedule in a stage of so many epochs: what decays, decays over all of them unless
        the recipe states its own ``epochs``.
        """
        options = with_epochs(self.name, self.options, epochs)
        return make_schedule(self.name, warmup_epochs=self.warmup_epochs, **options)

    @property
    def by_step(self) -> bool:
        """Whether the rate changes with every step, not only between epochs."""
        return self.name not in EPOCH_SCHEDULES or self.warmup_epochs > 0


@dataclass(frozen=True)
class Plateau:
    """The rate is multiplied by ``factor`` after ``patience`` epochs without a better figure."""

    monitor: str = _one_of("loss", "accuracy", "val_loss", "val_accuracy", default="val_loss")
    factor: float = _number(1e-6, 0.999, default=0.1)
    patience: int = _number(1, default=5)
    min_rate: float = _number(0, default=0.0)


@dataclass(frozen=True)
class Triplets:
    """Where the batches of a triplet loss come from.

    ``sampler``: ``mined``: each epoch, ``images`` of up to ``people`` people are embedded and each
    violated pair gets a negative by ``choice`` (`mine_triplets`, whose ``alpha_cosine``,
    ``candidates`` and ``index`` these are; ``memory_mb`` bounds its block of cosines);
    ``sliding_window``: neighbours of each person's shuffled images and any other's image, drawn
    anew for each epoch, ``rounds`` times over all people; ``balanced``: batches of ``people``
    people with ``images`` each.
    """

    sampler: str = _one_of("mined", "sliding_window", "balanced")
    people: int = _number(1, default=10000)
    images: int = _number(1, 1000, default=5)
    rounds: int = _number(1, 10000, default=1)
    choice: str = _one_of("random", "semi_hard", "hardest", "distance_weighted", default="random")
    alpha_cosine: float = _number(1e-6, 2, default=0.2)
    candidates: int = _number(0, 100000, default=0)
    index: str = _one_of("exact", "faiss", default="exact")
    memory_mb: int = _number(1, default=256)


@dataclass(frozen=True)
class Stage:
    """One compile of the seed: a loss, a fresh optimizer, and some epochs of it.

    ``freeze``: ``backbone`` holds the layers up to the pooling, ``embedding`` the whole embedding
    model (the seed's ``basic_model.trainable = False``), batch norms at inference.
    ``sample_rate``: the share of classes that a step of a margin looks at; ``sub_centers``: vectors
    a class of ``norm_dense``.
    """

    loss: LossRecipe
    optimizer: OptimizerRecipe
    learning_rate: RateRecipe
    epochs: int = _number(1)
    head: str = _one_of("norm_dense", "dense", "none", default="norm_dense")
    freeze: str = _one_of("none", "backbone", "embedding", default="none")
    plateau: Plateau | None = None
    triplets: Triplets | None = None
    sample_rate: float = _number(1e-9, 1, default=1.0)
    sub_centers: int = _number(1, 100, default=1)

    @property
    def head_has_loss(self) -> bool:
        """Whether the head takes the labels and has the loss (`MarginHead`)."""
        return self.loss.name in HEAD_LOSSES or self.sample_rate < 1


@dataclass(frozen=True)
class Center:
    """Center loss beside each stage's own: ``factor`` times it; centers move by ``alpha``.

    ``start``: a ``centers.npy`` of the same people, as the founding system's or a former run's;
    without it centers start at zero.
    """

    alpha: float = _number(1e-6, 1, default=0.5)
    factor: float = _number(1e-9, default=1.0)
    start: str | None = None


@dataclass(frozen=True)
class Verification:
    """Bins that are evaluated at the end of each epoch, and every so many steps if not 0.

    The best weights are those with the highest ``figure``, averaged over the bins (``mean``) or
    of the worst one (``min``).
    """

    bins: tuple[str, ...] = ()
    every_steps: int = _number(0, default=0)
    figure: str = _one_of("accuracy", "kfold", "auc", default="accuracy")
    aggregate: str = _one_of("mean", "min", default="mean")


@dataclass(frozen=True)
class Recipe:
    """All that decides a run. ``checkpoint_steps``: steps between two checkpoints;
    ``export``: which weights ``basic_model.keras`` gets; ``keep``: whether the embedding model of
    each epoch, or of each improvement in verification, is kept as ``.keras``, with ``keep_whole``
    beside the whole model, head and optimizer in it; ``custom``: the modules that registered names
    of this recipe, each with the SHA-256 of its file; ``start_head``: a run whose head and centers
    training goes on from; ``deterministic``: TensorFlow's slower kernels whose results do not
    depend on timing, for a GPU.
    """

    model: ModelRecipe
    stages: tuple[Stage, ...]
    batch: int = _number(1, 65536, default=128)
    data: DataRecipe = DataRecipe()
    preprocess: Preprocess = Preprocess()
    center: Center | None = None
    precision: str = _one_of(*PRECISIONS, default="float32")
    xla: bool = False
    deterministic: bool = False
    verification: Verification = Verification()
    checkpoint_steps: int = _number(1, default=1000)
    export: str = _one_of("best", "last", default="best")
    keep: str = _one_of("last", "improved", "epochs", default="last")
    keep_whole: bool = False
    start_head: str | None = None
    custom: tuple[str, ...] = ()

    def stage_at(self, number: int) -> Stage:
        """That stage; of a run that has ended, the last."""
        return self.stages[min(number, len(self.stages) - 1)]

    @property
    def labels_too(self) -> bool:
        """Whether the model takes labels beside images."""
        return self.center is not None or any(stage.head_has_loss for stage in self.stages)


def with_epochs(name: str, options: Mapping[str, float], epochs: int) -> dict[str, float]:
    """A schedule's options, with the stage's ``epochs`` where it ends with them."""
    return {"epochs": epochs, **options} if name in DECAYING_SCHEDULES else dict(options)
