"""What a Keras file says about itself, read without building anything."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from evaluator.errors import ModelError, cause_of
from evaluator.limits import check_memory, check_tensor
from evaluator.models.keras.account import MAX_CALLS
from evaluator.models.keras.archive import (
    ARCHIVE_DAMAGE,
    MAX_CONFIG_BYTES,
    archive_elements,
    check_archive,
    check_hdf5,
    member_bytes,
    numeric_elements,
    text_attribute,
)

# Python's own names of things have 63 bits, which Keras writes down; seeds have 64 at most.
_LARGEST_NUMBER = 2**64


def read_config(path: Path, file_format: str) -> dict[str, Any]:
    """The model's config as saved. Raises ModelError if the file holds no architecture."""
    text: str | bytes
    if file_format == "keras-h5":
        text = _h5_config(path)
    else:
        with _damage(f"{path}: a damaged .keras archive"), zipfile.ZipFile(path) as archive:
            text = member_bytes(path, archive, "config.json")
    if len(text) > MAX_CONFIG_BYTES:
        raise ModelError(f"{path}: its model config has {len(text):,} bytes; no model needs that")
    try:
        config = json.loads(text)
    except (ValueError, RecursionError, MemoryError) as error:
        raise ModelError(
            f"{path}: its model config is not JSON ({cause_of(error)[:200]}); the file is damaged"
        ) from None
    if not isinstance(config, dict) or "class_name" not in config:
        raise ModelError(f"{path}: its model config names no model class; the file is damaged")
    return config


def _h5_config(path: Path) -> str | bytes:
    with _damage(f"{path}: a damaged or truncated HDF5 file"), h5py.File(path, "r") as file:
        config = text_attribute(path, file, "model_config")
        if config is not None:
            return config
        weights_only = "layer_names" in file.attrs or bool(
            {"model_weights", "layers", "_layer_checkpoint_dependencies"} & set(file)
        )
    if weights_only:
        raise ModelError(
            f"{path}: weights only, without the network they belong to. "
            "Build the network, load these weights, and save the whole: model.save('model.h5')"
        )
    raise ModelError(f"{path}: an HDF5 file, but no Keras model (it has no model_config)")


@contextmanager
def _damage(what: str) -> Iterator[None]:
    """Turns what reading a damaged file raises into a ModelError that begins with ``what``."""
    try:
        yield
    except ModelError:
        raise
    except ARCHIVE_DAMAGE as error:
        said = cause_of(str(error).strip("'\"") or type(error).__name__)[:200]
        raise ModelError(f"{what} ({said})") from None


def check_weights(path: Path, file_format: str, config: dict[str, Any]) -> None:
    """Raises ModelError for weights that are elsewhere, or larger than the file could hold, and
    for numbers in the config that no network has.
    """
    stored_weights(path, file_format)
    if (calls := _layer_calls(config)) > MAX_CALLS:
        raise ModelError(
            f"{path}: not loaded: with the models in it, it calls its layers {calls:,} times"
        )
    for name, value in _declared_shapes(config):
        check_tensor(path, f"layer {name!r}, built for its own inputs,", value[1:])
    for part in parts(config):
        if isinstance(part, int) and abs(part) >= _LARGEST_NUMBER:
            raise ModelError(
                f"{path}: not loaded: its model config holds a number of {part.bit_length()} "
                "bits; the file is damaged"
            )


def stored_weights(path: Path, file_format: str) -> int:
    """How many numbers a file's weights really are. Raises ModelError for those that are elsewhere,
    or more than the file has room for, or than fit in memory.
    """
    size = path.stat().st_size
    with _damage(f"{path}: damaged or truncated weights"):
        if file_format == "keras-h5":
            with h5py.File(path, "r") as file:
                check_hdf5(path, file, size)
                stored = numeric_elements(file)
        else:
            with zipfile.ZipFile(path) as archive:
                check_archive(path, archive, size)
                stored = archive_elements(path, archive)
    # As read, and in variables of four bytes each.
    check_memory(path, "its weights", 2 * 4 * stored)
    return stored


def _layer_calls(config: object) -> int:
    """How often layers are called, those of a nested model each time that it is; at most a little
    more than ``MAX_CALLS``.
    """
    found = 0
    stack = [(config, 1)]
    while stack and found <= MAX_CALLS:
        model, times = stack.pop()
        for layer in layers_of(model):
            nodes = layer.get("inbound_nodes") if isinstance(layer, dict) else None
            calls = times * max(1, len(nodes) if isinstance(nodes, list) else 1)
            found += calls
            stack.append((layer, calls))
    return found


def layers_of(model: object) -> list[Any]:
    """What stands in the place of a model's layers, be the model a graph or a sequence."""
    settings = model.get("config") if isinstance(model, dict) else None
    layers = settings.get("layers") if isinstance(settings, dict) else settings
    return layers if isinstance(layers, list) else []


def settings_of(part: object) -> dict[str, Any]:
    """The config of a layer or model; empty where it has none."""
    settings = part.get("config") if isinstance(part, dict) else None
    return settings if isinstance(settings, dict) else {}


def _declared_shapes(config: object) -> Iterator[tuple[str, list[int]]]:
    """Layer name and sizes, as 1 where open, of each shape that Keras 3 would build it for."""
    for part in parts(config):
        if not isinstance(part, dict) or "build_config" not in part:
            continue
        name = settings_of(part).get("name")
        for shape in parts(part["build_config"]):
            if isinstance(shape, list):
                sizes = [1 if size is None else size for size in shape]
                if all(isinstance(size, int) for size in sizes):
                    yield cause_of(str(name)[:60]), sizes


def parts(config: object) -> Iterator[object]:
    """The config and everything in it, at any depth, in order."""
    stack = [config]
    while stack:
        part = stack.pop()
        yield part
        if isinstance(part, list | dict):
            stack.extend(reversed(part if isinstance(part, list) else [*part.values()]))
