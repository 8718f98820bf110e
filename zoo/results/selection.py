"""From models as the user names them to their stored results, measuring what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from evaluator.errors import InputError, ModelError, unknown_name
from evaluator.files import natural
from evaluator.results.choice import (
    Contestant,
    Variant,
    Wanted,
    contestants,
    current,
    labelled,
    latest,
    results_meant,
    stored_model_names,
    variant_of,
)
from evaluator.results.located import located
from evaluator.results.names import bin_named, is_hash_prefix, is_pattern, meant
from evaluator.results.record import BinRecord, reading_problem
from evaluator.results.store import load_result
from evaluator.results.stored import (
    Store,
    Stored,
    outdated_line,
    read_folder,
    results_hashed,
)
from zoo.entries.lookup import (
    RUN_ENTRY,
    ModelChoice,
    bin_folders,
    every_bin,
    looks_like_path,
    models_matching,
    near_path,
    resolve_bins,
    resolve_model,
)
from zoo.entries.registry import Entry, read_registry, registry_path
from zoo.terminal.options import Asked, listed, stores
from zoo.terminal.words import warn


@dataclass(frozen=True, kw_only=True)
class Selection(Wanted):
    """What the options of a command say about models and bins. A setting that is None is the one
    that is stored, or the default where a model must be measured.
    """

    results: tuple[Path, ...]
    bins: tuple[str, ...] = ()
    data: tuple[Path, ...] = ()
    trust: bool = False

    @property
    def where(self) -> str:
        """The folders of results, in words; what is measured is stored in the first."""
        return ", ".join(map(str, self.results))


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


def model_asked(value: str, asked: Asked) -> Chosen:
    """`models_asked` of a value that must mean one."""
    found = models_asked([value], asked)
    if len(found) > 1:
        stored = [one for each in found for one in each.results.values()]
        raise InputError(_several(value, stored))
    return found[0]


def models_asked(values: Sequence[str], asked: Asked) -> list[Chosen]:
    """The models asked for with their results, in order; what is missing is measured and stored.

    A value is a stored result's JSON or its folder, an entry, a model file, a run's folder, a
    stored name, a pattern of names (all that match and are not there yet), or the beginning of a
    hash. Only entries, model files and runs are measured: on the bins of ``asked.bins``, or
    else on those that the other models have results on, or else on every bin found. Raises
    InputError for what is not known or not one model with one variant.
    """
    said = dict(vars(asked))
    entries = read_registry(registry_path(said.pop("registry")))
    said |= {"profile": said.pop("input"), "results": stores(asked.results)}
    said |= {"bins": tuple(listed(asked.bins)), "data": tuple(asked.data or ())}
    selection = Selection(**said)
    found: list[Chosen] = []
    for value in values:
        there = {(each.identity, each.variant) for each in found} if is_pattern(value) else set()
        for each in _find(value, selection, entries):
            found += [] if (each.identity, each.variant) in there else [each]
    wanted = {
        sha256: stored.result.bin for each in found for sha256, stored in each.results.items()
    }
    chosen = [_completed(each, wanted, selection, entries) for each in found]
    records = [record for each in chosen for record in _records(each)]
    for value in selection.bins:
        if not _meant_bins([value], records):
            names = [name for each in chosen for name in each.stored_bins]
            raise InputError(
                f"--bins {value}: no result on it is stored for {', '.join(values)}; "
                f"{unknown_name(value, names)}"
            )
    for each in chosen:
        if not each.results:
            on = f" on {', '.join(selection.bins)}" if selection.bins else ""
            stored = ", ".join(each.stored_bins)
            raise InputError(
                f"{each.asked}: no stored result{on} in {selection.where}"
                + (f", only on {stored}" if stored else "")
                + "; name the model's file or entry to measure it"
            )
    return chosen


def contestants_of(chosen: Sequence[Chosen]) -> list[Contestant]:
    """Models that have results, each as those who compare take it; without labels."""
    return [
        Contestant(
            each.name,
            each.identity,
            variant_of(next(iter(each.results.values())).result),
            each.results,
        )
        for each in chosen
    ]


def _records(chosen: Chosen) -> list[BinRecord]:
    return [stored.result.bin for stored in chosen.results.values()]


def _meant_bins(values: Sequence[str], records: Iterable[BinRecord]) -> set[str]:
    """SHA-256 of those of the bins that the values of --bins mean."""
    known = [bin_named(each) for each in records]
    return {each.digest for value in values for each in meant(value, known)}


def _find(value: str, selection: Selection, entries: Mapping[str, Entry]) -> list[Chosen]:
    path = Path(value)
    if is_pattern(value) and (files := models_matching(value, {})):
        return [_find_file(each, selection, {}) for each in files]
    if path.suffix == ".json" and path.is_file():
        stored = Stored(path, load_result(path))
        if reading_problem(stored.result) is not None:
            raise InputError(f"{path}: {outdated_line(stored)}")
        return [_one_variant(value, [stored], selection)]
    if _can_be_measured(value, entries):
        return [_find_file(value, selection, entries)]
    if path.is_dir() and any(path.glob("*.json")):
        return [_one_variant(value, _usable(value, read_folder(path)), selection)]
    store = results_meant(selection.results, value)
    if store.is_empty and not store.damaged:
        raise InputError(_not_there(value, selection, entries))
    usable = _usable(value, store)
    if not is_hash_prefix(value) or any(each.result.model.name == value for each in usable):
        of_name = current(usable)
        for line in of_name.older:
            warn(line)
        usable = of_name.results
    if not is_pattern(value) or any(each.result.model.name == value for each in usable):
        return [_one_variant(value, usable, selection)]
    by_model: dict[tuple[str, str], list[Stored]] = {}
    for each in usable:
        by_model.setdefault((each.result.model.name, each.result.model.identity), []).append(each)
    return [_one_variant(name, own, selection) for (name, _), own in by_model.items()]


def _not_there(value: str, selection: Selection, entries: Mapping[str, Entry]) -> str:
    """Why a value means no model, in the words of what it looks like."""
    if not any(folder.is_dir() for folder in selection.results):
        return (
            f"no model {value!r}: no such file, and there is no folder {selection.where}; "
            "zoo eval stores results, --results says where"
        )
    stored = stored_model_names(selection.results)
    if is_pattern(value):
        there = unknown_name(value, stored)
        return (
            f"no model {value!r}: the pattern matches no file, and no model stored in "
            f"{selection.where} (--results names other folders); {there}"
        )
    if looks_like_path(value):
        near = near_path(Path(value)) or unknown_name(value, stored)
        return (
            f"no model {value!r}: there is no such file, and none that was measured there is "
            f"stored in {selection.where}; {near}"
        )
    return (
        f"no model {value!r}: no path, no entry of models.yaml with its weights here, and no "
        f"name or hash in {selection.where} (--results names other folders); "
        + unknown_name(value, [*stored, *entries])
    )


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

    choice = resolve_model(value, entries)
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
    if len({each.result.model.identity for each in stored}) > 1:
        raise InputError(_several(value, stored))
    matching = _matching(stored, selection)
    if not matching:
        there = "; ".join(dict.fromkeys(_variant_words(each) for each in stored))
        raise InputError(f"{value}: no result is stored with these settings; there is: {there}")
    records = [each.result.bin for each in matching]
    wanted = _meant_bins(selection.bins, records) if selection.bins else None
    of_bins = [each for each in matching if wanted is None or each.result.bin.sha256 in wanted]
    variants = {variant_of(each.result): each for each in of_bins or matching}
    if len(variants) > 1:
        there = "; ".join(f"{_variant_words(each)} ({each.path})" for each in variants.values())
        differing = [
            "--" + ("input" if each.name == "range" else each.name.replace("_", "-"))
            for each in fields(Variant)
            if len({getattr(variant, each.name) for variant in variants}) > 1
        ]
        raise InputError(
            f"{value}: stored with {len(variants)} settings: {there}; pick one with "
            f"{' or '.join(differing)}, for all models, or name the JSON of the one"
        )
    model = matching[0].result.model
    names = dict.fromkeys(each.name for each in records)
    variant = next(iter(variants))
    return Chosen(
        value, model.name, model.identity, variant, latest(of_bins), stored_bins=tuple(names)
    )


def _several(value: str, stored: Sequence[Stored]) -> str:
    models = labelled(contestants(stored))
    named = sorted((f"{each.label} {each.identity[:8]}" for each in models), key=natural)
    return (
        f"{value}: {len(named)} stored models: {', '.join(dict.fromkeys(named))}; give one by its "
        "folder or hash"
    )


def _variant_words(stored: Stored) -> str:
    return variant_of(stored.result).words() or "the default settings"


def _matching(stored: Iterable[Stored], selection: Selection) -> list[Stored]:
    """The results whose settings are those that the options name."""
    return [each for each in stored if selection.admits(variant_of(each.result))]


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
        records = _records(chosen)
        values = [value for value in selection.bins if not _meant_bins([value], records)]
        return resolve_bins(values, folders, entries)
    if not wanted:
        return every_bin(folders)
    there = [
        located(record, folders)
        for sha256, record in wanted.items()
        if sha256 not in chosen.results
    ]
    return [path for path in there if path is not None]


def _measure(
    choice: ModelChoice, bins: list[Path], variant: Variant | None, selection: Selection
) -> None:
    from zoo.evaluate.evaluation import run_request
    from zoo.evaluate.request import Request

    given = Request(models=[choice], bins=bins, results=selection.results[0], trust=selection.trust)
    if variant is None:
        request = replace(
            given,
            flip=selection.flip or given.flip,
            decoder=selection.decoder or given.decoder,
            precision=selection.precision or given.precision,
            engine=selection.engine or given.engine,
            profile=selection.profile,
            channels=selection.channels,
            norm=selection.norm or given.norm,
            detector_score=selection.detector_score,
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
            norm=variant.norm,
            detector_score="no" if variant.detector_score == "no" else None,
        )
    _, failures = run_request(request)
    if failures:
        raise ModelError(failures[0])
