"""Stores of synthetic results, written as `zoo eval` writes them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.metrics.all_figures import figures, to_json
from evaluator.results.measured import Measured
from evaluator.results.record import BinRecord, ModelRecord, Result, Scores, Settings
from evaluator.results.store import save_result


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def labels(pairs: int) -> NDArray[np.bool_]:
    """Half genuine, in every one of ten folds."""
    return np.arange(pairs) % 2 == 0


def cosines(pairs: int, *, noise: float, seed: int, bin: str = "lfw") -> NDArray[np.float64]:
    """Scores of a noisy copy of one model: what is shared depends on the bin alone."""
    base = np.random.default_rng(int(sha(bin)[:8], 16)).normal(size=pairs)
    own = np.random.default_rng(seed).normal(size=pairs)
    return np.tanh((base + 3 * labels(pairs) + noise * own - 1.5) / 4)


def store(
    folder: Path,
    model: str,
    scores: NDArray[np.float64],
    *,
    bin: str = "lfw",
    bin_hash: str = "",
    model_hash: str = "",
    settings: Settings | None = None,
    profile: str = "unit",
    images: NDArray[np.int64] | None = None,
    genuine: NDArray[np.bool_] | None = None,
    finite: bool = True,
    path: str = "",
    created: str = "2026-01-01T00:00:00+00:00",
) -> Path:
    """Stores scores as a model's result on a bin; NaN is a dropped pair, -inf a missed one.

    Returns its path.
    """
    genuine = labels(len(scores)) if genuine is None else genuine
    kept = ~np.isnan(scores)
    missed = int(np.isneginf(scores).sum())
    settings = Settings(nan="miss" if missed else "fail") if settings is None else settings
    images = np.arange(2 * len(scores)) if images is None else images
    result = Result(
        status="ok" if finite else "non_finite",
        model=ModelRecord(
            name=model,
            path=path or f"{model}.h5",
            sha256=model_hash or sha(model),
            format="keras_h5",
            embedding_size=512,
            input={"size": [112, 112], "range": profile, "channels": "rgb", "layout": "NHWC"},
        ),
        bin=BinRecord(
            name=bin,
            path=f"{bin}.bin",
            sha256=bin_hash or sha(bin),
            pairs=len(scores),
            genuine=int(genuine.sum()),
            impostor=int((~genuine).sum()),
            images=2 * len(scores),
            unique_images=len(np.unique(images)),
        ),
        settings=settings,
        figures=to_json(figures(scores[kept], genuine[kept])) if finite else None,
        non_finite={
            "count": 0 if finite else 3,
            "images": [] if finite else [1, 5, 7],
            "dropped_pairs": int((~kept).sum()) if finite else 0,
            **({"missed_pairs": missed} if missed else {}),
        },
        cost={"seconds": 1.0, "images_per_second": 1.0},
        versions={},
        created=created,
    )
    at = Measured(
        (model, result.model.sha256), (bin, result.bin.sha256), settings, profile
    ).path_in(folder)
    save_result(at, result, Scores(scores, genuine, images) if finite else None)
    return at


def three_models(folder: Path, bins: tuple[str, ...] = ("lfw", "agedb_30")) -> None:
    """alpha and beta, equally good copies of one model, and weak, which is worse."""
    for bin in bins:
        store(folder, "alpha", cosines(1000, noise=0.5, seed=1, bin=bin), bin=bin)
        store(folder, "beta", cosines(1000, noise=0.5, seed=2, bin=bin), bin=bin)
        store(folder, "weak", cosines(1000, noise=2.5, seed=3, bin=bin), bin=bin)


def with_flip(flip: str) -> Settings:
    return replace(Settings(), flip=flip)
