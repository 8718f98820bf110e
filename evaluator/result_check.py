"""What a stored result must be before its readers rely on it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from evaluator.errors import plain_name

if TYPE_CHECKING:
    from evaluator.results import Result


def plain(part: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a stored result, its names as tables may show them; a path stays what it is."""
    return {
        key: plain_name(value)
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


# The types in the annotations of the records, which are texts.
_KINDS: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "str | None": (str, type(None)),
    "Mapping[str, Any]": dict,
    "Mapping[str, Any] | None": (dict, type(None)),
    "Mapping[str, float]": dict,
    "Mapping[str, str]": dict,
}


def wrong_part(result: Result) -> str | None:
    """Which part of a result that was read is not what its readers rely on."""
    kinds: dict[str, type] = {"ok": dict, "non_finite": type(None)}
    if not isinstance(result.status, str) or result.status not in kinds:
        return f"unknown status {str(result.status)[:40]!r}"
    if not isinstance(result.figures, kinds[result.status]):
        return f"figures that do not belong to status {result.status!r}"
    parts = (("", result), ("model: ", result.model), ("bin: ", result.bin))
    for prefix, part in (*parts, ("settings: ", result.settings)):
        for each in fields(part):
            kind, value = _KINDS.get(str(each.type)), getattr(part, each.name)
            if kind is not None and not _is(value, kind):
                return f"{prefix}{each.name} is {str(value)[:40]!r}"
    for name in ("count", "dropped_pairs"):
        if not _is(result.non_finite.get(name), int):
            return f"non_finite: {name} is {str(result.non_finite.get(name))[:40]!r}"
    return None


def _is(value: object, kind: type | tuple[type, ...]) -> bool:
    """Whether a value of a record has its type; numbers there are counts, and True is none."""
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return isinstance(value, kind)
