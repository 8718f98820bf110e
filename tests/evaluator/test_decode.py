import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from evaluator.bins.verification_set import distinct_images, read_bin
from evaluator.errors import InputError
from evaluator.images.decode import (
    MAX_PIXELS,
    DecodeError,
    _plain_jpeg,
    decode_image,
    image_format,
)

FORMATS = ["JPEG", "PNG", "BMP", "WebP", "GIF"]
LOSSLESS = ["PNG", "BMP", "WebP"]

# 5 rows of 7 pixels, all different: any turn or swap shows.
PIXELS = (np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3) * 2 + 3).astype(np.uint8)


def encoded(pixels: object, kind: str, **options: object) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)  # type: ignore[arg-type]
    buffer = io.BytesIO()
    if kind == "WebP":
        options = {"lossless": True, **options}
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    """A PNG put together by the specification, so that its exact samples are known."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [chunk(part[:4], part[4:]) for part in extra]
    parts = [
        chunk(b"IHDR", header),
        *chunks,
        chunk(b"IDAT", zlib.compress(rows)),
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.fixture(scope="module")
def faces(shared: Path) -> list[bytes]:
    return distinct_images(read_bin(shared / "bins" / "lfw_devtest.bin").images)[0]


# ---- Pixels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LOSSLESS)
def test_a_lossless_image_gives_back_its_pixels(kind: str) -> None:
    decoded = decode_image(encoded(PIXELS, kind))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, PIXELS)


@pytest.mark.parametrize("kind", LOSSLESS)
def test_alpha_is_dropped_and_not_blended(kind: str) -> None:
    alpha = np.full((5, 7, 1), 1, np.uint8)
    options = {"exact": True} if kind == "WebP" else {}
    data = encoded(np.concatenate([PIXELS, alpha], axis=2), kind, **options)
    np.testing.assert_array_equal(decode_image(data), PIXELS)


def test_gray_is_repeated_in_three_channels() -> None:
    gray = PIXELS[:, :, 0]
    with_alpha = np.stack([gray, np.full_like(gray, 7)], axis=2)
    for data in (
        encoded(gray, "PNG"),
        encoded(gray, "BMP"),
        encoded(gray, "GIF"),
        png(7, 5, 8, 4, b"".join(b"\0" + row.tobytes() for row in with_alpha)),
    ):
        np.testing.assert_array_equal(decode_image(data), np.repeat(gray[:, :, None], 3, axis=2))


def test_sixteen_bits_keep_their_high_byte() -> None:
    samples = np.array([[0, 255, 256, 0x1234], [0x7FFF, 0x8000, 0xFF00, 0xFFFF]], ">u2")
    gray = png(4, 2, 16, 0, b"".join(b"\0" + row.tobytes() for row in samples))
    expected = (samples >> 8).astype(np.uint8)
    np.testing.assert_array_equal(decode_image(gray), np.repeat(expected[:, :, None], 3, axis=2))
    colour = np.stack([samples, samples[::-1], samples[:, ::-1]], axis=2)
    for kind, values in ((2, colour), (6, np.concatenate([colour, samples[:, :, None]], axis=2))):
        rows = values.astype(">u2")  # stack() gave the machine's own byte order
        data = png(4, 2, 16, kind, b"".join(b"\0" + row.tobytes() for row in rows))
        np.testing.assert_array_equal(decode_image(data), (colour >> 8).astype(np.uint8))


def test_one_bit_is_black_and_white() -> None:
    expected = np.array([[0, 255, 255, 0]], np.uint8)[:, :, None].repeat(3, axis=2)
    np.testing.assert_array_equal(decode_image(png(4, 1, 1, 0, b"\0\x60")), expected)


def test_a_palette_gives_its_colours_and_its_transparency_is_ignored() -> None:
    palette = bytes([1, 2, 3, 200, 100, 50, 9, 9, 9])
    for transparency in ((), (b"tRNS" + bytes([255, 0, 128]),)):
        data = png(3, 1, 8, 3, b"\0\2\0\1", b"PLTE" + palette, *transparency)
        assert decode_image(data).tolist() == [[[9, 9, 9], [1, 2, 3], [200, 100, 50]]]


def test_cmyk_becomes_rgb() -> None:
    inks = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # no cyan, all magenta and yellow: red
    red = decode_image(encoded(inks, "JPEG")).astype(int)
    assert (abs(red - [255, 0, 0]) <= 4).all()


KINDS_OF_JPEG: dict[str, tuple[str, tuple[int, int], dict[str, object]]] = {
    "4:4:4": ("RGB", (37, 53), {"subsampling": 0}),
    "4:2:2": ("RGB", (37, 53), {"subsampling": 1}),
    "4:2:0": ("RGB", (37, 53), {"subsampling": 2}),
    "one pixel": ("RGB", (1, 1), {"subsampling": 2}),
    "low quality": ("RGB", (112, 112), {"quality": 5}),
    "progressive": ("RGB", (40, 24), {"progressive": True}),
    "restarts": ("RGB", (64, 48), {"restart_marker_blocks": 2}),
    "comment": ("RGB", (16, 16), {"comment": b"a face"}),
    "gray": ("L", (37, 53), {}),
    "RGB as it is": ("RGB", (24, 24), {"keep_rgb": True}),
    "CMYK": ("CMYK", (24, 24), {}),
}


@pytest.mark.parametrize("kind", KINDS_OF_JPEG)
def test_every_kind_of_jpeg_has_the_pixels_that_pillow_gives(kind: str) -> None:
    mode, size, options = KINDS_OF_JPEG[kind]
    values = np.random.default_rng(0).integers(0, 256, (*size, len(mode)), np.uint8)
    image = Image.fromarray(values.squeeze(2) if mode == "L" else values, mode)
    image = image.resize((size[0] * 2 + 1, size[1])).crop((0, 0, *size))
    data = encoded(image, "JPEG", **options)
    witness = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(decode_image(data), witness)
    smaller = decode_image(data, size=(8, 8))
    shrunk = Image.fromarray(witness).resize((8, 8), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(smaller, np.asarray(shrunk))


def test_faces_take_the_short_way_and_have_pillows_pixels(faces: list[bytes]) -> None:
    for data in faces[:200]:
        pixels = _plain_jpeg(data)
        assert pixels is not None
        np.testing.assert_array_equal(pixels, np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("kind", ["GIF", "WebP", "PNG"])
def test_of_an_animation_the_first_image_is_decoded(kind: str) -> None:
    frames = [Image.new("RGB", (6, 4), shade) for shade in ((250, 0, 0), (0, 0, 250))]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert (decode_image(data) == (250, 0, 0)).all()


def turned(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """EXIF 2.3, table of tag 0x0112: where the stored first row and first column belong."""
    return {
        1: lambda p: p,  # row 0 is the top, column 0 the left
        2: lambda p: p[:, ::-1],  # top, right
        3: lambda p: p[::-1, ::-1],  # bottom, right
        4: lambda p: p[::-1],  # bottom, left
        5: lambda p: p.swapaxes(0, 1),  # left, top
        6: lambda p: p.swapaxes(0, 1)[:, ::-1],  # right, top
        7: lambda p: p.swapaxes(0, 1)[::-1, ::-1],  # right, bottom
        8: lambda p: p.swapaxes(0, 1)[::-1],  # left, bottom
    }[orientation](pixels)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP"])
def test_exif_orientation_is_applied(kind: str, orientation: int, order: str) -> None:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    block = mark + struct.pack(f"{order}IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    data = encoded(PIXELS, kind, exif=b"Exif\0\0" + block)
    expected = turned(decode_image(encoded(PIXELS, kind)), orientation)
    np.testing.assert_array_equal(decode_image(data), expected)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff\x12\x01",
        b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHIHH", 0x0112, 3, 1, 77, 0),
        b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 0x0112, 4, 1, 6),
        b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 0x011A, 5, 1, 0xFFFFFF),
        b"nonsense",
    ],
)
def test_damaged_exif_counts_as_none_and_warns_of_nothing(block: bytes) -> None:
    plain = encoded(PIXELS, "JPEG")
    content = b"Exif\0\0" + block
    segment = b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content
    for start in (
        plain[:2] + segment + plain[2:],
        plain[:2] + segment + plain[20:],
    ):  # without JFIF
        assert start.startswith(b"\xff\xd8\xff\xe1")
        np.testing.assert_array_equal(decode_image(start), decode_image(plain))


# ---- Size ----------------------------------------------------------------------------------------


def test_size_is_height_and_width_of_the_upright_image() -> None:
    data = encoded(
        PIXELS, "PNG", exif=b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, 274, 3, 1, 6, 0, 0)
    )
    assert decode_image(data).shape == (7, 5, 3)
    assert decode_image(data, size=(14, 3)).shape == (14, 3, 3)
    np.testing.assert_array_equal(decode_image(data, size=(7, 5)), decode_image(data))


def test_growing_interpolates_between_pixel_centres() -> None:
    data = encoded(np.array([[[0] * 3, [200] * 3]], np.uint8), "PNG")
    assert decode_image(data, size=(1, 4))[0, :, 0].tolist() == [0, 50, 150, 200]


def test_shrinking_looks_at_every_pixel() -> None:
    stripes = np.zeros((1, 64, 3), np.uint8)
    stripes[:, ::4] = 240  # two samples a pixel without antialiasing would miss them all
    shrunk = decode_image(encoded(stripes, "PNG"), size=(1, 16))[0, 2:-2, 0]
    assert (abs(shrunk.astype(int) - 60) <= 12).all()


# ---- Header --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_the_header_tells_the_format(kind: str) -> None:
    data = encoded(PIXELS, kind)
    assert image_format(data) == kind


def test_a_header_alone_is_no_image(faces: list[bytes]) -> None:
    for data in faces[:20]:
        with pytest.raises(DecodeError):
            decode_image(data[: data.index(b"\xff\xda") + 20])


# ---- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [b"", b"text", b"\x00" * 50, b"P6 2 2 255 ", b"II+\0", b"%PDF-1.4"]
)
def test_bytes_that_are_no_image_say_how_they_start(data: bytes) -> None:
    with pytest.raises(DecodeError, match=r"no JPEG, PNG.*(starts with|empty)"):
        decode_image(data)
    assert image_format(data) is None


@pytest.mark.parametrize("decoder", ["accurate", "fast"])
def test_an_unknown_decoder_names_the_known_ones(decoder: str) -> None:
    with pytest.raises(InputError, match="accurate, fast; got 'best'"):
        decode_image(encoded(PIXELS, "PNG"), decoder="best")
    np.testing.assert_array_equal(decode_image(encoded(PIXELS, "PNG"), decoder=decoder), PIXELS)


def declaring(kind: str, width: int, height: int) -> bytes:
    """A few bytes of a proper header that declare any size."""
    if kind == "PNG":
        return png(width, height, 8, 2, b"\0")
    if kind == "BMP":
        head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
        return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + head
    if kind == "JPEG":
        whole = bytearray(encoded(PIXELS, "JPEG"))
        place = whole.index(b"\xff\xc0") + 5
        whole[place : place + 4] = struct.pack(">HH", height, width)
        return bytes(whole)
    if kind == "GIF":
        whole = bytearray(encoded(PIXELS, "GIF"))
        whole[6:10] = struct.pack("<HH", width, height)
        return bytes(whole)
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + size
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("side", [8001, 9500, 12_000, 16_000])  # around both limits of Pillow
def test_a_declared_bomb_is_refused_before_its_pixels_and_without_a_warning(
    kind: str, side: int
) -> None:
    data = declaring(kind, side, side)
    with pytest.raises(DecodeError, match=f"{side} x {side} pixels, more than the 64 million"):
        decode_image(data)


@pytest.mark.parametrize("side", [8001, 9500, 12_000, 16_000])
def test_a_gif_whose_first_image_exceeds_its_screen_is_refused_too(side: int) -> None:
    whole = encoded(PIXELS, "GIF", comment=b"with an extension before the image", disposal=2)
    place = whole.index(b",\0\0\0\0\x07\0\x05\0")
    data = whole[: place + 5] + struct.pack("<HH", side, side) + whole[place + 9 :]
    assert data[6:10] == struct.pack("<HH", 7, 5)
    with pytest.raises(DecodeError, match=f"{side} x {side} pixels, more than"):
        decode_image(data)


def test_the_limit_is_on_pixels_and_not_on_bytes() -> None:
    assert MAX_PIXELS == 8000 * 8000
    with pytest.raises(DecodeError, match="cut BMP"):
        decode_image(declaring("BMP", 8000, 8000))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_image_is_an_error_and_never_gray(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    whole = encoded(noise, kind)
    pixels = decode_image(whole)
    for end in range(0, len(whole), 41):
        try:
            cut = decode_image(whole[:end])
        except DecodeError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:  # only the end marker was missing
            assert end > len(whole) - 60
            np.testing.assert_array_equal(cut, pixels)


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_bytes_are_pixels_or_a_decode_error(kind: str) -> None:
    random = np.random.default_rng(5)
    whole = encoded(PIXELS, kind)
    for _ in range(300):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 3):
            damaged[place] = random.integers(256)
        try:
            decode_image(bytes(damaged))
        except DecodeError as error:
            assert "\n" not in str(error)  # noqa: PT017


# ---- Other decoders, threads ---------------------------------------------------------------------


def test_threads_decode_what_one_thread_does(faces: list[bytes]) -> None:
    some = faces[:200]
    with ThreadPoolExecutor(4) as pool:
        for one, many in zip(map(decode_image, some), pool.map(decode_image, some), strict=True):
            np.testing.assert_array_equal(one, many)


@pytest.mark.slow
def test_accurate_is_bit_for_bit_tensorflows_integer_accurate(faces: list[bytes]) -> None:
    import tensorflow as tf

    for data in faces:
        witness = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE").numpy()
        np.testing.assert_array_equal(decode_image(data), witness)


@pytest.mark.slow
def test_fast_is_tensorflows_default_and_moves_most_pixels(faces: list[bytes]) -> None:
    import tensorflow as tf

    moved = []
    for data in faces[:200]:
        fast = decode_image(data, decoder="fast")
        np.testing.assert_array_equal(fast, tf.image.decode_jpeg(data, channels=3).numpy())
        moved.append((fast != decode_image(data)).mean())
    assert 0.5 < np.mean(moved) < 0.95
    with pytest.raises(DecodeError, match="cut JPEG"):
        decode_image(faces[0][:2000], decoder="fast")


@pytest.mark.slow
def test_fast_turns_and_resizes_as_accurate_does() -> None:
    block = b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, 274, 3, 1, 6, 0, 0)
    data = encoded(np.repeat(np.repeat(PIXELS, 16, 0), 16, 1), "JPEG", exif=block, quality=98)
    fast, accurate = (decode_image(data, size=(60, 50), decoder=d) for d in ("fast", "accurate"))
    assert fast.shape == (60, 50, 3)
    assert abs(fast.astype(int) - accurate).max() <= 6


@pytest.mark.slow
def test_png_bmp_and_gif_are_what_tensorflow_decodes() -> None:
    import tensorflow as tf

    deep = np.random.default_rng(1).integers(0, 65536, (6, 5, 3), dtype=np.uint16).astype(">u2")
    rgb16 = png(5, 6, 16, 2, b"".join(b"\0" + row.tobytes() for row in deep))
    palette = encoded(Image.fromarray(PIXELS).quantize(16), "PNG", transparency=bytes(range(16)))
    for data in (rgb16, palette, encoded(PIXELS, "PNG"), encoded(PIXELS[:, :, 0], "PNG")):
        witness = tf.io.decode_png(data, channels=3).numpy()
        np.testing.assert_array_equal(decode_image(data), witness)
    np.testing.assert_array_equal(
        decode_image(encoded(PIXELS, "BMP")), tf.io.decode_bmp(encoded(PIXELS, "BMP")).numpy()
    )
    gif = encoded(Image.fromarray(PIXELS).quantize(16), "GIF")
    np.testing.assert_array_equal(decode_image(gif), tf.io.decode_gif(gif).numpy()[0])


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 80), (112, 160), (150, 150), (224, 30)])
def test_resizing_is_tensorflows_antialiased_bilinear_within_rounding(
    faces: list[bytes], size: tuple[int, int]
) -> None:
    import tensorflow as tf

    for data in faces[:10]:
        witness = tf.image.resize(decode_image(data), size, method="bilinear", antialias=True)
        difference = decode_image(data, size=size).astype(float) - witness.numpy()
        assert abs(difference).max() <= 1.01
