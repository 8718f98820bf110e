"""Models measured by several processes of this machine or of a cluster, each a task of joblib's.

A task is one model on the bins that it lacks; what it finds is stored, as ever, and read from the
store. One that a killed process had is done again.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

from evaluator.errors import InputError
from evaluator.results.record import Result
from zoo.entries.lookup import ModelChoice
from zoo.evaluate.request import Request
from zoo.terminal.words import Amount, error_text, said_amount, set_amount

#: What measures a request: its results, and a line for each failure.
Run = Callable[[Request], tuple[list[Result], list[str]]]


@dataclass(frozen=True)
class Done:
    """What became of one model: a line for each failure, and what it said on stderr."""

    failures: list[str]
    said: str


def measured_apart(
    requests: Sequence[Request],
    run: Run,
    *,
    jobs: int,
    backend: str,
) -> Iterator[tuple[int, Done]]:
    """Each request's number and what became of it, as soon as that is known.

    ``run`` is `run_request`, results being stored. A process that is killed breaks those that run
    beside it: these are done again, and a request that is left alone with it twice has failed.
    """
    left = dict(enumerate(requests))
    for together in (True, True, False):
        groups = [left] if together else [{number: one} for number, one in left.items()]
        for group in groups:
            for number, done in _attempt(dict(group), run, jobs=jobs, backend=backend):
                left.pop(number)
                yield number, done
        if not left:
            return
    for number, request in left.items():
        path = request.models[0].path
        yield number, Done([f"{path}: the process that measured it was killed, three times"], "")


def _attempt(
    requests: dict[int, Request],
    run: Run,
    *,
    jobs: int,
    backend: str,
) -> Iterator[tuple[int, Done]]:
    """One try of requests; ends early where a process was killed."""
    import joblib

    calls = [
        joblib.delayed(_measured)(
            number, run, replace(one, tars=()), str(Path.cwd()), said_amount()
        )
        for number, one in requests.items()
    ]
    # One job alone joblib would do in this process, which must outlive it.
    count = max(2, min(jobs, len(calls)))
    as_they_come = "generator_unordered" if backend == "joblib" else "list"
    with configured(backend) as killed:
        try:
            yield from joblib.Parallel(count, return_as=as_they_come, batch_size=1)(calls)
        except killed:
            return


def _measured(
    number: int, run: Run, request: Request, folder: str, said: Amount
) -> tuple[int, Done]:
    """In a process of its own, perhaps on another machine: measures what is asked."""
    os.chdir(folder)
    set_amount(said)
    with redirect_stderr(io.StringIO()) as text:
        try:
            _, failures = run(request)
        except (InputError, OSError) as error:
            failures = [error_text(error)]
    return number, Done(failures, text.getvalue())


@contextmanager
def configured(backend: str) -> Iterator[type[Exception]]:
    """What has joblib use that backend within a block, and the error that says there that a
    process was killed. Raises InputError for a backend that is not installed.
    """
    import joblib
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    if backend == "joblib":
        with joblib.parallel_config(backend="loky"):
            yield TerminatedWorkerError
        return
    killed: type[Exception]
    try:
        if backend == "ray":
            import ray
            from ray.util.joblib import register_ray

            register_ray()
            end, killed = ray.shutdown, ray.exceptions.RayError
        else:
            import dask
            from distributed import Client, KilledWorker

            # The scheduler that DASK_SCHEDULER_ADDRESS names, else one of this machine, of
            # processes with a thread each: a task takes all of its process's stderr.
            there = dask.config.get("scheduler-address", None)
            end = Client(**({} if there else {"threads_per_worker": 1})).close
            killed = KilledWorker
    except ModuleNotFoundError as error:
        needed = f"needs the package {error.name}: pip install 'face-zoo[{backend}]'"
        raise InputError(f"--backend {backend}: {needed}") from None
    # What Ray says of its processes it prints on stdout, where our table belongs.
    with redirect_stdout(sys.stderr), joblib.parallel_config(backend=backend):
        try:
            yield killed
        finally:
            end()


def threads_of_a_job(jobs: int, backend: str) -> int:
    """How many threads compute in each process: the cores are divided; one on a cluster, where the
    scheduler gives so many.
    """
    return max(1, (os.cpu_count() or 1) // jobs) if backend == "joblib" else 1


def parsed_shard(text: str) -> tuple[int, int]:
    """(I, N) of "I/N", I from 1. Raises InputError."""
    first, slash, last = text.partition("/")
    if slash and first.isdigit() and last.isdigit() and 1 <= int(first) <= int(last):
        return int(first), int(last)
    raise InputError(f"--shard {text}: expected I/N, the I-th of N parts, as 1/8 to 8/8")


def models_of_shard(models: Sequence[ModelChoice], shard: tuple[int, int]) -> list[ModelChoice]:
    """The models of one of N parts, in their order; the parts' files have about equal sizes, which
    is what a model costs as far as can be told before it is read. Each part finds the same.
    """
    sizes = [_bytes(each.path) for each in models]
    loads = [0] * shard[1]
    mine = set()
    for number in sorted(range(len(models)), key=lambda each: (-sizes[each], each)):
        lightest = min(range(shard[1]), key=lambda part: (loads[part], part))
        # A model costs something, however small its file.
        loads[lightest] += sizes[number] + 1_000_000
        if lightest == shard[0] - 1:
            mine.add(number)
    return [each for number, each in enumerate(models) if number in mine]


def _bytes(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
