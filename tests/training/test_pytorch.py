"""PyTorch's weights in Keras networks: beside PyTorch's own figures, and the layers restated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from evaluator.errors import InputError
from fuzz.torch_seeds import safetensors_file, zip_file

Floats = NDArray[Any]
Weights = dict[str, Floats]
# Written by PyTorch 2.13 from networks of two stages, drawn at random, with what these gave there.
FILES = Path(__file__).with_name("pytorch_files")
EMBEDDINGS = json.loads((FILES / "embeddings.json").read_text())


def converted(path: Path) -> Any:
    from training.network.pytorch import model_of_weights

    return model_of_weights(path)


def images(side: int = 16) -> Floats:
    return (np.random.default_rng(0).random((2, side, side, 3)) * 2 - 1).astype(np.float32)


def unit(embeddings: Any) -> Floats:
    found = np.asarray(embeddings, np.float64)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_a_file_of_pytorch_embeds_as_it_did_there(name: str) -> None:
    found = converted(FILES / name)
    expected = np.array(EMBEDDINGS[name])
    embedded = np.asarray(found.model(images()))
    assert np.abs(unit(embedded) - unit(expected)).max() < 1e-6
    if name.startswith("arcface"):  # AdaFace's network divides by the length
        assert np.allclose(embedded, expected, rtol=1e-4, atol=1e-5)
    assert found.channels == ("bgr" if name == "adaface.ckpt" else "rgb")
    assert found.others == (("state_dict.head.kernel",) if name == "adaface.ckpt" else ())


# ---- The layers restated, channels first as PyTorch has them -------------------------------------


def conv(x: Floats, kernel: Floats, stride: int = 1) -> Floats:
    """(batch, in, height, width) and (out, in, size, size); size // 2 zeros on each side."""
    pad = kernel.shape[2] // 2
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2:], axis=(2, 3))
    return np.einsum("bihwkl,oikl->bohw", windows[:, :, ::stride, ::stride], kernel)


def norm(x: Floats, weights: Mapping[str, Floats], name: str) -> Floats:
    wide = (1, -1) + (1,) * (x.ndim - 2)
    mean, variance = (weights[f"{name}.running_{each}"].reshape(wide) for each in ("mean", "var"))
    scaled = (x - mean) / np.sqrt(variance + 1e-5)
    if f"{name}.weight" in weights:
        scaled = scaled * weights[f"{name}.weight"].reshape(wide)
    return scaled + weights[f"{name}.bias"].reshape(wide) if f"{name}.bias" in weights else scaled


def prelu(x: Floats, weights: Mapping[str, Floats], name: str) -> Floats:
    return np.where(x > 0, x, x * weights[f"{name}.weight"].reshape(1, -1, 1, 1))


def block(x: Floats, weights: Weights, names: list[str], shortcut: Floats, stride: int) -> Floats:
    one, two, three, four, five, six = names
    inner = conv(norm(x, weights, one), weights[f"{two}.weight"])
    inner = prelu(norm(inner, weights, three), weights, four)
    return norm(conv(inner, weights[f"{five}.weight"], stride), weights, six) + shortcut


class Drawn:
    """Random weights of a network, noted under PyTorch's names as they are asked for."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(3)
        self.weights: Weights = {}

    def conv(self, name: str, wide: int, out: int, size: int) -> None:
        drawn = self.random.normal(size=(out, wide, size, size)) / np.sqrt(wide * size * size)
        self.weights[f"{name}.weight"] = drawn.astype("<f4")

    def norm(self, name: str, wide: int, *, affine: bool = True) -> None:
        for part in ("weight", "bias", "running_mean", "running_var")[0 if affine else 2 :]:
            low = -0.3 if part in ("bias", "running_mean") else 0.5
            self.weights[f"{name}.{part}"] = self.random.uniform(low, 1.5, wide).astype("<f4")
        self.weights[f"{name}.num_batches_tracked"] = np.array([9], "<i8")

    def prelu(self, name: str, wide: int) -> None:
        self.weights[f"{name}.weight"] = self.random.uniform(0, 0.5, wide).astype("<f4")

    def block(self, names: list[str], wide: int, out: int) -> None:
        one, two, three, four, five, six = names
        self.norm(one, wide)
        self.conv(two, wide, out, 3)
        self.norm(three, out)
        self.prelu(four, out)
        self.conv(five, out, out, 3)
        self.norm(six, out)


def adaface(side: int = 8) -> tuple[Weights, Floats]:
    """A network of one stage with two blocks, and what it gives for `images`."""
    drawn = Drawn()
    drawn.conv("input_layer.0", 3, 5, 3)
    drawn.norm("input_layer.1", 5)
    drawn.prelu("input_layer.2", 5)
    names = [[f"body.{number}.res_layer.{part}" for part in range(6)] for number in range(2)]
    for each in names:
        drawn.block(each, 5, 5)
    drawn.norm("output_layer.0", 5)
    size = 5 * (side // 2) ** 2
    dense = drawn.random.normal(size=(6, size)) / np.sqrt(size)
    drawn.weights["output_layer.3.weight"] = dense.astype("<f4")
    drawn.weights["output_layer.3.bias"] = drawn.random.normal(size=6).astype("<f4")
    drawn.norm("output_layer.4", 6, affine=False)

    w = drawn.weights
    x = images(side).astype(np.float64).transpose(0, 3, 1, 2)
    x = norm(conv(x, w["input_layer.0.weight"]), w, "input_layer.1")
    x = prelu(x, w, "input_layer.2")
    x = block(x, w, names[0], x[:, :, ::2, ::2], 2)
    x = block(x, w, names[1], x, 1)
    flat = norm(x, w, "output_layer.0").reshape(2, -1)
    dense = flat @ w["output_layer.3.weight"].T + w["output_layer.3.bias"]
    return w, norm(dense, w, "output_layer.4")


@pytest.mark.parametrize(("prefix", "channels"), [("", "bgr"), ("model.net.", "rgb")])
def test_a_network_gives_what_its_layers_restated_give(
    prefix: str, channels: str, tmp_path: Path
) -> None:
    weights, expected = adaface()
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors_file({prefix + name: each for name, each in weights.items()}))
    found = converted(path)
    assert np.allclose(np.asarray(found.model(images(8))), expected, rtol=1e-4, atol=1e-5)
    assert found.channels == channels
    # AdaFace's counts, and one shift for each number of the embedding, which is 0.
    learnt = sum(each.size for name, each in weights.items() if "running" not in name)
    counters = sum("num_batches" in name for name in weights)
    trainable = sum(int(np.prod(each.shape)) for each in found.model.trainable_weights)
    assert trainable == learnt - counters + 6


def test_a_gain_of_the_last_batch_norm_is_kept(tmp_path: Path) -> None:
    from evaluator.models.torch_weights.read import read_weights

    weights: dict[str, Any] = dict(read_weights(FILES / "arcface.pth"))
    assert (weights["features.weight"] != 1).all()
    plain = {**weights, "features.weight": np.ones(8, "<f4")}
    shift = weights["features.bias"]
    (tmp_path / "plain.pth").write_bytes(zip_file(plain))
    without = np.asarray(converted(tmp_path / "plain.pth").model(images()))
    gained = (without - shift) * weights["features.weight"] + shift
    found = np.asarray(converted(FILES / "arcface.pth").model(images()))
    assert np.allclose(found, gained, rtol=1e-4, atol=1e-5)


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "missing": (
        {"input_layer.1.bias": None, "body.1.res_layer.3.weight": None},
        "missing: input_layer.1.bias, body.1.res_layer.3.weight",
    ),
    "unexpected": (
        {f"body.0.res_layer.6.fc{each}.weight": np.zeros(2, "<f4") for each in range(5)},
        r"unexpected: body.0.res_layer.6.fc0.weight, .* and 2 more",
    ),
    "of another shape": (
        {"body.0.res_layer.0.weight": np.zeros(4, "<f4")},
        r"of another shape: body.0.res_layer.0.weight \(4,\)",
    ),
    "whole numbers": (
        {"output_layer.3.bias": np.zeros(6, "<i8")},
        r"of another shape: output_layer.3.bias \(6,\)",
    ),
    "no square": ({"output_layer.3.weight": np.zeros((6, 60), "<f4")}, "a square map of 5 channel"),
    "no dense layer": ({"output_layer.3.weight": None}, "expected a matrix output_layer.3.weight"),
    "no block": ({"body.0.res_layer.4.weight": None, "body.1.res_layer.4.weight": None}, "found 0"),
    "many blocks": (
        {f"body.{each}.res_layer.4.weight": np.zeros((5, 1, 1, 1), "<f4") for each in range(200)},
        "found 200 in 1",
    ),
    "another network": ({"body.0.res_layer.0.weight": None}, "a network that is not known"),
    "two networks": (
        {"ema.body.0.res_layer.0.weight": np.zeros(5, "<f4")},
        "holds 2 networks, under '', 'ema.'",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_weights_that_do_not_fit_are_told_by_name_in_one_line(name: str, tmp_path: Path) -> None:
    changes, said = CHANGES[name]
    weights = {**adaface()[0], **changes}
    path = tmp_path / "x.pth"
    path.write_bytes(zip_file({key: each for key, each in weights.items() if each is not None}))
    with pytest.raises(InputError, match=said) as caught:
        converted(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
