"""The straight line of `zoo eval`: check, look up what is stored, embed, score, save."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.bins.pairs_file import slot_people
from evaluator.bins.stored_images import distinct_of, left_in_file
from evaluator.bins.verification_set import VerificationSet, read_bin
from evaluator.errors import BinError, ModelError, ResultError
from evaluator.images.inputs import Embedder
from evaluator.measure.collapse import looks_collapsed
from evaluator.measure.embed import ONE_AT_A_TIME, EmbedOptions
from evaluator.measure.evaluation import Measurement, evaluate_bins
from evaluator.models.identity import FileStamp, ModelIdentity, file_stamp, model_identity
from evaluator.models.load import check_model
from evaluator.models.options import LoadOptions
from evaluator.results.bin_facts import keep_people
from evaluator.results.reading_rules import measured_by
from evaluator.results.record import Result, Scores, make_result, reading_problem
from evaluator.results.store import check_writable, load_result, result_path, save_result
from zoo.entries.lookup import ModelChoice
from zoo.evaluate.loading import ModelProcesses, fitting_memory, naming_model
from zoo.evaluate.request import Request, checked_model
from zoo.terminal.words import Interrupted, detail, note, warn


@dataclass(frozen=True)
class _Task:
    """A model with its digests and load options, the stamp that its files had before they were
    hashed, and what is stored of it, by the path of the bin.
    """

    model: ModelChoice
    identity: ModelIdentity
    options: LoadOptions
    stamp: FileStamp
    stored: dict[Path, Result]


#: Numbers of the people on both sides of each pair, by the path of the bin; None: not known.
_People = Mapping[Path, NDArray[np.int64] | None]


@dataclass(frozen=True)
class _Work:
    """What measuring a model needs besides: the request, people, processes, the task whose process
    may start meanwhile, and what the run has ``said`` already.
    """

    request: Request
    people: _People
    processes: ModelProcesses
    following: _Task | None
    said: set[str]


def run_request(request: Request) -> tuple[list[Result], list[str]]:
    """Results, by model and bin in the order asked for, and a line for each model that failed.

    All that can be told to be wrong before TensorFlow is imported raises InputError or OSError
    first; a model that fails later leaves the others' results, and its own on earlier bins.
    Raises Interrupted, which says what is left, where the user presses Ctrl-C.
    """
    # A model whose results are stored has been checked, and is not loaded again: checking waits
    # until it is known that something is missing.
    waiting = {choice.path for choice in request.models if _may_be_stored(choice, request)}
    tasks = _tasks(request, waiting)
    with ModelProcesses() as processes:
        if tasks[0].model.path not in waiting:
            processes.begin(tasks[0].model, tasks[0].options)  # loads while bins are read
        sets, people = _bins(request, tasks)
        for task in tasks:
            if task.model.path in waiting and len(task.stored) < len(sets):
                check_model(task.model.path, task.options)
        known = sum(len(task.stored) for task in tasks)
        asked = len(tasks) * len(sets)
        _say_files(tasks, sets)
        if known:
            _say_stored(known, asked)
            _keep_people(request, tasks, people)
        if known < asked:
            check_writable(request.results)
        return _measured(request, tasks, sets, people, processes)


def _tasks(request: Request, waiting: Collection[Path]) -> list[_Task]:
    """A task a model: hashed, and checked unless it is among those that are ``waiting``."""
    stamps = [file_stamp(choice.path) for choice in request.models]
    # Hashed by another core while this one checks them.
    with ThreadPoolExecutor(1) as beside:
        hashes = [beside.submit(model_identity, choice.path) for choice in request.models]
        try:
            checked = [
                checked_model(choice, request, identity=found.result, unseen=choice.path in waiting)
                for choice, found in zip(request.models, hashes, strict=True)
            ]
        except BaseException:
            beside.shutdown(wait=False, cancel_futures=True)
            raise
    return [
        _Task(choice, identity, options, stamp, {})
        for choice, (identity, options), stamp in zip(request.models, checked, stamps, strict=True)
    ]


def _bins(request: Request, tasks: Sequence[_Task]) -> tuple[list[VerificationSet], _People]:
    """The bins and who is in them; into the tasks goes what is stored."""
    sets: list[VerificationSet] = []
    people: dict[Path, NDArray[np.int64] | None] = {}
    for path in request.bins:
        read = _read(path, tasks, request)
        sets.append(read)
        # Read before the work: a pairs file that is not the bin's is said at once, and one that is
        # changed meanwhile changes nothing.
        people[read.path] = slot_people(read)
    return sets, people


def _measured(
    request: Request,
    tasks: Sequence[_Task],
    sets: Sequence[VerificationSet],
    people: _People,
    processes: ModelProcesses,
) -> tuple[list[Result], list[str]]:
    """Results and failures: what is stored, and what is measured now."""
    asked = len(tasks) * len(sets)
    results: list[Result] = []
    failures = []
    said: set[str] = set()
    for number, task in enumerate(tasks):
        measured: dict[Path, Result] = {}
        later = (each for each in tasks[number + 1 :] if len(each.stored) < len(sets))
        work = _Work(request, people, processes, following=next(later, None), said=said)
        try:
            missing = [each for each in sets if each.path not in task.stored]
            for path, result in _measure(task, missing, work) if missing else ():
                measured[path] = result
        except (ModelError, BinError) as error:
            failures.append(" ".join(str(error).split()))
        except KeyboardInterrupt:
            done = len(results) + len(measured) + len(task.stored)
            raise Interrupted(_left(done, asked, request)) from None
        found = {**task.stored, **measured}
        results += [found[each.path] for each in sets if each.path in found]
    return results, list(dict.fromkeys(failures))


def _keep_people(request: Request, tasks: Sequence[_Task], people: _People) -> None:
    """Notes who is on bins whose results are stored: a pairs file may have come after them."""
    records = {path: each.bin for task in tasks for path, each in task.stored.items()}
    for path, record in records.items():
        of_bin = people[path]
        if of_bin is not None:
            with suppress(OSError):  # a store to read alone still answers
                keep_people(request.results, record, of_bin)


def _left(done: int, asked: int, request: Request) -> str:
    """What an interrupted evaluation has left to do, and how to go on."""
    how = "the same command without --fresh" if request.fresh else "the same command"
    return (
        f"{done} of {asked} results are stored in {request.results}/, {asked - done} left: "
        f"{how} goes on with the rest"
    )


def _say_files(tasks: Sequence[_Task], sets: Sequence[VerificationSet]) -> None:
    for task in tasks:
        detail(f"model {task.model.name}: {task.model.path}, SHA-256 {task.identity.sha256}")
        if task.identity.data_sha256 is not None:
            detail(f"data of {task.model.name}: SHA-256 {task.identity.data_sha256}")
    for each in sets:
        detail(f"bin {each.name}: {each.path}, {each.pairs:,} pairs, SHA-256 {each.sha256}")


def _read(path: Path, tasks: Sequence[_Task], request: Request) -> VerificationSet:
    """A bin, and into the tasks what is stored of it. Its images are left in its file: memory
    does not grow with the number of bins. Where all is stored it has none.
    """
    found = read_bin(path)
    for task in tasks if not request.fresh else ():
        at = _path(task.model, task.identity, task.options, found, request)
        result = _stored(at, task.model, task.options, request)
        # The path has eight digits of either, which another model can be made to share.
        of = None if result is None else (result.model.identity, result.bin.sha256)
        if result is not None and of == (task.identity.digest, found.sha256):
            task.stored[found.path] = result
    if all(found.path in task.stored for task in tasks):
        return replace(found, images=())
    return left_in_file(found)


def _may_be_stored(choice: ModelChoice, request: Request) -> bool:
    """Whether the store has a folder of a model of this name, be it another file's."""
    if request.fresh or not request.results.is_dir():
        return False
    of_any_hash = result_path(
        request.results,
        model=(choice.name, ""),
        bin=("", ""),
        settings=request.settings,
        profile="unit",
        channels="rgb",
    ).parent.name
    return any(path.name[:-8] == of_any_hash for path in request.results.iterdir())


def _path(
    choice: ModelChoice,
    identity: ModelIdentity,
    options: LoadOptions,
    verification_set: VerificationSet,
    request: Request,
) -> Path:
    return result_path(
        request.results,
        model=(choice.name, identity.digest),
        bin=(verification_set.name, verification_set.sha256),
        settings=request.settings,
        profile=options.profile or "unit",
        channels=options.channels,
        output=options.output,
        # An entry's own size is the usual one of its model, and is held against the result's.
        size=request.size,
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
        warn(f"zoo: measured again: {error}")
        return None
    whole = result.scores is None or path.with_name(result.scores).is_file()
    # The path names neither: an entry's size may have been edited, and names are shortened in it.
    same_size = options.size is None or result.model.input.get("size") == list(options.size)
    # Nor what a model of whole numbers took where nothing was asked for, which is refused if it is.
    same_range = options.profile in (None, result.model.input.get("range"))
    asked = whole and same_size and same_range and result.model.name == choice.name
    if not asked or result.settings != request.settings:
        return None
    if reading_problem(result) is not None:
        warn(f"zoo: measured again: {path}: {measured_by(result.reading)}")
        return None
    return result


def _say_stored(found: int, asked: int) -> None:
    which = "all results" if found == asked else f"{found} of {asked} results"
    note(f"{which} answered from the store; --fresh measures again")


def _measure(
    task: _Task, missing: Sequence[VerificationSet], work: _Work
) -> Iterator[tuple[Path, Result]]:
    """Measures one model on bins and stores each result as soon as it is there."""
    with work.processes.loaded(
        task.model, task.options, identity=task.identity, stamp=task.stamp
    ) as embedder:
        if work.following is not None:
            work.processes.prepare(work.following.model, work.following.options)
        yield from _embedded(task, embedder, missing, work)


def _embedded(
    task: _Task, embedder: Embedder, missing: Sequence[VerificationSet], work: _Work
) -> Iterator[tuple[Path, Result]]:
    from zoo.terminal.progress import Progress

    request, said = work.request, work.said
    embedder = fitting_memory(embedder, task.model.name, said)

    def say_resized(size: tuple[int, int]) -> None:
        # Once a run, not once a model: what matters is that the network saw interpolated pixels.
        if "resized" not in said:
            said.add("resized")
            wanted = f"{embedder.input.height}x{embedder.input.width}"
            note(f"images of {size[0]}x{size[1]} are resized to {wanted}, the model's input")

    def say_single() -> None:
        if f"single {task.model.name}" not in said:
            said.add(f"single {task.model.name}")
            note(f"{task.model.name}: {ONE_AT_A_TIME}")

    distinct = len({key for each in missing for key in distinct_of(each)[0].keys})
    with Progress(f"{task.model.name}: embedding", distinct) as progress:
        measurements = evaluate_bins(
            embedder,
            missing,
            options=EmbedOptions(request.flip, request.decoder, request.batch_size),
            nan=request.nan,
            on_progress=progress.advance,
            on_resize=say_resized,
            on_single=say_single,
        )
        for measurement in naming_model(measurements, task.model.path):
            result = make_result(
                measurement,
                name=task.model.name,
                path=task.model.path,
                sha256=task.identity.sha256,
                data_sha256=task.identity.data_sha256,
                model_format=embedder.format,
                input_spec=embedder.input,
                settings=request.settings,
            )
            _warn_of_collapse(task.model, measurement)
            path = _path(task.model, task.identity, task.options, measurement.bin, request)
            stored = save_result(path, result, _scores(measurement, work.people))
            detail(
                f"{task.model.name} on {measurement.bin.name}: {measurement.embedded:,} images in "
                f"{measurement.seconds:.1f} s, stored as {path}"
            )
            yield measurement.bin.path, stored


def _warn_of_collapse(model: ModelChoice, measurement: Measurement) -> None:
    """Says on stderr where embeddings look as if the input were prepared wrongly."""
    cause = None
    if len(measurement.unusable):
        cause = "some embeddings cannot be scored"
    elif measurement.scores is not None and looks_collapsed(
        measurement.scores, measurement.genuine
    ):
        cause = "impostors' cosines are almost all alike: the embeddings look collapsed"
    if cause is not None:
        warn(
            f"{model.name} on {measurement.bin.name}: {cause}. If the input profile may be wrong: "
            f"zoo probe {model.entry.name if model.entry else model.path} "
            f"--bins {measurement.bin.path}"
        )


def _scores(measurement: Measurement, people: _People) -> Scores | None:
    if measurement.scores is None:
        return None
    return Scores(
        measurement.scores,
        measurement.genuine,
        measurement.images,
        people[measurement.bin.path],
    )
