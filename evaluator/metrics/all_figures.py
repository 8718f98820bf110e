"""The figures block of a result: every figure of one model on one bin.

NumPy is imported by what computes: the names of figures cost a shell that completes them nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evaluator.errors import InputError, check_choice
from evaluator.metrics.text import columns

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from evaluator.metrics.figure import Figure, Shape
    from evaluator.metrics.figures.tar_at_far import TarAtFar
    from evaluator.metrics.protocols import InsightfaceAccuracy, KFoldAccuracy
    from evaluator.metrics.sharing import Sharing

# Name of a figure -> the file in `figures/` that says all else of it. In the order of every list.
_FILES = {
    "kfold": "kfold",
    "insightface": "insightface",
    "accuracy": "accuracy",
    "auc": "auc",
    "eer": "eer",
    "tar@1e-1": "tar_at_far",
    "tar@1e-2": "tar_at_far",
    "tar@1e-3": "tar_at_far",
    "tar@1e-4": "tar_at_far",
    "tar@1e-5": "tar_at_far",
    "tar@1e-6": "tar_at_far",
    "d-prime": "d_prime",
    "min-dcf": "min_dcf",
    "min-cllr": "min_cllr",
}
NAMES = tuple(_FILES)
#: Figures of searches in the galleries of a template set: `figures/search.py`.
SEARCH_NAMES = ("tpir@0.1", "tpir@0.01", "rank1", "rank5", "rank10", "rank20")


@dataclass(frozen=True, eq=False, repr=False)
class Figures:
    """All figures of one list of scores; None is undefined, never 0 and never NaN.

    Thresholds are scores: accept if ``score > threshold``. ``accuracy`` and ``threshold`` are
    those of the ``seed`` protocol. ``*_ci95`` are 95 % intervals, None where none can be told;
    ``far_bound95`` is the FAR that so many impostors can show at the least.
    """

    accuracy: float | None
    threshold: float | None
    accuracy_ci95: tuple[float, float] | None
    kfold: KFoldAccuracy | None
    insightface: InsightfaceAccuracy | None
    auc: float | None
    auc_ci95: tuple[float, float] | None
    eer: float | None
    eer_threshold: float | None
    eer_ci95: tuple[float, float] | None
    tar_at_far: Mapping[str, TarAtFar | None]
    far_bound95: float | None
    d_prime: float | None
    d_prime_ci95: tuple[float, float] | None
    min_dcf: float | None
    min_cllr: float | None

    def __repr__(self) -> str:
        """A line a figure, percentages and scores; ``-`` is undefined."""
        stored = to_json(self)
        return "\n".join(
            columns([(each.label, each.line_of(stored)) for each in all_figures().values()])
        )


@functools.cache
def all_figures() -> Mapping[str, Figure]:
    """Every figure by its name, in the order of lists."""
    modules = [
        importlib.import_module(f"evaluator.metrics.figures.{file}")
        for file in dict.fromkeys(_FILES.values())
    ]
    found = {figure.name: figure for module in modules for figure in module.FIGURES}
    return {name: found[name] for name in NAMES}


@functools.cache
def search_figures() -> Mapping[str, Figure]:
    """Every figure of searches by its name, in the order of lists."""
    from evaluator.metrics.figures import search

    return {figure.name: figure for figure in search.FIGURES}


def figure_named(
    option: str, name: str, *, any_far: bool = False, others: Sequence[str] = ()
) -> Figure:
    """The figure of that name: ``kfold``, ``eer``, ``tar@1e-3`` or ``tar@0.001``, ``rank1`` ...

    With ``any_far`` also TAR or TPIR at a rate, and a rank, that results do not carry, to be
    computed from scores. Raises InputError that says which ``option`` was given it, and what it
    takes: ``others``, too.
    """
    known = (*NAMES, *SEARCH_NAMES)
    kind, at, number = name.partition("@")
    alike = [each for each in known if at and each.startswith(f"{kind}@")]
    if alike:
        try:
            rate = float(number)
        except ValueError:
            raise InputError(
                f"{option} {name}: expected a number after {kind}@, as {', '.join(alike)}"
            ) from None
        same = [each for each in alike if float(each.partition("@")[2]) == rate]
        if not same and any_far and 0 < rate < 1:
            from evaluator.metrics.figures import search, tar_at_far

            return search.tpir_at(rate) if kind == "tpir" else tar_at_far.figure_at(rate)
        if not same:
            other = "FPIR" if kind == "tpir" else "FAR"
            raise InputError(f"{option} {name}: results carry {', '.join(alike)}; no other {other}")
        name = same[0]
    if any_far and name[:4] == "rank" and name[4:].isdecimal() and 0 < int(name[4:]) < 10**6:
        from evaluator.metrics.figures.search import found_at

        return found_at(int(name[4:]))
    check_choice(option, name, (*known, *others))
    return (search_figures() if name in SEARCH_NAMES else all_figures())[name]


def figures(
    scores: ArrayLike,
    genuine: ArrayLike,
    *,
    folds: str | ArrayLike | None = "contiguous",
    sharing: Sharing | None = None,
) -> Figures:
    """Every figure of n pairs, as fractions, with 95 % intervals; ``print`` shows them in percent.

    ``scores`` are n finite floats, higher is more alike, -inf for a pair that is missed, which no
    threshold accepts and d' and min Cllr do not take; ``genuine`` are n bools, True where both
    images show one person. The scores need not be cosines, but ``insightface`` is None where they
    are not. ``folds``: "contiguous" or None, ten parts of the pairs in the order given, which is a
    bin's protocol; "by rule", ten that do not depend on the order (``folds_by_rule``); "none", so
    that figures of folds are None; or n whole numbers, the fold of each pair. ``sharing`` says
    which pairs share images or people, which widens the intervals. Raises InputError for another
    shape, type or length, or a score that is NaN or +inf.
    """
    from evaluator.metrics.protocols import sorted_pairs

    pairs = sorted_pairs(scores, genuine, _fold_numbers(scores, genuine, folds))
    found: dict[str, Any] = {}
    for figure in all_figures().values():
        for field, value in figure.of(pairs, sharing).items():
            several = isinstance(value, dict) and field in found
            found[field] = {**found[field], **value} if several else value
    return Figures(**found)


def scored_figures(
    scores: NDArray[np.float64],
    genuine: NDArray[np.bool_],
    *,
    images: NDArray[np.integer] | None,
    people: NDArray[np.integer] | None = None,
    folds: NDArray[np.integer] | None = None,
) -> Figures:
    """`figures` of those of a bin's pairs (pairs,) that have a score, which is NaN for the others.

    ``images`` and ``people`` (2 x pairs,) number what its slots show, where that is known;
    ``folds`` (pairs,) are None where they are contiguous.
    """
    import numpy as np

    from evaluator.metrics.sharing import slots_sharing

    kept = ~np.isnan(scores)
    return figures(
        scores[kept],
        genuine[kept],
        folds=None if folds is None else folds[kept],
        sharing=slots_sharing(kept, images=images, people=people),
    )


def _fold_numbers(
    scores: ArrayLike, genuine: ArrayLike, folds: str | ArrayLike | None
) -> ArrayLike | None:
    """The fold of each pair; None for contiguous ones."""
    if not isinstance(folds, str):
        return folds
    check_choice("folds", folds, ("contiguous", "by rule", "none"))
    if folds == "contiguous":
        return None
    if folds == "none":  # one fold of all pairs is none
        import numpy as np

        return np.zeros(len(np.asarray(genuine)), np.uint8)
    from evaluator.metrics.folds import folds_by_rule
    from evaluator.metrics.sweep import scored_pairs

    pairs = scored_pairs(scores, genuine)
    return folds_by_rule(pairs.scores, pairs.is_genuine).numbers


@functools.cache
def shapes() -> Mapping[str, Shape]:
    """The JSON of each field of `Figures`."""
    return {
        field: shape for figure in all_figures().values() for field, shape in figure.shape.items()
    }


def to_json(block: Figures) -> dict[str, Any]:
    """The ``figures`` object of a result as JSON values: None (null) is undefined."""
    from evaluator.metrics.figure import as_json

    fields = [field.name for field in dataclasses.fields(block)]
    return {field: as_json(getattr(block, field), shapes()[field]) for field in fields}
