"""The input profile of an exported model, stored beside it as NAME.input.json."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from evaluator.errors import InputError, ModelError, cause_of, check_choice
from evaluator.files import read_bounded
from evaluator.images.inputs import CHANNELS, InputSpec
from evaluator.profiles import profile_text

#: Bytes of the largest note that is read; those written have 150.
NOTE_BYTES = 65_536


class _Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    profile: str
    channels: str
    sha256: str


def sidecar_path(model: Path) -> Path:
    """Where the input of a model file or folder is stated: beside it, not inside."""
    named = model if model.name else model.resolve()  # "." has none
    return named.with_name(f"{named.name}.input.json")


def write_sidecar(model: Path, spec: InputSpec, digest: str) -> None:
    """States a model's input, for ``noted_input``. ``digest`` is the model's identity."""
    stated = msgspec.structs.asdict(_Note(spec.profile, spec.channels, digest))
    sidecar_path(model).write_text(json.dumps(stated, indent=2) + "\n", encoding="utf-8")


def noted_input(model: Path, digest: str) -> tuple[str, str] | None:
    """Profile and channels stated beside a model of this identity, or None if nothing is.

    Raises ModelError if what is there is no such note, or belongs to another model.
    """
    path = sidecar_path(model)
    stated = _stated(path)
    if stated is None:
        return None
    try:
        profile = profile_text(stated.profile)
        check_choice("channels", stated.channels, CHANNELS)
    except InputError as error:
        raise ModelError(f"{path}: {cause_of(error)}; remove the file, and give --input") from None
    if stated.sha256 != digest:
        raise ModelError(
            f"{path}: states the input of another model than {model.name} is now; "
            "remove it, and give --input"
        )
    return profile, "rgb" if stated.channels == "gray" else stated.channels


def _stated(path: Path) -> _Note | None:
    """The note; None where there is no note. Raises ModelError."""
    try:
        data = read_bounded(path, NOTE_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelError(
            f"{path}: not a note on a model's input: {error.strerror or cause_of(error)}; remove it"
        ) from None
    try:
        return msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"), type=_Note)
    except (msgspec.MsgspecError, ValueError, RecursionError):  # of UTF-8 too; brackets without end
        raise ModelError(
            f"{path}: expected profile, channels and sha256, as JSON; remove the file"
        ) from None
