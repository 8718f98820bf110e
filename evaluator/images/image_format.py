"""Which image format bytes announce, told without a decoder, and which files are images."""

from __future__ import annotations

import os
from pathlib import Path

from evaluator.files import NotRegularError, open_regular

#: The formats that are decoded, as messages name them.
FORMATS = "JPEG, PNG, BMP, WebP, GIF, TIFF or AVIF"

#: Names that end so say "image", and a file that is none is then damaged, not something else.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

_SIGNATURES = (
    ("JPEG", b"\xff\xd8\xff"),
    ("PNG", b"\x89PNG\r\n\x1a\n"),
    ("BMP", b"BM"),
    ("GIF", b"GIF87a"),
    ("GIF", b"GIF89a"),
    ("TIFF", b"II*\0"),
    ("TIFF", b"MM\0*"),
)
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

#: As many bytes as tell the format.
BEGINNING = 64


def image_format(data: bytes) -> str | None:
    """The format that the first bytes (``BEGINNING``) announce, or None for none that we know.

    HEIC is known and not decoded.
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        # ISO 23008-12: the brand, then, after a version, other brands that it is readable as.
        size = int.from_bytes(data[:4], "big")
        brands = {data[8:12], *(data[i : i + 4] for i in range(16, min(size, len(data)), 4))}
        if brands & {b"avif", b"avis"}:
            return "AVIF"
        return "HEIC" if brands.intersection(_HEIC_BRANDS) else None
    return next((name for name, start in _SIGNATURES if data.startswith(start)), None)


def is_image_file(path: str | Path) -> bool:
    """Whether a file is an image: its name says so (``IMAGE_SUFFIXES``), or its first bytes do.

    So a damaged .jpg is an image, to be told of and not passed over, and a .jfif, a .tif or a name
    without suffix is one by what it holds. False for what is no regular file. Raises OSError for
    one that cannot be read.
    """
    if os.fspath(path).lower().endswith(IMAGE_SUFFIXES):
        return True
    try:
        with os.fdopen(open_regular(Path(path)), "rb", buffering=0) as file:
            start = file.read(BEGINNING)
    except (FileNotFoundError, NotRegularError):  # a link to nowhere, a socket
        return False
    found = image_format(start)
    # "BM" begins many a text; in a BMP four reserved zeros follow its length.
    return found is not None and not (found == "BMP" and start[6:10] != bytes(4))
