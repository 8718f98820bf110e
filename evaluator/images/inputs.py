"""How pixels become a model's input: size, range, channel order and layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import InputError, check_choice


@dataclass(frozen=True)
class Profile:
    """A model's value range: input = (pixel level (0..255) - ``center``) / ``width``.

    In float32 only the division rounds: a level minus a multiple of a half is exact.
    """

    center: float
    width: float


PROFILES: dict[str, Profile] = {
    # [0, 1]: the founding Keras systems.
    "unit": Profile(0.0, 255.0),
    # Keras_insightface: (x - 127.5) * 0.0078125.
    "symmetric": Profile(127.5, 128.0),
    # insightface's arcface_torch: ((x / 255) - 0.5) / 0.5.
    "insightface": Profile(127.5, 127.5),
    # 0..255: scaling happens inside the model.
    "raw": Profile(0.0, 1.0),
}

CHANNELS = ("rgb", "bgr", "gray")
LAYOUTS = ("NHWC", "NCHW")

# ITU-R BT.601 luma, the weights that Pillow and OpenCV use for gray.
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class InputSpec:
    """What a model wants: pixels of ``height`` x ``width``, value range, channel order, layout.

    ``profile`` is a key of ``PROFILES``; ``channels`` is ``rgb``, ``bgr`` or ``gray`` (one
    channel, BT.601 luma); ``layout`` is ``NHWC`` or ``NCHW``.
    """

    height: int
    width: int
    profile: str = "unit"
    channels: str = "rgb"
    layout: str = "NHWC"

    def __post_init__(self) -> None:
        """Refuses sizes below one pixel and names that are not known, with InputError."""
        if self.height < 1 or self.width < 1:
            raise InputError(f"input size must be at least 1x1; got {self.height}x{self.width}")
        check_choice("input profile", self.profile, tuple(PROFILES))
        check_choice("channels", self.channels, CHANNELS)
        check_choice("layout", self.layout, LAYOUTS)

    @property
    def batch_shape(self) -> tuple[int, int, int]:
        """The shape of one image as the model sees it."""
        depth = 1 if self.channels == "gray" else 3
        if self.layout == "NCHW":
            return depth, self.height, self.width
        return self.height, self.width, depth


def write_model_input(pixels: NDArray[np.uint8], spec: InputSpec, out: NDArray[np.float32]) -> None:
    """Fills ``out`` (``spec.batch_shape``) with one image (height, width, 3), RGB uint8.

    An image of another size is resized bilinearly in float32, so no rounding to 8 bits is added;
    shrinking averages over the pixels that go (Pillow's antialiased filter).
    """
    profile = PROFILES[spec.profile]
    same_size = pixels.shape[:2] == (spec.height, spec.width)
    if same_size and spec.channels == "rgb" and spec.layout == "NHWC":
        _scale(pixels, profile, out)
        return
    values = np.empty((spec.height, spec.width, 3), np.float32)
    _scale(pixels if same_size else _resized(pixels, spec.height, spec.width), profile, values)
    if spec.channels == "gray":
        # Luma of the scaled channels: every profile is affine and the weights sum to one.
        values = (values @ _LUMA)[..., None]
    elif spec.channels == "bgr":
        values = values[..., ::-1]
    out[...] = values.transpose(2, 0, 1) if spec.layout == "NCHW" else values


def _scale(
    levels: NDArray[np.uint8] | NDArray[np.float32], profile: Profile, out: NDArray[np.float32]
) -> None:
    """Writes a profile's values of some levels into ``out``, of the same shape."""
    if profile.center:
        levels = np.subtract(levels, np.float32(profile.center), out=out, dtype=np.float32)
    np.divide(levels, np.float32(profile.width), out=out, dtype=np.float32)


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
    it is asked, ``device`` is what computes.
    """

    forward: Forward
    input: InputSpec
    format: str = "function"
    fixed_batch: int | None = None
    notes: tuple[str, ...] = ()
    device: str = "cpu"
    count: Callable[[], Counts] | None = None
