"""Folders of small drawn faces that the tests make bins and alignments of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from samples import face, png


def write_people(root: Path, counts: Mapping[str, int], *, size: int = 8) -> Path:
    """A folder per person with so many PNGs, named as LFW names its own."""
    for number, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for shot in range(1, count + 1):
            path = root / name / f"{name}_{shot:04d}.png"
            path.write_bytes(png(face(number, shot, size)))
    return root
