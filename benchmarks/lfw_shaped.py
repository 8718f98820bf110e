"""A bin of LFW's shape out of real faces: 6,000 pairs whose 12,000 slots hold 7,701 distinct JPEGs.

The faces are those of the shared folder (faces/lfw_train, a folder a person). Each distinct image
is one of them, mirrored or not, cropped by up to eight pixels, brighter or darker, and encoded
anew, so that nothing about its bytes or pixels is repeated.
"""

from __future__ import annotations

import io
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from evaluator.bins.verification_set import write_bin

# Of LFW's 12,000 slots.
DISTINCT = 7701 / 12_000


def lfw_shaped_bin(shared: Path, path: Path, *, pairs: int, seed: int) -> None:
    """Writes such a bin of ``pairs`` pairs, half of them genuine, in a folds-friendly order."""
    random = np.random.default_rng(seed)
    count = round(2 * pairs * DISTINCT)
    faces, people = people_of(shared)
    # Whole people in turn, so that there are enough images of each to pair.
    start = int(random.integers(len(faces)))
    chosen = (start + np.arange(count)) % len(faces)
    seeds = random.integers(2**32, size=count)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        images = list(pool.map(lambda i: varied(faces[chosen[i]], int(seeds[i])), range(count)))
    left, right = paired(people[chosen], pairs, random)
    order = random.permutation(pairs)
    slots = np.stack([left[order], right[order]], axis=1).ravel()
    genuine = people[chosen][left[order]] == people[chosen][right[order]]
    write_bin(path, [images[slot] for slot in slots], genuine)


def people_of(shared: Path) -> tuple[list[Path], NDArray[np.int64]]:
    """The shared faces, person after person, and who each is of."""
    folder = shared / "faces" / "lfw_train"
    if not folder.is_dir():
        sys.exit(f"{folder}: no such folder; --shared names the folder of real faces")
    faces = sorted(folder.glob("*/*.jpg"))
    _, people = np.unique([face.parent.name for face in faces], return_inverse=True)
    return faces, people


def varied(path: Path, seed: int) -> bytes:
    """One face, changed as the module says, as a JPEG of its size."""
    random = np.random.default_rng(seed)
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    width, height = image.size
    left, top = random.integers(0, 9, 2)
    image = image.crop((left, top, width - (8 - left), height - (8 - top)))
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = ImageEnhance.Brightness(image).enhance(random.uniform(0.8, 1.2))
    buffer = io.BytesIO()
    # As many bytes as the images of insightface's lfw.bin have: 61.5 MB for 7,701.
    image.save(buffer, "JPEG", quality=int(random.integers(95, 99)), subsampling=0)
    # A small bin could draw one face twice alike; bytes after the end of a JPEG are not read.
    return buffer.getvalue() + seed.to_bytes(4, "big")


def paired(
    people: NDArray[np.int64], pairs: int, random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Left and right images of the pairs, genuine ones first; every image is in one at least."""
    count, half = len(people), pairs // 2
    order = np.lexsort((random.random(count), people))
    neighbours = order[: count // 2 * 2].reshape(-1, 2)
    same = neighbours[people[neighbours[:, 0]] == people[neighbours[:, 1]]]
    genuine = same[random.permutation(len(same))[:half]]
    # Genuine pairs of images that are in one already, where a small bin has too few others.
    genuine = genuine[np.arange(half) % len(genuine)]
    rest = np.setdiff1d(np.arange(count), genuine)
    slots = np.concatenate([rest, random.integers(count, size=2 * (pairs - half) - len(rest))])
    random.shuffle(slots)
    left, right = slots[0::2], slots[1::2]
    while len(wrong := np.flatnonzero(people[left] == people[right])):
        other = random.integers(len(right), size=len(wrong))
        for a, b in zip(wrong, other, strict=True):
            right[a], right[b] = right[b], right[a]
    return np.concatenate([genuine[:, 0], left]), np.concatenate([genuine[:, 1], right])
