"""A Keras file that asks for more than it stores is refused before any of it is allocated."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from evaluator.errors import ModelError
from evaluator.models.keras.account import Account
from evaluator.models.keras.archive import numeric_elements
from evaluator.models.keras.config import stored_weights
from evaluator.models.load import check_model, load_embedder
from evaluator.models.options import LoadOptions
from evaluator.models.runtime import import_keras
from tests.evaluator.models.networks import SIZE, network, save, trunk

ROOT = Path(__file__).parents[3]

# What each class needs beside its name; the layer is called bomb.
BOMBS: dict[str, list[dict[str, Any]]] = {
    "dense square": [
        {"class": "GlobalAveragePooling2D"},
        {"class": "Dense", "units": 50_000},
        {"class": "Dense", "units": 50_000, "name": "bomb"},
    ],
    "kernel": [
        {"class": "Conv2D", "filters": 64, "kernel_size": [8000, 8000], "padding": "same"},
    ],
    "filters": [{"class": "Conv2D", "filters": 10**9, "kernel_size": [1, 1]}],
    "depth": [
        {"class": "DepthwiseConv2D", "kernel_size": [1, 1], "depth_multiplier": 10**9},
    ],
    "transposed": [{"class": "Conv2DTranspose", "filters": 10**8, "kernel_size": [9, 9]}],
    "separable": [
        {"class": "SeparableConv2D", "filters": 10**9, "kernel_size": [1, 1]},
    ],
    "flattened": [
        {"class": "ZeroPadding2D", "padding": [[400, 400], [400, 400]]},
        {"class": "Flatten"},
        {"class": "Dense", "units": 1000, "name": "bomb"},
    ],
    "a slope for each pixel": [
        {"class": "ZeroPadding2D", "padding": [[4000, 4000], [4000, 4000]]},
        {"class": "PReLU", "name": "bomb"},
    ],
    "recurrent": [
        {"class": "Reshape", "target_shape": [16, 48]},
        {"class": "LSTM", "units": 30_000, "name": "bomb"},
    ],
    "upsampled": [{"class": "UpSampling2D", "size": [2000, 2000]}],
    "padded": [{"class": "ZeroPadding2D", "padding": [[10**6, 0], [10**6, 0]]}],
    "repeated": [
        {"class": "Flatten"},
        {"class": "RepeatVector", "n": 10**7, "name": "bomb"},
    ],
    "statistics of all pixels": [
        {"class": "UpSampling2D", "size": [2000, 2000]},
        {"class": "Reshape", "target_shape": [1, 1, 3 * 32000**2]},
        {"class": "Normalization", "axis": -1, "mean": 0.5, "variance": 1.0, "name": "bomb"},
    ],
    "attention": [
        {"class": "UpSampling2D", "size": [16, 16]},
        {"class": "Reshape", "target_shape": [65536, 3]},
        {"class": "Attention", "name": "bomb", "twice": True},
        {"class": "GlobalAveragePooling1D", "name": "end"},
    ],
}

LOAD_EACH = """
import json, resource, sys, time
from pathlib import Path
from evaluator.errors import ModelError
from evaluator.models.load import load_embedder
from evaluator.models.options import LoadOptions
from evaluator.models.runtime import import_keras
import_keras()
import tf_keras
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
for path in map(Path, sys.argv[1:]):
    before, start = peak(), time.process_time()
    try:
        load_embedder(path, LoadOptions(profile="unit"))
        said = "loaded"
    except ModelError as error:
        said = str(error)
    print(json.dumps([path.name, said, peak() - before, time.process_time() - start]), flush=True)
"""


def config_of(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """A functional config of Keras 3 with these layers in a row, and a pooling at the end."""
    image = {"batch_shape": [None, 16, 16, 3], "dtype": "float32", "name": "i"}
    layers = [layer_config("InputLayer", image, None)]
    for number, part in enumerate(parts):
        settings = {"name": f"layer{number}" if number < len(parts) - 1 else "bomb", **part}
        twice = settings.pop("twice", False)
        kind = settings.pop("class")
        layers.append(layer_config(kind, settings, layers[-1]["config"]["name"], twice=twice))
    last = layers[-1]["config"]["name"]
    config = {"name": "m", "trainable": True, "layers": layers}
    ends = {"input_layers": [["i", 0, 0]], "output_layers": [[last, 0, 0]]}
    return {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": {**config, **ends},
        "registered_name": "Functional",
    }


def layer_config(
    kind: str, settings: dict[str, Any], before: str | None, *, twice: bool = False
) -> dict[str, Any]:
    history = {"shape": [None, 1], "dtype": "float32", "keras_history": [before, 0, 0]}
    tensor = {"class_name": "__keras_tensor__", "config": history}
    args = [[tensor, tensor]] if twice else [tensor]
    return {
        "module": "keras.layers",
        "class_name": kind,
        "config": settings,
        "registered_name": None,
        "name": settings["name"],
        "inbound_nodes": [] if before is None else [{"args": args, "kwargs": {}}],
    }


def archive(path: Path, config: object) -> Path:
    weights = path.with_suffix(".weights")
    with h5py.File(weights, "w") as file:
        file["layers/dense/vars/0"] = np.zeros((10, 10), np.float32)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("metadata.json", '{"keras_version": "3.10.0"}')
        file.writestr("config.json", json.dumps(config))
        file.write(weights, "model.weights.h5")
    return path


def h5(path: Path, config: object) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = "3.10.0"
        file.create_group("model_weights")
    return path


@pytest.mark.slow
def test_what_a_small_file_cannot_fill_is_never_allocated(tmp_path: Path, shared: Path) -> None:
    paths = []
    for name, parts in BOMBS.items():
        paths.append(archive(tmp_path / f"{name}.keras", config_of(parts)))
        paths.append(h5(tmp_path / f"{name}.h5", config_of(parts)))
    inner = config_of(BOMBS["dense square"])
    paths.append(archive(tmp_path / "nested.keras", nested(inner)))
    cases = ("attr_empty.h5", "conv_kernel.keras", "dense_square.keras", "upsample.keras")
    paths += [path for name in cases if (path := shared / "cases/security" / name).is_file()]
    done = subprocess.run(
        [sys.executable, "-c", LOAD_EACH, *map(str, paths)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) == len(paths)
    for name, said, megabytes, seconds in told:
        assert "\n" not in said
        assert megabytes < 300, (name, megabytes)
        assert seconds < 20, (name, seconds)
        assert name in said, said
        if name != "attr_empty.h5":
            assert "not loaded: " in said, said
            assert "declare" in said or "bytes of one image" in said, said


def nested(inner: dict[str, Any]) -> dict[str, Any]:
    """A model whose only layer is another model."""
    outer = config_of([])
    history = {"shape": [None, 16, 16, 3], "dtype": "float32", "keras_history": ["i", 0, 0]}
    call = {"args": [{"class_name": "__keras_tensor__", "config": history}], "kwargs": {}}
    outer["config"]["layers"].append({**inner, "name": "m2", "inbound_nodes": [call]})
    outer["config"]["layers"][-1]["config"] = {**inner["config"], "name": "m2"}
    outer["config"]["output_layers"] = [["m2", 0, 0]]
    return outer


def test_a_shape_that_a_layer_would_be_built_for_is_looked_at_first(tmp_path: Path) -> None:
    config = config_of([{"class": "GlobalAveragePooling2D"}])
    config["config"]["layers"][1]["build_config"] = {"input_shape": [None, 2**20, 2**20]}
    with pytest.raises(ModelError, match=r"'bomb', built for its own inputs, makes 4,398,046,"):
        check_model(archive(tmp_path / "m.keras", config), LoadOptions())


@pytest.mark.parametrize(
    ("shape", "cause"),
    [
        ([None, 10**6, 10**6, 3], "the model's input makes 12,000,000,000,000 bytes"),
        ([10**9, 112, 112, 3], "batches of 1,000,000,000 that it takes need"),
        ([None, -16, 16, 3], "a size of -16"),
        ([None, 0, 16, 3], "a size of 0"),
        ([None, True, 16, 3], "a size of True"),
        ([None, 16.0, 16, 3], "a size of 16.0"),
        ([None, "16", 16, 3], "the text '16' as 'batch_shape'"),
        ([None, [16], 16, 3], r"a size of \[16\]"),
        ([None, float("nan"), 16, 3], "a size of nan"),
        ([None, 2**62, 16, 3], "bytes of one image"),
    ],
)
def test_sizes_of_the_input_that_are_none_are_named(
    tmp_path: Path, shape: list[Any], cause: str
) -> None:
    config = config_of([{"class": "GlobalAveragePooling2D"}])
    config["config"]["layers"][0]["config"]["batch_shape"] = shape
    for write in (h5, archive):
        with pytest.raises(ModelError, match=cause):
            check_model(write(tmp_path / f"m.{write.__name__}", config), LoadOptions())


def test_models_that_call_each_other_twice_are_counted(tmp_path: Path) -> None:
    config = config_of([{"class": "GlobalAveragePooling2D"}])
    for _ in range(40):
        config = nested(config)
        config["config"]["layers"][-1]["inbound_nodes"] *= 2
    with pytest.raises(ModelError, match=r"it calls its layers \d\d,\d\d\d times"):
        check_model(archive(tmp_path / "m.keras", config), LoadOptions())


def test_the_account_stops_calls_without_end(tmp_path: Path) -> None:
    account = Account(tmp_path, 0)
    for _ in range(50_000):
        account.add_outputs(None, None)
    with pytest.raises(ModelError, match="more than 50,000 times"):
        account.add_outputs(None, None)


@pytest.mark.parametrize("number", [2**64, -(2**64), 10**4000])
def test_a_number_that_no_network_has_is_named(tmp_path: Path, number: int) -> None:
    config = config_of([{"class": "Dense", "units": number}])
    with pytest.raises(ModelError, match=r"a number of \d+ bits"):
        check_model(h5(tmp_path / "m.h5", config), LoadOptions())


@pytest.mark.parametrize(
    "units", [-1, 0, True, 1.5, "3", None, [], float("nan"), float("inf"), 2**62, {"a": 1}]
)
@pytest.mark.parametrize("kind", ["Dense", "Conv2D", "UpSampling2D", "RepeatVector", "Embedding"])
def test_an_odd_size_of_a_layer_is_one_line(
    keras: Any, tmp_path: Path, units: Any, kind: str
) -> None:
    settings = {
        "Dense": {"units": units},
        "Conv2D": {"filters": units, "kernel_size": [3, 3]},
        "UpSampling2D": {"size": [units, 2]},
        "RepeatVector": {"n": units},
        "Embedding": {"input_dim": units, "output_dim": 4},
    }
    before = [{"class": "Flatten"}] if kind == "RepeatVector" else []
    config = config_of([*before, {"class": kind, **settings[kind]}])
    for write in (h5, archive):
        with pytest.raises(ModelError) as caught:
            load_embedder(write(tmp_path / f"m.{write.__name__}", config), LoadOptions())
        assert "\n" not in str(caught.value)


# ---- What is no bomb ----------------------------------------------------------------------------


def test_the_account_takes_what_the_file_stores_and_a_little(tmp_path: Path) -> None:
    account = Account(tmp_path, 10**7)
    account.add_variable((3000, 5000), "kernel")
    account.add_variable([], "scalar")
    account.add_variable(None, "of any shape")
    account.add_variable((5000, 1000), "bias")
    with pytest.raises(ModelError, match=r"declare 22,000,001 weights.*'more' of 2,000 x 1,000"):
        account.add_variable((2000, 1000), "more")
    with pytest.raises(ModelError):
        account.add_variable((1,), "again")
    assert account.refusal is not None


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
def test_layers_that_are_used_twice_or_draw_at_random_load(
    package: Any, saved: Callable[..., Path], images: np.ndarray, name: str
) -> None:
    kit = package.layers
    image = package.Input((*SIZE, 3))
    drawn = kit.RandomFlip()(kit.GaussianNoise(0.1)(kit.Dropout(0.2)(image)))
    twice = kit.Conv2D(3, 3, padding="same", name="shared")
    x = kit.Reshape((SIZE[0], SIZE[1] * 3))(twice(twice(drawn)))
    x = kit.Bidirectional(kit.LSTM(4))(x)
    model = package.Model(image, kit.Dense(6, name="embedding")(x))
    got = load_embedder(saved(model, name), LoadOptions(profile="unit")).forward(images)
    np.testing.assert_allclose(got, np.asarray(model(images, training=False)), atol=1e-5)


def test_a_model_of_int8_and_one_with_low_rank_additions_load(
    keras: Any, tmp_path: Path, images: np.ndarray
) -> None:
    image = keras.Input((*SIZE, 3))
    wide = keras.layers.Dense(64, name="wide")(keras.layers.Flatten()(image))
    model = keras.Model(image, keras.layers.Dense(6, name="embedding")(wide))
    layer = model.get_layer("wide")
    for number, change in enumerate((lambda: layer.enable_lora(4), lambda: layer.quantize("int8"))):
        change()
        path = save(model, tmp_path / f"{number}.keras")
        # What its quantizers are called is not the matter here.
        got = load_embedder(path, LoadOptions(profile="unit", trust=True)).forward(images)
        np.testing.assert_allclose(got, np.asarray(model(images, training=False)), atol=1e-3)


def test_keras_is_as_it_was_after_a_load(package: Any, saved: Callable[..., Path]) -> None:
    import keras as keras_3
    import tf_keras

    image = package.Input((*SIZE, 3))
    path = saved(package.Model(image, trunk(package, image)))
    owners = (keras_3.Variable, keras_3.Operation, tf_keras.layers.Layer)
    before = [dict(vars(owner)) for owner in owners]
    load_embedder(path, LoadOptions(profile="unit"))
    assert [dict(vars(owner)) for owner in owners] == before


def declared(path: Path, *, shape: tuple[int, ...]) -> None:
    """An HDF5 file of a dataset of which nothing is stored."""
    with h5py.File(path, "w") as file:
        chunks = tuple(min(size, 1024) for size in shape)
        file.create_dataset("weights", shape=shape, dtype="i1", chunks=chunks, fillvalue=1)


def test_what_is_declared_and_not_stored_is_no_weight(tmp_path: Path) -> None:
    path = tmp_path / "declared.h5"
    declared(path, shape=(7000, 7000))
    with h5py.File(path, "r") as file:
        assert numeric_elements(file) == 0
    with h5py.File(path, "a") as file:
        file["packed"] = np.zeros(1000, "f4")
        file.create_dataset("pruned", data=np.zeros((64, 64), "f4"), compression="gzip")
    with h5py.File(path, "r") as file:
        # Weights of zeros pack better than what is told from a bomb; the allowance holds them.
        assert 1000 < numeric_elements(file) < 1000 + 64 * 64


def test_other_members_of_an_archive_are_no_weights(tmp_path: Path) -> None:
    path, more = tmp_path / "m.keras", tmp_path / "more.h5"
    save(network(import_keras()), path)
    with h5py.File(more, "w") as file:
        file["weights"] = np.ones(10**6, "i1")
    before = stored_weights(path, "keras")
    with zipfile.ZipFile(path, "a") as archive:
        archive.write(more, "assets/more.h5")
    assert stored_weights(path, "keras") == before > 0


def test_a_link_to_nowhere_among_the_weights_is_damage(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.create_group("model_weights")["kernel"] = h5py.SoftLink("/nowhere")
    with pytest.raises(ModelError, match="damaged or truncated weights"):
        stored_weights(tmp_path / "m.h5", "keras-h5")
