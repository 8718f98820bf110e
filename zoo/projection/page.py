"""The page of a projection: two maps beside one another, in one HTML text."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.projection.maps import MAPS, TITLES, in_unit_square, nearest_same_person
from zoo.projection.pictures import Pictures, Sheet
from zoo.report.page import STYLE, rendered

_HERE = Path(__file__).parent

# Coordinates are whole numbers up to this: finer than a screen.
_STEPS = 9999


@dataclass(frozen=True)
class Space:
    """Points to be drawn: a title, a sentence that says what they are, and one row an image."""

    title: str
    explanation: str
    points: NDArray[np.float32]


def render_projection(
    title: str,
    spaces: Sequence[Space],
    pictures: Pictures,
    sheet: Sheet,
    *,
    maps: Sequence[str],
    notes: Sequence[str] = (),
) -> str:
    """The whole HTML: each space by each map, thumbnails, styles and script in it.

    Raises InputError as the maps do.
    """
    counts = np.bincount(pictures.people)
    shared = [nearest_same_person(each.points, pictures.people) for each in spaces]
    return rendered(
        _HERE / "projection.html.j2",
        styles=[STYLE, _HERE / "projection.css"],
        script=_HERE / "projection.js",
        title=title,
        headline=_headline(spaces, shared),
        spaces=[(each, *same) for each, same in zip(spaces, shared, strict=True)],
        maps=[(name, TITLES[name]) for name in maps],
        images=len(pictures),
        people=int((counts > 0).sum()),
        names=_choices(pictures, counts),
        notes=notes,
        data=_data(spaces, pictures, sheet, maps),
        sprites="data:image/jpeg;base64," + base64.b64encode(sheet.encoded("JPEG")).decode("ascii"),
    )


def _headline(spaces: Sequence[Space], shared: Sequence[tuple[int, int]]) -> str:
    right, able = shared[-1]
    if not able:
        return "Nobody here has two images"
    percent = f"{100 * right / able:.1f}"
    if len(spaces) < 2:
        return f"The nearest face is the same person’s for {percent} % of the images"
    return (
        f"The nearest face is the same person’s for {percent} % of the images, "
        f"{100 * shared[0][0] / able:.1f} % by pixels"
    )


def _choices(pictures: Pictures, counts: NDArray[np.int64]) -> list[tuple[int, str, int]]:
    """People with two images or more, those with most first: number, name, images."""
    order = np.argsort(-counts, kind="stable")
    return [(int(i), pictures.names[i], int(counts[i])) for i in order if counts[i] > 1]


def _data(
    spaces: Sequence[Space], pictures: Pictures, sheet: Sheet, maps: Sequence[str]
) -> Mapping[str, Any]:
    used, people = np.unique(pictures.people, return_inverse=True)
    return {
        "cell": sheet.cell,
        "columns": sheet.columns,
        "people": people.tolist(),
        "numbers": used.tolist(),
        "names": [pictures.names[i] for i in used],
        "origins": list(pictures.origins),
        "maps": {
            name: [
                np.round(in_unit_square(MAPS[name](each.points)) * _STEPS).astype(int).tolist()
                for each in spaces
            ]
            for name in maps
        },
    }
