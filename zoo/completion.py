"""What the shell completes beside what Typer knows: entries, runs, models, bins, results."""

from __future__ import annotations

import glob
import shlex
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import typer

from evaluator.errors import InputError
from evaluator.files import natural
from evaluator.profiles import PROFILES

# Ends of names that models have; a path typed so far is completed to these and to folders.
_MODEL_ENDS = (".h5", ".keras", ".tflite", ".onnx", ".xml", ".pb")

# Completion answers while a key is held down: of a folder with more, only so many are offered.
_MOST = 200

Spread = Callable[[Sequence[str]], list[str]]


class Suggestion(NamedTuple):
    """One word that the shell may put in, and what zsh and fish show beside it."""

    value: str
    help: str = ""
    type: str = "plain"


def entries(context: typer.Context, typed: str) -> list[Suggestion]:
    """Names of models.yaml that begin so, each with its published figure on LFW."""
    from zoo.entries.registry import read_registry, registry_path

    try:
        known = read_registry(registry_path(next(iter(_given(context, "registry")), None)))
    except (InputError, OSError):
        return []  # the command itself says what is wrong with it
    rows = {name: entry.published.get("lfw") for name, entry in known.items()}
    return [
        Suggestion(name, f"{100 * row.accuracy:.2f} % on LFW" if row else "an entry")
        for name, row in rows.items()
        if name.startswith(typed)
    ]


def runs(context: typer.Context, typed: str) -> list[Suggestion]:
    """Folders of training runs: those under ./runs, or where what was typed points to."""
    from zoo.entries.lookup import RUN_ENTRY

    del context
    begin = glob.escape(typed)
    found = [*Path().glob(f"runs/*/{RUN_ENTRY}"), *map(Path, _globbed(f"{begin}*/{RUN_ENTRY}"))]
    named = [str(path.parent) for path in found if str(path).startswith(typed)]
    named.sort(key=natural)
    return [Suggestion(name, "a training run") for name in dict.fromkeys(named)][:_MOST]


def models(context: typer.Context, typed: str) -> list[Suggestion]:
    """Entries, runs, and the model files and folders that what was typed can go on to."""
    return _once(entries(context, typed) + runs(context, typed) + _paths(typed, _MODEL_ENDS))


def bins(context: typer.Context, typed: str) -> list[Suggestion]:
    """Names of the bins that would be found, else paths of others; also behind a comma."""
    from evaluator.bins.named import available_bins
    from zoo.entries.lookup import bin_folders

    before, comma, begin = typed.rpartition(",")
    try:
        folders = bin_folders(_given(context, "data"))
    except (InputError, OSError):
        folders = [Path("datasets"), Path()]
    named = [
        Suggestion(before + comma + name, str(path))
        for name, path in available_bins(folders).items()
        if name.startswith(begin)
    ]
    return named[:_MOST] or ([] if comma else _paths(typed, (".bin",)))


def stored(context: typer.Context, typed: str) -> list[Suggestion]:
    """Names of the models that have stored results."""
    from evaluator.results.choice import stored_model_names

    return _stored(stored_model_names, context, typed)


def stored_bins(context: typer.Context, typed: str) -> list[Suggestion]:
    """Names of the bins that results are stored on, then those that would be found."""
    from evaluator.results.choice import stored_bin_names

    before, comma, begin = typed.rpartition(",")
    found = _stored(stored_bin_names, context, begin)
    behind = [each._replace(value=before + comma + each.value) for each in found]
    return _once(behind + bins(context, typed))


def _stored(
    names_in: Callable[[Sequence[Path]], Sequence[str]], context: typer.Context, typed: str
) -> list[Suggestion]:
    """Names of what the folder of results has, that begin so."""
    folders = _given(context, "results") or [Path("results")]
    try:
        names = names_in(folders)
    except OSError:
        return []
    where = ", ".join(map(str, folders))
    # What a shell is given must be what it can show and type.
    wanted = [name for name in names if name.isprintable() and name.startswith(typed)]
    return [Suggestion(name, f"stored in {where}") for name in wanted[:_MOST]]


def stored_or_models(context: typer.Context, typed: str) -> list[Suggestion]:
    """Models with stored results, then those that could be measured."""
    return _once(stored(context, typed) + models(context, typed))


def profiles(context: typer.Context, typed: str) -> list[Suggestion]:
    """Names of input profiles that begin so."""
    del context
    return [Suggestion(name) for name in PROFILES if name.startswith(typed)]


#: What is completed by what: a parameter of one command, or of every one that has it.
COMPLETERS = {
    "bins": bins,
    "model": models,
    "models": models,
    "checkpoint": models,
    "run": runs,
    "input": profiles,
    "names": entries,
    **dict.fromkeys(("show name", "train name"), entries),
    **dict.fromkeys(
        ("compare models", "threshold model", "groups models", "discard models"), stored_or_models
    ),
    **dict.fromkeys(("leaderboard models", "report models"), stored),
    **dict.fromkeys(
        (
            *("compare bins", "threshold bins", "leaderboard bins", "report bins"),
            *("groups bins", "discard bins"),
        ),
        stored_bins,
    ),
}


def add_completers(commands: Mapping[str, Any]) -> None:
    """Lets the parameters of Typer's commands, by the commands' names, know what they complete to.

    Here and not where each is declared: only a shell that asks needs them.
    """
    for name, command in commands.items():
        for each in command.params:
            found = COMPLETERS.get(f"{name} {each.name}", COMPLETERS.get(each.name))
            if found is not None:
                each.shell_complete = found


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


def _given(context: typer.Context, name: str) -> list[Path]:
    """The values that an option before the cursor has been given."""
    value = context.params.get(name) or []
    return [Path(each) for each in (value if isinstance(value, list | tuple) else [value])]


def _once(found: list[Suggestion]) -> list[Suggestion]:
    return list({each.value: each for each in reversed(found)}.values())[::-1]


def _paths(typed: str, ends: tuple[str, ...]) -> list[Suggestion]:
    """Files of these ends, and folders to look into, that a path typed so far can go on to."""
    found = []
    for path in _globbed(glob.escape(typed) + "*"):
        if Path(path).is_dir() and typed:
            found.append(Suggestion(f"{path}/", "a folder"))
        elif path.endswith(ends):
            found.append(Suggestion(path, "a file"))
    return found[:_MOST]


def _globbed(pattern: str) -> list[str]:
    # Not Path.glob, which takes "./" off what was typed.
    return sorted(glob.glob(pattern), key=natural)  # noqa: PTH207
