"""Plain data to the dataclasses of a recipe, each value held to its type and limits."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from evaluator.errors import InputError, near_name, unknown_name
from training.recipes import registry
from training.recipes.parts import Fail, Place, RateRecipe, with_epochs
from training.recipes.schedules import SCHEDULES, make_schedule

T = TypeVar("T")

#: A dataclass's types by name; typing compiles each annotation anew, which was most of the reading.
_hints: Callable[[Any], dict[str, Any]] = functools.cache(typing.get_type_hints)


def built(kind: type[T], value: Any, place: Place, fail: Fail) -> T:
    """The dataclass ``kind`` from a mapping, or from its ``name`` alone."""
    known = {each.name: each for each in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if isinstance(value, str) and "name" in known:
        value = {"name": value}
    if not isinstance(value, Mapping):
        raise fail(place, f"expected keys with values; found {_shown(value)}")
    value = _with_options(known, value)
    for key in value:
        if key not in known:
            raise fail((*place, key), f"unknown key {key!r}; {unknown_name(str(key), known)}")
    hints = _hints(kind)
    found: dict[str, Any] = {}
    for name, each in known.items():
        if name in value:
            found[name] = _value(hints[name], value[name], (*place, name), each.metadata, fail)
        elif each.default is dataclasses.MISSING:
            raise fail(place, f"missing key {name!r}")
    return kind(**found)


def _with_options(
    known: Mapping[str, dataclasses.Field[Any]], value: Mapping[Any, Any]
) -> Mapping[Any, Any]:
    """The mapping, what keys of its own a registered thing has among them as ``options``."""
    name, field = value.get("name"), known.get("name")
    kind = field.metadata.get("kind") if field is not None and "options" in known else None
    if field is None or not isinstance(name, str) or kind is None:
        return value
    if name in field.metadata["choices"] or not registry.may_be(kind, name):
        return value
    own = {key: each for key, each in value.items() if key not in known}
    kept = {key: each for key, each in value.items() if key in known}
    options = {**(kept.get("options") or {}), **own}
    return {**kept, "options": options} if options else kept


def _value(hint: Any, value: Any, place: Place, limits: Mapping[str, Any], fail: Fail) -> Any:
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(each for each in typing.get_args(hint) if each is not type(None))
    if hint is RateRecipe:
        return _rate(value, place, fail)
    if dataclasses.is_dataclass(hint):
        return built(typing.cast(type[Any], hint), value, place, fail)
    if typing.get_origin(hint) is Mapping:
        if isinstance(value, Mapping):
            return {str(key): each for key, each in value.items()}
        raise fail(place, f"expected keys with values; found {_shown(value)}")
    if typing.get_origin(hint) is tuple:
        return _many(hint, value, place, fail)
    return _scalar(hint, value, place, limits, fail)


def _many(hint: Any, value: Any, place: Place, fail: Fail) -> tuple[Any, ...]:
    inner, last = typing.get_args(hint)
    if last is not Ellipsis and isinstance(value, int) and not isinstance(value, bool):
        value = [value, value]
    if isinstance(value, str):
        value = [part for part in value.split(",") if part]
    if not isinstance(value, list | tuple):
        raise fail(place, f"expected a list; found {_shown(value)}")
    if last is not Ellipsis and len(value) != 2:
        raise fail(place, f"expected two numbers, height and width; found {_shown(value)}")
    limits = {"low": 1, "high": 4096} if inner is int else {}
    return tuple(_value(inner, each, (*place, i), limits, fail) for i, each in enumerate(value))


def _scalar(hint: Any, value: Any, place: Place, limits: Mapping[str, Any], fail: Fail) -> Any:
    if hint is bool:
        if isinstance(value, bool):
            return value
        raise fail(place, f"expected true or false; found {_shown(value)}")
    if hint is str:
        if value is None and "none" in limits.get("choices", ()):
            return "none"
        choices = limits.get("choices")
        if isinstance(value, str) and (not choices or value in choices):
            return value
        if not choices:
            raise fail(place, f"expected a name; found {_shown(value)}")
        kind = limits.get("kind")
        if kind:
            if isinstance(value, str) and registry.may_be(kind, value):
                return value
            choices = (*choices, *registry.names(kind))
        near = near_name(str(value), choices)
        hint_text = f"; did you mean {near!r}?" if near else ""
        raise fail(place, f"expected one of {', '.join(choices)}; found {_shown(value)}{hint_text}")
    low, high = limits.get("low", -float("inf")), limits.get("high", float("inf"))
    number = _as_number(value)
    fits = number is not None and low <= number <= high
    if not fits or (hint is int and number != int(typing.cast(float, number))):
        wanted = "a whole number" if hint is int else "a number"
        span = f"{low:g} to {high:g}" if high != float("inf") else f"{low:g} or more"
        raise fail(place, f"expected {wanted}, {span}; found {_shown(value)}")
    if hint is int:  # of text, "1e2" too
        return int(typing.cast(float, number)) if isinstance(value, str) else int(value)
    return float(value)


def _as_number(value: Any) -> float | None:
    """A finite number; YAML 1.1 reads 5e-4 as text, which is taken too."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):  # overflow: a whole number of over 308 digits
        return None
    return number if number == number and abs(number) != float("inf") else None


def _rate(value: Any, place: Place, fail: Fail) -> RateRecipe:
    if isinstance(value, str):
        value = {"name": value}
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = {"name": "constant", "learning_rate": value}
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise fail(place, f"expected a rate, or {{name: ...}} of a schedule; found {_shown(value)}")
    if value["name"] not in SCHEDULES:
        raise fail(
            (*place, "name"),
            f"expected one of {', '.join(SCHEDULES)}; found {value['name']!r}",
        )
    options: dict[str, float] = {}
    for key, given in value.items():
        if key == "name":
            continue
        number = _as_number(given)
        if number is None:
            raise fail((*place, key), f"expected a number; found {_shown(given)}")
        options[key] = number
    warmup = options.pop("warmup_epochs", 0.0)
    try:
        make_schedule(value["name"], warmup_epochs=warmup, **with_epochs(value["name"], options, 1))
    except InputError as error:
        raise fail(place, str(error)) from None
    return RateRecipe(value["name"], types.MappingProxyType(options), warmup)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "keys with values"
    return (
        "a list" if isinstance(value, list | tuple) else "nothing" if value is None else repr(value)
    )
