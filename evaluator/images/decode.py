"""Encoded images to pixels, the same pixels on every machine.

Plain JPEGs go straight to libjpeg-turbo, everything else and every doubt to Pillow, which uses the
same library: both with the accurate integer DCT, so with the same bits, which TensorFlow's
INTEGER_ACCURATE gives too on 8-bit RGB JPEGs. Every function here may be called from several
threads at once.
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from evaluator.errors import InputError, cause_of
from evaluator.images.image_format import FORMATS, image_format

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

# More than any camera that photographs faces delivers, and 192 MB of RGB: a few kilobytes that
# declare more are an attack or an accident. Pillow only warns from 89 million on.
MAX_PIXELS = 64_000_000

DECODERS = ("accurate", "fast")


class _QuietJpegFile(JpegImageFile):
    """Pillow's reader without its look for a print resolution, which warns on damaged EXIF."""

    def _read_dpi_from_exif(self) -> None:
        return


# Opened by class and not by Image.open, which tries every format it knows and warns about sizes.
_READERS: dict[str, type[ImageFile]] = {
    "JPEG": _QuietJpegFile,
    "PNG": PngImageFile,
    "BMP": BmpImageFile,
    "WebP": WebPImageFile,
    "GIF": GifImageFile,
    "TIFF": TiffImageFile,
}
try:
    from PIL.AvifImagePlugin import SUPPORTED, AvifImageFile
except ImportError:  # Pillow before 11.3
    SUPPORTED = False
if SUPPORTED:  # as Pillow was built
    _READERS["AVIF"] = AvifImageFile

# EXIF 2.3, tag 0x0112: what brings the stored image upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION_TAG = 0x0112

# What Pillow's readers raise on bytes that are no proper image of their format; those of TIFF and
# AVIF let more through, and warn of a damaged tag.
_UNREADABLE = (
    *(OSError, SyntaxError, ValueError, Image.DecompressionBombError),
    *(ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, struct.error),
    UserWarning,
)


class DecodeError(InputError):
    """Bytes that are not an image, or not a whole one. The message continues "image 17 "."""


def decode_image(
    data: bytes, *, size: tuple[int, int] | None = None, decoder: str = "accurate"
) -> NDArray[np.uint8]:
    """The image as (height, width, 3) RGB in 0..255, upright, resized to `size` if it differs.

    Gray is repeated in all three channels. Alpha is dropped and not blended into a background, as
    OpenCV and TensorFlow do. Of 16 bits the high byte is kept, of an animation or a TIFF of
    several pages the first image.
    EXIF orientation is applied, as OpenCV and so insightface do (TensorFlow alone would ignore
    it); an EXIF block that cannot be read counts as none.

    `size` is (height, width). Resizing is bilinear; when an image shrinks, the filter widens with
    it (Pillow's BILINEAR), so that no pixel is skipped. OpenCV's INTER_LINEAR does skip.

    `decoder` "fast" decodes JPEGs by TensorFlow's INTEGER_FAST, which others evaluate with and
    which moves three of four pixel values; everything else is decoded as by "accurate".

    Raises `DecodeError` with the cause when the bytes are no image, not a whole one, or declare
    more than `MAX_PIXELS`; nothing is allocated for the pixels then.
    """
    if decoder not in DECODERS:
        raise InputError(f"decoder must be one of {', '.join(DECODERS)}; got {decoder!r}")
    plain = _plain_jpeg(data) if decoder == "accurate" else None
    if plain is not None and (size is None or plain.shape[:2] == size):
        return plain
    image, name = _open(data)
    with image:
        orientation = _orientation(image)
        if decoder == "fast" and name == "JPEG":
            rgb = Image.fromarray(_fast_jpeg(data))
        else:
            rgb = _rgb(image, name)
    if orientation in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[orientation])
    if size is not None and rgb.size != (size[1], size[0]):
        rgb = rgb.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(rgb)


def _plain_jpeg(data: bytes) -> NDArray[np.uint8] | None:
    """The pixels of a whole gray or YCbCr JPEG without EXIF; None for what Pillow has to judge.

    Half of Pillow's time on a face of 112x112, where most of Pillow's is not decoding.
    """
    if image_format(data) != "JPEG" or b"Exif" in data:
        return None
    try:
        height, width, colors, _ = simplejpeg.decode_jpeg_header(data)
        if colors not in ("YCbCr", "Gray") or width * height > MAX_PIXELS:
            return None
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB")
    except ValueError:  # damaged or unusual: Pillow says which, or reads it all the same
        return None
    return pixels


def _open(data: bytes) -> tuple[ImageFile, str]:
    """The image with its header read, no pixels yet, and the name of its format."""
    name = image_format(data)
    if name is None:
        start = f"it starts with {data[:8]!r}" if data else "it is empty"
        raise DecodeError(f"is no {FORMATS}: {start}")
    if name not in _READERS:
        raise DecodeError(f"is {name}, which this Pillow does not read; convert it to PNG")
    if name in _DECLARED_EARLY:
        _check_pixels(*_DECLARED_EARLY[name](data))
    try:
        image = _READERS[name](BytesIO(data))
        _check_pixels(*image.size)
        if isinstance(image, TiffImageFile):
            _check_tiff(image)
    except DecodeError:
        raise
    except _UNREADABLE as error:
        raise DecodeError(f"has a damaged {name} header: {cause_of(error)}") from error
    return image, name


def _check_tiff(image: TiffImageFile) -> None:
    """Raises DecodeError for levels that are no 0..255 or 16 bits, and for tiles of any size."""
    if image.mode in ("I", "F"):
        raise DecodeError(
            f"is a TIFF of {'floats' if image.mode == 'F' else 'signed or 32-bit numbers'}, which"
            " have no black and white; save it with 8 or 16 bits"
        )
    width, height = (image.tag_v2.get(tag, 0) for tag in (322, 323))  # a tile's, allocated whole
    if isinstance(width, int) and isinstance(height, int):
        _check_pixels(width, height)


def _webp_canvas(data: bytes) -> tuple[int, int]:
    """The declared size of an extended, lossy or lossless WebP; (0, 0) where there is none."""
    if len(data) < 30:
        return 0, 0
    match data[12:16]:
        case b"VP8X":
            width, height = data[24:27], data[27:30]
            return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1
        case b"VP8 ":  # 14 bits each, and 2 of a scale that decoders ignore
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return 0, 0


def _gif_first_extent(data: bytes) -> tuple[int, int]:
    """How far the first image of a GIF reaches, which may be beyond its declared screen."""
    flags = data[10] if len(data) > 10 else 0
    position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while position + 10 <= len(data) and data[position] != 0x3B:  # the trailer
        if data[position] == 0x2C:  # an image descriptor
            left, top, width, height = struct.unpack_from("<4H", data, position + 1)
            return left + width, top + height
        if data[position] == 0x21:  # an extension: label, then blocks that say how long they are
            position += 2
            while position < len(data) and data[position]:
                position += data[position] + 1
        position += 1
    return 0, 0


# Pillow allocates for these, or warns, while it opens them; so their sizes are looked at first.
_DECLARED_EARLY = {"WebP": _webp_canvas, "GIF": _gif_first_extent}


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise DecodeError(
            f"declares {width} x {height} pixels, more than the {MAX_PIXELS // 10**6} million that"
            " are decoded; make it smaller"
        )


def _rgb(image: ImageFile, name: str) -> Image.Image:
    try:
        image.load()
        # A palette's transparency would make convert() warn, and alpha is dropped anyhow.
        image.info.pop("transparency", None)
        if image.mode.startswith("I"):  # 16-bit gray, which convert() would clip to 255
            return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
        return image.convert("RGB")
    except _UNREADABLE as error:
        raise DecodeError(f"is a damaged or cut {name}: {cause_of(error)}") from error


def _fast_jpeg(data: bytes) -> NDArray[np.uint8]:
    import tensorflow as tf

    try:
        pixels = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_FAST")
    except tf.errors.InvalidArgumentError as error:
        raise DecodeError(f"is a damaged or cut JPEG: {cause_of(error)}") from error
    array: NDArray[np.uint8] = pixels.numpy()
    return array


def _orientation(image: ImageFile) -> int:
    """EXIF orientation 1..8; 1 when there is none.

    Read here because Pillow's getexif() warns and raises on the damaged blocks that cameras and
    editors leave behind, and parses every tag to find one.
    """
    exif = image.info.get("exif", b"")
    tiff = exif[6:] if exif[:6] == b"Exif\0\0" else exif
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return 1
    start = struct.unpack_from(order + "I", tiff, 4)[0]
    if start + 2 > len(tiff):
        return 1
    count = struct.unpack_from(order + "H", tiff, start)[0]
    for entry in range(start + 2, min(start + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, entry)
        if tag == _ORIENTATION_TAG:
            return value if kind == 3 and value in _UPRIGHT else 1
    return 1
