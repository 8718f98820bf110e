"""Where words go: progress and messages to stderr, results to stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

from evaluator.errors import InputError
from evaluator.results import Result, to_dict
from evaluator.whole_file import whole_file
from zoo.words import shows_progress

#: How the pages of `zoo report` and `zoo project` begin.
PAGE_BEGINS = b"<!doctype html>"


class _ImagesPerSecond(ProgressColumn):
    """Images embedded a second, over the last seconds."""

    def render(self, task: Task) -> Text:
        """The rate of one task, or nothing before it is known."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} images/s" if speed else "", style="cyan")


class Progress:
    """A progress bar on stderr with images/s and time left; silent where stderr is no terminal."""

    def __init__(self, title: str, total: int | None) -> None:
        """A bar that ends at ``total``; None for an end that is not known."""
        console = Console(stderr=True)
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _ImagesPerSecond(),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            disable=not shows_progress(),
        )
        self._task = self._bar.add_task(title, total=total)

    def __enter__(self) -> Progress:
        """Shows the bar."""
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Takes the bar away."""
        self._bar.stop()

    def advance(self, images: int) -> None:
        """Adds images to what is done."""
        self._bar.advance(self._task, images)


def check_file_target(option: str, path: Path, *, begins: bytes) -> None:
    """Raises InputError where an option's file cannot be written, before the work begins.

    Nor may it be a file of another kind: ``--json old.h5 new.h5`` would lose a model. ``begins``
    is what files of the option's kind begin with.
    """
    if path.is_dir():
        raise InputError(f"{option} {path}: is a folder; expected the name of a file")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{option} {path}: there is no folder {path.parent}; make it first")
    if path.is_file():
        with path.open("rb") as file:
            found = file.read(len(begins))
        if found not in (b"", begins):
            raise InputError(
                f"{option} {path}: is a file of another kind, and is not overwritten; give another "
                "name, or remove it"
            )


def write_json(results: Sequence[Result], target: str) -> None:
    """Writes results as a JSON list to a file, whole or not at all, or to stdout for ``-``."""
    text = json.dumps([to_dict(result) for result in results], indent=2) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return
    with whole_file(Path(target)) as file:
        file.write(text.encode())


def p_text(value: float) -> str:
    """A p-value for readers: three digits, and never 0."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"
