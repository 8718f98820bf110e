"""Template sets to test on: the fixture of 40 people that others' figures are known of, as IJB
would lay it out, and the lists that go with it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEADER = "TEMPLATE_ID,SUBJECT_ID,FILENAME,SIGHTING_ID,FACE_X,FACE_Y,FACE_WIDTH,FACE_HEIGHT"


@dataclass(frozen=True)
class Fixture:
    """Rows of images: template, medium, person, embedding, detector score; ``subject`` of each
    template, of which every fourth is the gallery's.
    """

    template: NDArray[np.int64]
    medium: NDArray[np.int64]
    subject: NDArray[np.int64]
    embeddings: NDArray[np.float64]
    detector_scores: NDArray[np.float64]

    @property
    def names(self) -> list[str]:
        return [f"{i + 1}.jpg" for i in range(len(self.template))]


def fixture() -> Fixture:
    """636 images of 160 templates of 40 people; the sums of its arrays are known."""
    rng = np.random.default_rng(7)
    centre = rng.normal(size=(40, 16))
    rows = []
    subject = []
    for person in range(40):
        for _ in range(4):
            template = len(subject)
            for medium in range(1 + rng.integers(3)):
                for _ in range(1 + rng.integers(3)):
                    rows.append((template, 1000 * template + medium, person))
            subject.append(person)
    template, medium, person = np.array(rows).T
    embeddings = centre[person] + 1.6 * rng.normal(size=(len(rows), 16))
    scores = rng.uniform(0.3, 1, len(rows))
    return Fixture(template, medium, np.array(subject), embeddings, scores)


def write_lists(root: Path, *, prefix: str = "ijbc", galleries: str = "G") -> Fixture:
    """The fixture's lists as IJB-C has them, template t under the id 3 t + 1, person p under
    10 p; every pair of templates, of two galleries of 20 people each.
    """
    made = fixture()
    meta = root / "meta"
    meta.mkdir(parents=True)

    def write(end: str, lines: list[str]) -> None:
        (meta / f"{prefix}{end}").write_text("\n".join(lines) + "\n", encoding="utf-8")

    ids = [3 * t + 1 for t in range(160)]
    columns = (made.template.tolist(), made.medium.tolist(), made.detector_scores.tolist())
    rows = list(zip(made.names, *columns, strict=True))
    write("_face_tid_mid.txt", [f"{name} {ids[t]} {m}" for name, t, m, _ in rows])
    points = "38.3 {} 73.5 51.5 56.0 71.7 41.5 92.4 70.7 92.2"
    write(
        "_name_5pts_score.txt",
        [
            f"{name} {points.format(row % 50)} {score!r}"
            for row, (name, _, _, score) in enumerate(rows)
        ],
    )
    who = made.subject.tolist()
    pairs = [(i, j) for i in range(160) for j in range(i + 1, 160)]
    write(
        "_template_pair_label.txt",
        [f"{ids[i]} {ids[j]} {int(who[i] == who[j])}" for i, j in pairs],
    )
    write("_1N_probe_mixed.csv", [HEADER, *_rows(made, [t for t in range(160) if t % 4])])
    for half in (0, 1):
        enrolled = [4 * person for person in range(20 * half, 20 * half + 20)]
        write(f"_1N_gallery_{galleries}{half + 1}.csv", [HEADER, *_rows(made, enrolled)])
    return made


def _rows(made: Fixture, templates: list[int]) -> list[str]:
    """A row an image, as the lists of searches have them."""
    return [
        f"{3 * t + 1},{10 * made.subject[t]},img/{row}.jpg,{row},1,2,30,40"
        for t in templates
        for row in np.flatnonzero(made.template == t)
    ]


def to_nist(root: Path, *, prefix: str = "ijbc") -> None:
    """Puts the lists of pairs and searches where NIST's package has them, in its form."""
    meta, protocols = root / "meta", root / "protocols"
    (protocols / "test1").mkdir(parents=True)
    (protocols / "test4").mkdir()
    pairs = meta / f"{prefix}_template_pair_label.txt"
    lines = [",".join(line.split()[:2]) for line in pairs.read_text().splitlines()]
    (protocols / "test1" / "match.csv").write_text("\n".join(lines) + "\n")
    pairs.unlink()
    probes = (meta / f"{prefix}_1N_probe_mixed.csv").rename(protocols / "test4" / "probes.csv")
    enrolled = [HEADER]
    for each in sorted(meta.glob(f"{prefix}_1N_gallery_*.csv")):
        text = each.read_text()
        enrolled += text.splitlines()[1:]
        each.rename(protocols / "test4" / f"gallery_{each.stem[-2:]}.csv")
    (protocols / "test1" / "enroll_templates.csv").write_text("\n".join(enrolled))
    (protocols / "test1" / "verif_templates.csv").write_bytes(probes.read_bytes())


def jpeg(shade: int, size: tuple[int, int] = (12, 10)) -> bytes:
    """A gray image of (height, width), a shade apart from others."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((*size, 3), shade % 256, np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def write_images(root: Path, names: list[str]) -> None:
    """An image of each name below ``root``."""
    for shade, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(jpeg(shade))
