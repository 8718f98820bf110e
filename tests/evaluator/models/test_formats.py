"""One network in every format gives the same embeddings, and damaged files say so."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluator.errors import InputError, ModelError
from evaluator.images.inputs import Embedder
from evaluator.models.export import SUFFIXES, WRITERS, ExportOptions, export_model
from evaluator.models.formats import model_format
from evaluator.models.identity import model_sha256
from evaluator.models.load import load_embedder
from evaluator.models.options import LoadOptions
from tests.evaluator.models.networks import SIZE, network, trunk

NEEDS = {"tflite": "ai_edge_litert", "onnx": "tf2onnx"}


def need(file_format: str) -> None:
    if file_format in NEEDS:
        pytest.importorskip(NEEDS[file_format])


def load(path: Path, **options: Any) -> Embedder:
    return load_embedder(path, LoadOptions(**{"profile": "unit", **options}))


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(ModelError) as caught:
        load(path, **options)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


@pytest.fixture
def exported(tmp_path: Path) -> Callable[..., Path]:
    """Writes a model in a format, into the test's folder."""

    def write(model: Any, file_format: str, **options: Any) -> Path:
        need(file_format)
        target = tmp_path / f"model{SUFFIXES[file_format]}"
        export_model(model, target, file_format, ExportOptions(**options))
        return target

    return write


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize("file_format", WRITERS)
def test_every_format_embeds_alike(
    package: Any, exported: Callable[..., Path], images: np.ndarray, file_format: str
) -> None:
    model = network(package)
    path = exported(model, file_format)
    assert model_format(path) == {"h5": "keras-h5"}.get(file_format, file_format)
    embedder = load(path)
    expected = model(images, training=False).numpy()
    assert cosines(embedder.forward(images), expected).min() > 1 - 1e-4
    np.testing.assert_allclose(embedder.forward(images), expected, atol=1e-5)
    # A last, smaller batch, and the first size again.
    np.testing.assert_allclose(embedder.forward(images[:2]), expected[:2], atol=1e-5)
    np.testing.assert_allclose(embedder.forward(images), expected, atol=1e-5)
    assert embedder.input.batch_shape == (*SIZE, 3)
    assert embedder.fixed_batch is None


@pytest.mark.parametrize("file_format", ["savedmodel", "tflite", "onnx"])
def test_a_fixed_batch_is_known_in_every_format(
    keras: Any, exported: Callable[..., Path], images: np.ndarray, file_format: str
) -> None:
    image = keras.Input(batch_shape=(1, *SIZE, 3))
    model = keras.Model(image, trunk(keras, image))
    embedder = load(exported(model, file_format))
    assert embedder.fixed_batch == 1
    np.testing.assert_allclose(
        embedder.forward(images[:1]), model(images[:1], training=False).numpy(), atol=1e-5
    )


@pytest.mark.parametrize("file_format", ["savedmodel", "tflite", "onnx"])
def test_a_channel_first_input_is_known_in_every_format(
    keras: Any, exported: Callable[..., Path], images: np.ndarray, file_format: str
) -> None:
    image = keras.Input((3, *SIZE))
    model = keras.Model(image, trunk(keras, keras.layers.Permute((2, 3, 1))(image)))
    embedder = load(exported(model, file_format))
    assert (embedder.input.layout, embedder.input.batch_shape) == ("NCHW", (3, *SIZE))
    batch = images.transpose(0, 3, 1, 2)
    np.testing.assert_allclose(
        embedder.forward(batch), model(batch, training=False).numpy(), atol=1e-5
    )


@pytest.mark.parametrize("file_format", ["savedmodel", "onnx"])
def test_a_free_size_takes_the_one_given_in_every_format(
    keras: Any, exported: Callable[..., Path], file_format: str
) -> None:
    path = exported(network(keras, (None, None, 3)), file_format)
    embedder = load(path, size=(20, 24))
    assert embedder.input.batch_shape == (20, 24, 3)
    assert embedder.forward(np.zeros((2, 20, 24, 3), np.float32)).shape == (2, 6)


@pytest.mark.parametrize(("quantize", "bound"), [("float16", 1e-5), ("int8", 5e-3)])
def test_a_quantised_tflite_embeds_nearly_alike(
    keras: Any, exported: Callable[..., Path], images: np.ndarray, quantize: str, bound: float
) -> None:
    model = network(keras)
    calibration = [images[i : i + 1] for i in range(len(images))]
    path = exported(model, "tflite", quantize=quantize, calibration=calibration)
    embedder = load(path)
    distance = 1 - cosines(embedder.forward(images), model(images, training=False).numpy()).min()
    assert 1e-12 < abs(distance) < bound
    assert any("int8" in note for note in embedder.notes) == (quantize == "int8")


def test_quantising_another_format_is_refused(keras: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--to tflite only"):
        export_model(network(keras), tmp_path / "m.onnx", "onnx", ExportOptions("int8"))


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_a_truncated_file_is_damaged(
    keras: Any, exported: Callable[..., Path], file_format: str, share: float
) -> None:
    path = exported(network(keras), file_format)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert "damaged" in refusal(path) or share == 0.02


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_a_detector_s_outputs_are_no_embedding(
    keras: Any, exported: Callable[..., Path], file_format: str
) -> None:
    image = keras.Input((*SIZE, 3))
    boxes = keras.layers.Reshape((-1, 4))(keras.layers.Conv2D(8, 3)(image))
    assert "detector" in refusal(exported(keras.Model(image, boxes), file_format))


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_bfloat16_does_not_apply(
    keras: Any, exported: Callable[..., Path], file_format: str
) -> None:
    assert "--precision" in refusal(exported(network(keras), file_format), precision="bfloat16")


@pytest.mark.parametrize(
    ("file_format", "module"), [("tflite", "ai_edge_litert"), ("onnx", "onnxruntime")]
)
def test_a_missing_runtime_names_its_extra(
    keras: Any,
    exported: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    file_format: str,
    module: str,
) -> None:
    path = exported(network(keras), file_format)
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == module else real(name)
    )
    assert f"face-zoo[{file_format}]" in refusal(path)


def onnx_model(path: Path, outputs: dict[str, list[Any]], shape: list[Any]) -> Path:
    """An ONNX file whose outputs are each its input, flattened and projected."""
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    image = helper.make_tensor_value_info("image", kinds.FLOAT, shape)
    nodes = [helper.make_node("Flatten", ["image"], ["flat"])]
    weights = []
    for i, name in enumerate(outputs):
        values = np.random.default_rng(i).normal(size=(int(np.prod(shape[1:])), 6))
        weights.append(onnx.numpy_helper.from_array(values.astype(np.float32), f"w{i}"))
        nodes.append(helper.make_node("MatMul", ["flat", f"w{i}"], [name]))
    found = [helper.make_tensor_value_info(n, kinds.FLOAT, s) for n, s in outputs.items()]
    graph = helper.make_graph(nodes, "g", [image], found, weights)
    opset = helper.make_opsetid("", 17)
    # An IR version of insightface's time: the newest one is newer than some runtimes.
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), str(path))
    return path


def test_onnx_outputs_are_chosen_by_name(tmp_path: Path, images: np.ndarray) -> None:
    path = onnx_model(
        tmp_path / "m.onnx", {"age": ["n", 6], "embedding": ["n", 6]}, ["n", 3, *SIZE]
    )
    batch = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    flat = batch.reshape(5, -1)
    for name, seed in ((None, 1), ("age", 0)):
        weights = np.random.default_rng(seed).normal(size=(flat.shape[1], 6)).astype(np.float32)
        got = load(path, output=name).forward(batch)
        np.testing.assert_allclose(got, flat @ weights, rtol=1e-4, atol=1e-4)
    two = onnx_model(tmp_path / "two.onnx", {"a": ["n", 6], "b": ["n", 6]}, ["n", 3, *SIZE])
    assert "--output NAME" in refusal(two)


def test_an_output_without_a_batch_axis_by_name_is_insightface_s(
    tmp_path: Path, images: np.ndarray
) -> None:
    path = onnx_model(tmp_path / "m.onnx", {"683": [1, 6]}, ["None", 3, *SIZE])
    embedder = load(path)
    assert embedder.fixed_batch is None
    batch = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    assert embedder.forward(batch).shape == (5, 6)


def test_the_hash_of_a_folder_is_over_all_its_files(
    keras: Any, exported: Callable[..., Path]
) -> None:
    path = exported(network(keras), "savedmodel")
    before = model_sha256(path)
    assert before == model_sha256(path)
    variables = path / "variables" / "variables.index"
    variables.write_bytes(variables.read_bytes() + b"\0")
    assert model_sha256(path) != before
