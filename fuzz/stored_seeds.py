"""Whole results, scores and facts of bins, from which damaged ones are made."""

from __future__ import annotations

import io
import json

import h5py
import numpy as np
from numpy.typing import NDArray

from evaluator.results.record import BinRecord, ModelRecord, Result, Settings, to_dict

PAIRS = 3

#: What the scores of ``result.json`` may be called.
SCORES_NAME = "result.0123456789ab.h5"

_FIGURES = {
    "accuracy": 1.0,
    "threshold": 0.5,
    "accuracy_ci95": [0.4385, 1.0],
    "kfold": {"accuracy": 1.0, "std": 0.0, "thresholds": [0.5, 0.25]},
    "insightface": {"accuracy": 1.0, "std": 0.0, "tar_at_far_1e-3": None},
    "auc": None,
    "eer": 0.0,
    "eer_threshold": 0.5,
    "tar_at_far": {"0.1": {"tar": 1.0, "far": 0, "threshold": 0.5, "tar_ci95": [0.3, 1]}},
}


def result(scores: str | None = None) -> Result:
    """A result of three pairs."""
    return Result(
        status="ok",
        model=ModelRecord("arc", "arc.h5", "a" * 64, "keras-h5", 8, {"size": [8, 8]}),
        bin=BinRecord("lfw", "lfw.bin", "b" * 64, PAIRS, 2, 1, 2 * PAIRS, 4),
        settings=Settings(),
        figures=_FIGURES,
        non_finite={"count": 0, "images": [], "dropped_pairs": 0},
        cost={"seconds": 0.5},
        versions={"zoo": "0.1.0"},
        created="2026-01-01T00:00:00+00:00",
        scores=scores,
    )


def results() -> list[bytes]:
    """Results of both statuses, with and without scores."""
    first = to_dict(result(SCORES_NAME))
    second = {**to_dict(result()), "status": "non_finite", "figures": None}
    return [json.dumps(first, indent=2).encode(), json.dumps(second).encode()]


def scores() -> list[bytes]:
    """Scores as earlier releases stored them, with people."""
    return _hdf5(
        {
            "scores": np.linspace(-1, 1, PAIRS),
            "genuine": np.array([1, 0, 1], np.uint8),
            "images": np.arange(2 * PAIRS),
            "people": np.arange(2 * PAIRS),
        }
    )


def facts() -> list[bytes]:
    """Facts of a bin whose people are [0, 0], [0, 1], [1, 1]."""
    return _hdf5(
        {
            "people": np.array([0, 0, 0, 1, 1, 1]),
            "pairs_file": np.frombuffer(b"/lfw.pairs.csv".ljust(4096, b"\0"), np.uint8),
            "pairs_file_state": np.array([90, 10**18]),
        }
    )


def _hdf5(arrays: dict[str, NDArray[np.generic]]) -> list[bytes]:
    """A file as it is stored, and the same without checksums in its structure."""
    found = []
    for version in ("v110", "earliest"):
        buffer = io.BytesIO()
        with h5py.File(buffer, "w", libver=version) as file:
            for name, values in arrays.items():
                file.create_dataset(name, data=values, compression="gzip", track_times=False)
        found.append(buffer.getvalue())
    return found
