"""A result, and the folder of results: JSON for figures, HDF5 for the scores beside it.

What reads and lists results imports neither NumPy nor h5py; what touches scores does.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluator.bounded_file import read_bounded
from evaluator.digests import identity_digest
from evaluator.errors import ResultError, cause_of
from evaluator.leftovers import own_leftovers, own_scores, remove_leftovers, remove_own
from evaluator.reading_rules import READING, measured_by, what_to_do
from evaluator.result_check import json_object, plain, shown, wrong_part
from evaluator.whole_file import alone_in

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from evaluator.evaluation import Measurement
    from evaluator.inputs import InputSpec

    Ends = tuple[NDArray[np.int64], NDArray[np.int64]]

SCHEMA = 1

# Of a pair, 41 bytes are stored, which packing cannot make more than a few per cent larger.
_SCORES_BYTES_A_PAIR = 64
_SCORES_BYTES = 1 << 20

# How many unusable images a result names; the count is always whole.
_NAMED_IMAGES = 20


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
    """Which bin a result is on, and its counts."""

    name: str
    path: str
    sha256: str
    pairs: int
    genuine: int
    impostor: int
    images: int
    unique_images: int


@dataclass(frozen=True)
class Settings:
    """What changes figures besides model, bin and input.

    ``engine`` is in a result's JSON only where it is not ``native``: results that do not have it
    were computed by their format's own runtime.
    """

    flip: str = "none"
    decoder: str = "accurate"
    precision: str = "float32"
    nan: str = "fail"
    engine: str = "native"


@dataclass(frozen=True)
class Result:
    """One model on one bin, as stored. ``scores`` is the name of the HDF5 file beside it,
    ``reading`` the version of the rules by which the model's file was read.
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


@dataclass(frozen=True)
class Scores:
    """Pair scores of a result: cosines (pairs,) with NaN for a dropped pair, labels (pairs,),
    and the distinct-image number of each slot (2 x pairs,). ``people`` numbers the person in each
    slot where the bin's pairs file names them.
    """

    scores: NDArray[np.float64]
    genuine: NDArray[np.bool_]
    images: NDArray[np.int64]
    people: NDArray[np.int64] | None = None


def people_ends(scores: Scores, pairs: NDArray[np.int64]) -> Ends | None:
    """The numbers of the people on either side of these pairs; None where they are not known."""
    if scores.people is None:
        return None
    return scores.people[0::2][pairs], scores.people[1::2][pairs]


def make_result(
    measurement: Measurement,
    *,
    name: str,
    path: Path,
    sha256: str,
    model_format: str,
    input_spec: InputSpec,
    settings: Settings,
    data_sha256: str | None = None,
) -> Result:
    """The Result of a Measurement by the model of that name, path, digests and format."""
    from evaluator.all_figures import to_json

    verification_set = measurement.bin
    figures = measurement.figures
    return Result(
        status="ok" if figures is not None else "non_finite",
        model=ModelRecord(
            name=name,
            path=str(path),
            sha256=sha256,
            format=model_format,
            embedding_size=measurement.embedding_size,
            input=input_json(input_spec),
            data_sha256=data_sha256,
        ),
        bin=BinRecord(
            name=verification_set.name,
            path=str(verification_set.path),
            sha256=verification_set.sha256,
            pairs=len(measurement.genuine),
            genuine=int(measurement.genuine.sum()),
            impostor=int((~measurement.genuine).sum()),
            images=len(measurement.images),
            unique_images=int(measurement.images.max()) + 1,
        ),
        settings=settings,
        figures=None if figures is None else to_json(figures),
        non_finite={
            "count": len(measurement.unusable),
            "images": measurement.unusable[:_NAMED_IMAGES].tolist(),
            "dropped_pairs": measurement.dropped_pairs,
        },
        cost={
            "seconds": round(measurement.seconds, 4),
            "images_per_second": round(measurement.embedded / max(measurement.seconds, 1e-9), 2),
        },
        versions=versions(settings.engine),
        created=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
    )


def input_json(spec: InputSpec) -> dict[str, Any]:
    """An InputSpec as results carry it."""
    return {
        "size": [spec.height, spec.width],
        "range": spec.profile,
        "channels": spec.channels,
        "layout": spec.layout,
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


def result_path(
    folder: Path,
    *,
    model: tuple[str, str],
    bin: tuple[str, str],
    settings: Settings,
    profile: str,
    channels: str,
    output: str | None = None,
    size: tuple[int, int] | None = None,
) -> Path:
    """Where the result of a model and bin with these settings stands.

    ``model`` is (name, identity), ``bin`` (name, SHA-256).
    ``<folder>/<model>-<id8>/<bin>-<sha8>.json``, with what is not the default named before
    ``.json``: two settings of one model and bin are two results.
    """
    default = Settings()
    named = [profile] if profile != "unit" else []
    named += ["bgr"] if channels == "bgr" else []
    named += [f"size-{size[0]}x{size[1]}"] if size is not None else []
    named += [f"output-{_file_name(output)}"] if output is not None else []
    named += [f"flip-{settings.flip}"] if settings.flip != default.flip else []
    named += [
        value
        for value, usual in (
            (settings.decoder, default.decoder),
            (settings.precision, default.precision),
            (settings.engine, default.engine),
        )
        if value != usual
    ]
    named += [f"nan-{settings.nan}"] if settings.nan != default.nan else []
    stem = ".".join([f"{_file_name(bin[0])}-{bin[1][:8]}", *named])
    return folder / f"{_file_name(model[0])}-{model[1][:8]}" / f"{stem}.json"


def _file_name(name: str) -> str:
    # File systems allow 255 bytes, and settings, hash and a temporary suffix come on top.
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", name).lstrip(".")[:100] or "_"


def check_writable(folder: Path) -> None:
    """Makes the folder of results if it is missing. Raises OSError if it cannot be written to."""
    import tempfile

    folder.mkdir(parents=True, exist_ok=True)
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from None


def save_result(path: Path, result: Result, scores: Scores | None) -> Result:
    """Stores a result and its scores; returns it with the name of its scores file.

    Each file is written under a temporary name and renamed, the JSON last. The scores file's name
    is new at every call: a reader never sees half a file, and of two writers one's result stands
    with that one's scores, never a mixture. What killed writers left in the folder is removed when
    it is an hour old. Raises OSError, which names the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = None
    if scores is not None:
        import secrets

        # Never a name used before: another writer may be about to remove that one as outdated.
        name = f"{path.stem}.{secrets.token_hex(6)}.h5"
        write_atomically(path.with_name(name), _scores_bytes(scores))
    stored = replace(result, scores=name)
    data = (json.dumps(to_dict(stored), indent=2, allow_nan=False) + "\n").encode()
    with alone_in(path.parent):
        before = _stored_scores_name(path)
        write_atomically(path, data)
    if before is not None and before != name:
        remove_own(path.with_name(before), own_scores(path))
    remove_leftovers(path.parent, own_leftovers(path, name), now=path.stat().st_mtime)
    return stored


def _stored_scores_name(path: Path) -> str | None:
    """The scores that the result at a path has; None where what is there is no whole result."""
    try:
        return load_result(path).scores
    except (OSError, ResultError):
        return None


def _scores_bytes(scores: Scores) -> bytes:
    import numpy as np

    from evaluator.scores_file import scores_bytes

    arrays: dict[str, NDArray[np.generic]] = {
        "scores": scores.scores,
        "genuine": scores.genuine.astype(np.uint8),
        "images": scores.images.astype(np.int64),
    }
    if scores.people is not None:
        arrays["people"] = scores.people.astype(np.int64)
    return scores_bytes(arrays)


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all. Raises OSError, which names it."""
    import tempfile

    handle, name = tempfile.mkstemp(prefix=f".{path.name[:80]}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp lets only the owner read
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        # A write that fails, on a full disk say, knows no name of its own.
        raise OSError(error.errno, error.strerror, str(path)) from None
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def to_dict(result: Result) -> dict[str, Any]:
    """A result as its JSON object, keys in the documented order."""
    parts = asdict(result)
    if result.settings.engine == Settings().engine:
        del parts["settings"]["engine"]
    if result.model.data_sha256 is None:
        del parts["model"]["data_sha256"]
    return {"schema": parts.pop("schema"), **parts}


def load_result(path: Path) -> Result:
    """The result stored at a path, measured by whatever rules (``reading_problem`` of it).

    Raises ResultError, in one line, for a file of any content that is not one; FileNotFoundError
    where there is none.
    """
    stored = json_object(path)
    if type(stored.get("schema")) is not int or stored["schema"] != SCHEMA:
        raise ResultError(
            f"{path}: expected a result of schema {SCHEMA}; found {shown(stored.get('schema'))}"
        )
    stored.setdefault("reading", 0)
    newer = type(stored["reading"]) is int and READING < stored["reading"] < 2**31
    hint = (
        f"{measured_by(stored['reading'])}; {what_to_do(stored['reading'])}"
        if newer
        else "remove it"
    )
    try:
        stored["model"] = ModelRecord(**plain(stored["model"]))
        stored["bin"] = BinRecord(**plain(stored["bin"]))
        stored["settings"] = Settings(**plain(stored["settings"]))
        for key in ("non_finite", "cost", "versions"):
            stored[key] = plain(stored[key])
        result = Result(**stored)
    except (TypeError, KeyError, AttributeError) as error:
        raise ResultError(f"{path}: not a whole result ({cause_of(error)}); {hint}") from None
    wrong = wrong_part(result)
    if not wrong and result.scores is not None and not own_scores(path).fullmatch(result.scores):
        wrong = f"scores is {shown(result.scores)}, which is no file of this result"
    if wrong:
        raise ResultError(f"{path}: not a whole result ({wrong}); {hint}")
    return result


def load_scores(path: Path, result: Result) -> Scores:
    """The scores beside the result stored at ``path``. Raises ResultError, or OSError."""
    import numpy as np

    from evaluator.scores_file import check_values, scores_arrays

    name = result.scores
    if name is None or own_scores(path).fullmatch(name) is None:
        raise ResultError(f"{path}: this result has no stored scores; evaluate it with --fresh")
    file_path = path.with_name(name)
    try:
        # Read at once: another writer may replace the result while this one is looked at.
        data = read_bounded(file_path, scores_limit(result))
    except FileNotFoundError:
        raise ResultError(
            f"{file_path}: the scores of a result are gone; if it was not just measured again "
            "elsewhere, use --fresh"
        ) from None
    except OSError as error:
        raise ResultError(f"{file_path}: damaged scores ({error.strerror}); use --fresh") from None
    arrays = scores_arrays(file_path, data, result.bin.pairs)
    people = arrays.get("people")
    check_values(file_path, arrays["scores"], arrays["genuine"], genuine=result.bin.genuine)
    return Scores(
        scores=arrays["scores"].astype(np.float64),
        genuine=arrays["genuine"].astype(np.bool_),
        images=arrays["images"].astype(np.int64),
        people=None if people is None else people.astype(np.int64),
    )


def scores_limit(result: Result) -> int:
    """Bytes that the scores file of a result can have."""
    return result.bin.pairs * _SCORES_BYTES_A_PAIR + _SCORES_BYTES


def stored_results(folder: Path) -> Iterator[Path]:
    """The paths of all results under a folder, in name order; what is no file is none."""
    yield from sorted(path for path in folder.glob("*/*.json") if path.is_file())
