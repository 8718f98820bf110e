"""The scan of .tflite files by LiteRT's schema: operations, sizes, whole numbers as pixels."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluator.errors import ModelError
from evaluator.images.inputs import Embedder
from evaluator.models.export import ExportOptions, export_model
from evaluator.models.load import load_embedder
from evaluator.models.options import LoadOptions
from evaluator.models.tflite.graph import TFLiteFile, _names
from evaluator.models.tflite.ops import ALLOWED, CUSTOM_ALLOWED
from tests.evaluator.models.networks import SIZE, network

pytest.importorskip("ai_edge_litert")


@pytest.fixture(scope="module")
def exported(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small network as .tflite."""
    path = tmp_path_factory.mktemp("exported") / "m.tflite"
    export_model(network(keras), path, "tflite", ExportOptions())
    return path.read_bytes()


def converted(path: Path, call: Callable[[Any], Any], kind: Any, batch: int | None = 1) -> Path:
    """A function of images, as .tflite."""
    import tensorflow as tf

    signature = [tf.TensorSpec((batch, *SIZE, 3), kind, name="image")]
    function = tf.function(call, input_signature=signature, autograph=False)
    concrete = function.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], function)
    path.write_bytes(converter.convert())
    return path


def changed(data: bytes, change: Callable[[Any], None]) -> bytes:
    """The file with its tables changed as objects, and written anew."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    change(model)
    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def load(path: Path, **options: Any) -> Embedder:
    return load_embedder(path, LoadOptions(**options))


def refusal(path: Path, data: bytes | None = None, **options: Any) -> str:
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ModelError) as caught:
        load(path, **options)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


# ---- Operations ---------------------------------------------------------------------------------


def test_allowed_operations_are_the_schema_s_own() -> None:
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    known = {name for name in vars(BuiltinOperator) if name.isupper()}
    # Of a schema that is older than the list, a few are missing.
    assert len(ALLOWED - known) < 30
    never = {"CUSTOM", "DELEGATE", "STABLEHLO_CUSTOM_CALL", "PLACEHOLDER_FOR_GREATER_OP_CODES"}
    assert not ALLOWED & never


def with_operation(number: int, custom: bytes | None = None) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        code = model.operatorCodes[0]
        code.builtinCode, code.deprecatedBuiltinCode = number, min(number, 127)
        code.customCode = custom

    return change


@pytest.mark.parametrize("name", ["FlexWriteFile", "FlexPyFunc", "DISPATCH_OP", "", "My\x1bOp"])
def test_custom_operations_are_refused_by_name(exported: bytes, tmp_path: Path, name: str) -> None:
    data = changed(exported, with_operation(32, name.encode()))
    message = refusal(tmp_path / "m.tflite", data)
    assert "the custom operation" in message
    assert name.replace("\x1b", "x1b") in message.replace("\\", "")
    assert message.isprintable()


def test_built_in_operations_outside_the_list_are_refused(exported: bytes, tmp_path: Path) -> None:
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    numbers = {value: name for name, value in vars(BuiltinOperator).items() if name.isupper()}
    others = [number for number, name in numbers.items() if name not in ALLOWED | {"CUSTOM"}]
    assert len(others) > 8
    for number in [*others, 250]:
        file = TFLiteFile(tmp_path / "m", changed(exported, with_operation(number)))
        with pytest.raises(ModelError, match=numbers.get(number, "operation 250")):
            file.check()


def test_the_larger_of_both_numbers_of_an_operation_counts(exported: bytes, tmp_path: Path) -> None:
    """As it does for LiteRT: older files have one of a byte only."""

    def hide(model: Any) -> None:
        model.operatorCodes[0].deprecatedBuiltinCode = 51  # DELEGATE
        model.operatorCodes[0].builtinCode = 0  # ADD

    assert "DELEGATE" in refusal(tmp_path / "m.tflite", changed(exported, hide))


def test_an_operation_in_a_second_graph_is_found(exported: bytes, tmp_path: Path) -> None:
    def add(model: Any) -> None:
        from ai_edge_litert import schema_py_generated as schema

        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode = 32, 32
        code.customCode = b"FlexReadFile"
        model.operatorCodes.append(code)

    assert "'FlexReadFile'" in refusal(tmp_path / "m.tflite", changed(exported, add))


def test_trust_leaves_operations_to_litert(
    exported: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(exported)
    monkeypatch.setattr("evaluator.models.tflite.graph.ALLOWED", frozenset())
    assert "CONV_2D" in refusal(path)
    assert load(path, profile="unit", trust=True).format == "tflite"


def test_custom_operations_that_are_allowed_are_litert_s_own() -> None:
    assert sorted(CUSTOM_ALLOWED) == ["NumericVerify"]


# ---- Sizes --------------------------------------------------------------------------------------


def test_a_tensor_beyond_the_limit_is_refused(exported: bytes, tmp_path: Path) -> None:
    def enlarge(model: Any) -> None:
        tensor = model.subgraphs[0].tensors[-1]
        tensor.shape = tensor.shapeSignature = np.array([1, 2**15, 2**15], np.int32)

    message = refusal(tmp_path / "m.tflite", changed(exported, enlarge))
    assert "makes 4,294,967,296 bytes of one image; the limit is" in message


def test_a_fixed_batch_is_not_counted_to_a_tensor(tmp_path: Path, keras: Any) -> None:
    import tensorflow as tf

    path = converted(tmp_path / "m.tflite", lambda x: x[:, 0, 0] * 2, tf.float32, batch=9)
    data = path.read_bytes()

    def widen(model: Any) -> None:
        shape = [9, 2**20, 2**6]  # 2.4 GB, of nine images
        model.subgraphs[0].tensors[1].shape = np.array(shape, np.int32)
        model.subgraphs[0].tensors[1].shapeSignature = np.array(shape, np.int32)

    TFLiteFile(path, changed(data, widen))._check_sizes()
    assert load(path, profile="unit").fixed_batch == 9


@pytest.mark.parametrize("name", ["fill", "tile", "broadcast_to"])
def test_a_constant_that_asks_for_much_is_refused_before_it_is_made(
    tmp_path: Path, keras: Any, name: str
) -> None:
    import tensorflow as tf

    calls = {
        "fill": lambda x: x[:, 0, 0] + tf.reduce_sum(tf.fill([300, 7], x[0, 0, 0, 0])),
        "tile": lambda x: tf.reduce_sum(tf.tile(x, [1, 300, 7, 1]), axis=[1, 2]),
        "broadcast_to": lambda x: tf.reduce_sum(
            tf.broadcast_to(x[:, :1, :1], [1, 300, 7, 3]), axis=[1, 2]
        ),
    }
    path = converted(tmp_path / "m.tflite", calls[name], tf.float32)
    load(path, profile="unit")
    written = TFLiteFile(path, path.read_bytes())
    if name.upper() not in {_names("BuiltinOperator")[number] for number, _ in written._codes}:
        pytest.skip("this converter writes it as another operation")

    def enlarge(model: Any) -> None:
        for buffer in model.buffers:
            values = np.array(buffer.data, np.uint8) if buffer.data is not None else np.zeros(0)
            if values.size in (8, 16) and 300 in (sizes := values.astype(np.uint8).view(np.int32)):
                buffer.data = np.where(sizes == 300, 2**29, sizes).astype(np.int32).view(np.uint8)

    message = refusal(path, changed(path.read_bytes(), enlarge), profile="unit")
    assert f"its {name.upper()} makes" in message


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.999])
def test_a_truncated_file_is_damaged(exported: bytes, tmp_path: Path, share: float) -> None:
    assert "damaged" in refusal(tmp_path / "m.tflite", exported[: int(len(exported) * share)])


def test_changed_bytes_never_end_in_a_traceback(exported: bytes, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(exported)
        for at in random.integers(8, len(data), 6):
            data[at] = random.integers(0, 256)
        file = TFLiteFile(tmp_path / "m", bytes(data))
        with suppress(ModelError):
            file.check()
            file.without_classes(0)


# ---- Whole numbers ------------------------------------------------------------------------------


def test_whole_numbers_take_pixels_as_they_are(tmp_path: Path, keras: Any) -> None:
    import tensorflow as tf

    path = converted(tmp_path / "m.tflite", lambda x: tf.cast(x[:, 0, 0], tf.float32), tf.uint8)
    embedder = load(path)
    assert embedder.input.profile == "raw"
    assert any("whole numbers" in note for note in embedder.notes)
    got = embedder.forward(np.full((1, *SIZE, 3), 41.7, np.float32))
    np.testing.assert_array_equal(got, [[42, 42, 42]])
    assert load(path, profile="raw").notes == ()
    assert "--input unit does not apply" in refusal(path, profile="unit")


def test_bytes_of_no_scale_are_no_pixels(tmp_path: Path, keras: Any) -> None:
    import tensorflow as tf

    path = converted(tmp_path / "m.tflite", lambda x: tf.cast(x[:, 0, 0], tf.float32), tf.int8)
    assert "input is int8; expected an image" in refusal(path)


def test_a_quantised_input_has_a_scale_and_is_read_as_before(
    keras: Any, tmp_path: Path, images: np.ndarray
) -> None:
    calibration = [images[i : i + 1] for i in range(len(images))]
    path = tmp_path / "m.tflite"
    export_model(network(keras), path, "tflite", ExportOptions("int8", calibration))
    embedder = load(path)
    assert embedder.input.profile == "unit"
    assert any("input is quantised to int8" in note for note in embedder.notes)


def test_trailing_axes_of_one_are_noted(tmp_path: Path, keras: Any) -> None:
    import tensorflow as tf

    path = converted(
        tmp_path / "m.tflite", lambda x: tf.reduce_sum(x, axis=[1, 2], keepdims=True), tf.float32
    )
    embedder = load(path, profile="unit")
    assert any("shape (1, 1, 1, 3) is used as (1, 3)" in note for note in embedder.notes)


def test_the_shared_case_of_whole_numbers(shared: Path) -> None:
    """61.67 and an AUC of 0.562222 by the format's own runtime and scikit-learn."""
    from evaluator import evaluate

    cases = shared / "cases"
    found = evaluate(cases / "models/u8_cast.tflite", cases / "data/base.bin").figures
    assert found.accuracy == pytest.approx(0.6167, abs=5e-5)
    assert found.auc == pytest.approx(0.562222, abs=5e-7)


def test_a_name_that_is_no_text_is_damage(exported: bytes, tmp_path: Path) -> None:
    def rename(model: Any) -> None:
        model.subgraphs[0].tensors[-1].name = b"\xff\xfe"

    assert "damaged" in refusal(tmp_path / "m.tflite", changed(exported, rename))


@pytest.mark.parametrize("name", ["logits", "fc"])
def test_classes_are_told_by_the_names_of_their_weights(
    tmp_path: Path, keras: Any, name: str
) -> None:
    layers = keras.layers
    image = keras.Input((*SIZE, 3))
    features = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3)(image))
    embedding = layers.Dense(6, name="embedding")(features)
    whole = keras.Model(image, layers.Dense(9, name=name)(embedding))
    batch = np.random.default_rng(0).random((1, *SIZE, 3), np.float32)
    import tensorflow as tf

    path = converted(tmp_path / "m.tflite", lambda x: {"out": whole(x, training=False)}, tf.float32)
    embedder = load(path, profile="unit")
    expected = keras.Model(image, embedding)(batch, training=False)
    assert np.allclose(embedder.forward(batch), expected, atol=1e-5)
    assert any("class" in note for note in embedder.notes)
