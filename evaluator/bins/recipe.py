"""The recipe beside a bin that was made of another: `lfw-blur-3.recipe.json`.

A bin has no room for where it comes from. The recipe says it, with all that it takes to make the
same bytes again, and the SHA-256 of both bins: one that is another bin's is an error.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from evaluator.errors import BinError, cause_of, plain_name
from evaluator.files import read_bounded, write_whole

_LARGEST = 1_000_000


@dataclass(frozen=True)
class Source:
    """The bin that another was made of."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Recipe:
    """How a bin was made of ``source``: ``corruption`` at ``strength`` 1 to 5, whose ``parameter``
    was ``level``, each image by a draw of ``seed``; ``sha256`` is the bin's own.
    """

    source: Source
    corruption: str
    strength: int
    parameter: str
    level: float
    seed: int
    sha256: str
    versions: Mapping[str, str]
    schema: int = 1


def recipe_path(bin_path: Path) -> Path:
    """Where the recipe of a bin stands."""
    return bin_path.with_suffix(".recipe.json")


def write_recipe(bin_path: Path, recipe: Recipe) -> None:
    """Writes the recipe beside its bin, whole or not at all. Raises OSError."""
    write_whole(recipe_path(bin_path), json.dumps(asdict(recipe), indent=1) + "\n")


def read_recipe(bin_path: Path, sha256: str) -> Recipe | None:
    """The recipe beside the bin of that SHA-256; None where there is none.

    Raises BinError for a file that is no recipe, or another bin's; OSError.
    """
    path = recipe_path(bin_path)
    if not os.path.lexists(path):
        return None
    import msgspec

    digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    try:
        found = msgspec.json.decode(read_bounded(path, _LARGEST), type=Recipe)
        for each in (found.sha256, found.source.sha256):
            msgspec.convert(each, digest)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BinError(
            f"{path}: expected a recipe as `zoo bins corrupt` writes it: {cause_of(error)}; remove"
            " it or make the bin again"
        ) from None
    if found.sha256 != sha256:
        raise BinError(
            f"{path}: is the recipe of another bin, by its SHA-256; remove it or make the bin again"
        )
    source = Source(plain_name(found.source.name[:255]), found.source.sha256)
    return Recipe(
        **{**vars(found), "source": source, "corruption": plain_name(found.corruption[:60])}
    )
