"""Recipes: everything that decides what a training run does, checked before anything runs.

A recipe comes as plain mappings, lists and scalars, as YAML gives them. Where a value stands in
its file is the caller's knowledge: complaints go through ``fail(place, message)``, ``place`` being
the keys and indices that lead to the value.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from evaluator.errors import InputError
from training.schedules import SCHEDULES, Schedule, make_schedule

Place = tuple[str | int, ...]
Fail = Callable[[Place, str], Exception]
T = TypeVar("T")

BACKBONES = ("resnet50v2", "resnet101v2", "mobilenetv2", "mobilefacenet", "iresnet50", "mlp")
POOLINGS = ("gap", "gdc", "e", "none")
# The losses on embeddings themselves: on triplets found before the epoch, and in each batch.
MINED_LOSSES = ("triplet",)
BATCH_LOSSES = ("triplet_semihard", "triplet_batch_hard", "triplet_batch_all")
TRIPLET_LOSSES = MINED_LOSSES + BATCH_LOSSES
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
# Those of `evaluator.inputs`, which imports NumPy; reading models.yaml must not. A test holds the
# two together.
PROFILES = ("unit", "symmetric", "insightface", "raw")
CHANNELS = ("rgb", "bgr", "gray")
# The names in `training.losses.MARGINS`, which imports Keras; a test holds the two together.
MARGIN_PRESETS = ("arcface", "cosface", "combined", "seed", "seed_swapped", "seed_threshold")
# Schedules that the founding systems change between epochs; the others change with every step.
EPOCH_SCHEDULES = ("constant", "seed")
# Those that end at a number of epochs.
DECAYING_SCHEDULES = ("polynomial", "cosine")


class RecipeError(InputError):
    """A recipe cannot be used; the message says which key, what was expected and what was found."""


def _one_of(*names: str, default: Any = dataclasses.MISSING) -> Any:
    return field(default=default, metadata={"choices": names})


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
    image by the inverse of how many its person has.
    """

    source: str = _one_of("none", "digits", "mnist", default="none")
    validation: float = _number(0, 0.9, default=0.05)
    seed: int = _number(0, 2**31 - 1, default=0)
    cache: str = _one_of("auto", "memory", "none", default="auto")
    class_weights: str = _one_of("none", "balanced", default="none")
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
    dense layers, 256 and the embedding, with pooling ``none``. ``start``: a model file, or the
    folder of a run, with the same layers; training goes on from its weights.
    """

    backbone: str = _one_of(*BACKBONES)
    weights: str = _one_of("none", "imagenet", default="none")
    embedding_size: int = _number(2, 65536, default=512)
    dropout: float = _number(0, 0.95, default=0.1)
    pooling: str = _one_of(*POOLINGS, default="gap")
    start: str | None = None


@dataclass(frozen=True)
class LossRecipe:
    """``softmax``, or ``margin`` with a ``preset`` and what differs from it (`MarginSoftmax`), or a
    loss of ``training.triplet_losses`` with one margin, whose name says its unit.
    """

    name: str = _one_of("softmax", "margin", *TRIPLET_LOSSES)
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


@dataclass(frozen=True)
class OptimizerRecipe:
    """``weight_decay`` is added to the gradient by ``sgd`` (L2, as PyTorch does it) and
    decoupled from it, times the rate, by ``adam`` and ``adamax`` (as Keras does it).
    """

    name: str = _one_of("adamax", "adam", "sgd")
    momentum: float = _number(0, 0.9999, default=0.0)
    weight_decay: float = _number(0, 1, default=0.0)
    clip_norm: float = _number(0, default=0.0)


@dataclass(frozen=True)
class RateRecipe:
    """A schedule of ``training.schedules`` by name; ``options`` are its keyword arguments."""

    name: str
    options: Mapping[str, float]
    warmup_epochs: float = 0.0

    def over(self, epochs: int) -> Schedule:
        """The schedule in a stage of so many epochs: what decays, decays over all of them unless
        the recipe states its own ``epochs``.
        """
        options = _with_epochs(self.name, self.options, epochs)
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
    """

    loss: LossRecipe
    optimizer: OptimizerRecipe
    learning_rate: RateRecipe
    epochs: int = _number(1)
    head: str = _one_of("norm_dense", "dense", "none", default="norm_dense")
    freeze: str = _one_of("none", "backbone", "embedding", default="none")
    plateau: Plateau | None = None
    triplets: Triplets | None = None


@dataclass(frozen=True)
class Center:
    """Center loss beside each stage's own: ``factor`` times it; centers move by ``alpha``."""

    alpha: float = _number(1e-6, 1, default=0.5)
    factor: float = _number(1e-9, default=1.0)


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
    ``export``: which weights ``basic_model.keras`` gets; ``deterministic``: TensorFlow's slower
    kernels whose results do not depend on timing, for a GPU.
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


def parse_recipe(value: Any, fail: Fail) -> Recipe:
    """The recipe that plain data describes; raises what ``fail`` gives for the first mistake."""
    recipe = _built(Recipe, value, (), fail)
    if not recipe.stages:
        raise fail(("stages",), "expected at least one stage")
    for number, stage in enumerate(recipe.stages):
        _check_stage(stage, ("stages", number), recipe, fail)
    return recipe


def to_plain(recipe: Recipe) -> dict[str, Any]:
    """Plain data that ``parse_recipe`` turns into an equal recipe."""
    return typing.cast(dict[str, Any], _plain(recipe))


def summary(recipe: Recipe) -> list[str]:
    """The recipe in a line for the model and one for each stage."""
    model = recipe.model
    lines = [
        f"{model.backbone} (weights {model.weights}), {model.pooling}, {model.embedding_size}; "
        f"batch {recipe.batch}, {recipe.precision}, held back {100 * recipe.data.validation:g} %"
        + (f"; center loss x {recipe.center.factor:g}" if recipe.center else "")
    ]
    for stage in recipe.stages:
        loss = stage.loss.preset or stage.loss.name
        loss = f"margin {loss}" if stage.loss.name == "margin" else loss
        lines.append(
            f"{stage.epochs} epochs of {loss}, "
            f"{stage.optimizer.name}, rate {stage.learning_rate.over(stage.epochs)(0):g} "
            f"({stage.learning_rate.name})"
            + (f", {stage.freeze} frozen" if stage.freeze != "none" else "")
        )
    return lines


def with_settings(value: Any, settings: Mapping[str, Any], fail: Fail) -> Any:
    """A copy of plain recipe data with ``{"model.backbone": "mobilefacenet"}`` put into it.

    A key's parts are separated by dots; a list's by index, or ``*`` for each of its members. A
    mapping that is not there yet is made, so that defaults can be changed too.
    """
    changed = _copied(value)
    for key, setting in settings.items():
        _put(changed, key.split("."), setting, key, fail)
    return changed


def _put(node: Any, parts: list[str], setting: Any, key: str, fail: Fail) -> None:
    name, rest = parts[0], parts[1:]
    if isinstance(node, list):
        if name != "*" and not (name.isdigit() and int(name) < len(node)):
            raise fail((key,), f"expected 0..{len(node) - 1} or * where {name!r} stands")
        places: list[Any] = list(range(len(node))) if name == "*" else [int(name)]
    elif isinstance(node, dict):
        places = [name]
    else:
        raise fail((key,), f"there is nothing below the value {node!r} to set")
    for place in places:
        if not rest:
            node[place] = setting
            continue
        if isinstance(node, dict) and not isinstance(node.get(place), dict | list):
            # A shorthand ("softmax" for {name: softmax}) becomes what it stands for.
            held = node.get(place)
            if held is not None and not isinstance(held, str):
                raise fail((key,), f"there is nothing below the value {held!r} to set")
            node[place] = {"name": held} if held is not None else {}
        _put(node[place], rest, setting, key, fail)


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(each) for key, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, RateRecipe):
        named = {"name": value.name, **value.options}
        return named | ({"warmup_epochs": value.warmup_epochs} if value.warmup_epochs else {})
    if dataclasses.is_dataclass(value):
        pairs = ((each.name, getattr(value, each.name)) for each in dataclasses.fields(value))
        return {name: _plain(each) for name, each in pairs if each is not None}
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def _built(kind: type[T], value: Any, place: Place, fail: Fail) -> T:
    """The dataclass ``kind`` from a mapping, or from its ``name`` alone."""
    known = {each.name: each for each in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if isinstance(value, str) and "name" in known:
        value = {"name": value}
    if not isinstance(value, Mapping):
        raise fail(place, f"expected keys with values; found {_shown(value)}")
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "there is: " + ", ".join(known)
            raise fail((*place, key), f"unknown key {key!r}; {hint}")
    hints = typing.get_type_hints(kind)
    found: dict[str, Any] = {}
    for name, each in known.items():
        if name in value:
            found[name] = _value(hints[name], value[name], (*place, name), each.metadata, fail)
        elif each.default is dataclasses.MISSING:
            raise fail(place, f"missing key {name!r}")
    return kind(**found)


def _value(hint: Any, value: Any, place: Place, limits: Mapping[str, Any], fail: Fail) -> Any:
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(each for each in typing.get_args(hint) if each is not type(None))
    if hint is RateRecipe:
        return _rate(value, place, fail)
    if dataclasses.is_dataclass(hint):
        return _built(typing.cast(type[Any], hint), value, place, fail)
    if typing.get_origin(hint) is tuple:
        return _many(hint, value, place, fail)
    return _scalar(hint, value, place, limits, fail)


def _many(hint: Any, value: Any, place: Place, fail: Fail) -> tuple[Any, ...]:
    inner, last = typing.get_args(hint)
    if last is not Ellipsis and isinstance(value, int) and not isinstance(value, bool):
        value = [value, value]
    if isinstance(value, str):
        value = [part for part in value.split(",") if part]
    if not isinstance(value, list | tuple):
        raise fail(place, f"expected a list; found {_shown(value)}")
    if last is not Ellipsis and len(value) != 2:
        raise fail(place, f"expected two numbers, height and width; found {_shown(value)}")
    limits = {"low": 1, "high": 4096} if inner is int else {}
    return tuple(_value(inner, each, (*place, i), limits, fail) for i, each in enumerate(value))


def _scalar(hint: Any, value: Any, place: Place, limits: Mapping[str, Any], fail: Fail) -> Any:
    if hint is bool:
        if isinstance(value, bool):
            return value
        raise fail(place, f"expected true or false; found {_shown(value)}")
    if hint is str:
        if value is None and "none" in limits.get("choices", ()):
            return "none"
        choices = limits.get("choices")
        if isinstance(value, str) and (not choices or value in choices):
            return value
        if not choices:
            raise fail(place, f"expected a name; found {_shown(value)}")
        near = difflib.get_close_matches(str(value), choices, n=1)
        hint_text = f"; did you mean {near[0]!r}?" if near else ""
        raise fail(place, f"expected one of {', '.join(choices)}; found {_shown(value)}{hint_text}")
    low, high = limits.get("low", -float("inf")), limits.get("high", float("inf"))
    number = _as_number(value)
    fits = number is not None and low <= number <= high
    if not fits or (hint is int and number != int(typing.cast(float, number))):
        wanted = "a whole number" if hint is int else "a number"
        span = f"{low:g} to {high:g}" if high != float("inf") else f"{low:g} or more"
        raise fail(place, f"expected {wanted}, {span}; found {_shown(value)}")
    if hint is int:  # of text, "1e2" too
        return int(typing.cast(float, number)) if isinstance(value, str) else int(value)
    return float(value)


def _as_number(value: Any) -> float | None:
    """A finite number; YAML 1.1 reads 5e-4 as text, which is taken too."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):  # overflow: a whole number of over 308 digits
        return None
    return number if number == number and abs(number) != float("inf") else None


def _rate(value: Any, place: Place, fail: Fail) -> RateRecipe:
    if isinstance(value, str):
        value = {"name": value}
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = {"name": "constant", "learning_rate": value}
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise fail(place, f"expected a rate, or {{name: ...}} of a schedule; found {_shown(value)}")
    if value["name"] not in SCHEDULES:
        raise fail(
            (*place, "name"),
            f"expected one of {', '.join(SCHEDULES)}; found {value['name']!r}",
        )
    options: dict[str, float] = {}
    for key, given in value.items():
        if key == "name":
            continue
        number = _as_number(given)
        if number is None:
            raise fail((*place, key), f"expected a number; found {_shown(given)}")
        options[key] = number
    warmup = options.pop("warmup_epochs", 0.0)
    try:
        make_schedule(
            value["name"], warmup_epochs=warmup, **_with_epochs(value["name"], options, 1)
        )
    except InputError as error:
        raise fail(place, str(error)) from None
    return RateRecipe(value["name"], types.MappingProxyType(options), warmup)


def _with_epochs(name: str, options: Mapping[str, float], epochs: int) -> dict[str, float]:
    return {"epochs": epochs, **options} if name in DECAYING_SCHEDULES else dict(options)


def _check_stage(stage: Stage, place: Place, recipe: Recipe, fail: Fail) -> None:
    loss = stage.loss
    given = [
        each.name
        for each in dataclasses.fields(loss)
        if each.name != "name" and getattr(loss, each.name) is not None
    ]
    if loss.name == "softmax" and given:
        raise fail((*place, "loss", given[0]), f"softmax takes no {given[0]!r}; use name: margin")
    if loss.name in TRIPLET_LOSSES:
        _check_triplets(stage, given, place, recipe, fail)
    elif stage.triplets is not None:
        raise fail((*place, "triplets"), f"loss {loss.name} takes no triplets")
    elif stage.head == "none":
        raise fail((*place, "head"), f"loss {loss.name} is on logits: expected a head")
    triplet_options = [name for name in given if name in _TRIPLET_OPTIONS]
    if loss.name == "margin" and triplet_options:
        raise fail((*place, "loss", triplet_options[0]), "belongs to the triplet losses")
    if loss.name == "margin" and not given:
        raise fail((*place, "loss"), "margin: expected a preset, or angular_mul, angular_add, ...")
    if loss.name == "margin" and stage.head != "norm_dense":
        raise fail((*place, "head"), "a margin is on cosines: expected head norm_dense")
    if stage.optimizer.name != "sgd" and stage.optimizer.momentum:
        raise fail((*place, "optimizer", "momentum"), f"{stage.optimizer.name} has no momentum")
    if stage.plateau and stage.learning_rate.by_step:
        raise fail(
            (*place, "plateau"),
            "expected a rate that changes by epoch: constant or seed, no warmup",
        )
    if stage.plateau and stage.plateau.monitor.startswith("val_") and not recipe.data.validation:
        raise fail((*place, "plateau", "monitor"), "data.validation is 0: there is no val_ figure")


_TRIPLET_OPTIONS = ("margin_cosine", "margin_euclidean", "margin_squared_euclidean", "unit_length")


def _check_triplets(
    stage: Stage, given: list[str], place: Place, recipe: Recipe, fail: Fail
) -> None:
    loss, triplets = stage.loss, stage.triplets
    for name in given:
        if name not in _TRIPLET_OPTIONS:
            raise fail((*place, "loss", name), f"{loss.name} takes no {name!r}")
    margins = [name for name in given if name.startswith("margin_")]
    if len(margins) != 1:
        names = ", ".join(_TRIPLET_OPTIONS[:3])
        raise fail((*place, "loss"), f"expected one of {names}; found {len(margins)} of them")
    if stage.head != "none":
        raise fail((*place, "head"), f"{loss.name} is on embeddings: expected head none")
    if recipe.center is not None:
        raise fail((*place, "loss"), f"{loss.name} does not go with a center loss")
    if recipe.data.class_weights != "none":
        raise fail((*place, "loss"), f"{loss.name}: expected data.class_weights none")
    fitting = ("mined", "sliding_window") if loss.name in MINED_LOSSES else ("balanced",)
    if triplets is None or triplets.sampler not in fitting:
        where = (*place, "triplets") if triplets is None else (*place, "triplets", "sampler")
        raise fail(where, f"{loss.name}: expected triplets with sampler {' or '.join(fitting)}")
    if triplets.sampler in ("mined", "balanced") and triplets.images < 2:
        message = f"a pair takes 2 images of a person or more; found {triplets.images}"
        raise fail((*place, "triplets", "images"), message)
    if triplets.sampler in ("mined", "balanced") and triplets.people < 2:
        message = f"a negative takes 2 people or more; found {triplets.people}"
        raise fail((*place, "triplets", "people"), message)
    if loss.name in MINED_LOSSES and recipe.batch % 3:
        raise fail(("batch",), f"triplets fill it: expected a multiple of 3; found {recipe.batch}")
    if triplets.sampler == "balanced" and recipe.batch != triplets.people * triplets.images:
        raise fail(
            ("batch",),
            f"expected triplets.people x triplets.images = {triplets.people * triplets.images}; "
            f"found {recipe.batch}",
        )
    if triplets.sampler == "mined" and stage.learning_rate.by_step:
        raise fail(
            (*place, "learning_rate"),
            "epochs of mined triplets differ in length: expected a rate that changes by epoch: "
            "constant or seed, no warmup",
        )


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "keys with values"
    return (
        "a list" if isinstance(value, list | tuple) else "nothing" if value is None else repr(value)
    )
