"""A bar on stderr while images are embedded or bytes come, and a word of what is waited for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

from zoo.terminal.words import shows_progress


class _ImagesPerSecond(ProgressColumn):
    """Images embedded a second, over the last seconds."""

    def render(self, task: Task) -> Text:
        """The rate of one task, or nothing before it is known."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} images/s" if speed else "", style="cyan")


class Progress:
    """A progress bar on stderr with its pace; silent where stderr is no terminal."""

    def __init__(
        self, title: str, total: int | None, *, done: int = 0, of_bytes: bool = False
    ) -> None:
        """A bar that ends at ``total``; None for an end that is not known. It counts images, or
        bytes, of which so many are ``done``.
        """
        counts: tuple[ProgressColumn, ...] = (
            MofNCompleteColumn(), _ImagesPerSecond(), TimeRemainingColumn(compact=True),
        )  # fmt: skip
        self._bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            *((DownloadColumn(), TransferSpeedColumn()) if of_bytes else counts),
            console=Console(stderr=True),
            transient=True,
            disable=not shows_progress(),
        )
        self._task = self._bar.add_task(title, total=total, completed=done)

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

    def advance(self, count: int) -> None:
        """Adds images, or bytes, to what is done."""
        self._bar.advance(self._task, count)


@contextmanager
def waiting(for_what: str) -> Iterator[None]:
    """Says on stderr what is waited for until the block ends, as a bar does: in a terminal only."""
    if shows_progress():
        with Console(stderr=True).status(for_what) as status:
            # Drawn at once: an import may keep the thread that draws from it.
            status.update(spinner="dots")
            yield
    else:
        yield
