"""What a Keras file says about itself, read without building anything."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import h5py

from evaluator.errors import ModelError
from evaluator.models.hdf5 import check_hdf5

# A config is text about layers; the largest published networks need 2 MB.
_MAX_CONFIG_BYTES = 64 * 2**20


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


def check_weights(path: Path, file_format: str, config: dict[str, Any]) -> None:
    """Raises ModelError for weights that are elsewhere, or larger than the file could hold."""
    size = path.stat().st_size
    try:
        if file_format == "keras-h5":
            with h5py.File(path, "r") as file:
                check_hdf5(path, file, size)
        else:
            _check_archive(path, size)
    except (OSError, RuntimeError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise ModelError(f"{path}: damaged or truncated weights ({_first_line(error)})") from None
    for name, count in _declared_widths(config):
        # A layer of n units has n weights at least, of two bytes at least.
        if 2 * count > size:
            raise ModelError(
                f"{path}: not loaded: layer {name!r} declares {count:,} units, more than a file "
                f"of {size:,} bytes can hold the weights of"
            )


def _check_archive(path: Path, size: int) -> None:
    with zipfile.ZipFile(path) as archive:
        unpacked = 0
        for member in archive.infolist():
            if PurePosixPath(member.filename).is_absolute() or ".." in member.filename.split("/"):
                raise ModelError(
                    f"{path}: not loaded: its member {member.filename!r} would be unpacked "
                    "outside its folder"
                )
            unpacked += member.file_size
        # Keras stores members as they are; weights would hardly shrink.
        if unpacked > 20 * size + _MAX_CONFIG_BYTES:
            raise ModelError(f"{path}: not loaded: it unpacks to {unpacked:,} bytes, from {size:,}")
        for member in archive.infolist():
            if member.filename.endswith(".h5"):
                with archive.open(member) as stored, h5py.File(stored, "r") as file:
                    check_hdf5(path, file, member.file_size)


def _declared_widths(config: object) -> Iterator[tuple[str, int]]:
    """Layer name and number of units or filters, wherever a config states them."""
    stack = [config]
    while stack:
        part = stack.pop()
        if isinstance(part, list):
            stack.extend(part)
        elif isinstance(part, dict):
            stack.extend(part.values())
            for key in ("units", "filters", "classes", "output_dim", "input_dim"):
                count = part.get(key)
                if isinstance(count, int) and "name" in part:
                    yield str(part["name"]), count


def _first_line(error: Exception) -> str:
    return str(error).strip("'\"").splitlines()[0][:200] if str(error) else type(error).__name__
