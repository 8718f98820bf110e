"""Models as `zoo eval` loads them: the file that was hashed, in batches that memory holds."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from evaluator.errors import ForwardError, ModelError
from evaluator.images.inputs import Embedder
from evaluator.isolation.process import ModelProcess, model_process, walled
from evaluator.isolation.same_process import SameProcess
from evaluator.isolation.several import SeveralProcesses
from evaluator.isolation.wall import missing_part
from evaluator.measure.memory import in_smaller_batches
from evaluator.models.formats import model_format
from evaluator.models.identity import FileStamp, ModelIdentity, file_stamp, model_identity
from evaluator.models.options import LoadOptions
from evaluator.results.names import Shown, model_labels
from zoo.entries.lookup import ModelChoice
from zoo.evaluate.remarks import Remarks
from zoo.terminal.words import detail, note

_Process = ModelProcess | SameProcess | SeveralProcesses
_Found = TypeVar("_Found")
# Models that a note names of which it is true, too.
_NAMED = 5


class ModelProcesses:
    """The processes of a command's models, one at work at a time; ends them with its block.

    The process of the first model may be begun before there is anything to embed, that of the next
    one is started while the one before is at work: it imports meanwhile. Of each model there are
    ``count`` processes; ``models`` are all that notes may be on.
    """

    def __init__(self, count: int = 1, models: Sequence[ModelChoice] = ()) -> None:
        self._count = count
        paths = {each.path: each for each in models}
        shown = [Shown(each.name, str(path), path=str(path)) for path, each in paths.items()]
        # Before there are hashes, only their paths tell models of one name apart.
        self._labels = dict(zip(paths, model_labels(shown), strict=True))
        # By path and wall: what was started for an untrusted model never holds a trusted one.
        self._begun: dict[tuple[Path, bool], tuple[_Process, LoadOptions | None]] = {}
        # By note and path: checkpoints of a run may all have one name.
        self._noted: dict[str, dict[Path, Shown]] = {}

    def __enter__(self) -> ModelProcesses:
        """The processes; none yet."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Ends those that still are; says of which models the notes are true, too."""
        while self._begun:
            self._begun.popitem()[1][0].close()
        for line, models in self._noted.items():
            if more := model_labels([*models.values()])[1:]:
                some = f"{', '.join(more[:_NAMED])}{', ...' * (len(more) > _NAMED)}"
                note(f"{len(more):,} more model{'s' * (len(more) > 1)}, too: {line} ({some})")

    def begin(self, choice: ModelChoice, options: LoadOptions) -> None:
        """Begins to load a model, in a process of its own; does not wait."""
        key = choice.path, walled(options)
        process, known = self._begun.pop(key, (None, None))
        if process is not None and known is not None:  # it holds a model already
            process.close()
            process = None
        process = self._started(options) if process is None else process
        self._begun[key] = process, options
        process.begin_load(choice.path, options)

    def prepare(self, choice: ModelChoice, options: LoadOptions) -> None:
        """Starts the process of a model that is loaded later."""
        key = choice.path, walled(options)
        if key not in self._begun:
            process = self._started(options)
            self._begun[key] = process, None
            process.prepare(model_format(choice.path) or "")

    def _started(self, options: LoadOptions) -> _Process:
        wall = walled(options)
        return (
            model_process(wall=wall)
            if self._count == 1
            else SeveralProcesses(self._count, wall=wall)
        )

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
        from zoo.terminal.progress import waiting

        start = time.perf_counter()
        key = choice.path, walled(options)
        try:
            if self._begun.get(key, (None, None))[1] != options:
                self.begin(choice, options)
            try:
                with waiting(f"{choice.name}: loading"):
                    embedder = self._begun[key][0].loaded()
            except (ModelError, OSError) as error:
                _check_unchanged(choice.path, identity, stamp)
                if isinstance(error, OSError):
                    raise ModelError(f"{choice.path}: {error.strerror or error}") from None
                raise
            _check_unchanged(choice.path, identity, stamp)
            detail(f"{choice.name}: loaded in {time.perf_counter() - start:.1f} s")
            for line in embedder.notes:
                shown = Shown(choice.name, identity.sha256, path=str(choice.path))
                self._noted.setdefault(line, {})[choice.path] = shown
            new = [line for line in embedder.notes if [*self._noted[line]] == [choice.path]]
            label = self._labels.get(choice.path, choice.name)
            say_of(replace(choice, name=label), replace(embedder, notes=tuple(new)), options)
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
