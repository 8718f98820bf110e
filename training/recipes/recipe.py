"""Recipes: everything that decides what a training run does, checked before anything runs.

A recipe comes as plain mappings, lists and scalars, as YAML gives them. Where a value stands in
its file is the caller's knowledge: complaints go through ``fail(place, message)``, ``place`` being
the keys and indices that lead to the value.
"""

from __future__ import annotations

import copy
import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from training.recipes.checks import check_stage
from training.recipes.parts import Fail, Place, RateRecipe, Recipe, RecipeError
from training.recipes.reading import built
from training.recipes.registry import foreign

__all__ = [
    "Place",
    "Recipe",
    "RecipeError",
    "parse_recipe",
    "summary",
    "to_plain",
    "with_settings",
]


def parse_recipe(value: Any, fail: Fail) -> Recipe:
    """The recipe that plain data describes; raises what ``fail`` gives for the first mistake."""
    with foreign(isinstance(value, Mapping) and value.get("custom")):
        recipe = built(Recipe, value, (), fail)
    if not recipe.stages:
        raise fail(("stages",), "expected at least one stage")
    if recipe.xla and recipe.deterministic:
        # Keras would go on without XLA, with a warning.
        raise fail(("xla",), "TensorFlow has no deterministic XLA: expected xla or deterministic")
    if recipe.data.balance and recipe.data.class_weights != "none":
        raise fail(
            ("data", "balance"), "counts people twice with class_weights: expected one of them"
        )
    for number, stage in enumerate(recipe.stages):
        check_stage(stage, ("stages", number), recipe, fail)
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
    changed = copy.deepcopy(value)
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


def _plain(value: Any) -> Any:
    if isinstance(value, RateRecipe):
        named = {"name": value.name, **value.options}
        return named | ({"warmup_epochs": value.warmup_epochs} if value.warmup_epochs else {})
    if dataclasses.is_dataclass(value):
        pairs = ((each.name, getattr(value, each.name)) for each in dataclasses.fields(value))
        return {name: _plain(each) for name, each in pairs if each is not None}
    if isinstance(value, Mapping):
        return dict(value)
    return [_plain(each) for each in value] if isinstance(value, tuple) else value
