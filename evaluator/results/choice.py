"""Which stored results are asked for: models, bins and settings, and which result stands for each.

All who read a folder of results ask here, the commands and Python alike, so that a name, a pattern
or the beginning of a hash means the same to each of them. Nothing is measured.
"""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from evaluator.choices import DETECTOR_SCORE, NORM, check_settings
from evaluator.errors import InputError, unknown_name
from evaluator.results.record import BinRecord, ModelRecord, Result
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

_HASH = re.compile(r"[0-9a-f]{4,64}")
# Sets of bins looked at when choosing those to rank on; more would all be rare.
_MOST_BIN_SETS = 200


class Named(NamedTuple):
    """What a model or a bin is asked for by. A model's ``digest`` is its identity, ``file_digest``
    its file's alone; a bin has one.
    """

    name: str
    digest: str
    file_digest: str


def model_named(model: ModelRecord) -> Named:
    """What the model of a result is asked for by."""
    return Named(model.name, model.identity, model.sha256)


def bin_named(record: BinRecord) -> Named:
    """What the bin of a result is asked for by."""
    return Named(record.name, record.sha256, record.sha256)


def meant(value: str, known: Iterable[Named]) -> list[Named]:
    """Those of the known that a value means; the first of these rules that finds any decides.

    It is their name; a pattern of it (``*``, ``?``, ``[...]``); the path of the very file; the
    beginning of their digest, four hexadecimal digits or more; else of their file's.
    """
    there = list(known)
    found = [each for each in there if each.name == value]
    found = found or [each for each in there if fnmatch.fnmatchcase(each.name, value)]
    if found:
        return found
    if is_there(path := Path(value)):
        of_file = file_sha256(path)
        return [each for each in there if of_file in (each.digest, each.file_digest)]
    if not is_hash_prefix(value):
        return []
    begins = value.lower()
    return [each for each in there if each.digest.startswith(begins)] or [
        each for each in there if each.file_digest.startswith(begins)
    ]


def is_hash_prefix(value: str) -> bool:
    """Whether a value can be meant as the beginning of a SHA-256: 4 hexadecimal digits or more."""
    return _HASH.fullmatch(value.lower()) is not None


def is_pattern(value: str) -> bool:
    """Whether a value can mean several names."""
    return any(sign in value for sign in "*?[")


def picked(
    results: Sequence[Stored],
    *,
    models: Sequence[str] = (),
    bins: Sequence[str] = (),
    options: tuple[str, str] = ("--models", "--bins"),
) -> list[Stored]:
    """The results of the models and bins that the values mean, in their order; all if none given.

    Raises InputError for a value that means none of them; ``options`` are what it is called.
    """
    if not models and not bins:
        return list(results)
    of_models = _digests(models, {model_named(each.result.model) for each in results}, options[0])
    of_bins = _digests(bins, {bin_named(each.result.bin) for each in results}, options[1])
    return [
        each
        for each in results
        if (of_models is None or model_named(each.result.model) in of_models)
        and (of_bins is None or bin_named(each.result.bin) in of_bins)
    ]


def _digests(values: Sequence[str], known: set[Named], option: str) -> set[Named] | None:
    if not values:
        return None
    found = set()
    for value in values:
        of_value = meant(value, known)
        if not of_value:
            near = unknown_name(value, sorted(each.name for each in known))
            raise InputError(f"{option} {value}: nothing stored has that name or hash; {near}")
        found.update(of_value)
    return found


def results_meant(folder: Path, value: str) -> Store:
    """The stored results of all models that a value means, as `meant` has it, a file's path apart.

    Reads no more folders than can hold them: a store may have thousands.
    """
    named = results_named(folder, value)
    if not named.is_empty:
        return named
    if is_pattern(value):
        found = read_store(folder).where(
            lambda result: fnmatch.fnmatchcase(result.model.name, value)
        )
        return named if found.is_empty else replace(found, unreadable=())
    if not is_hash_prefix(value):
        return named
    hashed = results_hashed(folder, value.lower())
    if not hashed.is_empty:
        return hashed
    of_file = results_of_file(folder, value.lower())
    return of_file if not of_file.is_empty else hashed if hashed.damaged else named


def stored_model_names(folder: Path) -> list[str]:
    """Names of the models that have a folder in the store, as the folders spell them."""
    return _names_before_hashes(path for path in folder.iterdir() if path.is_dir())


def stored_bin_names(folder: Path) -> list[str]:
    """Names of the bins that results are stored on, as the files spell them."""
    # The settings that are not the default stand behind the hash.
    return _names_before_hashes(folder.glob("*/*.json"))


def _names_before_hashes(paths: Iterable[Path]) -> list[str]:
    found = (re.fullmatch(r"(.+)-[0-9a-f]{8}(\..*)?", path.name) for path in sorted(paths))
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
        named = [f"flip {self.flip}"] if self.flip != "none" else []
        named += [f"input {self.range}"] if self.range != "unit" else []
        named += [self.channels] if self.channels not in ("rgb", "gray") else []
        named += [f"decoder {self.decoder}"] if self.decoder != "accurate" else []
        named += [self.precision] if self.precision != "float32" else []
        named += [self.engine] if self.engine != "native" else []
        named += [f"norm {self.norm}"] if self.norm != NORM else []
        named += ["no detector score"] if self.detector_score != DETECTOR_SCORE else []
        return ", ".join(named)


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
        given = {
            "flip": self.flip,
            "decoder": self.decoder,
            "precision": self.precision,
            "engine": self.engine,
            "input": self.profile,
            "channels": self.channels,
            "norm": self.norm,
            "detector-score": self.detector_score,
        }
        check_settings(before, **{name: each for name, each in given.items() if each is not None})

    def admits(self, variant: Variant) -> bool:
        """Whether these are its settings. What was made elsewhere has none that could differ."""
        asked = {key: getattr(self, "profile" if key == "range" else key) for key in vars(variant)}
        return all(
            value is None or getattr(variant, key) in (value, UNKNOWN)
            for key, value in asked.items()
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
    named = [
        (each.name, each.identity, variant_words(each.variant, each.record.format))
        for each in models
    ]
    found = model_labels(named, with_settings=with_settings)
    return [replace(each, label=label) for each, label in zip(models, found, strict=True)]


def model_labels(
    models: Sequence[tuple[str, str, str]], *, with_settings: bool = False
) -> list[str]:
    """What models that are shown together are called, each from its name, identity and words.

    The name, with eight digits of the identity where another model has that name, and the words
    (its settings that are no default) where another variant has it, or ``with_settings``, for a
    table that tells them nowhere else.
    """
    identities: dict[str, set[str]] = {}
    variants: dict[str, set[str]] = {}
    for name, identity, words in models:
        identities.setdefault(name, set()).add(identity)
        variants.setdefault(name, set()).add(words)
    found = []
    for name, identity, words in models:
        extra = [identity[:8]] if len(identities[name]) > 1 else []
        if words and (with_settings or len(variants[name]) > 1):
            extra.append(words)
        found.append(f"{name} ({', '.join(extra)})" if extra else name)
    return found


def variant_words(variant: Variant, model_format: str) -> str:
    """What is said of a variant beside the model's name; of one made elsewhere, how it came."""
    return model_format if variant.flip == UNKNOWN else variant.words()


def labels(named: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Key -> label for (key, name) with SHA-256 keys: the name, with eight digits of the key where
    another key has the same name.
    """
    keys_of: dict[str, set[str]] = {}
    for key, name in named:
        keys_of.setdefault(name, set()).add(key)
    return {key: f"{name} ({key[:8]})" if len(keys_of[name]) > 1 else name for key, name in named}


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
