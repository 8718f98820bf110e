"""What a Keras file says about itself, read without building anything."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py

from evaluator.errors import ModelError

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


def _first_line(error: Exception) -> str:
    return str(error).strip("'\"").splitlines()[0][:200] if str(error) else type(error).__name__
