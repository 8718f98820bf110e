"""YAML as nodes with their lines, read so that no file can grow in memory or fall out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

from evaluator.errors import InputError, cause_of
from evaluator.files import TooLargeError, read_bounded

# Eighty times the project's own models.yaml; PyYAML needs seconds for 1 MB.
LARGEST_BYTES = 1_000_000
# Both counted with every alias written out. A recipe is 6 deep.
MOST_NODES = 1_000_000
DEEPEST = 40
# A tenth of what libyaml was seen to survive.
_DEEPEST_FOR_LIBYAML = 2_000

# What PyYAML raises, besides its own error, for a value that is not of the tag it bears:
# `!!timestamp x`, `!!int` without digits, `!!bool x`, a date like 2026-99-99, a number too long.
_BAD_SCALARS = (
    yaml.YAMLError,
    AttributeError,
    IndexError,
    KeyError,
    OverflowError,
    TypeError,
    ValueError,
)


class RegistryError(InputError):
    """models.yaml cannot be used; the message names file and line."""


class ScalarError(ValueError):
    """A scalar is not what its tag says."""


def compose_file(path: Path) -> yaml.Node:
    """The root node of the file. Raises RegistryError with the line, or OSError.

    Refused are files over ``LARGEST_BYTES``, nesting over ``DEEPEST``, aliases that lead back to
    themselves, and those that unfold to over ``MOST_NODES`` nodes.
    """
    try:
        data = read_bounded(path, LARGEST_BYTES)
    except TooLargeError:
        limit = LARGEST_BYTES // 10**6
        raise RegistryError(
            f"{path}: is larger than the {limit} MB that are read; split it"
        ) from None
    try:
        root = _composed(data.decode("utf-8"))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        cause = cause_of(str(error.problem))
        raise RegistryError(f"{path}:{line}: not YAML: {cause}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise RegistryError(f"{path}: not YAML text ({cause_of(error)})") from None
    if root is None:
        raise RegistryError(f"{path}:1: the file is empty; expected 'models:' with entries")
    _check_size(path, root)
    return root


def _composed(text: str) -> yaml.Node | None:
    """The root node: by libyaml where it is there and takes the text, else by PyYAML itself.

    libyaml takes a tenth of the time. Its nodes are the same, its complaints are not; and it nests
    on the machine's own stack, so that what could be deep is not given to it.
    """
    deepest = text.count("[") + text.count("{") + max(map(len, text.splitlines()), default=0)
    if yaml.__with_libyaml__ and deepest < _DEEPEST_FOR_LIBYAML:
        try:
            return yaml.compose(text, Loader=yaml.CSafeLoader)
        except (yaml.YAMLError, ValueError):
            pass
    return yaml.compose(text, Loader=yaml.SafeLoader)


def scalar(node: yaml.Node) -> Any:
    """The value of a scalar node. Raises ScalarError if it is none, or not what its tag says."""
    try:
        return SafeConstructor().construct_document(node)
    except _BAD_SCALARS as error:
        raise ScalarError(cause_of(error)) from None


def describe(node: yaml.Node) -> str:
    """What a node is, for a message."""
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return repr(node.value[:60]) if node.value else "nothing"


def _check_size(path: Path, root: yaml.Node) -> None:
    """Counts nodes as if each alias were written out, in time that the file's own nodes take."""
    sizes: dict[int, int] = {}
    heights: dict[int, int] = {}
    open_nodes: set[int] = set()
    stack = [(root, False)]
    while stack:
        node, done = stack.pop()
        key, parts = id(node), _parts(node)
        if done:
            open_nodes.discard(key)
            sizes[key] = 1 + sum(sizes[id(part)] for part in parts)
            heights[key] = 1 + max((heights[id(part)] for part in parts), default=0)
            if sizes[key] > MOST_NODES or heights[key] > DEEPEST:
                raise RegistryError(
                    f"{path}:{node.start_mark.line + 1}: expected at most {MOST_NODES:,} values"
                    f" and {DEEPEST} levels with every alias written out; found more"
                )
        elif key in open_nodes:
            raise RegistryError(f"{path}:{node.start_mark.line + 1}: an alias leads back to itself")
        elif key not in sizes:
            open_nodes.add(key)
            stack.append((node, True))
            stack += [(part, False) for part in parts]


def _parts(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []
