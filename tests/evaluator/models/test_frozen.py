"""Frozen TensorFlow graphs: the same embeddings as their source, and what hostile ones try."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusals import load, refusal

import evaluator
from evaluator.bins.verification_set import read_bin, write_bin
from evaluator.errors import ModelError
from evaluator.models.formats import model_format
from evaluator.models.options import LoadOptions
from tests.evaluator.models.networks import SIZE, network

pytestmark = pytest.mark.usefixtures("keras")  # TensorFlow, started as the commands start it


def frozen(model: Any, path: Path, shape: tuple[int | None, ...]) -> Path:
    """A Keras model as TensorFlow freezes it."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    spec = tf.TensorSpec(shape, tf.float32, name="x")
    function = tf.function(lambda x: model(x, training=False)).get_concrete_function(spec)
    graph = convert_variables_to_constants_v2(function).graph.as_graph_def()
    path.write_bytes(graph.SerializeToString())
    return path


def facenet(
    path: Path, *, queue: bool, fed: bool = False, end: Callable[[Any], Any] | None = None
) -> np.ndarray:
    """A graph of TensorFlow 1 as FaceNet's scripts froze theirs, and what it gives for `images`:
    a queue or a placeholder, `input`, a condition on `phase_train`, and `embeddings`.
    """
    import tensorflow as tf

    v1 = tf.compat.v1
    generator = np.random.default_rng(1)
    kernel, matrix = (
        generator.normal(size=size).astype(np.float32) for size in ((3, 3, 3, 4), (4, 6))
    )
    with tf.Graph().as_default() as graph, v1.Session() as session:
        v1.disable_control_flow_v2()
        try:
            if queue:
                shapes = [(*SIZE, 3), ()]
                made = v1.FIFOQueue(4, [tf.float32, tf.int64], shapes=shapes, name="fifo")
                size = v1.placeholder(tf.int32, name="batch_size")
                image, label = made.dequeue_up_to(size, name="batch_join")
                tf.identity(label, "label_batch")
                image = tf.identity(image, "input")
            else:
                image = v1.placeholder(tf.float32, (None, *SIZE, 3), name="input")
            training = v1.placeholder(tf.bool, name="phase_train")
            x = tf.nn.relu(tf.nn.conv2d(image, tf.constant(kernel), 1, "SAME"))
            x = v1.cond(training, lambda: x - tf.reduce_mean(x), lambda: x * 0.5)
            x = tf.reduce_mean(x, [1, 2]) @ tf.constant(matrix)
            tf.nn.l2_normalize(x if end is None else end(x), 1, name="embeddings")
        finally:
            v1.enable_control_flow_v2()
        path.write_bytes(graph.as_graph_def().SerializeToString())
        batch = images(3)
        given = {"input:0": batch, "phase_train:0": fed}
        found: np.ndarray = session.run("embeddings:0", given)
        return found


def images(count: int) -> np.ndarray:
    return np.random.default_rng(5).random((count, *SIZE, 3), dtype=np.float32)


# ---- The same embeddings -------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["native", "openvino"])
@pytest.mark.parametrize("queue", [False, True])
def test_facenet_s_graphs_embed_as_in_a_session(tmp_path: Path, queue: bool, engine: str) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino")
    path = tmp_path / "20180402.pb"
    expected = facenet(path, queue=queue)
    assert model_format(path) == "frozen-graph"
    found = load(path, size=SIZE, engine=engine)
    assert found.format == "frozen-graph"
    assert "its boolean input 'phase_train' is fed False" in found.notes
    assert np.abs(found.forward(images(3)) - expected).max() < 1e-6


def test_a_profile_says_what_a_boolean_input_is_fed(tmp_path: Path) -> None:
    path = tmp_path / "m.pb"
    expected = facenet(path, queue=False, fed=True)
    found = load(path, profile="unit+phase_train=true")
    assert np.abs(found.forward(images(3)) - expected).max() < 1e-6
    assert not any("phase_train" in note for note in found.notes)
    with pytest.raises(ModelError, match="no boolean input is named 'phase'; it has phase_train"):
        load(path, profile="unit+phase=true")


def test_a_graph_behind_a_queue_asks_for_the_size(tmp_path: Path) -> None:
    facenet(tmp_path / "m.pb", queue=True)
    assert "does not say what images it takes; give --size" in refusal(tmp_path / "m.pb")


def test_a_keras_network_frozen_embeds_alike(keras: Any, tmp_path: Path) -> None:
    model = network(keras)
    path = frozen(model, tmp_path / "m.pb", (None, *SIZE, 3))
    found = load(path)
    expected = model(images(4), training=False).numpy()
    assert np.abs(found.forward(images(4)) - expected).max() < 1e-6
    assert found.count is not None
    assert found.count().macs


@pytest.mark.slow
def test_the_shared_network_gives_the_scores_of_its_h5(
    keras: Any, shared: Path, tmp_path: Path
) -> None:
    from evaluator.models.keras.load import embedding_model

    source = shared / "models/faceapi_resnet.h5"
    model, _ = embedding_model(source, LoadOptions(profile="raw"))
    path = frozen(model, tmp_path / "m.pb", (None, *model.input_shape[1:]))
    found = read_bin(shared / "bins/small_lfw.bin")
    # Four pairs of each kind: the network takes long.
    pairs = [*np.flatnonzero(found.genuine)[:4], *np.flatnonzero(~found.genuine)[:4]]
    few = [found.images[2 * pair + side] for pair in pairs for side in (0, 1)]
    bin_path = tmp_path / "few.bin"
    write_bin(bin_path, few, found.genuine[pairs])
    a, b = (evaluator.evaluate(each, bin_path, input="raw") for each in (model, path))
    assert a.scores is not None
    assert b.scores is not None
    assert np.abs(a.scores - b.scores).max() < 1e-5
    assert np.abs(a.scores).max() > 0.2


def test_a_graph_that_ends_in_classes_is_cut_before_them(keras: Any, tmp_path: Path) -> None:
    layers = keras.layers
    image = layers.Input((*SIZE, 3))
    inner = layers.Dense(6, activation="tanh", name="inner")(layers.Flatten()(image))
    model = keras.Model(image, layers.Dense(9, activation="softmax", name="out")(inner))
    path = frozen(model, tmp_path / "m.pb", (None, *SIZE, 3))
    found = load(path)
    assert any("it ends in classes (softmax)" in note for note in found.notes)
    expected = keras.Model(image, inner)(images(2)).numpy()
    assert np.abs(found.forward(images(2)) - expected).max() < 1e-6
    whole = load(path, output="Identity").forward(images(2))
    assert np.allclose(whole.sum(axis=1), 1)


# ---- What is refused -----------------------------------------------------------------------------


def built(path: Path, call: Callable[[Any], Any]) -> Any:
    """A graph from a placeholder `image` by way of a function, as a message."""
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.float32, (None, *SIZE, 3), name="image")
        flat = tf.reshape(image, (-1, SIZE[0] * SIZE[1] * 3))
        tf.identity(call(flat), name="embedding")
        definition = graph.as_graph_def()
    path.write_bytes(definition.SerializeToString())
    return definition


def reads_a_file(flat: Any) -> Any:
    import tensorflow as tf

    return flat + tf.strings.to_number(tf.io.read_file("/etc/hostname"))


def writes_a_file(flat: Any) -> Any:
    import tensorflow as tf

    with tf.control_dependencies([tf.io.write_file("owned", "x")]):
        return tf.identity(flat)


def calls_python(flat: Any) -> Any:
    import tensorflow as tf

    return tf.compat.v1.py_func(lambda x: x, [flat], tf.float32)


def restores(flat: Any) -> Any:
    import tensorflow as tf

    return (
        flat
        + tf.raw_ops.RestoreV2(
            prefix="/etc/x", tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32]
        )[0]
    )


def reads_in_a_function(flat: Any) -> Any:
    import tensorflow as tf

    return tf.function(reads_a_file, autograph=False)(flat)


ATTACKS: dict[str, Callable[[Any], Any]] = {
    "ReadFile": reads_a_file,
    "WriteFile": writes_a_file,
    "PyFunc": calls_python,
    "RestoreV2": restores,
    "ReadFile in function": reads_in_a_function,
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_operation_that_does_more_than_compute_is_refused(tmp_path: Path, name: str) -> None:
    built(tmp_path / "m.pb", ATTACKS[name])
    message = refusal(tmp_path / "m.pb")
    assert "could reach beyond its own numbers" in message
    assert name in message
    assert not (tmp_path / "owned").exists()


def test_what_the_embedding_does_not_need_is_left_out(tmp_path: Path) -> None:
    import tensorflow as tf

    def with_a_bystander(flat: Any) -> Any:
        tf.io.write_file("owned", "x", name="bystander")
        return flat * 2

    built(tmp_path / "m.pb", with_a_bystander)
    found = load(tmp_path / "m.pb").forward(images(2))
    assert np.array_equal(found, images(2).reshape(2, -1) * 2)


def calling(definition: Any, names: list[tuple[str, list[str]]]) -> bytes:
    """A graph whose embedding is made by the first of functions, each of which calls others."""
    for name, calls in names:
        function = definition.library.function.add()
        function.signature.name = name
        function.signature.input_arg.add(name="x", type=1)
        function.signature.output_arg.add(name="y", type=1)
        last = "x"
        for number, called in enumerate(calls):
            node = function.node_def.add(name=f"c{number}", op=called, input=[last])
            node.attr["Placeholder"].i = 0
            last = f"c{number}:y:0"
        function.ret["y"] = last
    node = next(each for each in definition.node if each.name == "embedding")
    node.op = names[0][0]
    node.attr.clear()
    data: bytes = definition.SerializeToString()
    return data


def test_functions_that_call_themselves_or_each_other_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.pb"
    for functions in ([("f", ["f"])], [("f", ["g"]), ("g", ["h"]), ("h", ["f"])]):
        path.write_bytes(calling(built(path, lambda flat: flat * 2), functions))
        assert "calls itself" in refusal(path)


def test_functions_that_grow_without_end_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.pb"
    functions = [(f"f{i}", [f"f{i + 1}"] * 10) for i in range(9)] + [("f9", [])]
    path.write_bytes(calling(built(path, lambda flat: flat * 2), functions))
    assert "written out are more than" in refusal(path)


def change_missing_node(graph: Any) -> None:
    graph.node[-1].input[0] = "none"


def change_double(graph: Any) -> None:
    graph.node.add().CopyFrom(graph.node[0])


def change_large(graph: Any) -> None:
    node = next(each for each in graph.node if each.op == "Const")
    tensor = node.attr["value"].tensor
    tensor.ClearField("tensor_content")
    tensor.tensor_shape.ClearField("dim")
    for size in (100_000, 100_000):
        tensor.tensor_shape.dim.add(size=size)


def change_second_image(graph: Any) -> None:
    new = graph.node.add(name="other", op="Placeholder")
    new.attr["dtype"].type = 1
    graph.node.insert(0, graph.node.pop())
    last = next(each for each in graph.node if each.name == "embedding")
    last.input.append("^other")


def change_circle(graph: Any) -> None:
    reshape = next(each for each in graph.node if each.op == "Reshape")
    reshape.input[1] = "embedding"


CHANGES: dict[str, tuple[Callable[[Any], None], str]] = {
    "a node that is not there": (change_missing_node, "it needs a node 'none'"),
    "two nodes of one name": (change_double, "two nodes of one name"),
    "a constant of gigabytes": (change_large, "the limit is"),
    "two images": (change_second_image, "takes 2 inputs (other, image)"),
    "a circle": (change_circle, "cannot be loaded"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_damaged_or_hostile_graph_is_one_line(tmp_path: Path, what: str) -> None:
    change, words = CHANGES[what]
    graph = built(tmp_path / "m.pb", lambda flat: flat * 2)
    change(graph)
    (tmp_path / "m.pb").write_bytes(graph.SerializeToString())
    assert words in refusal(tmp_path / "m.pb")


def test_what_grows_large_is_refused_before_it_is_made(tmp_path: Path) -> None:
    import tensorflow as tf

    built(tmp_path / "m.pb", lambda x: x * tf.reduce_max(tf.fill([1, 2**30], x[0, 0])))
    assert "the limit is" in refusal(tmp_path / "m.pb")


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_file_cut_short_is_damaged(tmp_path: Path, share: float) -> None:
    built(tmp_path / "m.pb", lambda flat: flat * 2)
    data = (tmp_path / "m.pb").read_bytes()
    (tmp_path / "m.pb").write_bytes(data[: int(len(data) * share)])
    assert "damaged or truncated" in refusal(tmp_path / "m.pb")


def test_a_field_that_tensorflow_does_not_know_is_refused(tmp_path: Path) -> None:
    built(tmp_path / "m.pb", lambda flat: flat * 2)
    with (tmp_path / "m.pb").open("ab") as file:
        file.write(b"\xa2\x3f\x03abc")  # field 1012
    assert "holds what TensorFlow" in refusal(tmp_path / "m.pb")
