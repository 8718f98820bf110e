"""The scan of a SavedModel's graphs: what is not known to compute is refused wherever it stands."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluator.errors import ModelError
from evaluator.images.inputs import Embedder
from evaluator.models.load import check_model, load_embedder
from evaluator.models.options import LoadOptions
from evaluator.models.savedmodel.graph import unsafe_parts
from evaluator.models.savedmodel.ops import ALLOWED, ARITHMETIC, CHECKPOINT
from evaluator.models.savedmodel.proto import read_saved_model
from tests.evaluator.models.networks import SIZE, network

IMAGES = (None, *SIZE, 3)


@pytest.fixture(scope="module")
def tf(keras: Any) -> Any:
    import tensorflow

    return tensorflow


@pytest.fixture(scope="module")
def exported(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The graph of a small network as Keras 3 exports it: with a saver and objects."""
    path = tmp_path_factory.mktemp("exported") / "m"
    network(keras).export(str(path), verbose=False)
    return (path / "saved_model.pb").read_bytes()


@pytest.fixture(scope="module")
def session_saved(tf: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network as TensorFlow 1 saved it: variables, a saver and no objects."""
    return saved_by_session(tf, tmp_path_factory.mktemp("session") / "m")


def saved_by_session(
    tf: Any, path: Path, *, resource: bool = True, add: Callable[[Any], Any] | None = None
) -> Path:
    """Saves images @ w + b through a session. ``add`` makes the initialising operation."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        image = v1.placeholder(tf.float32, IMAGES, name="image")
        kernel = v1.get_variable("w", (3, 5), use_resource=resource, initializer=weights(tf))
        zeros = v1.zeros_initializer()
        bias = v1.get_variable("b", (5,), use_resource=resource, initializer=zeros)
        flat = tf.reduce_mean(image, [1, 2])
        out = tf.nn.bias_add(tf.matmul(flat, kernel), bias, name="embeddings")
        main_op = add(out) if add is not None else None
        session.run(v1.global_variables_initializer())
        info = v1.saved_model.build_tensor_info
        signature = v1.saved_model.build_signature_def({"image": info(image)}, {"e": info(out)})
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(
            session, ["serve"], signature_def_map={"serving_default": signature}, main_op=main_op
        )
        builder.save()
    return path


KERNEL = np.random.default_rng(5).normal(size=(3, 5)).astype(np.float32)


def weights(tf: Any) -> Any:
    return tf.compat.v1.constant_initializer(KERNEL)


def load(path: Path, **options: Any) -> Embedder:
    return load_embedder(path, LoadOptions(**{"profile": "unit", **options}))


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(ModelError) as caught:
        load(path, **options)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def parsed(data: bytes) -> Any:
    from tensorflow.core.protobuf import saved_model_pb2

    return saved_model_pb2.SavedModel.FromString(data)


def unsafe(saved: Any) -> str:
    [meta] = saved.meta_graphs
    return "; ".join(unsafe_parts(meta, objects=meta.HasField("object_graph_def")))


def folder_of(path: Path, data: bytes) -> Path:
    path.mkdir()
    (path / "saved_model.pb").write_bytes(data)
    return path


# ---- What the parser reads is all that there is -------------------------------------------------


def test_a_field_of_another_wire_type_is_refused_and_named(shared: Path, tmp_path: Path) -> None:
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        message = refusal(shared / "cases/security/writefile_hidden_by_wire_type")
    finally:
        os.chdir(before)
    assert "'WriteFile' (its op) holds what TensorFlow" in message
    assert list(tmp_path.iterdir()) == []


# Messages at every depth, in a graph of Keras 3.
PLACES: dict[str, Callable[[Any], Any]] = {
    "the whole": lambda saved: saved,
    "meta graph": lambda saved: saved.meta_graphs[0],
    "graph": lambda saved: saved.meta_graphs[0].graph_def,
    "node": lambda saved: saved.meta_graphs[0].graph_def.node[0],
    "attribute": lambda saved: first(saved.meta_graphs[0].graph_def.node[0].attr),
    "library": lambda saved: saved.meta_graphs[0].graph_def.library,
    "function": lambda saved: saved.meta_graphs[0].graph_def.library.function[0],
    "function's node": lambda saved: saved.meta_graphs[0].graph_def.library.function[0].node_def[0],
    "saver": lambda saved: saved.meta_graphs[0].saver_def,
    "signature": lambda saved: saved.meta_graphs[0].signature_def["serving_default"],
    "object": lambda saved: saved.meta_graphs[0].object_graph_def.nodes[0],
    "collection": lambda saved: first(saved.meta_graphs[0].collection_def),
}


def first(entries: Any) -> Any:
    return entries[min(entries)]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("field", [b"\xc2\xf5\x01\x02hi", b"\x85\xf6\x01abcd", b"\x80\xf6\x01\x07"])
def test_an_unknown_field_at_any_depth_is_refused(
    exported: bytes, tmp_path: Path, place: str, field: bytes
) -> None:
    saved = parsed(exported)
    PLACES[place](saved).MergeFromString(field)
    path = folder_of(tmp_path / "m", saved.SerializeToString())
    assert "holds what TensorFlow" in refusal(path)


def nested(field: int, data: bytes) -> bytes:
    """A field that holds bytes, as protocol buffers write it."""
    length, key = b"", field << 3 | 2
    size = len(data)
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([key]) + length + bytes([size]) + data


def test_a_field_that_is_there_twice_is_refused(exported: bytes, tmp_path: Path) -> None:
    saved = parsed(exported)
    node = saved.meta_graphs[0].graph_def.node.add(name="n", op="WriteFile")
    twice = node.SerializeToString() + nested(2, b"NoOp")
    del saved.meta_graphs[0].graph_def.node[-1]
    graph = saved.meta_graphs[0].graph_def.SerializeToString() + nested(1, twice)
    saved.meta_graphs[0].ClearField("graph_def")
    meta = saved.meta_graphs[0].SerializeToString() + nested(2, graph)
    path = folder_of(tmp_path / "m", b"\x08\x01" + nested(2, meta))
    assert "gives a field twice" in refusal(path)
    # Which of both counts is the parser's to say: the same one in the scan and in the load.
    assert "NoOp" in {each.op for each in parsed(path.joinpath("saved_model.pb").read_bytes())
                      .meta_graphs[0].graph_def.node}  # fmt: skip


def test_a_map_with_one_key_twice_is_refused(exported: bytes, tmp_path: Path) -> None:
    saved = parsed(exported)
    entry = nested(1, b"serving_default") + nested(2, b"")
    meta = saved.meta_graphs[0].SerializeToString() + nested(5, entry)
    path = folder_of(tmp_path / "m", b"\x08\x01" + nested(2, meta))
    assert "gives a field twice" in refusal(path)


def test_fields_in_another_order_are_read(exported: bytes, tmp_path: Path) -> None:
    """Some writers put the graph last."""
    saved = parsed(exported)
    graph = saved.meta_graphs[0].graph_def.SerializeToString()
    saved.meta_graphs[0].ClearField("graph_def")
    meta = saved.meta_graphs[0].SerializeToString() + nested(2, graph)
    path = folder_of(tmp_path / "m", b"\x08\x01" + nested(2, meta))
    assert unsafe(read_saved_model(path)) == ""


# ---- Operations ---------------------------------------------------------------------------------


def test_allowed_operations_are_tensorflow_s_own_and_arithmetic_keeps_no_state(tf: Any) -> None:
    from tensorflow.python.framework import op_def_registry

    registered = {name: op_def_registry.get(name) for name in ALLOWED | CHECKPOINT}
    assert {name for name, found in registered.items() if found is None} <= KNOWN_TO_SOME
    stateful = {name for name in ARITHMETIC if registered[name] and registered[name].is_stateful}
    # They fail or leave memory as it was: state in name only.
    assert stateful == {"CheckNumerics", "CheckNumericsV2", "Empty"}


# Operations that only newer TensorFlows have.
KNOWN_TO_SOME = frozenset({"Conv", "Conv2DBackpropInputV2", "Conv2DBackpropFilterV2"})

HOSTILE = """
    WriteFile ReadFile MatchingFiles PyFunc EagerPyFunc PyFuncStateless PrintV2 Print Save
    SaveSlices Restore RestoreSlice DTensorRestoreV2 ImmutableConst InitializeTableFromTextFileV2
    LoadAndRemapMatrix XlaLaunch XlaCallModule XlaHostCompute TextLineDataset TFRecordDatasetV2
    LoadDataset SaveDatasetV2 MakeIterator IteratorGetNext CacheDatasetV2 SqlDataset
    FixedLengthRecordReaderV2 WholeFileReaderV2 RemoteCall RpcCall RpcClient Send Recv
    CollectiveReduceV2 CreateSummaryFileWriter WriteSummary DebugIdentityV3 DumpTensor Abort
    FileSystemSetConfiguration SymbolicGradient GenerateVocabRemapping MutableHashTableV2
    OutfeedEnqueue CalibrationStatisticsSaver ConfigureDistributedTPU TPUCompile NoSuchOperation
""".split()


@pytest.mark.parametrize("op", HOSTILE)
def test_other_operations_are_refused_by_name_in_graphs_and_functions(
    tf: Any, exported: bytes, op: str
) -> None:
    saved = parsed(exported)
    graph = saved.meta_graphs[0].graph_def
    graph.node.add(name="here", op=op)
    graph.library.function[1].node_def.add(name="there", op=op)
    name = graph.library.function[1].signature.name
    assert unsafe(saved) == f"{op} in the graph's node 'here'; {op} in function {name!r}"


def test_no_operation_outside_the_list_passes(tf: Any, exported: bytes) -> None:
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session as session

    listed = op_def_pb2.OpList.FromString(session.TF_GetBuffer(session.TF_GetAllOpList()))
    others = [each.name for each in listed.op if each.name not in ALLOWED | CHECKPOINT]
    assert len(others) > 1000
    saved = parsed(exported)
    for op in others:
        saved.meta_graphs[0].graph_def.node.add(name=op, op=op)
    found = unsafe(saved)
    assert [op for op in others if f"{op} in the graph's node {op!r}" not in found] == []


def change(change_meta: Callable[[Any], None]) -> Callable[[bytes], str]:
    def found(data: bytes) -> str:
        saved = parsed(data)
        change_meta(saved.meta_graphs[0])
        return unsafe(saved)

    return found


def restoring_function(meta: Any) -> str:
    """The name of the function that restores, which no loading runs."""
    name: str = next(
        each.signature.name
        for each in meta.graph_def.library.function
        if any(node.op == "RestoreV2" for node in each.node_def)
    )
    return name


def name_in_object(meta: Any) -> None:
    meta.object_graph_def.nodes[
        0
    ].bare_concrete_function.concrete_function_name = restoring_function(meta)


def call_from_function(meta: Any) -> None:
    name = restoring_function(meta)
    function = next(
        each for each in meta.graph_def.library.function
        if each.signature.name in meta.object_graph_def.concrete_functions
    )  # fmt: skip
    function.node_def.add(name="n", op="StatefulPartitionedCall").attr["f"].func.name = name


def branch_to_write(meta: Any) -> None:
    function = meta.graph_def.library.function.add()
    function.signature.name = "branch"
    function.node_def.add(name="n", op="WriteFile")
    node = meta.graph_def.node.add(name="case", op="Case")
    node.attr["branches"].list.func.add(name="branch")


def take_the_name(meta: Any) -> None:
    meta.graph_def.library.function.add().signature.name = "WriteFile"
    meta.graph_def.node.add(name="n", op="WriteFile")


def name_an_operation(meta: Any) -> None:
    node = meta.graph_def.node.add(name="n", op="PartitionedCall")
    node.attr["f"].func.name = "WriteFile"


def nest_an_operation(meta: Any) -> None:
    node = meta.graph_def.node.add(name="n", op="PartitionedCall")
    node.attr["f"].func.name = meta.graph_def.library.function[0].signature.name
    node.attr["f"].func.attr["g"].func.name = "WriteFile"


def double_a_function(meta: Any) -> None:
    meta.graph_def.library.function.append(meta.graph_def.library.function[0])


def gradient_restores(meta: Any) -> None:
    function = meta.graph_def.library.function[0].signature.name
    meta.graph_def.library.gradient.add(
        function_name=function, gradient_func=restoring_function(meta)
    )


def asset(filename: str) -> Callable[[Any], None]:
    def add(meta: Any) -> None:
        meta.asset_file_def.add(filename=filename).tensor_info.name = "image:0"

    return add


def register_type(meta: Any) -> None:
    from tensorflow.core.protobuf import struct_pb2

    spec = meta.object_graph_def.nodes[0].function.function_spec.fullargspec.type_spec_value
    spec.type_spec_class_name = "a.B"
    spec.type_spec_class = struct_pb2.TypeSpecProto.REGISTERED_TYPE_SPEC


def use_a_dataset(meta: Any) -> None:
    from tensorflow.core.protobuf import struct_pb2

    concrete = meta.object_graph_def.concrete_functions["f"]
    spec = concrete.output_signature.dict_value.fields["x"].type_spec_value
    spec.type_spec_class = struct_pb2.TypeSpecProto.DATA_DATASET_SPEC


CHANGES = {
    "a checkpoint's function as an object's": (name_in_object, "RestoreV2 in function"),
    "a checkpoint's function, called": (call_from_function, "RestoreV2 in function"),
    "a checkpoint's function as a gradient": (gradient_restores, "RestoreV2 in function"),
    "a branch": (branch_to_write, "WriteFile in function 'branch'"),
    "a function named like an operation": (take_the_name, "the name of the operation WriteFile"),
    "an operation called like a function": (name_an_operation, "function 'WriteFile', which it"),
    "an operation in an argument": (nest_an_operation, "function 'WriteFile', which it"),
    "two functions of a name": (double_a_function, "two functions of one name"),
    "an asset above": (asset("../../etc/passwd"), "asset '../../etc/passwd'"),
    "an asset elsewhere": (asset("/etc/passwd"), "asset '/etc/passwd'"),
    "an asset of a bucket": (asset("gs://a/b"), "asset 'gs://a/b'"),
    "an object of unknown kind": (
        lambda meta: setattr(meta.object_graph_def.nodes[0].user_object, "identifier", "runner"),
        "an object of kind 'runner'",
    ),
    "a registered class": (
        lambda meta: setattr(meta.object_graph_def.nodes[0], "registered_name", "x.Y"),
        "registered class 'x.Y'",
    ),
    "a registered saver": (
        lambda meta: setattr(meta.object_graph_def.nodes[0], "registered_saver", "x.Z"),
        "registered saver 'x.Z'",
    ),
    "a registered type": (register_type, "a value of the type 'a.B'"),
    "a dataset": (use_a_dataset, "a value of the type 'DATA_DATASET_SPEC'"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_loading_would_run_is_found_wherever_it_is_named(exported: bytes, name: str) -> None:
    assert unsafe(parsed(exported)) == ""
    changed, message = CHANGES[name]
    assert message in change(changed)(exported)


# ---- TensorFlow 1: a saver that is run ----------------------------------------------------------


def with_node(meta: Any, op: str, *inputs: str, name: str = "evil") -> Any:
    node = meta.graph_def.node.add(name=name, op=op)
    node.input.extend(inputs)
    return node


def save_at_restore(meta: Any) -> None:
    with_node(meta, "SaveV2", "save/Const")
    restore = next(n for n in meta.graph_def.node if n.name == meta.saver_def.restore_op_name)
    restore.input.append("^evil")


def save_at_call(meta: Any) -> None:
    with_node(meta, "SaveV2", "save/Const")
    next(n for n in meta.graph_def.node if n.name == "embeddings").input.append("^evil")


def save_is_called(meta: Any) -> None:
    meta.saver_def.save_tensor_name = "embeddings:0"
    save_at_call(meta)


def save_at_init(meta: Any) -> None:
    with_node(meta, "MergeV2Checkpoints", "save/Const")
    meta.collection_def["legacy_init_op"].node_list.value.append("evil")


def save_in_tables(meta: Any) -> None:
    with_node(meta, "SaveV2", "save/Const")
    with_node(meta, "NoOp", "^evil", name="after")
    meta.collection_def["table_initializer"].node_list.value.append("after")


def save_in_init_signature(meta: Any) -> None:
    with_node(meta, "SaveV2", "save/Const")
    outputs = meta.signature_def["__saved_model_init_op"].outputs
    outputs["__saved_model_init_op"].name = "evil"


def save_in_initial_value(meta: Any) -> None:
    from tensorflow.core.framework import variable_pb2

    with_node(meta, "SaveV2", "save/Const")
    with_node(meta, "Identity", "w", "^evil", name="value")
    variables = meta.collection_def["variables"].bytes_list
    variable = variable_pb2.VariableDef.FromString(variables.value[0])
    variable.initial_value_name = "value:0"
    variables.value[0] = variable.SerializeToString()


def restore_elsewhere(meta: Any) -> None:
    with_node(meta, "Const", name="elsewhere")
    restore = next(node for node in meta.graph_def.node if node.op == "RestoreV2")
    restore.input[0] = "elsewhere"


def restore_at_call(meta: Any) -> None:
    restore = next(node for node in meta.graph_def.node if node.op == "RestoreV2")
    next(n for n in meta.graph_def.node if n.name == "embeddings").input.append(f"^{restore.name}")


SESSION_CHANGES = {
    "at restore": (save_at_restore, "SaveV2 in what the graph's node 'save/restore_"),
    "at call": (save_at_call, "SaveV2 in what the graph's node 'embeddings' runs"),
    "declared to save": (save_is_called, "SaveV2 in what the graph's node 'embeddings' runs"),
    "at init": (save_at_init, "SaveV2 in what the graph's node 'evil' runs"),
    "in tables": (save_in_tables, "SaveV2 in what the graph's node 'after' runs"),
    "in the initialising signature": (save_in_init_signature, "graph's node 'evil' runs"),
    "in an initial value": (save_in_initial_value, "SaveV2 in what the graph's node 'value' runs"),
    "restoring another file": (restore_elsewhere, "RestoreV2 of another file"),
    "restoring at call": (restore_at_call, "RestoreV2 in what the graph's node 'embeddings' runs"),
}


@pytest.mark.parametrize("name", SESSION_CHANGES)
def test_a_saver_of_tensorflow_1_may_only_restore_when_it_loads(
    session_saved: Path, name: str
) -> None:
    data = (session_saved / "saved_model.pb").read_bytes()
    assert unsafe(parsed(data)) == ""
    changed, message = SESSION_CHANGES[name]
    assert message in change(changed)(data)


def test_a_saver_that_writes_when_it_restores_leaves_no_trace(tf: Any, tmp_path: Path) -> None:
    path = saved_by_session(tf, tmp_path / "m")
    file = path / "saved_model.pb"
    saved = parsed(file.read_bytes())
    meta = saved.meta_graphs[0]
    # The saving half, run by the restoring one, to the name that it is given.
    restore = next(n for n in meta.graph_def.node if n.name == meta.saver_def.restore_op_name)
    restore.input.append(f"^{meta.saver_def.save_tensor_name.partition(':')[0]}")
    file.write_bytes(saved.SerializeToString(deterministic=True))
    before = sorted((path / "variables").iterdir())
    assert "SaveV2 in what" in refusal(path)
    assert sorted((path / "variables").iterdir()) == before


def test_an_initialising_operation_that_writes_is_refused(tf: Any, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = saved_by_session(
        tf, tmp_path / "m", add=lambda _: tf.io.write_file(str(trace), "was here")
    )
    trace.unlink(missing_ok=True)
    assert "WriteFile in the graph's node" in refusal(path)
    assert not trace.exists()


@pytest.mark.parametrize("resource", [True, False])
def test_a_network_saved_by_a_session_loads(
    tf: Any, tmp_path: Path, images: np.ndarray, resource: bool
) -> None:
    path = saved_by_session(tf, tmp_path / "m", resource=resource)
    got = load(path).forward(images)
    np.testing.assert_allclose(got, images.mean(axis=(1, 2)) @ KERNEL, atol=1e-6)


def test_of_several_graphs_the_one_for_serving_is_loaded(
    tf: Any, session_saved: Path, tmp_path: Path, images: np.ndarray
) -> None:
    import shutil

    shutil.copytree(session_saved, tmp_path / "m")
    file = tmp_path / "m" / "saved_model.pb"
    saved = parsed(file.read_bytes())
    training = saved.meta_graphs.add()
    training.CopyFrom(saved.meta_graphs[0])
    training.meta_info_def.tags[:] = ["train"]
    file.write_bytes(saved.SerializeToString(deterministic=True))
    got = load(tmp_path / "m").forward(images)
    np.testing.assert_allclose(got, images.mean(axis=(1, 2)) @ KERNEL, atol=1e-6)
    training.graph_def.node.add(name="n", op="WriteFile")
    file.write_bytes(saved.SerializeToString(deterministic=True))
    assert "WriteFile" in refusal(tmp_path / "m")


# ---- The folder ---------------------------------------------------------------------------------


def check_refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        check_model(path, LoadOptions())
    return str(caught.value)


def test_a_folder_s_links_pipes_and_devices_are_refused_at_once(
    exported: bytes, tmp_path: Path
) -> None:
    path = folder_of(tmp_path / "m", exported)
    check_model(path, LoadOptions())
    extra = path / "assets.extra"
    extra.mkdir()
    made: dict[str, Callable[[Path], None]] = {
        "a link that leads out of the folder": lambda at: at.symlink_to("/"),
        "a link that leads out of": lambda at: at.symlink_to("/dev/zero"),
        "a link that leads nowhere": lambda at: at.symlink_to(tmp_path / "beside"),
        "a link to a folder": lambda at: at.symlink_to(path),
        "a FIFO": os.mkfifo,
    }
    for expected, make in made.items():
        make(extra / "x")
        message = check_refusal(path)
        assert expected in message
        assert "assets.extra/x" in message
        (extra / "x").unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(extra)  # a socket's name may have 107 bytes
        try:
            listening.bind("x")
        finally:
            os.chdir(tmp_path)
        assert "a socket" in check_refusal(path)


def test_a_link_to_a_file_of_the_folder_is_read(exported: bytes, tmp_path: Path) -> None:
    path = folder_of(tmp_path / "m", exported)
    (path / "saved_model.pb").rename(path / "graph")
    (path / "saved_model.pb").symlink_to("graph")
    check_model(path, LoadOptions())
    # And the folder itself may be reached by one.
    (tmp_path / "link").symlink_to(path)
    check_model(tmp_path / "link", LoadOptions())


def test_an_empty_graph_is_damaged(tmp_path: Path) -> None:
    assert "empty" in check_refusal(folder_of(tmp_path / "m", b""))


# ---- Memory -------------------------------------------------------------------------------------


def saved_module(tf: Any, path: Path, call: Any, **variables: Any) -> Path:
    made = tf.Module()
    for name, value in variables.items():
        setattr(made, name, value)
    signature = [tf.TensorSpec(IMAGES, tf.float32)]
    made.serve = tf.function(call, input_signature=signature, autograph=False)
    tf.saved_model.save(made, str(path), signatures=made.serve)
    return path


def changed(path: Path, change_meta: Callable[[Any], None]) -> Path:
    file = path / "saved_model.pb"
    saved = parsed(file.read_bytes())
    change_meta(saved.meta_graphs[0])
    file.write_bytes(saved.SerializeToString(deterministic=True))
    return path


def test_a_constant_that_is_written_as_one_number_is_held_to_the_limit(
    tf: Any, tmp_path: Path
) -> None:
    path = saved_module(tf, tmp_path / "m", lambda x: x[:, 0, 0] + tf.zeros((3,)))

    def enlarge(meta: Any) -> None:
        for function in meta.graph_def.library.function:
            for node in function.node_def:
                if node.op == "Const" and node.attr["dtype"].type == 1:
                    del node.attr["value"].tensor.tensor_shape.dim[:]
                    node.attr["value"].tensor.tensor_shape.dim.add(size=2**40)

    assert "constant" in refusal(changed(path, enlarge))


def test_a_tensor_made_from_a_shape_is_held_to_the_limit(tf: Any, tmp_path: Path) -> None:
    def call(x: Any) -> Any:
        return x[:, 0, 0] + tf.reduce_sum(tf.fill(tf.stack([2**12, 2**11, 2**10]), x[0, 0, 0, 0]))

    message = refusal(saved_module(tf, tmp_path / "m", call))
    assert "makes 34,359,738,368 bytes of one image; the limit is" in message


def test_variables_larger_than_the_checkpoint_are_refused(tf: Any, tmp_path: Path) -> None:
    weight = tf.Variable(tf.ones((3, 4)))
    path = saved_module(tf, tmp_path / "m", lambda x: x[:, 0, 0] @ weight, weight=weight)
    load(path)

    def enlarge(meta: Any) -> None:
        for node in meta.object_graph_def.nodes:
            if node.HasField("variable"):
                node.variable.shape.dim[0].size = 2**28

    message = refusal(changed(path, enlarge))
    assert "it declares variables of 4,294,967,296 bytes, and its checkpoint holds" in message


def test_an_index_of_more_than_the_data_holds_is_damaged(tf: Any, tmp_path: Path) -> None:
    weight = tf.Variable(tf.ones((3, 4)))
    path = saved_module(tf, tmp_path / "m", lambda x: x[:, 0, 0] @ weight, weight=weight)
    [data] = (path / "variables").glob("variables.data-*")
    data.write_bytes(data.read_bytes()[:20])
    assert "bytes of variables, and the data beside it has 20" in refusal(path)


# ---- Damage -------------------------------------------------------------------------------------


def test_changed_bytes_end_in_one_line_or_pass(
    exported: bytes, session_saved: Path, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    file = folder_of(tmp_path / "m", exported) / "saved_model.pb"
    passed = 0
    for data in (exported, (session_saved / "saved_model.pb").read_bytes()):
        for _ in range(80):
            damaged = bytearray(data)
            for at in random.integers(0, len(data), random.choice([1, 2, 5])):
                damaged[at] = random.choice([0, 1, 2, 10, 18, 255, random.integers(0, 256)])
            file.write_bytes(bytes(damaged))
            try:
                [unsafe(read_saved_model(tmp_path / "m"))]
                passed += 1
            except ModelError as error:
                reason = str(error)
                assert reason.isprintable(), reason
    assert passed > 10
