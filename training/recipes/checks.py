"""What the values of a stage must fit together in."""

from __future__ import annotations

import inspect

from training.recipes import registry
from training.recipes.parts import (
    HEAD_LOSSES,
    LOSSES,
    MINED_LOSSES,
    OPTIMIZERS,
    TRIPLET_LOSSES,
    Fail,
    LossRecipe,
    Place,
    Recipe,
    Stage,
)


def check_stage(stage: Stage, place: Place, recipe: Recipe, fail: Fail) -> None:
    """Raises what ``fail`` gives for the first values that do not go together."""
    loss = stage.loss
    given = list(loss.given)
    takes = _taken(stage, place, fail)
    if loss.name in TRIPLET_LOSSES:
        _check_triplets(stage, given, place, recipe, fail)
    elif stage.triplets is not None and takes != "embeddings":
        raise fail((*place, "triplets"), f"loss {loss.name} takes no triplets")
    elif (stage.head == "none") != (takes == "embeddings"):
        wanted = (
            "embeddings: expected head none" if takes == "embeddings" else "logits: expected a head"
        )
        raise fail((*place, "head"), f"loss {loss.name} is on {wanted}")
    if loss.name == "margin" and not given:
        raise fail((*place, "loss"), "margin: expected a preset, or angular_mul, angular_add, ...")
    _check_head(stage, takes, place, recipe, fail)
    _check_optimizer(stage, (*place, "optimizer"), fail)
    if stage.head == "none" and recipe.start_head and place == ("stages", 0):
        raise fail(("start_head",), "the first stage has no head; leave it out")
    if stage.plateau and stage.learning_rate.by_step:
        raise fail(
            (*place, "plateau"),
            "expected a rate that changes by epoch: constant or founding, no warmup",
        )
    if stage.plateau and stage.plateau.monitor.startswith("val_") and not recipe.data.validation:
        raise fail((*place, "plateau", "monitor"), "data.validation is 0: there is no val_ figure")


def _check_optimizer(stage: Stage, place: Place, fail: Fail) -> None:
    recipe = stage.optimizer
    if recipe.options and recipe.name in OPTIMIZERS:
        raise fail(
            (*place, "options"), f"{recipe.name} takes none; options are for registered ones"
        )
    plain = recipe.name in ("sgd", "sgdw")
    for name in recipe.own:
        if recipe.name not in OPTIMIZERS or plain != (name in ("momentum", "nesterov")):
            raise fail((*place, name), f"{recipe.name} has no {name}")
    if recipe.nesterov and not recipe.momentum:
        raise fail((*place, "nesterov"), "expected a momentum with it")
    if recipe.name in ("adamw", "sgdw") and not recipe.weight_decay:
        without = {"adamw": "adam", "sgdw": "sgd"}[recipe.name]
        raise fail((*place, "weight_decay"), f"expected some; {without} is {recipe.name} without")
    if recipe.clip_norm and recipe.clip_each_norm:
        raise fail((*place, "clip_each_norm"), "expected this or clip_norm, not both")


_TRIPLET_OPTIONS = ("margin_cosine", "margin_euclidean", "margin_squared_euclidean", "unit_length")
# What each loss takes besides its name.
_OPTIONS = {
    "softmax": ("label_smoothing",),
    "margin": tuple("preset angular_mul angular_add cosine_sub scale fallback".split()),
    "adaface": tuple("margin h momentum scale label_smoothing".split()),
    "curricularface": tuple("margin momentum scale label_smoothing".split()),
    "magface": tuple("l_a u_a l_margin u_margin lambda_g scale label_smoothing".split()),
    "elasticface": tuple("kind margin std scale label_smoothing".split()),
    **dict.fromkeys(TRIPLET_LOSSES, _TRIPLET_OPTIONS),
}


def _taken(stage: Stage, place: Place, fail: Fail) -> str:
    """What the stage's loss takes; raises what ``fail`` gives for options that it does not."""
    loss = stage.loss
    if loss.name in LOSSES:
        _check_options(loss, list(loss.given), place, fail)
        return "cosines" if loss.name == "margin" or loss.name in HEAD_LOSSES else "logits"
    made, takes = registry.found("loss", loss.name), registry.taken_by(loss.name)
    if made is None or takes is None:  # of a run's own module, which is not imported here
        return {"none": "embeddings", "dense": "logits"}.get(stage.head, "cosines")
    try:
        inspect.signature(made).bind(**loss.given)
    except TypeError as error:
        raise fail((*place, "loss"), f"{loss.name}: {error}") from None
    return takes


def _check_options(loss: LossRecipe, given: list[str], place: Place, fail: Fail) -> None:
    for name in given:
        if name in _OPTIONS[loss.name]:
            continue
        takes = [other for other, options in _OPTIONS.items() if name in options]
        if loss.name == "margin" and name in _TRIPLET_OPTIONS:
            raise fail((*place, "loss", name), "belongs to the triplet losses")
        hint = f"; use name: {takes[0]}" if loss.name == "softmax" else ""
        raise fail((*place, "loss", name), f"{loss.name} takes no {name!r}{hint}")


def _check_head(stage: Stage, takes: str, place: Place, recipe: Recipe, fail: Fail) -> None:
    on_cosines = takes == "cosines"
    if on_cosines and stage.head != "norm_dense":
        raise fail((*place, "head"), "a margin is on cosines: expected head norm_dense")
    if stage.sample_rate < 1 and not (on_cosines and stage.loss.name in LOSSES):
        raise fail((*place, "sample_rate"), f"{stage.loss.name} looks at all: expected a margin")
    if stage.sub_centers > 1 and stage.head != "norm_dense":
        raise fail((*place, "sub_centers"), f"head {stage.head} has one vector a class at most")
    if stage.sub_centers != recipe.stages[0].sub_centers:
        raise fail((*place, "sub_centers"), "expected as many as in the first stage")
    if stage.head_has_loss and recipe.data.class_weights != "none":
        raise fail((*place, "loss"), "a head with the loss: expected data.class_weights none")
    if stage.sample_rate < 1 and _falls_back(stage.loss):
        raise fail((*place, "sample_rate"), "expected a margin whose fallback is linear")


def _falls_back(loss: LossRecipe) -> bool:
    """Whether a margin has another fallback than a sampling head has."""
    if loss.fallback is not None:
        return loss.fallback != "linear"
    other = ("seed", "seed_swapped", "founding", "founding_swapped")
    return loss.name == "margin" and loss.preset in other


def _check_triplets(
    stage: Stage, given: list[str], place: Place, recipe: Recipe, fail: Fail
) -> None:
    loss, triplets = stage.loss, stage.triplets
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
    if recipe.data.balance:
        raise fail(
            (*place, "loss"), f"{loss.name}: expected data.balance 0; triplets have an order"
        )
    fitting = ("mined", "sliding_window") if loss.name in MINED_LOSSES else ("balanced",)
    if triplets is None or triplets.sampler not in fitting:
        where = (*place, "triplets") if triplets is None else (*place, "triplets", "sampler")
        raise fail(where, f"{loss.name}: expected triplets with sampler {' or '.join(fitting)}")
    for name, why in (
        ("images", "a pair takes 2 images of a person or more"),
        ("people", "a negative takes 2 people or more"),
    ):
        found = getattr(triplets, name)
        if triplets.sampler != "sliding_window" and found < 2:
            raise fail((*place, "triplets", name), f"{why}; found {found}")
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
            "constant or founding, no warmup",
        )
