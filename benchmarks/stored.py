"""Results stored as `zoo eval` stores them, of models and bins that need not be there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.metrics.all_figures import figures, to_json
from evaluator.results.measured import Measured
from evaluator.results.record import BinRecord, ModelRecord, Result, Scores, Settings, versions
from evaluator.results.store import save_result


def sha(text: str) -> str:
    """The SHA-256 that stands for a file of that name."""
    return hashlib.sha256(text.encode()).hexdigest()


def stored_result(
    folder: Path,
    model: str,
    bin_path: Path,
    bin_sha256: str,
    *,
    scores: NDArray[np.float64],
    genuine: NDArray[np.bool_],
    images: NDArray[np.int64],
) -> Result:
    """A model's result on a bin, ``images`` by slot, after it was stored in the folder."""
    size = {"size": [112, 112], "range": "unit", "channels": "rgb", "layout": "NHWC"}
    result = Result(
        status="ok",
        model=ModelRecord(model, f"{model}.h5", sha(model), "keras", 512, size),
        bin=BinRecord(
            bin_path.stem,
            str(bin_path),
            bin_sha256,
            pairs=len(scores),
            genuine=int(genuine.sum()),
            impostor=int((~genuine).sum()),
            images=2 * len(scores),
            unique_images=len(np.unique(images)),
        ),
        settings=Settings(),
        figures=to_json(figures(scores, genuine)),
        non_finite={"count": 0, "images": [], "dropped_pairs": 0},
        cost={"seconds": 1.0, "images_per_second": 1.0},
        versions=versions(),
        created="2026-01-01T00:00:00+00:00",
    )
    save_result(path_of(folder, result), result, Scores(scores, genuine, images))
    return result


def path_of(folder: Path, result: Result) -> Path:
    """Where a result is stored."""
    model = result.model.name, result.model.sha256
    return Measured(model, (result.bin.name, result.bin.sha256), result.settings).path_in(folder)
