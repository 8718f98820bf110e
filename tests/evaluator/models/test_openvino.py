"""OpenVINO as the engine gives what the formats' own runtimes give, and sends nothing anywhere."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluator.errors import ForwardError, InputError, ModelError
from evaluator.images.inputs import Embedder
from evaluator.models.export import SUFFIXES, WRITERS, ExportOptions, export_model
from evaluator.models.formats import model_format
from evaluator.models.load import check_model, load_embedder
from evaluator.models.options import LoadOptions
from tests.evaluator.models.networks import SIZE

pytest.importorskip("openvino")

ROOT = Path(__file__).parents[3]
NEEDS = {"tflite": "ai_edge_litert", "onnx": "tf2onnx"}


def mobile(package: Any, shape: tuple[int | None, ...] = (*SIZE, 3), batch: Any = None) -> Any:
    """A small network of what mobile ones are made of, with weights that are not the initial."""
    layers = package.layers
    package.utils.set_random_seed(1)
    image = x = package.Input(shape, batch_size=batch, name="image")
    if shape[0] == 3:
        x = layers.Permute((2, 3, 1))(x)
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.PReLU(shared_axes=[1, 2])(x)
    x = layers.DepthwiseConv2D(3, strides=2)(x)
    x = layers.Add()([x, layers.Conv2D(8, 1)(x)])
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.4)(x)
    model = package.Model(image, layers.Dense(6, name="embedding")(x))
    generator = np.random.default_rng(0)
    model.set_weights(
        [each + 0.2 * np.abs(generator.normal(size=each.shape)) for each in model.get_weights()]
    )
    return model


@pytest.fixture
def exported(tmp_path: Path) -> Callable[..., Path]:
    """Writes a model in a format, into the test's folder."""

    def write(model: Any, file_format: str, **options: Any) -> Path:
        if file_format in NEEDS:
            pytest.importorskip(NEEDS[file_format])
        target = tmp_path / f"model{SUFFIXES[file_format]}"
        export_model(model, target, file_format, ExportOptions(**options))
        return target

    return write


def load(path: Path, engine: str = "openvino", **options: Any) -> Embedder:
    return load_embedder(path, LoadOptions(**{"profile": "unit", "engine": engine, **options}))


def both(path: Path, batch: np.ndarray, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """A batch's embeddings from the format's own runtime, and from OpenVINO."""
    native, openvino = (
        load(path, engine, **options).forward(batch) for engine in ("native", "openvino")
    )
    return native, openvino


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(ModelError) as caught:
        load(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def furthest(a: np.ndarray, b: np.ndarray) -> float:
    """The largest distance from 1 of a cosine between two embeddings of one image."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    cosines = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return float(np.abs(1 - cosines).max())


# ---- The same embeddings -------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", WRITERS)
def test_every_format_embeds_as_its_own_runtime_does(
    package: Any, exported: Callable[..., Path], images: np.ndarray, file_format: str
) -> None:
    model = mobile(package)
    path = exported(model, file_format)
    expected = model(images, training=False).numpy()
    native, openvino = (load(path, engine) for engine in ("native", "openvino"))
    found = openvino.forward(images)
    assert found.dtype == np.float32
    assert furthest(found, expected) < 1e-6
    assert furthest(found, native.forward(images)) < 1e-6
    # A last, smaller batch, and the first size again; what came first stays as it was.
    assert furthest(openvino.forward(images[:2]), expected[:2]) < 1e-6
    assert furthest(openvino.forward(images[::-1]), expected[::-1]) < 1e-6
    assert furthest(found, expected) < 1e-6
    for name in ("input", "format", "fixed_batch"):
        assert getattr(openvino, name) == getattr(native, name)
    assert openvino.format == model_format(path)


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_a_renamed_file_is_still_what_it_is(
    keras: Any, exported: Callable[..., Path], images: np.ndarray, file_format: str
) -> None:
    path = exported(mobile(keras), file_format)
    assert furthest(*both(path.rename(path.with_name("model.bin")), images)) < 1e-6


@pytest.mark.parametrize("file_format", ["keras", "onnx"])
def test_a_fixed_batch_is_known(
    keras: Any, exported: Callable[..., Path], images: np.ndarray, file_format: str
) -> None:
    path = exported(mobile(keras, batch=2), file_format)
    assert load(path).fixed_batch == 2
    assert furthest(*both(path, images[:2])) < 1e-6


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_channels_may_come_first(
    keras: Any, exported: Callable[..., Path], images: np.ndarray, file_format: str
) -> None:
    path = exported(mobile(keras, (3, *SIZE)), file_format)
    assert load(path).input.layout == "NCHW"
    assert furthest(*both(path, np.ascontiguousarray(images.transpose(0, 3, 1, 2)))) < 1e-6


@pytest.mark.parametrize("file_format", ["keras", "onnx"])
def test_a_free_size_is_the_one_given(
    keras: Any, exported: Callable[..., Path], file_format: str
) -> None:
    path = exported(mobile(keras, (None, None, 3)), file_format)
    batch = np.random.default_rng(0).random((2, 20, 24, 3), np.float32)
    assert load(path, size=(20, 24)).input.batch_shape == (20, 24, 3)
    assert furthest(*both(path, batch, size=(20, 24))) < 1e-6


def test_half_precision_weights_are_read(
    keras: Any, exported: Callable[..., Path], images: np.ndarray
) -> None:
    assert furthest(*both(exported(mobile(keras), "tflite", quantize="float16"), images)) < 1e-6


def test_an_onnx_image_may_be_of_whole_numbers(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    weights = np.random.default_rng(0).normal(size=(3 * 6 * 6, 5)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=kinds.FLOAT),
        helper.make_node("Flatten", ["real"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["age"]),
        helper.make_node("Neg", ["age"], ["embedding"]),
    ]
    image = helper.make_tensor_value_info("image", kinds.UINT8, ["n", 3, 6, 6])
    outputs = [
        helper.make_tensor_value_info(name, kinds.FLOAT, ["n", 5]) for name in ("age", "embedding")
    ]
    initial = [onnx.numpy_helper.from_array(weights, "w")]
    graph = helper.make_graph(nodes, "g", [image], outputs, initial)
    path = tmp_path / "m.onnx"
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), str(path))
    batch = np.random.default_rng(1).uniform(-0.4, 255.4, (3, 3, 6, 6)).astype(np.float32)
    pixels = np.clip(np.rint(batch), 0, 255).reshape(3, -1)
    model = load(path, profile="raw")
    assert any("'embedding' is used" in note for note in model.notes)
    np.testing.assert_allclose(model.forward(batch), -(pixels @ weights), rtol=1e-4, atol=1e-2)
    age = load(path, profile="raw", output="age").forward(batch)
    np.testing.assert_allclose(age, pixels @ weights, rtol=1e-4, atol=1e-2)


# ---- Precision -----------------------------------------------------------------------------------


@pytest.fixture
def has_bfloat16() -> None:
    import openvino

    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bfloat16")


@pytest.mark.parametrize("file_format", ["keras", "onnx", "tflite"])
def test_bfloat16_computes_in_bfloat16_and_float32_does_not(
    has_bfloat16: None,
    keras: Any,
    exported: Callable[..., Path],
    images: np.ndarray,
    file_format: str,
) -> None:
    path = exported(mobile(keras), file_format)
    expected = load(path, "native").forward(images)
    half = load(path, precision="bfloat16").forward(images)
    # Eight bits of significand: errors of 2^-9, whose squares are what a cosine shows.
    assert 1e-7 < furthest(half, expected) < 1e-3
    assert np.abs(half - expected).max() > 1e3 * np.abs(load(path).forward(images) - expected).max()


def test_bfloat16_is_refused_where_the_cpu_has_none() -> None:
    from evaluator.models.openvino import compile_settings

    with pytest.raises(ModelError, match="no bfloat16 arithmetic on this machine"):
        compile_settings("bfloat16", ["FP32", "INT8"])
    hints = [compile_settings(each, ["BF16"]) for each in ("float32", "bfloat16")]
    assert [hint["INFERENCE_PRECISION_HINT"] for hint in hints] == ["f32", "bf16"]


# ---- What cannot be done -------------------------------------------------------------------------


def test_an_operation_that_openvino_has_not_is_named(
    keras: Any, tmp_path: Path, exported: Callable[..., Path]
) -> None:
    import tensorflow as tf

    class Odd(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, *SIZE, 3), tf.float32)])
        def serve(self, image: Any) -> Any:
            flat = tf.abs(tf.reshape(image, (-1, SIZE[0] * SIZE[1] * 3)))
            return {"embedding": tf.math.reduce_sum(flat) * tf.cumsum(tf.math.igamma(flat, flat))}

    module = Odd()
    tf.saved_model.save(module, str(tmp_path / "odd"), signatures={"serving_default": module.serve})
    message = refusal(tmp_path / "odd", trust=True)  # Igamma is no operation of networks either
    assert message.startswith(f"{tmp_path / 'odd'}: OpenVINO ")
    assert "has no Igamma; leave --engine openvino out" in message

    onnx = pytest.importorskip("onnx")
    path = exported(mobile(keras), "onnx")
    model = onnx.load(str(path))
    first = next(each for each in model.graph.node if each.op_type == "Conv")
    first.op_type = "Frobnicate"
    onnx.save(model, str(path))
    assert "it uses Frobnicate" in refusal(path)


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
@pytest.mark.parametrize("share", [0.5, 0.97])
def test_a_truncated_file_is_damaged(
    keras: Any, exported: Callable[..., Path], file_format: str, share: float
) -> None:
    path = exported(mobile(keras), file_format)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    message = refusal(path)
    # What checks a file before OpenVINO reads it says so.
    assert message.startswith(f"{path}: a damaged .{file_format} file: ")
    assert "src/" not in message


def test_a_tflite_file_that_takes_whole_numbers_is_refused(
    keras: Any, exported: Callable[..., Path], images: np.ndarray
) -> None:
    calibration = [images[i : i + 1] for i in range(len(images))]
    path = exported(mobile(keras), "tflite", quantize="int8", calibration=calibration)
    assert "its input is int8, which --engine openvino does not take" in refusal(path)


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_a_detector_s_outputs_are_no_embedding(
    keras: Any, exported: Callable[..., Path], file_format: str
) -> None:
    image = keras.Input((*SIZE, 3))
    boxes = keras.layers.Reshape((-1, 4))(keras.layers.Conv2D(8, 3)(image))
    assert "detector" in refusal(exported(keras.Model(image, boxes), file_format))


def test_a_batch_of_another_shape_is_one_line(
    keras: Any, exported: Callable[..., Path], images: np.ndarray
) -> None:
    model = load(exported(mobile(keras), "onnx"))
    with pytest.raises(ForwardError) as caught:
        model.forward(images[:, :10])
    assert "incompatible" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert model.forward(images).shape == (5, 6)


def test_code_in_a_file_is_refused_for_every_engine(keras: Any, tmp_path: Path) -> None:
    image = keras.Input((*SIZE, 3))
    x = keras.layers.Lambda(lambda batch: batch + 1, output_shape=(*SIZE, 3))(image)
    path = tmp_path / "lambda.keras"
    keras.Model(image, keras.layers.Dense(4)(keras.layers.Flatten()(x))).save(path)
    assert "--trust" in refusal(path)


def test_a_missing_openvino_names_the_extra_before_the_model_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "openvino" else real(name)
    )
    (tmp_path / "m.onnx").write_text("no model")
    for act in (check_model, load_embedder):
        with pytest.raises(ModelError, match=r"pip install 'face-zoo\[openvino\]'"):
            act(tmp_path / "m.onnx", LoadOptions(engine="openvino"))


def test_an_engine_that_is_not_known_lists_those_that_are() -> None:
    import evaluator

    with pytest.raises(InputError, match="native, openvino; did you mean 'openvino'"):
        evaluator.evaluate("m.h5", "lfw.bin", engine="openvin")
    with pytest.raises(InputError, match="engine='openvino' does not apply to a function"):
        evaluator.evaluate(lambda batch: batch, "lfw.bin", engine="openvino")


# ---- Memory, and the network ---------------------------------------------------------------------

# Fills memory, then takes a batch that does not fit, and a smaller one.
LIMITED = """
import json, resource, sys
from pathlib import Path
import numpy as np
from evaluator.errors import OutOfMemoryError
from evaluator.models.load import load_embedder
from evaluator.models.options import LoadOptions
model = load_embedder(Path("wide.onnx"), LoadOptions("unit", engine="openvino"))
small = np.ones((2, 8, 8, 3), np.float32)
before = model.forward(small)
sizes = Path("/proc/self/status").read_text().splitlines()
used = int(next(line for line in sizes if line.startswith("VmSize")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + 600_000_000,) * 2)
try:
    model.forward(np.ones((64, 8, 8, 3), np.float32))
except OutOfMemoryError as error:
    said = str(error)
print(json.dumps({"said": said, "same": bool((model.forward(small) == before).all())}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_batch_that_memory_does_not_hold_leaves_smaller_ones_possible(
    keras: Any, tmp_path: Path
) -> None:
    pytest.importorskip("tf2onnx")
    image = keras.Input((8, 8, 3))
    # 1024 x 1024 x 4 floats an image: 16 MiB, so 1 GiB for 64.
    wide = keras.layers.Conv2D(4, 3, padding="same")(keras.layers.UpSampling2D(128)(image))
    wide = keras.layers.Conv2D(4, 3, padding="same")(wide)
    model = keras.Model(image, keras.layers.GlobalMaxPooling2D()(wide))
    export_model(model, tmp_path / "wide.onnx", "onnx", ExportOptions())
    done = run(LIMITED, tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "allocate" in found["said"]
    assert found["same"]


# Sockets that refuse, then models computed, with the package that would send.
OFFLINE = """
import json, socket, sys
tried = []
def refuse(*arguments, **options):
    tried.append(str(arguments[-1]))
    raise OSError("no network here")
class Refused(socket.socket):
    connect = connect_ex = sendto = refuse
socket.socket = Refused
socket.create_connection = socket.getaddrinfo = socket.gethostbyname = refuse
from pathlib import Path
import numpy as np
from evaluator.models.load import load_embedder
from evaluator.models.options import LoadOptions
for name in sys.argv[1:]:
    model = load_embedder(Path(name), LoadOptions("unit", engine="openvino"))
    model.forward(np.ones((1, *model.input.batch_shape), np.float32))
import time; time.sleep(0.5)  # what is sent, is sent by a thread
print(json.dumps({"tried": tried, "telemetry": "openvino_telemetry" in sys.modules}))
"""


@pytest.mark.slow
def test_openvino_reports_nothing_to_its_maker(
    keras: Any, exported: Callable[..., Path], tmp_path: Path
) -> None:
    image = keras.Input((*SIZE, 3), name="image")
    model = keras.Model(image, keras.layers.Dense(6)(keras.layers.Flatten()(image)))
    names = [exported(model, each).name for each in ("keras", "tflite")]
    home = tmp_path / "home"
    home.mkdir()
    done = run(OFFLINE, tmp_path, *names, HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"tried": [], "telemetry": True}
    assert not list(home.rglob("*openvino*"))


def run(code: str, folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Code in a process of its own that does not look like CI."""
    environment = {
        key: value for key, value in os.environ.items() if key not in ("CI", "TF_BUILD", "BUILD_ID")
    }
    ours = {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", **more}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env={**environment, **ours},
        capture_output=True,
        text=True,
        check=False,
    )
