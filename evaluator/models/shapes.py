"""Input and output shapes, whatever the format: which are an image and an embedding."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluator.errors import InputError, ModelError, cause_of, plain_name
from evaluator.images.inputs import InputSpec
from evaluator.models.options import LoadOptions
from evaluator.profiles import PROFILES, profile_of

# None is a size that the model leaves open; so is the first axis, the batch, nearly always.
Shape = Sequence[int | None]

# A size for fully convolutional models that leave it open: the one of every public face bin.
_FREE_SIZE = (112, 112)

# The name that training code gives the embedding, and the output preferred among several.
EMBEDDING = "embedding"


def check_image_shape(path: Path, shape: Shape) -> None:
    """Raises ModelError unless a shape, batch first, is that of an image."""
    if len(shape) == 2:
        raise ModelError(
            f"{path}: the model takes a vector of {shape[1]} numbers, not an image; "
            "expected (height, width, channels)"
        )
    if len(shape) != 4:
        raise ModelError(f"{path}: the model's input has shape {tuple(shape)}; expected one image")
    if not {shape[1], shape[3]} & {1, 3}:
        raise ModelError(
            f"{path}: the model's input has shape {tuple(shape)}; "
            "expected 1 or 3 channels, first or last"
        )


def check_one_input(path: Path, shapes: Sequence[Shape | None]) -> None:
    """Raises ModelError unless there is one input and it is an image, as far as that is told."""
    if len(shapes) != 1:
        raise ModelError(f"{path}: the model takes {len(shapes)} inputs; expected one image")
    if shapes[0] is not None:
        check_image_shape(path, shapes[0])


#: Types of numbers that hold a pixel's 256 levels, by NumPy's names and bfloat16's.
FRACTIONAL = frozenset({"float16", "bfloat16", "float32", "float64"})
WHOLE = frozenset({"uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"})


def takes_whole_numbers(path: Path, kind: str) -> bool:
    """Whether an image input of a type takes whole numbers, and so pixels as they are.

    ``kind`` is the type's name in NumPy. Raises ModelError for a type that holds no pixels: int8
    among them, since nothing says which of its numbers is black where no scale is given.
    """
    if kind not in FRACTIONAL | WHOLE:
        raise ModelError(
            f"{path}: the model's input is {kind}; expected an image, as floating-point numbers "
            "or as whole numbers that hold 0 to 255"
        )
    return kind in WHOLE


def input_spec(
    path: Path,
    shape: Shape,
    options: LoadOptions,
    *,
    kind: str = "float32",
    fed: Sequence[str] = (),
) -> tuple[InputSpec, tuple[str, ...]]:
    """The InputSpec of an image input, batch axis first, and notes on what was assumed.

    ``kind`` is the input's type, as `takes_whole_numbers` has it; of one with a scale, float32.
    ``fed`` names the boolean inputs that a format feeds. Raises ModelError for a shape, a type or
    an option that does not fit.
    """
    integer = takes_whole_numbers(path, kind)
    check_image_shape(path, shape)
    _check_fed(path, options.profile, fed)
    profile, notes = _profile(path, options.profile, integer=integer)
    _, first, second, third = shape
    channels_first = first in (1, 3) and third not in (1, 3)
    height, width = (second, third) if channels_first else (first, second)
    depth = first if channels_first else third
    channels = options.channels
    if depth == 1:
        if channels == "bgr":
            raise ModelError(
                f"{path}: the model takes one channel: --channels bgr does not apply to it"
            )
        channels = "gray"
        notes.append("the model takes one channel: images are turned to gray")
    asked = options.size
    if asked and (height not in (None, asked[0]) or width not in (None, asked[1])):
        raise ModelError(
            f"{path}: the model takes images of {height}x{width}, "
            f"not the {asked[0]}x{asked[1]} asked for; leave the size out"
        )
    if height is None or width is None:
        chosen = (height or width or _FREE_SIZE[0], width or height or _FREE_SIZE[1])
        if asked is None:
            notes.append(f"the model takes any image size: using {chosen[0]}x{chosen[1]}")
        height, width = asked or chosen
    layout = "NCHW" if channels_first else "NHWC"
    try:
        return InputSpec(height, width, profile, channels, layout), tuple(notes)
    except InputError as error:
        raise ModelError(f"{path}: {error}") from None


def fed_values(
    names: Sequence[str], profile: str | None
) -> tuple[dict[str, bool], tuple[str, ...]]:
    """What each boolean input of a model is fed, False unless a profile says so, and a note on
    those of which it says nothing, if there are such.
    """
    said = {} if profile is None else dict(profile_of(profile).feed)
    silent = [cause_of(repr(name))[:80] for name in names if name not in said]
    found = {name: said.get(name, False) for name in names}
    return found, (f"its boolean input {', '.join(silent)} is fed False",) if silent else ()


def _check_fed(path: Path, profile: str | None, fed: Sequence[str]) -> None:
    """Raises ModelError where a profile feeds an input that is none of these."""
    for name, _ in () if profile is None else profile_of(profile).feed:
        if name not in fed:
            there = f"it has {cause_of(', '.join(fed))}" if fed else "it has none that can be fed"
            raise ModelError(f"{path}: no boolean input is named {cause_of(name)!r}; {there}")


def _profile(path: Path, asked: str | None, *, integer: bool) -> tuple[str, list[str]]:
    """The profile to use, and a note where none was asked for."""
    if integer and asked is not None and profile_of(asked).values != PROFILES["raw"]:
        raise ModelError(
            f"{path}: its input is whole numbers, which hold pixels 0 to 255: --input {asked} "
            "does not apply to it; use --input raw"
        )
    if asked is not None:
        return asked, []
    if integer:
        return "raw", ["its input is whole numbers: pixels 0 to 255 go in, as --input raw says"]
    return "unit", ["no --input given: assuming 'unit', RGB in [0, 1]"]


def chosen_output(
    path: Path, shapes: Mapping[str, Shape], wanted: str | None
) -> tuple[str, tuple[str, ...]]:
    """The output to use, and a note if it is one of several: the one wanted, the one named
    ``embedding``, or the only one. Raises ModelError.
    """
    listed = cause_of(", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items()))
    if wanted is not None:
        if wanted not in shapes:
            raise ModelError(f"{path}: no output is named {wanted!r} (--output); it has {listed}")
        return wanted, ()
    if len(shapes) == 1:
        return next(iter(shapes)), ()
    if EMBEDDING in shapes:
        return EMBEDDING, (f"of {len(shapes)} outputs, the one named 'embedding' is used",)
    raise ModelError(
        f"{path}: the model has {len(shapes)} outputs ({listed}) and none is named 'embedding'; "
        "say which one is the embedding with --output NAME"
    )


def flattened_shape(shape: Shape) -> tuple[tuple[int | None, ...], str | None]:
    """An output's shape, batch first, without its axes of 1, and a note if it had such.

    Only where one axis is left beside the batch: (n, 64, 1, 1) and (n, 1, 1, 64) are (n, 64).
    ``embed_images`` flattens what such a model gives; another shape comes back as it is.
    """
    sizes = [size for size in shape[1:] if size != 1]
    if len(shape) < 3 or len(sizes) > 1:
        return tuple(shape), None
    flat = (shape[0], *(sizes or [1]))
    return flat, f"its output of shape {tuple(shape)} is used as {flat}"


def check_embedding_shape(path: Path, shape: Shape) -> tuple[str, ...]:
    """Notes on a shape, batch first. Raises ModelError unless it is one vector an image.

    Axes of 1 do not matter: see ``flattened_shape``.
    """
    flat, note = flattened_shape(shape)
    if len(flat) != 2:
        raise ModelError(
            f"{path}: the model's output has shape {tuple(shape)}; expected one embedding an "
            "image, (batch, size). Is it a detector, or a backbone without its pooling layer?"
        )
    if flat[1] is not None and flat[1] < 2:
        raise ModelError(f"{path}: the model's output is one number an image, not an embedding")
    return () if note is None else (note,)


# Of a path of names: parts that say what a last layer gives.
_CLASS_PART = re.compile(r"(logits|predictions)(_\d+)?")
_EMBEDDING_PART = re.compile(rf"{EMBEDDING}(_\d+)?")


def is_embedding(parts: Sequence[str]) -> bool:
    """Whether a layer says in its name that it gives the embedding."""
    return any(map(_EMBEDDING_PART.fullmatch, parts))


def class_sign(own: Sequence[str], before: Sequence[str]) -> str | None:
    """What says that a layer of these names, after one of others, gives classes."""
    if any(map(_CLASS_PART.fullmatch, own)):
        return "a last layer of that name"
    if is_embedding(before) and not is_embedding(own):
        return "a layer behind the one named embedding"
    return None


def class_note(sign: str, shape: Shape = ()) -> str:
    """What is said of a model that ends in classes, told by ``sign``, and is cut before them:
    ``shape`` is of what goes into these.
    """
    values = f", {shape[-1]} values," if shape and shape[-1] is not None else ""
    return (
        f"it ends in classes ({sign}): what goes into its last layer{values} is used; "
        "--output takes an output as it is"
    )


def dense_note(name: str, shape: Shape, *, inner: bool = True) -> str:
    """What is said of a network that ends in a dense layer by which nothing says what it gives.

    ``shape`` is of its output; ``inner`` says whether ``--output`` can name a layer inside such a
    file.
    """
    values = f" of {shape[-1]} values" if shape and shape[-1] is not None else ""
    advice = "name the layer before it with --output" if inner else "save the network without it"
    return (
        f"its last layer, {plain_name(name)[:80]!r}{values}, is taken for the embedding; if it "
        f"gives classes, {advice}"
    )


def class_refusal(path: Path, sign: str) -> str:
    """What is said of a model that ends in classes and cannot be cut before them."""
    return (
        f"{path}: it ends in classes ({sign}), not in an embedding, and the layer before them "
        "cannot be told; --output NAME takes an output as it is"
    )
