"""What runs in the process of a model: the wall first, then what its caller asks for.

Whatever is imported here at the top is imported before the wall stands: the standard library only.
"""

from __future__ import annotations

import importlib
import mmap
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluator.isolation.messages import Channel
from evaluator.isolation.wall import end_with, gpu_devices, put_up_wall

if TYPE_CHECKING:
    from evaluator.images.inputs import Embedder
    from evaluator.models.options import LoadOptions

# A model's weights may be unpacked in its temporary folder, an export written there.
_LARGEST_FILE = 8 * 2**30


class _State:
    """The model that this process holds, and the memory that it shares with its caller."""

    def __init__(self, shared: int) -> None:
        self.shared = shared
        self.embedder: Embedder | None = None
        self._mapped: mmap.mmap | None = None

    def memory(self, size: int) -> mmap.mmap:
        """The shared memory, of this size at least: its owner makes it larger, never smaller."""
        if self._mapped is None or len(self._mapped) < size:
            self._mapped = mmap.mmap(self.shared, size)
        return self._mapped


def main(shared: int, parent: int) -> None:
    """Serves the caller until it closes its end. ``shared`` is the file descriptor of the memory.

    An exception that nothing here names ends the process, and its traceback is on stderr, which the
    caller keeps.
    """
    channel = Channel(os.dup(0), os.dup(1))
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(2, 1)  # a library that prints does not answer for the model
    end_with(parent)
    begin = channel.receive()
    if begin is None:
        return
    version = put_up_wall([Path(begin["folder"])]) if begin["wall"] else 0
    _limit(begin["memory"])
    channel.send({"wall": version})
    state = _State(shared)
    while (message := channel.receive()) is not None:
        channel.send(_answer(state, message))


def _limit(memory: int | None) -> None:
    """Bounds the files that this process writes and, where no GPU maps more, its memory."""
    import resource

    limits = [(resource.RLIMIT_FSIZE, _LARGEST_FILE), (resource.RLIMIT_CORE, 0)]
    if memory is not None and sys.platform == "linux" and not gpu_devices():
        limits.append((resource.RLIMIT_DATA, memory))
    for kind, most in limits:
        # What the caller is held to already may be less.
        held = [each for each in resource.getrlimit(kind) if each != resource.RLIM_INFINITY]
        resource.setrlimit(kind, (min(most, *held), min(most, *held)) if held else (most, most))


def _answer(state: _State, message: dict[str, Any]) -> dict[str, Any]:
    from evaluator.errors import ModelError

    try:
        return {"ok": _ACTIONS[message["do"]](state, message)}
    except ModelError as error:
        kind, said = type(error).__name__, str(error)
    except MemoryError:
        kind, said = "OutOfMemoryError", "memory does not hold it"
    except OSError as error:
        kind, said = "OSError", error.strerror or str(error)
    return {"error": kind, "message": said}


def _prepare(_state: _State, message: dict[str, Any]) -> dict[str, Any]:
    """Imports what a format needs, before it is known which file will come."""
    kind = message["format"]
    if kind in ("frozen-graph", "keras", "keras-h5", "savedmodel"):
        from evaluator.models.runtime import import_keras

        import_keras()
    elif kind in ("onnx", "openvino-ir", "tflite"):
        importlib.import_module(f"evaluator.models.{kind.replace('-', '_')}.load")
    return {}


def _load(state: _State, message: dict[str, Any]) -> dict[str, Any]:
    from dataclasses import asdict

    from evaluator.models.load import load_embedder

    state.embedder = load_embedder(Path(message["path"]), _options(message["options"]))
    told = ("format", "fixed_batch", "notes", "device")
    said = {name: getattr(state.embedder, name) for name in told}
    return {"input": asdict(state.embedder.input), **said}


def _options(given: dict[str, Any]) -> LoadOptions:
    from evaluator.models.options import LoadOptions

    # JSON has lists where the options have tuples.
    lists = {name: tuple(each) for name, each in given.items() if isinstance(each, list)}
    return LoadOptions(**{**given, **lists})


def _forward(state: _State, message: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    from evaluator.errors import ForwardError

    if state.embedder is None:
        raise ForwardError("no model is loaded")
    memory = state.memory(message["size"])
    shape = tuple(message["shape"])
    batch = np.frombuffer(memory, np.float32, int(np.prod(shape))).reshape(shape)
    found = np.ascontiguousarray(state.embedder.forward(batch), dtype=np.float32)
    if found.nbytes > message["size"]:
        raise ForwardError(f"gives {found.size:,} numbers for {shape[0]} images, no embeddings")
    np.frombuffer(memory, np.float32, found.size)[...] = found.ravel()
    return {"shape": list(found.shape)}


def _count(state: _State, _message: dict[str, Any]) -> dict[str, Any]:
    from dataclasses import asdict

    from evaluator.errors import ModelError

    if state.embedder is None or state.embedder.count is None:
        raise ModelError("no model is loaded that could be counted")
    return asdict(state.embedder.count())


def _export(_state: _State, message: dict[str, Any]) -> dict[str, Any]:
    """Writes the embedding model of a Keras file into the temporary folder."""
    import numpy as np

    from evaluator.isolation.same_process import export_embedding

    given = message["calibration"]
    export_embedding(
        Path(message["path"]),
        _options(message["options"]),
        Path(message["out"]),
        to=message["to"],
        quantize=message["quantize"],
        calibration=None if given is None else np.load(given, allow_pickle=False),
    )
    return {}


_ACTIONS: dict[str, Callable[[_State, dict[str, Any]], dict[str, Any]]] = {
    "prepare": _prepare,
    "load": _load,
    "forward": _forward,
    "count": _count,
    "export": _export,
}
