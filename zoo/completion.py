"""What the shell may complete: entries, bins, runs and stored results, read from files alone."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from evaluator.errors import InputError
from evaluator.metrics.all_figures import NAMES

if TYPE_CHECKING:
    from zoo.entries.registry import Entry

# Ends of names that models have; a path typed so far is completed to these and to folders.
_MODEL_ENDS = (".h5", ".keras", ".tflite", ".onnx")

# Completion answers while a key is held down: of a folder with more, only so many are offered.
_MOST = 200

Spread = Callable[[Sequence[str]], list[str]]


@dataclass(frozen=True)
class Suggestion:
    """One word that the shell may put in, and what zsh and fish show beside it."""

    value: str
    help: str = ""
    type: str = "plain"


Completer = Callable[[typer.Context, str], list[Suggestion]]


def entries(context: typer.Context, incomplete: str) -> list[Suggestion]:
    """Names of models.yaml that begin so, each with its published figure on LFW."""
    return [
        Suggestion(name, _published(entry))
        for name, entry in _registry(context).items()
        if name.startswith(incomplete)
    ]


def models(context: typer.Context, incomplete: str) -> list[Suggestion]:
    """Entries, runs, and the model files and folders that what was typed can go on to."""
    found = [
        *entries(context, incomplete),
        *runs(context, incomplete),
        *_paths(incomplete, _MODEL_ENDS),
    ]
    return list({each.value: each for each in found}.values())


def bins(context: typer.Context, incomplete: str) -> list[Suggestion]:
    """Names of the bins that would be found, else paths of others; also behind a comma."""
    from zoo.entries.lookup import available_bins, bin_folders

    before, comma, typed = incomplete.rpartition(",")
    try:
        folders = bin_folders([Path(each) for each in _given(context, "data")])
    except InputError:
        folders = bin_folders([])
    named = [
        Suggestion(before + comma + name, str(path))
        for name, path in available_bins(folders).items()
        if name.startswith(typed)
    ]
    return named[:_MOST] or ([] if comma else _paths(incomplete, (".bin",)))


def stored(context: typer.Context, incomplete: str) -> list[Suggestion]:
    """Names of the models that have stored results."""
    from evaluator.results.choice import stored_model_names

    folder = Path(next(iter(_given(context, "results")), "results"))
    try:
        names = stored_model_names(folder)
    except OSError:
        names = []
    # What a shell is given must be what it can show and type.
    wanted = [name for name in names if name.isprintable() and name.startswith(incomplete)]
    return [Suggestion(name, f"stored in {folder}") for name in wanted[:_MOST]]


def stored_bins(context: typer.Context, incomplete: str) -> list[Suggestion]:
    """Names of the bins that results are stored on, then those that would be found."""
    from evaluator.results.choice import stored_bin_names

    folder = Path(next(iter(_given(context, "results")), "results"))
    before, comma, typed = incomplete.rpartition(",")
    names = stored_bin_names(folder) if folder.is_dir() else []
    wanted = [name for name in names if name.isprintable() and name.startswith(typed)]
    found = [Suggestion(before + comma + name, f"stored in {folder}") for name in wanted[:_MOST]]
    there = {each.value for each in found}
    return [*found, *(each for each in bins(context, incomplete) if each.value not in there)]


def stored_or_models(context: typer.Context, incomplete: str) -> list[Suggestion]:
    """Models with stored results, then those that could be measured."""
    found = [*stored(context, incomplete), *models(context, incomplete)]
    return list({each.value: each for each in reversed(found)}.values())[::-1]


def runs(context: typer.Context, incomplete: str) -> list[Suggestion]:
    """Folders of training runs: those under ./runs, or where what was typed points to."""
    from zoo.entries.lookup import RUN_ENTRY

    del context
    found = {}
    for folder in (Path("runs"), Path(incomplete or ".").parent):
        for path in _listed(folder):
            if str(path).startswith(incomplete) and (path / RUN_ENTRY).is_file():
                found[str(path)] = Suggestion(str(path), "a training run")
    return list(found.values())[:_MOST]


def _one_of(*words: str) -> Completer:
    def complete(context: typer.Context, incomplete: str) -> list[Suggestion]:
        del context
        return [Suggestion(word) for word in words if word.startswith(incomplete)]

    return complete


#: What the parameters of each command are completed to, by the names that its function gives them.
COMMANDS: dict[str, dict[str, Completer]] = {
    "eval": {"models": models},
    "show": {"name": entries},
    "train": {"name": entries, "run": runs},
    "pull": {"name": entries},
    "verify": {"names": entries},
    "compare": {"models": stored_or_models, "bins": stored_bins},
    "threshold": {"model": stored_or_models, "bins": stored_bins},
    "leaderboard": {
        "models": stored,
        "bins": stored_bins,
        "format": _one_of("table", "markdown", "csv", "json", "latex"),
        "metric": _one_of(*NAMES),
    },
    "report": {"models": stored, "bins": stored_bins},
    "probe": {"model": models},
    "project": {"model": models},
    "export": {
        "checkpoint": models,
        "to": _one_of("keras", "h5", "savedmodel", "tflite", "onnx"),
    },
}

#: What a parameter of this name is completed to in every command.
EVERYWHERE: dict[str, Completer] = {
    "bins": bins,
    "flip": _one_of("none", "sum"),
    "input": _one_of("unit", "symmetric", "insightface", "raw"),
    "channels": _one_of("rgb", "bgr"),
    "decoder": _one_of("accurate", "fast"),
    "precision": _one_of("float32", "bfloat16"),
    "engine": _one_of("native", "openvino"),
    "nan": _one_of("fail", "drop"),
}


def add_completers(commands: Mapping[str, Any]) -> None:
    """Lets the parameters of Typer's commands, by the commands' names, know what they complete to.

    Here and not where each is declared: only a shell that asks needs them.
    """
    for name, command in commands.items():
        known = {**EVERYWHERE, **COMMANDS.get(name, {})}
        for parameter in command.params:
            if parameter.name in known:
                parameter.shell_complete = known[parameter.name]


def spread_for_shell(environment: MutableMapping[str, str], spread: Spread) -> None:
    """Lets the shell's question be about ``--bins a --bins b`` where ``--bins a b`` was typed.

    Both ways in which Typer's scripts ask are rewritten: Bash's array of words with the number of
    the one at the cursor, and the line up to the cursor of the others.
    """
    if "COMP_WORDS" in environment:
        typed = _words(environment["COMP_WORDS"])
        at = int(environment.get("COMP_CWORD", len(typed)))
        current = typed[at] if at < len(typed) else ""
        words = _open_end(typed[:at], current, spread)
        environment["COMP_WORDS"] = "\n".join(map(shlex.quote, [*words, current]))
        environment["COMP_CWORD"] = str(len(words))
    if line := environment.get("_TYPER_COMPLETE_ARGS"):
        words = _words(line)
        current = "" if line.endswith(" ") else words.pop()
        whole = [*_open_end(words, current, spread), *([current] if current else [])]
        ending = "" if current else " "
        environment["_TYPER_COMPLETE_ARGS"] = " ".join(map(shlex.quote, whole)) + ending


def _words(line: str) -> list[str]:
    """The words of a command line; of one with an open quotation, those between its spaces."""
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def _open_end(words: Sequence[str], current: str, spread: Spread) -> list[str]:
    """The words spread, with the option repeated that the word at the cursor is a value of."""
    program, rest = list(words[:1]), words[1:]
    if current.startswith("-"):
        return [*program, *spread(rest)]
    return [*program, *spread([*rest, current or "?"])[:-1]]


def _registry(context: typer.Context) -> dict[str, Entry]:
    from zoo.entries.registry import read_registry, registry_path

    given = next(iter(_given(context, "registry")), None)
    try:
        return dict(read_registry(registry_path(None if given is None else Path(given))))
    except (InputError, OSError):
        return {}  # the command itself says what is wrong with it


def _given(context: typer.Context, name: str) -> list[str]:
    """The values that an option before the cursor has been given."""
    value = context.params.get(name)
    if value is None:
        return []
    return [str(each) for each in value] if isinstance(value, list | tuple) else [str(value)]


def _published(entry: Entry) -> str:
    found = entry.published.get("lfw")
    return "an entry" if found is None else f"{100 * found.accuracy:.2f} % on LFW"


def _paths(incomplete: str, ends: tuple[str, ...]) -> list[Suggestion]:
    """Files of these ends, and folders to look into, that a path typed so far can go on to."""
    folder = Path(incomplete) if incomplete.endswith("/") else Path(incomplete or ".").parent
    found = []
    for path in _listed(folder):
        is_folder = path.is_dir()
        shown = f"{path}/" if is_folder else str(path)
        wanted = path.name.endswith(ends) or (is_folder and incomplete != "")
        if wanted and shown.startswith(incomplete):
            found.append(Suggestion(shown, "a folder" if is_folder else "a file"))
    return found[:_MOST]


def _listed(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return
