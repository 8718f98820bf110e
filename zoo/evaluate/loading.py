"""Models as `zoo eval` loads them: the file that was hashed, in batches that memory holds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from evaluator.errors import ForwardError, ModelError
from evaluator.images.inputs import Embedder
from evaluator.isolation.process import ModelProcess, model_process, walled
from evaluator.isolation.same_process import SameProcess
from evaluator.isolation.wall import missing_part
from evaluator.measure.memory import in_smaller_batches
from evaluator.models.formats import model_format
from evaluator.models.identity import FileStamp, ModelIdentity, file_stamp, model_identity
from evaluator.models.options import LoadOptions
from zoo.entries.lookup import ModelChoice
from zoo.evaluate.remarks import Remarks
from zoo.terminal.words import detail, note

_Process = ModelProcess | SameProcess
_Found = TypeVar("_Found")


class ModelProcesses:
    """The processes of a command's models, one at work at a time; ends them with its block.

    The process of the first model may be begun before there is anything to embed, that of the next
    one is started while the one before is at work: it imports meanwhile.
    """

    def __init__(self) -> None:
        # By path and wall: what was started for an untrusted model never holds a trusted one.
        self._begun: dict[tuple[Path, bool], tuple[_Process, LoadOptions | None]] = {}

    def __enter__(self) -> ModelProcesses:
        """The processes; none yet."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Ends those that still are."""
        while self._begun:
            self._begun.popitem()[1][0].close()

    def begin(self, choice: ModelChoice, options: LoadOptions) -> None:
        """Begins to load a model, in a process of its own; does not wait."""
        key = choice.path, walled(options)
        process, known = self._begun.pop(key, (None, None))
        if process is not None and known is not None:  # it holds a model already
            process.close()
            process = None
        process = model_process(wall=walled(options)) if process is None else process
        self._begun[key] = process, options
        process.begin_load(choice.path, options)

    def prepare(self, choice: ModelChoice, options: LoadOptions) -> None:
        """Starts the process of a model that is loaded later."""
        key = choice.path, walled(options)
        if key not in self._begun:
            process = model_process(wall=walled(options))
            self._begun[key] = process, None
            process.prepare(model_format(choice.path) or "")

    @contextmanager
    def loaded(
        self,
        choice: ModelChoice,
        options: LoadOptions,
        *,
        identity: ModelIdentity,
        stamp: FileStamp,
    ) -> Iterator[Embedder]:
        """The model as an Embedder, until the block ends, and its notes on stderr.

        ``stamp`` is the files' before ``identity`` was taken. Raises ModelError for a model that
        cannot be loaded, and where its file is another one by now.
        """
        start = time.perf_counter()
        key = choice.path, walled(options)
        try:
            if self._begun.get(key, (None, None))[1] != options:
                self.begin(choice, options)
            try:
                embedder = self._begun[key][0].loaded()
            except (ModelError, OSError) as error:
                _check_unchanged(choice.path, identity, stamp)
                if isinstance(error, OSError):
                    raise ModelError(f"{choice.path}: {error.strerror or error}") from None
                raise
            _check_unchanged(choice.path, identity, stamp)
            detail(f"{choice.name}: loaded in {time.perf_counter() - start:.1f} s")
            say_of(choice, embedder, options)
            yield embedder
        finally:
            if key in self._begun:
                self._begun.pop(key)[0].close()


def say_of(choice: ModelChoice, embedder: Embedder, options: LoadOptions) -> None:
    """Says on stderr what a model's loading noted, and what stands between it and this machine."""
    if not options.trusted and (missing := missing_part()) is not None:
        detail(f"{choice.name}: {missing}")
    for line in embedder.notes:
        note(f"{choice.name}: {line}")


def _check_unchanged(path: Path, identity: ModelIdentity, stamp: FileStamp) -> None:
    """Raises ModelError where the model's files, or the note beside it, are other ones by now."""
    try:
        now = file_stamp(path)
        # A file that was merely touched, or written again with the same content, is the same.
        same = now == stamp or (now.note == stamp.note and model_identity(path) == identity)
    except (ModelError, OSError):
        same = False
    if not same:
        raise ModelError(
            f"{path}: was changed while it was read, so nothing is stored of it; "
            "repeat the command when the file is complete"
        )


def fitting_memory(embedder: Embedder, name: str, remarks: Remarks) -> Embedder:
    """The Embedder with batches halved until memory holds them, which is said.

    A model of fixed batch size is left as it is.
    """
    if embedder.fixed_batch is not None:
        return embedder
    forward = in_smaller_batches(embedder.forward, lambda size: remarks.smaller(name, size))
    return replace(embedder, forward=forward)


def naming_model(measurements: Iterator[_Found], path: Path) -> Iterator[_Found]:
    """The measurements; an error of the forward pass, which knows no file, names the model's."""
    try:
        yield from measurements
    except ForwardError as error:
        raise ModelError(f"{path}: {error}") from None
