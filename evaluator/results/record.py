"""A result: one model on one bin, its figures, and what made them."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from evaluator.metrics.text import counted
from evaluator.models.identity import identity_digest
from evaluator.results.reading_rules import READING, problem_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from evaluator.bins.recipe import Recipe
    from evaluator.images.inputs import InputSpec
    from evaluator.measure.evaluation import Measurement
    from evaluator.metrics.figure import Figure
    from evaluator.templates.evaluation import SetMeasurement
    from evaluator.templates.searches import Searches


SCHEMA = 1


# How many unusable images a result names; the count is always whole.
NAMED_IMAGES = 20


@dataclass(frozen=True)
class ModelRecord:
    """Which model a result is of; ``input`` is {size: [h, w], range, channels, layout}.

    ``data_sha256`` is of the files beside an .onnx model that hold its weights; it is in a result's
    JSON only where there are such files.
    """

    name: str
    path: str
    sha256: str
    format: str
    embedding_size: int
    input: Mapping[str, Any]
    data_sha256: str | None = None

    @property
    def identity(self) -> str:
        """One digest of all the model's bytes: what tells models apart, here and in every list."""
        return identity_digest(self.sha256, self.data_sha256)


@dataclass(frozen=True)
class BinRecord:
    """Which bin a result is on, and its counts.

    ``folds`` says by what rule its ten folds are drawn, and is in a result's JSON only where they
    are not contiguous parts of its order. So is ``derived``, which says of a bin of spoilt images
    of which it was made, by which corruption and at what strength. Only a template set has a
    ``kind``, its layout, and says how many ``templates``, ``people`` (those that it names),
    ``probes`` and ``galleries`` there are; its ``images`` are those of all templates.
    """

    name: str
    path: str
    sha256: str
    pairs: int
    genuine: int
    impostor: int
    images: int
    unique_images: int
    folds: str | None = None
    kind: str | None = None
    templates: int | None = None
    people: int | None = None
    probes: int | None = None
    galleries: int | None = None
    derived: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Settings:
    """What changes figures besides model, bin and input.

    ``engine`` is in a result's JSON only where it is not ``native``: results that do not have it
    were computed by their format's own runtime. Only a template set has a ``norm``, and
    ``detector_score`` only where it states such scores.
    """

    flip: str = "none"
    decoder: str = "accurate"
    precision: str = "float32"
    nan: str = "fail"
    engine: str = "native"
    norm: str | None = None
    detector_score: str | None = None


class Failed(NamedTuple):
    """Pairs that have no score, an image having failed to embed: how many, and what became of them,
    "dropped" or "missed". What a figure rests on stands beside it in these words.
    """

    pairs: int
    how: str

    @property
    def words(self) -> str:
        """As "5 pairs missed"; empty where none failed."""
        return f"{counted(self.pairs, 'pair')} {self.how}" if self.pairs else ""

    @property
    def mark(self) -> str:
        """As "missed:5", for columns without spaces; empty where none failed."""
        return f"{self.how}:{self.pairs}" if self.pairs else ""


@dataclass(frozen=True)
class Result:
    """One model on one bin, as stored. ``scores`` is the name of the HDF5 file beside it,
    ``reading`` the version of the rules by which the model's file was read. ``non_finite`` has
    ``missed_pairs`` where pairs that failed count as missed.
    """

    status: str
    model: ModelRecord
    bin: BinRecord
    settings: Settings
    figures: Mapping[str, Any] | None
    non_finite: Mapping[str, Any]
    cost: Mapping[str, float]
    versions: Mapping[str, str]
    created: str
    scores: str | None = None
    schema: int = SCHEMA
    reading: int = READING

    @property
    def failed(self) -> Failed:
        """How many pairs have no score, and what became of them."""
        if missed := int(self.non_finite.get("missed_pairs", 0)):
            return Failed(missed, "missed")
        return Failed(int(self.non_finite["dropped_pairs"]), "dropped")


@dataclass(frozen=True, eq=False)
class SetFacts:
    """What all results on a template set share, read-only: ``templates`` (2 x pairs,) number the
    template in each slot of the 1:1 list, ``genuine`` (pairs,) are its labels, ``person``
    (templates,) numbers who each shows, each whom nobody names apart, and ``probes`` are numbers
    of templates.
    """

    templates: NDArray[np.int64]
    genuine: NDArray[np.bool_]
    person: NDArray[np.int64]
    probes: NDArray[np.int64]

    @functools.cached_property
    def people(self) -> NDArray[np.int64]:
        """The number of the person in each slot, (2 x pairs,)."""
        return self.person[self.templates]


@dataclass(frozen=True)
class Scores:
    """Pair scores of a result: cosines (pairs,) with NaN for a dropped pair and -inf for a missed
    one, labels (pairs,), and the distinct-image number of each slot (2 x pairs,). ``people``
    numbers the person in each slot where the bin's pairs file names them. ``folds`` (pairs,)
    numbers the fold of each pair, None where they are contiguous. ``digests`` (2 x pairs,) numbers
    the bytes in each slot alike in all bins, None where nobody noted them; ``norms`` (2 x pairs,)
    are of the embeddings in them. Of a template set ``images`` number templates, ``facts`` are
    known, and ``searches`` one a gallery, of all probes; NaN is the score of one that was left out.
    ``lists`` (pairs,) says which of several lists each pair is of, where figures are means over
    lists.
    """

    scores: NDArray[np.float64]
    genuine: NDArray[np.bool_]
    images: NDArray[np.int64]
    people: NDArray[np.int64] | None = None
    folds: NDArray[np.uint8] | None = None
    digests: NDArray[np.int64] | None = None
    norms: NDArray[np.float32] | None = None
    facts: SetFacts | None = None
    searches: tuple[Searches, ...] = ()
    lists: NDArray[np.int64] | None = None

    @property
    def counted(self) -> NDArray[np.bool_]:
        """The pairs (pairs,) that figures are of: all but those that were dropped."""
        import numpy as np

        return ~np.isnan(self.scores)

    def folds_of(self, pairs: NDArray[np.intp] | NDArray[np.bool_]) -> NDArray[np.uint8] | None:
        """The folds of these pairs, as figures take them."""
        return None if self.folds is None else self.folds[pairs]


def list_sha256(genuine: NDArray[np.bool_], name: str = "pairs") -> str:
    """What stands for the SHA-256 of a bin where pairs have no images: they are known by what they
    are called and by their labels (pairs,), so that all who scored one list share it.
    """
    import numpy as np

    head = f"pairs {name} {len(genuine)} ".encode()
    return hashlib.sha256(head + np.packbits(genuine).tobytes()).hexdigest()


def make_result(
    measurement: Measurement | SetMeasurement,
    *,
    name: str,
    path: Path,
    sha256: str,
    model_format: str,
    input_spec: InputSpec,
    settings: Settings,
    data_sha256: str | None = None,
    parts: Mapping[str, Any] | None = None,
) -> Result:
    """The Result of a Measurement by the model of that name, path, digests and format.

    ``parts`` are what says what it is on and what was found (``bin``, ``figures``, ``non_finite``)
    where that is no bin.
    """
    model = ModelRecord(
        name=name,
        path=str(path),
        sha256=sha256,
        format=model_format,
        embedding_size=measurement.embedding_size,
        input=input_json(input_spec),
        data_sha256=data_sha256,
    )
    return result_of(
        model,
        settings,
        parts or _parts(cast("Measurement", measurement)),
        seconds=measurement.seconds,
        embedded=measurement.embedded,
    )


def result_of(
    model: ModelRecord,
    settings: Settings,
    parts: Mapping[str, Any],
    *,
    seconds: float,
    embedded: int = 0,
) -> Result:
    """The Result of now: ``parts`` are ``bin``, ``figures`` and ``non_finite``, found in so many
    seconds, for which so many images were ``embedded``.
    """
    return Result(
        status="ok" if parts["figures"] is not None else "non_finite",
        model=model,
        settings=settings,
        cost={
            "seconds": round(seconds, 4),
            "images_per_second": round(embedded / max(seconds, 1e-9), 2),
        },
        versions=versions(settings.engine),
        created=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        **parts,
    )


def _parts(measurement: Measurement) -> dict[str, Any]:
    from evaluator.metrics.all_figures import to_json

    verification_set, figures = measurement.bin, measurement.figures
    return {
        "bin": BinRecord(
            name=verification_set.name,
            path=str(verification_set.path),
            sha256=verification_set.sha256,
            pairs=len(measurement.genuine),
            genuine=int(measurement.genuine.sum()),
            impostor=int((~measurement.genuine).sum()),
            images=len(measurement.images),
            unique_images=int(measurement.images.max()) + 1,
            derived=derived_json(verification_set.derived),
        ),
        "figures": None if figures is None else to_json(figures),
        "non_finite": failures(
            measurement.unusable, measurement.dropped_pairs, measurement.missed_pairs
        ),
    }


def failures(unusable: NDArray[np.intp], dropped: int, missed: int) -> dict[str, Any]:
    """The ``non_finite`` object of a result: its unusable slots and the pairs that have them."""
    found = {
        "count": len(unusable),
        "images": unusable[:NAMED_IMAGES].tolist(),
        "dropped_pairs": dropped,
    }
    return {**found, "missed_pairs": missed} if missed else found


def input_json(spec: InputSpec) -> dict[str, Any]:
    """An InputSpec as results carry it."""
    return {
        "size": [spec.height, spec.width],
        "range": spec.profile,
        "channels": spec.channels,
        "layout": spec.layout,
    }


def derived_json(recipe: Recipe | None) -> dict[str, Any] | None:
    """What a result says of a bin that was made of another."""
    if recipe is None:
        return None
    return {
        "name": recipe.source.name,
        "sha256": recipe.source.sha256,
        "corruption": recipe.corruption,
        "strength": recipe.strength,
    }


def versions(engine: str = "native") -> dict[str, str]:
    """Versions of what made a result, without importing any of it."""
    import platform

    names = {"zoo": "face-zoo", "tensorflow": "tensorflow", "keras": "keras", "numpy": "numpy"}
    names |= {} if engine == Settings().engine else {engine: engine}
    found = {key: _version(name) for key, name in names.items()}
    return {"zoo": found.pop("zoo"), "python": platform.python_version(), **found}


def _version(distribution: str) -> str:
    import importlib.metadata

    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


_ONLY_WHERE_STATED = {
    "model": ("data_sha256",),
    "bin": ("folds", "derived", "kind", "templates", "people", "probes", "galleries"),
    "settings": ("norm", "detector_score"),
}


def to_dict(result: Result) -> dict[str, Any]:
    """A result as its JSON object, keys in the documented order."""
    parts = asdict(result)
    if result.settings.engine == Settings().engine:
        del parts["settings"]["engine"]
    for part, names in _ONLY_WHERE_STATED.items():
        stated = {k: each for k, each in parts[part].items() if each is not None or k not in names}
        parts[part] = stated
    return {"schema": parts.pop("schema"), **parts}


def cannot_have(record: BinRecord, figure: Figure) -> str:
    """Why no result on a bin or template set has a figure; empty where one may have it."""
    if figure.searches:
        return "" if record.galleries else "no galleries are searched in it"
    if record.kind is None:
        return ""
    if not record.pairs:
        return "it has no 1:1 list"
    if figure.protocol not in ("kfold", "insightface"):
        return ""
    other = "rank1 or tar@1e-3" if record.galleries else "tar@1e-3"
    return f"the order of a template set's pairs means nothing, so it has no folds; try {other}"


# Formats of results that other systems made: no rule of ours read a model for them.
_READ_ELSEWHERE = ("scores", "embeddings")


def reading_problem(result: Result) -> str | None:
    """Why a result is no answer any more, and what to do: its model was read by other rules than
    today's. None for one that stands, as all do that were scored or embedded elsewhere.
    """
    if result.reading == READING or result.model.format in _READ_ELSEWHERE:
        return None
    return problem_of(result.reading)
