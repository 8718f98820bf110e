"""`zoo bins info` of a template set: what is in it, and what is wrong with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from samples import Zoo, write_pairs
from template_samples import write_images, write_lists

from evaluator.templates.layouts import read_template_set

OWN = [
    "gallery/Ann/1.jpg",
    "gallery/Bob/1.jpg",
    "probe/Ann/2.jpg",
    "probe/Bob/2.jpg",
    "unknown/1.jpg",
]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    write_images(tmp_path / "own", OWN)
    return tmp_path / "own"


def info(zoo: Zoo, *arguments: object, code: int) -> list[dict[str, Any]]:
    done = zoo("bins", "info", *arguments, "--json")
    assert done.code == code, done.err
    reports: list[dict[str, Any]] = json.loads(done.out)
    return reports


def test_ijb_with_images_is_described(zoo: Zoo, tmp_path: Path) -> None:
    made = write_lists(tmp_path / "IJBC")
    write_images(tmp_path / "IJBC" / "loose_crop", made.names)
    (report,) = info(zoo, "IJBC", code=1)
    counts = {key: report[key] for key in ("images", "templates", "people", "nobody", "probes")}
    assert counts == {"images": 636, "templates": 160, "people": 40, "nobody": 0, "probes": 120}
    assert report["media"] == len({*zip(made.template.tolist(), made.medium.tolist(), strict=True)})
    assert (report["pairs"], report["genuine"], report["impostor"]) == (12_720, 240, 12_480)
    assert report["galleries"] == [
        {"name": name, "size": 20, "mated": 60, "non_mated": 60} for name in ("G1", "G2")
    ]
    assert (report["kind"], report["name"]) == ("ijb", "IJBC")
    assert report["points"] is report["detector_scores"] is report["images_there"] is True
    assert report["sizes"] == {"12x10": 636}
    assert report["sha256"] == read_template_set(tmp_path / "IJBC").sha256
    assert report["notes"] == []
    # The images that were made here are 256 shades.
    assert report["problems"][0].startswith("380 images are of two people at once: 257.jpg has")


def test_ijb_without_images_is_described_by_its_lists(zoo: Zoo, tmp_path: Path) -> None:
    write_lists(tmp_path / "IJBC")
    (report,) = info(zoo, "IJBC", code=0)
    assert report["images_there"] is False
    assert report["sizes"] == report["formats"] == report["undecodable"] == {}
    assert report["notes"] == ["its images are not there: it goes with cached embeddings only"]
    names = [f"{i + 1}.jpg" for i in range(636)]
    assert report["sha256"] == read_template_set("IJBC", embeddings_names=names).sha256


def test_it_is_printed_in_words(zoo: Zoo, own: Path) -> None:
    done = zoo("bins", "info", own)
    assert done.code == 0
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert lines[2:] == [
        "layout folders",
        "images 5, with no points",
        "templates 5 of 5 media",
        "people 2, 1 templates of nobody",
        "pairs 6: 2 genuine, 4 impostor",
        "probes 3",
        "gallery 2 templates: 2 mated and 1 non-mated probes",
        "sizes 12x10 (5)",
        "formats JPEG (5)",
        "undecodable none",
        "note: images are not all 112x112: were all of them aligned?",
    ]


@pytest.mark.parametrize(
    ("copied", "to", "words"),
    [
        ("gallery/Ann/1.jpg", "probe/Ann/2.jpg", "1 images are in a gallery and in a probe, which"),
        ("gallery/Ann/1.jpg", "probe/Bob/2.jpg", "1 images are of two people at once: probe/Bob/2"),
        ("gallery/Ann/1.jpg", "unknown/1.jpg", "1 images are of two people at once: unknown/1.jpg"),
    ],
)
def test_an_image_in_two_places_is_a_problem(
    zoo: Zoo, own: Path, copied: str, to: str, words: str
) -> None:
    shutil.copy(own / copied, own / to)
    (report,) = info(zoo, own, code=1)
    (problem,) = report["problems"]
    assert problem.startswith(words)


def test_an_image_that_does_not_decode_is_a_problem(zoo: Zoo, own: Path) -> None:
    (own / "unknown/1.jpg").write_bytes(b"\xff\xd8\xff cut")
    (report,) = info(zoo, own, code=1)
    assert list(report["undecodable"]) == ["unknown/1.jpg"]
    assert report["problems"][0].startswith("1 images do not decode; unknown/1.jpg has a damaged")


def test_a_closed_set_is_noted(zoo: Zoo, own: Path) -> None:
    shutil.rmtree(own / "unknown")
    (report,) = info(zoo, own, code=0)
    assert report["notes"][1:] == [
        "the gallery: every probe has a mate in it, so no FPIR is defined"
    ]


def test_pairs_that_say_little_are_told(zoo: Zoo, tmp_path: Path) -> None:
    write_lists(tmp_path / "set")
    pairs = tmp_path / "set" / "meta" / "ijbc_template_pair_label.txt"
    pairs.write_text("1 4 1\n4 1 1\n1 7 1\n10 10 1\n")
    for path in pairs.parent.glob("*_1N_*"):
        path.unlink()
    (report,) = info(zoo, "set", code=1)
    assert report["problems"] == [
        "no impostor pairs: every figure of the 1:1 list is undefined",
        "1 pairs are a template beside itself: 3",
    ]
    assert report["notes"][1:] == [
        "1 pairs are repeated and count again",
        "156 templates are in no pair and in no search",
    ]


def test_a_gallery_that_nobody_is_searched_in_is_a_problem(zoo: Zoo, tmp_path: Path) -> None:
    write_lists(tmp_path / "set")
    probes = tmp_path / "set" / "meta" / "ijbc_1N_probe_mixed.csv"
    rows = probes.read_text().splitlines()
    kept = [row for row in rows[1:] if int(row.split(",")[1]) < 200]
    probes.write_text("\n".join([rows[0], *kept]))
    (report,) = info(zoo, "set", code=1)
    assert [gallery["mated"] for gallery in report["galleries"]] == [60, 0]
    assert report["problems"] == ["gallery G2: no probe has a mate in it, so nobody can be found"]


def test_sets_and_bins_stand_side_by_side(zoo: Zoo, own: Path, tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.bin")
    bin_report, set_report = info(zoo, "a.bin", own, code=0)
    assert (bin_report["layout"], set_report["kind"]) == ("pickle", "folders")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["own", "--faces", "x.png"], "--faces x.png: draws pairs of a bin, and own is a folder"),
        (["own/gallery"], "own/gallery: is no template set; expected meta/ijbc_face_tid_mid.txt"),
    ],
)
def test_what_cannot_be_described_is_said_in_one_line(
    zoo: Zoo, own: Path, arguments: list[str], words: str
) -> None:
    assert own.name == "own"
    done = zoo("bins", "info", *arguments)
    assert done.code == 2
    assert words in done.err
    assert done.err.count("\n") == 1
