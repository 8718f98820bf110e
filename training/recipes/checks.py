"""What the values of a stage must fit together in."""

from __future__ import annotations

from training.recipes.parts import MINED_LOSSES, TRIPLET_LOSSES, Fail, Place, Recipe, Stage


def check_stage(stage: Stage, place: Place, recipe: Recipe, fail: Fail) -> None:
    """Raises what ``fail`` gives for the first values that do not go together."""
    loss = stage.loss
    given = list(loss.given)
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
            "constant or seed, no warmup",
        )
