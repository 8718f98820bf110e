"""Backbones: their weights by the papers' arithmetic, and what they give on both backends."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.programs import Programs

pytestmark = pytest.mark.slow

Saved = Callable[[str], tuple[Path, Any]]

# Blocks of each stage, and who has a 1x1 convolution in the shortcut of the first.
BLOCKS = {"18": (2, 2, 2, 2), "34": (3, 4, 6, 3), "50": (3, 4, 14, 3), "100": (3, 13, 30, 3)}


def build(backbone: str, head: str, side: int = 112) -> Any:
    from training.network.backbones import build_embedding_model

    return build_embedding_model(backbone, input_shape=(side, side, 3), pooling=head, dropout=0.0)


def trainable(model: Any) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def test_conv4_halves_the_map_four_times_with_the_weights_of_four_convolutions() -> None:
    import keras

    from training.network.backbones import build_embedding_model

    model = build_embedding_model(
        "conv4", input_shape=(64, 48, 3), embedding_size=16, pooling="gdc", dropout=0.0
    )
    convolutions = [each for each in model.layers if type(each) is keras.layers.Conv2D]
    assert [tuple(each.output.shape[1:]) for each in convolutions] == [
        (32, 24, 32),
        (16, 12, 64),
        (8, 6, 128),
        (4, 3, 256),
    ]
    widths = (3, 32, 64, 128, 256)
    counted = 9 * sum(a * b for a, b in itertools.pairwise(widths))
    assert sum(each.count_params() for each in convolutions) == counted == 387_936
    assert model.output_shape == (None, 16)
    assert model.layers[-1].name == "embedding"


def residual_weights(blocks: tuple[int, ...], *, pooled: bool) -> int:
    """What arcface_torch's and AdaFace's networks learn: batch norms two numbers a channel, PReLU
    one, convolutions no bias; then batch norm, 25,088 x 512 with bias, and 512 shifts.
    """
    count = 3 * 9 * 64 + 3 * 64
    wide = 64
    for filters, many in zip((64, 128, 256, 512), blocks, strict=True):
        for block in range(many):
            count += 2 * wide + 9 * wide * filters + 3 * filters + 9 * filters**2 + 2 * filters
            if block == 0 and not (pooled and wide == filters):
                count += wide * filters + 2 * filters
            wide = filters
    return count + 2 * 512 + 49 * 512 * 512 + 512 + 512


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        *(("iresnet18", 24.0), ("iresnet34", 34.1), ("iresnet50", 43.6), ("iresnet100", 65.2)),
        *(("ir18", 24.0), ("ir34", 34.1), ("ir50", 43.6), ("ir101", 65.2)),
    ],
)
def test_residual_networks_have_the_weights_of_their_papers(name: str, millions: float) -> None:
    depth = name.removeprefix("i").removeprefix("resnet").removeprefix("r")
    counted = residual_weights(
        BLOCKS[depth.replace("101", "100")], pooled=not name.startswith("iresnet")
    )
    assert trainable(build(name, "e")) == counted
    assert round(counted / 1e6, 1) == millions


def test_ghostfacenet_has_the_weights_of_its_table() -> None:
    def wide(channels: float) -> int:
        return max(4, int(channels * 1.3 + 2) // 4 * 4)  # none of these loses a tenth

    rows = "16 16 0 1,48 24 0 2,72 24 0 1,72 40 5 2,120 40 5 1,240 80 0 2,200 80 0 1,184 80 0 1,"
    rows += "184 80 0 1,480 112 3 1,672 112 3 1,672 160 5 2,960 160 -5 1,960 160 5 1,960 160 -5 1,"
    rows += "512 160 5 1"
    stem = wide(16)
    count, channels = 27 * stem + 3 * stem, stem
    for row in rows.split(","):
        between, out, kind, stride = map(int, row.split())
        kernel, weighed = abs(kind) or 3, kind > 0
        middle, out = wide(between), wide(out)
        half = middle // 2
        count += channels * half + 9 * half + 2 * 3 * half  # a convolution and its ghosts, PReLU
        if stride == 2:
            count += kernel**2 * middle + 2 * middle
        if weighed:
            fewer = max(4, int(middle / 4 + 2) // 4 * 4)
            count += middle * fewer + 2 * fewer + fewer * middle + middle
        count += middle * (out // 2) + 9 * (out // 2) + 2 * 2 * (out // 2)
        if stride == 2 or channels != out:
            count += kernel**2 * channels + 2 * channels + channels * out + 2 * out
        channels = out
    last = wide(512)
    count += channels * last + 3 * last
    count += 16 * last + 2 * last + last * 512 + 2 * 512  # the head "gdc" on a map of 4 x 4
    model = build("ghostfacenet", "gdc")
    assert trainable(model) == count == 4_037_836
    # The paper's 4.09 million are those of the network whose stem keeps the size: a map of 7 x 7.
    assert round((model.count_params() + (49 - 16) * last) / 1e6, 2) == 4.09


def test_vit_t_has_the_weights_of_its_source() -> None:
    places = (112 // 9) ** 2
    block = 2 * 2 * 256 + 4 * 256**2 + (256 * 1024 + 1024) + (1024 * 256 + 256)
    # The patches' bias is in the places'; no mask token; attention is projected without a bias.
    count = 9 * 9 * 3 * 256 + places * 256 + 12 * block + 2 * 256
    count += places * 256 * 256 + 2 * 256 + 256 * 512 + 2 * 512
    model = build("vit_t", "e")
    assert trainable(model) == count == 19_134_208
    assert [each.rate for each in model.layers if type(each).__name__ == "Dropout"] == (
        [pytest.approx(0.05 * block / 11) for block in range(1, 12) for _ in range(2)]
    )


@pytest.mark.parametrize(("name", "channels"), [("small", 576), ("large", 960)])
def test_mobilenet_v3_takes_pixels_as_they_are_given(name: str, channels: int) -> None:
    model = build(f"mobilenetv3_{name}", "gap")
    assert not [each for each in model.layers if type(each).__name__ == "Rescaling"]
    pooled = next(each for each in model.layers[::-1] if "pooling" in each.name)
    assert tuple(pooled.input.shape[1:]) == (4, 4, channels)


NETWORKS = {
    "iresnet18": "e",
    "ir18": "e",
    "mobilenetv3_small": "gap",
    "mobilenetv3_large": "gap",
    "ghostfacenet": "gdc",
    "vit_t": "e",
}
# To compile a network takes JAX 20 seconds of a core.
ON_JAX = {name: NETWORKS[name] for name in ("ir18", "vit_t")}
IMAGES = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """Saves an untrained network, once; its file, and what it gives for `IMAGES`."""
    folder = tmp_path_factory.mktemp("networks")
    return functools.cache(lambda name: (folder / f"{name}.keras", answer_of(name, folder)))


def answer_of(name: str, folder: Path) -> Any:
    random = np.random.default_rng(1)
    model = build(name, NETWORKS[name], side=32)
    for weight in model.weights:  # what batch norms have seen, too
        if "moving" in weight.path or "gamma" in weight.path:
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
    model.save(folder / f"{name}.keras")
    return np.asarray(model(IMAGES))


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_saved_is_read_by_the_evaluator(name: str, saved: Saved) -> None:
    from evaluator.models.load import load_embedder
    from evaluator.models.options import LoadOptions

    path, expected = saved(name)
    embedder = load_embedder(path, LoadOptions(profile="unit"))
    close = 1e-4 * np.abs(expected).max()
    assert np.allclose(embedder.forward(IMAGES), expected, atol=close)


# Under JAX: what each file gives for the same images, and what each network gives in bfloat16,
# untrained and in training.
CHILD = """
import jax, keras, numpy as np
from training.network.backbones import build_embedding_model
images = np.array(images, np.float32)
found = {}
for name, (_, path) in networks.items():
    found[name] = [keras.models.load_model(path).predict(images, verbose=0).tolist()]
keras.config.set_dtype_policy("mixed_bfloat16")
for name, (head, _) in networks.items():
    model = build_embedding_model(name, input_shape=images.shape[1:], pooling=head)
    weights, states = (
        [each.value for each in some]
        for some in (model.trainable_variables, model.non_trainable_variables)
    )
    forward = jax.jit(lambda w, s, x: model.stateless_call(w, s, x, training=True)[0])
    answer = forward(weights, states, images)
    found[name] += [bool(np.isfinite(np.asarray(answer)).all()), str(answer.dtype)]
"""


def test_jax_gives_the_same_and_finite_numbers_in_bfloat16(saved: Saved, on_jax: Programs) -> None:
    networks = {name: (head, str(saved(name)[0])) for name, head in ON_JAX.items()}
    found = on_jax.found(CHILD, networks=networks, images=IMAGES.tolist())
    assert found.keys() == networks.keys()
    for name, (there, finite, kind) in found.items():
        assert (finite, kind) == (True, "float32"), name
        here = saved(name)[1]
        assert np.allclose(there, here, atol=1e-4 * np.abs(here).max()), name
