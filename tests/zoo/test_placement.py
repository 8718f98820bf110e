"""`zoo bins info --alignment`: which template a bin's faces lie on, and which not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from samples import Zoo, png, write_pairs

from evaluator.bins.verification_set import read_bin, write_bin
from evaluator.images.alignment import TEMPLATE
from evaluator.images.decode import decode_image
from zoo.bins.placement import on_template, placed, placement_advice, placement_words


def _faces(points: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
    """Nine faces about these points of an image, as fractions; their median is the points'."""
    away = np.linspace(-2, 2, 9)[:, None, None]
    return np.asarray((points + 0.5 + away) / [width, height])


def test_faces_on_the_template_are_on_it_in_images_of_any_size() -> None:
    for side in (112, 224):
        found = placed(_faces((TEMPLATE + 0.5) * side / 112 - 0.5, side, side), images=9)
        assert (found.fits, on_template(found)) == ("ArcFace's template", True)
        assert (found.right, found.down, found.size, found.distance) == (0, 0, 1, 0)
        np.testing.assert_allclose(found.points, TEMPLATE, atol=0.006)
        # The median of 2, 1.5, 1, 0.5, 0, 0.5, ... pixels is 1, by eyes 35.24 apart.
        assert found.spread == pytest.approx(1 / 35.2377 * 112 / side, abs=6e-4)


@pytest.mark.parametrize(
    ("points", "width", "fits", "words"),
    [
        (TEMPLATE - [8, 0], 112, "the 112x96 template in images of 112x112", "8.0 px left, 0.0 px"),
        (TEMPLATE - [8, 0], 96, "the 112x96 template", "size 1.07"),
        (
            TEMPLATE + np.array([3, -5]),
            112,
            None,
            "no known template; from ArcFace's 3.0 px right, 5.0 px up",
        ),
        (TEMPLATE / 2, 112, None, "size 0.50"),
    ],
)
def test_faces_elsewhere_are_told(
    points: NDArray[np.float64], width: int, fits: str | None, words: str
) -> None:
    found = placed(_faces(points, width, 112), images=12)
    assert (found.fits, on_template(found)) == (fits, False)
    assert words in placement_words(found)
    assert "(9 of 12 images have a face)" in placement_words(found)
    assert "zoo align" in placement_advice(found)


def test_what_was_not_aligned_is_told_by_its_spread() -> None:
    crops = np.array([[0.36, 0.42], [0.67, 0.41], [0.53, 0.58], [0.38, 0.71], [0.68, 0.71]])
    away = np.linspace(-0.08, 0.08, 9)[:, None, None]
    found = placed(crops + away, images=9)
    assert found.fits == "crops of a detector's boxes, as FaceNet's"
    assert placement_advice(found).endswith("(zoo align, or zoo bins make --align)")
    assert placed(crops + away / 4, images=9).fits is None


def test_a_few_faces_say_nothing() -> None:
    found = placed(_faces(TEMPLATE, 112, 112)[:4], images=50)
    assert (found.fits, found.points, on_template(found)) == (None, None, True)
    assert placement_words(found) == "4 of 50 images have a face: too few to say"


def test_real_bins_and_one_that_is_shifted(zoo: Zoo, tmp_path: Path, shared: Path) -> None:
    pytest.importorskip("mtcnn", reason="needs the align extra")
    whole = shared / "bins/small_lfw.bin"
    images = [
        np.pad(decode_image(i), ((0, 0), (0, 8), (0, 0)))[:, 8:] for i in read_bin(whole).images
    ]
    write_bin(tmp_path / "left.bin", [png(each) for each in images], read_bin(whole).genuine)
    done = zoo("bins", "info", whole, "left.bin", "--alignment", "--json")
    assert done.code == 1  # no impostor pairs
    here, left = json.loads(done.out)
    assert here["alignment"]["fits"] == "ArcFace's template"
    assert here["alignment"]["images"] == 17
    assert here["notes"] == [] or "template" not in str(here["notes"])
    assert left["alignment"]["fits"] == "the 112x96 template in images of 112x112"
    assert left["alignment"]["right"] - here["alignment"]["right"] == pytest.approx(-8, abs=0.7)
    assert left["alignment"]["down"] - here["alignment"]["down"] == pytest.approx(0, abs=0.7)
    assert "ArcFace's adds 8 px to x; align the photographs" in left["notes"][-1]
    assert "8.0 px left" not in zoo("bins", "info", whole).out


def test_it_is_refused_for_folders_and_without_the_detector(
    zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pairs(tmp_path / "a.bin")
    (tmp_path / "set").mkdir()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: "there")
    done = zoo("bins", "info", "a.bin", "set", "--alignment")
    assert (done.code, done.err) == (
        2,
        "zoo: error: --alignment: looks at bins, and set is a folder\n",
    )
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = zoo("bins", "info", "a.bin", "--alignment")
    assert (done.code, done.out, len(done.error_lines)) == (2, "", 1)
    assert "pip install 'face-zoo[align]'" in done.err
