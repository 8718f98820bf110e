"""SavedModels by field and wire type: small networks, and what an attacker would write into them.

Operations come from TensorFlow's own registry: any of them is put into the graph, a function, a
branch, beside the saver, or behind what initialises, with inputs of the types it wants.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from evaluator.models.runtime import import_tensorflow
from evaluator.models.savedmodel.ops import ALLOWED
from fuzz import protos
from fuzz.differential import Places
from fuzz.passing import scan_until
from fuzz.saved_model_seeds import SEEDS, write_seed

# Operations that touch files, Python, other machines: tried more often than the 1,500 others.
DANGEROUS = """
    WriteFile ReadFile MatchingFiles SaveV2 Save SaveSlices RestoreV2 Restore MergeV2Checkpoints
    PrintV2 Print PyFunc PyFuncStateless EagerPyFunc ImmutableConst TextFileDataset
    FixedLengthRecordDataset TFRecordDataset InitializeTableFromTextFileV2 WholeFileReaderV2
    ReaderReadV2 SaveDatasetV2 LoadDataset CacheDatasetV2 SnapshotDataset DebugIdentityV2
    WriteSummary CreateSummaryFileWriter WriteGraphSummary SummaryWriter RpcCall RemoteCall
    SymbolicGradient XlaCallModule XlaCustomCallV2 LoadAndRemapMatrix GenerateVocabRemapping
    ExperimentalLMDBDataset SqlDataset DecodeCSV LookupTableImportV2 HashTableV2 ShardedFilename
    TPUExecute _Send _Recv DeleteSessionTensor GetSessionHandle Assert DebugIdentity
    DatasetToTFRecord PrivateThreadPoolDataset MapDefun UncompressElement FileSystemSetConfiguration
    AudioSpectrogram DecodePng CollectiveReduceV2 AssignVariableOp StringJoin StringFormat
""".split()
_IDENTIFIERS = """
    _generic_user_object signature_map trackable_dict_wrapper _tf_keras_layer _tf_keras_model
    _tf_keras_metric optimizer tf.TrackableConstant tf.StaticHashTable _static_hashtable asset
    trackable_resource _feature_column RestoredResource my.Class tf.custom tf_keras.Lambda
    tf.saved_model.Asset SparseTensorSpec TensorArraySpec RaggedTensorSpec canary_module.Spec
""".split()
_DT_FLOAT, _DT_INT32, _DT_STRING, _DT_BOOL = 1, 3, 7, 10


@dataclass(frozen=True)
class SavedModelCase:
    """The bytes of a ``saved_model.pb``, and the seed whose variables lie beside it."""

    seed: str
    data: bytes


class SavedModelFormat:
    """SavedModel folders."""

    name = "savedmodel"

    def __init__(self, folder: Path, places: Places, seeds: Sequence[str] = SEEDS) -> None:
        import_tensorflow()
        from tensorflow.core.protobuf import saved_model_pb2

        self._folder, self._places, self._seeds = folder, places, {}
        for name in seeds:
            path = folder / name
            write_seed(name, path)
            data = (path / "saved_model.pb").read_bytes()
            self._seeds[name] = saved_model_pb2.SavedModel.FromString(data)
            if (path / "fingerprint.pb").exists():
                (path / "fingerprint.pb").unlink()
        self._texts = (
            *DANGEROUS,
            *_IDENTIFIERS,
            *self._paths(),
            *(
                "image",
                "embedding",
                "StatefulPartitionedCall",
                "saver_filename",
                "save/restore_all",
            ),
            *("__saved_model_init_op", "serving_default", "^image", "image:1", "x" * 300, "\0"),
            *sorted(operations())[::20],
        )

    def draw(self, draw: random.Random) -> SavedModelCase:
        """A network with up to three changes of its messages, in a quarter of cases of bytes."""
        # Those of Keras take five times as long to scan, and say little that the others do not.
        often = [name for name in self._seeds for _ in range(1 if "keras" in name else 8)]
        name = draw.choice(often)
        saved = type(self._seeds[name])()
        saved.CopyFrom(self._seeds[name])
        for _ in range(draw.choice((0, 1, 1, 1, 1, 2, 2, 3))):
            if len(saved.meta_graphs):
                draw.choice(_CHANGES)(self, draw, saved)
        data = saved.SerializeToString()
        if draw.random() < 0.25:
            data = protos.rewritten(draw, data, saved.DESCRIPTOR, self._texts)
        return SavedModelCase(name, data)

    def scan(self, case: SavedModelCase) -> None:
        """Raises ModelError for what loading would refuse before TensorFlow gets it."""
        scan_until(self.write(case), "tensorflow.saved_model", "load")

    def write(self, case: SavedModelCase) -> Path:
        """The folder, with the variables that the honest model has."""
        path = self._folder / case.seed
        (path / "saved_model.pb").write_bytes(case.data)
        return path

    def kept(self, case: SavedModelCase) -> bytes:
        """The graph's bytes."""
        return case.data

    def _paths(self) -> tuple[str, ...]:
        canary = self._places.canary
        relative = os.path.relpath(canary, self._folder)
        return (
            *("CANARY", "../CANARY", canary, f"file://{canary}", relative, f"../../{relative}"),
            *("MARKER", "file://MARKER", "ram://x", "http://127.0.0.1/x", "/dev/zero", "names.txt"),
        )

    # Changes

    def change_field(self, draw: random.Random, saved: Any) -> None:
        """Any field of any message."""
        protos.change(draw, saved, self._texts)

    def change_operation(self, draw: random.Random, saved: Any) -> None:
        """Another operation in a node's place."""
        nodes = draw.choice(_node_lists(saved))
        if len(nodes):
            node = draw.choice(nodes)
            alike = operations_of(len(node.input)) if draw.random() < 0.5 else ()
            node.op = draw.choice(alike or tuple(operations()))
            fill(draw, node, operations()[node.op])

    def insert_operation(self, draw: random.Random, saved: Any) -> None:
        """An operation with inputs of its types, which something of the graph waits for."""
        lists = _node_lists(saved)
        index = draw.randrange(len(lists))
        allowed = draw.random() < 0.3
        name = draw.choice(sorted(ALLOWED & operations().keys()) if allowed else DANGEROUS)
        if not allowed and draw.random() < 0.4:
            name = draw.choice(tuple(operations()))
        if name in operations():
            self._insert(draw, lists[index], operations()[name], in_function=index > 0)

    def _insert(self, draw: random.Random, nodes: Any, kind: Any, *, in_function: bool) -> None:
        number = draw.randrange(10**6)
        waiting = draw.choice(nodes) if len(nodes) else None
        given = []
        for i, argument in enumerate(kind.input_arg):
            constant = nodes.add()
            constant.name, constant.op = f"drawn_{number}_{i}", "Const"
            dtype = argument.type or _DT_FLOAT
            constant.attr["dtype"].type = dtype
            tensor = constant.attr["value"].tensor
            tensor.dtype = dtype
            if dtype == _DT_STRING:
                tensor.string_val.append(draw.choice(self._paths()).encode())
            elif dtype == _DT_BOOL:
                tensor.bool_val.append(True)
            elif dtype == _DT_FLOAT:
                tensor.float_val.append(1.0)
            else:
                tensor.int_val.append(1)
            tensor.tensor_shape.SetInParent()
            given.append(f"{constant.name}:output:0" if in_function else constant.name)
        node = nodes.add()
        node.name, node.op = f"drawn_{number}", kind.name
        node.input.extend(given)
        fill(draw, node, kind)
        if kind.name == "PrintV2":
            node.attr["output_stream"].s = b"file://MARKER"
        if waiting is not None and waiting.op not in ("Placeholder",):
            waiting.input.append(f"^{node.name}")

    def insert_payload(self, draw: random.Random, saved: Any) -> None:
        """Operations that write a file, which functions and the graph wait for."""
        graph = saved.meta_graphs[0].graph_def
        kind = draw.choice(("WriteFile", "PrintV2", "SaveV2"))
        for function in graph.library.function:
            if draw.random() < 0.7 and "payload" not in function.control_ret:
                _add_payload(draw, function.node_def, kind, in_function=True)
                function.control_ret["payload"] = "payload"
                function.signature.control_output.append("payload")
        if draw.random() < 0.6:
            users = [node for node in graph.node if node.op not in ("Placeholder", "Const")]
            _add_payload(draw, graph.node, kind, in_function=False)
            for node in users:
                node.input.append("^payload")

    def change_harmless(self, draw: random.Random, saved: Any) -> None:
        """An operation of one tensor for another, texts that nothing looks at."""
        for nodes in _node_lists(saved):
            for node in nodes:
                if node.op in OF_ONE and draw.random() < 0.5:
                    node.op = draw.choice(OF_ONE)
                if draw.random() < 0.1:
                    node.device = draw.choice(("", "/device:CPU:0", "/cpu:0"))
        info = saved.meta_graphs[0].meta_info_def
        info.tensorflow_version = draw.choice(self._texts)
        info.meta_graph_version = draw.choice(self._texts)

    def change_attribute(self, draw: random.Random, saved: Any) -> None:
        """A function's name, a shape, a type or a constant of a node."""
        nodes = [node for nodes in _node_lists(saved) for node in nodes if node.attr]
        if not nodes:
            return
        node = draw.choice(nodes)
        value = node.attr[draw.choice(sorted(node.attr))]
        library = saved.meta_graphs[0].graph_def.library.function
        names = [each.signature.name for each in library] + list(DANGEROUS)
        if value.WhichOneof("value") == "func":
            value.func.name = draw.choice(names)
        else:
            protos.change(draw, value, self._texts)

    def change_parts(self, draw: random.Random, saved: Any) -> None:
        """What stands beside the graph: saver, collections, assets, signatures, objects."""
        meta = saved.meta_graphs[0]
        nodes = [node.name for node in meta.graph_def.node] or ["x"]
        library = [each.signature.name for each in meta.graph_def.library.function] or ["f"]
        how = draw.randrange(8)
        if how == 0:
            field = draw.choice(("filename_tensor_name", "save_tensor_name", "restore_op_name"))
            setattr(meta.saver_def, field, draw.choice(nodes))
        elif how == 1:
            key = draw.choice(("saved_model_main_op", "legacy_init_op", "variables", "savers", "x"))
            meta.collection_def[key].node_list.value.append(draw.choice(nodes))
        elif how == 2:
            asset = meta.asset_file_def.add()
            asset.tensor_info.name = f"{draw.choice(nodes)}:0"
            asset.filename = draw.choice(self._paths())
        elif how == 3:
            signature = meta.signature_def["__saved_model_init_op"]
            signature.outputs["__saved_model_init_op"].name = draw.choice(nodes)
        elif how == 4:
            gradient = meta.graph_def.library.gradient.add()
            gradient.function_name, gradient.gradient_func = (
                draw.choice(library),
                draw.choice(library),
            )
        elif how == 5:
            keys = sorted(meta.signature_def)
            each = meta.signature_def[draw.choice(keys)] if keys else None
            for info in [*each.outputs.values(), *each.inputs.values()] if each else []:
                if draw.random() < 0.5:
                    info.name = f"{draw.choice(nodes)}:0"
        elif how == 6:
            saved.meta_graphs.add().CopyFrom(protos.copied(meta))
        else:
            self._change_object(draw, meta, library)

    def _change_object(self, draw: random.Random, meta: Any, library: list[str]) -> None:
        objects = meta.object_graph_def.nodes
        if not len(objects):
            return
        node = draw.choice(objects)
        how = draw.randrange(6)
        if how == 0:
            node.user_object.identifier = draw.choice(_IDENTIFIERS)
            node.user_object.metadata = '{"class_name": "Lambda", "config": {}}'
        elif how == 1:
            node.registered_name = draw.choice(_IDENTIFIERS)
        elif how == 2:
            node.registered_saver = draw.choice(_IDENTIFIERS)
        elif how == 3:
            node.function.concrete_functions.append(draw.choice(library))
        elif how == 4:
            node.resource.device = "/cpu:0"
            child = node.children.add()
            child.node_id = draw.randrange(len(objects))
            child.local_name = draw.choice(("_create_resource", "_initialize", "_destroy_resource"))
        else:
            node.asset.asset_file_def_index = draw.choice((0, 1, -1))


def _add_payload(draw: random.Random, nodes: Any, kind: str, *, in_function: bool) -> None:
    """Adds the node ``payload``, which writes the file MARKER, and its constants."""

    def text(name: str, value: bytes, *shape: int) -> str:
        node = nodes.add(name=name, op="Const")
        node.attr["dtype"].type = node.attr["value"].tensor.dtype = _DT_STRING
        node.attr["value"].tensor.string_val.append(value)
        node.attr["value"].tensor.tensor_shape.SetInParent()
        for size in shape:
            node.attr["value"].tensor.tensor_shape.dim.add(size=size)
        return f"{name}:output:0" if in_function else name

    path = text("payload_path", b"MARKER")
    if kind == "WriteFile":
        contents = text("payload_text", b"CANARY")
        if draw.random() < 0.5:
            nodes.add(name="payload_read", op="ReadFile", input=[contents])
            contents = "payload_read:contents:0" if in_function else "payload_read"
        nodes.add(name="payload", op=kind, input=[path, contents])
    elif kind == "PrintV2":
        node = nodes.add(name="payload", op=kind, input=[path])
        node.attr["output_stream"].s = b"file://MARKER"
        node.attr["end"].s = b"\n"
    else:
        names, slices = text("payload_names", b"x", 1), text("payload_slices", b"", 1)
        node = nodes.add(name="payload", op=kind, input=[path, names, slices, path])
        node.attr["dtypes"].list.type.append(_DT_STRING)


def _node_lists(saved: Any) -> list[Any]:
    """The nodes of the first graph, and of each function."""
    graph = saved.meta_graphs[0].graph_def
    return [graph.node, *(each.node_def for each in graph.library.function)]


def fill(draw: random.Random, node: Any, kind: Any) -> None:
    """Gives a node the attributes that its operation must have."""
    for attribute in kind.attr:
        if attribute.name in node.attr:
            continue
        value = node.attr[attribute.name]
        if attribute.HasField("default_value"):
            value.CopyFrom(attribute.default_value)
        elif attribute.type == "type":
            allowed = list(attribute.allowed_values.list.type)
            value.type = _DT_FLOAT if _DT_FLOAT in allowed or not allowed else allowed[0]
        elif attribute.type == "list(type)":
            value.list.type.append(draw.choice((_DT_FLOAT, _DT_STRING)))
        elif attribute.type == "int":
            value.i = max(1, attribute.minimum)
        elif attribute.type == "string":
            value.s = draw.choice((b"", b"MARKER", b"CANARY"))
        elif attribute.type == "shape":
            value.shape.SetInParent()
        elif attribute.type == "func":
            value.func.name = draw.choice(("WriteFile", "Identity"))
        elif attribute.type.startswith("list("):
            value.list.SetInParent()


@cache
def operations() -> dict[str, Any]:
    """The operations of TensorFlow's registry by name."""
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session as session

    known = op_def_pb2.OpList.FromString(session.TF_GetBuffer(session.TF_GetAllOpList()))
    return {each.name: each for each in sorted(known.op, key=lambda each: each.name)}


@cache
def operations_of(inputs: int) -> tuple[str, ...]:
    """The operations that take so many inputs."""
    return tuple(name for name, each in operations().items() if len(each.input_arg) == inputs)


OF_ONE = "Relu Sigmoid Tanh Abs Neg Exp Softsign Elu Selu Identity Erf Floor Round Sin".split()
_CHANGES: tuple[Callable[[SavedModelFormat, random.Random, Any], None], ...] = (
    SavedModelFormat.change_field,
    SavedModelFormat.change_field,
    SavedModelFormat.change_field,
    SavedModelFormat.change_operation,
    SavedModelFormat.insert_operation,
    SavedModelFormat.insert_operation,
    SavedModelFormat.insert_payload,
    SavedModelFormat.insert_payload,
    SavedModelFormat.change_harmless,
    SavedModelFormat.change_harmless,
    SavedModelFormat.change_attribute,
    SavedModelFormat.change_parts,
    SavedModelFormat.change_parts,
)
