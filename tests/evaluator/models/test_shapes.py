"""Shapes and types of inputs and outputs: what is an image, an embedding, and how it is read."""

from pathlib import Path

import pytest

from evaluator.errors import ModelError
from evaluator.models.options import LoadOptions
from evaluator.models.shapes import (
    check_embedding_shape,
    flattened_shape,
    input_spec,
    takes_whole_numbers,
)

MODEL = Path("m.onnx")
IMAGE = (None, 112, 96, 3)


@pytest.mark.parametrize(
    ("shape", "flat"),
    [
        ((None, 64, 1, 1), (None, 64)),
        ((None, 1, 1, 64), (None, 64)),
        ((4, 1, 64), (4, 64)),
        ((None, None, 1), (None, None)),
        ((None, 1, 1, 1), (None, 1)),
    ],
)
def test_axes_of_one_beside_the_embedding_s_are_dropped_with_a_note(
    shape: tuple[int | None, ...], flat: tuple[int | None, ...]
) -> None:
    found, note = flattened_shape(shape)
    assert found == flat
    assert note is not None
    assert f"{shape} is used as {flat}" in note


@pytest.mark.parametrize(
    "shape", [(None, 64), (None, 1), (None, 7, 7, 64), (None, None, None, 64), (64,), ()]
)
def test_other_shapes_stay(shape: tuple[int | None, ...]) -> None:
    assert flattened_shape(shape) == (shape, None)


def test_an_embedding_may_have_axes_of_one_and_not_be_one_number() -> None:
    check_embedding_shape(MODEL, (None, 64, 1, 1))
    with pytest.raises(ModelError, match="one number an image"):
        check_embedding_shape(MODEL, (None, 1, 1, 1))
    with pytest.raises(ModelError, match="detector"):
        check_embedding_shape(MODEL, (None, 7, 7, 64))


def test_an_input_of_whole_numbers_is_raw() -> None:
    spec, notes = input_spec(MODEL, IMAGE, LoadOptions(), kind="uint8")
    assert spec.profile == "raw"
    assert notes == ("its input is whole numbers: pixels 0 to 255 go in, as --input raw says",)
    assert input_spec(MODEL, IMAGE, LoadOptions("raw"), kind="uint8")[1] == ()
    for profile in ("unit", "symmetric", "insightface"):
        with pytest.raises(ModelError, match=f"--input {profile} does not apply.*--input raw"):
            input_spec(MODEL, IMAGE, LoadOptions(profile), kind="uint8")


def test_types_that_hold_pixels_are_whole_or_fractional() -> None:
    for kind in ("uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"):
        assert takes_whole_numbers(MODEL, kind)
    for kind in ("float16", "bfloat16", "float32", "float64"):
        assert not takes_whole_numbers(MODEL, kind)
    for kind in ("int8", "bool", "string", "complex64", "int4"):
        with pytest.raises(ModelError, match=f"input is {kind}; expected an image"):
            takes_whole_numbers(MODEL, kind)
