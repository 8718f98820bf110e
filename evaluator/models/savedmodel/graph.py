"""What a SavedModel's graphs, as TensorFlow parses them, may not hold: what no network needs, and
what is declared to be larger than its checkpoint, or than this machine's memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from evaluator.errors import ModelError
from evaluator.limits import check_memory
from evaluator.models.graph_scan import (
    check_constants,
    declared_bytes,
    node_of,
    reached,
    unknown_operations,
)
from evaluator.models.protos import messages, parse
from evaluator.models.savedmodel.ops import ALLOWED, CHECKPOINT

# Objects that TensorFlow and Keras write; the loader makes a plain object of them, or a container.
_OBJECTS = frozenset(
    """
    _generic_user_object signature_map trackable_dict_wrapper trackable_list_wrapper
    trackable_tuple_wrapper optimizer tf_deprecated_optimizer experimentalOptimizer
    _tf_keras_input_layer _tf_keras_layer _tf_keras_metric _tf_keras_model _tf_keras_network
    _tf_keras_rnn_layer _tf_keras_sequential
    """.split()
)
# Classes that the loader makes by a registered name, and which hold numbers only.
_REGISTERED = frozenset({"tf.TrackableConstant"})

# Types of arguments beside tensors; others are made by classes that are looked up by name.
_TYPES = frozenset(
    """
    SPARSE_TENSOR_SPEC INDEXED_SLICES_SPEC RAGGED_TENSOR_SPEC TENSOR_ARRAY_SPEC VARIABLE_SPEC
    """.split()
)


def unsafe_parts(meta: Any, *, objects: bool) -> Iterator[str]:
    """'WriteFile in function F' and the like for all in a ``MetaGraphDef`` that is not known to
    compute and nothing else, wherever it stands.

    ``objects`` tells whether TensorFlow loads the object graph, and not the graph of TensorFlow 1,
    whose restoring it runs.
    """
    graph = _MetaGraph(meta, objects)
    yield from unknown_operations(meta.graph_def, ALLOWED | CHECKPOINT)
    yield from graph.missing_functions()
    yield from graph.used_checkpoint_parts()
    yield from _unknown_objects(meta.object_graph_def)
    yield from _outer_assets(meta)


@dataclass(frozen=True)
class _MetaGraph:
    """A ``MetaGraphDef`` and what of it holds operations of the checkpoint."""

    meta: Any
    objects: bool

    @cached_property
    def functions(self) -> dict[str, Any]:
        return {each.signature.name: each for each in self.meta.graph_def.library.function}

    @cached_property
    def checkpoint_functions(self) -> dict[str, set[str]]:
        """Functions that save or restore, themselves or by others, and by which operations."""
        callers: dict[str, set[str]] = {}
        for name, function in self.functions.items():
            for called in set[str]().union(*map(_names, function.node_def)):
                callers.setdefault(called, set()).add(name)
        found: dict[str, set[str]] = {}
        for operation in CHECKPOINT:
            for name in reached(callers.get(operation, ()), lambda each: callers.get(each, ())):
                found.setdefault(name, set()).add(operation)
        return found

    def missing_functions(self) -> Iterator[str]:
        """Functions that are named somewhere and are not in the library: an operation, perhaps."""
        library = self.meta.graph_def.library
        named = {each.name for each in messages(self.meta.graph_def, "NameAttrList")}
        for gradient in library.gradient:
            named |= {gradient.function_name, gradient.gradient_func}
        for name in sorted(named - self.functions.keys() - {""}):
            yield f"the function {name!r}, which it does not hold"

    def used_checkpoint_parts(self) -> Iterator[str]:
        """Operations of the checkpoint that loading or calling the model would run."""
        functions = self.checkpoint_functions
        for name in sorted(functions.keys() & self._functions_of_objects()):
            yield f"{', '.join(sorted(functions[name]))} in function {name!r}"
        named = self._named_nodes()
        restoring = set() if self.objects else {node_of(self.meta.saver_def.restore_op_name)}
        writing = self._dependents({"SaveV2", "MergeV2Checkpoints", *functions})
        for name in sorted(writing & (named | restoring)):
            yield f"SaveV2 in what the graph's node {name!r} runs"
        for name in sorted(self._dependents({"RestoreV2"}) & named):
            yield f"RestoreV2 in what the graph's node {name!r} runs"
        for node in self.meta.graph_def.node:
            if not self.objects and node.op == "RestoreV2" and not self._reads_own_file(node):
                yield f"RestoreV2 of another file in the graph's node {node.name!r}"

    def _functions_of_objects(self) -> set[str]:
        """Functions that the objects, or the gradients of others, name."""
        objects = self.meta.object_graph_def
        found = set(objects.concrete_functions)
        for node in objects.nodes:
            found |= set(node.function.concrete_functions)
            found.add(node.bare_concrete_function.concrete_function_name)
            found.add(node.captured_tensor.concrete_function)
        library = self.meta.graph_def.library
        found |= {each.gradient_func for each in library.gradient}
        return found | {each.function_name for each in library.gradient}

    def _dependents(self, wanted: set[str]) -> set[str]:
        """Names of the graph's nodes that run such operations or functions, or need one that does.

        What functions that save or restore read need not be the model's own.
        """
        nodes = self.meta.graph_def.node
        found = {node.name for node in nodes if _names(node) & wanted}
        users: dict[str, list[str]] = {}
        for node in nodes:
            for source in node.input:
                users.setdefault(node_of(source), []).append(node.name)
        return reached(found, lambda name: users.get(name, ()))

    def _named_nodes(self) -> set[str]:
        """Nodes that a signature, an asset or a collection names: what may be run by itself."""
        meta = self.meta
        names = {meta.saver_def.filename_tensor_name}
        for signature in meta.signature_def.values():
            for info in (*signature.inputs.values(), *signature.outputs.values()):
                names |= set(_tensor_names(info))
        names |= {asset.tensor_info.name for asset in _assets(meta)}
        for key, collection in meta.collection_def.items():
            names |= set(collection.node_list.value)
            if key != "savers":  # which describe savers, and are not run
                for data in collection.bytes_list.value:
                    names |= set(_variable_names(data))
        return {node_of(name) for name in names}

    def _reads_own_file(self, node: Any) -> bool:
        """Whether a RestoreV2 takes its file's name from where the loader puts its own."""
        own = node_of(self.meta.saver_def.filename_tensor_name)
        nodes = {each.name: each for each in self.meta.graph_def.node}
        at = node_of(node.input[0]) if node.input else ""
        for _ in range(len(nodes)):
            if at == own:
                return True
            source = nodes.get(at)
            if source is None or source.op not in ("Identity", "PlaceholderWithDefault"):
                return False
            at = node_of(source.input[0]) if source.input else ""
        return False


def _tensor_names(info: Any) -> Iterator[str]:
    for each in messages(info, "TensorInfo"):
        sparse = each.coo_sparse
        yield from (each.name, sparse.values_tensor_name)
        yield from (sparse.indices_tensor_name, sparse.dense_shape_tensor_name)


def _variable_names(data: bytes) -> tuple[str, ...]:
    """Nodes of the variable that a collection's entry describes; none if it describes no such."""
    from tensorflow.core.framework import variable_pb2

    with suppress(ValueError):
        found = parse(variable_pb2.VariableDef, data)
        names = (found.variable_name, found.initializer_name, found.snapshot_name)
        return (*names, found.initial_value_name)
    return ()


def _assets(meta: Any) -> Iterator[Any]:
    """The ``AssetFileDef`` messages, also those that TensorFlow 1 puts into a collection."""
    from tensorflow.core.protobuf import meta_graph_pb2

    yield from meta.asset_file_def
    key = "saved_model_assets"
    packed_assets = meta.collection_def[key].any_list.value if key in meta.collection_def else ()
    for packed in packed_assets:
        with suppress(ValueError):
            yield parse(meta_graph_pb2.AssetFileDef, packed.value)


def _names(node: Any) -> set[str]:
    """What a node may run: its operation, and the functions of its attributes."""
    return {node.op, *(each.name for each in messages(node, "NameAttrList"))}


def _unknown_objects(graph: Any) -> Iterator[str]:
    """Objects of which the loader could make more than a plain one."""
    for node in graph.nodes:
        identifier = node.user_object.identifier
        if identifier and identifier not in _OBJECTS:
            yield f"an object of kind {identifier!r}"
        if node.registered_name and node.registered_name not in _REGISTERED:
            yield f"an object of the registered class {node.registered_name!r}"
        if node.registered_saver:
            yield f"an object of the registered saver {node.registered_saver!r}"
    for spec in messages(graph, "TypeSpecProto"):
        kinds = spec.DESCRIPTOR.fields_by_name["type_spec_class"].enum_type.values_by_number
        kind = kinds[spec.type_spec_class].name if spec.type_spec_class in kinds else ""
        if kind not in _TYPES:
            yield f"a value of the type {spec.type_spec_class_name or kind!r}"


def _outer_assets(meta: Any) -> Iterator[str]:
    for asset in _assets(meta):
        parts = PurePosixPath(asset.filename.replace("\\", "/")).parts
        if ".." in parts or parts[:1] == ("/",) or "://" in asset.filename:
            yield f"the asset {asset.filename!r}, which lies outside its folder"


# What variables beside the checkpoint may come to: counters, seeds and the like.
_UNSAVED = 64 * 2**20
_VARIABLES = ("VarHandleOp", "Variable", "VariableV2")


def check_declared(path: Path, meta: Any) -> None:
    """Raises ModelError where a ``MetaGraphDef`` declares more than its files hold, or memory does.

    Constants may be written as one number and a shape; variables have their values in the
    checkpoint.
    """
    check_constants(path, meta.graph_def)
    held = _checkpoint_bytes(path)
    declared = _variable_bytes(meta)
    if declared > held + _UNSAVED:
        raise ModelError(
            f"{path}: not loaded: it declares variables of {declared:,} bytes, and its checkpoint "
            f"holds {held:,}"
        )


def check_checkpoint(path: Path) -> None:
    """Raises ModelError where the checkpoint's index names more than its data files hold.

    What TensorFlow cannot read raises its own errors, a missing index none: there may be no
    variables.
    """
    import tensorflow as tf

    prefix = path / "variables" / "variables"
    if not prefix.with_suffix(".index").is_file():
        return
    reader = tf.train.load_checkpoint(str(prefix))
    kinds = reader.get_variable_to_dtype_map()
    declared = sum(
        math.prod(max(0, size) for size in shape) * (kinds[name].size or 1)
        for name, shape in reader.get_variable_to_shape_map().items()
    )
    held = _checkpoint_bytes(path)
    if declared > held:
        raise ModelError(
            f"{path}: damaged: its checkpoint's index names {declared:,} bytes of variables, and "
            f"the data beside it has {held:,}"
        )
    check_memory(path, "its variables", declared)


def _variable_bytes(meta: Any) -> int:
    """Bytes of the variables that have a whole shape. The graph and the objects declare each."""
    nodes = [node.attr for node in meta.graph_def.node if node.op in _VARIABLES]
    graph = sum(declared_bytes(attr["shape"].shape, attr["dtype"].type) for attr in nodes)
    variables = [node.variable for node in meta.object_graph_def.nodes if node.HasField("variable")]
    return max(graph, sum(declared_bytes(each.shape, each.dtype) for each in variables))


def _checkpoint_bytes(path: Path) -> int:
    """Bytes of the checkpoint's data files."""
    return sum(shard.stat().st_size for shard in (path / "variables").glob("variables.data-*"))
