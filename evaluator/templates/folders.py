"""One's own faces: `gallery/ID/`, `probe/ID/` and `unknown/`, full of images.

All images of `gallery/ID/` are one template. Each in `probe/ID/` is a template of its own, which
shows the person of `gallery/ID/` if there is one; so is each in `unknown/`, which shows nobody, or
in `unknown/ID/`, who must not be in the gallery. A folder one deeper, a video's frames say, is one
template in all three: a person who should be in the gallery more than once is
`gallery/ID/one/`, `gallery/ID/two/`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import BinError, plain_name
from evaluator.templates.image_files import put_images
from evaluator.templates.listing import image_names
from evaluator.templates.lists import MOST_PAIRS, put
from evaluator.templates.template_set import NOBODY, Gallery, TemplatePairs, TemplateSet

GALLERY, PROBE, UNKNOWN = PARTS = ("gallery", "probe", "unknown")


def is_folders(path: Path) -> bool:
    """Whether a folder holds a gallery and what is searched for in it."""
    return (path / GALLERY).is_dir() and any((path / each).is_dir() for each in (PROBE, UNKNOWN))


def read_folders(path: Path, *, embeddings_names: Sequence[str] | None = None) -> TemplateSet:
    """The template set: a template's name is its folder or image, people are IDs.

    One gallery; every probe and every unknown template is searched in it, and paired with each of
    its templates for the 1:1 list, unless that were more than `MOST_PAIRS`. With
    ``embeddings_names``, of images that somebody has embedded, these stand for folders that are
    not there, and ``sha256`` is of names alone.

    Raises BinError for what contradicts; OSError.
    """
    parts = {each: image_names(path, each, embeddings_names) for each in PARTS}
    images = tuple(name for part in parts.values() for name in part)
    told = [_template(path, name) for name in images]
    number: dict[str, int] = {}
    template = [number.setdefault(name, len(number)) for name, _ in told]
    names = tuple(number)
    of = dict(told)
    people = {name: i for i, name in enumerate(sorted({each for each in of.values() if each}))}
    person = np.array([people.get(of[name], NOBODY) for name in names], np.int64)
    part = np.array([name.partition("/")[0] for name in names])
    gallery = np.flatnonzero(part == GALLERY).astype(np.intp)
    probes = np.flatnonzero(part != GALLERY).astype(np.intp)
    _check(
        path,
        {
            each: {of[name] for name in names if name.startswith(f"{each}/")} - {""}
            for each in PARTS
        },
    )
    digest = hashlib.sha256(b"folders")
    put(digest, "\n".join(images).encode("utf-8", "surrogateescape"))
    if embeddings_names is None:
        put_images(digest, path, images, lambda _: str(path))
    return TemplateSet(
        name=plain_name(path.resolve().name),
        path=path,
        kind="folders",
        sha256=digest.hexdigest(),
        folder=path,
        images=images,
        template=np.array(template, np.intp),
        media=np.arange(len(images), dtype=np.int64),
        detector_scores=None,
        points=None,
        names=names,
        person=person,
        pairs=_all_pairs(gallery, probes, person),
        galleries=(Gallery("", gallery),),
        probes=probes,
    )


def _template(path: Path, name: str) -> tuple[str, str]:
    """The template that an image is of, and the person whom it shows, empty for nobody."""
    part, *people, _ = name.split("/")
    if not people:
        if part != UNKNOWN:
            raise BinError(
                f"{path / name}: expected a folder for each person; put it into {part}/ID"
            )
        return name, ""
    whole = part == GALLERY or len(people) > 1
    return name.rpartition("/")[0] if whole else name, people[0]


def _check(path: Path, people: Mapping[str, set[str]]) -> None:
    """Raises BinError for a gallery or probes that make no search."""
    if not people[GALLERY]:
        raise BinError(f"{path / GALLERY}: holds no image; expected {GALLERY}/ID/*.jpg")
    for name in sorted(people[UNKNOWN] & people[GALLERY]):
        raise BinError(
            f"{path / UNKNOWN / name}: {plain_name(name)} is in the gallery too; move the images"
            f" to {PROBE}/{plain_name(name)}"
        )
    if not people[PROBE] & people[GALLERY]:
        raise BinError(
            f"{path / PROBE}: shows nobody of {GALLERY}/, so nobody can be found; name the folders"
            " of a person alike in both"
        )


def _all_pairs(
    gallery: NDArray[np.intp], probes: NDArray[np.intp], person: NDArray[np.int64]
) -> TemplatePairs | None:
    """Every probe beside every template of the gallery; None where these are too many."""
    if len(gallery) * len(probes) > MOST_PAIRS:
        return None
    left = np.repeat(probes.astype(np.int32), len(gallery))
    right = np.tile(gallery.astype(np.int32), len(probes))
    # Nobody of unknown/ is in the gallery, where everybody is somebody.
    return TemplatePairs(left, right, person[left] == person[right])
