"""A template set: whose images make which template, which templates are compared and searched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

#: The person of a template about whom nobody says who it is.
NOBODY = -1


@dataclass(frozen=True, eq=False)
class Gallery:
    """One gallery: ``templates`` (g,) are numbers of templates; ``name`` is empty where a set has
    but one.
    """

    name: str
    templates: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class TemplatePairs:
    """The pairs of a 1:1 list: ``left`` and ``right`` (p,) number templates, ``genuine`` (p,)."""

    left: NDArray[np.int32]
    right: NDArray[np.int32]
    genuine: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class TemplateSet:
    """A template set of n images and t templates, as its files say.

    ``images`` are n names as in those files, relative to ``folder``; ``template`` (n,) numbers the
    template of each from 0, ``media`` (n,) the medium that it is of, a photograph or a video, with
    numbers that need be unique within a template only. ``detector_scores`` (n,) and ``points``
    (n, 5, 2), in pixels of the image (x, y): eyes, nose, corners of the mouth, left in the picture
    first; None where no file has them. ``names`` are t texts that name templates to people,
    ``person`` (t,) numbers who each shows, NOBODY where that is not said. ``pairs`` is None for a
    set without a 1:1 list. ``probes`` number the templates that are searched for in every gallery.
    ``sha256`` is of what decides a figure: the files of the set, and the bytes of its images where
    these are there.
    """

    name: str
    path: Path
    kind: Literal["ijb", "tinyface", "folders"]
    sha256: str
    folder: Path | None
    images: tuple[str, ...]
    template: NDArray[np.intp]
    media: NDArray[np.int64]
    detector_scores: NDArray[np.float64] | None
    points: NDArray[np.float64] | None
    names: tuple[str, ...]
    person: NDArray[np.int64]
    pairs: TemplatePairs | None
    galleries: tuple[Gallery, ...]
    probes: NDArray[np.intp]

    @property
    def templates(self) -> int:
        """How many templates there are."""
        return len(self.names)
