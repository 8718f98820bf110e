"""Faces found many at once, as the package finds them one by one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from samples import Zoo, face, png

from evaluator.images.decode import decode_image
from zoo.align import detector
from zoo.align.landmarks import Row, read_landmarks, write_landmarks

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def photographs(shared: Path) -> list[Path]:
    """Photographs among which the package's own lists of images find another box in one."""
    pytest.importorskip("mtcnn", reason="needs the align extra")
    return sorted((shared / "faces/lfw_photographs").rglob("*.jpg"))[:7]


def _one_by_one(images: Sequence[Pixels]) -> list[NDArray[np.float64]]:
    from mtcnn import MTCNN

    found = MTCNN()
    return [found.detect_faces(image, output_type="numpy")[:, 1:] for image in images]


def test_many_at_once_are_found_as_one_by_one_bit_for_bit(photographs: list[Path]) -> None:
    """Real faces, four in one image, an image of noise and a black one: the same in any company."""
    from zoo.align.stages import faces_of

    images = [decode_image(path.read_bytes()) for path in photographs]
    four = np.concatenate([np.concatenate(images[i : i + 2], axis=1) for i in (0, 2)])
    images.append(np.asarray(Image.fromarray(four).resize((250, 250))))
    images.append(np.random.default_rng(0).integers(0, 256, (250, 250, 3), dtype=np.uint8))
    images.append(np.zeros((250, 250, 3), np.uint8))
    alone = _one_by_one(images)
    assert [len(each) for each in alone[-3:]] == [4, 0, 0]
    for order in (range(10), range(9, -1, -1), (9, 3), (8,)):
        for number, found in zip(order, faces_of([images[i] for i in order]), strict=True):
            assert found.shape == (len(alone[number]), 15)
            np.testing.assert_array_equal(found, alone[number].reshape(-1, 15))


def test_sizes_company_and_threads_change_no_landmark(photographs: list[Path]) -> None:
    whole = photographs[0].read_bytes()
    large = Image.fromarray(decode_image(whole)).resize((900, 900), Image.Resampling.BICUBIC)
    part = [whole, png(np.asarray(large)), b"GIF", photographs[1].read_bytes(), png(face(1, 1, 9))]
    together = detector.landmarks_of(part, threads=3)
    assert together[2] == "is no JPEG, PNG, BMP, WebP, GIF, TIFF or AVIF: it starts with b'GIF'"
    assert together[4] is None
    for data, found in zip(part, together, strict=True):
        (alone,) = detector.landmarks_of([data])
        np.testing.assert_array_equal(alone, found)
    points, enlarged = together[0], together[1]
    assert isinstance(points, np.ndarray)
    assert isinstance(enlarged, np.ndarray)
    np.testing.assert_allclose((enlarged + 0.5) / 3.6 - 0.5, points, atol=2)


def test_what_does_not_decode_is_named_and_the_others_are_aligned(
    zoo: Zoo, photographs: list[Path], tmp_path: Path
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for path in photographs[:2]:
        (source / path.name).write_bytes(path.read_bytes())
    (source / "b.jpg").write_bytes(photographs[0].read_bytes()[:2000])
    (source / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    done = zoo("align", "in", "out")
    assert (done.code, done.out, len(done.error_lines)) == (2, "", 1)
    assert "a.png: the image has a damaged PNG header" in done.err
    assert "(and 1 others of 4); remove it or get it again" in done.err
    assert len(list((tmp_path / "out").glob("*.png"))) == 2
    for name in ("a.png", "b.jpg"):
        (source / name).unlink()
    assert "2 images of 112x112, 2 of them from an earlier run" in zoo("align", "in", "out").out


def test_an_image_with_landmarks_that_does_not_decode_is_named(zoo: Zoo, tmp_path: Path) -> None:
    from evaluator.images.alignment import TEMPLATE

    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(png(face(1, 1, 120)))
    (tmp_path / "in/b.png").write_bytes(png(face(1, 2, 120))[:90])
    write_landmarks(tmp_path / "l.csv", {f"{n}.png": Row(TEMPLATE) for n in "ab"})
    done = zoo("align", "in", "out", "--landmarks", "l.csv")
    assert (done.code, len(done.error_lines)) == (2, 1)
    assert "b.png: the image " in done.err
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["a.png"]


@pytest.mark.slow
def test_processes_find_what_one_finds(
    zoo: Zoo, photographs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number, path in enumerate(photographs):
        (source / f"{number}.jpg").write_bytes(path.read_bytes())
    assert zoo("align", "in", "one").code == 0
    monkeypatch.setattr(detector, "_IMAGES_A_PROCESS", 4)
    monkeypatch.setattr(detector, "_PART", 2)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert zoo("align", "in", "two").code == 0
    assert (tmp_path / "two/landmarks.csv").read_bytes() == (
        tmp_path / "one/landmarks.csv"
    ).read_bytes()
    rows = read_landmarks(tmp_path / "two/landmarks.csv")
    assert len(rows) == len(photographs)
    assert all(row.points is not None for row in rows.values())
