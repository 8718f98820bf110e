"""Settings as --set gives them, put into the plain data of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.recipes.parts import Fail


def with_settings(value: Any, settings: Mapping[str, Any], fail: Fail) -> Any:
    """A copy of plain recipe data with ``{"model.backbone": "mobilefacenet"}`` put into it.

    A key's parts are separated by dots; a list's by index, or ``*`` for each of its members. A
    mapping that is not there yet is made, so that defaults can be changed too.
    """
    changed = _copied(value)
    for key, setting in settings.items():
        _put(changed, key.split("."), setting, key, fail)
    return changed


def _put(node: Any, parts: list[str], setting: Any, key: str, fail: Fail) -> None:
    name, rest = parts[0], parts[1:]
    if isinstance(node, list):
        if name != "*" and not (name.isdigit() and int(name) < len(node)):
            raise fail((key,), f"expected 0..{len(node) - 1} or * where {name!r} stands")
        places: list[Any] = list(range(len(node))) if name == "*" else [int(name)]
    elif isinstance(node, dict):
        places = [name]
    else:
        raise fail((key,), f"there is nothing below the value {node!r} to set")
    for place in places:
        if not rest:
            node[place] = setting
            continue
        if isinstance(node, dict) and not isinstance(node.get(place), dict | list):
            # A shorthand ("softmax" for {name: softmax}) becomes what it stands for.
            held = node.get(place)
            if held is not None and not isinstance(held, str):
                raise fail((key,), f"there is nothing below the value {held!r} to set")
            node[place] = {"name": held} if held is not None else {}
        _put(node[place], rest, setting, key, fail)


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(each) for key, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list) else value
