"""Model files: what they are, told by their content."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import BinaryIO

from evaluator.bins.containers import container_kind
from evaluator.errors import ModelError
from evaluator.files import NotRegularError, open_regular
from evaluator.models.signatures import is_frozen_graph, is_onnx, is_openvino_ir
from evaluator.models.unread import EXPECTED, said_of
from evaluator.npz import BAD_ZIP

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"


def model_format(path: Path) -> str | None:
    """The format of a model file, told by its content, or None if it is no known model.

    Raises OSError if the file cannot be read, and ModelError for what has no end or waits to be
    written to: a FIFO or a device.
    """
    if path.is_dir():
        return "savedmodel" if (path / "saved_model.pb").is_file() else None
    with _opened(path) as file:
        head = file.read(512)
    if head.startswith(_HDF5):
        return None if container_kind(path) else "keras-h5"  # a bin may be an HDF5 file too
    if head.startswith(_ZIP):
        try:
            with zipfile.ZipFile(path) as archive:
                return "keras" if "config.json" in archive.namelist() else None
        except BAD_ZIP:
            return None
    if head[4:8] == b"TFL3":
        return "tflite"
    # These have no signature: told is how they begin.
    return next((name for name, told in _TOLD.items() if told(head)), None)


_TOLD = {"onnx": is_onnx, "frozen-graph": is_frozen_graph, "openvino-ir": is_openvino_ir}


def _opened(path: Path) -> BinaryIO:
    try:
        return os.fdopen(open_regular(path), "rb")
    except NotRegularError as error:
        raise ModelError(f"{path}: not a model: {error.strerror}. {EXPECTED}") from None


def refusal(path: Path) -> str:
    """What is said of a file or folder that is no model: what it is, and what to do. Raises as
    ``model_format``.
    """
    if not path.is_dir():
        _opened(path).close()
    return said_of(path)
