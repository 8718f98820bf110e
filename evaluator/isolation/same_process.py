"""A model in the caller's own process, where systems have none that could stand behind a wall."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.images.inputs import Embedder
from evaluator.models.load import load_embedder
from evaluator.models.options import LoadOptions

#: What is said of a model that is trusted.
TRUSTED = "trusted: its code runs with all that you may do, without a wall"


class SameProcess:
    """What `ModelProcess` is to its caller, without a process: Windows has no way to hand one the
    caller's memory and pipes. ``wall`` is heard and not put up.
    """

    def __init__(self, *, wall: bool = True) -> None:
        del wall
        self._folder = Path(tempfile.mkdtemp(prefix="zoo-model-"))
        self._asked: tuple[Path, LoadOptions] | None = None

    def __enter__(self) -> SameProcess:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Removes its folder."""
        self.close()

    def prepare(self, model_format: str) -> None:
        """Nothing: what a format needs is imported when it is loaded."""

    def begin_load(self, path: Path, options: LoadOptions) -> None:
        """Keeps what ``loaded`` loads."""
        self._asked = path, options

    def loaded(self) -> Embedder:
        """The model whose loading was begun, as an Embedder. Raises ModelError, OSError."""
        if self._asked is None:
            raise ValueError("no model's loading was begun")
        return noted(load_embedder(*self._asked), self._asked[1])

    def load(self, path: Path, options: LoadOptions) -> Embedder:
        """``begin_load`` and ``loaded``."""
        self.begin_load(path, options)
        return self.loaded()

    def export(
        self,
        path: Path,
        options: LoadOptions,
        *,
        to: str,
        suffix: str,
        quantize: str,
        calibration: NDArray[np.float32] | None,
    ) -> Path:
        """The embedding model of a Keras file in another format, in a temporary folder."""
        out = self._folder / f"export{suffix}"
        export_embedding(path, options, out, to=to, quantize=quantize, calibration=calibration)
        return out

    #: Of one process with its caller's libraries, a model's memory cannot be told.
    peak_bytes: int | None = None

    def end(self) -> None:
        """Nothing: there is none to end."""

    def close(self) -> None:
        """Removes its folder."""
        shutil.rmtree(self._folder, ignore_errors=True)


def noted(embedder: Embedder, options: LoadOptions) -> Embedder:
    """The Embedder, which says first that its model is trusted where it is."""
    notes = (TRUSTED, *embedder.notes) if options.trusted else embedder.notes
    return replace(embedder, notes=notes)


def export_embedding(
    path: Path,
    options: LoadOptions,
    out: Path,
    *,
    to: str,
    quantize: str,
    calibration: NDArray[np.float32] | None,
) -> None:
    """Writes the embedding model of a Keras file in another format. Raises ModelError, OSError."""
    from evaluator.models.export import ExportOptions, export_model
    from evaluator.models.keras.load import embedding_model

    batches = [] if calibration is None else np.split(calibration, len(calibration))
    model, _ = embedding_model(path, options)
    export_model(model, out, to, ExportOptions(quantize, batches))
