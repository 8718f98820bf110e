"""A SavedModel's own description, parsed by TensorFlow's classes and held to be all they read."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from evaluator.errors import ModelError, printable
from evaluator.models.graph_scan import parsed, read_bytes
from evaluator.models.protos import Message, is_repeated, rebuilt, unknown_bytes


def read_saved_model(path: Path, *, checked: bool = True) -> Any:
    """The ``SavedModel`` message of a folder, by TensorFlow's parser.

    Where ``checked``, the file must hold what that parser reads and nothing else: no field of
    another type, none that it does not know, none twice. Raises ModelError, or OSError.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    file = path / "saved_model.pb"
    data = read_bytes(file)
    message = parsed(file, saved_model_pb2.SavedModel, data)
    if checked:
        _check_canonical(file, data, size=message.ByteSize())
    if not message.meta_graphs:
        raise ModelError(f"{file}: holds no graph; the file is damaged")
    return message


def _check_canonical(file: Path, data: bytes, *, size: int) -> None:
    """Raises ModelError unless writing what was read, ``size`` bytes, gives the same again."""
    message = parsed(file, _class_without_maps(), data)
    if unknown_bytes(message):
        import tensorflow as tf

        where = next(_unknown_fields(parsed(file, _class_without_maps(), data)), "a message")
        raise ModelError(
            f"{file}: not loaded: {printable(where)} holds what TensorFlow {tf.__version__} does "
            "not read, and a newer one might; save the model anew, or repeat with --trust if you "
            "know who made it"
        )
    # A key that a map has twice is lost where it is read as a map.
    written = message.SerializeToString(deterministic=True)
    if size != len(data) or not _same_in_any_order(written, data):
        raise ModelError(
            f"{file}: not loaded: it gives a field twice, or in a way that TensorFlow does not "
            "write; save the model anew, or repeat with --trust if you know who made it"
        )


def _same_in_any_order(written: bytes, data: bytes) -> bool:
    """Whether two serialisations of one message hold the same bytes.

    Some writers put the fields of a message in another order. A field that is there twice leaves
    its first value behind, so that bytes are missing.
    """
    if written == data:
        return True
    own, other = (
        np.bincount(np.frombuffer(each, np.uint8), minlength=256) for each in (written, data)
    )
    return np.array_equal(own, other)


@cache
def _class_without_maps() -> Any:
    """TensorFlow's ``SavedModel`` with each map as the list of entries that it is in a file.

    A map's entries may stand in any order and forget that one came twice; a list of them is
    written as it was read, so that every byte can be compared.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    return rebuilt(saved_model_pb2.SavedModel, _make_map_a_list)


def _make_map_a_list(message: Message) -> None:
    if not message.options.map_entry:
        return
    message.options.ClearField("map_entry")
    for field in message.field:  # key and value: written even where they are 0 or empty
        own = type(field)(proto3_optional=True, oneof_index=len(message.oneof_decl))
        field.MergeFrom(own)
        message.oneof_decl.add(name=f"_{field.name}")


def _unknown_fields(message: Message, where: str = "") -> Iterator[str]:
    """Where messages have fields that their class does not know, innermost ones first."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for each in value if is_repeated(field) else [value]:
            name = getattr(each, "name", "") or getattr(each, "key", "")
            label = f" {name!r}" if isinstance(name, str) and name else ""
            yield from _unknown_fields(each, f"{where}{'.' if where else ''}{field.name}{label}")
    sets = importlib.import_module("google.protobuf.unknown_fields")
    for unknown in sets.UnknownFieldSet(message):
        known = message.DESCRIPTOR.fields_by_number.get(unknown.field_number)
        yield f"{where} (its {known.name if known else f'field {unknown.field_number}'})"
