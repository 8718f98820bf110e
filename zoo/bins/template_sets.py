"""What is in a template set and what is wrong with it: every image decoded, every list held
against the others.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.templates.image_files import image_bytes
from evaluator.templates.layouts import has_images, read_lists, read_template_set
from evaluator.templates.template_set import NOBODY, TemplatePairs, TemplateSet
from training.data.convert.convert import in_order
from zoo.bins.inspection import counted, first_few, looked_at


@dataclass(frozen=True)
class SetReport:
    """A template set's content. Templates go by their names, images by theirs.

    ``media`` counts a medium once for each template that has it. ``people`` are those who are
    named, ``nobody`` templates of whom nobody says who they show. ``galleries`` are name, size,
    and how many probes have a mate in it and how many none. ``images_there`` says whether images
    were decoded; ``sizes`` and ``formats`` count them. ``undecodable`` are images and causes.
    ``problems`` make a set wrong; ``notes`` are worth knowing.
    """

    path: str
    name: str
    kind: str
    sha256: str
    images: int
    templates: int
    media: int
    people: int
    nobody: int
    pairs: int
    genuine: int
    impostor: int
    probes: int
    galleries: list[dict[str, Any]]
    detector_scores: bool
    points: bool
    images_there: bool
    sizes: dict[str, int]
    formats: dict[str, int]
    undecodable: dict[str, str]
    notes: list[str]
    problems: list[str]


def inspect_set(path: Path, *, progress: Callable[[int], None] | None = None) -> SetReport:
    """The report of one template set. Raises BinError, with file and line, for lists that
    contradict and images that are missing; OSError.
    """
    there = has_images(path)
    found = read_template_set(path) if there else read_lists(path)
    seen = (
        list(in_order(lambda i: _seen(found, i), range(len(found.images)), progress))
        if there
        else []
    )
    causes = {found.images[i]: cause for i, (cause, _) in enumerate(seen) if isinstance(cause, str)}
    whole = [kind for kind, _ in seen if not isinstance(kind, str)]
    people = np.unique(found.person)
    genuine = 0 if found.pairs is None else int(found.pairs.genuine.sum())
    pairs = 0 if found.pairs is None else len(found.pairs.genuine)
    report = SetReport(
        path=str(path),
        name=found.name,
        kind=found.kind,
        sha256=found.sha256,
        images=len(found.images),
        templates=found.templates,
        media=len(np.unique(np.stack([found.template, found.media]), axis=1).T),
        people=int((people != NOBODY).sum()),
        nobody=int((found.person == NOBODY).sum()),
        pairs=pairs,
        genuine=genuine,
        impostor=pairs - genuine,
        probes=len(found.probes),
        galleries=_galleries(found),
        detector_scores=found.detector_scores is not None,
        points=found.points is not None,
        images_there=there,
        sizes=dict(Counter(size for _, size in whole).most_common()),
        formats=dict(Counter(name for name, _ in whole).most_common()),
        undecodable=causes,
        notes=[],
        problems=[],
    )
    report.problems.extend(
        [*_problems(report), *_pair_problems(found), *_image_problems(found, seen)]
    )
    report.notes.extend(_notes(report, found))
    return report


_Seen = tuple[tuple[str, str] | str, bytes]


def _seen(found: TemplateSet, image: int) -> _Seen:
    """Format and size of an image, or what is wrong with it; and its SHA-256."""
    data = image_bytes(found, image)
    return looked_at(data), hashlib.sha256(data).digest()


def _galleries(found: TemplateSet) -> list[dict[str, Any]]:
    listed = []
    for gallery in found.galleries:
        enrolled = found.person[gallery.templates]
        mated = int(np.isin(found.person[found.probes], enrolled[enrolled != NOBODY]).sum())
        listed.append(
            {
                "name": gallery.name,
                "size": len(enrolled),
                "mated": mated,
                "non_mated": len(found.probes) - mated,
            }
        )
    return listed


def _called(gallery: Mapping[str, Any]) -> str:
    return f"gallery {gallery['name']}" if gallery["name"] else "the gallery"


def _problems(report: SetReport) -> list[str]:
    problems = []
    if report.undecodable:
        image, cause = next(iter(report.undecodable.items()))
        problems.append(f"{len(report.undecodable)} images do not decode; {image} {cause}")
    problems += [
        f"no {kind} pairs: every figure of the 1:1 list is undefined"
        for kind, count in (("genuine", report.genuine), ("impostor", report.impostor))
        if report.pairs and not count
    ]
    problems += [
        f"{_called(gallery)}: no probe has a mate in it, so nobody can be found"
        for gallery in report.galleries
        if not gallery["mated"]
    ]
    return problems


def _pair_problems(found: TemplateSet) -> list[str]:
    if found.pairs is None:
        return []
    same = np.flatnonzero(found.pairs.left == found.pairs.right)
    if not len(same):
        return []
    return [f"{len(same)} pairs are a template beside itself: {first_few(same.tolist())}"]


def _image_problems(found: TemplateSet, seen: Sequence[_Seen]) -> list[str]:
    """Equal bytes of two people, or in a gallery and in a probe."""
    first: dict[bytes, int] = {}
    enrolled = np.zeros(found.templates, np.bool_)
    for gallery in found.galleries:
        enrolled[gallery.templates] = True
    of = found.person[found.template]
    mixed, found_again = [], []
    for image, (_, digest) in enumerate(seen):
        other = first.setdefault(digest, image)
        if of[image] != of[other]:
            mixed.append((other, image))
        elif enrolled[found.template[image]] != enrolled[found.template[other]]:
            found_again.append((other, image))
    return [
        f"{len(pairs)} images {words}: {found.images[pairs[0][1]]} has the bytes of "
        f"{found.images[pairs[0][0]]}"
        for pairs, words in (
            (mixed, "are of two people at once"),
            (found_again, "are in a gallery and in a probe, which finds itself"),
        )
        if pairs
    ]


def _notes(report: SetReport, found: TemplateSet) -> list[str]:
    notes = []
    if not report.images_there:
        notes.append("its images are not there: it goes with cached embeddings only")
    if report.images_there and not report.points and {*report.sizes} != {"112x112"}:
        notes.append("images are not all 112x112: were all of them aligned?")
    if found.pairs is not None and (repeated := _repeated(found.pairs, found.templates)):
        notes.append(f"{repeated} pairs are repeated and count again")
    notes += [
        f"{_called(gallery)}: every probe has a mate in it, so no FPIR is defined"
        for gallery in report.galleries
        if not gallery["non_mated"]
    ]
    unused = found.templates - len(np.unique(np.concatenate(_used(found))))
    if unused:
        notes.append(f"{unused} templates are in no pair and in no search")
    return notes


def _used(found: TemplateSet) -> list[NDArray[np.intp]]:
    """The templates that something is computed of."""
    used = [found.probes, *(gallery.templates for gallery in found.galleries)]
    if found.pairs is not None:
        used += [np.unique(ends).astype(np.intp) for ends in (found.pairs.left, found.pairs.right)]
    return used


def _repeated(pairs: TemplatePairs, templates: int) -> int:
    """How many pairs are of the same two templates as another before."""
    low = np.minimum(pairs.left, pairs.right).astype(np.int64)
    low *= templates
    low += np.maximum(pairs.left, pairs.right)
    low.sort()
    return int((low[1:] == low[:-1]).sum())


def set_rows(report: SetReport) -> list[tuple[str, str]]:
    """The report as lines of a name and a value, notes and problems left out."""
    nobody = f", {report.nobody:,} templates of nobody" if report.nobody else ""
    pairs = f"{report.pairs:,}: {report.genuine:,} genuine, {report.impostor:,} impostor"
    beside = [
        words
        for words, there in (
            ("5 points", report.points),
            ("detector scores", report.detector_scores),
        )
        if there
    ]
    rows = [
        ("template set", report.path),
        ("sha256", report.sha256 + ("" if report.images_there else ", of the lists alone")),
        ("layout", report.kind),
        ("images", f"{report.images:,}, with {' and '.join(beside) or 'no points'}"),
        ("templates", f"{report.templates:,} of {report.media:,} media"),
        ("people", f"{report.people:,}{nobody}"),
        ("pairs", pairs if report.pairs else "none"),
        ("probes", f"{report.probes:,}" if report.probes else "none"),
    ]
    rows += [
        (
            f"gallery {gallery['name']}".strip(),
            f"{gallery['size']:,} templates: {gallery['mated']:,} mated and"
            f" {gallery['non_mated']:,} non-mated probes",
        )
        for gallery in report.galleries
    ]
    if report.images_there:
        rows += [
            ("sizes", counted(report.sizes)),
            ("formats", counted(report.formats)),
            ("undecodable", f"{len(report.undecodable):,}" if report.undecodable else "none"),
        ]
    return rows
