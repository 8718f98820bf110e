"""TIFF and AVIF decoded, HEIC named, and which files count as images."""

from __future__ import annotations

import contextlib
import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, features

from evaluator.bins.verification_set import read_bin, write_bin
from evaluator.images.decode import DecodeError, decode_image
from evaluator.images.image_format import image_format, is_image_file

PIXELS = (np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3) * 2 + 3).astype(np.uint8)
GRAY = PIXELS[:, :, 0]
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    """A TIFF by tifffile, which is no code of Pillow's."""
    buffer = io.BytesIO()
    kind = "rgb" if pixels.ndim == 3 else "minisblack"
    tifffile.imwrite(buffer, pixels, photometric=kind, metadata=None, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}])
def test_a_tiff_gives_back_its_pixels(byteorder: str, options: dict[str, object]) -> None:
    data = tiff(PIXELS, byteorder=byteorder, **options)
    assert image_format(data) == "TIFF"
    np.testing.assert_array_equal(decode_image(data), PIXELS)
    np.testing.assert_array_equal(
        decode_image(tiff(GRAY, byteorder=byteorder, **options)),
        np.repeat(GRAY[:, :, None], 3, axis=2),
    )


def test_a_tiff_of_sixteen_bits_keeps_the_high_byte_and_the_first_page() -> None:
    levels = np.array([[0, 255, 256, 0x1234], [0x7FFF, 0x8000, 0xFF00, 0xFFFF]], np.uint16)
    for order in "<>":
        found = decode_image(tiff(levels, byteorder=order))
        np.testing.assert_array_equal(found[..., 1], (levels >> 8).astype(np.uint8))
    buffer = io.BytesIO()
    first = Image.fromarray(PIXELS)
    first.save(buffer, "TIFF", save_all=True, append_images=[first.rotate(180)])
    np.testing.assert_array_equal(decode_image(buffer.getvalue()), PIXELS)


@pytest.mark.parametrize(("tag", "turned"), [(3, np.rot90(PIXELS, 2)), (6, np.rot90(PIXELS, -1))])
def test_a_tiff_is_brought_upright(tag: int, turned: np.ndarray) -> None:
    for options in ({}, {"compression": "zlib"}):
        data = tiff(PIXELS, extratags=[(274, "H", 1, tag, True)], **options)
        np.testing.assert_array_equal(decode_image(data), turned)


@pytest.mark.parametrize(
    ("pixels", "words"),
    [(GRAY.astype(np.float32), "floats"), (GRAY.astype(np.int32), "signed or 32-bit numbers")],
)
def test_a_tiff_without_black_and_white_is_refused(pixels: np.ndarray, words: str) -> None:
    with pytest.raises(DecodeError, match=f"is a TIFF of {words}"):
        decode_image(tiff(pixels))


def test_a_tiff_cut_or_damaged_is_an_error_and_a_tile_of_any_size_too() -> None:
    data = tiff(PIXELS, tile=(16, 16), compression="zlib")
    huge = data
    for tag in (322, 323):  # TileWidth and TileLength, one number of 16 or 32 bits each
        place = huge.index(struct.pack("<H", tag))
        huge = huge[:place] + struct.pack("<HHII", tag, 4, 1, 65536) + huge[place + 12 :]
    with pytest.raises(DecodeError, match="65536 x 65536 pixels"):
        decode_image(huge)
    for end in range(4, len(data) - 1, 7):
        with pytest.raises(DecodeError):
            decode_image(data[:end])
    draw = np.random.default_rng(1)
    for _ in range(300):
        damaged = bytearray(data)
        for place in draw.integers(4, len(data), 3):
            damaged[place] = draw.integers(256)
        with contextlib.suppress(DecodeError):  # and nothing else
            assert decode_image(bytes(damaged)).shape[2] == 3


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")
def test_an_avif_is_decoded_as_pillow_does_and_brought_upright() -> None:
    photo = Image.effect_mandelbrot((40, 24), (-2, -1, 1, 1), 50).convert("RGB")
    buffer = io.BytesIO()
    photo.save(buffer, "AVIF", quality=95, subsampling="4:4:4")
    found = decode_image(buffer.getvalue())
    assert image_format(buffer.getvalue()) == "AVIF"
    assert np.abs(found.astype(int) - np.asarray(photo)).mean() < 4
    exif = Image.Exif()
    exif[274] = 6
    buffer = io.BytesIO()
    photo.save(buffer, "AVIF", quality=95, subsampling="4:4:4", exif=exif)
    np.testing.assert_array_equal(decode_image(buffer.getvalue()), np.rot90(found, -1))
    with pytest.raises(DecodeError):
        decode_image(buffer.getvalue()[:200])


def test_heic_is_known_and_said_not_to_be_read() -> None:
    assert image_format(HEIC) == "HEIC"
    assert image_format(b"\0\0\0\x18ftypisom\0\0\0\0mp42avc1") is None
    assert image_format(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf") == "AVIF"
    with pytest.raises(DecodeError, match="is HEIC, which this Pillow does not read; convert it"):
        decode_image(HEIC)


def test_a_bin_holds_tiffs(tmp_path: Path) -> None:
    images = [tiff(PIXELS), tiff(PIXELS[::-1]), tiff(GRAY), tiff(GRAY[::-1])]
    for name in ("a.bin", "a.npz"):
        write_bin(tmp_path / name, images, [True, False])
        assert list(read_bin(tmp_path / name).images) == images


@pytest.mark.parametrize(
    ("name", "content", "is_image"),
    [
        ("a.jfif", b"\xff\xd8\xff\xe0", True),
        ("a.jpe", b"\xff\xd8\xff\xe0", True),
        ("a", b"\x89PNG\r\n\x1a\n", True),
        ("a.dat", b"II*\0", True),
        ("a.heic", HEIC, True),
        ("a.jpg", b"<html>", True),  # damaged, and so told of later
        ("a.txt", b"notes", False),
        ("a.txt", b"BMW and other cars", False),
        ("a.data", b"BM\x4a\0\0\0\0\0\0\0\x36", True),
        ("a", b"", False),
    ],
)
def test_a_file_is_an_image_by_its_name_or_by_its_first_bytes(
    name: str, content: bytes, is_image: bool, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    assert is_image_file(tmp_path / name) is is_image


def test_what_is_no_file_is_no_image_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "link", "folder"):
        assert not is_image_file(tmp_path / name)
