"""One model in several processes, so that several of its batches are embedded at once."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import ModelError
from evaluator.images.inputs import Embedder
from evaluator.isolation.process import KilledError, ModelProcess, model_process, open_model, walled
from evaluator.isolation.same_process import SameProcess
from evaluator.models.identity import FileStamp, file_stamp
from evaluator.models.options import LoadOptions

Answer = TypeVar("Answer")

# How often a batch is begun again whose process was killed.
_AGAIN = 2


class SeveralProcesses:
    """What `ModelProcess` is to its caller, with ``count`` processes that hold the same model.

    Its Embedder takes ``at_once`` batches, of as many threads. A batch whose process is killed is
    done again by a new one: KilledError where that happens three times.
    """

    def __init__(self, count: int, *, wall: bool) -> None:
        self._wall = wall
        self._asked: tuple[Path, LoadOptions, FileStamp] | None = None
        # By place; those that were killed stay until the end, so that nothing takes their
        # descriptors while somebody asks them.
        self._processes: list[ModelProcess | SameProcess] = []
        self._killed: list[ModelProcess | SameProcess] = []
        self._embedders: dict[int, Embedder] = {}
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._closed, self._lock = False, threading.Lock()
        # The system ends a process with the thread that started it: those of batches do not last.
        self._starter = ThreadPoolExecutor(1)
        try:
            for place in range(count):
                self._processes.append(model_process(wall=wall))
                self._free.put(place)
        except BaseException:
            self.close()
            raise

    def prepare(self, model_format: str) -> None:
        """Has the processes import what a format needs; does not wait."""
        for each in self._processes:
            each.prepare(model_format)

    def begin_load(self, path: Path, options: LoadOptions) -> None:
        """Has the processes load a model; does not wait. Raises ModelError, OSError."""
        self._asked = path, options, file_stamp(path)
        for each in self._processes:
            each.begin_load(path, options)

    def loaded(self) -> Embedder:
        """The model whose loading was begun, as an Embedder. Raises ModelError, OSError."""
        count = len(self._processes)
        first, *_ = [self._tried(place, lambda embedder: embedder) for place in range(count)]
        return replace(first, forward=self._forward, at_once=count)

    def close(self) -> None:
        """Ends the processes, and waits for the threads that have a batch there."""
        with self._lock:
            self._closed = True
        for each in self._processes:
            each.end()
        for _ in self._processes:
            self._free.get()
        for each in (*self._processes, *self._killed):
            each.close()
        self._starter.shutdown()

    def _forward(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        place = self._free.get()
        try:
            return self._tried(place, lambda embedder: embedder.forward(batch))
        finally:
            self._free.put(place)

    def _tried(self, place: int, asked: Callable[[Embedder], Answer]) -> Answer:
        """What the Embedder of a place answers, of a new process where one is killed."""
        for left in reversed(range(_AGAIN + 1)):
            try:
                if place not in self._embedders:
                    self._embedders[place] = self._processes[place].loaded()
                return asked(self._embedders[place])
            except KilledError:
                if self._closed or not left:
                    raise
                self._starter.submit(self._begin_again, place).result()
        raise AssertionError("the last try returns or raises")

    def _begin_again(self, place: int) -> None:
        """Begins to load the model in a new process. Raises ModelError for another one by now."""
        if self._asked is None:
            raise AssertionError("nothing answers before `begin_load`")
        path, options, stamp = self._asked
        if file_stamp(path) != stamp:
            raise ModelError(f"{path}: was changed while it was evaluated; repeat the command")
        process = model_process(wall=self._wall)
        with self._lock:
            self._embedders.pop(place, None)
            self._killed.append(self._processes[place])
            self._processes[place] = process
            if self._closed:
                process.end()
        process.begin_load(path, options)


@contextlib.contextmanager
def open_several(path: Path, options: LoadOptions, count: int) -> Iterator[Embedder]:
    """`open_model` with so many processes for the model, among which the cores are divided."""
    if count == 1:
        with open_model(path, options) as embedder:
            yield embedder
        return
    options = replace(options, threads=max(1, (os.cpu_count() or 1) // count))
    with contextlib.closing(SeveralProcesses(count, wall=walled(options))) as processes:
        processes.begin_load(path, options)
        yield processes.loaded()
