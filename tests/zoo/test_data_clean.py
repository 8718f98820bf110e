"""`zoo data clean`: what was planted is found, and nothing else."""

from __future__ import annotations

import csv
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evaluator.bins.verification_set import VerificationSet, read_bin, write_bin
from evaluator.images.inputs import Embedder, InputSpec
from training.data.sources.faces import FaceSet, open_faces
from zoo.data import alike as alike_module
from zoo.data import looking as looking_module
from zoo.data.clean import Cosines, clean
from zoo.data.findings import Finding

SIDE, BLOCKS = 32, 8


def pixels(person: int, number: int, noise: int | None = None) -> Any:
    """An image of a person: its own pattern of blocks, and others that are the image's."""
    own = np.random.default_rng([1, person]).normal(size=(BLOCKS, BLOCKS, 3))
    other = np.random.default_rng([2, person, number]).normal(size=(BLOCKS, BLOCKS, 3))
    blocks = np.kron(40 * own + 25 * other, np.ones((SIDE // BLOCKS, SIDE // BLOCKS, 1)))
    if noise is not None:
        blocks = blocks + np.random.default_rng([3, noise]).normal(size=blocks.shape)
    return (128 + blocks).clip(0, 255).astype(np.uint8)


def png(values: Any, level: int = 6) -> bytes:
    buffer = BytesIO()
    Image.fromarray(values).save(buffer, "PNG", compress_level=level)
    return buffer.getvalue()


def write(root: Path, people: int = 12, each: int = 6) -> Path:
    for person in range(people):
        folder = root / f"p{person:02d}"
        folder.mkdir(parents=True)
        for number in range(each):
            (folder / f"{number}.png").write_bytes(png(pixels(person, number)))
    return root


def embedder() -> Embedder:
    """Means of blocks, in a narrow cone, as many networks' embeddings are."""

    def forward(batch: Any) -> Any:
        step = SIDE // BLOCKS
        means = batch.reshape(len(batch), BLOCKS, step, BLOCKS, step, 3).mean(axis=(2, 4))
        return (means - 0.5).reshape(len(batch), -1) + 1

    return Embedder(forward, InputSpec(SIDE, SIDE))


def found_in(
    faces: FaceSet, bins: list[VerificationSet], model: Embedder | None, **cosines: Any
) -> set[tuple[str, ...]]:
    found, _ = clean(
        faces, bins, embedder=model, cosines=Cosines(**cosines), progress=lambda _: None
    )
    return {short(each) for each in found}


def short(each: Finding) -> tuple[str, ...]:
    image, other = ("/".join(Path(name).parts[-2:]) for name in (each.image, each.other))
    return each.finding, image or each.person, other or each.other_person


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    root = write(tmp_path / "faces")
    (root / "p00" / "again.png").write_bytes(png(pixels(0, 3), level=1))  # other bytes
    (root / "p01" / "other.png").write_bytes(png(pixels(2, 1)))
    (root / "p03" / "near.png").write_bytes(png(pixels(3, 2, noise=1)))
    (root / "p04" / "wrong.png").write_bytes(png(pixels(5, 90)))
    for number in (3, 4, 5):
        (root / "p06" / f"{number}.png").rename(root / "p07" / f"six{number}.png")
    (root / "p12").mkdir()  # the other half of p08
    for number in range(20, 26):
        (root / "p12" / f"{number}.png").write_bytes(png(pixels(8, number)))
    (root / "p09" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno image")
    return root


@pytest.fixture
def test_bin(tmp_path: Path) -> VerificationSet:
    images = [
        png(pixels(9, 2), level=1), png(pixels(9, 60)),  # one of the training images
        png(pixels(10, 4, noise=2)), png(pixels(200, 0)),  # nearly one
        png(pixels(11, 70)), png(pixels(11, 71)),  # the person alone
        png(pixels(300, 0)), png(pixels(301, 1)),
    ]  # fmt: skip
    write_bin(tmp_path / "small.bin", images, [True, False, True, False])
    return read_bin(tmp_path / "small.bin")


PIXELS = {
    ("same image", "p00/again.png", "p00/3.png"),
    ("same image, two people", "p02/1.png", "p01/other.png"),
    ("images that are in small", "p09/2.png", "slot 0"),
}


def test_pixels_alone_tell_duplicates_whatever_their_bytes(
    planted: Path, test_bin: VerificationSet
) -> None:
    found = found_in(open_faces(planted), [test_bin], None)
    unreadable = {each for each in found if each[0] == "unreadable"}
    assert [each[1] for each in unreadable] == ["p09/broken.png"]
    assert found - unreadable == PIXELS


def test_a_model_finds_what_was_planted_and_nothing_else(
    planted: Path, test_bin: VerificationSet
) -> None:
    found = found_in(open_faces(planted), [test_bin], embedder(), same_person=0.7)
    assert {each for each in found if each[0] != "unreadable"} == PIXELS | {
        ("near-duplicate", "p03/near.png", "p03/2.png"),
        ("mislabelled", "p04/wrong.png", "p05"),
        ("mislabelled", "p01/other.png", "p02"),
        ("mislabelled", "p07/six3.png", "p06"),
        ("mislabelled", "p07/six4.png", "p06"),
        ("mislabelled", "p07/six5.png", "p06"),
        ("same person", "p08", "p12"),
        ("images that are nearly in small", "p10/4.png", "slot 2"),
        ("people who are likely in small", "p09", "slot 0, slot 1"),
        ("people who are likely in small", "p11", "slot 4, slot 5"),
        ("people who are likely in small", "p10", "slot 2"),
    }


def test_a_clean_set_has_nothing(tmp_path: Path) -> None:
    faces = open_faces(write(tmp_path / "faces"))
    assert found_in(faces, [], embedder(), same_person=0.7) == set()


def test_small_blocks_find_the_same(
    planted: Path, test_bin: VerificationSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = open_faces(planted)
    whole = found_in(faces, [test_bin], embedder())
    for module in (alike_module, looking_module):
        monkeypatch.setattr(module, "BLOCK", 7)
    monkeypatch.setattr(alike_module, "_MEMORY", 150)
    assert found_in(faces, [test_bin], embedder()) == whole


def test_half_of_the_peoples_halves_reach_the_cosine(tmp_path: Path) -> None:
    faces = open_faces(write(tmp_path / "faces", people=9, each=5))
    _, notes = clean(faces, [], embedder=embedder(), cosines=Cosines(), progress=lambda _: None)
    # Restated: centred unit embeddings, each person's images in turn into two halves.
    rows = np.stack([pixels(p, n) for p in range(9) for n in range(5)]) / 255
    rows = np.asarray(embedder().forward(rows.astype(np.float32)), np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows -= rows.mean(axis=0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    own = rows.reshape(9, 5, -1)
    one, two = own[:, ::2].sum(axis=1), own[:, 1::2].sum(axis=1)
    cosines = (one * two).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)
    assert f"from {np.median(cosines):.3f} on are taken for one: half of 9" in notes[0]


def test_the_command_lists_and_writes_all(
    planted: Path, test_bin: VerificationSet, tmp_path: Path, zoo: Any
) -> None:
    out = tmp_path / "found.csv"
    for _ in range(2):  # its own file may be written again
        done = zoo("data", "clean", planted, "--against", test_bin.path, "-o", out)
        assert done.code == 1
    assert "images that are in small: 1" in done.out
    assert "83 images of 13 people, small: 4 to look at" in done.out
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["finding"] for row in rows} == {"unreadable", *(each[0] for each in PIXELS)}
    assert all(Path(row["image"]).is_file() for row in rows)


def test_a_clean_set_ends_well(tmp_path: Path, zoo: Any) -> None:
    done = zoo("data", "clean", write(tmp_path / "faces", people=2, each=2))
    assert (done.code, done.err) == (0, "")
    assert done.out == "4 images of 2 people: nothing to look at\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--same-image", "1.5"], "--same-image: expected a cosine above 0 and up to 1; found 1.5"),
        (["--input", "unit"], "go with --model"),
        (["--against", "unheard-of"], "unheard-of"),
        (["-o", "faces/p00/0.png"], "-o faces/p00/0.png"),
        (["--model", "missing.onnx"], "missing.onnx"),
    ],
)
def test_what_cannot_be_is_one_line(
    tmp_path: Path, arguments: list[str], message: str, zoo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "faces", people=2, each=2)
    monkeypatch.chdir(tmp_path)
    done = zoo("data", "clean", "faces", *arguments)
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1


@pytest.mark.slow
def test_faces_and_bin_of_other_people_share_no_image(shared: Path, zoo: Any) -> None:
    path = shared / "bins" / "lfw_devtest.bin"
    done = zoo("data", "clean", shared / "faces" / "lfw_train", "--against", path)
    assert done.out == "4,312 images of 667 people, lfw_devtest: nothing to look at\n"
    assert done.code == 0
