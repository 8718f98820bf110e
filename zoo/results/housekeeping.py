"""The folder of results as files: listed, shown, removed, renamed, and several made one."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from evaluator.errors import InputError, ResultError, unknown_name
from evaluator.files import natural
from evaluator.results.choice import results_meant, stored_model_names
from evaluator.results.cost import read_costs, save_costs
from evaluator.results.measured import model_folder
from evaluator.results.names import bin_named, in_few_lines, meant, overwritten
from evaluator.results.store import load_result, load_scores, own_scores, save_result
from evaluator.results.stored import Stored, is_there, read_store
from zoo.terminal.blocks import Block
from zoo.terminal.words import warn

# What `evaluator.results.set_result.embeddings_of` names, and how many of its rows are there.
_EMBEDDINGS = re.compile(r"\.embeddings\.(npy|rows)$")


@dataclass(frozen=True)
class Merged:
    """What became of the results of other folders: ``added``, ``newer`` than what was there, and
    ``kept`` where what was there is the same or newer; ``failed`` is a line for each that could not
    be read.
    """

    added: int
    newer: int
    kept: int
    failed: tuple[str, ...]


def stored_of(folders: Sequence[Path], values: Sequence[str]) -> list[Stored]:
    """The results of the models that values mean (names, patterns, beginnings of hashes), outdated
    ones too; of all where there are none. What is damaged is said on stderr.

    Raises InputError for a value that means none, and where there is no folder.
    """
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"--results {folder}: there is no such folder")
    stores = [results_meant(folders, each) for each in values] or [read_store(*folders)]
    for value, store in zip(values, stores, strict=False):
        if store.is_empty and not store.damaged:
            known = unknown_name(value, stored_model_names(folders))
            where = ", ".join(map(str, folders))
            raise InputError(f"no stored model {value!r} in {where}; {known}")
    for line in dict.fromkeys(line for store in stores for line in store.damaged):
        warn(f"passed over: {line}")
    every = {each.path: each for store in stores for each in (*store.results, *store.outdated)}
    return [every[path] for path in sorted(every, key=lambda path: natural(str(path)))]


def on_bins(stored: Sequence[Stored], values: Sequence[str]) -> list[Stored]:
    """Those on the bins that values mean, as every reader of the store takes them; all without."""
    known = [bin_named(each.result.bin) for each in stored]
    wanted = {each.digest for value in values for each in meant(value, known)}
    return [each for each in stored if not values or each.result.bin.sha256 in wanted]


def list_block(folders: Sequence[Path], stored: Sequence[Stored]) -> Block:
    """A row a model: how many bins, when it was measured last, and whether its file is there, or
    ``older`` than what is there.
    """
    models: dict[tuple[str, str], list[Stored]] = {}
    for each in stored:
        models.setdefault((each.result.model.name, each.result.model.identity), []).append(each)
    rows, older = [], overwritten(stored)
    for (name, identity), own in models.items():
        newest = max(own, key=lambda each: each.result.created).result
        bins = {each.result.bin.sha256 for each in own}
        there = "here" if is_there(Path(newest.model.path)) else "gone"
        there = "older" if (name, identity) in older else there
        counts = (str(len(bins)), str(len(own)), _when(newest.created))
        rows.append((name, identity[:8], newest.model.format, there, *counts))
    header = ("model", "SHA-256", "format", "file", "bins", "results", "newest")
    notes = in_few_lines(older) if rows else ("no results",)
    return Block(", ".join(map(str, folders)), header, tuple(rows), notes, words=4)


def show_block(stored: Sequence[Stored]) -> Block:
    """A row a result: its settings, when it was measured, and its file."""
    rows = []
    for each in stored:
        result, settings = each.result, each.result.settings
        said = [result.model.input.get("range"), settings.flip, settings.precision, settings.nan]
        usual = ("none", "float32", "fail", None)
        words = " ".join(str(one) for one in said if one not in usual)
        accuracy = (result.figures or {}).get("accuracy")
        best = "-" if accuracy is None else f"{100 * accuracy:.2f}"
        names = (result.model.name, result.bin.name, words, each.path.name)
        rows.append((*names, best, _when(result.created)))
    header = ("model", "bin", "settings", "file", "best", "measured")
    return Block(counted(len(rows)), header, tuple(rows), words=4)


def counted(count: int) -> str:
    """So many results, in words."""
    return "1 result" if count == 1 else f"{count:,} results"


def _when(created: str) -> str:
    return created[:16].replace("T", " ")


def remove(stored: Sequence[Stored]) -> None:
    """Removes results and their scores, and with a model's last result its costs and embeddings;
    what is not of the store stays. Raises OSError.
    """
    for each in stored:
        each.path.unlink(missing_ok=True)
        for scores in each.path.parent.glob("*.h5"):
            if own_scores(each.path).fullmatch(scores.name):
                scores.unlink(missing_ok=True)
    for folder in {each.path.parent for each in stored}:
        if not any(folder.glob("*.json")):
            for left in folder.iterdir():
                if left.name == "costs.jsonl" or _EMBEDDINGS.search(left.name):
                    left.unlink(missing_ok=True)
            with suppress(OSError):  # something of another's is there
                folder.rmdir()


def rename(folder: Path, stored: Sequence[Stored], name: str) -> None:
    """Gives one model's results another name; its costs and embeddings go along.

    Raises InputError where they are of several models, or the name is another model's, OSError.
    """
    models = {(each.result.model.name, each.result.model.identity) for each in stored}
    if len(models) > 1:
        several = ", ".join(f"{one} ({identity[:8]})" for one, identity in sorted(models))
        raise InputError(f"expected one model to rename, found {several}; give a hash")
    [(_, identity)] = models
    taken = {
        each.result.model.identity
        for each in read_store(folder).results
        if each.result.model.name == name
    }
    if taken - {identity}:
        raise InputError(f"{name}: another stored model has that name ({min(taken)[:8]})")
    target = model_folder(folder, (name, identity))
    for each in stored:
        scores = load_scores(each.path, each.result) if each.result.scores else None
        model = replace(each.result.model, name=name)
        save_result(target / each.path.name, replace(each.result, model=model), scores)
    before = {each.path.parent for each in stored} - {target}
    for each in stored:
        if each.path.parent != target:
            each.path.unlink(missing_ok=True)
    for old in before:
        for left in old.iterdir():
            if left.suffix == ".h5" and left.name.count(".") > 1:
                left.unlink(missing_ok=True)  # scores, which are stored anew
            elif left.name == "costs.jsonl":
                costs = [replace(each, name=name) for each in read_costs(left)[0]]
                if costs:
                    save_costs(folder, costs)
                left.unlink()
            else:
                os.replace(left, target / left.name)  # noqa: PTH105 - over what is there
        with suppress(OSError):
            old.rmdir()


def merge(folders: Sequence[Path], target: Path) -> Merged:
    """Brings the results of folders into one; of two of the same model, bin and settings the newer
    stands. Facts of bins (people, images) and costs come along. Raises InputError, OSError.
    """
    added = newer = kept = 0
    failed = []
    for folder in folders:
        for each in stored_of([folder], ()):
            path = target / each.path.relative_to(folder)
            there = measured_at(path)
            if there is not None and there >= each.result.created:
                kept += 1
                continue
            try:
                scores = load_scores(each.path, each.result) if each.result.scores else None
            except InputError as error:
                failed.append(str(error))
                continue
            save_result(path, each.result, scores)
            added, newer = added + (there is None), newer + (there is not None)
        _merge_costs(folder, target)
    return Merged(added, newer, kept, tuple(failed))


def measured_at(path: Path) -> str | None:
    """When the result of that path was measured; None where there is none that can be read."""
    try:
        return load_result(path).created
    except (FileNotFoundError, ResultError):
        return None


def _merge_costs(folder: Path, target: Path) -> None:
    for path in folder.glob("*/costs.jsonl"):
        there = {each.key: each for each in read_costs(target / path.parent.name / path.name)[0]}
        costs, problems = read_costs(path)
        for line in problems:
            warn(f"passed over: {line}")
        new = [
            each
            for each in costs
            if each.key not in there or there[each.key].measured < each.measured
        ]
        if new:
            save_costs(target, new)
