"""`zoo bins corrupt`: spoilt bins, their recipes, and what readers make of these."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from samples import Zoo, face, png, write_pairs
from scipy.ndimage import convolve1d

from evaluator.bins.pairs_file import Pair, read_pairs_csv, sidecar_path, write_sidecar
from evaluator.bins.recipe import recipe_path
from evaluator.bins.verification_set import read_bin
from evaluator.errors import BinError
from evaluator.images.decode import decode_image
from tests.small_models import save_projection
from zoo.bins.corruptions import CORRUPTIONS, STRENGTHS

PHOTO = np.random.default_rng(3).integers(0, 256, (112, 112, 3)).astype(np.uint8)


def spoilt(kind: str, strength: int, pixels: np.ndarray = PHOTO, seed: int = 0) -> np.ndarray:
    corruption = CORRUPTIONS[kind]
    made = corruption.spoil(pixels, corruption.levels[strength - 1], np.random.default_rng(seed))
    return decode_image(made) if isinstance(made, bytes) else made


def distance(kind: str, strength: int) -> float:
    """Mean square distance from a smooth picture."""
    smooth = np.asarray(Image.effect_mandelbrot((112, 112), (-2, -1.5, 1, 1.5), 30).convert("RGB"))
    found = spoilt(kind, strength, smooth).astype(float) - smooth
    return float((found**2).mean())


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_higher_strength_is_further_from_the_image(kind: str) -> None:
    far = [distance(kind, strength) for strength in STRENGTHS]
    assert far == sorted(far)
    assert 0 < far[0] < 0.6 * far[-1]


def test_blur_is_a_gaussian() -> None:
    sigma = CORRUPTIONS["blur"].levels[2]
    reach = np.arange(-int(4 * sigma + 0.5), int(4 * sigma + 0.5) + 1)
    kernel = np.exp(-(reach**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    once = convolve1d(PHOTO.astype(float), kernel, axis=0, mode="nearest")
    expected = np.rint(convolve1d(once, kernel, axis=1, mode="nearest"))
    assert np.abs(spoilt("blur", 3) - expected).max() <= 1


def test_noise_has_its_deviation_and_contrast_its_share() -> None:
    gray = np.full((200, 200, 3), 128, np.uint8)
    for strength in (1, 2):
        level = CORRUPTIONS["noise"].levels[strength - 1]
        assert spoilt("noise", strength, gray).std() == pytest.approx(level, rel=0.03)
    share = CORRUPTIONS["contrast"].levels[3]
    found = spoilt("contrast", 4).astype(float)
    np.testing.assert_allclose(found.std((0, 1)), share * PHOTO.std((0, 1)), rtol=0.03)
    np.testing.assert_allclose(found.mean((0, 1)), PHOTO.mean((0, 1)), atol=0.5)


def test_jpeg_is_pillows_and_brightness_moves_all_levels_alike() -> None:
    buffer = io.BytesIO()
    Image.fromarray(PHOTO).save(buffer, "JPEG", quality=18, subsampling=2)
    np.testing.assert_array_equal(spoilt("jpeg", 3), np.asarray(Image.open(buffer)))
    gray = np.full((9, 9, 3), 128, np.uint8)
    assert {int(spoilt("brightness", 1, gray, seed)[0, 0, 0]) for seed in range(20)} == {103, 153}


def test_boxes_cover_their_share_and_nothing_else() -> None:
    for kind, share in (("occlusion", 0.4), ("mask", 0.43 * 0.68)):
        changed = (spoilt(kind, 5) != PHOTO).any(axis=2)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        box = changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert box.mean() > 0.99
        assert box.size / changed.size == pytest.approx(share, rel=0.05)
    small = np.kron(np.arange(49).reshape(7, 7, 1), np.ones((16, 16, 3))).astype(np.uint8)
    assert np.abs(spoilt("resolution", 1, small).astype(int) - small).mean() < 1


def _made(zoo: Zoo, folder: Path, *options: str) -> dict[str, str]:
    done = zoo("bins", "corrupt", "own.bin", "-o", folder, *options)
    assert (done.code, done.err) == (0, "")
    return {
        Path(line).name: hashlib.sha256(Path(line).read_bytes()).hexdigest()
        for line in done.out.splitlines()
    }


def test_bins_are_the_same_bytes_again_and_another_seed_gives_others(
    zoo: Zoo, tmp_path: Path
) -> None:
    source = write_pairs(tmp_path / "own.bin", people=4)
    found = read_bin(source)
    write_sidecar(sidecar_path(source), [Pair("x", "y", bool(each)) for each in found.genuine])
    first = _made(zoo, tmp_path / "a")
    assert list(first) == [f"own-{kind}-{k}.bin" for kind in CORRUPTIONS for k in STRENGTHS]
    assert _made(zoo, tmp_path / "b") == first
    drawn = _made(
        zoo, tmp_path / "c", "--corruption", "noise", "blur", "--strength", "2", "--seed", "1"
    )
    assert list(drawn) == ["own-noise-2.bin", "own-blur-2.bin"]
    assert drawn["own-noise-2.bin"] != first["own-noise-2.bin"]
    assert drawn["own-blur-2.bin"] == first["own-blur-2.bin"]

    made = read_bin(tmp_path / "a/own-noise-4.bin")
    np.testing.assert_array_equal(made.genuine, found.genuine)
    assert read_pairs_csv(tmp_path / "a/own-noise-4.pairs.csv") == read_pairs_csv(
        tmp_path / "own.pairs.csv"
    )
    # Equal images stay equal, others do not become so.
    same = [[a == b for b in found.images] for a in found.images]
    assert same == [[a == b for b in made.images] for a in made.images]
    # The recipe restated: seed, the corruption's number, the image's first eight bytes of SHA-256.
    key = int.from_bytes(hashlib.sha256(found.images[0]).digest()[:8], "big")
    draw = np.random.default_rng([0, 1, key])
    pixels = decode_image(found.images[0])
    expected = np.clip(np.rint(pixels + draw.normal(0, 45, pixels.shape)), 0, 255)
    np.testing.assert_array_equal(decode_image(made.images[0]), expected)

    recipe = json.loads((tmp_path / "a/own-noise-4.recipe.json").read_text())
    assert recipe["source"] == {"name": "own", "sha256": found.sha256}
    assert recipe["sha256"] == first["own-noise-4.bin"] == made.sha256
    assert (recipe["corruption"], recipe["strength"], recipe["level"]) == ("noise", 4, 45)
    assert made.derived is not None
    assert made.derived.source.sha256 == found.sha256


def test_results_say_of_which_bin_one_was_made_and_the_leaderboard_leaves_it_out(
    zoo: Zoo, tmp_path: Path
) -> None:
    source = write_pairs(tmp_path / "own.bin", people=4)
    _made(zoo, tmp_path / "a", "--corruption", "noise", "--strength", "1", "5")
    save_projection(tmp_path / "m.onnx")
    bins = [source, *(tmp_path / f"a/own-noise-{k}.bin" for k in (1, 5))]
    done = zoo("eval", "m.onnx", "--bins", *bins, "--json", "-")
    assert done.code == 0
    stored = {each["bin"]["name"]: each["bin"] for each in json.loads(done.out)}
    assert "derived" not in stored["own"]
    assert stored["own-noise-5"]["derived"] == {
        "name": "own", "sha256": stored["own"]["sha256"], "corruption": "noise", "strength": 5,
    }  # fmt: skip
    board = zoo("leaderboard", "--format", "json")
    assert [each["name"] for each in json.loads(board.out)["bins"]] == ["own"]
    shown = zoo("leaderboard")
    assert "2 bins of spoilt images left out" in shown.out + shown.err
    board = zoo("leaderboard", "--format", "json", "--bins", "own*")
    assert len(json.loads(board.out)["bins"]) == 3


BAD = {
    "text": ("text", "expected a recipe"),
    "list": ("[]", "expected a recipe"),
    "deep": ("[" * 10**5, "expected a recipe"),
    "other bin": (None, "is the recipe of another bin"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_recipe_of_any_content_is_one_line(zoo: Zoo, tmp_path: Path, name: str) -> None:
    write_pairs(tmp_path / "own.bin", people=4)
    _made(zoo, tmp_path / "a", "--corruption", "noise", "--strength", "1", "2")
    path = tmp_path / "a/own-noise-1.bin"
    content, words = BAD[name]
    if content is None:
        content = recipe_path(tmp_path / "a/own-noise-2.bin").read_text()
    recipe_path(path).write_text(content)
    with pytest.raises(BinError, match=words) as caught:
        read_bin(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gone.bin", "-o", "a"], "gone.bin: No such file"),
        (["own.bin", "-o", "a", "--corruption", "blurr"], "did you mean 'blur'?"),
        (["own.bin", "-o", "a", "--strength", "6"], "unknown --strength '6'"),
        (["a/own-blur-1.bin", "-o", "b"], "is itself made of own by blur; corrupt that one"),
        (["own.bin", "-o", "a", "--corruption", "blur"], "own-blur-1.bin: is already there"),
        (["torn.bin", "-o", "b"], "torn.bin: an image (the 1. distinct one) is a damaged or cut"),
    ],
)
def test_a_mistake_is_one_line(zoo: Zoo, tmp_path: Path, arguments: list[str], words: str) -> None:
    from evaluator.bins.verification_set import write_bin

    write_pairs(tmp_path / "own.bin", people=4)
    cut = [png(face(i, 0))[:60] for i in range(4)]
    write_bin(tmp_path / "torn.bin", cut, [True, False])
    _made(zoo, tmp_path / "a", "--corruption", "blur", "--strength", "1")
    done = zoo("bins", "corrupt", *arguments)
    assert (done.code, done.out, len(done.error_lines)) == (2, "", 1)
    assert words in done.err
