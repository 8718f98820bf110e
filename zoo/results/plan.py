"""How many pairs and people a comparison will need, as a table, markdown and JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from evaluator.errors import InputError
from evaluator.statistics.planning import (
    Expected,
    Pairs,
    pairs_to_bound,
    pairs_to_exclude,
    pairs_to_find,
    pairs_to_measure,
)
from zoo.terminal.table import headed_table, print_fitting, spaceless
from zoo.terminal.words import rich_terminal

_ACCURACIES = ("accuracy", "kfold", "insightface")
_FACTORS = (2.0, 1.5)  # within which a FAR is known
_HEADER = ("question", "pairs", "genuine", "impostor", "people")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the user asks: the options of `zoo compare --plan`, of which None are not given.

    ``accuracy`` is what ``metric`` is of the better model, a fraction; ``difference`` and
    ``margin`` are in points. ``reuse`` is the design effect of shared images or people.
    """

    metric: str
    accuracy: float | None
    difference: float | None
    margin: float | None
    correlation: float
    power: float
    reuse: float


@dataclass(frozen=True)
class Need:
    """A question, and the pairs that answer it; ``people`` is where nobody is in two of them."""

    question: str
    pairs: Pairs
    people: int


def needs_of(wanted: Wanted) -> list[Need]:
    """A row a question. InputError says which option is missing, or out of range."""
    if not 1 <= wanted.reuse < float("inf"):
        raise InputError(f"--reuse {wanted.reuse:g}: expected 1 (nothing is shared) or more")
    try:
        return [
            Need(question, pairs.times(wanted.reuse), pairs.people)
            for question, pairs in _questions(wanted)
        ]
    except InputError as error:
        raise InputError(f"--plan: {error}") from None


def _questions(wanted: Wanted) -> Iterator[tuple[str, Pairs]]:
    figure, far = _figure(wanted.metric)
    asked = wanted.difference is not None or wanted.margin is not None
    if asked and wanted.accuracy is None:
        raise InputError("expected --accuracy, what the better model has, as 0.99")
    if not asked and (far is None or wanted.accuracy is not None):
        raise InputError(
            "expected --accuracy with --difference or --margin, in points; or --metric tar@1e-4"
        )
    if wanted.accuracy is not None:
        expected = Expected(
            figure,
            wanted.accuracy,
            correlation=wanted.correlation,
            power=wanted.power,
            **({} if far is None else {"far": far}),
        )
        level = 100 * wanted.accuracy
        of = "accuracy" if figure == "accuracy" else wanted.metric
        if wanted.difference is not None:
            found = pairs_to_find(expected, wanted.difference / 100)
            yield f"{of} of {level:g} % is above {level - wanted.difference:g} %", found
        if wanted.margin is not None:
            found = pairs_to_exclude(expected, wanted.margin / 100)
            yield f"{of} of {level:g} % is no worse by {wanted.margin:g}", found
    if far is not None:
        yield f"FAR below {far:g}, none accepted", Pairs(0, pairs_to_bound(far))
        for factor in _FACTORS:
            yield f"FAR {far:g} within {factor:g} times", Pairs(0, pairs_to_measure(far, factor))


def _figure(metric: str) -> tuple[Literal["accuracy", "tar", "auc"], float | None]:
    """What is planned for, and the FAR of a TAR."""
    if metric in _ACCURACIES:
        return "accuracy", None
    if metric == "auc":
        return "auc", None
    kind, _, number = metric.partition("@")
    try:
        if kind == "tar":
            return "tar", float(number)
    except ValueError:
        pass
    raise InputError(f"--metric {metric}: expected accuracy, auc or a FAR, as tar@1e-4")


def print_plan(wanted: Wanted, form: Literal["table", "json", "markdown"]) -> None:
    """Prints what is needed on stdout. InputError as in `needs_of`."""
    needs = needs_of(wanted)
    console = rich_terminal() if form == "table" else None
    if console is None:
        write = {"table": _plain, "json": _json, "markdown": _markdown}[form]
        sys.stdout.write(write(wanted, needs))
        return
    table = headed_table()
    table.add_column(_HEADER[0], overflow="fold")
    for heading in _HEADER[1:]:
        table.add_column(heading, justify="right", no_wrap=True)
    for need in needs:
        table.add_row(*_row(need, ","))
    print_fitting(table, console)
    console.print(_caption(wanted), style="dim", highlight=False, markup=False)


def _row(need: Need, separator: str = "") -> list[str]:
    pairs = need.pairs
    counts = (pairs.genuine + pairs.impostor, pairs.genuine, pairs.impostor, need.people)
    return [need.question, *(f"{count:{separator}}" for count in counts)]


def _plain(wanted: Wanted, needs: list[Need]) -> str:
    lines = spaceless([_HEADER, *map(_row, needs)])
    return "\n".join([*lines, f"# {_caption(wanted)}"]) + "\n"


def _markdown(wanted: Wanted, needs: list[Need]) -> str:
    lines = [f"| {' | '.join(_HEADER)} |", "|---|" + "---:|" * (len(_HEADER) - 1)]
    lines += [f"| {' | '.join(_row(need, ','))} |" for need in needs]
    return "\n".join([*lines, "", _caption(wanted)]) + "\n"


def _json(wanted: Wanted, needs: list[Need]) -> str:
    rows = [
        {"question": need.question, **asdict(need.pairs), "people": need.people} for need in needs
    ]
    return json.dumps({"schema": 1, "expected": asdict(wanted), "needs": rows}, indent=2) + "\n"


def _caption(wanted: Wanted) -> str:
    words = ""
    if wanted.accuracy is not None:
        words = (
            f"Answered in {100 * wanted.power:g} % of repetitions, at 5 %, where both models' "
            f"scores correlate by {wanted.correlation:g} among pairs of a kind. "
        )
    if wanted.reuse != 1:
        words += f"{wanted.reuse:g} times as many pairs as of independent ones. "
    return words + "People: where nobody is shown twice, so that pairs are independent."
