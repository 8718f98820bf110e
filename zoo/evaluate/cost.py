"""`zoo cost`: a model counted and timed in a process of its own."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from evaluator.errors import ForwardError, ModelError
from evaluator.images.inputs import Counts, Embedder
from evaluator.isolation.process import model_process, walled
from evaluator.measure.timing import Timing, time_batches
from evaluator.models.identity import data_files, model_files, model_identity
from evaluator.models.options import NATIVE
from evaluator.results.cost import Cost
from zoo.entries.lookup import ModelChoice
from zoo.evaluate.loading import say_of
from zoo.evaluate.request import Request, checked_model
from zoo.terminal.words import note

_RUNTIMES = {"onnx": "onnxruntime", "tflite": "ai-edge-litert", "openvino-ir": "openvino"}


def usable_threads() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def measured_costs(
    choice: ModelChoice, request: Request, *, batches: Sequence[int], threads: int, repeats: int
) -> list[Cost]:
    """The costs of a model, one for each size of batch, the smallest first.

    Raises InputError, of which ModelError is one.
    """
    from zoo.terminal.progress import Progress

    identity, options = checked_model(choice, request)
    options = replace(options, threads=threads)
    timings: list[tuple[Timing, int | None]] = []
    with model_process(wall=walled(options)) as process:
        embedder = process.load(choice.path, options)
        # Noise is of no profile: which one is assumed is nothing to say.
        notes = [each for each in embedder.notes if not each.startswith("no --input given")]
        say_of(choice, replace(embedder, notes=tuple(notes)), options)
        sizes = _sizes(choice, embedder, batches)
        with Progress(f"{choice.name}: timing", repeats * len(sizes)) as progress:
            for size in sizes:
                try:
                    timing = time_batches(
                        embedder, size, repeats=repeats, on_progress=progress.advance
                    )
                except ForwardError as error:
                    raise ModelError(f"{choice.path}: on batches of {size:,}: {error}") from None
                timings.append((timing, process.peak_bytes))
        counts = embedder.count() if embedder.count is not None else Counts(None, None)
    if model_identity(choice.path) != identity:
        raise ModelError(f"{choice.path}: was changed while it was read, so nothing is stored")
    loads = [timing.load for timing, _ in timings if timing.load is not None]
    if loads and min(loads) > (os.cpu_count() or 1) + 1:
        note(
            f"{choice.name}: a load average of {min(loads):.3g} on {os.cpu_count() or 1} "
            "processors: other work ran meanwhile, and times are longer than on a machine at rest"
        )
    spec, engine = embedder.input, request.engine
    return [
        Cost(
            name=choice.name,
            sha256=identity.digest,
            format=embedder.format,
            size=(spec.height, spec.width),
            parameters=counts.parameters,
            macs=counts.macs,
            reasons=counts.reasons,
            file_bytes=_file_bytes(choice.path),
            machine=machine_words(embedder.device),
            device=embedder.device,
            engine=engine,
            precision=request.precision,
            threads=threads,
            **vars(timing),
            peak_bytes=peak,
            runtime=_runtime(embedder.format if engine == NATIVE else engine),
            measured=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )
        for timing, peak in timings
    ]


def _sizes(choice: ModelChoice, embedder: Embedder, batches: Sequence[int]) -> list[int]:
    fixed = embedder.fixed_batch
    if fixed is None:
        return sorted(set(batches))
    if list(batches) != [fixed]:
        note(f"{choice.name}: takes batches of {fixed:,} alone, and is timed on these")
    return [fixed]


def _file_bytes(path: Path) -> int:
    """Bytes of a model's file or folder, and of the weights beside it."""
    members = model_files(path) if path.is_dir() else [path]
    return sum(member.stat().st_size for member in (*members, *data_files(path).values()))


def _runtime(what: str) -> str:
    package = _RUNTIMES.get(what, "openvino" if what == "openvino" else "tensorflow")
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return package


def machine_words(device: str) -> str:
    """What computes, as "AMD EPYC 9R14, 2 processors": no name of the machine itself."""
    cpu = f"{_first('/proc/cpuinfo', 'model name') or platform.processor() or platform.machine()}"
    words = f"{cpu.strip()}, {os.cpu_count() or 1} processors, {platform.system()}"
    cards = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    named = [_first(str(card), "Model") for card in cards] if device == "gpu" else []
    return ", ".join([words, *(name for name in named[:1] if name)])


def _first(path: str, key: str) -> str | None:
    """The first value of a key in one of the kernel's lists."""
    try:
        text = Path(path).read_text(errors="replace")
    except OSError:
        return None
    found = re.search(rf"^{key}\s*:\s*(.+)$", text, re.MULTILINE)
    return None if found is None else " ".join(found[1].split())
