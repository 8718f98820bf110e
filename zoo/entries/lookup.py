"""From what the user types to files: models by entry or path, bins by name or path."""

from __future__ import annotations

import fnmatch
import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evaluator.bins.named import available_bins, usual_folders
from evaluator.errors import InputError, near_name, plain_name, unknown_name
from evaluator.files import natural
from evaluator.models.formats import model_format, refusal
from evaluator.templates.layouts import layout_of
from zoo.entries.registry import Entry, read_registry
from zoo.entries.yaml_nodes import RegistryError
from zoo.terminal.settings import read_settings
from zoo.terminal.words import note

# The file in a run's folder that makes it an entry of the zoo.
RUN_ENTRY = "models.yaml"

#: What tells a template set, in words.
LAYOUTS = (
    "meta/ijbc_face_tid_mid.txt, Testing_Set/ with Gallery_Match and Probe, or gallery/ID and "
    "probe/ID"
)

# What makes a pattern of a word.
# What model files are called; what they are, their content tells.
_ENDINGS = (".h5", ".keras", ".onnx", ".pb", ".tflite", ".xml")
_PATTERN = "*?["

_A_FIRST_BIN = "`zoo bins fetch olivetti` brings a small one of real faces"


@dataclass(frozen=True)
class ModelChoice:
    """A model to evaluate: its name in tables, its file, and its entry if it is one."""

    name: str
    path: Path
    entry: Entry | None = None


def resolve_models(values: Sequence[str], entries: Mapping[str, Entry]) -> list[ModelChoice]:
    """Models in the order given, each once; those of a pattern, a shell's too, in natural order.

    Raises InputError for what is neither.
    """
    chosen: dict[Path, ModelChoice] = {}
    if list(values) == sorted(values):  # as a shell writes them for a pattern
        values = sorted(values, key=natural)
    for value in values:
        for each in models_matching(value, entries) or [value]:
            choice = resolve_model(each, entries)
            chosen.setdefault(choice.path.resolve(), choice)
    return list(chosen.values())


def models_matching(value: str, entries: Mapping[str, Entry]) -> list[str]:
    """The entries and model files that a pattern means (``'run/*.keras'``), in natural order; none
    for what is no pattern, or is a path itself.
    """
    if not any(sign in value for sign in _PATTERN) or Path(value).exists():
        return []
    found = [*fnmatch.filter(entries, value), *glob.glob(value)]  # noqa: PTH207 - as it was typed
    return sorted((each for each in found if each in entries or _is_model(each)), key=natural)


def _is_model(path: str) -> bool:
    return (Path(path) / RUN_ENTRY).is_file() or model_format(Path(path)) is not None


def resolve_model(value: str, entries: Mapping[str, Entry]) -> ModelChoice:
    """The one model that a value means. Raises InputError for what is none, or several."""
    matching = models_matching(value, entries)
    if len(matching) > 1:
        raise InputError(f"{value}: expected one model, found {len(matching)}: {matching[0]}, ...")
    value = matching[0] if matching else value
    if not value.strip():
        raise InputError("a MODEL is empty; expected an entry of the zoo or a model file")
    entry = entries.get(value)
    path = Path(value)
    if entry is not None and not path.is_file():
        if not entry.file.exists():
            how = f"`zoo pull {value}` brings them" if entry.url else "Put the file there"
            raise InputError(
                f"entry {value!r}: its weights are not at {entry.file}. {how}, or give the path of "
                "a model instead"
            )
        return ModelChoice(entry.name, entry.file, entry)
    if not path.exists() and any(sign in value for sign in _PATTERN):
        raise InputError(
            f"no model {value!r}: no model file matches, nor an entry of models.yaml; * stays "
            "within a folder: run/*.keras and run/*/*.keras are two patterns"
        )
    if not path.exists():
        raise InputError(
            f"no model {value!r}: it is no path, and no entry of models.yaml; "
            f"{near_path(path) or unknown_name(value, entries)}"
        )
    if (path / RUN_ENTRY).is_file():
        return _resolve_run(path)
    if (path.is_file() or path.is_dir()) and model_format(path) is None:
        raise InputError(f"{value}: {refusal(path)}")
    return ModelChoice(plain_name(path.stem or path.name), path)


def looks_like_path(value: str) -> bool:
    """Whether what names nothing is meant as a path: it has a folder or a model's ending."""
    return "/" in value or Path(value).suffix.lower() in _ENDINGS


def near_path(path: Path) -> str:
    """What the folder of a path that is not there has of a like name; empty for a plain name."""
    if path.parent == Path():
        return ""
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    near = near_name(path.name, [each.name for each in path.parent.iterdir()])
    return f"did you mean {str(path.parent / near)!r}?" if near else ""


def _resolve_run(folder: Path) -> ModelChoice:
    """The embedding model of a training run's folder, which holds its own entry."""
    entry = only_entry(folder)
    if not entry.file.exists():
        raise InputError(
            f"{folder}: a training run that has no {entry.file.name} yet; "
            "it is written at the first evaluation, or at the end"
        )
    return ModelChoice(entry.name, entry.file, entry)


def kept_epochs(folder: str) -> list[ModelChoice]:
    """The models that a run has kept of its epochs, in the order of training, with the run's entry.
    Raises InputError for what is no run's folder, and for a run that kept none.
    """
    from training.run.runs import RunFolder

    run = RunFolder(Path(folder))
    if not run.entry.is_file():
        raise InputError(f"--epochs: {folder}: expected a training run's folder")
    entry, places = only_entry(run.path), run.all_kept()
    if not places:
        raise InputError(f"--epochs: {folder} kept none; zoo train --keep epochs keeps every one")
    files = [(place.name, run.kept(place)) for place in places]
    return [
        ModelChoice(f"{entry.name}-{name}", path, replace(entry, file=path, sha256=None))
        for name, path in files
    ]


def only_entry(folder: Path) -> Entry:
    """The one entry in a run's folder. Raises InputError for none or several, OSError."""
    path = folder / RUN_ENTRY
    entries = read_registry(path)
    if len(entries) != 1:
        raise RegistryError(f"{path}: expected the one entry of a run; found {len(entries)}")
    return next(iter(entries.values()))


def bin_folders(given: Sequence[Path]) -> list[Path]:
    """Where bins are looked for: --data folders, $ZOO_DATA, zoo.toml's, ./datasets, and here.

    Raises InputError for a --data that is no folder, and for a wrong zoo.toml; OSError.
    """
    for folder in given:
        if not folder.is_dir():
            raise InputError(f"--data {folder}: no such folder")
    stated = read_settings().values.get("data", [])
    return list(dict.fromkeys([*given, *usual_folders(stated)]))


def resolve_bins(
    values: Sequence[str], folders: Sequence[Path], entries: Mapping[str, Entry]
) -> list[Path]:
    """Bin files in the order given, each once. Raises InputError for an unknown name."""
    paths = [_resolve_bin(value, folders, entries) for value in values]
    return list({path.resolve(): path for path in paths}.values())


def only_bin(values: Sequence[str], folders: Sequence[Path], entries: Mapping[str, Entry]) -> Path:
    """The file of the one bin named. Raises InputError where it is not one, or a template set."""
    if len(values) != 1:
        raise InputError(f"--bins: expected one bin, found {len(values)}: {', '.join(values)}")
    return bins_of_pairs(values, folders, entries)[0]


def bins_of_pairs(
    values: Sequence[str], folders: Sequence[Path], entries: Mapping[str, Entry]
) -> list[Path]:
    """As `resolve_bins`; InputError for a template set, too."""
    paths = resolve_bins(values, folders, entries)
    for path in paths:
        if path.is_dir():
            raise InputError(
                f"--bins {path}: a template set, and this takes a bin of pairs; zoo bins make "
                "makes one of a folder"
            )
    return paths


def every_bin(folders: Sequence[Path]) -> list[Path]:
    """Every bin in the folders, the first folder's of one name, and says so on stderr. Raises
    InputError where there is none.
    """
    found = available_bins(folders)
    if not found:
        raise InputError(
            "no --bins given, and no *.bin in $ZOO_DATA, ./datasets or here; "
            f"name them (--bins lfw.bin), or their folder with --data DIR. {_A_FIRST_BIN}"
        )
    note(f"no --bins given: using every bin found: {' '.join(found)}")
    return list(found.values())


def _resolve_bin(value: str, folders: Sequence[Path], entries: Mapping[str, Entry]) -> Path:
    as_path = Path(value)
    if as_path.is_fifo():
        note(f"{value}: a pipe, read to its end before anything else is done")
        return as_path
    if as_path.is_file():
        if model_format(as_path) is not None:
            raise InputError(_models_first(value))
        return as_path
    for folder in folders:
        path = folder / f"{value.removesuffix('.bin')}.bin"
        if path.is_file():
            return path
    for path in (as_path, *(folder / value for folder in folders)):
        if layout_of(path) is not None:
            return path
    if value in entries or (as_path.is_dir() and model_format(as_path) is not None):
        raise InputError(_models_first(value))
    if as_path.is_dir():
        raise InputError(
            f"--bins {value}: a folder, and no template set ({LAYOUTS}); name the bins in it"
            f"{_first_bin(as_path)}, or give it as --data"
        )
    looked = ", ".join(str(folder) for folder in folders)
    if said := near_path(as_path):
        raise InputError(f"no bin {value!r}: no file of that path; {said}")
    available = available_bins(folders)
    if not available:
        there = f"no bins are there. Name their folder with --data DIR. {_A_FIRST_BIN}"
    else:
        near = near_name(value, [*available])
        there = f"did you mean {near!r}? " if near else ""
        there += "there is: " + ", ".join(available)
    raise InputError(f"no bin {value!r}: looked for a file of that path and in {looked}; {there}")


def _first_bin(folder: Path) -> str:
    """One of the bins in a folder, for who gave the folder."""
    found = available_bins([folder])
    return f", as {next(iter(found.values()))}" if found else " (there is none)"


def _models_first(value: str) -> str:
    return (
        f"--bins {value}: this is a model, and --bins takes every value up to the next option; "
        f"put models first: zoo eval {value} --bins ..."
    )
