"""Stored results and bins to report on, written by the functions that `zoo eval` uses."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluator.bins.verification_set import write_bin
from evaluator.metrics.all_figures import figures, to_json
from evaluator.results.measured import Measured
from evaluator.results.record import BinRecord, ModelRecord, Result, Scores, Settings, versions
from evaluator.results.store import save_result

INPUT = {"size": [112, 112], "range": "unit", "channels": "rgb", "layout": "NHWC"}


def face(gray: int) -> bytes:
    """A plain JPEG whose pixels all have one gray value."""
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), (gray, gray, gray)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


class Store:
    """A folder of results, and the bins beside it."""

    def __init__(self, folder: Path) -> None:
        """An empty store."""
        self.folder = folder / "results"
        self.bins = folder

    def bin(
        self, name: str, genuine: NDArray[np.bool_], *, shade: int = 0
    ) -> tuple[Path, NDArray[np.int64]]:
        """A bin whose slot i shows gray (i + shade) % 256; its path and image numbers."""
        path = self.bins / f"{name}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        slots = (np.arange(2 * len(genuine)) + shade) % 256
        write_bin(path, [face(int(gray)) for gray in slots], genuine)
        return path, slots.astype(np.int64)

    def add(
        self,
        model: str,
        path: Path,
        scores: Sequence[float] | NDArray[np.float64],
        genuine: NDArray[np.bool_],
        *,
        name: str | None = None,
        images: NDArray[np.int64] | None = None,
        settings: Settings | None = None,
        created: str = "2026-01-02T03:04:05+00:00",
        unusable: int = 0,
        sha256: str | None = None,
        file: Path | None = None,
    ) -> Path:
        """Stores a result as `zoo eval` would; ``unusable`` images make it invalid."""
        values = np.asarray(scores, dtype=np.float64)
        slots = np.arange(2 * len(values)) if images is None else images
        kept = ~np.isnan(values)
        missed = int(np.isneginf(values).sum())
        bin_sha256 = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "0" * 64
        model_sha256 = sha256 or hashlib.sha256(model.encode()).hexdigest()
        chosen = settings or Settings(nan="miss" if missed else "fail")
        block = None if unusable else to_json(figures(values[kept], genuine[kept]))
        result = Result(
            status="non_finite" if unusable else "ok",
            model=ModelRecord(model, str(file or f"{model}.h5"), model_sha256, "keras", 8, INPUT),
            bin=BinRecord(
                name or path.stem,
                str(path),
                bin_sha256,
                pairs=len(values),
                genuine=int(genuine.sum()),
                impostor=int((~genuine).sum()),
                images=2 * len(values),
                unique_images=len(np.unique(slots)),
            ),
            settings=chosen,
            figures=block,
            non_finite={
                "count": unusable,
                "images": list(range(unusable))[:20],
                "dropped_pairs": 0 if unusable else int((~kept).sum()),
                **({"missed_pairs": missed} if missed else {}),
            },
            cost={"seconds": 1.0, "images_per_second": 1.0},
            versions=versions(),
            created=created,
        )
        target = Measured((model, model_sha256), (path.stem, bin_sha256), chosen).path_in(
            self.folder
        )
        save_result(target, result, None if unusable else Scores(values, genuine, slots))
        return target


def labels(pairs: int) -> NDArray[np.bool_]:
    """Genuine and impostor pairs in turn, so that every fold has both."""
    return np.arange(pairs) % 2 == 0


def noisy(genuine: NDArray[np.bool_], spread: float, seed: int) -> NDArray[np.float64]:
    """Scores in (-1, 1) that tell the classes apart the worse, the larger the spread."""
    random = np.random.default_rng(seed)
    scores: NDArray[np.float64] = np.tanh(
        np.where(genuine, 0.6, -0.6) + spread * random.normal(size=len(genuine))
    )
    return scores
