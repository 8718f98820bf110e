"""Which layout of template sets a folder has, and the set in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from evaluator.errors import BinError, plain_name
from evaluator.templates.folders import is_folders, read_folders
from evaluator.templates.ijb import IMAGES, read_ijb, row_lists
from evaluator.templates.template_set import TemplateSet
from evaluator.templates.tinyface import PROBE, read_tinyface, tinyface_folder

Layout = Literal["ijb", "tinyface", "folders"]

# What tells a layout, in this order, and what reads it.
_LAYOUTS: dict[Layout, tuple[Callable[[Path], object], Callable[..., TemplateSet]]] = {
    "ijb": (row_lists, read_ijb),
    "tinyface": (tinyface_folder, read_tinyface),
    "folders": (is_folders, read_folders),
}


def layout_of(path: Path) -> Layout | None:
    """The layout of template sets that a folder has, told by a few names in it; None for files
    and for every other folder.
    """
    if not path.is_dir():
        return None
    return next((layout for layout, (tells, _) in _LAYOUTS.items() if tells(path)), None)


def read_template_set(
    path: str | Path, *, embeddings_names: Sequence[str] | None = None
) -> TemplateSet:
    """The template set in a folder, of the layout that `layout_of` tells.

    ``embeddings_names`` are the images' names in a file of cached embeddings: then images need not
    be there, ``sha256`` is of the lists alone, and each image of the set has to be among the names.
    Without, the images are read, and ``sha256`` is of their bytes too.

    Raises BinError in one line for a folder of no layout and for what is wrong in its lists, with
    file and line; OSError.
    """
    if embeddings_names is None:
        return _read(Path(path), None)
    found = _read(Path(path), embeddings_names)
    known = set(embeddings_names)
    missing = next((each for each in found.images if each not in known), None)
    if missing is not None:
        raise BinError(
            f"{path}: its image {plain_name(missing)} is not among the embeddings' names"
        )
    return found


def read_lists(path: str | Path) -> TemplateSet:
    """The template set as its lists alone say, with ``sha256`` of these: of one whose images are
    not there, what can be told. Raises as `read_template_set`.
    """
    return _read(Path(path), ())


def has_images(path: Path) -> bool:
    """Whether the folder of a template set's images is there, be it with all of them or not."""
    tinyface = tinyface_folder(path)
    return (
        (path / IMAGES).is_dir()
        or is_folders(path)
        or (tinyface is not None and (tinyface / PROBE).is_dir())
    )


def _read(path: Path, embeddings_names: Sequence[str] | None) -> TemplateSet:
    layout = layout_of(path)
    if layout is None:
        raise BinError(
            f"{path}: is no template set; expected meta/ijbc_face_tid_mid.txt (IJB), or"
            " Testing_Set/Gallery_Match and Probe (TinyFace), or gallery/ID and probe/ID folders"
        )
    return _LAYOUTS[layout][1](path, embeddings_names=embeddings_names)
