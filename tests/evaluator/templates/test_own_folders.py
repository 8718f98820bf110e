"""One's own gallery, probes and strangers, as folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from template_samples import jpeg, write_images

from evaluator.errors import BinError
from evaluator.templates import folders
from evaluator.templates.image_files import template_image
from evaluator.templates.layouts import layout_of, read_template_set
from evaluator.templates.template_set import NOBODY

NAMES = [
    "gallery/Ann/1.jpg",
    "gallery/Ann/2.jpg",
    "gallery/Bob/1.png",
    "gallery/Bob/old/1.jpg",
    "gallery/Bob/old/2.jpg",
    "probe/Ann/3.jpg",
    "probe/Ann/4.jpg",
    "probe/Bob/clip/1.jpg",
    "probe/Bob/clip/2.jpg",
    "probe/Cy/1.jpg",
    "unknown/1.jpg",
    "unknown/Di/1.jpg",
    "unknown/Di/2.jpg",
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_images(tmp_path / "own", NAMES)
    (tmp_path / "own" / "gallery" / "Ann" / "notes.txt").write_text("of last year")
    (tmp_path / "own" / "gallery" / ".DS_Store").write_text("")
    return tmp_path / "own"


def test_folders_are_people_and_images_of_a_probe_are_templates(root: Path) -> None:
    assert layout_of(root) == "folders"
    found = read_template_set(root)
    assert found.images == tuple(NAMES)
    assert found.names == (
        "gallery/Ann",
        "gallery/Bob",
        "gallery/Bob/old",
        "probe/Ann/3.jpg",
        "probe/Ann/4.jpg",
        "probe/Bob/clip",
        "probe/Cy/1.jpg",
        "unknown/1.jpg",
        "unknown/Di/1.jpg",
        "unknown/Di/2.jpg",
    )
    assert found.template.tolist() == [0, 0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 9]
    assert found.person.tolist() == [0, 1, 1, 0, 0, 1, 2, NOBODY, 3, 3]
    (gallery,) = found.galleries
    assert (gallery.name, gallery.templates.tolist()) == ("", [0, 1, 2])
    assert found.probes.tolist() == list(range(3, 10))
    assert (found.name, found.kind, found.folder) == ("own", "folders", root)
    assert template_image(found, 2).shape == (12, 10, 3)


def test_every_probe_stands_beside_every_template_of_the_gallery(root: Path) -> None:
    pairs = read_template_set(root).pairs
    assert pairs is not None
    listed = list(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))
    assert listed == [(probe, each) for probe in range(3, 10) for each in range(3)]
    genuine = [pair for pair, same in zip(listed, pairs.genuine.tolist(), strict=True) if same]
    assert genuine == [(3, 0), (4, 0), (5, 1), (5, 2)]


def test_too_many_pairs_are_no_list(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "MOST_PAIRS", 20)
    assert read_template_set(root).pairs is None
    monkeypatch.setattr(folders, "MOST_PAIRS", 21)
    assert read_template_set(root).pairs is not None


@pytest.mark.parametrize(
    ("add", "remove", "words"),
    [
        ("gallery/1.jpg", "", "gallery/1.jpg: expected a folder for each person; put it into gal"),
        ("probe/1.jpg", "", "probe/1.jpg: expected a folder for each person; put it into probe/ID"),
        ("unknown/Ann/1.jpg", "", "Ann is in the gallery too; move the images to probe/Ann"),
        ("gallery/Ann/a/b/1.jpg", "", "gallery/Ann/a/b: a folder too deep"),
        ("gallery/Eve/1.txt", "", "gallery/Eve: holds no image; put one in, or remove it"),
        ("", "gallery", "gallery: holds no image; expected gallery/ID/*.jpg"),
        ("", "probe/Ann probe/Bob", "probe: shows nobody of gallery/"),
    ],
)
def test_what_is_wrong_is_named(root: Path, add: str, remove: str, words: str) -> None:
    if add:
        write_images(root, [add])
    for name in remove.split():
        for path in sorted((root / name).rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        if "/" in name:
            (root / name).rmdir()
    with pytest.raises(BinError) as caught:
        read_template_set(root)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_gallery_alone_and_other_folders_are_no_set(root: Path, tmp_path: Path) -> None:
    assert layout_of(tmp_path) is None
    assert layout_of(root / "gallery") is None
    assert layout_of(root / "gallery" / "Ann" / "1.jpg") is None
    assert layout_of(tmp_path / "nowhere") is None
    with pytest.raises(BinError, match="is no template set; expected meta/"):
        read_template_set(tmp_path)


def test_the_hash_is_of_names_and_bytes(root: Path) -> None:
    found = read_template_set(root)
    named = read_template_set(root, embeddings_names=NAMES)
    assert named.images == found.images
    assert named.sha256 != found.sha256
    (root / "probe/Ann/3.jpg").write_bytes(jpeg(77))
    assert read_template_set(root).sha256 != found.sha256
    assert read_template_set(root, embeddings_names=NAMES).sha256 == named.sha256


def test_an_image_without_an_embedding_is_named(root: Path) -> None:
    with pytest.raises(BinError, match=r"its image unknown/Di/2.jpg is not among"):
        read_template_set(root, embeddings_names=NAMES[:-1])


def test_an_image_that_does_not_decode_is_named(root: Path) -> None:
    (root / "unknown/1.jpg").write_bytes(b"no image")
    found = read_template_set(root)
    with pytest.raises(ValueError, match=r"unknown/1.jpg: is no JPEG, PNG, .* or AVIF"):
        template_image(found, NAMES.index("unknown/1.jpg"))


def test_real_faces_make_a_set(shared: Path, tmp_path: Path) -> None:
    people = sorted((shared / "faces" / "lfw_train").iterdir())[:30]
    for i, person in enumerate(people):
        for j, face in enumerate(sorted(person.iterdir())[:3]):
            part = "unknown" if i >= 20 else "probe" if j else "gallery"
            target = tmp_path / "set" / part / person.name
            target.mkdir(parents=True, exist_ok=True)
            (target / face.name).symlink_to(face)
    found = read_template_set(tmp_path / "set")
    assert len(found.galleries[0].templates) == 20
    assert found.pairs is not None
    assert int(found.pairs.genuine.sum()) == 40
    assert np.unique(found.person).tolist() == list(range(30))
    assert template_image(found, 0).shape == (112, 112, 3)
