"""Handwritten digits as faces: ten people, so that a triplet network can be seen to learn."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import InputError
from evaluator.images.png import png_bytes
from training.data.sources.faces import FaceSet

SOURCES = ("digits", "mnist")


def digit_faces(source: str) -> FaceSet:
    """Images of digits 0 to 9 as gray PNGs: ``digits``, scikit-learn's 1,797 of 8 x 8 pixels, which
    it brings along, or ``mnist``, 70,000 of 28 x 28, which Keras downloads.

    Raises:
        InputError: another source, or MNIST cannot be had.
    """
    if source not in SOURCES:
        raise InputError(f"digits: expected one of {', '.join(SOURCES)}; found {source!r}")
    pixels, labels = _mnist() if source == "mnist" else _bundled()
    return FaceSet(
        source=Path(source),
        names=tuple(str(digit) for digit in range(10)),
        labels=labels.astype(np.int64),
        fingerprint=hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest(),
        read=lambda i: png_bytes(pixels[i]),
        origin=lambda i: f"{source}: image {i}",
        release=lambda: None,
    )


def _bundled() -> tuple[NDArray[np.uint8], NDArray[Any]]:
    from sklearn.datasets import load_digits

    found = load_digits()
    # Its levels are 0 to 16.
    return np.round(found.images * (255 / 16)).astype(np.uint8), found.target


def _mnist() -> tuple[NDArray[np.uint8], NDArray[Any]]:
    import keras

    try:
        (train, train_labels), (test, test_labels) = keras.datasets.mnist.load_data()
    except Exception as error:
        # Keras reports a failed download as a bare Exception.
        if type(error) is Exception and str(error).startswith("URL fetch failure"):
            raise InputError(
                f"mnist cannot be downloaded ({error}); use data.source=digits"
            ) from error
        raise
    return np.concatenate([train, test]), np.concatenate([train_labels, test_labels])
