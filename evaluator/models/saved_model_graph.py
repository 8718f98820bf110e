"""A SavedModel's graph read from its bytes: its operations and signatures, nothing run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from evaluator.errors import ModelError
from evaluator.models.wire import Value, WireError, fields, messages, text

# Field numbers of tensorflow/core/protobuf and tensorflow/core/framework.
_META_GRAPHS = 2  # SavedModel
_GRAPH_DEF, _SAVER_DEF, _SIGNATURES, _OBJECTS = 2, 3, 5, 7  # MetaGraphDef
_NODES, _LIBRARY = 1, 2  # GraphDef
_FUNCTION_NODES = 3  # FunctionDef
_NODE_NAME, _NODE_OP = 1, 2  # NodeDef

# What a network is made of: arithmetic on tensors, its variables, and control flow.
_ARITHMETIC = frozenset(
    """
    Abs Acos Acosh Add AddN AddV2 All Any ApproximateEqual ArgMax ArgMin Asin Asinh Atan Atan2 Atanh
    BatchMatMul BatchMatMulV2 BatchMatMulV3 BatchToSpaceND BiasAdd BitwiseAnd Bitcast BroadcastArgs
    BroadcastTo Bucketize Cast Ceil CheckNumerics ClipByValue Concat ConcatV2 Conv2D Conv3D
    Conv2DBackpropInput Cos Cosh CropAndResize Cumprod Cumsum DepthToSpace DepthwiseConv2dNative
    Diag DiagPart Div DivNoNan Einsum Elu EnsureShape Equal Erf Erfc Exp ExpandDims Expm1
    ExtractImagePatches FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars
    FakeQuantWithMinMaxVarsPerChannel Fill Floor FloorDiv FloorMod FusedBatchNorm FusedBatchNormV2
    FusedBatchNormV3 Gather GatherNd GatherV2 Greater GreaterEqual Inv InvertPermutation IsFinite
    IsInf IsNan L2Loss LRN LeakyRelu Less LessEqual LinSpace Log Log1p LogicalAnd LogicalNot
    LogicalOr LogSoftmax MatMul MatrixDiag MatrixDiagV3 Max MaxPool MaxPoolV2 Maximum Mean Min
    Minimum MirrorPad Mod Mul MulNoNan Neg NotEqual OneHot OnesLike Pack Pad PadV2 ParallelStack
    Pow Prod QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4 Range Rank
    RealDiv Reciprocal Relu Relu6 Reshape ResizeArea ResizeBicubic ResizeBilinear
    ResizeNearestNeighbor Reverse ReverseSequence ReverseV2 Rint Roll Round Rsqrt ScatterNd
    SegmentMax SegmentMean SegmentSum Select SelectV2 Selu Shape ShapeN Sigmoid Sign Sin Sinh Size
    Slice Softmax Softplus Softsign SpaceToBatchND SpaceToDepth Split SplitV Sqrt Square
    SquaredDifference Squeeze StridedSlice Sub Sum Tan Tanh TensorScatterAdd TensorScatterUpdate
    Tile TopK TopKV2 Transpose TruncateDiv TruncateMod Unpack UnsortedSegmentSum Where Xdivy Xlogy
    ZerosLike AvgPool AdjustContrastv2 RGBToHSV HSVToRGB _FusedConv2D _FusedMatMul
    """.split()
)
_STATE = frozenset(
    """
    Const NoOp Identity IdentityN Snapshot StopGradient PreventGradient Placeholder
    PlaceholderWithDefault VarHandleOp ReadVariableOp AssignVariableOp AssignAddVariableOp
    AssignSubVariableOp VarIsInitializedOp DisableCopyOnRead ResourceGather ResourceGatherNd
    DestroyResourceOp PartitionedCall StatefulPartitionedCall If StatelessIf While StatelessWhile
    Case StatelessCase Switch RefSwitch Merge Enter Exit NextIteration LoopCond Assert
    TensorListReserve TensorListFromTensor TensorListGetItem TensorListSetItem TensorListStack
    TensorListLength TensorListPushBack TensorListPopBack EmptyTensorList TensorListElementShape
    RandomUniform RandomUniformInt RandomStandardNormal TruncatedNormal StatelessRandomUniform
    StatelessRandomUniformV2 StatelessRandomNormal StatelessRandomNormalV2
    StatelessRandomGetKeyCounter StatelessRandomGetAlg StatelessTruncatedNormalV2
    """.split()
)
_ALLOWED = _ARITHMETIC | _STATE

# What only the function that saves or restores the checkpoint may hold: it is in every SavedModel,
# and TensorFlow 2 does not call it to load one.
_CHECKPOINT = frozenset(
    "SaveV2 RestoreV2 MergeV2Checkpoints ShardedFilename StaticRegexFullMatch StringJoin".split()
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


@dataclass(frozen=True)
class SavedModelGraph:
    """``signatures`` by name, and ``unsafe``: operations that a network has no need of."""

    signatures: dict[str, Signature]
    unsafe: tuple[str, ...]


def read_graph(path: Path) -> SavedModelGraph:
    """What ``saved_model.pb`` in a folder describes. Raises ModelError, or OSError."""
    file = path / "saved_model.pb"
    data = file.read_bytes()
    try:
        graphs = list(messages(data, _META_GRAPHS))
        signatures = {name: signature for graph in graphs for name, signature in _signatures(graph)}
        unsafe = [found for graph in graphs for found in _unsafe(graph)]
    except WireError as error:
        raise ModelError(f"{file}: damaged or truncated ({error})") from None
    if not graphs:
        raise ModelError(f"{file}: holds no graph; the file is damaged")
    return SavedModelGraph(signatures, tuple(dict.fromkeys(unsafe)))


def _signatures(graph: memoryview) -> Iterator[tuple[str, Signature]]:
    for entry in messages(graph, _SIGNATURES):
        name = text(entry, 1)
        if name != "__saved_model_init_op":
            yield name, Signature(dict(_tensors(entry, 1)), dict(_tensors(entry, 2)))


def _tensors(entry: memoryview, field: int) -> Iterator[tuple[str, TensorInfo]]:
    for tensor in messages(entry, 2, field):
        shapes = list(messages(tensor, 2, 3))
        yield text(tensor, 1), TensorInfo(_shape(shapes[-1]) if shapes else ())


def _shape(message: memoryview) -> tuple[int | None, ...] | None:
    sizes: list[int | None] = []
    for number, value in fields(message):
        if number == 3 and value:
            return None
        if number == 2 and isinstance(value, memoryview):
            sizes.append(_axis(value))
    return tuple(sizes)


def _axis(message: memoryview) -> int | None:
    size: Value = 0
    for number, value in fields(message):
        if number == 1:
            size = value
    # An open axis is -1, which the wire carries as 2**64 - 1.
    return size if isinstance(size, int) and size < 2**63 else None


def _unsafe(graph: memoryview) -> Iterator[str]:
    """'WriteFile in FUNCTION' for each operation that is not allowed where it stands."""
    functions = {
        text(function, 1, 1): function for function in messages(graph, _GRAPH_DEF, _LIBRARY, _NODES)
    }
    top = list(messages(graph, _GRAPH_DEF, _NODES))
    for node in top:
        op = text(node, _NODE_OP)
        if op not in _ALLOWED and op not in functions:
            yield f"{op} in the graph's node {text(node, _NODE_NAME)!r}"
    for name, function in functions.items():
        ops = {text(node, _NODE_OP) for node in messages(function, _FUNCTION_NODES)}
        refused = {op for op in ops if op not in _ALLOWED and op not in functions}
        if refused <= _CHECKPOINT and _is_saver(graph, name, functions, top):
            continue
        for op in sorted(refused):
            yield f"{op} in function {name!r}"


def _is_saver(
    graph: memoryview, name: str, functions: dict[str, memoryview], top: list[memoryview]
) -> bool:
    """Whether nothing names a function but the node that the saver is declared to be."""
    key = name.encode()
    declared = {text(graph, _SAVER_DEF, field).split(":")[0] for field in (2, 3)}
    callers = {text(node, _NODE_NAME) for node in top if key in bytes(node)}
    elsewhere = [function for other, function in functions.items() if other != name]
    elsewhere += list(messages(graph, _OBJECTS)) + list(messages(graph, _SIGNATURES))
    return callers <= declared and not any(key in bytes(each) for each in elsewhere)
