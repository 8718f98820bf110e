"""A folder of stored results, read: all of it, or no more than one model's."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from evaluator import files
from evaluator.errors import ResultError
from evaluator.files import natural
from evaluator.results.measured import folders_of_name
from evaluator.results.record import Result, reading_problem
from evaluator.results.store import load_result

# What the figures of results that were made elsewhere carry where ours carry settings.
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Stored:
    """A result and the path of its JSON."""

    path: Path
    result: Result


@dataclass(frozen=True)
class Store:
    """The results in the natural order of names, and each file that is none with what it is.

    ``outdated`` are whole results whose models were read by other rules than today's: they are
    no answers any more (``evaluator.results.reading_rules``).
    """

    results: tuple[Stored, ...]
    unreadable: tuple[tuple[Path, str], ...]
    outdated: tuple[Stored, ...] = ()

    def where(self, wanted: Callable[[Result], bool]) -> Store:
        """The same with those results alone; what is damaged stays, as nobody knows what it was."""
        return replace(
            self,
            results=tuple(each for each in self.results if wanted(each.result)),
            outdated=tuple(each for each in self.outdated if wanted(each.result)),
        )

    @property
    def is_empty(self) -> bool:
        """Whether no whole result is there, not even an outdated one."""
        return not self.results and not self.outdated

    @property
    def damaged(self) -> tuple[str, ...]:
        """A line for each file that is no result."""
        return tuple(line for _, line in self.unreadable)

    @property
    def remarks(self) -> tuple[str, ...]:
        """A line for each file that is passed over, and why."""
        return (*self.damaged, *map(outdated_line, self.outdated))


def outdated_line(stored: Stored) -> str:
    """What is said of a result that other reading rules measured."""
    result = stored.result
    return f"{result.model.name} on {result.bin.name}: {reading_problem(result)}"


def read_store(*folders: Path) -> Store:
    """Every result under folders of results; a missing one holds none. Raises OSError."""
    return _read(_results_in(_folders(folders)))


def no_results(*folders: Path) -> str:
    """What is said of folders that have none: where else they may be, or how they are made."""
    inner = next((each / "results" for each in folders if _folders([each / "results"])), None)
    advice = (
        f"did you mean {inner}?"
        if inner is not None
        else "make some with zoo eval, or name their folder with --results DIR"
    )
    return f"{', '.join(map(str, folders))}: no stored results there; {advice}"


def read_folder(folder: Path) -> Store:
    """Every result in one model's folder. Raises OSError."""
    return _read(_results_in([folder]))


def results_named(folders: Sequence[Path], name: str) -> Store:
    """The results of all models of that name; reads only the folders that can hold them."""
    own = folders_of_name(_folders(folders), name)
    return _read(_results_in(own)).where(lambda result: result.model.name == name)


def results_hashed(folders: Sequence[Path], identity: str) -> Store:
    """The results of all models whose identity begins so."""
    start = identity[:8]
    own = [path for path in _folders(folders) if path.name.rpartition("-")[2].startswith(start)]
    return _read(_results_in(own)).where(lambda result: result.model.identity.startswith(identity))


def results_of_file(folders: Sequence[Path], sha256: str) -> Store:
    """The results of all models whose file's SHA-256 begins so, whatever weights lie beside it.

    Reads the whole store: its folders are called by identities. What is damaged in it is not of
    these models alone, and so left out.
    """
    found = read_store(*folders).where(lambda result: result.model.sha256.startswith(sha256))
    return replace(found, unreadable=())


def is_there(path: Path) -> bool:
    """Whether a path that a result states is a file; False for one that no file can have, too."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex. Raises OSError."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, modified: int) -> str:
    # Size and time are in the key: a bin is asked for once for each stored result.
    del size, modified
    return files.file_sha256(path)


def _folders(stores: Sequence[Path]) -> list[Path]:
    """The folders of models in some stores, each store once."""
    once = {folder.resolve(): folder for folder in stores if folder.is_dir()}
    return [path for folder in once.values() for path in _listed(folder, os.DirEntry.is_dir)]


def _results_in(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        yield from _listed(folder, lambda entry: entry.name.endswith(".json") and entry.is_file())


def _listed(folder: Path, wanted: Callable[[os.DirEntry[str]], bool]) -> list[Path]:
    # scandir: listing 10,000 results with Path.glob takes a third of a second longer.
    with os.scandir(folder) as entries:
        return [
            folder / name
            for name in sorted((e.name for e in entries if _is(e, wanted)), key=natural)
        ]


def _is(entry: os.DirEntry[str], wanted: Callable[[os.DirEntry[str]], bool]) -> bool:
    try:
        return wanted(entry)
    except OSError:  # a link that leads back to itself, or to where nobody may look
        return False


def _read(paths: Iterable[Path]) -> Store:
    found: list[Stored] = []
    outdated: list[Stored] = []
    damaged = []
    for path in paths:
        try:
            stored = Stored(path, load_result(path))
        except ResultError as error:
            damaged.append((path, str(error)))
        except FileNotFoundError:
            continue  # another process replaced or removed it since the folder was listed
        else:
            (found if reading_problem(stored.result) is None else outdated).append(stored)
    # Of several stores one may have again what another has by older rules.
    again = {(each.path.parent.name, each.path.name) for each in found}
    old = [each for each in outdated if (each.path.parent.name, each.path.name) not in again]
    return Store(tuple(found), tuple(damaged), tuple(old))


@contextmanager
def no_collection() -> Iterator[None]:
    """Keeps Python's garbage collector from running.

    Of 10,000 results nothing is garbage, yet it looks through them all again and again: half of
    the time of reading and ranking them.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
