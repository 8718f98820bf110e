"""Where the faces of a bin lie in its images, beside the templates that models are trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluator.images.alignment import SIDE, TEMPLATE, similarity
from zoo.align.detector import detected

#: How many images are looked at, evenly spread over the bin, and the fewest faces that tell.
SAMPLE, FEWEST = 50, 5

# The spread (see `Placement`) between 0.04 of faces that were aligned and 0.08 of others.
_LOOSE = 0.06

ARCFACE = "ArcFace's template"


@dataclass(frozen=True)
class _Known:
    """Five points as fractions of width and height, how far a bin's medians may lie from them, in
    pixels of 112x112, and what to do with such a bin. ``loose`` where no landmarks were brought to
    a template: single faces lie further from the medians.
    """

    points: NDArray[np.float64]
    within: float
    advice: str
    loose: bool = False


_AGAIN = "align the photographs (zoo align, or zoo bins make --align)"
# The template that SphereFace and CosFace published, for images 96 wide.
_NARROW = TEMPLATE - [8, 0]

_KNOWN = {
    ARCFACE: _Known((TEMPLATE + 0.5) / SIDE, 4, ""),
    "the 112x96 template in images of 112x112": _Known(
        (_NARROW + 0.5) / SIDE,
        3,
        f"ArcFace's adds 8 px to x; {_AGAIN} again",
    ),
    "the 112x96 template": _Known(
        (_NARROW + 0.5) / [96, SIDE],
        3,
        f"right for models whose input is 112x96 (SphereFace, CosFace); for others {_AGAIN}",
    ),
    # The mean shape of dlib's get_face_chip with its padding of 0.25: eyes' centres, tip of the
    # nose, corners of the mouth.
    "dlib's face chip": _Known(
        np.array([[0.317, 0.311], [0.670, 0.311], [0.493, 0.510], [0.336, 0.687], [0.651, 0.687]]),
        4,
        f"right for models trained on dlib's chips; for others {_AGAIN}",
    ),
    # Of these no template is published: medians of LFW's photographs, in mtcnn's boxes with
    # FaceNet's margin of 32 pixels in 160, and whole.
    "crops of a detector's boxes, as FaceNet's": _Known(
        np.array([[0.35, 0.41], [0.68, 0.41], [0.53, 0.58], [0.38, 0.72], [0.68, 0.71]]),
        7,
        f"not aligned: right for FaceNet's models; for others {_AGAIN}",
        loose=True,
    ),
    "LFW's whole photographs": _Known(
        np.array([[0.42, 0.46], [0.59, 0.45], [0.51, 0.56], [0.43, 0.65], [0.58, 0.64]]),
        7,
        f"not aligned: {_AGAIN}",
        loose=True,
    ),
}


@dataclass(frozen=True)
class Placement:
    """Medians of the landmarks in ``faces`` of ``images`` looked at, beside ArcFace's template.

    ``points`` (5, 2), ``right`` and ``down`` are in pixels after a resize to 112x112 (negative:
    left, up), ``size`` is by the template's. ``distance`` is the root mean square of the points'
    distances from those of ``fits``, which is None where no known template is near. ``spread`` is
    the median distance of single coordinates from their median, by the distance between the eyes:
    0.04 where faces were aligned by landmarks, 0.08 in crops and photographs. All is None below
    five faces.
    """

    images: int
    faces: int
    points: list[list[float]] | None = None
    right: float | None = None
    down: float | None = None
    size: float | None = None
    spread: float | None = None
    fits: str | None = None
    distance: float | None = None


def placement(
    images: Sequence[bytes],
    sizes: Sequence[tuple[int, int]],
    progress: Callable[[int], None] | None = None,
) -> Placement:
    """Where the faces lie in a sample of distinct images, whose (height, width) are ``sizes``.

    Raises InputError if ``mtcnn`` is not installed.
    """
    chosen = np.unique(np.linspace(0, len(images) - 1, min(SAMPLE, len(images))).astype(int))
    read = {str(number): images[number] for number in chosen.tolist()}
    found = []
    for number, points in zip(chosen, detected(list(read), read.__getitem__), strict=True):
        if progress:
            progress(1)
        if isinstance(points, np.ndarray):
            found.append((points + 0.5) / np.array(sizes[number])[::-1])
    return placed(np.array(found).reshape(-1, 5, 2), images=len(chosen))


def placed(landmarks: NDArray[np.float64], *, images: int) -> Placement:
    """The placement of landmarks (n, 5, 2), fractions of width and height, found in ``images``."""
    if len(landmarks) < FEWEST:
        return Placement(images, len(landmarks))
    median = np.median(landmarks, axis=0)
    pixels = median * SIDE - 0.5
    right, down = (pixels - TEMPLATE).mean(axis=0)
    away = np.median(np.abs(landmarks - median), axis=0).mean()
    spread = float(away / np.linalg.norm(median[1] - median[0]))
    distances = {
        name: float(np.sqrt((((known.points - median) * SIDE) ** 2).sum(axis=1).mean()))
        for name, known in _KNOWN.items()
    }
    near = {
        name: distance
        for name, distance in distances.items()
        if distance <= _KNOWN[name].within and (spread > _LOOSE or not _KNOWN[name].loose)
    }
    fits = min(near, key=near.__getitem__, default=None)
    return Placement(
        images,
        len(landmarks),
        np.round(pixels, 2).tolist(),
        round(float(right), 2),
        round(float(down), 2),
        round(1 / similarity(pixels).scale, 3),
        round(spread, 3),
        fits,
        None if fits is None else round(distances[fits], 2),
    )


def on_template(found: Placement) -> bool:
    """Whether the faces lie on ArcFace's template, or too few were found to say."""
    return found.points is None or found.fits == ARCFACE


def placement_words(found: Placement) -> str:
    """Where the faces lie, in words."""
    faces = f"{found.faces} of {found.images} images have a face"
    if found.right is None or found.down is None:
        return f"{faces}: too few to say"
    across = f"{abs(found.right):.1f} px {'left' if found.right < 0 else 'right'}"
    along = f"{abs(found.down):.1f} px {'up' if found.down < 0 else 'down'}"
    name = found.fits or "no known template"
    return f"{name}; from ArcFace's {across}, {along}, size {found.size:.2f} ({faces})"


def placement_advice(found: Placement) -> str:
    """What to know of faces that are not on ArcFace's template."""
    if found.fits is None:
        return f"faces are on no known template: {_AGAIN}"
    return f"faces are not on ArcFace's template but on {found.fits}: {_KNOWN[found.fits].advice}"
