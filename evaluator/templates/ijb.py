"""IJB-B and IJB-C as insightface lays them out, with NIST's own lists where those stand beside.

`loose_crop/` has the images. In `meta/`, `ijbc_face_tid_mid.txt` says template and medium of each,
`ijbc_name_5pts_score.txt` its five points and detector score, `ijbc_template_pair_label.txt` the
1:1 list, `ijbc_1N_gallery_G1.csv`, `_G2.csv` and `ijbc_1N_probe_mixed.csv` the searches; IJB-B has
`ijbb_` and galleries S1 and S2, and any other word in front is read too. Where a list is not there,
NIST's is taken: `protocols/test1/match.csv` with `enroll_templates.csv` and `verif_templates.csv`,
`protocols/test4/gallery_*.csv` and `probes.csv`.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.bins.tables import table_rows
from evaluator.errors import BinError, plain_name
from evaluator.templates.image_files import put_images
from evaluator.templates.lists import (
    bad_line,
    check_name,
    integer,
    integer_rows,
    read_list,
    text_lines,
)
from evaluator.templates.people import numbered_people
from evaluator.templates.template_set import NOBODY, Gallery, TemplatePairs, TemplateSet

IMAGES = "loose_crop"
_ROWS = "_face_tid_mid.txt"
_LARGEST_TABLE = 1 << 20


@dataclass(frozen=True)
class _Lists:
    """The folder, the word before the names of its lists, and the digest of what was read."""

    root: Path
    prefix: str
    digest: hashlib._Hash = field(default_factory=lambda: hashlib.sha256(b"ijb"))

    def path(self, name: str) -> Path:
        return self.root / name

    def read(self, name: str) -> bytes:
        return read_list(self.root, name, self.digest)

    def meta(self, end: str) -> str:
        return f"meta/{self.prefix}{end}"


@dataclass(frozen=True)
class _Searches:
    """The 1:N lists: subjects of templates (templates,), galleries, and probes."""

    subjects: NDArray[np.int64]
    galleries: tuple[Gallery, ...] = ()
    probes: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, np.intp))


def row_lists(root: Path) -> list[str]:
    """The names of the lists that make a folder one of this layout."""
    return sorted(path.name for path in (root / "meta").glob(f"*{_ROWS}"))


def read_ijb(root: Path, *, embeddings_names: Sequence[str] | None = None) -> TemplateSet:
    """The template set in a folder of this layout; templates are in the order of their ids.

    With ``embeddings_names``, images that somebody has embedded, no image need be there; else
    every one has to be, and the points to align it, and their bytes are in ``sha256``.
    ``person`` is by `numbered_people`: by the subjects of the 1:N lists, and by genuine pairs.

    Raises BinError, which names file and line, for all that contradicts; OSError.
    """
    rows = row_lists(root)
    if len(rows) != 1:
        raise BinError(
            f"{root / 'meta'}: expected one list *{_ROWS}, found {len(rows)}:"
            f" {', '.join(map(plain_name, rows)) or 'none'}; name a folder that holds one set"
        )
    lists = _Lists(root, rows[0].removesuffix(_ROWS))
    images, ids, media = _face_rows(lists)
    points, detector_scores = _points(lists, images, needed=embeddings_names is None)
    known, template = np.unique(ids, return_inverse=True)
    names = tuple(map(str, known.tolist()))
    searches = _searches(lists, known)
    pairs, pairs_path, subjects = _pairs(lists, known, searches.subjects)
    if pairs is None and not searches.galleries:
        raise BinError(
            f"{lists.path(lists.meta('_template_pair_label.txt'))}: is not there, and neither is a"
            f" 1:N gallery ({lists.meta('_1N_gallery_*.csv')}): nothing is compared"
        )
    person = numbered_people(subjects, pairs, names, pairs_path)
    folder = root / IMAGES if (root / IMAGES).is_dir() else None
    if embeddings_names is None:
        where = lists.path(lists.meta(_ROWS))
        if folder is None:
            raise BinError(
                f"{root / IMAGES}: no such folder; put the images there, or evaluate cached"
                " embeddings"
            )
        put_images(lists.digest, folder, images, lambda i: f"{where}, line {i + 1}")
    return TemplateSet(
        name=plain_name(root.resolve().name),
        path=root,
        kind="ijb",
        sha256=lists.digest.hexdigest(),
        folder=folder,
        images=images,
        template=template.astype(np.intp, copy=False),
        media=media,
        detector_scores=detector_scores,
        points=points,
        names=names,
        person=person,
        pairs=pairs,
        galleries=searches.galleries,
        probes=searches.probes,
    )


def _face_rows(
    lists: _Lists,
) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.int64]]:
    """The images' names, and the ids of their templates and media, as the first list has them."""
    name = lists.meta(_ROWS)
    path, data = lists.path(name), lists.read(name)
    images: dict[str, int] = {}
    numbers = array("q")
    for line, text in enumerate(text_lines(path, data), 1):
        match text.rsplit(None, 2):
            case [image, template, medium]:
                ids = integer(template), integer(medium)
            case _:
                image, ids = "", (None, None)
        if ids[0] is None or ids[1] is None:
            raise bad_line(path, line, "an image, its template's and its medium's number", text)
        check_name(path, line, image)
        earlier = images.setdefault(image, line)
        if earlier != line:
            raise BinError(
                f"{path}, line {line}: the image {plain_name(image)} stands in line {earlier} too;"
                " leave one out"
            )
        numbers.extend((ids[0], ids[1]))
    if not images:
        raise BinError(f"{path}: is empty; expected lines of image, template and medium")
    template_ids, media = np.frombuffer(numbers, np.int64).reshape(-1, 2).T.copy()
    return tuple(images), template_ids, media


def _points(
    lists: _Lists, images: Sequence[str], *, needed: bool
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Points (n, 5, 2) and detector scores (n,) of the images, None where the list is not there."""
    name = lists.meta("_name_5pts_score.txt")
    path = lists.path(name)
    if not path.exists():
        if needed:
            raise BinError(
                f"{path}: is not there; without points no face is aligned, and figures of faces"
                " that are not are worth nothing"
            )
        return None, None
    rows = text_lines(path, lists.read(name))
    if len(rows) != len(images):
        raise BinError(
            f"{path}: expected a line for each of the {len(images):,} images of"
            f" {lists.prefix}{_ROWS}, found {len(rows):,} lines"
        )
    values = array("d")
    for line, (image, text) in enumerate(zip(images, rows, strict=True), 1):
        found = text.rsplit(None, 11)
        try:
            values.extend(map(float, found[1:]))
        except ValueError:
            found = []
        if len(found) != 12:
            raise bad_line(path, line, "an image, five points and a detector score", text)
        if found[0] != image:
            raise bad_line(
                path, line, f"{plain_name(image)}, as line {line} of {lists.prefix}{_ROWS}", text
            )
    table = np.frombuffer(values, np.float64).reshape(-1, 11)
    wrong = ~np.isfinite(table).all(axis=1) | (table[:, 10] < 0)
    if wrong.any():
        line = int(np.argmax(wrong))
        raise bad_line(path, line + 1, "finite points and a detector score from 0", rows[line])
    return table[:, :10].reshape(-1, 5, 2).copy(), table[:, 10].copy()


def _numbers_of(
    known: NDArray[np.int64], ids: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """The numbers of templates by their ids, and which of these are known."""
    if known[-1] < _LARGEST_TABLE:  # as it is in IJB: some times quicker than to search
        table = np.zeros(known[-1] + 2, np.intp)
        table[known] = np.arange(len(known))
        numbers = table[np.minimum(ids, len(table) - 1)]
    else:
        numbers = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    return numbers, known[numbers] == ids


def _subject_rows(
    lists: _Lists, name: str, known: NDArray[np.int64], subjects: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Templates of a 1:N list in its order, each once, and the line of each.

    Their subjects are written into ``subjects`` (templates,). The list has a header, which may say
    which columns are TEMPLATE_ID and SUBJECT_ID; else these are the first two.
    """
    path = lists.path(name)
    rows = table_rows(path, "\n".join(text_lines(path, lists.read(name))))
    header = [cell.strip().upper() for cell in next(rows, (0, [""]))[1]]
    if integer(header[0]) is not None or len(header) < 2:
        raise bad_line(path, 1, "a header, TEMPLATE_ID,SUBJECT_ID,...", ",".join(header))
    columns = ("TEMPLATE_ID", "SUBJECT_ID")
    first, second = (
        header.index(c) if set(columns) <= {*header} else columns.index(c) for c in columns
    )
    found: dict[int, tuple[int, int]] = {}
    for line, cells in rows:
        template = integer(cells[first]) if len(cells) > first else None
        subject = integer(cells[second]) if len(cells) > second else None
        if template is None or subject is None:
            raise bad_line(path, line, "the numbers of a template and a subject", ",".join(cells))
        earlier = found.setdefault(template, (subject, line))
        if earlier[0] != subject:
            raise BinError(
                f"{path}, line {line}: template {template} is of subject {subject} here, and of"
                f" {earlier[0]} in line {earlier[1]}; mend one"
            )
    if not found:
        raise BinError(f"{path}: has no rows below its header")
    ids = np.array(list(found), np.int64)
    of, lines = np.array(list(found.values()), np.int64).T
    numbers, there = _numbers_of(known, ids)
    if not there.all():
        place = int(np.argmin(there))
        raise BinError(
            f"{path}, line {lines[place]}: template {ids[place]} has no image in"
            f" {lists.prefix}{_ROWS}; leave the row out, or add its images there"
        )
    other = (subjects[numbers] != NOBODY) & (subjects[numbers] != of)
    if other.any():
        place = int(np.argmax(other))
        raise BinError(
            f"{path}, line {lines[place]}: template {ids[place]} is of subject {of[place]} here,"
            f" and of {subjects[numbers[place]]} in another list; mend one"
        )
    subjects[numbers] = of
    return numbers, lines


def _searches(lists: _Lists, known: NDArray[np.int64]) -> _Searches:
    """The galleries and probes of the 1:N lists, insightface's or else NIST's; none without."""
    subjects = np.full(len(known), NOBODY, np.int64)
    begin, probe_list = lists.meta("_1N_gallery_"), lists.meta("_1N_probe_mixed.csv")
    if not lists.path(probe_list).exists() and lists.path("protocols/test4").is_dir():
        begin, probe_list = "protocols/test4/gallery_", "protocols/test4/probes.csv"
    folder, start = begin.rsplit("/", 1)
    names = sorted(path.name for path in lists.path(folder).glob(f"{start}*.csv"))
    if not names and not lists.path(probe_list).exists():
        return _Searches(subjects)
    if not names or not lists.path(probe_list).exists():
        missing = lists.path(probe_list if names else begin + "*.csv")
        raise BinError(f"{missing}: is not there; galleries and probes go together")
    galleries = []
    for name in names:
        templates, lines = _subject_rows(lists, f"{folder}/{name}", known, subjects)
        _check_gallery(lists.path(f"{folder}/{name}"), known[templates], lines, subjects[templates])
        galleries.append(Gallery(name[len(start) : -len(".csv")], templates))
    probes, lines = _subject_rows(lists, probe_list, known, subjects)
    path = lists.path(probe_list)
    enrolled = np.concatenate([gallery.templates for gallery in galleries])
    both = np.isin(probes, enrolled)
    if both.any():
        place = int(np.argmax(both))
        raise BinError(
            f"{path}, line {lines[place]}: template {known[probes[place]]} is in a gallery too, and"
            " would find itself; leave it out of one"
        )
    if not np.isin(subjects[probes], subjects[enrolled]).any():
        raise BinError(
            f"{path}: no probe has a mate in a gallery ({', '.join(names)}); are the subjects'"
            " numbers of the same kind in all of them?"
        )
    return _Searches(subjects, tuple(galleries), probes)


def _check_gallery(
    path: Path, ids: NDArray[np.int64], lines: NDArray[np.int64], subjects: NDArray[np.int64]
) -> None:
    """Raises BinError for a second template of a subject: galleries of IJB have one of each."""
    first: dict[int, int] = {}
    for place, subject in enumerate(subjects.tolist()):
        earlier = first.setdefault(subject, place)
        if earlier != place:
            raise BinError(
                f"{path}, line {lines[place]}: template {ids[place]} is of subject {subject}, as"
                f" template {ids[earlier]} of line {lines[earlier]}; a gallery has one of each,"
                " so make them one template or leave one out"
            )


def _pairs(
    lists: _Lists, known: NDArray[np.int64], subjects: NDArray[np.int64]
) -> tuple[TemplatePairs | None, Path, NDArray[np.int64]]:
    """The 1:1 list if there is one, its file, and the subjects with what NIST's list adds."""
    name = lists.meta("_template_pair_label.txt")
    nist = "protocols/test1/match.csv"
    if lists.path(name).exists():
        return _pair_rows(lists, name, known), lists.path(name), subjects
    if not lists.path(nist).exists():
        return None, lists.path(name), subjects
    subjects = subjects.copy()
    for each in ("enroll", "verif"):
        _subject_rows(lists, f"protocols/test1/{each}_templates.csv", known, subjects)
    pairs = _pair_rows(lists, nist, known, subjects)
    return pairs, lists.path(nist), subjects


def _pair_rows(
    lists: _Lists, name: str, known: NDArray[np.int64], subjects: NDArray[np.int64] | None = None
) -> TemplatePairs:
    """The pairs of a list, in its order: two templates and a label, or, where the subjects tell
    the labels, two templates.
    """
    path = lists.path(name)
    columns, separator = (3, None) if subjects is None else (2, ",")
    expected = "two templates' numbers" + (" and 1 or 0" if subjects is None else "")
    rows = integer_rows(path, lists.read(name), columns, expected, separator=separator)
    if not len(rows):
        raise BinError(f"{path}: is empty; expected lines of {expected}")
    ends = []
    for column in (0, 1):
        numbers, there = _numbers_of(known, rows[:, column])
        if not there.all():
            place = int(np.argmin(there))
            raise BinError(
                f"{path}, line {place + 1}: template {rows[place, column]} has no image in"
                f" {lists.prefix}{_ROWS}; leave the pair out, or add its images there"
            )
        ends.append(numbers.astype(np.int32))
    left, right = ends
    if subjects is not None:
        return TemplatePairs(left, right, subjects[left] == subjects[right])
    wrong = rows[:, 2] > 1
    if wrong.any():
        place = int(np.argmax(wrong))
        raise bad_line(path, place + 1, expected, " ".join(map(str, rows[place].tolist())))
    return TemplatePairs(left, right, rows[:, 2] == 1)
