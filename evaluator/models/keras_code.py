"""What in a Keras config would run code or read other files: found before anything is built."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evaluator.errors import ModelError
from evaluator.models.keras_layers import KNOWN_LAYERS, KNOWN_MODULES

# Layers and the objects they are made of come from these modules and what lies below them.
# Anything else would be imported by the name that the file gives.
_KERAS_MODULES = (
    "keras.layers",
    "keras.models",
    "keras.initializers",
    "keras.regularizers",
    "keras.constraints",
    "keras.dtype_policies",
    "keras.mixed_precision",
    "keras.random",
    "keras.src.models",
    "keras.src.layers",
    "keras.src.ops",
    "keras.src.initializers",
    "keras.src.regularizers",
    "keras.src.constraints",
    "keras.src.activations",
    "keras.src.dtype_policies",
    "keras.src.mixed_precision",
    "keras.src.engine",
)
# Where functions may come from: these hold nothing but arithmetic.
_FUNCTION_MODULES = ("keras.activations", "keras.ops", "keras.src.activations", "keras.src.ops")
# Other names of the same packages.
_KERAS_ROOTS = re.compile(r"^(tf_keras|tensorflow\.keras|tensorflow\.python\.keras)(?=\.|$)")

_ACTIVATIONS = frozenset(
    "relu relu6 linear softmax sigmoid tanh swish silu elu selu gelu softplus softsign "
    "hard_sigmoid hard_swish hard_silu leaky_relu mish exponential log_softmax".split()
)

# Layers that run a Python function, load another model or unpickle.
_RUNS_CODE = frozenset(
    "TFSMLayer TorchModuleWrapper JaxLayer FlaxLayer ClassMethod InstanceProperty InstanceMethod "
    "TensorFlowOpLayer".split()
)
# Layers that open files named in their config; no face model begins with a vocabulary.
_READS_FILES = frozenset("StringLookup IntegerLookup IndexLookup TextVectorization".split())

# What a functional model may call from the tf namespace (TFOpLambda, SlicingOpLambda):
# arithmetic, no files, no Python functions.
_TF_OP_PREFIXES = ("math.", "nn.", "linalg.", "__operators__.", "image.resize", "compat.v1.nn.")
_TF_OPS = frozenset(
    (
        "reshape transpose expand_dims squeeze concat stack unstack cast identity shape split tile "
        "pad slice strided_slice clip_by_value where zeros_like ones_like reduce_mean reduce_sum "
        "reduce_max reduce_min convert_to_tensor stop_gradient gather reverse rank size fill "
        "broadcast_to l2_normalize norm tanh sigmoid"
    ).split()
)

# Python's marshal begins a code object with "c", its high bit set or not, and then the number of
# arguments in four bytes: "YwAAA" or "4wAAA" in base64 for a function without arguments.
_MARSHALLED = re.compile(r"(?:Yw|4w)[A-P][A-Za-z0-9+/\s]{40,}={0,2}\s*")


def refuse_code(path: Path, config: dict[str, Any]) -> None:
    """Raises ModelError that lists what in the file is code."""
    found = code_in_config(config)
    if found:
        shown = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        raise ModelError(
            f"{path}: not loaded, because it carries code that would run on this machine: {shown}. "
            "If you know who made the file, repeat with --trust"
        )


def code_in_config(config: dict[str, Any]) -> list[str]:
    """What in a config would run code from the file, import it by name, or open another file.

    Empty if nothing. The outermost ``compile_config`` (losses, metrics, optimizer) is never built
    and not looked at.
    """
    inner = {key: value for key, value in config.items() if key != "compile_config"}
    return list(dict.fromkeys(_code(inner)))


def _code(node: object) -> Iterator[str]:
    stack = [(node, "")]
    while stack:
        part, layer = stack.pop()
        if isinstance(part, list):
            stack.extend((each, layer) for each in part)
        elif isinstance(part, str):
            if _is_marshalled(part):
                yield f"marshalled Python code in {layer or 'the config'}"
        elif isinstance(part, dict):
            layer = _name(part) or layer
            yield from _code_of_object(part)
            stack.extend((each, layer) for each in part.values())


def _name(part: dict[str, Any]) -> str:
    """'Class 'name'' of a serialised layer, or nothing."""
    settings = part.get("config")
    name = settings.get("name") if isinstance(settings, dict) else None
    return f"{part.get('class_name')} {name!r}" if isinstance(name, str) else ""


def _code_of_object(part: dict[str, Any]) -> Iterator[str]:
    kind = part.get("class_name")
    if not isinstance(kind, str):
        kind = ""
    inner = part.get("config")
    settings = inner if isinstance(inner, dict) else {}
    name = settings.get("name") or part.get("name")
    where = f" layer {name!r}" if name else ""
    if kind in ("Lambda", "__lambda__") or part.get("function_type") == "lambda":
        yield f"Lambda{where}" if where else "a Lambda"
    elif kind in _RUNS_CODE or kind in _READS_FILES:
        yield f"{kind}{where}"
    elif kind.endswith("OpLambda"):
        function = str(settings.get("function"))
        if not (function in _TF_OPS or function.startswith(_TF_OP_PREFIXES)):
            yield f"TensorFlow call {function[:60]!r} in{where}"
    module = part.get("module")
    if module is not None and not _is_known(kind, str(module), part):
        named = part.get("config") if kind == "function" else kind
        yield f"{module}.{named}"


def _is_known(kind: str, module: str, part: dict[str, Any]) -> bool:
    """Whether Keras itself, or this project, has the object: nothing is imported for it."""
    if kind in KNOWN_LAYERS:
        return module in KNOWN_MODULES
    module = _KERAS_ROOTS.sub("keras", module)
    if kind == "function":
        if module == "builtins":
            return part.get("config") in _ACTIVATIONS
        return _is_within(module, _FUNCTION_MODULES)
    if module == "builtins":
        # Keras's own markers, such as __slice__; a class named here would be Python's.
        return kind.startswith("__")
    return module == "keras" or _is_within(module, _KERAS_MODULES)


def _is_within(module: str, roots: tuple[str, ...]) -> bool:
    return module in roots or module.startswith(tuple(f"{root}." for root in roots))


def _is_marshalled(text: str) -> bool:
    if not _MARSHALLED.fullmatch(text):
        return False
    try:
        return base64.b64decode(text)[2:5] == b"\0\0\0"
    except binascii.Error:
        return False
