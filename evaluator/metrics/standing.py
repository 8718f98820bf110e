"""Where a model stands in a training: its figures by the names of log.csv, the founding system's
line, and what is the best so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evaluator.metrics.all_figures import NAMES, all_figures, to_json

if TYPE_CHECKING:
    from evaluator.metrics.all_figures import Figures

#: The figures of a bin that stand in log.csv, in its order.
LOGGED = ("accuracy", "threshold", "kfold", "kfold_std", "auc", "eer", "tar_at_far_1e-3")

# Column -> the figure whose number it is.
_FIGURES = {
    name.replace("tar@", "tar_at_far_") if name.startswith("tar@") else name.replace("-", "_"): name
    for name in NAMES
}
#: Every figure that is one number, as columns are called: those of the log first.
COLUMNS = (*LOGGED, *(name for name in _FIGURES if name not in LOGGED))


def column_values(stored: Mapping[str, Any] | None) -> dict[str, float | None]:
    """Each of ``COLUMNS`` from a result's figures, as a fraction or a score; None is undefined."""
    stored = stored or {}
    found = {name: all_figures()[figure].read(stored) for name, figure in _FIGURES.items()}
    found["threshold"] = stored.get("threshold")
    found["kfold_std"] = (stored.get("kfold") or {}).get("std")
    return {name: found[name] for name in COLUMNS}


def rising_columns() -> tuple[str, ...]:
    """The columns of which a higher value is a better model."""
    return tuple(name for name, each in _FIGURES.items() if all_figures()[each].higher_is_better)


def why_undefined(column: str, genuine: int, impostors: int) -> str:
    """Why so many pairs have no TAR of that column; empty where they have, or it is none."""
    if not column.startswith("tar_at_far"):
        return ""
    return all_figures()[_FIGURES[column]].lacks(genuine, impostors)


def founding_line(name: str, figures: Figures | None, best: float, *, unusable: int = 0) -> str:
    """The founding system's log line of a bin, to the character. ``best`` is the highest accuracy
    before it, 0 where there was none; ``unusable`` counts the embeddings that kept it from figures.
    """
    if figures is None or figures.accuracy is None or figures.threshold is None:
        why = "only genuine or only impostor pairs"
        if unusable:
            why = f"{unusable} embeddings are not finite or have no length"
        return f">>>> {name} evaluation: no accuracy: {why}"
    accuracy = figures.accuracy
    return (
        f">>>> {name} evaluation max accuracy: {accuracy:f}, thresh: {figures.threshold:f}, "
        f"overall max accuracy: {max(accuracy, best):f}, improved = {accuracy > best}"
    )


@dataclass(frozen=True)
class OnBin:
    """What was found on the bin of that name; ``unusable`` counts its embeddings that were not
    finite or had no length.
    """

    name: str
    figures: Figures | None
    unusable: int


@dataclass(frozen=True)
class Standing:
    """Where a model stands: ``best`` is bin -> highest accuracy so far, ``improved`` the bins that
    rose now, ``lines`` one a bin, ``aggregate`` of all bins, None where one has no such figure.
    """

    best: Mapping[str, float]
    improved: tuple[str, ...]
    lines: tuple[str, ...]
    aggregate: float | None


def standing(
    found: Iterable[OnBin], best: Mapping[str, float], *, monitor: str, aggregate: str
) -> Standing:
    """Where a model stands after an evaluation, ``best`` from before it. ``monitor`` is a column,
    of which ``aggregate`` is the ``mean`` or the ``min`` over bins.
    """
    best, improved, lines, values = dict(best), [], [], []
    for each in found:
        before = best.get(each.name, 0.0)
        lines.append(founding_line(each.name, each.figures, before, unusable=each.unusable))
        columns = column_values(None if each.figures is None else to_json(each.figures))
        accuracy = columns["accuracy"]
        if accuracy is not None:
            best[each.name] = max(accuracy, before)
            improved += [each.name] if accuracy > before else []
        values.append(columns[monitor])
    known = [value for value in values if value is not None]
    whole = None
    if known and len(known) == len(values):
        whole = min(known) if aggregate == "min" else sum(known) / len(known)
    return Standing(best, tuple(improved), tuple(lines), whole)
