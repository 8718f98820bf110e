"""Model files: what they are, told by their content."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path
from typing import BinaryIO

from evaluator.bins.containers import container_kind
from evaluator.errors import ModelError
from evaluator.files import NotRegularError, open_regular

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"


EXPECTED = "Expected .h5, .keras, .tflite, .onnx or a SavedModel folder"

# onnx.ModelProto as every writer begins it: the IR version, then by field number a text (the
# producer's name or version, the domain or a comment), the model's version, the graph with its
# first field, or an operator set.
_ONNX_HEAD = re.compile(
    rb"\x08[\x01-\x7f](?:"
    rb"[\x12\x1a\x22\x32](?:[\x01-\x7f]|[\x80-\xff][\x01-\x7f])[\x20-\x7e\xc2-\xf4]"
    rb"|[\x12\x1a\x22\x32]\x00[\x12\x1a\x22\x28\x32\x3a\x42]"
    rb"|\x28[\x80-\xff]{0,9}[\x00-\x7f][\x32\x3a\x42]"
    rb"|\x3a[\x80-\xff]{0,4}[\x01-\x7f][\x0a\x12\x2a\x52\x5a\x62\x6a\x72\x7a]"
    rb"|\x42[\x02-\x7f][\x0a\x10])"
)


def model_format(path: Path) -> str | None:
    """The format of a model file, told by its content, or None if it is no known model.

    Raises OSError if the file cannot be read, and ModelError for what has no end or waits to be
    written to: a FIFO or a device.
    """
    if path.is_dir():
        return "savedmodel" if (path / "saved_model.pb").is_file() else None
    with _opened(path) as file:
        head = file.read(16)
    if head.startswith(_HDF5):
        return None if container_kind(path) else "keras-h5"  # a bin may be an HDF5 file too
    if head.startswith(_ZIP) and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return "keras" if "config.json" in archive.namelist() else None
    if head[4:8] == b"TFL3":
        return "tflite"
    # ONNX has no signature; told is how its outermost message begins. What only looks like one is
    # refused by the onnx package when it is loaded.
    return "onnx" if _ONNX_HEAD.match(head) else None


def _opened(path: Path) -> BinaryIO:
    try:
        return os.fdopen(open_regular(path), "rb")
    except NotRegularError as error:
        raise ModelError(f"{path}: not a model: {error.strerror}. {EXPECTED}") from None


def appearance(path: Path) -> str:
    """What a file that is no model looks like, in words."""
    if path.is_dir():
        return "a folder without saved_model.pb"
    with _opened(path) as file:
        head = file.read(512)
    if not head:
        return "the file is empty"
    if head[:1] == b"\x80":
        return "it looks like a pickle, as bins and PyTorch checkpoints are"
    if head.startswith(_ZIP) and not zipfile.is_zipfile(path):
        return "a zip archive that is cut short"
    if head.startswith(_ZIP):
        return "a zip archive without config.json (PyTorch checkpoints look like this)"
    if head.isascii():
        return "it is text"
    return f"its first bytes are {head[:8].hex(' ')}"
