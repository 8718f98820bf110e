"""Optimizers of recipes, beside their formulas; and that each resumes to the bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from face_samples import SIDE, write_faces, write_pairs
from test_fit import Stopped, arrays, trained, trained_by

from tests.programs import Programs
from training.recipes.recipe import RecipeError, parse_recipe

STAGE = {"epochs": 1, "loss": "softmax", "head": "dense", "learning_rate": 0.1}
STEPS = 4


def stepped(optimizer: dict[str, Any]) -> dict[str, Any]:
    """The variables after each of some steps on fixed gradients, and the averages at the end."""
    import keras

    from training.network.optimizers import stage_optimizer

    plain = {"model": {"backbone": "mlp"}, "stages": [{**STAGE, "optimizer": optimizer}]}
    recipe = parse_recipe(plain, lambda place, message: ValueError(f"{place}: {message}"))
    random = np.random.default_rng(0)
    shapes = {"kernel": (3, 2), "bias": (2,), "alpha": (1, 1, 2)}
    values = {name: random.normal(size=shape) for name, shape in shapes.items()}
    variables = [
        keras.Variable(value, dtype="float32", name=name) for name, value in values.items()
    ]
    made = stage_optimizer(recipe.stages[0], STEPS, variables)
    made.build(variables)
    found = [[value.tolist() for value in values.values()]]
    gradients = [[random.normal(size=each.shape) for each in variables] for _ in range(STEPS)]
    for own in gradients:
        made.apply([keras.ops.convert_to_tensor(each, "float32") for each in own])
        found.append([np.asarray(each).tolist() for each in variables])
    made.finalize_variable_values(variables)
    averages = getattr(made, "_model_variables_moving_average", [])
    return {
        "values": found,
        "end": [np.asarray(each).tolist() for each in variables],
        "averages": [np.asarray(each).tolist() for each in averages],
        "gradients": [[each.tolist() for each in own] for own in gradients],
    }


CASES = {
    "l2": {"name": "sgd", "momentum": 0.9, "weight_decay": 0.1, "decay": "kernels"},
    "decoupled": {"name": "sgdw", "weight_decay": 0.1},
    "adamw": {"name": "adamw", "weight_decay": 0.1, "decay": "kernels", "beta_1": 0.0},
    "accumulate": {"name": "sgd", "accumulate": 2, "clip_norm": 0.5},
    "each": {"name": "sgd", "clip_each_norm": 0.5},
    "ema": {"name": "sgd", "ema": 0.75},
}
JAX = """
from test_optimizers import CASES, stepped
found = {name: stepped(optimizer) for name, optimizer in CASES.items()}
"""


@pytest.fixture(scope="module", params=["tensorflow", "jax"])
def found(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What each case gives, on a backend."""
    if request.param == "tensorflow":
        return {name: stepped(optimizer) for name, optimizer in CASES.items()}
    programs: Programs = request.getfixturevalue("on_jax")
    return programs.found(JAX)


def as_arrays(rows: list[Any]) -> list[list[np.ndarray]]:
    return [[np.asarray(each) for each in row] for row in rows]


def same(found: list[Any], wanted: list[Any]) -> None:
    for ours, theirs in zip(as_arrays(found), wanted, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)


@pytest.mark.slow
def test_l2_is_in_the_momentum_and_spares_what_is_no_kernel(found: dict[str, Any]) -> None:
    case = found["l2"]
    values = [as_arrays(case["values"])[0]]
    momenta = [np.zeros_like(each) for each in values[0]]
    for own in as_arrays(case["gradients"]):
        decays = (0.1, 0.0, 0.0)
        sums = [g + d * w for g, d, w in zip(own, decays, values[-1], strict=True)]
        momenta = [0.9 * m - 0.1 * g for m, g in zip(momenta, sums, strict=True)]
        values.append([w + m for w, m in zip(values[-1], momenta, strict=True)])
    same(case["values"], values)


@pytest.mark.slow
def test_sgdw_decays_by_the_rate_alone(found: dict[str, Any]) -> None:
    case = found["decoupled"]
    values = [as_arrays(case["values"])[0]]
    for own in as_arrays(case["gradients"]):
        kept = 1 - 0.1 * 0.1
        values.append([kept * w - 0.1 * g for w, g in zip(values[-1], own, strict=True)])
    same(case["values"], values)


@pytest.mark.slow
def test_adamw_is_its_paper_with_the_options_given(found: dict[str, Any]) -> None:
    case = found["adamw"]
    values = [as_arrays(case["values"])[0]]
    squares = [np.zeros_like(each) for each in values[0]]
    for step, own in enumerate(as_arrays(case["gradients"]), start=1):
        squares = [0.999 * v + 0.001 * g**2 for v, g in zip(squares, own, strict=True)]
        moved = [  # beta_1 is 0: the first moment is the gradient
            0.1 * g / (np.sqrt(v / (1 - 0.999**step)) + 1e-7 / np.sqrt(1 - 0.999**step))
            for g, v in zip(own, squares, strict=True)
        ]
        kept = (1 - 0.1 * 0.1, 1.0, 1.0)
        values.append([k * w - m for k, w, m in zip(kept, values[-1], moved, strict=True)])
    same(case["values"], values)


@pytest.mark.slow
def test_two_batches_make_one_step_on_their_mean_clipped_as_a_whole(found: dict[str, Any]) -> None:
    case = found["accumulate"]
    values, gradients = as_arrays(case["values"])[:1], as_arrays(case["gradients"])
    for first in range(0, STEPS, 2):
        values.append(values[-1])
        mean = [(a + b) / 2 for a, b in zip(gradients[first], gradients[first + 1], strict=True)]
        length = np.sqrt(sum((each**2).sum() for each in mean))
        factor = min(1.0, 0.5 / length)
        values.append([w - 0.1 * factor * g for w, g in zip(values[-1], mean, strict=True)])
    same(case["values"], values)


@pytest.mark.slow
def test_each_gradient_can_be_clipped_alone(found: dict[str, Any]) -> None:
    case = found["each"]
    values = as_arrays(case["values"])[:1]
    for own in as_arrays(case["gradients"]):
        short = [g * min(1.0, 0.5 / np.linalg.norm(g)) for g in own]
        values.append([w - 0.1 * g for w, g in zip(values[-1], short, strict=True)])
    same(case["values"], values)


@pytest.mark.slow
def test_averages_lag_behind_the_weights_which_they_never_replace(found: dict[str, Any]) -> None:
    case = found["ema"]
    values = as_arrays(case["values"])
    average = values[1]
    for own in values[2:]:
        average = [0.75 * a + 0.25 * w for a, w in zip(average, own, strict=True)]
    same([case["averages"]], [average])
    assert case["end"] == case["values"][-1]


TINY = {
    "model": {"backbone": "mlp", "pooling": "none", "embedding_size": 8, "dropout": 0.1},
    "preprocess": {"size": SIDE},
    "batch": 4,
    "checkpoint_steps": 1,
    "data": {"validation": 0.2},
    "keep": "epochs",
    "center": {},
    "stages": [
        {
            "epochs": 1,
            "loss": "softmax",
            "optimizer": {"name": "adamw", "weight_decay": 0.01, "accumulate": 4, "ema": 0.9},
            "learning_rate": {"name": "seed", "warmup_epochs": 0.5},
        },
        {
            "epochs": 1,
            "loss": "softmax",
            "optimizer": {"name": "lamb", "weight_decay": 0.01, "decay": "kernels", "ema": 0.5},
            "learning_rate": 0.01,
        },
    ],
}


def bits(run: Path) -> dict[str, bytes]:
    return {name: each.tobytes() for name, each in arrays(run / "checkpoints/last.npz").items()}


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_what_optimizers_keep_is_resumed_to_the_bit(
    tmp_path: Path, backend: str, request: pytest.FixtureRequest
) -> None:
    """Also with checkpoints after every step, where fit ends each time, beside none within."""
    write_faces(tmp_path / "faces")
    bins = write_pairs(tmp_path / "pairs.bin")
    seldom = {**TINY, "checkpoint_steps": 1000}
    if backend == "tensorflow":
        trained(seldom, tmp_path / "faces", tmp_path / "whole", bins)
        for step in (3, 8):  # within four batches that make a step, and within the second stage
            with pytest.raises(Stopped):
                trained(TINY, tmp_path / "faces", tmp_path / "run", bins, stop_at=step)
        trained(TINY, tmp_path / "faces", tmp_path / "run", bins)
    else:
        programs: Programs = request.getfixturevalue("on_jax")
        for plain, name in ((seldom, "whole"), (TINY, "run")):
            trained_by(programs, plain, tmp_path / "faces", tmp_path / name, bins)
    assert bits(tmp_path / "run") == bits(tmp_path / "whole")


def test_what_optimizers_lack_is_refused() -> None:
    def fail(place: tuple[Any, ...], message: str) -> RecipeError:
        return RecipeError(f"{'.'.join(map(str, place[2:]))}: {message}")

    for optimizer, words in (
        ({"name": "adamw"}, "optimizer.weight_decay: expected some; adam is adamw without"),
        ({"name": "sgd", "beta_1": 0.9}, "optimizer.beta_1: sgd has no beta_1"),
        ({"name": "lamb", "nesterov": True}, "optimizer.nesterov: lamb has no nesterov"),
        ({"name": "sgd", "nesterov": True}, "optimizer.nesterov: expected a momentum with it"),
        (
            {"name": "sgd", "clip_norm": 1, "clip_each_norm": 1},
            "optimizer.clip_each_norm: expected this or clip_norm, not both",
        ),
    ):
        plain = {"model": {"backbone": "mlp"}, "stages": [{**STAGE, "optimizer": optimizer}]}
        with pytest.raises(RecipeError, match=words):
            parse_recipe(plain, fail)
