"""SavedModels of every origin, and the scan of their graphs before anything is loaded."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluator.errors import ModelError
from evaluator.images.inputs import Embedder
from evaluator.models.load import check_model, load_embedder
from evaluator.models.options import LoadOptions
from evaluator.models.savedmodel.graph import unsafe_parts
from evaluator.models.savedmodel.proto import read_saved_model
from tests.evaluator.models.networks import SIZE, network, published, trunk

IMAGES = (None, *SIZE, 3)


@pytest.fixture(scope="module")
def tf(keras: Any) -> Any:
    import tensorflow

    return tensorflow


def load(path: Path, **options: Any) -> Embedder:
    return load_embedder(path, LoadOptions(**{"profile": "unit", **options}))


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(ModelError) as caught:
        load(path, **options)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def module(tf: Any, call: Any, *shapes: Any) -> Any:
    """A tf.Module with ``call`` as its serving function of tensors of these shapes."""
    made = tf.Module()
    signature = [tf.TensorSpec(shape, tf.float32, name=f"x{i}") for i, shape in enumerate(shapes)]
    made.serve = tf.function(call, input_signature=signature, autograph=False)
    return made


def saved_module(tf: Any, path: Path, call: Any, *shapes: Any) -> Path:
    made = module(tf, call, *(shapes or (IMAGES,)))
    tf.saved_model.save(made, str(path), signatures=made.serve)
    return path


def test_a_boolean_beside_the_image_is_fed_false_unless_said(
    tf: Any, tmp_path: Path, images: np.ndarray
) -> None:
    made = tf.Module()
    signature = [
        tf.TensorSpec(IMAGES, tf.float32, name="image"),
        tf.TensorSpec([], tf.bool, name="phase_train"),
    ]
    made.serve = tf.function(
        lambda image, phase_train: tf.where(phase_train, -1.0, 1.0) * tf.reduce_mean(image, [1, 2]),
        input_signature=signature,
        autograph=False,
    )
    path = tmp_path / "m"
    tf.saved_model.save(made, str(path), signatures=made.serve)
    expected = images.mean(axis=(1, 2))
    unsaid = load(path)
    np.testing.assert_allclose(unsaid.forward(images), expected, atol=1e-6)
    assert "its boolean input 'phase_train' is fed False" in unsaid.notes
    said = load(path, profile="unit+phase_train=true")
    np.testing.assert_allclose(said.forward(images), -expected, atol=1e-6)
    assert "it has phase_train" in refusal(path, profile="unit+phase=true")


def test_a_keras_2_folder_loads(tf_keras: Any, tmp_path: Path, images: np.ndarray) -> None:
    model = network(tf_keras)
    model.save(str(tmp_path / "m"), save_format="tf")
    embedder = load(tmp_path / "m")
    np.testing.assert_allclose(
        embedder.forward(images), model(images, training=False).numpy(), atol=1e-6
    )


def test_a_keras_3_export_loads(keras: Any, tmp_path: Path, images: np.ndarray) -> None:
    model = network(keras)
    model.export(str(tmp_path / "m"), verbose=False)
    embedder = load(tmp_path / "m")
    np.testing.assert_allclose(
        embedder.forward(images), model(images, training=False).numpy(), atol=1e-6
    )


def test_a_bare_module_with_an_output_named_embedding_loads(
    tf: Any, tmp_path: Path, images: np.ndarray
) -> None:
    def call(x: Any) -> Any:
        return {"age": tf.reduce_mean(x, axis=[1, 2]), "embedding": 2 * x[:, 0, 0]}

    path = saved_module(tf, tmp_path / "m", call)
    embedder = load(path)
    np.testing.assert_allclose(embedder.forward(images), 2 * images[:, 0, 0], atol=1e-6)
    assert any("'embedding'" in note for note in embedder.notes)
    ages = load(path, output="age").forward(images)
    np.testing.assert_allclose(ages, images.mean(axis=(1, 2)), atol=1e-6)
    assert "no output is named 'nose'" in refusal(path, output="nose")


def saved_of_type(tf: Any, path: Path, kind: Any) -> Path:
    made = tf.Module()
    made.serve = tf.function(
        lambda x: tf.cast(x[:, 0, 0], tf.float32),
        input_signature=[tf.TensorSpec(IMAGES, kind)],
        autograph=False,
    )
    tf.saved_model.save(made, str(path), signatures=made.serve)
    return path


@pytest.mark.parametrize("kind", ["uint8", "int32", "int64", "uint16"])
def test_an_input_of_whole_pixels_gets_the_nearest_ones(tf: Any, tmp_path: Path, kind: str) -> None:
    path = saved_of_type(tf, tmp_path / "m", tf.as_dtype(kind))
    batch = np.full((1, *SIZE, 3), 41.7, np.float32)
    for profile in ("raw", None):
        embedder = load(path, profile=profile)
        assert embedder.input.profile == "raw"
        assert (profile is None) == any("whole numbers" in note for note in embedder.notes)
        np.testing.assert_array_equal(embedder.forward(batch), [[42, 42, 42]])
    assert "--input unit does not apply" in refusal(path, profile="unit")


def test_an_input_that_holds_no_pixels_is_named(tf: Any, tmp_path: Path) -> None:
    path = saved_of_type(tf, tmp_path / "m", tf.int8)
    assert "input is int8; expected an image" in refusal(path, profile=None)


@pytest.mark.parametrize("shape", [(-1, 3, 1, 1), (-1, 1, 1, 3)])
def test_axes_of_one_are_noted(tf: Any, tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = saved_module(tf, tmp_path / "m", lambda x: tf.reshape(x[:, 0, 0], shape))
    embedder = load(path)
    assert any("is used as (None, 3)" in note for note in embedder.notes)
    assert embedder.forward(np.zeros((2, *SIZE, 3), np.float32)).shape == (2, *shape[1:])


def test_an_output_of_text_is_named(tf: Any, tmp_path: Path) -> None:
    def call(x: Any) -> Any:
        return tf.fill([tf.shape(x)[0], 4], tf.constant("word"))

    assert "output is string; expected numbers" in refusal(saved_module(tf, tmp_path / "m", call))


def test_several_outputs_without_that_name_are_listed(tf: Any, tmp_path: Path) -> None:
    path = saved_module(tf, tmp_path / "m", lambda x: {"a": x[:, 0, 0], "b": x[:, 1, 1]})
    assert "a (None, 3), b (None, 3)" in refusal(path)


@pytest.mark.parametrize(
    ("call", "shapes", "cause"),
    [
        (lambda x: x + 1, [(None, 9)], "vector of 9 numbers"),
        (lambda x, y: (x + y)[:, 0, 0], [IMAGES, IMAGES], "2 inputs"),
        (lambda x: x[:, 0], [IMAGES], "detector"),
        (lambda x: x[:, 0, 0, :1], [IMAGES], "one number"),
        (lambda x: x[:, 0, 0], [None], "what images it takes"),
    ],
    ids=["vector", "two inputs", "rank 3", "one number", "any rank"],
)
def test_what_is_no_embedding_model_is_named(
    tf: Any, tmp_path: Path, call: Any, shapes: list[Any], cause: str
) -> None:
    assert cause in refusal(saved_module(tf, tmp_path / "m", call, *shapes))


def test_a_folder_without_signatures_says_how_to_save_it(tf: Any, tmp_path: Path) -> None:
    made = tf.Module()
    made.v = tf.Variable(1.0)
    tf.saved_model.save(made, str(tmp_path / "m"))
    assert "signatures=" in refusal(tmp_path / "m")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_graph_is_damaged(tf: Any, tmp_path: Path, share: float) -> None:
    path = saved_module(tf, tmp_path / "m", lambda x: x[:, 0, 0])
    file = path / "saved_model.pb"
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    assert "damaged" in refusal(path)


def test_missing_variables_are_said(keras: Any, tmp_path: Path) -> None:
    network(keras).export(str(tmp_path / "m"), verbose=False)
    (tmp_path / "m" / "variables" / "variables.index").unlink()
    assert "cannot be loaded" in refusal(tmp_path / "m")


def unsafe(path: Path) -> list[str]:
    meta = read_saved_model(path).meta_graphs[0]
    return list(unsafe_parts(meta, objects=meta.HasField("object_graph_def")))


# ---- Hostile graphs -----------------------------------------------------------------------------


def traced(tf: Any, trace: Path) -> dict[str, Any]:
    """Ways to write a file from a graph: operation found -> serving function."""
    name = str(trace)

    def write(x: Any) -> Any:
        with tf.control_dependencies([tf.io.write_file(name, "was here")]):
            return tf.identity(x[:, 0, 0])

    def save_slices(x: Any) -> Any:
        with tf.control_dependencies(
            [tf.raw_ops.SaveV2(prefix=name, tensor_names=["a"], shape_and_slices=[""], tensors=[x])]
        ):
            return tf.identity(x[:, 0, 0])

    def nested(x: Any) -> Any:
        inner = tf.function(write, autograph=False)
        return tf.cond(tf.reduce_sum(x) > -1e9, lambda: inner(x), lambda: x[:, 0, 0])

    def python(x: Any) -> Any:
        y = tf.numpy_function(lambda v: v, [x], tf.float32)
        return tf.ensure_shape(y, IMAGES)[:, 0, 0]

    def printing(x: Any) -> Any:
        with tf.control_dependencies([tf.print("x", output_stream=f"file://{name}")]):
            return tf.identity(x[:, 0, 0])

    def reading(x: Any) -> Any:
        length = tf.strings.length(tf.io.read_file("/etc/hostname"))
        return x[:, 0, 0] + tf.cast(length, tf.float32)

    return {
        "WriteFile": write,
        "SaveV2": save_slices,
        "WriteFile in function": nested,
        "PyFunc": python,
        "PrintV2": printing,
        "ReadFile": reading,
    }


@pytest.mark.parametrize(
    "found", ["WriteFile", "SaveV2", "WriteFile in function", "PyFunc", "PrintV2", "ReadFile"]
)
def test_a_hostile_graph_is_refused_and_leaves_no_trace(
    tf: Any, tmp_path: Path, found: str
) -> None:
    trace = tmp_path / "trace"
    path = saved_module(tf, tmp_path / "m", traced(tf, trace)[found])
    before = sorted(tmp_path.iterdir())
    message = refusal(path)
    assert found in message
    assert "--trust" in message
    assert sorted(tmp_path.iterdir()) == before
    assert not trace.exists()


def test_trust_lets_a_graph_write(tf: Any, tmp_path: Path, images: np.ndarray) -> None:
    trace = tmp_path / "trace"
    path = saved_module(tf, tmp_path / "m", traced(tf, trace)["WriteFile"])
    load(path, trust=True).forward(images)
    assert trace.read_text() == "was here"


def test_a_function_that_runs_while_loading_is_scanned(tf: Any, tmp_path: Path) -> None:
    """A resource's initializer runs when the folder is loaded, before any call."""
    vocabulary = tmp_path / "words.txt"
    vocabulary.write_text("a\nb\n")
    made = module(tf, lambda x: x[:, 0, 0], IMAGES)
    made.table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            str(vocabulary),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        ),
        -1,
    )
    tf.saved_model.save(made, str(tmp_path / "m"), signatures=made.serve)
    assert "InitializeTableFromTextFileV2" in refusal(tmp_path / "m")


def test_the_checkpoint_s_own_functions_are_not_refused(keras: Any, tmp_path: Path) -> None:
    network(keras).export(str(tmp_path / "m"), verbose=False)
    data = (tmp_path / "m" / "saved_model.pb").read_bytes()
    assert b"SaveV2" in data
    assert unsafe(tmp_path / "m") == []


def test_an_output_that_the_function_does_not_have_is_one_line(tf: Any, tmp_path: Path) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    path = saved_module(tf, tmp_path / "m", lambda x: {"e": x[:, 0, 0]}) / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    outputs = saved.meta_graphs[0].signature_def["serving_default"].outputs
    outputs["other"].CopyFrom(outputs.pop("e"))
    path.write_bytes(saved.SerializeToString())
    assert "cannot be loaded" in refusal(path.parent)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["ResNetV2", "MobileNetV2", "EfficientNetV2", "MobileNetV3"])
def test_published_backbones_pass_the_scan(keras: Any, tmp_path: Path, family: str) -> None:
    published(keras, family).export(str(tmp_path / "m"), verbose=False)
    assert unsafe(tmp_path / "m") == []


def test_checking_a_graph_imports_no_tensorflow(keras: Any, tmp_path: Path) -> None:
    image = keras.Input((*SIZE, 3))
    keras.Model(image, trunk(keras, image)).export(str(tmp_path / "m"), verbose=False)
    check_model(tmp_path / "m", LoadOptions())
    program = (
        "import sys; from pathlib import Path; from evaluator.models.load import *; "
        f"check_model(Path({str(tmp_path / 'm')!r}), LoadOptions()); "
        "sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras', 'tf_keras')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
