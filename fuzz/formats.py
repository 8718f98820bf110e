"""The formats that are drawn by grammar, and what loads them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fuzz.differential import Format, Places, Tally, compare
from fuzz.loader import Loader

#: Name -> module and class. A module imports what its format needs.
FORMATS = {
    "keras": ("fuzz.keras_grammar", "KerasFormat"),
    "savedmodel": ("fuzz.saved_models", "SavedModelFormat"),
    "onnx": ("fuzz.onnx_models", "OnnxFormat"),
    "openvino": ("fuzz.openvino_models", "OpenVinoFormat"),
    "frozen": ("fuzz.frozen_graphs", "FrozenFormat"),
    "tflite": ("fuzz.tflite_models", "TFLiteFormat"),
    "results": ("fuzz.result_schema", "ResultFormat"),
}


@dataclass(frozen=True)
class Bench:
    """A folder with a loader, in which one format after another is tried."""

    folder: Path
    loader: Loader

    def format(self, name: str) -> Format:
        """A format in a folder of its own."""
        module, kind = FORMATS[name]
        # One level below the loader's folder, so that `../CANARY` is a file that nothing reads.
        folder = self.folder / f"models-{name}"
        folder.mkdir(exist_ok=True)
        made: Callable[[Path, Places], Format] = getattr(importlib.import_module(module), kind)
        return made(folder, Places(canary=str(self.loader.cell / "CANARY")))

    def compare(
        self,
        cases: Format,
        runs: int,
        loads: int,
        seed: int,
        *,
        seconds_a_scan: int | None = None,
        report: Callable[[Tally], None] | None = None,
    ) -> Tally:
        """`fuzz.differential.compare` with what loads this format."""
        from fuzz.result_schema import use

        stored = cases.name == "results"
        return compare(
            cases,
            runs,
            loads,
            seed,
            load=use if stored else self.loader.load,
            seen=self.loader.seen,
            seconds_a_scan=seconds_a_scan,
            report=report,
        )


@contextmanager
def bench(folder: Path, *, trust: bool = False) -> Iterator[Bench]:
    """A Bench in a folder; its process ends with the block."""
    with Loader(folder, trust=trust) as loader:
        yield Bench(folder, loader)
