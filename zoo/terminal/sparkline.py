"""A figure over the epochs of a run, drawn in a line of a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from evaluator.metrics.figure import Figure
from evaluator.results.epochs import epochs_in
from evaluator.results.record import Result

_BARS = "▁▂▃▄▅▆▇█"
# So that bin, bars and figures stand in 80 columns.
_MOST_BARS = 30
_NAME_WIDTH = 14


def sparkline(values: Sequence[float | None], *, most: int = _MOST_BARS) -> str:
    """A bar a value, from the lowest to the highest, a space for None; "" without two different
    values, and where the terminal cannot write bars. Of more than ``most`` evenly spaced ones.
    """
    there = [value for value in values if value is not None]
    if len(set(there)) < 2 or not _can_write(_BARS):
        return ""
    count = min(len(values), most)
    shown = [values[round(i * (len(values) - 1) / (count - 1))] for i in range(count)]
    low, high = min(there), max(there)
    steps = len(_BARS) - 1
    return "".join(
        " " if value is None else _BARS[round(steps * (value - low) / (high - low))]
        for value in shown
    )


def _can_write(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def epoch_lines(
    models: Sequence[tuple[str, Mapping[str, Result]]], bins: Mapping[str, str], figure: Figure
) -> list[str]:
    """For models (path, results by the bin's key) that are epochs of one run, a line a bin with the
    figure over the epochs; ``bins`` are labels by the key. None where they are no epochs.
    """
    lines = []
    for run in epochs_in([path for path, _ in models]):
        own = [models[place][1] for place in run.places]
        drawn = []
        for key, label in bins.items():
            values = [figure.read(each[key].figures) if key in each else None for each in own]
            numbered = zip(values, run.numbers, strict=True)
            there = [(value, n) for value, n in numbered if value is not None]
            if bars := sparkline(values):
                sign = 1 if figure.higher_is_better else -1
                best, at = max(there, key=lambda each: (sign * each[0], -each[1]))
                ends = f"{figure.digits(there[0][0])} to {figure.digits(there[-1][0])}"
                name = label if len(label) <= _NAME_WIDTH else f"{label[: _NAME_WIDTH - 1]}…"
                drawn.append(
                    f"  {name:<{_NAME_WIDTH}} {bars}  {ends}, best {figure.digits(best)} at {at}"
                )
        if drawn:
            span = f"{run.word}s {run.numbers[0]}-{run.numbers[-1]}"
            lines += [f"{run.run}, {figure.label} over {span}", *drawn]
    return lines
