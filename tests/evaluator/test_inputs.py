"""Pixels become model input: value ranges, channel order, layout, size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from evaluator.errors import InputError
from evaluator.images.inputs import InputSpec, mirrored, write_model_input
from evaluator.profiles import PROFILES

PIXELS = np.random.default_rng(0).integers(0, 256, (7, 5, 3)).astype(np.uint8)

# Each published rule restated, in float64.
RULES = {
    "unit": lambda x: x / 255,
    "symmetric": lambda x: (x - 127.5) * 0.0078125,
    "insightface": lambda x: ((x / 255) - 0.5) / 0.5,
    "raw": lambda x: x,
}
FEW_MEANS = [*RULES, "whiten"]
RULES["whiten"] = lambda x: (x - x.mean()) / max(x.std(), 1 / np.sqrt(x.size))
RULES["imagenet"] = lambda x: (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]


def model_input(pixels: np.ndarray, **spec: object) -> np.ndarray:
    whole = InputSpec(**{"height": 7, "width": 5, **spec})  # type: ignore[arg-type]
    out = np.full(whole.batch_shape, np.nan, np.float32)
    write_model_input(pixels, whole, out)
    return out


@pytest.mark.parametrize("profile", PROFILES)
def test_each_profile_is_its_published_rule(profile: str) -> None:
    expected = RULES[profile](PIXELS.astype(np.float64))
    np.testing.assert_allclose(model_input(PIXELS, profile=profile), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("profile", ["unit", "symmetric", "insightface", "raw"])
def test_each_of_the_256_levels_is_the_rule_rounded_once(profile: str) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    expected = RULES[profile](levels.astype(np.float64)).astype(np.float32)
    got = model_input(levels, profile=profile, height=16, width=16)
    np.testing.assert_array_equal(got, expected)
    assert levels.max() == 255  # the pixels are not written to


def test_every_profile_has_a_rule_here() -> None:
    assert set(RULES) == set(PROFILES)


def test_bgr_is_rgb_reversed_and_nchw_is_nhwc_transposed() -> None:
    rgb = model_input(PIXELS)
    np.testing.assert_array_equal(model_input(PIXELS, channels="bgr"), rgb[..., ::-1])
    np.testing.assert_array_equal(model_input(PIXELS, layout="NCHW"), rgb.transpose(2, 0, 1))
    both = model_input(PIXELS, channels="bgr", layout="NCHW")
    np.testing.assert_array_equal(both, rgb[..., ::-1].transpose(2, 0, 1))


@pytest.mark.parametrize("profile", FEW_MEANS)
def test_gray_is_luma_as_pillow_computes_it(profile: str) -> None:
    luma = np.asarray(Image.fromarray(PIXELS).convert("L"), dtype=np.float64)[..., None]
    got = model_input(PIXELS, channels="gray", profile=profile)
    assert got.shape == (7, 5, 1)
    # Pillow rounds to whole levels.
    one_level = np.ptp(RULES[profile](luma)) / np.ptp(luma)
    np.testing.assert_allclose(got, RULES[profile](luma), atol=0.6 * one_level)


def triangle_weights(before: int, after: int) -> np.ndarray:
    """Antialiased linear interpolation as a matrix: a triangle as wide as one pixel of the
    coarser of both grids, around each new pixel's centre, its weights summing to one.
    """
    scale = before / after
    centres = (np.arange(after) + 0.5) * scale
    distances = (np.arange(before) + 0.5)[None] - centres[:, None]
    weights = np.clip(1 - np.abs(distances) / max(scale, 1), 0, None)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("size", [(14, 10), (4, 3), (150, 150), (14, 2)])
def test_other_sizes_are_resized_bilinearly_without_rounding(size: tuple[int, int]) -> None:
    height, width = size
    got = model_input(PIXELS, height=height, width=width, profile="raw")
    rows, columns = triangle_weights(7, height), triangle_weights(5, width)
    np.testing.assert_allclose(got, np.einsum("ha,wb,abc->hwc", rows, columns, PIXELS), atol=1e-3)


def test_enlarging_interpolates_between_pixel_centres() -> None:
    two = np.array([[[0, 0, 0], [100, 200, 40]]], np.uint8)
    got = model_input(two, height=1, width=4, profile="raw")
    np.testing.assert_allclose(got[0, :, 0], [0, 25, 75, 100], atol=1e-4)
    np.testing.assert_allclose(got[0, :, 1], [0, 50, 150, 200], atol=1e-4)


@given(st.sampled_from(["NHWC", "NCHW"]), st.sampled_from(["rgb", "bgr", "gray"]))
def test_mirroring_the_input_is_mirroring_the_image(layout: str, channels: str) -> None:
    spec = InputSpec(7, 5, channels=channels, layout=layout)
    batch = model_input(PIXELS, channels=channels, layout=layout)[None]
    expected = model_input(PIXELS[:, ::-1], channels=channels, layout=layout)[None]
    np.testing.assert_array_equal(mirrored(batch, spec), expected)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"height": 0}, "0x5"),
        ({"width": -1}, "7x-1"),
        ({"profile": "units"}, "did you mean 'unit'"),
        ({"channels": "bgrr"}, "did you mean 'bgr'"),
        ({"layout": "NHCW"}, "expected one of NHWC, NCHW"),
    ],
)
def test_a_spec_of_unknown_values_is_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        InputSpec(**{"height": 7, "width": 5, **changed})  # type: ignore[arg-type]
