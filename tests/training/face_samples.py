"""Small synthetic people for the tests of training: each has a colour, each image some noise."""

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from evaluator.bins.verification_set import write_bin

SIDE = 32


def face(person: int, number: int) -> bytes:
    """A PNG of SIDE x SIDE pixels."""
    random = np.random.default_rng([person, number])
    colour = np.random.default_rng(person).integers(40, 215, 3)
    pixels = colour + random.integers(-40, 40, (SIDE, SIDE, 3))
    buffer = BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write_faces(root: Path, people: int = 4, each: int = 7) -> Path:
    """A folder per person."""
    for person in range(people):
        folder = root / f"person {person}"
        folder.mkdir(parents=True)
        for number in range(each):
            (folder / f"{number}.png").write_bytes(face(person, number))
    return root


def write_pairs(path: Path, pairs: int = 12) -> Path:
    """A bin whose first half are genuine pairs."""
    images, genuine = [], []
    for pair in range(pairs):
        same = pair < pairs // 2
        images += [face(pair, 100), face(pair if same else pair + 50, 101)]
        genuine.append(same)
    write_bin(path, images, genuine)
    return path
