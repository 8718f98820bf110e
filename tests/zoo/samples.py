"""What the tests of the command line are run on: small bins and tiny Keras models."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluator.bins.verification_set import write_bin
from tests.command import Outcome as Outcome
from tests.command import Zoo as Zoo

SIZE = 8


def png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def face(person: int, shot: int, size: int = SIZE) -> NDArray[np.uint8]:
    """A blot that is mostly the person's and a little the photograph's."""
    own = np.random.default_rng(person).uniform(0, 255, (size, size, 3))
    noise = np.random.default_rng((person, shot)).uniform(0, 255, (size, size, 3))
    return np.round(0.7 * own + 0.3 * noise).astype(np.uint8)


def write_pairs(path: Path, *, people: int = 10, first: int = 0, size: int = SIZE) -> Path:
    """A bin of three genuine and three impostor pairs a person."""
    images: list[bytes] = []
    genuine: list[bool] = []
    for person in range(first, first + people):
        other = first + (person + 1 - first) % people
        for shot in range(3):
            images += [png(face(person, shot, size)), png(face(person, (shot + 1) % 3, size))]
            images += [png(face(person, shot, size)), png(face(other, shot, size))]
            genuine += [True, False]
    write_bin(path, images, genuine)
    return path


def save(model: Any, path: Path) -> None:
    """Saves a Keras model past a deprecation of NumPy's that Keras itself runs into."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="__array__ implementation doesn't accept a copy")
        model.save(str(path))


def save_dense(
    path: Path, *, size: int = SIZE, units: int = 16, seed: int = 0, bad: float | None = None
) -> Path:
    """A random projection of an image in Keras's own format; ``bad`` fills its first bias."""
    from evaluator.models.runtime import import_keras

    keras = import_keras()
    random = np.random.default_rng(seed)
    image = keras.Input((size, size, 3))
    dense = keras.layers.Dense(units)
    model = keras.Model(image, dense(keras.layers.Flatten()(image)))
    bias = np.zeros(units, np.float32)
    if bad is not None:
        bias[0] = bad
    dense.set_weights([random.normal(size=(size * size * 3, units)).astype(np.float32), bias])
    save(model, path)
    return path
