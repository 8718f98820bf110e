"""What a Keras file says about itself, read without building anything."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from evaluator.errors import ModelError

# A config is text about layers; the largest published networks need 2 MB.
_MAX_CONFIG_BYTES = 64 * 2**20

# Layers and functions come from these; anything else would be imported by name from the file.
_KERAS_MODULES = (
    "keras.layers",
    "keras.models",
    "keras.initializers",
    "keras.regularizers",
    "keras.constraints",
    "keras.activations",
    "keras.ops",
    "keras.dtype_policies",
    "keras.mixed_precision",
    "keras.random",
    "keras.src.models",
    "keras.src.layers",
    "keras.src.ops",
    "keras.src.initializers",
    "keras.src.engine",
)
_KERAS_PREFIXES = ("tf_keras.", "tensorflow.keras.", "tensorflow.python.keras.")

# What a functional model may call from the tf namespace (TFOpLambda): arithmetic, no files,
# no Python functions.
_TF_OP_PREFIXES = ("math.", "nn.", "linalg.", "__operators__.", "image.resize", "compat.v1.nn.")
_TF_OPS = frozenset(
    (
        "reshape transpose expand_dims squeeze concat stack unstack cast identity shape split tile "
        "pad slice strided_slice clip_by_value where zeros_like ones_like reduce_mean reduce_sum "
        "reduce_max reduce_min convert_to_tensor stop_gradient gather reverse rank size fill "
        "broadcast_to l2_normalize norm tanh sigmoid"
    ).split()
)

# Our own head: its code is here, not in the file.
KNOWN_CUSTOM = frozenset({"NormDense"})


def read_config(path: Path, file_format: str) -> dict[str, Any]:
    """The model's config as saved. Raises ModelError if the file holds no architecture."""
    text = _h5_config(path) if file_format == "keras-h5" else _zip_config(path)
    if len(text) > _MAX_CONFIG_BYTES:
        raise ModelError(f"{path}: its model config has {len(text):,} bytes; no model needs that")
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{path}: its model config is not JSON ({error}); the file is damaged"
        ) from None
    if not isinstance(config, dict) or "class_name" not in config:
        raise ModelError(f"{path}: its model config names no model class; the file is damaged")
    return config


def _h5_config(path: Path) -> str | bytes:
    try:
        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
            if config is not None:
                return config if isinstance(config, str | bytes) else bytes(config)
            weights_only = "layer_names" in file.attrs or bool(
                {"model_weights", "layers", "_layer_checkpoint_dependencies"} & set(file)
            )
    except (OSError, RuntimeError, KeyError) as error:
        raise ModelError(
            f"{path}: a damaged or truncated HDF5 file ({_first_line(error)})"
        ) from None
    if weights_only:
        raise ModelError(
            f"{path}: weights only, without the network they belong to. "
            "Build the network, load these weights, and save the whole: model.save('model.h5')"
        )
    raise ModelError(f"{path}: an HDF5 file, but no Keras model (it has no model_config)")


def _zip_config(path: Path) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo("config.json").file_size
            if size > _MAX_CONFIG_BYTES:
                raise ModelError(
                    f"{path}: config.json declares {size:,} bytes; no model needs that"
                )
            return archive.read("config.json")
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise ModelError(f"{path}: a damaged .keras archive ({_first_line(error)})") from None


def code_in_config(config: dict[str, Any]) -> list[str]:
    """What in a config would run code from the file, or import it by name; empty if nothing.

    The outermost ``compile_config`` (losses, metrics, optimizer) is never built and not looked at.
    """
    inner = {key: value for key, value in config.items() if key != "compile_config"}
    return list(dict.fromkeys(_code(inner)))


def _code(node: object) -> Iterator[str]:
    stack = [node]
    while stack:
        part = stack.pop()
        if isinstance(part, list):
            stack.extend(part)
        elif isinstance(part, dict):
            yield from _code_of_object(part)
            stack.extend(part.values())


def _code_of_object(part: dict[str, Any]) -> Iterator[str]:
    kind = part.get("class_name")
    inner = part.get("config")
    settings = inner if isinstance(inner, dict) else {}
    name = settings.get("name") or part.get("name")
    if kind in ("Lambda", "__lambda__") or part.get("function_type") == "lambda":
        yield f"Lambda layer {name!r}" if name else "a Lambda"
    elif kind in ("TFOpLambda", "TensorFlowOpLayer", "ClassMethod", "InstanceMethod"):
        function = str(settings.get("function", settings.get("node_def", kind)))
        if not (function in _TF_OPS or function.startswith(_TF_OP_PREFIXES)):
            yield f"TensorFlow call {function[:60]!r} in layer {name!r}"
    module = part.get("module")
    if isinstance(kind, str) and isinstance(module, str) and not _is_known(kind, module, part):
        yield f"{module}.{kind}"


def _is_known(kind: str, module: str, part: dict[str, Any]) -> bool:
    """Whether Keras itself, or this project, has the object: nothing is imported for it."""
    if kind in KNOWN_CUSTOM:
        return module in ("__main__", "training.heads")
    if kind == "function" and module == "builtins":
        return part.get("config") in _ACTIVATIONS
    if module in ("keras", "builtins") or module in _KERAS_MODULES:
        return True
    return module.startswith((*(f"{root}." for root in _KERAS_MODULES), *_KERAS_PREFIXES))


_ACTIVATIONS = frozenset(
    "relu relu6 linear softmax sigmoid tanh swish silu elu selu gelu softplus softsign "
    "hard_sigmoid hard_swish hard_silu leaky_relu mish exponential log_softmax".split()
)


def refuse_code(path: Path, config: dict[str, Any]) -> None:
    """Raises ModelError that lists what in the file is code."""
    found = code_in_config(config)
    if found:
        shown = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        raise ModelError(
            f"{path}: not loaded, because it carries code that would run on this machine: {shown}. "
            "If you know who made the file, repeat with --trust"
        )


def _first_line(error: Exception) -> str:
    return str(error).strip("'\"").splitlines()[0][:200] if str(error) else type(error).__name__
