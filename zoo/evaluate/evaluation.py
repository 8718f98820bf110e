"""The straight line of `zoo eval`: check, look up what is stored, embed, score, save."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from evaluator.bins.pairs_file import slot_people
from evaluator.bins.stored_images import distinct_of, left_in_file
from evaluator.bins.verification_set import VerificationSet, read_bin
from evaluator.errors import BinError, ModelError
from evaluator.images.inputs import Embedder
from evaluator.measure.embed import EmbedOptions
from evaluator.measure.evaluation import Measurement, evaluate_bins
from evaluator.models.identity import FileStamp, ModelIdentity, file_stamp, model_identity
from evaluator.models.load import check_model
from evaluator.models.options import LoadOptions
from evaluator.results.bin_facts import keep_facts
from evaluator.results.measured import Measured
from evaluator.results.record import Result, Scores, make_result
from evaluator.results.set_result import embeddings_of, set_parts, set_scores
from evaluator.results.store import check_writable, save_result
from evaluator.templates.evaluation import SetMeasurement, embed_set, evaluate_set
from evaluator.templates.kept_embeddings import KeptEmbeddings
from evaluator.templates.layouts import read_template_set
from evaluator.templates.template_set import TemplateSet
from zoo.entries.lookup import ModelChoice
from zoo.evaluate.answers import may_be_stored, stored_answer
from zoo.evaluate.jobs import configured, measured_apart, threads_of_a_job
from zoo.evaluate.loading import ModelProcesses, fitting_memory, naming_model
from zoo.evaluate.remarks import Remarks, left_to_do, say_files, say_stored
from zoo.evaluate.request import Request, checked_model
from zoo.terminal.words import Interrupted, detail, note, warn

Bin = VerificationSet | TemplateSet


class _Told(TypedDict):
    """What embedding tells while it works, as `embed_images` does."""

    on_progress: Callable[[int], None]
    on_resize: Callable[[tuple[int, int]], None]
    on_single: Callable[[], None]


@dataclass(frozen=True)
class _Task:
    """A model with its digests and load options, the stamp that its files had before they were
    hashed, whether its content is still ``unseen``, and the ``results`` that it has by now.
    """

    model: ModelChoice
    identity: ModelIdentity
    options: LoadOptions
    stamp: FileStamp
    unseen: bool
    results: dict[Measured, Result] = field(default_factory=dict)

    def on(self, bin: Bin, request: Request) -> Measured:
        """What is asked of the model on a bin or template set."""
        return Measured(
            model=(self.model.name, self.identity.digest),
            bin=(bin.name, bin.sha256),
            settings=request.settings_on(bin),
            profile=self.options.profile or "unit",
            channels=self.options.channels,
            output=self.options.output,
            # An entry's own size is the usual one of its model, and is held against the result's.
            size=request.size,
        )

    def lacking(self, bins: Sequence[Bin], request: Request) -> list[Bin]:
        """The bins without a result."""
        return [each for each in bins if self.on(each, request) not in self.results]


@dataclass(frozen=True)
class _Run:
    """What measuring takes besides model and bins: ``people`` are the numbers of those on both
    sides of each pair, by the path of the bin; None: not known.
    """

    request: Request
    people: Mapping[Path, NDArray[np.int64] | None]
    processes: ModelProcesses
    remarks: Remarks


def run_request(request: Request) -> tuple[list[Result], list[str]]:
    """Results, by model and bin in the order asked for, and a line for each model that failed.

    All that can be told to be wrong before TensorFlow is imported raises InputError or OSError
    first; a model that fails later leaves the others' results, and its own on earlier bins.
    Raises Interrupted, which says what is left, where the user presses Ctrl-C.
    """
    apart = len(request.models) > 1 and (request.jobs > 1 or request.backend != "joblib")
    if not apart and request.jobs > 1 and request.backend == "joblib":
        request = _spread(request, 1)
    tasks = _tasks(request)
    with ModelProcesses(request.processes, request.models) as processes:
        if not apart and not tasks[0].unseen:
            processes.begin(tasks[0].model, tasks[0].options)  # loads while bins are read
        bins = [_read(path, tasks, request) for path in request.bins]
        # Read before the work: a pairs file that is not the bin's is said at once, and one that is
        # changed meanwhile changes nothing.
        people = {
            each.path: slot_people(each) for each in bins if isinstance(each, VerificationSet)
        }
        waiting = [task for task in tasks if task.lacking(bins, request)]
        for task in waiting:
            if task.unseen:
                check_model(task.model.path, task.options)
        say_files([(task.model, task.identity) for task in tasks], bins)
        say_stored(_count(tasks), len(tasks) * len(bins))
        if waiting:
            check_writable(request.results)
        run = _Run(request, people, processes, Remarks())
        _keep_people(tasks, bins, run)
        try:
            failures = (_measure_apart if apart else _measure_all)(waiting, bins, run)
        except KeyboardInterrupt:
            if not request.fresh:  # stored just now, or by a process that has not said so
                for task in waiting:
                    _recall(task, bins, request)
            left = left_to_do(_count(tasks), len(tasks) * len(bins), request)
            raise Interrupted(left) from None
        finally:
            run.remarks.say_collapsed()
    asked = [(task.results, task.on(each, request)) for task in tasks for each in bins]
    return [results[each] for results, each in asked if each in results], failures


def _tasks(request: Request) -> list[_Task]:
    """A task a model: hashed, and checked unless its results may be stored.

    A model whose results are stored has been checked, and is not loaded again: checking waits
    until it is known that something is missing.
    """
    unseen = [may_be_stored(choice, request) for choice in request.models]
    stamps = [file_stamp(choice.path) for choice in request.models]
    # Hashed by another core while this one checks them.
    with ThreadPoolExecutor(1) as beside:
        hashes = [beside.submit(model_identity, choice.path) for choice in request.models]
        try:
            checked = [
                checked_model(choice, request, identity=found.result, unseen=later)
                for choice, found, later in zip(request.models, hashes, unseen, strict=True)
            ]
        except BaseException:
            beside.shutdown(wait=False, cancel_futures=True)
            raise
    return [
        _Task(choice, identity, options, stamp, later)
        for choice, (identity, options), stamp, later in zip(
            request.models, checked, stamps, unseen, strict=True
        )
    ]


def _read(path: Path, tasks: Sequence[_Task], request: Request) -> Bin:
    """A bin or template set, and into the tasks what is stored of it. Its images are left in its
    file or folder: memory does not grow with the number of bins. Where all is stored it has none.
    """
    found: Bin = read_template_set(path) if path.is_dir() else read_bin(path)
    for task in tasks:
        _recall(task, [found], request)
    if isinstance(found, TemplateSet):
        return found
    if any(task.lacking([found], request) for task in tasks):
        return left_in_file(found)
    return replace(found, images=())


def _recall(task: _Task, bins: Sequence[Bin], request: Request) -> None:
    """Into the task what is stored of it on these."""
    for measured in [task.on(each, request) for each in task.lacking(bins, request)]:
        if (result := stored_answer(measured, task.options, request)) is not None:
            task.results[measured] = result


def _keep_people(tasks: Sequence[_Task], bins: Sequence[Bin], run: _Run) -> None:
    """Notes who is on bins with stored results: a pairs file may have come after them."""
    for bin in bins:
        people = run.people.get(bin.path)
        known = (task.results.get(task.on(bin, run.request)) for task in tasks)
        result = next((each for each in known if each is not None), None)
        if people is not None and result is not None:
            with suppress(OSError):  # a store to read alone still answers
                keep_facts(run.request.results, result.bin, people=people)


def _count(tasks: Sequence[_Task]) -> int:
    return sum(len(task.results) for task in tasks)


def _measure_all(waiting: Sequence[_Task], bins: Sequence[Bin], run: _Run) -> list[str]:
    """Measures what is missing, into the tasks; a line for each model that failed."""
    failures = []
    for task, following in zip(waiting, [*waiting[1:], None], strict=False):
        try:
            _measure(task, task.lacking(bins, run.request), run, following=following)
        except (ModelError, BinError) as error:
            failures.append(" ".join(str(error).split()))
    return list(dict.fromkeys(failures))


def _measure_apart(waiting: Sequence[_Task], bins: Sequence[Bin], run: _Run) -> list[str]:
    """`_measure_all` by several processes, which store what they find."""
    from zoo.terminal.progress import Progress

    request = run.request
    lacking = [task.lacking(bins, request) for task in waiting]
    one = replace(_spread(request, len(waiting)), jobs=1, backend="joblib")
    asked = [
        replace(one, models=[task.model], bins=[each.path for each in missing])
        for task, missing in zip(waiting, lacking, strict=True)
    ]
    failures: dict[int, list[str]] = {}
    said: set[str] = set()
    with Progress(f"{len(waiting)} models: embedding", sum(map(_images, lacking))) as progress:
        outcomes = measured_apart(asked, run_request, jobs=request.jobs, backend=request.backend)
        for number, done in outcomes:
            for line in done.said.splitlines():
                if line not in said:
                    warn(line)
                said.add(line)
            failures[number] = done.failures
            task = waiting[number]
            _recall(task, lacking[number], replace(request, fresh=False))
            progress.advance(_images(lacking[number]))
    return list(dict.fromkeys(line for each in sorted(failures) for line in failures[each]))


def _spread(request: Request, models: int) -> Request:
    """The request, each of so many models with its part of the jobs; on a cluster one is one."""
    each = request.jobs // max(1, models) if request.backend == "joblib" else 1
    threads = threads_of_a_job(request.jobs, request.backend)
    return replace(request, processes=max(1, each), threads=threads)


def _images(missing: Sequence[Bin]) -> int:
    """How many images are embedded for these: of bins, each one once."""
    bins = [each for each in missing if isinstance(each, VerificationSet)]
    distinct = len({key for each in bins for key in distinct_of(each)[0].keys})
    return distinct + sum(len(each.images) for each in missing if isinstance(each, TemplateSet))


def _measure(task: _Task, missing: Sequence[Bin], run: _Run, *, following: _Task | None) -> None:
    """Measures one model on bins, then on sets, and keeps each result as soon as it is there.

    The process of the task that follows is started meanwhile.
    """
    from zoo.terminal.progress import Progress

    request, name = run.request, task.model.name
    with run.processes.loaded(
        task.model, task.options, identity=task.identity, stamp=task.stamp
    ) as embedder:
        if following is not None:
            run.processes.prepare(following.model, following.options)
        embedder = fitting_memory(embedder, name, run.remarks)
        bins = [each for each in missing if isinstance(each, VerificationSet)]
        sets = [each for each in missing if isinstance(each, TemplateSet)]
        with Progress(f"{name}: embedding", _images(missing)) as progress:
            how: _Told = {
                "on_progress": progress.advance,
                "on_resize": lambda size: run.remarks.resized(size, embedder.input),
                "on_single": lambda: run.remarks.single(name),
            }
            measurements: Iterator[Measurement | SetMeasurement] = itertools.chain(
                evaluate_bins(embedder, bins, options=_options(request), nan=request.nan, **how),
                (_on_set(each, task, embedder, run, how) for each in sets),
            )
            for measurement in naming_model(measurements, task.model.path):
                _keep(measurement, task, embedder, run)


def _on_set(
    held: TemplateSet, task: _Task, embedder: Embedder, run: _Run, how: _Told
) -> SetMeasurement:
    """A model on a template set; its embeddings stay in the folder of results."""
    request, measured = run.request, task.on(held, run.request)
    path, key = embeddings_of(measured, request.results, task.options)
    if request.fresh:
        path.with_suffix(".rows").unlink(missing_ok=True)
    kept = KeptEmbeddings(path, key, len(held.images))
    if kept.rows:
        note(
            f"{task.model.name} on {held.name}: {kept.rows:,} of {len(held.images):,} embeddings "
            f"are in {path}"
        )
    embedded = embed_set(embedder, held, options=_options(request), kept=kept, **how)
    settings = measured.settings
    with configured(request.backend) if request.jobs > 1 else nullcontext():
        return evaluate_set(
            held,
            embedded,
            norm="unit" if settings.norm == "unit" else "raw",
            detector_score=settings.detector_score == "yes",
            nan=request.nan,
            sizes=request.gallery_sizes,
            jobs=request.jobs,
        )


def _options(request: Request) -> EmbedOptions:
    return EmbedOptions(request.flip, request.decoder, request.batch_size)


def _keep(
    measurement: Measurement | SetMeasurement, task: _Task, embedder: Embedder, run: _Run
) -> None:
    """Stores what was measured, with its scores, and gives it to the task."""
    result = make_result(
        measurement,
        name=task.model.name,
        path=task.model.path,
        sha256=task.identity.sha256,
        data_sha256=task.identity.data_sha256,
        model_format=embedder.format,
        input_spec=embedder.input,
        settings=run.request.settings_on(measurement.bin),
        parts=set_parts(measurement) if isinstance(measurement, SetMeasurement) else None,
    )
    run.remarks.collapsed(task.model, measurement)
    scores = None
    if isinstance(measurement, SetMeasurement):
        scores = set_scores(measurement)
    elif measurement.scores is not None:
        people = run.people[measurement.bin.path]
        scores = Scores(
            measurement.scores,
            measurement.genuine,
            measurement.images,
            people,
            digests=measurement.digests,
            norms=measurement.norms,
        )
    measured = task.on(measurement.bin, run.request)
    path = measured.path_in(run.request.results)
    task.results[measured] = save_result(path, result, scores)
    detail(
        f"{task.model.name} on {measurement.bin.name}: {measurement.embedded:,} images in "
        f"{measurement.seconds:.1f} s, stored as {path}"
    )
