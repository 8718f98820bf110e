"""`zoo align`: landmarks onto the template, and a folder that may be stopped half way."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from faces import write_people
from numpy.typing import NDArray
from PIL import Image
from samples import Zoo, face, png
from scipy.ndimage import map_coordinates

from evaluator.bins.verification_set import read_bin
from evaluator.errors import InputError
from evaluator.images.alignment import TEMPLATE, aligned, similarity
from evaluator.images.decode import decode_image
from zoo.align.landmarks import Row, noted, read_landmarks, read_noted, write_landmarks

Array = NDArray[np.float64]


def umeyama(source: Array, target: Array) -> Array:
    """Umeyama 1991, equations 34 to 43: the 3x3 matrix of the best similarity."""
    mean_s, mean_t = source.mean(axis=0), target.mean(axis=0)
    centred_s, centred_t = source - mean_s, target - mean_t
    u, d, vt = np.linalg.svd(centred_t.T @ centred_s / len(source))
    sign = np.diag([1.0, np.linalg.det(u) * np.linalg.det(vt)])
    rotation = u @ sign @ vt
    scale = np.trace(np.diag(d) @ sign) / centred_s.var(axis=0).sum()
    matrix = np.eye(3)
    matrix[:2, :2] = scale * rotation
    matrix[:2, 2] = mean_t - scale * rotation @ mean_s
    return matrix


def _moved(points: Array, *, turn: float, scale: float, shift: tuple[float, float]) -> Array:
    c, s = np.cos(turn), np.sin(turn)
    return scale * points @ np.array([[c, -s], [s, c]]).T + np.array(shift)


@pytest.mark.parametrize("seed", range(20))
def test_the_similarity_is_umeyamas(seed: int) -> None:
    random = np.random.default_rng(seed)
    points = _moved(
        TEMPLATE, turn=random.uniform(-3, 3), scale=random.uniform(0.2, 9), shift=(31.0, -7.0)
    ) + random.normal(scale=2, size=(5, 2))
    np.testing.assert_allclose(similarity(points).params, umeyama(points, TEMPLATE), atol=1e-9)


def test_mirrored_landmarks_are_turned_and_never_reflected() -> None:
    assert np.linalg.det(similarity(TEMPLATE * [-1, 1]).params[:2, :2]) > 0


@pytest.mark.parametrize("turn", [0.0, 0.4, -2.0])
def test_known_landmarks_come_to_lie_on_the_template(turn: float) -> None:
    points = _moved(TEMPLATE - TEMPLATE.mean(axis=0), turn=turn, scale=1.7, shift=(200.0, 190.0))
    x, y = np.meshgrid(np.arange(400.0), np.arange(400.0))
    for point, goal in zip(points, TEMPLATE, strict=True):
        # A bright blot at the landmark must have its centre of mass at the goal.
        blot = 255 * np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * 5.0**2))
        pixels = np.repeat(np.rint(blot)[..., None], 3, axis=2).astype(np.uint8)
        found = aligned(pixels, points)[..., 0].astype(float)
        rows, columns = np.mgrid[:112, :112]
        centre = np.array([(found * columns).sum(), (found * rows).sum()]) / found.sum()
        np.testing.assert_allclose(centre, goal, atol=0.1)


def test_pixels_are_sampled_bilinearly() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (140, 150, 3), dtype=np.uint8)
    points = _moved(TEMPLATE, turn=0.3, scale=1.1, shift=(10.0, 20.0))
    inverse = np.linalg.inv(umeyama(points, TEMPLATE))
    x, y = np.meshgrid(np.arange(112.0), np.arange(112.0))
    u, v, _ = inverse @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    inside = (u > 0) & (v > 0) & (u < 149) & (v < 139)
    for channel in range(3):
        values = map_coordinates(pixels[..., channel].astype(float), [v, u], order=1)
        found = aligned(pixels, points)[..., channel].ravel()
        assert np.abs(found[inside] - values[inside]).max() <= 0.5 + 1e-6
        outside = (u < -1) | (v < -1) | (u > 150) | (v > 140)
        assert not found[outside].any()


def test_a_large_face_is_averaged_and_not_skipped_through() -> None:
    # A checkerboard of single pixels: skipping would show black or white, averaging shows gray.
    board = np.indices((1000, 1000)).sum(axis=0) % 2 * 255
    pixels = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    middle = aligned(pixels, TEMPLATE * 8 + 20)[20:90, 20:90]
    assert np.abs(middle.astype(int) - 128).max() <= 1
    # And the blocks do not shift the face: a bright blot stays at its place.
    x, y = np.meshgrid(np.arange(1000.0), np.arange(1000.0))
    goal, point = TEMPLATE[2], TEMPLATE[2] * 8 + 20
    blot = 255 * np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * 40.0**2))
    pixels = np.repeat(np.rint(blot)[..., None], 3, axis=2).astype(np.uint8)
    found = aligned(pixels, TEMPLATE * 8 + 20)[..., 0].astype(float)
    rows, columns = np.mgrid[:112, :112]
    centre = np.array([(found * columns).sum(), (found * rows).sum()]) / found.sum()
    np.testing.assert_allclose(centre, goal, atol=0.1)


@pytest.mark.parametrize("points", [np.ones((5, 2)), np.full((5, 2), np.nan), TEMPLATE[:4]])
def test_landmarks_that_give_no_similarity_are_refused(points: Array) -> None:
    with pytest.raises(InputError, match="landmarks"):
        similarity(points)


def test_landmarks_survive_the_way_through_the_file(tmp_path: Path) -> None:
    rows = {"a, b/1.jpg": Row(TEMPLATE + 0.125, "ab" * 32), "c.jpg": Row(None, "cd" * 32)}
    write_landmarks(tmp_path / "l.csv", rows)
    read = read_landmarks(tmp_path / "l.csv")
    assert list(read) == list(rows)
    np.testing.assert_array_equal(read["a, b/1.jpg"].points, TEMPLATE + 0.125)
    assert read["c.jpg"].points is None
    assert read["c.jpg"].sha256 == "cd" * 32


def test_a_row_that_a_kill_has_cut_is_taken_off(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    with noted(path) as note:
        note("a.jpg", Row(TEMPLATE))
        note("b.jpg", Row(None))
    path.write_bytes(path.read_bytes() + b"c.jpg,1.0,2.0,3")
    assert list(read_noted(path)) == ["a.jpg", "b.jpg"]
    with noted(path) as note:
        note("d.jpg", Row(None))
    assert list(read_noted(path)) == ["a.jpg", "b.jpg", "d.jpg"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.jpg,1,2,3\n", "line 1: expected a file and ten numbers"),
        ("a.jpg" + ",1" * 9 + ",x\n", "line 1: expected a number, found 'x'"),
        ("a.jpg" + ",1" * 9 + ",inf\n", "line 1: expected finite numbers"),
        ("a.jpg,73,51,38,51,56,71,70,92,41,92\n", "left and right are swapped in 1 of 1"),
    ],
)
def test_a_wrong_landmark_line_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        read_landmarks(tmp_path / "l.csv")


def _tree(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of four images and landmarks for three of them."""
    root = write_people(tmp_path / "in", {"ann": 2, "bob": 2}, size=120)
    names = ["ann/ann_0001.png", "ann/ann_0002.png", "bob/bob_0001.png"]
    write_landmarks(tmp_path / "l.csv", {name: Row(TEMPLATE + 4) for name in names})
    return root, tmp_path / "l.csv"


def test_the_tree_is_mirrored_and_a_missing_face_is_failed_skipped_or_cropped(
    zoo: Zoo, tmp_path: Path
) -> None:
    root, csv = _tree(tmp_path)
    done = zoo("align", root, "out", "--landmarks", csv)
    assert (done.code, len(done.error_lines)) == (2, 1)
    assert "no face found in 1 of 4 images: bob/bob_0002.png" in done.err
    done = zoo("align", root, "out", "--landmarks", csv, "--missing", "skip")
    assert (done.code, done.err) == (0, "no face found in bob/bob_0002.png: skipped\n")
    assert "3 images of 112x112, 3 of them from an earlier run; 1 without" in done.out
    out = tmp_path / "out"
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))
    assert files == ["ann/ann_0001.png", "ann/ann_0002.png", "bob/bob_0001.png"]
    whole = decode_image((root / files[0]).read_bytes())
    np.testing.assert_array_equal(decode_image((out / files[0]).read_bytes()), whole[4:116, 4:116])
    done = zoo("align", root, "out", "--landmarks", csv, "--missing", "crop")
    assert "bob/bob_0002.png: its centre is taken" in done.err
    expected = Image.fromarray(decode_image((root / "bob/bob_0002.png").read_bytes())).resize(
        (112, 112), Image.Resampling.BILINEAR
    )
    crop = decode_image((out / "bob/bob_0002.png").read_bytes())
    np.testing.assert_array_equal(crop, np.asarray(expected))
    zoo("align", root, "out", "--landmarks", csv, "--missing", "skip")
    assert not (out / "bob/bob_0002.png").exists()


def test_a_second_run_writes_only_what_is_gone_or_has_changed(zoo: Zoo, tmp_path: Path) -> None:
    root, csv = _tree(tmp_path)
    options = ("--landmarks", csv, "--missing", "skip")
    zoo("align", root, "out", *options)
    out = tmp_path / "out"
    kept = (out / "bob/bob_0001.png").stat().st_mtime_ns
    (out / "ann/ann_0001.png").unlink()
    (root / "ann/ann_0002.png").write_bytes(png(face(9, 9, 120)))
    done = zoo("align", root, "out", *options)
    assert "1 of them from an earlier run" in done.out
    assert (out / "bob/bob_0001.png").stat().st_mtime_ns == kept
    new = decode_image((out / "ann/ann_0002.png").read_bytes())
    np.testing.assert_array_equal(new, face(9, 9, 120)[4:116, 4:116])


def test_landmarks_of_another_image_are_refused(zoo: Zoo, tmp_path: Path) -> None:
    root, _ = _tree(tmp_path)
    write_landmarks(tmp_path / "l.csv", {"ann/ann_0001.png": Row(TEMPLATE, "00" * 32)})
    done = zoo("align", root, "out", "--landmarks", tmp_path / "l.csv")
    assert done.code == 2
    assert "its landmarks of ann/ann_0001.png are of another image" in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none", "out"], "none: No such file"),
        (["empty", "out"], "empty: holds no image"),
        (["in", "in/out"], "in/out: expected a folder apart from in"),
        (["in", "."], "expected a folder apart from in"),
        (["in", "full"], "full: expected a new or empty folder"),
        (["twins", "out"], "a.bmp and a.png would both become a.png"),
        (["in", "out", "--missing", "guess"], "unknown --missing 'guess'"),
        (["in", "out", "--landmarks", "none.csv"], "none.csv: No such file"),
        (["in", "out", "--landmarks", "other.csv"], "other.csv: names none of the 4 images"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    zoo: Zoo, tmp_path: Path, arguments: list[str], words: str
) -> None:
    _tree(tmp_path)
    for name in ("empty", "full", "twins"):
        (tmp_path / name).mkdir()
    for name in ("full/x.txt", "twins/a.png", "twins/a.bmp"):
        (tmp_path / name).write_bytes(b"x")
    write_landmarks(tmp_path / "other.csv", {"x.jpg": Row(TEMPLATE)})
    done = zoo("align", *arguments)
    assert (done.code, done.out, len(done.error_lines)) == (2, "", 1)
    assert words in done.err


def test_without_the_detector_the_extra_is_named(
    zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = _tree(tmp_path)
    monkeypatch.setitem(sys.modules, "mtcnn", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = zoo("align", root, "out")
    assert done.code == 2
    assert "pip install 'face-zoo[align]'" in done.err


def test_make_aligns_and_leaves_out_what_it_has_to(zoo: Zoo, tmp_path: Path) -> None:
    root = write_people(tmp_path / "in", dict.fromkeys("abcd", 3), size=120)
    names = [f"{name}/{name}_{i:04d}.png" for name in "abcd" for i in (1, 2, 3)]
    write_landmarks(tmp_path / "l.csv", {name: Row(TEMPLATE + 4) for name in names[1:]})
    options = ("--folds", "2", "--align", "--landmarks", tmp_path / "l.csv")
    assert zoo("bins", "make", "x.bin", root, *options).code == 2
    done = zoo("bins", "make", "x.bin", root, *options, "--missing", "skip")
    assert done.code == 0
    assert "no face found in a/a_0001.png: left out" in done.err
    made = read_bin(tmp_path / "x.bin")
    faces = {decode_image((root / name).read_bytes())[4:116, 4:116].tobytes() for name in names[1:]}
    assert {decode_image(image).tobytes() for image in made.images} <= faces
    halves = made.genuine.reshape(2, -1).sum(axis=1)
    assert halves[0] == halves[1] > 0


@pytest.mark.slow
def test_the_detector_finds_real_faces_where_they_are(
    zoo: Zoo, tmp_path: Path, shared: Path
) -> None:
    """Faces that are upright in the middle, turned and put elsewhere: found, and turned back."""
    pytest.importorskip("mtcnn", reason="needs the align extra")
    people = ("Al_Gore", "Bill_Gates", "Celine_Dion")
    for number, person in enumerate(people):
        source = shared / f"faces/lfw_train/{person}/{person}_0001.jpg"
        pixels = decode_image(source.read_bytes())
        canvas = Image.fromarray(np.pad(pixels, ((69, 69), (69, 69), (0, 0)), mode="edge"))
        (tmp_path / "in" / person).mkdir(parents=True)
        canvas.save(tmp_path / "in" / person / "a.png")
        canvas.rotate(15 * (number - 1), Image.Resampling.BICUBIC).save(
            tmp_path / "in" / person / "b.png"
        )
    Image.new("RGB", (250, 250), (90, 90, 90)).save(tmp_path / "in/blank.png")
    Image.new("RGB", (7, 7), (90, 90, 90)).save(tmp_path / "in/tiny.png")
    done = zoo("align", "in", "out", "--missing", "skip")
    assert done.code == 0, done.err
    assert done.err.splitlines() == [
        "no face found in blank.png: skipped",
        "no face found in tiny.png: skipped",
    ]
    rows = read_landmarks(tmp_path / "out/landmarks.csv")
    for person in people:
        straight, turned = (
            decode_image((tmp_path / "out" / person / f"{n}.png").read_bytes()).astype(float)
            for n in "ab"
        )
        # The same face, so nearly the same pixels, however it was turned.
        inner = np.s_[30:100, 25:87]
        assert np.corrcoef(straight[inner].ravel(), turned[inner].ravel())[0, 1] > 0.9
        points = rows[f"{person}/a.png"].points
        assert points is not None
        mapped = similarity(points)(points)
        assert np.abs(mapped - TEMPLATE).max() < 12
    before = (tmp_path / "out/landmarks.csv").read_bytes()
    zoo("align", "in", "again", "--missing", "skip")
    assert (tmp_path / "again/landmarks.csv").read_bytes() == before


def test_an_alignment_of_former_bytes_is_gone_even_if_the_run_fails(
    zoo: Zoo, tmp_path: Path
) -> None:
    root, csv = _tree(tmp_path)
    zoo("align", root, "out", "--landmarks", csv, "--missing", "skip")
    (root / "ann/ann_0002.png").write_bytes(png(face(9, 9, 120)))
    csv.write_text("ann/ann_0002.png,1,2\n")
    assert zoo("align", root, "out", "--landmarks", csv).code == 2
    assert not (tmp_path / "out/ann/ann_0002.png").exists()
    assert (tmp_path / "out/ann/ann_0001.png").exists()
