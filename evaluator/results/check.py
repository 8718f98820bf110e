"""What a stored result must be before its readers rely on it: any JSON may stand in its place."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec
from msgspec import Meta

from evaluator.errors import ResultError, cause_of, plain_name
from evaluator.files import read_bounded
from evaluator.metrics.all_figures import all_figures, shapes
from evaluator.metrics.figure import (
    COUNT,
    INTERVAL,
    MAY_LACK,
    MAYBE,
    NUMBER,
    NUMBERS,
    OWN_SCALE,
    SHARE,
    TEXT,
    Each,
    Listed,
    Shape,
)
from evaluator.metrics.figures.search import SHAPE as SEARCHED
from evaluator.metrics.figures.search import SIZES_SHAPE
from evaluator.results.reading_rules import READING, problem_of
from evaluator.results.record import SCHEMA, BinRecord, ModelRecord, Result, Settings

# An honest one has 4 kB.
_LARGEST_JSON = 1_000_000
# A name is a file's, 255 bytes, or a function's; a path has 4,096 bytes at most.
_LONGEST_TEXT = 4096
# Counts beyond are no file's that this machine could hold, and floats would round them.
_LARGEST_COUNT = 2**53
_LARGEST_NUMBER = 1e100
_FEW = Meta(max_length=10_000)


def read_result(path: Path, scores_name: re.Pattern[str]) -> Result:
    """The result stored at a path, its names as tables may show them, its scores called so.

    Of a mapping that it holds only the keys that are known stay. Raises ResultError, or
    FileNotFoundError.
    """
    try:
        data = read_bounded(path, _LARGEST_JSON)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ResultError(f"{path}: not a stored result ({error.strerror}); remove it") from None
    try:
        result = _decoded(data)
        wrong = _wrong_part(result)
        if not wrong and result.scores is not None and not scores_name.fullmatch(result.scores):
            wrong = f"scores is {shown(result.scores)}, which is no file of this result"
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ResultError(f"{path}: {_why_not(data, error)}") from None
    if wrong:
        raise ResultError(f"{path}: not a whole result ({wrong}); {_hint(result.reading)}")
    return result


def _decoded(data: bytes) -> Result:
    """Raises MsgspecError, ValueError or RecursionError where the data are no result's."""
    if data.isascii() and b"\\" not in data and b"\x7f" not in data:
        stored = _decoder().decode(data)
    else:
        # Halves of surrogate pairs, in the path of a file whose name is not UTF-8, are Python's.
        stored = msgspec.convert(_plain(json.loads(data)), _types(), dec_hook=_interval)
    parts = msgspec.structs.asdict(stored)
    for name, kind in _RECORDS.items():
        parts[name] = kind(**msgspec.structs.asdict(parts[name]))
    return Result(**parts)


def _plain(value: Any, key: str = "") -> Any:
    """A part of a stored result, its names as tables may show them; a path stays what it is."""
    if isinstance(value, dict):
        return {plain_name(name): _plain(each, name) for name, each in value.items()}
    is_odd = isinstance(value, str) and key != "path" and not value.isprintable()
    return plain_name(value) if is_odd else value


def _why_not(data: bytes, error: Exception) -> str:
    """Why data are no result's, and what to do about it."""
    try:
        stored = json.loads(data)
    except (ValueError, RecursionError):
        return "not a stored result (not JSON); remove it"
    if not isinstance(stored, dict):
        return f"not a stored result (JSON, but {shown(stored)}); remove it"
    schema = stored.get("schema")
    if type(schema) is not int or schema != SCHEMA:
        return f"expected a result of schema {SCHEMA}; found {shown(schema)}"
    if not isinstance(error, msgspec.ValidationError):
        return f"not a stored result ({cause_of(error)}); remove it"
    # As "Expected `int`, got `str` - at `$.bin.pairs`": up to an index, the place is of our names.
    expected, _, place = str(error).rpartition(" - at `$.")
    names, found = re.split(r"[.`\[]", place.partition("[")[0].rstrip("`")), stored
    try:
        for name in names:
            found = found[name]
        where = f"{': '.join(names)} is {shown(found)}: "
    except (KeyError, TypeError):
        where, expected = "", str(error)
    return f"not a whole result ({cause_of(where + expected)}); {_hint(stored.get('reading'))}"


def _hint(reading: object) -> str:
    if type(reading) is int and READING < reading < 2**31:
        return problem_of(reading)
    return "remove it"


def shown(value: object) -> str:
    """The beginning of a value, for a message; of whatever length and depth."""
    if isinstance(value, dict | list):
        return f"a {'mapping' if isinstance(value, dict) else 'list'} of {len(value):,}"
    if isinstance(value, int) and abs(value) > _LARGEST_COUNT:
        return "a number of more than 16 digits"
    return repr(plain_name(str(value)[:40]))


# ---- What values may be --------------------------------------------------------------------------

_Count = Annotated[int, Meta(ge=0, le=_LARGEST_COUNT)]
_Counts = Annotated[list[_Count], _FEW]
_Number = Annotated[float, Meta(ge=-_LARGEST_NUMBER, le=_LARGEST_NUMBER)]
_Text = Annotated[str, Meta(max_length=_LONGEST_TEXT)]
_Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class _Interval(list[float]):
    """Both ends of an interval of a share; it may round to a little outside [0, 1]."""


class _OwnScale(list[float]):
    """Both ends of another interval."""


def _interval(kind: type, value: object) -> list[float]:
    low, high, of = (
        (-0.01, 1.01, " from 0 to 1")
        if kind is _Interval
        else (-_LARGEST_NUMBER, _LARGEST_NUMBER, "")
    )
    ends: list[Any] = value if isinstance(value, list) and len(value) == 2 else [None]
    if any(type(end) not in (int, float) for end in ends) or not low <= ends[0] <= ends[1] <= high:
        raise ValueError(f"Expected two numbers{of}, the lower first")
    return kind(ends)  # type: ignore[no-any-return]


_LEAVES = {
    SHARE: Annotated[float, Meta(ge=0, le=1)],
    NUMBER: _Number,
    INTERVAL: _Interval | None,
    OWN_SCALE: _OwnScale | None,
    NUMBERS: Annotated[list[_Number], _FEW],
    TEXT: _Text,
    COUNT: _Count,
    MAYBE: _Number | None,
}

# Figures that template sets alone have.
_OF_SETS: dict[str, Shape] = {
    "tar_nearest_far": Each({"tar": SHARE, "far": SHARE}),
    "gallery_sizes": SIZES_SHAPE,
    **SEARCHED,
}


class _NonFinite(TypedDict):
    count: _Count
    images: _Counts
    dropped_pairs: _Count
    dropped_probes: NotRequired[_Count]
    missed_probes: NotRequired[_Count]
    names: NotRequired[Annotated[list[_Text], _FEW]]
    missed_pairs: NotRequired[_Count]


class _Input(TypedDict, total=False):
    """What a model's input says, where it says it: a system from elsewhere states no size."""

    size: _Counts
    range: _Text
    channels: _Text
    layout: _Text
    file_sha256: _Text


class _Derived(TypedDict):
    name: _Text
    sha256: _Sha256
    corruption: Annotated[str, Meta(max_length=60)]
    strength: Annotated[int, Meta(ge=1, le=5)]


# By the types in the annotations of the records, which are texts.
_KINDS: dict[str, Any] = {
    "str": _Text,
    "int": _Count,
    "str | None": _Text | None,
    "int | None": _Count | None,
    "Mapping[str, float]": Annotated[dict[str, _Number], _FEW],
    "Mapping[str, str]": Annotated[dict[str, _Text], _FEW],
}
# Before their type.
_OF_NAME: dict[str, Any] = {
    "sha256": _Sha256,
    "data_sha256": _Sha256 | None,
    "input": _Input,
    "derived": _Derived | None,
    "non_finite": _NonFinite,
    "schema": Literal[SCHEMA],
}
_RECORDS: dict[str, Callable[..., Any]] = {
    "model": ModelRecord, "bin": BinRecord, "settings": Settings,
}  # fmt: skip


def _type_of(shape: Shape) -> Any:
    """The type of a value of a figure; blocks inside it may be None."""
    if isinstance(shape, str):
        return _LEAVES[shape]
    if isinstance(shape, Each):
        return Annotated[dict[str, _type_of(shape.shape) | None], _FEW]  # type: ignore[misc]
    if isinstance(shape, Listed):
        return Annotated[list[_type_of(shape.shape)], _FEW]  # type: ignore[misc]
    keys = {}
    for key, each in shape.items():
        type = _type_of(each) if isinstance(each, str) else _type_of(each) | None
        keys[key] = NotRequired[type] if key.endswith(MAY_LACK) else type
    return TypedDict("_Block", keys)  # type: ignore[operator]


def _struct(kind: Any, types: dict[str, Any]) -> Any:
    """The type of a record's JSON: its fields and no others."""
    members = []
    for each in fields(kind):
        default = 0 if each.name == "reading" else each.default
        type = types.get(each.name) or _KINDS[str(each.type)]
        members.append((each.name, type, *([] if default is MISSING else [default])))
    return msgspec.defstruct(kind.__name__, members, forbid_unknown_fields=True)


@functools.cache
def _types() -> Any:
    """The type of a result's JSON."""
    keys = {
        field: _type_of(shape) if isinstance(shape, Each) else _type_of(shape) | None
        for field, shape in {**shapes(), **_OF_SETS}.items()
    }
    figures = TypedDict("_Figures", keys, total=False)  # type: ignore[misc]
    records = {name: _struct(kind, _OF_NAME) for name, kind in _RECORDS.items()}
    return _struct(Result, {**_OF_NAME, **records, "figures": figures | None})


@functools.cache
def _decoder() -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(_types(), dec_hook=_interval)


def is_count(value: object) -> bool:
    """A whole number from 0 on; True is none."""
    return type(value) is int and 0 <= value <= _LARGEST_COUNT


def _is_path(value: str) -> bool:
    try:
        return "\0" not in value and len(os.fsencode(value)) <= _LONGEST_TEXT
    except UnicodeEncodeError:  # half of a surrogate pair, which no file's name can have
        return False


# ---- The result ----------------------------------------------------------------------------------


def _wrong_part(result: Result) -> str | None:
    """Which part of a result, each of its type, does not go with the others."""
    for prefix, each in (("model", result.model.path), ("bin", result.bin.path)):
        if not _is_path(each):
            return f"{prefix}: path is {shown(each)}"
    if result.status not in ("ok", "non_finite"):
        return f"unknown status {shown(result.status)}"
    if (result.status == "ok") != (result.figures is not None):
        return f"figures that do not belong to status {result.status!r}"
    lacking = None if result.figures is None else _lacking(result.figures)
    return lacking or _wrong_counts(result)


@functools.cache
def _in_one() -> dict[tuple[str, ...], bool]:
    """The fields of each figure, and whether every result has them."""
    return {
        tuple(key for key in each.shape if not key.endswith(MAY_LACK)): each.in_every_result
        for each in all_figures().values()
    }


def _lacking(figures: Mapping[str, Any]) -> str | None:
    """Which field of a figure is not there, or is undefined beside the others."""
    for names, in_every_result in _in_one().items():
        absent = [name for name in names if name not in figures]
        if absent and (in_every_result or len(absent) < len(names)):
            return f"figures: {absent[0]} is missing"
        undefined = [name for name in names if figures.get(name) is None]
        if 0 < len(undefined) < len(names):
            return f"figures: {undefined[0]} is missing beside the others"
    return None


def _wrong_set(result: Result) -> str | None:
    """Counts of a template set that none has."""
    counts, figures = result.bin, result.figures or {}
    if counts.genuine + counts.impostor != counts.pairs:
        return f"bin: {counts.pairs:,} pairs of {counts.genuine:,} genuine do not add up"
    if None in (counts.templates, counts.people, counts.probes, counts.galleries):
        return "bin: a template set without its counts"
    blocks = (figures.get("identification") or {}).get("galleries", [])
    if result.figures is not None and len(blocks) != counts.galleries:
        return f"figures: identification has {len(blocks):,} galleries of {counts.galleries:,}"
    return None


def _wrong_counts(result: Result) -> str | None:
    """Counts of a bin that no bin has."""
    counts = result.bin
    if counts.kind is not None:
        return _wrong_set(result)
    if counts.genuine + counts.impostor != counts.pairs or counts.images != 2 * counts.pairs:
        return (
            f"bin: {counts.pairs:,} pairs of {counts.genuine:,} genuine, {counts.impostor:,} "
            f"impostor and {counts.images:,} images do not add up"
        )
    if counts.unique_images > counts.images:
        return f"bin: unique_images is {counts.unique_images:,} of {counts.images:,}"
    if result.failed.pairs > counts.pairs:
        return f"non_finite: {result.failed.words}, of {counts.pairs:,}"
    return None
