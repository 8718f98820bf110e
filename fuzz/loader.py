"""A process that loads one model file after another behind the wall, with a tripwire.

`Loader` is the caller's side, `main` what runs in the process. TensorFlow is imported once; a file
that crashes or hangs the process ends it, and the next one gets a new process. The process works in
a folder of its own, the cell, with a file that nothing should read and where nothing should appear:
relative paths of a payload land there, where the wall lets them be made and the caller sees them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from evaluator.isolation.messages import Channel, MessageError
from fuzz.watch import Watch

# Of the process: what the libraries take, and a few small models.
_MEMORY = 6 * 2**30
_START_SECONDS = 300.0
_LOAD_SECONDS = 20.0
# Loaded by one process before it is replaced: Keras and TensorFlow keep something of each model.
_MOST_LOADS = 400
_FORGET_AFTER = 20
_CANARY_TEXT = "nothing reads this\n"
# What lies in the cell: it is not removed, so that it stays watched.
_OURS = ("CANARY", "CANARY_MODEL", "canary_module.py")
_MODULE = "open('MARKER', 'w').write('imported')\n"


@dataclass(frozen=True)
class Outcome:
    """What became of a file: ``loaded`` (and run on one batch), ``refused`` by a declared error,
    ``escaped`` (another exception), ``crashed`` or ``hung``. ``message`` is the error's, ``trips``
    what the file did that none may do.
    """

    kind: str
    message: str = ""
    trips: tuple[str, ...] = ()


class Loader:
    """Loads files in a process behind the wall, which is started when the first one comes."""

    def __init__(self, folder: Path, *, trust: bool = False) -> None:
        self._folder, self._trust = folder.resolve(), trust
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._loads = 0
        self.starts = 0
        self.cell = self._folder / "own" / "cell"
        self._said = self._folder / "said.txt"
        for place in (self.cell, self._folder / "own" / "tmp"):
            place.mkdir(parents=True, exist_ok=True)
        # The model's folder is `models` beside it, so that `../CANARY` is beside that.
        (self.cell / "CANARY_MODEL").mkdir(exist_ok=True)
        self._canaries = [
            self.cell / "CANARY",
            self.cell / "CANARY_MODEL" / "saved_model.pb",
            self._folder / "CANARY",
        ]
        self._reset()
        self._watch = Watch([self.cell, self.cell / "CANARY_MODEL", self._folder / "CANARY"])

    def __enter__(self) -> Loader:
        """The loader."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Ends its process."""
        self._end()
        self._watch.close()

    def seen(self) -> list[str]:
        """What happened in the cell since it was asked last, and clears it away."""
        found = self._watch.seen()
        strange = sorted(
            str(path.relative_to(self.cell))
            for path in self.cell.rglob("*")
            if path not in self._canaries and path.name not in _OURS
        )
        found += [f"{name} lies in the cell" for name in strange]
        if any(not _is_canary(path) for path in self._canaries):
            found.append("the canary was changed")
        if found:
            self._reset()
        self._watch.seen()  # what this made
        return found

    def load(self, path: Path, *, size: tuple[int, int] | None = None) -> Outcome:
        """What becomes of a file that is loaded and run on one batch of two images."""
        if self._loads >= _MOST_LOADS:
            self._end()
        if self._process is None:
            self._start()
        self._loads += 1
        self.seen()
        answer = self._asked({"path": str(path), "size": size})
        trips = (*answer.get("trips", ()), *self.seen())
        message = str(answer.get("message", ""))
        if "Permission denied" in message or "Operation not permitted" in message:
            trips = (*trips, f"the wall stopped something: {message[:300]}")
        return Outcome(str(answer["kind"]), message, trips)

    def _asked(self, message: dict[str, Any]) -> dict[str, Any]:
        if self._channel is None or self._process is None:
            raise RuntimeError("the process that loads models was not started")
        try:
            self._channel.send(message)
            answer = self._channel.receive(_LOAD_SECONDS)
        except TimeoutError:
            self._end()
            return {"kind": "hung", "message": f"no answer for {_LOAD_SECONDS:.0f} s"}
        except (OSError, MessageError) as error:
            self._end()
            return {"kind": "crashed", "message": str(error)}
        if answer is None:
            code = self._process.wait()
            self._end()
            return {"kind": "crashed", "message": f"exit code {code}: {self._last_words()}"}
        return answer

    def _start(self) -> None:
        requests, asks = os.pipe()
        answers, says = os.pipe()
        paths = [path for path in sys.path if path] or [""]
        root = str(Path(__file__).resolve().parents[1])
        code = (
            f"import sys; sys.path[:] = {[root, *paths]!r}; "
            f"from fuzz.loader import main; main({str(self._folder)!r}, {self._trust!r})"
        )
        own = {"TMPDIR": str(self._folder / "own" / "tmp"), "HOME": str(self._folder / "own")}
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=requests,
                stdout=says,
                stderr=said,
                cwd=self.cell,
                start_new_session=True,
                env={**os.environ, **own, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""},
            )
        os.close(requests)
        os.close(says)
        self._pipes = (asks, answers)
        self._channel = Channel(answers, asks)
        self._loads, self.starts = 0, self.starts + 1
        if self._channel.receive(_START_SECONDS) is None:
            raise RuntimeError(f"the process that loads models cannot start: {self._last_words()}")

    def _end(self) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for descriptor in self._pipes:
            os.close(descriptor)
        self._process = self._channel = None

    def _last_words(self) -> str:
        lines = self._said.read_text(errors="replace").splitlines() if self._said.exists() else []
        told = [line for line in lines if line.strip()]
        return " | ".join(told[-3:])[-600:]

    def _reset(self) -> None:
        for path in self.cell.iterdir():
            if path.name not in _OURS:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        (self.cell / "CANARY_MODEL").mkdir(exist_ok=True)
        for path in self._canaries:
            path.write_text(_CANARY_TEXT)
        (self.cell / "canary_module.py").write_text(_MODULE)


def _is_canary(path: Path) -> bool:
    return path.is_file() and path.read_text(errors="replace") == _CANARY_TEXT


# ---- In the process ------------------------------------------------------------------------------


def main(folder: str, trust: bool) -> None:
    """Answers one file after another until the caller closes its end."""
    import resource

    from evaluator.isolation.wall import put_up_wall

    channel = Channel(os.dup(0), os.dup(1))
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(2, 1)
    own = Path(folder) / "own"
    put_up_wall([own])
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from evaluator.models.options import LoadOptions
    from fuzz.tripwire import Tripwire

    _warm()
    # A config that names this module finds it, as it would in the folder of an unwary user.
    sys.path.append(str(own / "cell"))
    wire = Tripwire(own / "tmp")
    wire.install()
    channel.send({"ready": True})
    loads = 0
    while (message := channel.receive()) is not None:
        size = message["size"]
        options = LoadOptions(size=None if size is None else tuple(size), trust=trust)
        wire.arm()
        kind, told = _loaded(Path(message["path"]), options)
        channel.send({"kind": kind, "message": told, "trips": wire.disarm()[:20]})
        loads += 1
        if loads % _FORGET_AFTER == 0:
            _forget()


def _warm() -> None:
    """Imports what loading imports, so that it is not taken for a file's doing."""
    import gc
    import importlib

    from evaluator.models.openvino import import_openvino
    from evaluator.models.runtime import import_keras

    import_keras()
    for name in ("tf_keras", "onnx", "onnxruntime", "ai_edge_litert.interpreter", "pickle"):
        importlib.import_module(name)
    import_openvino()
    rooms = ("frozen", "keras", "onnx", "openvino_ir", "savedmodel", "tflite")
    for name in (*(f"{room}.load" for room in rooms), "keras.build"):
        importlib.import_module(f"evaluator.models.{name}")
    gc.freeze()  # what the libraries are made of need not be looked through again


def _loaded(path: Path, options: Any) -> tuple[str, str]:
    """How loading a file and running it on two images ends, and the error's message."""
    import traceback

    import numpy as np

    from evaluator.errors import ForwardError, InputError
    from evaluator.models.load import load_embedder

    try:
        embedder = load_embedder(path, options)
        sides = (embedder.input.height, embedder.input.width)
        if max(sides) > 256:
            return "loaded", "and not run: its images are large"
        batch = np.zeros((embedder.fixed_batch or 2, *embedder.input.batch_shape), np.float32)
        embedder.forward(batch)
        return "loaded", ""
    except ForwardError as error:
        return "loaded", str(error)
    except (InputError, OSError, MemoryError) as error:
        return "refused", f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - every escape is what is looked for
        return "escaped", traceback.format_exc()[-6000:]


def _forget() -> None:
    """Has both Kerases drop what they keep of models."""
    import gc

    import keras
    import tf_keras

    keras.backend.clear_session()
    tf_keras.backend.clear_session()
    gc.collect()
