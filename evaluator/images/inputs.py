"""How pixels become a model's input: size, range, channel order and layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import InputError, check_choice
from evaluator.profiles import Profile, profile_of

CHANNELS = ("rgb", "bgr", "gray")
LAYOUTS = ("NHWC", "NCHW")

# ITU-R BT.601 luma, the weights that Pillow and OpenCV use for gray.
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class InputSpec:
    """What a model wants: pixels of ``height`` x ``width``, value range, channel order, layout.

    ``profile`` is the text of a `Profile` (``str(Profile(mean=..., std=...))``), of the named ones
    their name; ``channels`` is ``rgb``, ``bgr`` or ``gray`` (one channel, BT.601 luma); ``layout``
    is ``NHWC`` or ``NCHW``.
    """

    height: int
    width: int
    profile: str = "unit"
    channels: str = "rgb"
    layout: str = "NHWC"

    def __post_init__(self) -> None:
        """Refuses sizes below one pixel, names that are not known and a number of means or
        deviations that is not the channels', with InputError.
        """
        if self.height < 1 or self.width < 1:
            raise InputError(f"input size must be at least 1x1; got {self.height}x{self.width}")
        check_choice("channels", self.channels, CHANNELS)
        check_choice("layout", self.layout, LAYOUTS)
        object.__setattr__(self, "profile", str(profile_of(str(self.profile))))
        given = max(len(self.pixels.mean), len(self.pixels.std))
        if given not in (1, self._depth):
            raise InputError(
                f"input {self.profile}: {given} numbers for {self._depth} channel; expected one"
            )

    @property
    def pixels(self) -> Profile:
        """What becomes of pixel levels."""
        return profile_of(self.profile)

    @property
    def _depth(self) -> int:
        return 1 if self.channels == "gray" else 3

    @property
    def batch_shape(self) -> tuple[int, int, int]:
        """The shape of one image as the model sees it."""
        if self.layout == "NCHW":
            return self._depth, self.height, self.width
        return self.height, self.width, self._depth

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of an image that serves: the least that has the crop, or the model's."""
        height, width, top, left = (*self.pixels.crop, 0, 0, 0, 0)[:4]
        return (top + height, left + width) if height else (self.height, self.width)


def write_model_input(
    pixels: NDArray[np.uint8], spec: InputSpec, out: NDArray[np.float32]
) -> tuple[int, int]:
    """Fills ``out`` (``spec.batch_shape``) with one image (height, width, 3), RGB uint8. Returns
    the (height, width) of what is seen of it, before resizing.

    An image of another size is resized bilinearly in float32, so no rounding to 8 bits is added;
    shrinking averages over the pixels that go (Pillow's antialiased filter). Raises InputError for
    an image that a crop does not fit into.
    """
    profile = spec.pixels
    if profile.crop:
        pixels = _cropped(pixels, profile.crop)
    seen = pixels.shape[:2]
    same_size = seen == (spec.height, spec.width)
    levels = pixels if same_size else _resized(pixels, spec.height, spec.width)
    if spec.channels == "bgr":
        levels = levels[..., ::-1]
    if same_size and spec.channels != "gray" and spec.layout == "NHWC":
        _scale(levels, profile, out)
        return seen
    values = np.empty((spec.height, spec.width, 3), np.float32)
    if spec.channels == "gray":
        # Luma of the scaled channels: scaling is affine and the weights sum to one.
        _scale(levels, Profile() if profile.whiten else profile, values)
        values = (values @ _LUMA)[..., None]
        if profile.whiten:
            _scale(values, profile, values)
    else:
        _scale(levels, profile, values)
    out[...] = values.transpose(2, 0, 1) if spec.layout == "NCHW" else values
    return seen


def _cropped(pixels: NDArray[np.uint8], crop: tuple[int, ...]) -> NDArray[np.uint8]:
    (height, width), (rows, columns) = crop[:2], pixels.shape[:2]
    top, left = crop[2:] or ((rows - height) // 2, (columns - width) // 2)
    if min(top, left) < 0 or top + height > rows or left + width > columns:
        raise InputError(
            f"an image of {rows}x{columns}, of which a crop of {height}x{width} cannot be taken"
        )
    return pixels[top : top + height, left : left + width]


def _scale(
    levels: NDArray[np.uint8] | NDArray[np.float32], profile: Profile, out: NDArray[np.float32]
) -> None:
    """Writes a profile's values of some levels into ``out``, of the same shape.

    In float32 only the division rounds where a center is a multiple of a half.
    """
    centers, divisors = profile.centers, profile.divisors
    if profile.whiten:
        deviation = levels.std(dtype=np.float64)
        centers = (float(levels.mean(dtype=np.float64)),)
        divisors = (max(float(deviation), levels.size**-0.5),)
    if any(centers):
        levels = np.subtract(levels, _constant(centers), out=out, dtype=np.float32)
    np.divide(levels, _constant(divisors), out=out, dtype=np.float32)


def _constant(values: tuple[float, ...]) -> NDArray[np.float32]:
    """Of one number an array without axes, which NumPy is quicker with."""
    return np.asarray(values[0] if len(values) == 1 else values, np.float32)


def _resized(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float32]:
    from PIL import Image

    planes = [
        Image.fromarray(pixels[..., i].astype(np.float32)).resize(
            (width, height), Image.Resampling.BILINEAR
        )
        for i in range(3)
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


def mirrored(batch: NDArray[np.float32], spec: InputSpec) -> NDArray[np.float32]:
    """The batch flipped left to right."""
    return batch[..., ::-1] if spec.layout == "NCHW" else batch[:, :, ::-1]


Forward = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class Counts:
    """What a network is made of: its ``parameters``, and the ``macs`` of one image, multiplications
    each with its addition. None for one that cannot be counted, and ``reasons`` say why.
    """

    parameters: int | None
    macs: int | None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Embedder:
    """A callable from a batch of prepared images to embeddings, and the input it wants.

    ``forward`` maps float32 (batch, *input.batch_shape) to (batch, embedding size).
    ``fixed_batch`` is the batch size of a model that takes no other. ``notes`` say what was
    assumed or changed while loading, one sentence each. ``count`` counts parameters and MACs when
    it is asked, ``device`` is what computes. ``at_once`` threads may call ``forward``.
    """

    forward: Forward
    input: InputSpec
    format: str = "function"
    fixed_batch: int | None = None
    notes: tuple[str, ...] = ()
    device: str = "cpu"
    count: Callable[[], Counts] | None = None
    at_once: int = 1
