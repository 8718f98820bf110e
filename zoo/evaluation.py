"""The straight line of `zoo eval`: check, look up what is stored, embed, score, save."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluator.bins import VerificationSet, read_bin
from evaluator.embed import EmbedOptions
from evaluator.errors import BinError, InputError, ModelError, ResultError
from evaluator.evaluation import Measurement, evaluate_bins
from evaluator.inputs import PROFILES, check_choice
from evaluator.models import LoadOptions, check_model, load_embedder, model_sha256
from evaluator.results import (
    Result,
    Scores,
    Settings,
    check_writable,
    load_result,
    make_result,
    result_path,
    save_result,
)
from zoo.lookup import ModelChoice
from zoo.output import Progress


@dataclass(frozen=True)
class Request:
    """One call of `zoo eval`, its names resolved. ``profile`` and ``channels`` None: the entry's,
    or unit and RGB. Raises InputError for an option's value that is not known.
    """

    models: list[ModelChoice]
    bins: list[Path]
    flip: str = "none"
    decoder: str = "accurate"
    precision: str = "float32"
    nan: str = "fail"
    profile: str | None = None
    channels: str | None = None
    batch_size: int = 64
    results: Path = Path("results")
    fresh: bool = False
    trust: bool = False

    def __post_init__(self) -> None:
        """Refuses values that no option takes."""
        check_choice("--flip", self.flip, ("none", "sum"))
        check_choice("--decoder", self.decoder, ("accurate", "fast"))
        check_choice("--precision", self.precision, ("float32", "bfloat16"))
        check_choice("--nan", self.nan, ("fail", "drop"))
        if self.profile is not None:
            check_choice("--input", self.profile, tuple(PROFILES))
        if self.channels is not None:
            check_choice("--channels", self.channels, ("rgb", "bgr"))

    @property
    def settings(self) -> Settings:
        """What of this request results carry as settings."""
        return Settings(self.flip, self.decoder, self.precision, self.nan)


@dataclass(frozen=True)
class _Task:
    """A model with its hash and load options, and what is stored of it, by the path of the bin."""

    model: ModelChoice
    sha256: str
    options: LoadOptions
    stored: dict[Path, Result]


def run_request(request: Request) -> tuple[list[Result], list[str]]:
    """Results, by model and bin in the order asked for, and a line for each model that failed.

    All that can be told to be wrong before TensorFlow is imported raises InputError or OSError
    first; a model that fails later leaves the others' results, and its own on earlier bins.
    """
    hashes = [_checked_sha256(choice, request) for choice in request.models]
    sets = [read_bin(path) for path in request.bins]
    tasks = [
        _task(choice, sha256, sets, request)
        for choice, sha256 in zip(request.models, hashes, strict=True)
    ]
    known = sum(len(task.stored) for task in tasks)
    asked = len(tasks) * len(sets)
    if known:
        _say_stored(known, asked)
    if known < asked:
        check_writable(request.results)
    results = []
    failures = []
    said: set[str] = set()
    for task in tasks:
        measured = {}
        try:
            missing = [each for each in sets if each.path not in task.stored]
            for path, result in _measure(task, missing, request, said) if missing else ():
                measured[path] = result
        except (ModelError, BinError) as error:
            failures.append(" ".join(str(error).split()))
        found = {**task.stored, **measured}
        results += [found[each.path] for each in sets if each.path in found]
    return results, list(dict.fromkeys(failures))


def _task(
    choice: ModelChoice, sha256: str, sets: Sequence[VerificationSet], request: Request
) -> _Task:
    options = _load_options(choice, request)
    stored = {}
    for verification_set in sets if not request.fresh else ():
        path = _path(choice, sha256, options, verification_set, request)
        result = _stored(path, choice, options, request)
        if result is not None:
            stored[verification_set.path] = result
    return _Task(choice, sha256, options, stored)


def _checked_sha256(choice: ModelChoice, request: Request) -> str:
    check_model(choice.path, _load_options(choice, request))
    found = model_sha256(choice.path)
    entry = choice.entry
    if entry is not None and entry.sha256 not in (None, found):
        raise InputError(
            f"{choice.path}: its SHA-256 is {found}, but entry {entry.name!r} states "
            f"{entry.sha256}: this is another file than the entry's"
        )
    return found


def _load_options(choice: ModelChoice, request: Request) -> LoadOptions:
    entry = choice.entry
    return LoadOptions(
        profile=request.profile or (entry.profile if entry else None),
        channels=request.channels or (entry.channels if entry else "rgb"),
        size=entry.size if entry else None,
        precision=request.precision,
        trust=request.trust,
    )


def _path(
    choice: ModelChoice,
    sha256: str,
    options: LoadOptions,
    verification_set: VerificationSet,
    request: Request,
) -> Path:
    return result_path(
        request.results,
        model=(choice.name, sha256),
        bin=(verification_set.name, verification_set.sha256),
        settings=request.settings,
        profile=options.profile or "unit",
        channels=options.channels,
    )


def _stored(
    path: Path, choice: ModelChoice, options: LoadOptions, request: Request
) -> Result | None:
    """The result stored at a path if it is whole, and of this name, size and these settings."""
    try:
        result = load_result(path)
    except FileNotFoundError:
        return None
    except ResultError as error:
        print(f"zoo: measured again: {error}", file=sys.stderr)
        return None
    whole = result.scores is None or path.with_name(result.scores).is_file()
    # The path names neither: an entry's size may have been edited, and names are shortened in it.
    same_size = options.size is None or result.model.input.get("size") == list(options.size)
    asked = whole and same_size and result.model.name == choice.name
    return result if asked and result.settings == request.settings else None


def _say_stored(found: int, asked: int) -> None:
    which = "all results" if found == asked else f"{found} of {asked} results"
    print(f"{which} answered from the store; --fresh measures again", file=sys.stderr)


def _measure(
    task: _Task, missing: Sequence[VerificationSet], request: Request, said: set[str]
) -> Iterator[tuple[Path, Result]]:
    """Measures one model on bins and stores each result as soon as it is there."""
    embedder = load_embedder(task.model.path, task.options)
    for note in embedder.notes:
        print(f"{task.model.name}: {note}", file=sys.stderr)

    def say_resized(size: tuple[int, int]) -> None:
        # Once a run, not once a model: what matters is that the network saw interpolated pixels.
        if "resized" not in said:
            said.add("resized")
            wanted = f"{embedder.input.height}x{embedder.input.width}"
            print(
                f"images of {size[0]}x{size[1]} are resized to {wanted}, the model's input",
                file=sys.stderr,
            )

    distinct = len({image for each in missing for image in each.images})
    with Progress(f"{task.model.name}: embedding", distinct) as progress:
        for measurement in evaluate_bins(
            embedder,
            missing,
            options=EmbedOptions(request.flip, request.decoder, request.batch_size),
            nan=request.nan,
            on_progress=progress.advance,
            on_resize=say_resized,
        ):
            result = make_result(
                measurement,
                name=task.model.name,
                path=task.model.path,
                sha256=task.sha256,
                model_format=embedder.format,
                input_spec=embedder.input,
                settings=request.settings,
            )
            path = _path(task.model, task.sha256, task.options, measurement.bin, request)
            yield measurement.bin.path, save_result(path, result, _scores(measurement))


def _scores(measurement: Measurement) -> Scores | None:
    if measurement.scores is None:
        return None
    return Scores(measurement.scores, measurement.genuine, measurement.images)
