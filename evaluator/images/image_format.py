"""Which image format bytes announce, told without a decoder."""

from __future__ import annotations

#: How the names of images end, in small letters, by which they are found in a folder.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

_SIGNATURES = (
    ("JPEG", b"\xff\xd8\xff"),
    ("PNG", b"\x89PNG\r\n\x1a\n"),
    ("BMP", b"BM"),
    ("GIF", b"GIF87a"),
    ("GIF", b"GIF89a"),
)


def image_format(data: bytes) -> str | None:
    """The format that the first bytes announce, or None for none of the five that are read."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    return next((name for name, start in _SIGNATURES if data.startswith(start)), None)
