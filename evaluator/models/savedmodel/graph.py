"""A SavedModel's graphs as TensorFlow parses them: signatures, and what no network needs."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from evaluator.models.savedmodel.ops import ALLOWED, CHECKPOINT

_INIT_OP = "__saved_model_init_op"
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


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a signature; ``shape`` is None if its rank is not known."""

    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Signature:
    """A callable of a SavedModel: what it takes and gives, by name."""

    inputs: dict[str, TensorInfo]
    outputs: dict[str, TensorInfo]


def signatures(meta: Any) -> dict[str, Signature]:
    """The signatures of a ``MetaGraphDef`` by name, without the one that initialises it."""
    return {
        name: Signature(_tensors(each.inputs), _tensors(each.outputs))
        for name, each in meta.signature_def.items()
        if name != _INIT_OP
    }


def unsafe_parts(meta: Any, *, objects: bool) -> Iterator[str]:
    """'WriteFile in function F' and the like for all in a ``MetaGraphDef`` that is not known to
    compute and nothing else, wherever it stands.

    ``objects`` tells whether TensorFlow loads the object graph, and not the graph of TensorFlow 1,
    whose restoring it runs.
    """
    graph = _MetaGraph(meta, objects)
    yield from graph.unknown_operations()
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
    def checkpoint_functions(self) -> frozenset[str]:
        """Functions that save or restore, and those that name such a one."""
        found: set[str] = set()
        while True:
            more = {
                name
                for name, function in self.functions.items()
                if name not in found and _needs(function, CHECKPOINT | found)
            }
            if not more:
                return frozenset(found)
            found |= more

    def unknown_operations(self) -> Iterator[str]:
        """Operations that are not allowed, and functions of a name that is taken."""
        from tensorflow.python.framework import op_def_registry

        allowed = ALLOWED | CHECKPOINT | self.functions.keys()
        for node in self.meta.graph_def.node:
            if node.op not in allowed:
                yield f"{node.op} in the graph's node {node.name!r}"
        library = self.meta.graph_def.library.function
        if len(self.functions) != len(library):
            yield "two functions of one name"
        for function in library:
            name = function.signature.name
            if op_def_registry.get(name) is not None:
                yield f"a function with the name of the operation {name}"
            for op in sorted({node.op for node in function.node_def} - allowed):
                yield f"{op} in function {name!r}"

    def missing_functions(self) -> Iterator[str]:
        """Functions that are named somewhere and are not in the library: an operation, perhaps."""
        library = self.meta.graph_def.library
        named = {name for node in self._nodes() for name in _function_names(node.attr)}
        for function in library.function:
            named |= set(_function_names(function.attr))
        for gradient in library.gradient:
            named |= {gradient.function_name, gradient.gradient_func}
        for name in sorted(named - self.functions.keys() - {""}):
            yield f"the function {name!r}, which it does not hold"

    def used_checkpoint_parts(self) -> Iterator[str]:
        """Operations of the checkpoint that loading or calling the model would run."""
        functions = self.checkpoint_functions
        for name in sorted(functions & self._functions_of_objects()):
            yield f"{', '.join(self._checkpoint_ops(name))} in function {name!r}"
        named = self._named_nodes()
        restoring = set() if self.objects else {_node_of(self.meta.saver_def.restore_op_name)}
        writing = self._dependents({"SaveV2", "MergeV2Checkpoints"}, functions)
        for name in sorted(writing & (named | restoring)):
            yield f"SaveV2 in what the graph's node {name!r} runs"
        for name in sorted(self._dependents({"RestoreV2"}, frozenset()) & named):
            yield f"RestoreV2 in what the graph's node {name!r} runs"
        for node in self.meta.graph_def.node:
            if not self.objects and node.op == "RestoreV2" and not self._reads_own_file(node):
                yield f"RestoreV2 of another file in the graph's node {node.name!r}"

    def _nodes(self) -> Iterator[Any]:
        yield from self.meta.graph_def.node
        for function in self.functions.values():
            yield from function.node_def

    def _checkpoint_ops(self, name: str) -> list[str]:
        """Operations of the checkpoint that a function runs, itself or by others."""
        met, pending, found = {name}, [name], set[str]()
        while pending:
            for node in self.functions[pending.pop()].node_def:
                found |= {node.op} & CHECKPOINT
                further = (_names(node) & self.checkpoint_functions) - met
                met |= further
                pending += further
        return sorted(found)

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

    def _dependents(self, ops: set[str], functions: frozenset[str]) -> set[str]:
        """Names of the graph's nodes that run such operations or functions, or need one that does.

        ``functions`` are those that save or restore: what these read need not be the model's own.
        """
        nodes = self.meta.graph_def.node
        found = {node.name for node in nodes if node.op in ops or _names(node) & functions}
        users: dict[str, list[str]] = {}
        for node in nodes:
            for source in node.input:
                users.setdefault(_node_of(source), []).append(node.name)
        pending = list(found)
        while pending:
            for user in users.get(pending.pop(), ()):
                if user not in found:
                    found.add(user)
                    pending.append(user)
        return found

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
        return {_node_of(name) for name in names}

    def _reads_own_file(self, node: Any) -> bool:
        """Whether a RestoreV2 takes its file's name from where the loader puts its own."""
        own = _node_of(self.meta.saver_def.filename_tensor_name)
        nodes = {each.name: each for each in self.meta.graph_def.node}
        at = _node_of(node.input[0]) if node.input else ""
        for _ in range(len(nodes)):
            if at == own:
                return True
            source = nodes.get(at)
            if source is None or source.op not in ("Identity", "PlaceholderWithDefault"):
                return False
            at = _node_of(source.input[0]) if source.input else ""
        return False


def _tensors(infos: Any) -> dict[str, TensorInfo]:
    return {name: TensorInfo(_shape(info.tensor_shape)) for name, info in infos.items()}


def _shape(shape: Any) -> tuple[int | None, ...] | None:
    if shape.unknown_rank:
        return None
    return tuple(axis.size if axis.size >= 0 else None for axis in shape.dim)


def _tensor_names(info: Any) -> Iterator[str]:
    yield info.name
    sparse = info.coo_sparse
    yield from (
        sparse.values_tensor_name,
        sparse.indices_tensor_name,
        sparse.dense_shape_tensor_name,
    )
    for component in info.composite_tensor.components:
        yield from _tensor_names(component)


def _variable_names(data: bytes) -> Iterator[str]:
    """Nodes of the variable that a collection's entry describes; none if it describes no such."""
    from tensorflow.core.framework import variable_pb2

    variable = _parsed(variable_pb2.VariableDef, data)
    if variable is not None:
        yield from (variable.variable_name, variable.initializer_name, variable.snapshot_name)
        yield variable.initial_value_name


def _parsed(message_class: Any, data: bytes) -> Any | None:
    decode_error = importlib.import_module("google.protobuf.message").DecodeError
    try:
        return message_class.FromString(data)
    except decode_error:
        return None


def _assets(meta: Any) -> Iterator[Any]:
    """The ``AssetFileDef`` messages, also those that TensorFlow 1 puts into a collection."""
    from tensorflow.core.protobuf import meta_graph_pb2

    yield from meta.asset_file_def
    key = "saved_model_assets"
    packed_assets = meta.collection_def[key].any_list.value if key in meta.collection_def else ()
    for packed in packed_assets:
        asset = _parsed(meta_graph_pb2.AssetFileDef, packed.value)
        if asset is not None:
            yield asset


def _node_of(tensor: str) -> str:
    """'save/Identity' of 'save/Identity:0' or '^save/Identity'."""
    return tensor.removeprefix("^").partition(":")[0]


def _names(node: Any) -> set[str]:
    """What a node may run: its operation, and the functions of its attributes."""
    return {node.op, *_function_names(node.attr)}


def _needs(function: Any, names: frozenset[str]) -> bool:
    return any(_names(node) & names for node in function.node_def)


def _function_names(attributes: Any) -> Iterator[str]:
    for value in attributes.values():
        kind = value.WhichOneof("value")
        functions = [value.func] if kind == "func" else value.list.func if kind == "list" else ()
        for function in functions:
            yield function.name
            yield from _function_names(function.attr)


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
    for spec in _messages(graph, "tensorflow.TypeSpecProto"):
        kinds = spec.DESCRIPTOR.fields_by_name["type_spec_class"].enum_type.values_by_number
        kind = kinds[spec.type_spec_class].name if spec.type_spec_class in kinds else ""
        if kind not in _TYPES:
            yield f"a value of the type {spec.type_spec_class_name or kind!r}"


def _messages(message: Any, full_name: str) -> Iterator[Any]:
    """Every message of a type that lies in another."""
    if message.DESCRIPTOR.full_name == full_name:
        yield message
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            inner = field.message_type.fields_by_name["value"].message_type
            values = value.values() if inner is not None else ()
        else:
            values = [value] if hasattr(value, "DESCRIPTOR") else value
        for each in values:
            yield from _messages(each, full_name)


def _outer_assets(meta: Any) -> Iterator[str]:
    for asset in _assets(meta):
        parts = PurePosixPath(asset.filename.replace("\\", "/")).parts
        if ".." in parts or parts[:1] == ("/",) or "://" in asset.filename:
            yield f"the asset {asset.filename!r}, which lies outside its folder"
