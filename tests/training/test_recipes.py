"""Recipes: what is read, what is refused and where, and what --set does."""

from typing import Any

import pytest

from training.recipes.parts import (
    BACKBONES,
    CHANNELS,
    MARGIN_PRESETS,
    POOLINGS,
    PROFILES,
    Center,
    Plateau,
    Recipe,
)
from training.recipes.recipe import parse_recipe, to_plain, with_settings


class RefusedError(Exception):
    """What `fail` gives: the place and the message."""


def fail(place: Any, message: str) -> RefusedError:
    return RefusedError(place, message)


STAGE = {"epochs": 2, "loss": "softmax", "optimizer": "adamax", "learning_rate": "seed"}


def plain(**changes: Any) -> dict[str, Any]:
    return {"model": {"backbone": "mobilefacenet"}, "stages": [dict(STAGE)], **changes}


def read(**changes: Any) -> Recipe:
    return parse_recipe(plain(**changes), fail)


def staged(**changes: Any) -> Recipe:
    return read(stages=[{**STAGE, **changes}])


def refusal(value: Any) -> tuple[Any, str]:
    with pytest.raises(RefusedError) as caught:
        parse_recipe(value, fail)
    return caught.value.args


def test_a_short_recipe_gets_the_documented_defaults() -> None:
    recipe = read()
    assert (recipe.batch, recipe.precision, recipe.export) == (128, "float32", "best")
    assert (recipe.model.embedding_size, recipe.model.dropout) == (512, 0.1)
    assert recipe.preprocess.size == (112, 112)
    assert recipe.center is None
    assert read(center={}).center == Center(0.5, 1.0)


def test_the_seeds_rate_is_the_formula_of_its_scheduler() -> None:
    import math

    schedule = read().stages[0].learning_rate.over(20)
    for epoch in range(20):
        wanted = 0.001 if epoch < 10 else 0.001 * math.exp(0.2 * (10 - epoch))
        assert schedule(epoch) == pytest.approx(wanted, rel=1e-12)


def test_a_decay_ends_with_its_stage_unless_it_says_otherwise() -> None:
    rate = {"name": "polynomial", "learning_rate": 0.1, "power": 1}
    recipe = staged(epochs=4, learning_rate=rate)
    assert recipe.stages[0].learning_rate.over(4)(2) == pytest.approx(0.05)
    longer = staged(epochs=4, learning_rate={**rate, "epochs": 8})
    assert longer.stages[0].learning_rate.over(4)(2) == pytest.approx(0.075)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"center": {"factor": 0.5}},
        {"precision": "mixed_float16", "xla": True, "verification": {"bins": ["lfw"]}},
        {"data": {"augment": {"randaugment_ops": 2}}, "preprocess": {"size": [112, 96]}},
        {"stages": [{**STAGE, "learning_rate": {"name": "cosine", "learning_rate": 0.1}}]},
        {"stages": [{**STAGE, "loss": {"name": "margin", "preset": "seed", "scale": 30}}]},
        {"stages": [{**STAGE, "plateau": {"patience": 2}}]},
        {"stages": [{**STAGE, "learning_rate": {"name": "seed", "warmup_epochs": 1}}]},
    ],
)
def test_a_recipe_written_down_reads_the_same(changes: dict[str, Any]) -> None:
    recipe = read(**changes)
    assert parse_recipe(to_plain(recipe), fail) == recipe


@pytest.mark.parametrize(
    ("changes", "place", "said"),
    [
        ({"bach": 64}, ("bach",), "did you mean 'batch'"),
        ({"batch": 0}, ("batch",), "expected a whole number, 1 to 65536; found 0"),
        ({"batch": 1.5}, ("batch",), "found 1.5"),
        ({"batch": True}, ("batch",), "found True"),
        ({"xla": "yes please"}, ("xla",), "expected true or false"),
        ({"model": {"backbone": "resnet50v"}}, ("model", "backbone"), "did you mean 'resnet50v2'"),
        ({"model": {}}, ("model",), "missing key 'backbone'"),
        ({"model": "mobilefacenet"}, ("model",), "expected keys with values"),
        ({"stages": []}, ("stages",), "at least one stage"),
        ({"stages": [{"epochs": 1}]}, ("stages", 0), "missing key 'loss'"),
        ({"preprocess": {"size": [1, 2, 3]}}, ("preprocess", "size"), "two numbers"),
        ({"data": {"validation": float("nan")}}, ("data", "validation"), "found nan"),
    ],
)
def test_a_mistake_is_named_with_its_place(
    changes: dict[str, Any], place: tuple[Any, ...], said: str
) -> None:
    where, message = refusal(plain(**changes))
    assert where == place
    assert said in message


@pytest.mark.parametrize(
    ("stage", "place", "said"),
    [
        ({"loss": "margin"}, ("loss",), "expected a preset"),
        ({"loss": {"name": "softmax", "scale": 2}}, ("loss", "scale"), "softmax takes no 'scale'"),
        ({"loss": {"name": "margin", "preset": "sphereface"}}, ("loss", "preset"), "expected one"),
        (
            {"loss": {"name": "margin", "preset": "arcface"}, "head": "dense"},
            ("head",),
            "norm_dense",
        ),
        ({"optimizer": {"name": "adam", "momentum": 0.9}}, ("optimizer", "momentum"), "adam has"),
        ({"learning_rate": "sead"}, ("learning_rate", "name"), "found 'sead'"),
        ({"learning_rate": {"name": "seed", "hald": 3}}, ("learning_rate",), "hald"),
        ({"learning_rate": -1}, ("learning_rate",), "above 0"),
        (
            {"learning_rate": {"name": "cosine", "learning_rate": 1}, "plateau": {}},
            ("plateau",),
            "changes by epoch",
        ),
    ],
)
def test_a_stage_that_cannot_be_is_refused(
    stage: dict[str, Any], place: tuple[Any, ...], said: str
) -> None:
    where, message = refusal(plain(stages=[dict(STAGE), {**STAGE, **stage}]))
    assert where == ("stages", 1, *place)
    assert said in message


def test_a_plateau_of_held_back_images_needs_some() -> None:
    where, message = refusal(
        plain(data={"validation": 0}, stages=[{**STAGE, "plateau": {"monitor": "val_loss"}}])
    )
    assert where == ("stages", 0, "plateau", "monitor")
    assert "data.validation is 0" in message
    assert staged(plateau={"monitor": "loss"}).stages[0].plateau == Plateau(monitor="loss")


def test_set_changes_a_copy_at_any_depth() -> None:
    before = plain(stages=[dict(STAGE), dict(STAGE)])
    after = with_settings(
        before,
        {
            "model.backbone": "iresnet50",
            "stages.*.epochs": 7,
            "stages.1.learning_rate.hold": 3,
            "data.augment.crop_px": 2,
        },
        fail,
    )
    recipe = parse_recipe(after, fail)
    assert recipe.model.backbone == "iresnet50"
    assert [stage.epochs for stage in recipe.stages] == [7, 7]
    assert recipe.stages[1].learning_rate.options == {"hold": 3}
    assert recipe.data.augment.crop_px == 2
    assert before == plain(stages=[dict(STAGE), dict(STAGE)])


@pytest.mark.parametrize("key", ["stages.2.epochs", "stages.x", "batch.size"])
def test_set_refuses_a_place_that_is_not_there(key: str) -> None:
    with pytest.raises(RefusedError) as caught:
        with_settings(plain(batch=4), {key: 1}, fail)
    assert caught.value.args[0] == (key,)


def test_names_are_those_of_the_modules_that_have_them() -> None:
    from evaluator import profiles
    from evaluator.images import inputs
    from training.network import backbones, losses

    assert set(PROFILES) == set(profiles.PROFILES)
    assert CHANNELS == inputs.CHANNELS
    assert set(MARGIN_PRESETS) == {*losses.MARGINS, *losses.MarginLoss.presets()}
    assert set(BACKBONES) == set(backbones.BACKBONES)
    assert set(POOLINGS) == set(backbones.POOLINGS)


def test_xla_and_determinism_exclude_each_other() -> None:
    place, message = refusal(plain(xla=True, deterministic=True))
    assert place == ("xla",)
    assert "no deterministic XLA" in message


def test_the_founding_rate_is_the_seeds_by_another_name() -> None:
    founding, seed = (
        staged(learning_rate=name).stages[0].learning_rate for name in ("founding", "seed")
    )
    assert [founding.over(20)(e) for e in range(20)] == [seed.over(20)(e) for e in range(20)]
    assert not founding.by_step


def test_people_are_balanced_once() -> None:
    assert read(data={"balance": 0.5}).data.balance == 0.5
    place, message = refusal(plain(data={"balance": 1, "class_weights": "balanced"}))
    assert place == ("data", "balance")
    assert "twice" in message
    place, _ = refusal(plain(data={"balance": 2}))
    assert place == ("data", "balance")
