"""What a model is known by where it is stored and listed: one digest of all its bytes."""

from __future__ import annotations

import hashlib


def identity_digest(sha256: str, data_sha256: str | None) -> str:
    """64 hexadecimal digits that tell a model from every other one.

    Of a model that is one file or folder, its ``sha256``. Of one whose weights lie beside it, the
    SHA-256 of both digests with a space between them: an .onnx file is the same before and after
    training where its data is not.
    """
    if data_sha256 is None:
        return sha256
    return hashlib.sha256(f"{sha256} {data_sha256}".encode()).hexdigest()
