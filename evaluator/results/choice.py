"""Which stored results are asked for: models, bins and settings, and which result stands for each.

All who read a folder of results ask here, the commands and Python alike, so that a name, a pattern
or the beginning of a hash means the same to each of them. Nothing is measured.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evaluator.choices import DETECTOR_SCORE, NORM, check_settings
from evaluator.errors import InputError, unknown_name
from evaluator.files import natural
from evaluator.profiles import profile_text
from evaluator.results.names import (
    Named,
    Shown,
    bin_named,
    by_name,
    in_few_lines,
    is_at,
    is_hash_prefix,
    is_pattern,
    meant,
    model_labels,
    model_named,
    overwritten,
)
from evaluator.results.record import ModelRecord, Result
from evaluator.results.stored import (
    UNKNOWN,
    Store,
    Stored,
    file_sha256,
    is_there,
    read_store,
    results_hashed,
    results_named,
    results_of_file,
)

# Sets of bins looked at when choosing those to rank on; more would all be rare.
_MOST_BIN_SETS = 200


@dataclass(frozen=True)
class Picked:
    """The results that were asked for, and lines on models whose file was overwritten: those that a
    name does not mean any more, or that stand among the others where none was given.
    """

    results: list[Stored]
    older: tuple[str, ...] = ()


def picked(
    results: Sequence[Stored],
    *,
    models: Sequence[str] = (),
    bins: Sequence[str] = (),
    options: tuple[str, str] = ("--models", "--bins"),
) -> Picked:
    """The results of the models and bins that the values mean, in their order; all if none given.

    Of a file that was overwritten a name means the latest, a hash or a file whichever it is of.
    Raises InputError for a value that means none of them; ``options`` are what it is called.
    """
    if not models and not bins:
        return Picked(list(results), in_few_lines(overwritten(results)))
    of_models = _digests(models, {model_named(each.result.model) for each in results}, options[0])
    of_bins = _digests(bins, {bin_named(each.result.bin) for each in results}, options[1])
    found = [
        each
        for each in results
        if (not models or model_named(each.result.model)[:3] in of_models)
        and (not bins or bin_named(each.result.bin)[:3] in of_bins)
    ]
    hashed = [value for value in models if is_hash_prefix(value)]
    hashed += [file_sha256(Path(value)) for value in models if is_there(Path(value))]
    return current(found, but=hashed) if models else Picked(found, in_few_lines(overwritten(found)))


def current(results: Sequence[Stored], *, but: Sequence[str] = ()) -> Picked:
    """The results without those of overwritten files, ``but`` those whose digest begins so."""
    older = {
        key: line
        for key, line in overwritten(results).items()
        if not any(key[1].startswith(each.lower()) for each in but)
    }
    kept = [
        each
        for each in results
        if (each.result.model.name, each.result.model.identity) not in older
    ]
    return Picked(kept, in_few_lines(older))


def _digests(values: Sequence[str], known: set[Named], option: str) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for value in values:
        of_value = meant(value, known)
        if not of_value:
            near = unknown_name(value, sorted({each.name for each in known}, key=natural))
            if Path(value).exists():
                why = "nothing stored was measured of it (zoo eval does)"
            elif is_pattern(value):
                why = "nothing stored has a name like that"
            else:
                why = "nothing stored has that name or hash"
            raise InputError(f"{option} {value}: {why}; {near}")
        found.update(each[:3] for each in of_value)
    return found


def results_meant(folders: Sequence[Path], value: str) -> Store:
    """The stored results of all models that a value means, as `meant` has it, a file's path apart.

    Reads no more folders than can hold them: a store may have thousands.
    """
    named = results_named(folders, value)
    if not named.is_empty:
        return named
    if is_pattern(value):
        store = read_store(*folders)
        known = [model_named(each.result.model) for each in (*store.results, *store.outdated)]
        names = {each.name for each in by_name(value, known)}
        found = store.where(
            lambda result: result.model.name in names or is_at(result.model.path, value)
        )
        return named if found.is_empty else replace(found, unreadable=())
    if "/" in value:  # a path whose file's name, with its ending or without, names the model
        for name in (Path(value).stem, Path(value).name):
            found = results_named(folders, name).where(lambda each: is_at(each.model.path, value))
            if not found.is_empty:
                return found
    if not is_hash_prefix(value):
        return named
    hashed = results_hashed(folders, value.lower())
    if not hashed.is_empty:
        return hashed
    of_file = results_of_file(folders, value.lower())
    return of_file if not of_file.is_empty else hashed if hashed.damaged else named


def stored_model_names(folders: Sequence[Path]) -> list[str]:
    """Names of the models that have a folder in the stores, as the folders spell them; none in a
    store that is not there.
    """
    return _names_before_hashes(
        path for folder in folders for path in folder.glob("*") if path.is_dir()
    )


def stored_bin_names(folders: Sequence[Path]) -> list[str]:
    """Names of the bins that results are stored on, as the files spell them."""
    # The settings that are not the default stand behind the hash.
    return _names_before_hashes(path for folder in folders for path in folder.glob("*/*.json"))


def _names_before_hashes(paths: Iterable[Path]) -> list[str]:
    ordered = sorted(paths, key=lambda path: natural(path.name))
    found = (re.fullmatch(r"(.+)-[0-9a-f]{8}(\..*)?", path.name) for path in ordered)
    return list(dict.fromkeys(each[1] for each in found if each))


@dataclass(frozen=True)
class Variant:
    """What a model was measured with; two variants of one model are two rows of a table.

    ``norm`` and ``detector_score`` are the usual ones on bins, and where a set states no scores.
    """

    flip: str
    decoder: str
    precision: str
    range: str
    channels: str
    engine: str
    norm: str = NORM
    detector_score: str = DETECTOR_SCORE

    @property
    def json(self) -> dict[str, str]:
        """All of it, of template sets what is not usual."""
        usual = {"norm": NORM, "detector_score": DETECTOR_SCORE}
        return {key: value for key, value in vars(self).items() if usual.get(key) != value}

    def words(self) -> str:
        """What is not the default, as "flip sum, bfloat16"; "" where everything is."""
        if self.flip == UNKNOWN:
            return ""
        words = (
            (self.flip != "none", f"flip {self.flip}"),
            (self.range != "unit", f"input {self.range}"),
            (self.channels not in ("rgb", "gray"), self.channels),
            (self.decoder != "accurate", f"decoder {self.decoder}"),
            (self.precision != "float32", self.precision),
            (self.engine != "native", self.engine),
            (self.norm != NORM, f"norm {self.norm}"),
            (self.detector_score != DETECTOR_SCORE, "no detector score"),
        )
        return ", ".join(each for is_said, each in words if is_said)


def variant_of(result: Result) -> Variant:
    """The variant that a result is of."""
    settings, given = result.settings, result.model.input
    return Variant(
        flip=settings.flip,
        decoder=settings.decoder,
        precision=settings.precision,
        range=str(given.get("range", UNKNOWN)),
        channels=str(given.get("channels", UNKNOWN)),
        # Results from elsewhere state none.
        engine=UNKNOWN if settings.flip == UNKNOWN else settings.engine,
        norm=settings.norm or NORM,
        detector_score=settings.detector_score or DETECTOR_SCORE,
    )


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The settings that results are asked for with; None leaves one open. ``profile`` is the
    input's range.
    """

    flip: str | None = None
    decoder: str | None = None
    precision: str | None = None
    engine: str | None = None
    profile: str | None = None
    channels: str | None = None
    norm: str | None = None
    detector_score: str | None = None

    def check(self, before: str = "--") -> None:
        """Refuses values that no option takes, with InputError; ``before`` stands before names."""
        named = {"profile": "input", "detector_score": "detector-score"}
        given = {named.get(name, name): value for name, value in vars(self).items()}
        check_settings(before, **{name: each for name, each in given.items() if each is not None})

    def admits(self, variant: Variant) -> bool:
        """Whether these are its settings. What was made elsewhere has none that could differ."""
        asked = {**vars(self), "range": self.profile and profile_text(self.profile)}
        return all(
            asked[key] is None or value in (asked[key], UNKNOWN)
            for key, value in vars(variant).items()
        )


@dataclass(frozen=True, eq=False)
class Contestant:
    """A model with one variant of settings: a row of a table, a side of a duel.

    ``identity`` is its record's, ``results`` are its stored ones by the bin's SHA-256, one a bin;
    ``label`` tells it from the others that it is shown with.
    """

    name: str
    identity: str
    variant: Variant
    results: Mapping[str, Stored]
    label: str = ""

    @property
    def key(self) -> tuple[str, str, Variant]:
        """What tells it from all others."""
        return self.name, self.identity, self.variant

    @property
    def record(self) -> ModelRecord:
        """The model, as the first of its results states it."""
        return next(iter(self.results.values())).result.model

    @property
    def created(self) -> str:
        """When the last of its results was measured; ISO 8601."""
        return max(each.result.created for each in self.results.values())


def contestants(results: Iterable[Stored]) -> list[Contestant]:
    """The models and variants that the results are of, in their order, without labels."""
    found: dict[tuple[str, str, Variant], list[Stored]] = {}
    for each in results:
        model = each.result.model
        found.setdefault((model.name, model.identity, variant_of(each.result)), []).append(each)
    return [Contestant(*key, latest(own)) for key, own in found.items()]


def latest(results: Iterable[Stored]) -> dict[str, Stored]:
    """One result a bin, by the bin's SHA-256: a whole one before a non-finite one, then the newest.

    Equal bins may be stored under two names, and a result under ``--nan fail`` and ``drop``.
    """
    found: dict[str, Stored] = {}
    for stored in sorted(results, key=lambda each: each.result.created):
        known = found.get(stored.result.bin.sha256)
        if known is None or stored.result.status == "ok" or known.result.status != "ok":
            found[stored.result.bin.sha256] = stored
    return found


def labelled(models: Sequence[Contestant], *, with_settings: bool = False) -> list[Contestant]:
    """The same with their labels, for models that are shown together."""
    found = model_labels(
        [
            Shown(
                each.name,
                each.identity,
                variant_words(each.variant, each.record.format),
                each.record.path,
                each.created,
            )
            for each in models
        ],
        with_settings=with_settings,
    )
    return [replace(each, label=label) for each, label in zip(models, found, strict=True)]


def variant_words(variant: Variant, model_format: str) -> str:
    """What is said of a variant beside the model's name; of one made elsewhere, how it came."""
    return model_format if variant.flip == UNKNOWN else variant.words()


def core_bins(figures: Sequence[Mapping[str, float | None]]) -> set[str]:
    """The bins to rank on, from each model's figures by bin: of the models' own sets, the one with
    most figures of models that have them all. Means over different bins say nothing.
    """
    sets = Counter(
        frozenset(sha256 for sha256, value in each.items() if value is not None) for each in figures
    )
    sets.pop(frozenset(), None)
    common = sets.most_common(_MOST_BIN_SETS)
    if not common:
        return set()

    def figures_covered(candidate: frozenset[str]) -> int:
        return len(candidate) * sum(count for each, count in common if candidate <= each)

    # Of two equally good sets the larger, then the one that comes first in the store.
    best = max((candidate for candidate, _ in common), key=lambda c: (figures_covered(c), len(c)))
    return set(best)
