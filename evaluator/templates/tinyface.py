"""TinyFace: probes searched among the images of their people and 153,428 of nobody's.

`Testing_Set/` has `Gallery_Match/`, `Probe/` and `Gallery_Distractor/`, each full of images; what
was aligned elsewhere has the three alone. `gallery_match_img_ID_pairs.mat` and
`probe_img_ID_pairs.mat` say which images there are and who each shows. Without them these are all
images of the folder, and the whole number in front of the first `_` of a name is the person.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.bins.mat_file import Cells, read_mat
from evaluator.errors import BinError, plain_name
from evaluator.templates.image_files import put_images
from evaluator.templates.listing import image_names, image_names_below
from evaluator.templates.lists import check_name, integer, put, read_list
from evaluator.templates.template_set import NOBODY, Gallery, TemplateSet

GALLERY, PROBE, DISTRACTOR = "Gallery_Match", "Probe", "Gallery_Distractor"
#: Folder -> its list, and the variables with the names and with the people.
LISTS = {
    GALLERY: ("gallery_match_img_ID_pairs.mat", "gallery_set", "gallery_ids"),
    PROBE: ("probe_img_ID_pairs.mat", "probe_set", "probe_ids"),
}


def tinyface_folder(path: Path) -> Path | None:
    """The folder that holds the three, or the two lists; None where neither is there."""
    for root in (path / "Testing_Set", path):
        if all((root / each).is_dir() or (root / LISTS[each][0]).is_file() for each in LISTS):
            return root
    return None


def read_tinyface(path: Path, *, embeddings_names: Sequence[str] | None = None) -> TemplateSet:
    """The template set: every image a template of its own, one gallery, no 1:1 list.

    Images are named by their path below `Testing_Set`: the gallery's, the probes', then the
    distractors, who are nobody. With ``embeddings_names``, of images that somebody has embedded,
    these stand for folders that are not there, and ``sha256`` is of names and people alone.

    Raises BinError for what contradicts; OSError.
    """
    root = tinyface_folder(path) or path
    digest = hashlib.sha256(b"tinyface")
    listed = {each: (root / LISTS[each][0]).is_file() for each in LISTS}
    if len({*listed.values()}) > 1:
        missing = next(each for each, there in listed.items() if not there)
        raise BinError(f"{root / LISTS[missing][0]}: is not there; the two lists go together")
    parts = {
        each: (_listed if listed[each] else _told_by_names)(root, each, digest, embeddings_names)
        for each in LISTS
    }
    distractors = image_names(root, DISTRACTOR, embeddings_names)
    names = (*parts[GALLERY][0], *parts[PROBE][0], *distractors)
    ids = np.concatenate([parts[GALLERY][1], parts[PROBE][1]])
    first_probe, first_distractor = len(parts[GALLERY][0]), len(ids)
    if not np.isin(ids[first_probe:], ids[:first_probe]).any():
        raise BinError(f"{root / PROBE}: no probe has a mate in {GALLERY}: nothing can be found")
    person = np.full(len(names), NOBODY, np.int64)
    person[:first_distractor] = np.unique(ids, return_inverse=True)[1]
    put(digest, "\n".join(names).encode("utf-8", "surrogateescape"))
    put(digest, ids.tobytes())
    folder = root if (root / PROBE).is_dir() else None
    if embeddings_names is None:
        put_images(digest, root, names, lambda _: str(root))
    each = np.arange(len(names))
    return TemplateSet(
        name=plain_name((root.resolve().parent if root.name == "Testing_Set" else root).name),
        path=path,
        kind="tinyface",
        sha256=digest.hexdigest(),
        folder=folder,
        images=names,
        template=each.astype(np.intp),
        media=each.astype(np.int64),
        detector_scores=None,
        points=None,
        names=names,
        person=person,
        pairs=None,
        galleries=(
            Gallery("", np.r_[:first_probe, first_distractor : len(names)].astype(np.intp)),
        ),
        probes=np.arange(first_probe, first_distractor, dtype=np.intp),
    )


_Part = tuple[Sequence[str], NDArray[np.int64]]


def _listed(
    root: Path, folder: str, digest: hashlib._Hash, embeddings_names: Sequence[str] | None
) -> _Part:
    """Names and people of the images in a folder, by its list, in that order."""
    name, set_key, id_key = LISTS[folder]
    path = root / name
    values = read_mat(path, read_list(root, name, digest))
    cells, ids = values.get(set_key), values.get(id_key)
    texts = cells.values if isinstance(cells, Cells) else []
    images = [each for each in texts if isinstance(each, str)]
    if not isinstance(ids, np.ndarray) or not images or len(images) < len(texts):
        raise BinError(
            f"{path}: expected the names {set_key} and the numbers {id_key}, found"
            f" {', '.join(values) or 'nothing that is either'}"
        )
    if len(images) != len(ids):
        raise BinError(f"{path}: has {len(images)} names in {set_key}, but {len(ids)} {id_key}")
    seen: dict[str, int] = {}
    for row, image in enumerate(images, 1):
        check_name(path, row, image)
        if seen.setdefault(image, row) != row:
            raise BinError(
                f"{path}, row {row}: the image {plain_name(image)} stands in row {seen[image]} too"
            )
    wrong = ~((ids >= 0) & (ids < 2**53) & (ids == np.floor(ids)))  # of NaN too
    if wrong.any():
        row = int(np.argmax(wrong))
        raise BinError(
            f"{path}, row {row + 1}: expected a whole number of a person, found {ids[row]}"
        )
    if embeddings_names is None:
        there = {*image_names_below(root, folder)}
        missing = [row for row, image in enumerate(images) if f"{folder}/{image}" not in there]
        if missing:
            raise BinError(
                f"{path}, row {missing[0] + 1}: names {plain_name(images[missing[0]])}, which is"
                f" not in {root / folder}; put it there, or evaluate cached embeddings"
            )
    return [f"{folder}/{image}" for image in images], ids.astype(np.int64)


def _told_by_names(
    root: Path, folder: str, _: hashlib._Hash, embeddings_names: Sequence[str] | None
) -> _Part:
    """Names and people of the images in a folder, by the names."""
    names = image_names(root, folder, embeddings_names)
    if not names:
        raise BinError(f"{root / folder}: holds no image")
    ids = [integer(name.rpartition("/")[2].partition("_")[0]) for name in names]
    known = [each for each in ids if each is not None]
    if len(known) < len(ids):
        raise BinError(
            f"{root / names[ids.index(None)]}: expected a name that begins with its person's"
            f" number and _, or a list {LISTS[folder][0]}"
        )
    return names, np.array(known, np.int64)
