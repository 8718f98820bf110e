"""The caller's side of a model's process: start it, load a model in it, send it batches.

The caller imports no TensorFlow and is never restricted itself. A process whose model crashes,
hangs or takes all memory ends alone, in one ModelError.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

if sys.platform != "win32":
    import fcntl

from evaluator.errors import (
    ForwardError,
    InputError,
    ModelError,
    OutOfMemoryError,
    cause_of,
    plain_name,
)
from evaluator.images.inputs import Counts, Embedder, InputSpec
from evaluator.isolation.messages import Channel, MessageError, room_for
from evaluator.isolation.same_process import SameProcess, noted
from evaluator.limits import available_bytes, process_bytes
from evaluator.models.options import LoadOptions

# What a process may say of its model; a stranger's could say anything.
_LARGEST_SIDE = 4096
_LARGEST_BATCH = 4096
_MOST_NOTES = 20
_MOST_AXES = 8

# A process that has closed its end is about to be gone.
_SECONDS_TO_END = 10.0


class KilledError(ModelError):
    """The process of a model was killed from outside, perhaps because memory ran out."""


# By the names under which a process tells of them; others are the first.
_ERRORS = {each.__name__: each for each in (ModelError, ForwardError, OutOfMemoryError)}

# Bytes of what a process wrote on its stderr that are looked at when it has ended.
_LAST_WORDS = 65536


@dataclass(frozen=True)
class Patience:
    """Seconds after which a process is taken to hang: for a start and a load, and for each byte of
    the model besides; for a batch, and for each of its images besides.
    """

    load: float = 300.0
    byte: float = 2e-6
    batch: float = 120.0
    image: float = 10.0


class ModelProcess:
    """A process for one model; ends with the ``with`` block that it is in.

    ``wall`` says whether it stands behind one. What is begun (``prepare``, ``begin_load``) goes on
    there while the caller does other work. Raises ModelError where it cannot be started.
    """

    def __init__(self, *, wall: bool = True, patience: Patience | None = None) -> None:
        self._patience = patience or Patience()
        self._folder = Path(tempfile.mkdtemp(prefix="zoo-model-"))
        self._shared = _shared_memory()
        self._mapped: mmap.mmap | None = None
        self._pending = 0
        self._name = "a model"
        self._size = 0
        self._options = LoadOptions()
        # Trusted code may have something to say; what an untrusted model prints is kept.
        self._said = tempfile.TemporaryFile() if wall else None  # noqa: SIM115 - closed in close
        self._pipes: list[int] = []
        self._process, self._channel = self._started()
        try:
            self._ask({"folder": str(self._folder), "wall": wall, "memory": available_bytes()})
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> ModelProcess:
        """The process."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends it, whatever it does."""
        self.close()

    def prepare(self, model_format: str) -> None:
        """Has the process import what a format needs; does not wait."""
        self._ask({"do": "prepare", "format": model_format})

    def begin_load(self, path: Path, options: LoadOptions) -> None:
        """Has the process load a model; does not wait. ``loaded`` does."""
        self._name, self._size, self._options = str(path), _bytes_of(path), options
        self._ask({"do": "load", "path": str(path), "options": asdict(options)})

    def loaded(self) -> Embedder:
        """The model whose loading was begun, as an Embedder; of use until the process ends.

        Raises ModelError, OSError.
        """
        found = self._answer(self._load_seconds)
        try:
            return noted(self._embedder(found), self._options)
        except (InputError, KeyError, TypeError, ValueError) as error:
            raise self._broken(f"says of itself what cannot be: {cause_of(error)}") from None

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
        """The embedding model of a Keras file in another format, in the process's own folder."""
        given, out = self._folder / "calibration.npy", self._folder / f"export{suffix}"
        if calibration is not None:
            np.save(given, calibration)
        self._name, self._size = str(path), _bytes_of(path)
        self._ask(
            {
                "do": "export",
                "path": str(path),
                "options": asdict(options),
                "out": str(out),
                "to": to,
                "quantize": quantize,
                "calibration": None if calibration is None else str(given),
            }
        )
        self._answer(self._load_seconds)
        return out

    def end(self) -> None:
        """Ends the process and what it started: who waits for its answer gets none."""
        # What the model started is in the process's own group.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """Ends the process, and removes its folder."""
        try:
            self.end()
        finally:
            self._put_away()

    def _put_away(self) -> None:
        for descriptor in (*self._pipes, *([self._shared] if self._shared >= 0 else [])):
            os.close(descriptor)
        self._pipes, self._shared, self._mapped = [], -1, None
        if self._said is not None:
            self._said.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    # ---- What it takes ---------------------------------------------------------------------------

    def _started(self) -> tuple[subprocess.Popen[bytes], Channel]:
        # sys.path as it is here: what may be imported is what the caller may import.
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; "
            f"from evaluator.isolation.child import main; main({self._shared}, {os.getpid()})"
        )
        requests, asks = os.pipe()
        answers, says = os.pipe()
        self._pipes = [asks, answers]
        os.set_blocking(asks, False)  # who does not read must not hold the caller up
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=requests,
                stdout=says,
                stderr=self._said,
                pass_fds=(self._shared,),
                # The terminal's Ctrl-C is the caller's, which ends the process.
                start_new_session=True,
                env={
                    **os.environ,
                    "TMPDIR": str(self._folder),
                    "CUDA_CACHE_PATH": str(self._folder),
                },
            )
        except OSError as error:
            self._put_away()
            raise ModelError(
                f"a process for the model cannot be started: {error.strerror}"
            ) from None
        finally:
            os.close(requests)
            os.close(says)
        return process, Channel(answers, asks)

    @property
    def _load_seconds(self) -> float:
        return self._patience.load + self._patience.byte * self._size

    def _ask(self, message: Mapping[str, Any]) -> None:
        if not self._pending and self._process.poll() is None and self._channel.has_more():
            raise self._broken("answers what was not asked")
        try:
            self._channel.send(dict(message), self._patience.batch)
        except TimeoutError:
            raise self._broken("takes no more questions and was ended") from None
        except OSError:
            pass  # that it has ended is told where its answer is waited for
        self._pending += 1

    def _answer(self, seconds: float) -> dict[str, Any]:
        """What is said to what was asked last; those before it said but that they are done.

        Raises the error that is told of, and ModelError where the process ends, hangs, or says what
        is no answer.
        """
        answer: dict[str, Any] = {}
        while self._pending:
            try:
                received = self._channel.receive(seconds)
            except TimeoutError:
                raise self._broken(
                    f"has given no answer for {seconds:,.0f} seconds and was ended"
                ) from None
            except MessageError as error:
                raise self._broken(f"answers with {error}") from None
            if received is None:
                raise self._ended()
            answer = received
            self._pending = 0 if "error" in answer else self._pending - 1
        if "error" in answer:
            said, kind = cause_of(str(answer.get("message"))), str(answer["error"])
            if kind == "OSError":
                raise OSError(0, said, self._name)
            raise _ERRORS.get(kind, ModelError)(said)
        found = answer.get("ok")
        if not isinstance(found, dict):
            raise self._broken("answers with neither a result nor an error")
        return found

    def _ended(self) -> ModelError:
        """Why the process ended by itself, in one line."""
        try:
            code = self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            return self._broken("closed its channel and was ended")
        if code == -signal.SIGKILL:
            how = "was ended by the system, which does so when memory runs out"
        elif code < 0:
            how = f"ended by {signal.Signals(-code).name}"
        else:
            how = f"ended with exit code {code}"
        words = self._last_words()
        error = self._broken(f"{how}{': ' if words else ''}{words}")
        return KilledError(str(error)) if code in (-signal.SIGKILL, -signal.SIGTERM) else error

    def _last_words(self) -> str:
        """The last line that the process wrote on its stderr."""
        if self._said is None:
            return ""
        end = self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, end - _LAST_WORDS))
        lines = self._said.read(_LAST_WORDS).decode("utf-8", "replace").splitlines()
        told = [line.strip() for line in lines if line.strip()]
        return plain_name(told[-1])[:300] if told else ""

    def _broken(self, what: str) -> ModelError:
        return ModelError(f"{self._name}: the process that held the model {what}")

    # ---- Batches ---------------------------------------------------------------------------------

    def _embedder(self, found: Mapping[str, Any]) -> Embedder:
        spec = InputSpec(**found["input"])
        fixed = found["fixed_batch"]
        sides = (spec.height, spec.width)
        if not all(type(side) is int and side <= _LARGEST_SIDE for side in sides):
            raise ModelError(
                f"{self._name}: the model takes images of {sides[0]}x{sides[1]}; expected no more "
                f"than {_LARGEST_SIDE} on a side"
            )
        if fixed is not None and not (type(fixed) is int and 1 <= fixed <= _LARGEST_BATCH):
            raise ModelError(f"{self._name}: the model takes batches of {fixed} images")
        notes = [plain_name(str(note))[:600] for note in found["notes"][:_MOST_NOTES]]
        return Embedder(
            forward=self._forward,
            input=spec,
            format=plain_name(str(found["format"]))[:20],
            fixed_batch=fixed,
            notes=tuple(notes),
            device="gpu" if found["device"] == "gpu" else "cpu",
            count=self._count,
        )

    def _count(self) -> Counts:
        self._ask({"do": "count"})
        found = self._answer(self._load_seconds)
        numbers = [found.get(name) for name in ("parameters", "macs")]
        if not all(n is None or (type(n) is int and 0 <= n < 2**63) for n in numbers):
            raise self._broken("counts what cannot be")
        reasons = [plain_name(str(why))[:300] for why in list(found.get("reasons", ()))[:2]]
        return Counts(numbers[0], numbers[1], tuple(reasons))

    @property
    def peak_bytes(self) -> int | None:
        """The most memory that the process has had at once, its libraries' included; None where
        the system does not tell.
        """
        return process_bytes("VmHWM", self._process.pid)

    def _forward(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        size = room_for(len(batch), batch[0].size)
        memory = self._memory(size)
        np.frombuffer(memory, np.float32, batch.size)[...] = batch.ravel()
        self._ask({"do": "forward", "shape": batch.shape, "size": size})
        patience = self._patience.batch + self._patience.image * len(batch)
        shape = self._answer(patience).get("shape")
        if not _is_shape(shape) or math.prod(max(1, axis) for axis in shape) * 4 > size:
            raise self._broken("gives embeddings of a shape that cannot be")
        # Copied: the next batch goes into the same memory.
        values = np.frombuffer(memory, np.float32, math.prod(shape))
        return values.reshape(shape).copy()

    def _memory(self, size: int) -> mmap.mmap:
        """The shared memory, made larger where it is smaller than this."""
        if self._mapped is None or len(self._mapped) < size:
            try:
                os.ftruncate(self._shared, size)
                self._mapped = mmap.mmap(self._shared, size)
            except (OSError, ValueError) as error:
                raise OutOfMemoryError(f"no room for a batch of {size:,} bytes: {error}") from None
        return self._mapped


def _bytes_of(path: Path) -> int:
    """Bytes of a model's files, as far as they can be told; what cannot, the process says."""
    try:
        members = path.rglob("*") if path.is_dir() else [path]
        return sum(member.lstat().st_size for member in members)
    except OSError:
        return 0


def _is_shape(found: Any) -> TypeGuard[list[int]]:
    whole = isinstance(found, list) and len(found) <= _MOST_AXES
    return whole and all(type(size) is int and size >= 0 for size in found)


def _shared_memory() -> int:
    """A file descriptor of memory that two processes may map, and that none can make smaller."""
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())
    found = os.memfd_create("batch", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    # Whoever reads beyond the end of a file that was made smaller is ended by SIGBUS.
    fcntl.fcntl(found, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return found


@contextlib.contextmanager
def open_model(path: Path, options: LoadOptions) -> Iterator[Embedder]:
    """The Embedder of a model file, which lives in a process of its own until the block ends.

    The process stands behind the wall unless ``options`` say to trust the file. Raises ModelError
    and OSError as ``load_embedder`` does, and ModelError where the process ends or hangs.
    """
    with model_process(wall=walled(options)) as process:
        yield process.load(path, options)


def model_process(*, wall: bool) -> ModelProcess | SameProcess:
    """A process for a model, or this one, where a system has none such."""
    return SameProcess(wall=wall) if sys.platform == "win32" else ModelProcess(wall=wall)


def walled(options: LoadOptions) -> bool:
    """Whether a model loaded so stands behind a wall: unless it is trusted."""
    return not options.trusted
