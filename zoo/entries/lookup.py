"""From what the user types to files: models by entry or path, bins by name or path."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluator.bins.verification_set import is_bin
from evaluator.errors import InputError, plain_name, unknown_name
from evaluator.models.formats import model_format
from evaluator.templates.layouts import layout_of
from zoo.entries.registry import Entry, read_registry
from zoo.entries.yaml_nodes import RegistryError
from zoo.terminal.words import note

# The file in a run's folder that makes it an entry of the zoo.
RUN_ENTRY = "models.yaml"

#: What tells a template set, in words.
LAYOUTS = (
    "meta/ijbc_face_tid_mid.txt, Testing_Set/ with Gallery_Match and Probe, or gallery/ID and "
    "probe/ID"
)

# What PyTorch's checkpoints are called: zips or pickles, and so like a .keras file or a bin.
_TORCH_ENDS = (".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class ModelChoice:
    """A model to evaluate: its name in tables, its file, and its entry if it is one."""

    name: str
    path: Path
    entry: Entry | None = None


def resolve_models(values: Sequence[str], entries: Mapping[str, Entry]) -> list[ModelChoice]:
    """Models in the order given, each once. Raises InputError for what is neither."""
    chosen: dict[Path, ModelChoice] = {}
    for value in values:
        choice = _resolve_model(value, entries)
        chosen.setdefault(choice.path.resolve(), choice)
    return list(chosen.values())


def _resolve_model(value: str, entries: Mapping[str, Entry]) -> ModelChoice:
    if not value.strip():
        raise InputError("a MODEL is empty; expected an entry of the zoo or a model file")
    entry = entries.get(value)
    path = Path(value)
    if entry is not None and not path.is_file():
        if not entry.file.exists():
            raise InputError(
                f"entry {value!r}: its weights are not at {entry.file}. "
                "Put the file there, or give the path of a model instead"
            )
        return ModelChoice(entry.name, entry.file, entry)
    if not path.exists():
        raise InputError(
            f"no model {value!r}: it is no path, and no entry of models.yaml; "
            f"{unknown_name(value, entries)}"
        )
    if (path / RUN_ENTRY).is_file():
        return _resolve_run(path)
    if path.suffix in _TORCH_ENDS and model_format(path) is None:
        raise InputError(
            f"{value}: PyTorch checkpoints are not read: they hold weights and no network. Export "
            "the network to ONNX (torch.onnx.export), or evaluate it from Python as a function"
        )
    if path.is_file() and model_format(path) is None and is_bin(path):
        raise InputError(f"{value}: this is a bin, not a model; put it after --bins")
    if path.is_dir() and model_format(path) is None:
        raise InputError(
            f"{value}: a folder, but not a SavedModel; give the model files in it: {value}/*.h5"
        )
    return ModelChoice(plain_name(path.stem or path.name), path)


def _resolve_run(folder: Path) -> ModelChoice:
    """The embedding model of a training run's folder, which holds its own entry."""
    entry = only_entry(folder)
    if not entry.file.exists():
        raise InputError(
            f"{folder}: a training run that has no {entry.file.name} yet; "
            "it is written at the first evaluation, or at the end"
        )
    return ModelChoice(entry.name, entry.file, entry)


def only_entry(folder: Path) -> Entry:
    """The one entry in a run's folder. Raises InputError for none or several, OSError."""
    path = folder / RUN_ENTRY
    entries = read_registry(path)
    if len(entries) != 1:
        raise RegistryError(f"{path}: expected the one entry of a run; found {len(entries)}")
    return next(iter(entries.values()))


def bin_folders(given: Sequence[Path]) -> list[Path]:
    """Where bins are looked for: --data folders, $ZOO_DATA, ./datasets, and here."""
    for folder in given:
        if not folder.is_dir():
            raise InputError(f"--data {folder}: no such folder")
    listed = [Path(part) for part in os.environ.get("ZOO_DATA", "").split(os.pathsep) if part]
    return list(dict.fromkeys([*given, *listed, Path("datasets"), Path()]))


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


def all_bins(folders: Sequence[Path]) -> list[Path]:
    """Every bin in the folders; of several with one name, the one in the first folder."""
    return list(available_bins(folders).values())


def every_bin(folders: Sequence[Path]) -> list[Path]:
    """`all_bins`, and says so on stderr. Raises InputError where there is none."""
    found = all_bins(folders)
    if not found:
        raise InputError(
            "no --bins given, and no *.bin in $ZOO_DATA, ./datasets or here; "
            "name them (--bins lfw.bin), or their folder with --data DIR"
        )
    names = " ".join(path.stem for path in found)
    note(f"no --bins given: using every bin found: {names}")
    return found


def available_bins(folders: Sequence[Path]) -> dict[str, Path]:
    """Name -> file of every bin in the folders; of several with one name, the first folder's."""
    found: dict[str, Path] = {}
    for folder in folders:
        if folder.is_dir():
            for path in sorted(folder.glob("*.bin")):
                found.setdefault(path.stem, path)
    return found


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
        path = folder / f"{value}.bin"
        if path.is_file():
            return path
    for path in (as_path, *(folder / value for folder in folders)):
        if layout_of(path) is not None:
            return path
    if value in entries or (as_path.is_dir() and model_format(as_path) is not None):
        raise InputError(_models_first(value))
    if as_path.is_dir():
        raise InputError(
            f"--bins {value}: a folder, and no template set ({LAYOUTS}); name the bins in it, or "
            "give it as --data"
        )
    looked = ", ".join(str(folder) for folder in folders)
    available = available_bins(folders)
    if not available:
        there = "no bins are there. Name their folder with --data DIR"
    else:
        near = difflib.get_close_matches(value, available, n=1)
        there = f"did you mean {near[0]!r}? " if near else ""
        there += "there is: " + ", ".join(available)
    raise InputError(f"no bin {value!r}: looked for a file of that path and in {looked}; {there}")


def _models_first(value: str) -> str:
    return (
        f"--bins {value}: this is a model, and --bins takes every value up to the next option; "
        f"put models first: zoo eval {value} --bins ..."
    )
