"""What `zoo eval` found, shown: table, JSON, a line for each failure, and the exit code."""

from __future__ import annotations

from evaluator.results.record import Result
from zoo.evaluate.reading import read_off
from zoo.evaluate.request import Request
from zoo.terminal.output import write_json
from zoo.terminal.table import print_evaluation
from zoo.terminal.words import warn


def finished(outcome: tuple[list[Result], list[str]], request: Request, json: str | None) -> int:
    """Prints what ``run_request`` found, as JSON to a file or "-" too; the exit code."""
    results, failures = outcome
    read = [
        read_off(each, request.results, request.tars, intervals=request.intervals)
        for each in results
    ]
    found = [result for result, _ in read]
    if json is not None:
        write_json(found, json)
    if json != "-" and found:
        readings = [reading for _, reading in read]
        print_evaluation(found, request.results, readings=readings, tars=request.tars)
    unusable = [result for result in found if result.status != "ok"]
    for result in unusable:
        warn(f"zoo: {_not_finite(result)}")
    for failure in failures:
        warn(f"zoo: error: {failure}")
    return 2 if failures else 1 if unusable else 0


def _not_finite(result: Result) -> str:
    """Which images of a result cannot be scored, and what to do."""
    count, slots = result.non_finite["count"], result.non_finite["images"]
    named = ", ".join(str(slot) for slot in slots) + (", ..." if count > len(slots) else "")
    return (
        f"{result.model.name} on {result.bin.name}: {count:,} "
        f"image{'s' if count > 1 else ''} without a finite embedding of some length, so nothing "
        f"is scored (image {named}; pair = image // 2); --nan drop leaves their pairs out, "
        "--nan miss counts them as rejected"
    )
