"""A tiny evaluation from file to figures, held against NumPy and scikit-learn on the spot."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.bins.verification_set import write_bin
from zoo.entries.lookup import ModelChoice

_PAIRS = 40
_SIDE = 12
_TOLERANCE = 1e-5


def self_test() -> dict[str, Any]:
    """Writes a bin and a model, evaluates them as `zoo eval` does, and says whether it is right.

    ``figures`` has our accuracy and AUC beside those computed here from the same pixels;
    ``problems`` a line for each that differs.
    """
    start = time.perf_counter()
    pixels, genuine = _faces()
    random = np.random.default_rng(1)
    mean = random.uniform(0, 1, _SIDE * _SIDE)
    projection = random.normal(size=(_SIDE * _SIDE, 8))
    expected = _expected(pixels, genuine, mean, projection)
    with tempfile.TemporaryDirectory() as made:
        found = _evaluated(Path(made), pixels, genuine, mean, projection)
    seconds = time.perf_counter() - start
    problems = [
        f"self test: {name} is {found[name]!r}, NumPy and scikit-learn have {value!r}"
        for name, value in expected.items()
        if not abs(found[name] - value) <= _TOLERANCE
    ]
    verdict = "differs" if problems else "as NumPy and scikit-learn have it"
    return {
        "figures": {name: {"zoo": found[name], "expected": expected[name]} for name in expected},
        "seconds": round(seconds, 3),
        "problems": problems,
        "text": f"a bin of {_PAIRS} pairs and a model, written, read and evaluated in "
        f"{seconds:.1f} s: accuracy {100 * found['accuracy']:.2f}, AUC {found['auc']:.6f}, "
        f"{verdict}",
    }


def _faces() -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Gray images (2 x pairs, side, side), genuine pairs alike but for strong noise; labels."""
    random = np.random.default_rng(0)
    genuine = np.arange(_PAIRS) % 2 == 0
    left = random.uniform(0, 255, (_PAIRS, _SIDE, _SIDE))
    other = random.uniform(0, 255, left.shape)
    near = 0.35 * left + 0.65 * other
    right = np.where(genuine[:, None, None], near, other)
    images = np.stack([left, right], axis=1).reshape(-1, _SIDE, _SIDE)
    return np.round(images).astype(np.uint8), genuine


def _expected(
    pixels: NDArray[np.uint8],
    genuine: NDArray[np.bool_],
    mean: NDArray[np.float64],
    projection: NDArray[np.float64],
) -> dict[str, float]:
    """The best accuracy over every threshold, and the AUC, of the same model in plain NumPy."""
    from sklearn.metrics import roc_auc_score

    rows = (pixels.reshape(len(pixels), -1) / 255 - mean) @ projection
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    scores = (rows[0::2] * rows[1::2]).sum(axis=1)
    best = max(float(((scores > t) == genuine).mean()) for t in (-2.0, *scores))
    return {"accuracy": best, "auc": float(roc_auc_score(genuine, scores))}


def _evaluated(
    folder: Path,
    pixels: NDArray[np.uint8],
    genuine: NDArray[np.bool_],
    mean: NDArray[np.float64],
    projection: NDArray[np.float64],
) -> dict[str, float]:
    from evaluator.images.png import png_bytes
    from zoo.demo.faces_and_models import save_linear_model
    from zoo.evaluate.evaluation import run_request
    from zoo.evaluate.request import Request

    write_bin(folder / "self_test.bin", [png_bytes(image) for image in pixels], genuine)
    model = folder / "self_test.h5"
    save_linear_model(model, mean, projection, size=(_SIDE, _SIDE))
    request = Request(
        models=[ModelChoice("self_test", model)],
        bins=[folder / "self_test.bin"],
        profile="unit",
        results=folder / "results",
    )
    results, failures = run_request(request)
    if failures or results[0].figures is None:
        return {"accuracy": float("nan"), "auc": float("nan")}
    return {name: float(results[0].figures[name]) for name in ("accuracy", "auc")}
