"""What a stored result must be before its readers rely on it: any JSON may stand in its place."""

from __future__ import annotations

import functools
import json
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluator.errors import ResultError, plain_name
from evaluator.files import read_bounded
from evaluator.metrics.all_figures import all_figures, shapes
from evaluator.metrics.figure import INTERVAL, NUMBER, NUMBERS, SHARE, Each, Shape

if TYPE_CHECKING:
    from evaluator.results.record import Result

Check = Callable[[object], bool]

# An honest one has 4 kB.
_LARGEST_JSON = 1_000_000
# A result's deepest value is a figure's interval, 4 levels down.
_DEEPEST = 10
# A name is a file's, 255 bytes, or a function's; a path has 4,096 bytes at most.
_LONGEST_TEXT = 4096
# Counts beyond are no file's that this machine could hold, and floats would round them.
_LARGEST_COUNT = 2**53
_LARGEST_NUMBER = 1e100
_MOST_LISTED = 10_000

_SHA256 = re.compile(r"[0-9a-f]{64}")


def json_object(path: Path) -> dict[str, Any]:
    """The JSON object at a path, of a bounded size and depth. Raises ResultError, or
    FileNotFoundError.
    """
    try:
        data = read_bounded(path, _LARGEST_JSON)
        stored = json.loads(data, parse_float=finite, parse_constant=finite)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ResultError(f"{path}: not a stored result ({error.strerror}); remove it") from None
    except (ValueError, RecursionError):
        raise ResultError(f"{path}: not a stored result (not JSON); remove it") from None
    if not isinstance(stored, dict):
        raise ResultError(f"{path}: not a stored result (JSON, but {shown(stored)}); remove it")
    if too_deep(stored):
        raise ResultError(f"{path}: not a stored result (nested too deep); remove it")
    return stored


def plain(part: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a stored result, its names as tables may show them; a path stays what it is."""
    return {
        plain_name(key): plain_name(value)
        if isinstance(value, str) and key != "path" and not value.isprintable()
        else plain(value)
        if isinstance(value, dict)
        else value
        for key, value in part.items()
    }


def finite(text: str) -> float:
    """A number of a stored result: NaN, Infinity and what overflows were not written by us."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not finite")
    return number


def too_deep(value: object) -> bool:
    """Whether JSON is nested deeper than any result, so that what follows it could not return."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            each
            for held in level
            for each in (
                held.values() if isinstance(held, dict) else held if isinstance(held, list) else ()
            )
        ]
        if not level:
            return False
    return True


def shown(value: object) -> str:
    """The beginning of a value, for a message; of whatever length and depth."""
    if isinstance(value, dict | list):
        return f"a {'mapping' if isinstance(value, dict) else 'list'} of {len(value):,}"
    if isinstance(value, int) and abs(value) > _LARGEST_COUNT:
        return "a number of more than 16 digits"
    return repr(plain_name(str(value)[:40]))


# ---- What values may be --------------------------------------------------------------------------


def is_count(value: object) -> bool:
    """A whole number from 0 on; True is none."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_COUNT


def _is_number(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and -_LARGEST_NUMBER <= value <= _LARGEST_NUMBER  # type: ignore[operator]


def _is_share(value: object) -> bool:
    return _is_number(value) and 0 <= value <= 1  # type: ignore[operator]


def _is_interval(value: object) -> bool:
    """Both ends of an interval of a share; Wilson's may round to a little outside [0, 1]."""
    if not isinstance(value, list) or len(value) != 2 or not all(map(_is_number, value)):
        return False
    return bool(-0.01 <= value[0] <= value[1] <= 1.01)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_TEXT


def _is_path(value: object) -> bool:
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        return len(os.fsencode(value)) <= _LONGEST_TEXT
    except UnicodeEncodeError:  # half of a surrogate pair, which no file's name can have
        return False


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def _list_of(check: Check) -> Check:
    return lambda value: (
        isinstance(value, list) and len(value) <= _MOST_LISTED and all(map(check, value))
    )


def _mapping_of(check: Check) -> Check:
    return lambda value: (
        isinstance(value, dict) and len(value) <= _MOST_LISTED and all(map(check, value.values()))
    )


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _block(keys: Mapping[str, Check]) -> Check:
    """A mapping that has these keys, each as it must be; of others nothing is relied on."""

    def check(value: object) -> bool:
        return isinstance(value, dict) and all(
            key in value and right(value[key]) for key, right in keys.items()
        )

    return check


_LEAVES: Mapping[str, Check] = {
    SHARE: _is_share,
    NUMBER: _is_number,
    INTERVAL: _is_interval,
    NUMBERS: _list_of(_is_number),
}


def _check_of(shape: Shape) -> Check:
    """The check of a value of a figure; blocks inside it may be None."""
    if isinstance(shape, str):
        return _LEAVES[shape]
    if isinstance(shape, Each):
        return _mapping_of(_or_none(_check_of(shape.shape)))
    return _block(
        {
            key: _check_of(each) if isinstance(each, str) else _or_none(_check_of(each))
            for key, each in shape.items()
        }
    )


@functools.cache
def _figure_checks() -> Mapping[str, Check]:
    """The check of each field of a result's figures."""
    return {
        field: _check_of(shape) if isinstance(shape, Each) else _or_none(_check_of(shape))
        for field, shape in shapes().items()
    }


_NON_FINITE: Mapping[str, Check] = {
    "count": is_count,
    "images": _list_of(is_count),
    "dropped_pairs": is_count,
}
# What a model's input says, where it says it: a system from elsewhere states no size.
_INPUT: Mapping[str, Check] = {
    "size": _list_of(is_count),
    "range": _is_text,
    "channels": _is_text,
    "layout": _is_text,
}

# By the types in the annotations of the records, which are texts.
_KINDS: Mapping[str, Check] = {
    "str": _is_text,
    "int": is_count,
    "str | None": _or_none(_is_text),
    "Mapping[str, float]": _mapping_of(_is_number),
    "Mapping[str, str]": _mapping_of(_is_text),
    "Mapping[str, Any]": lambda value: isinstance(value, dict),
}
# Beside their type.
_OF_NAME: Mapping[str, Check] = {
    "path": _is_path,
    "sha256": _is_sha256,
    "data_sha256": _or_none(_is_sha256),
}


# ---- The result ----------------------------------------------------------------------------------


def wrong_part(result: Result) -> str | None:
    """Which part of a result that was read is not what its readers rely on."""
    parts = (("", result), ("model: ", result.model), ("bin: ", result.bin))
    for prefix, part in (*parts, ("settings: ", result.settings)):
        for each in fields(part):
            value = getattr(part, each.name)
            checks = (_KINDS.get(str(each.type)), _OF_NAME.get(each.name))
            if not all(check is None or check(value) for check in checks):
                return f"{prefix}{each.name} is {shown(value)}"
    given = result.model.input
    return (
        _wrong_figures(result.status, result.figures)
        or _wrong_key("non_finite: ", result.non_finite, _NON_FINITE)
        or _wrong_key("model: input: ", given, {k: v for k, v in _INPUT.items() if k in given})
        or _wrong_counts(result)
    )


def _wrong_figures(status: str, figures: object) -> str | None:
    if status not in ("ok", "non_finite"):
        return f"unknown status {shown(status)}"
    if status == "non_finite":
        return None if figures is None else f"figures that do not belong to status {status!r}"
    if not isinstance(figures, dict):
        return f"figures that do not belong to status {status!r}"
    checks = _figure_checks()
    for figure in all_figures().values():
        if not figure.in_every_result and figures.keys().isdisjoint(figure.shape):
            continue
        wrong = _wrong_key("figures: ", figures, {field: checks[field] for field in figure.shape})
        if wrong:
            return wrong
        missing = [field for field in figure.shape if figures[field] is None]
        if missing and len(missing) < len(figure.shape):
            return f"figures: {missing[0]} is missing beside the others"
    return None


def _wrong_key(prefix: str, found: Mapping[str, Any], keys: Mapping[str, Check]) -> str | None:
    for key, check in keys.items():
        if key not in found:
            return f"{prefix}{key} is missing"
        if not check(found[key]):
            return f"{prefix}{key} is {shown(found[key])}"
    return None


def _wrong_counts(result: Result) -> str | None:
    """Counts of a bin that no bin has."""
    counts = result.bin
    if counts.genuine + counts.impostor != counts.pairs or counts.images != 2 * counts.pairs:
        return (
            f"bin: {counts.pairs:,} pairs of {counts.genuine:,} genuine, {counts.impostor:,} "
            f"impostor and {counts.images:,} images do not add up"
        )
    if counts.unique_images > counts.images:
        return f"bin: unique_images is {counts.unique_images:,} of {counts.images:,}"
    dropped = result.non_finite["dropped_pairs"]
    if dropped > counts.pairs:
        return f"non_finite: {dropped:,} pairs of {counts.pairs:,} dropped"
    return None
