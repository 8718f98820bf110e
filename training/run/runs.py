"""The folder of a run: an entry of the zoo with its recipe as run, log, checkpoints and model."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from evaluator.errors import InputError, cause_of
from evaluator.files import TEMPORARY, file_sha256, read_bounded, remove_leftovers, write_whole
from evaluator.metrics.standing import LOGGED
from training.data.convert.staging import held_folder
from training.data.sources.faces import FaceSet
from training.recipes.parts import Recipe, fail_in
from training.recipes.recipe import parse_recipe, to_plain

# Columns of a log that say where a row is, and what was measured there.
COUNTS = ("stage", "epoch", "step")
LOG_COLUMNS = (
    *COUNTS,
    "learning_rate",
    "loss",
    "accuracy",
    "val_loss",
    "val_accuracy",
    "images_per_second",
    "seconds",
)


# What a start that was killed leaves: the entry is written last, and without it there is no run.
_BEFORE_THE_ENTRY = {"checkpoints", "data.json"}

# Temporary names of everything that is written to a run's folder and renamed; then those that
# earlier versions gave.
_LEFTOVER = re.compile(
    rf"{TEMPORARY.pattern}|\.\d+\.[\w.]+|\.(last|best)\.npz\.([a-z0-9_]{{8}}|\d+)"
    r"|(data\.json|models\.yaml)\.partial"
)

# A log has 200 bytes an epoch and 60 more a bin; the record of a run's data has 200.
_LARGEST_LOG = 4_000_000
_MOST_CELLS = 1_000_000
_LARGEST_RECORD = 1_000_000
_LARGEST_ENTRY = 1_000_000


class RunError(InputError):
    """A run's folder cannot be used; the message names it."""


@dataclass(frozen=True)
class KeptEpoch:
    """A place whose models were kept: the end of an epoch, from 1, or a step within one."""

    epoch: int
    step: int | None = None

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"epoch-{self.epoch:04d}" + (f"-step-{self.step:08d}" if self.step else "")

    @classmethod
    def of(cls, name: str) -> KeptEpoch | None:
        """The place whose embedding model has that file name; None for another file's."""
        found = _KEPT.fullmatch(name)
        if found is None:
            return None
        epoch, step = found.groups()
        return cls(int(epoch), int(step) if step else None)


_KEPT = re.compile(r"epoch-(\d{1,9})(?:-step-(\d{1,12}))?\.keras")


class _Below:
    """A path below a run's folder."""

    def __init__(self, *parts: str) -> None:
        self.parts = parts

    def __get__(self, run: RunFolder, _: type[RunFolder]) -> Path:
        return run.path.joinpath(*self.parts)


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    ``entry`` has this run alone, with its recipe as run; ``data`` what it was trained on: source,
    counts, fingerprint; ``log`` a row an epoch, which ``curves`` draws; ``verification`` a JSON
    line for each bin and evaluation during training, with every figure; ``skipped`` a line for
    each image that could not be read. ``last`` is every variable at the last checkpoint, which
    --resume goes on from, ``best`` the same where verification was best. ``model`` is the embedding
    model alone, ``kept`` that of a place that the recipe keeps, ``results`` its evaluations as
    `zoo eval` stores them, ``centers`` those of center loss at the end, (people, features) float32.
    """

    path: Path

    entry = _Below("models.yaml")
    data = _Below("data.json")
    log = _Below("log.csv")
    verification = _Below("verification.jsonl")
    curves = _Below("curves.svg")
    skipped = _Below("skipped.txt")
    last = _Below("checkpoints", "last.npz")
    best = _Below("checkpoints", "best.npz")
    model = _Below("basic_model.keras")
    centers = _Below("centers.npy")
    results = _Below("results")

    def exported_from(self, recipe: Recipe) -> Path:
        """The checkpoint whose embedding model is exported at the end."""
        return self.best if recipe.export == "best" and self.best.exists() else self.last

    def kept(self, place: KeptEpoch, *, whole: bool = False) -> Path:
        """The embedding model that was kept of a place, or the whole model."""
        return self.last.with_name(f"{place.name}{'-whole' if whole else ''}.keras")

    def all_kept(self) -> list[KeptEpoch]:
        """The places of which embedding models were kept, in the order of training."""
        names = (path.name for path in self.last.parent.glob("epoch-*.keras"))
        places = [place for name in names if (place := KeptEpoch.of(name))]
        # A step within an epoch comes before the epoch's end.
        return sorted(places, key=lambda each: (each.epoch, each.step or math.inf))


@dataclass(frozen=True)
class RunEntry:
    """What a run's own entry says besides its recipe; ``base`` is the entry it was made from."""

    name: str
    base: str
    source: str
    notes: str


def check_new_run(path: Path) -> None:
    """Raises RunError if there is something at ``path`` that a new run would overwrite."""
    names = {each.name for each in path.iterdir()} if path.is_dir() else set()
    if any(not _LEFTOVER.fullmatch(name) for name in names - _BEFORE_THE_ENTRY):
        hint = "go on with --resume" if (path / "models.yaml").is_file() else "it is no run"
        raise RunError(f"{path}: the folder is not empty; {hint}, or name another with --run")
    if path.exists() and not path.is_dir():
        raise RunError(f"{path}: expected a folder or nothing, found a file; name another --run")


def create_run(path: Path, entry: RunEntry, recipe: Recipe, faces: FaceSet) -> RunFolder:
    """A new run's folder with its recipe and what it is trained on. Raises RunError, OSError."""
    check_new_run(path)
    run = RunFolder(path)
    run.last.parent.mkdir(parents=True, exist_ok=True)
    write_whole(run.data, json.dumps(data_record(faces, recipe), indent=2) + "\n")
    write_entry(run, entry, recipe)
    return run


def data_record(faces: FaceSet, recipe: Recipe) -> dict[str, Any]:
    """What a run was trained on."""
    return {
        "source": str(faces.source),
        "images": len(faces),
        "people": len(faces.names),
        "names": names_sha256(faces),
        "fingerprint": faces.fingerprint,
        "validation": recipe.data.validation,
        "seed": recipe.data.seed,
    }


def names_sha256(faces: FaceSet) -> str:
    """Tells who the people of a training are, and in which order."""
    return hashlib.sha256("\n".join(faces.names).encode("utf-8", "surrogatepass")).hexdigest()


def check_resumable(run: RunFolder, recipe: Recipe, faces: FaceSet, stored: Recipe) -> None:
    """Raises RunError unless the run was started with this recipe on this data."""
    if recipe != stored:
        before, now = flat(to_plain(stored)), flat(to_plain(recipe))
        key = next(key for key in {**before, **now} if before.get(key) != now.get(key))
        raise RunError(
            f"{run.path}: was started with {key} = {before.get(key)}, not {now.get(key)}; "
            "--resume goes on with the same recipe: leave --set as it was, or start another run"
        )
    if read_data_record(run)["fingerprint"] != faces.fingerprint:
        raise RunError(
            f"{run.path}: was started on other images or people than {faces.source} has now; "
            "give the same --data, or start another run"
        )


def model_sha256(run: RunFolder) -> str | None:
    """The hash of a run's embedding model; None where there is none yet."""
    return file_sha256(run.model) if run.model.is_file() else None


def write_entry(run: RunFolder, entry: RunEntry, recipe: Recipe) -> None:
    """Writes models.yaml, with the model's hash as soon as there is a model."""
    height, width = recipe.preprocess.size
    given = {"profile": recipe.preprocess.profile, "size": [height, width]}
    if recipe.preprocess.channels != "gray":
        given["channels"] = recipe.preprocess.channels
    sha256 = model_sha256(run)
    content = {
        "file": run.model.name,
        **({"sha256": sha256} if sha256 else {}),
        "input": given,
        "embedding_size": recipe.model.embedding_size,
        "source": entry.source,
        **({"notes": entry.notes} if entry.notes else {}),
        "recipe": to_plain(recipe),
    }
    text = yaml.safe_dump({"models": {entry.name: content}}, sort_keys=False, width=100)
    write_whole(
        run.entry, f"# A run of the recipe of {entry.base!r}. See docs/training.md.\n{text}"
    )


def read_entry(run: RunFolder) -> tuple[RunEntry, Recipe]:
    """What `write_entry` has written, but for the entry it was made from. Raises RunError for a
    file of another content, RecipeError for a recipe that cannot be used, OSError.
    """
    name, content = only_entry(run.entry)
    recipe = parse_recipe(content["recipe"], fail_in(str(run.entry), "recipe"))
    said = {key: str(content.get(key, "")) for key in ("source", "notes")}
    return RunEntry(name=name, base=name, **said), recipe


def only_entry(path: Path) -> tuple[str, dict[str, Any]]:
    """Name and plain data of the one entry of a models.yaml, which has a recipe. Raises RunError,
    OSError.
    """
    try:
        # Without libyaml, which nests on the machine's own stack.
        content = yaml.safe_load(read_bounded(path, _LARGEST_ENTRY))["models"]
        [(name, entry)] = content.items()
        recipe = entry["recipe"]
    except (yaml.YAMLError, AttributeError, LookupError, TypeError, ValueError, RecursionError):
        raise RunError(f"{path}: expected the one entry of a run, with its recipe") from None
    if "preprocess" not in recipe and "input" in entry:
        recipe = {**recipe, "preprocess": entry["input"]}
    return str(name), {**entry, "recipe": recipe}


def locked(run: RunFolder) -> AbstractContextManager[None]:
    """The run for this process alone; a kill frees it. Raises RunError if another has it."""
    taken = RunError(f"{run.path}: another process is training it; wait, or stop that")
    return held_folder(run.path, taken)


def clear_leftovers(run: RunFolder) -> None:
    """Removes temporary files of killed processes; only for the process that has the run locked."""
    for folder in (run.path, run.last.parent):
        remove_leftovers(folder, _LEFTOVER, now=math.inf)


def append_row(run: RunFolder, row: Mapping[str, Any], bins: Sequence[str]) -> None:
    """Adds an epoch to the log, with its header before the first one."""
    columns = [*LOG_COLUMNS, *(f"{name}_{figure}" for name in bins for figure in LOGGED)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    if not run.log.exists() or not run.log.stat().st_size:
        writer.writeheader()
    writer.writerow({key: _cell(value) for key, value in row.items()})
    with run.log.open("a", encoding="utf-8", newline="") as file:
        file.write(text.getvalue())


def read_log(run: RunFolder) -> list[dict[str, str]]:
    """The log's rows, "" for what an epoch has no figure of. Raises RunError, or OSError, for a
    file of another content.
    """
    try:
        text = read_bounded(run.log, _LARGEST_LOG).decode("utf-8")
        header, *rows = list(csv.reader(io.StringIO(text, newline=""))) or [[]]
    except FileNotFoundError:
        return []
    except (UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"{run.log}: not the log of a run ({cause_of(error)}); restore it") from None
    rows = [row for row in rows if row]
    if len(header) * len(rows) > _MOST_CELLS or any(len(row) > len(header) for row in rows):
        raise RunError(f"{run.log}: not the log of a run (rows do not fit its header); restore it")
    # A row that a kill cut off is shorter.
    return [{**dict.fromkeys(header, ""), **dict(zip(header, row, strict=False))} for row in rows]


def read_data_record(run: RunFolder) -> dict[str, Any]:
    """What ``data_record`` has stored. Raises RunError for a file of another content, OSError."""
    try:
        record = json.loads(read_bounded(run.data, _LARGEST_RECORD))
    except (ValueError, RecursionError):
        record = None
    named = isinstance(record, dict) and all(
        isinstance(record.get(key), str) for key in ("source", "fingerprint")
    )
    if not named:
        raise RunError(f"{run.data}: not the record of a run's data; restore it")
    return dict(record)


def append_lines(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Adds JSON lines to a file."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def size_of(path: Path) -> int:
    """The file's bytes, 0 if it is not there."""
    return path.stat().st_size if path.exists() else 0


def cut_to(path: Path, size: int) -> None:
    """Takes away what a killed run has appended after its last checkpoint."""
    if size_of(path) > size:
        os.truncate(path, size)


def _cell(value: Any) -> Any:
    return "" if value is None else f"{value:.7g}" if isinstance(value, float) else value


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Plain recipe data as {"stages.0.epochs": 5}."""
    if not isinstance(value, Mapping | list):
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, each in value.items() if isinstance(value, Mapping) else enumerate(value):
        found |= flat(each, f"{prefix}.{key}" if prefix else str(key))
    return found
