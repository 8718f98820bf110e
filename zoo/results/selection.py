"""From models as the user names them to their stored results, measuring what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evaluator.errors import InputError, ModelError, check_choice
from evaluator.images.inputs import CHANNELS, PROFILES
from evaluator.results.record import BinRecord, reading_problem
from evaluator.results.store import load_result
from evaluator.results.stored import (
    UNKNOWN,
    Store,
    Stored,
    Variant,
    file_sha256,
    is_hash_prefix,
    is_there,
    latest,
    outdated_line,
    read_folder,
    results_hashed,
    results_named,
    results_of_file,
    stored_model_names,
    variant_of,
)
from zoo.entries.lookup import (
    RUN_ENTRY,
    ModelChoice,
    bin_folders,
    every_bin,
    resolve_bins,
    resolve_models,
)
from zoo.entries.registry import Entry, unknown_name
from zoo.terminal.words import warn


@dataclass(frozen=True)
class Selection:
    """What the options of a command say about models and bins. None leaves a setting open: the
    one that is stored, or the default where a model must be measured.
    """

    results: Path
    bins: tuple[str, ...] = ()
    data: tuple[Path, ...] = ()
    flip: str | None = None
    decoder: str | None = None
    precision: str | None = None
    engine: str | None = None
    profile: str | None = None
    channels: str | None = None
    trust: bool = False

    def __post_init__(self) -> None:
        """Refuses values that no option takes, with InputError."""
        for option, value, choices in (
            ("--flip", self.flip, ("none", "sum")),
            ("--decoder", self.decoder, ("accurate", "fast")),
            ("--precision", self.precision, ("float32", "bfloat16")),
            ("--engine", self.engine, ("native", "openvino")),
            ("--input", self.profile, tuple(PROFILES)),
            ("--channels", self.channels, CHANNELS),
        ):
            if value is not None:
                check_choice(option, value, choices)


@dataclass(frozen=True)
class Chosen:
    """A model as it was asked for: ``results`` are its stored ones, by the bin's SHA-256.

    ``identity`` is its record's. ``choice`` is its file, where it was named by path or entry and so
    can be measured; ``stored_bins`` names all bins it is stored on, asked for or not.
    """

    asked: str
    name: str
    identity: str
    variant: Variant | None
    results: Mapping[str, Stored]
    choice: ModelChoice | None = None
    stored_bins: tuple[str, ...] = ()


def choose_models(
    values: Sequence[str], selection: Selection, entries: Mapping[str, Entry]
) -> list[Chosen]:
    """The models asked for with their results, in order; what is missing is measured and stored.

    A value is a stored result's JSON or its folder, an entry, a model file, a run's folder, a
    stored name, or the beginning of a hash. Only entries, model files and runs are measured: on
    the bins of ``selection.bins``, or else on those that the other models have results on, or else
    on every bin found. Raises InputError for what is not known or not one model with one variant.
    """
    found = [_find(value, selection, entries) for value in values]
    wanted = {
        sha256: stored.result.bin for each in found for sha256, stored in each.results.items()
    }
    chosen = [_completed(each, wanted, selection, entries) for each in found]
    for value in selection.bins:
        if not any(_names_bin(value, record) for each in chosen for record in _records(each)):
            there = dict.fromkeys(name for each in chosen for name in each.stored_bins)
            raise InputError(
                f"--bins {value}: no result on it is stored for {', '.join(values)}; "
                f"{unknown_name(value, there)}"
            )
    for each in chosen:
        if not each.results:
            asked = f" on {', '.join(selection.bins)}" if selection.bins else ""
            stored = ", ".join(each.stored_bins)
            raise InputError(
                f"{each.asked}: no stored result{asked} in {selection.results}"
                + (f", only on {stored}" if stored else "")
                + "; name the model's file or entry to measure it"
            )
    return chosen


def _records(chosen: Chosen) -> list[BinRecord]:
    return [stored.result.bin for stored in chosen.results.values()]


def _find(value: str, selection: Selection, entries: Mapping[str, Entry]) -> Chosen:
    path = Path(value)
    if path.suffix == ".json" and path.is_file():
        stored = Stored(path, load_result(path))
        if reading_problem(stored.result) is not None:
            raise InputError(f"{path}: {outdated_line(stored)}")
        return _one_variant(value, [stored], selection)
    if _can_be_measured(value, entries):
        return _find_file(value, selection, entries)
    if path.is_dir() and any(path.glob("*.json")):
        return _one_variant(value, _usable(value, read_folder(path)), selection)
    store = results_named(selection.results, value)
    if store.is_empty and is_hash_prefix(value):
        hashed = results_hashed(selection.results, value)
        of_file = results_of_file(selection.results, value) if hashed.is_empty else hashed
        found = (each for each in (hashed, of_file) if not each.is_empty)
        store = next(found, hashed if hashed.damaged else store)
    if store.is_empty and not store.damaged:
        known = dict.fromkeys([*stored_model_names(selection.results), *entries])
        raise InputError(
            f"no model {value!r}: no path, no entry of models.yaml with its weights here, and no "
            f"name or hash in {selection.results}; {unknown_name(value, known)}"
        )
    return _one_variant(value, _usable(value, store), selection)


def _usable(value: str, store: Store) -> Sequence[Stored]:
    """The results of a model that stand; the others are named in a line each.

    Raises InputError where none stands.
    """
    if not store.results:
        # No empty store comes here.
        raise InputError(f"{value}: none of its stored results can be used; {store.remarks[0]}")
    for line in store.remarks:
        warn(f"passed over: {line}")
    return store.results


def _can_be_measured(value: str, entries: Mapping[str, Entry]) -> bool:
    from evaluator.models.formats import model_format

    path = Path(value)
    if value in entries and entries[value].file.exists():
        return True
    if (path / RUN_ENTRY).is_file():
        return True
    return path.is_file() or (path.is_dir() and model_format(path) is not None)


def _find_file(value: str, selection: Selection, entries: Mapping[str, Entry]) -> Chosen:
    from evaluator.models.identity import model_identity

    (choice,) = resolve_models([value], entries)
    identity = model_identity(choice.path).digest
    store = results_hashed(selection.results, identity)
    stored = store.results
    # A copy of the model may be stored under another name.
    stored = store.where(lambda result: result.model.name == choice.name).results or stored
    if not _matching(stored, selection):
        return Chosen(value, choice.name, identity, None, {}, choice)
    return replace(_one_variant(value, stored, selection), name=choice.name, choice=choice)


def _one_variant(value: str, stored: Sequence[Stored], selection: Selection) -> Chosen:
    """The results as those of one model and variant, on the bins asked for."""
    models = {each.result.model.identity: each.result.model for each in stored}
    if len(models) > 1:
        which = ", ".join(f"{model.name} {identity[:8]}" for identity, model in models.items())
        raise InputError(f"{value}: {len(models)} stored models: {which}; give one by its hash")
    matching = _matching(stored, selection)
    if not matching:
        there = "; ".join(dict.fromkeys(_variant_words(each) for each in stored))
        raise InputError(f"{value}: no result is stored with these settings; there is: {there}")
    of_bins = [each for each in matching if _is_wanted(each.result.bin, selection.bins)]
    variants = {variant_of(each.result): each for each in of_bins or matching}
    if len(variants) > 1:
        there = "; ".join(_variant_words(each) for each in variants.values())
        raise InputError(
            f"{value}: stored with {len(variants)} settings: {there}; pick one with --flip, "
            "--input, --channels, --precision, --engine or --decoder, or name the result's JSON"
        )
    model = matching[0].result.model
    names = dict.fromkeys(each.result.bin.name for each in matching)
    variant = next(iter(variants))
    return Chosen(
        value, model.name, model.identity, variant, latest(of_bins), stored_bins=tuple(names)
    )


def _variant_words(stored: Stored) -> str:
    return variant_of(stored.result).words() or "the default settings"


def _matching(stored: Sequence[Stored], selection: Selection) -> list[Stored]:
    """The results whose settings are those that the options name."""
    wanted = {
        "flip": selection.flip,
        "decoder": selection.decoder,
        "precision": selection.precision,
        "engine": selection.engine,
        "range": selection.profile,
        "channels": selection.channels,
    }
    return [
        each
        for each in stored
        if all(
            # What was made elsewhere has no settings known that an option could pick.
            value is None or getattr(variant_of(each.result), key) in (value, UNKNOWN)
            for key, value in wanted.items()
        )
    ]


def _is_wanted(record: BinRecord, bins: Sequence[str]) -> bool:
    return not bins or any(_names_bin(value, record) for value in bins)


def _names_bin(value: str, record: BinRecord) -> bool:
    """Whether a value of --bins means that bin: by file, by name, or by the start of its hash."""
    path = Path(value)
    if path.is_file():
        return file_sha256(path) == record.sha256
    return value == record.name or (is_hash_prefix(value) and record.sha256.startswith(value))


def _completed(
    chosen: Chosen,
    wanted: Mapping[str, BinRecord],
    selection: Selection,
    entries: Mapping[str, Entry],
) -> Chosen:
    """The model with results on the wanted bins too, measured if its file is known."""
    if chosen.choice is None:
        return chosen
    missing = _missing_bins(chosen, wanted, selection, entries)
    if not missing:
        return chosen
    _measure(chosen.choice, missing, chosen.variant, selection)
    return _find_file(chosen.asked, selection, entries)


def _missing_bins(
    chosen: Chosen,
    wanted: Mapping[str, BinRecord],
    selection: Selection,
    entries: Mapping[str, Entry],
) -> list[Path]:
    folders = bin_folders(list(selection.data))
    if selection.bins:
        values = [
            v for v in selection.bins if not any(_names_bin(v, each) for each in _records(chosen))
        ]
        return resolve_bins(values, folders, entries)
    if not wanted:
        return every_bin(folders)
    return [
        Path(record.path)
        for sha256, record in wanted.items()
        if sha256 not in chosen.results
        and is_there(Path(record.path))
        and file_sha256(Path(record.path)) == sha256
    ]


def _measure(
    choice: ModelChoice, bins: list[Path], variant: Variant | None, selection: Selection
) -> None:
    from zoo.evaluate.evaluation import run_request
    from zoo.evaluate.request import Request

    given = Request(models=[choice], bins=bins, results=selection.results, trust=selection.trust)
    if variant is None:
        request = replace(
            given,
            flip=selection.flip or given.flip,
            decoder=selection.decoder or given.decoder,
            precision=selection.precision or given.precision,
            engine=selection.engine or given.engine,
            profile=selection.profile,
            channels=selection.channels,
        )
    else:
        # As the results that are stored already, so that all of a model's are of one kind.
        request = replace(
            given,
            flip=variant.flip,
            decoder=variant.decoder,
            precision=variant.precision,
            engine=variant.engine,
            profile=variant.range,
            channels=None if variant.channels == "gray" else variant.channels,
        )
    _, failures = run_request(request)
    if failures:
        raise ModelError(failures[0])
