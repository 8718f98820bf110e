"""How unequal the error rates of groups are, by every name that the field has for it.

All take rates of (..., groups) and give (...). Sources: GARBE and its Gini coefficient, Howard and
others 2022 (arXiv 2203.05051); FDR, de Freitas Pereira and Marcel 2021; the inequity rate and the
maximum over the geometric mean, NIST IR 8429 (draft); SER, Wang and Deng 2020.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from evaluator.array_types import BoolArray, FloatArray


@dataclass(frozen=True, eq=False)
class Tally:
    """Errors and pairs of groups, each (..., groups): of impostor pairs, and of genuine ones."""

    false_accepts: FloatArray
    impostors: FloatArray
    false_rejects: FloatArray
    genuine: FloatArray

    @property
    def fmr(self) -> FloatArray:
        """The share of impostors accepted, NaN without any."""
        return _share(self.false_accepts, self.impostors)

    @property
    def fnmr(self) -> FloatArray:
        """The share of genuine pairs rejected, NaN without any."""
        return _share(self.false_rejects, self.genuine)

    @property
    def wrong(self) -> FloatArray:
        """The share of all pairs decided wrongly, NaN without any."""
        return _share(self.false_accepts + self.false_rejects, self.impostors + self.genuine)


def max_over_geometric_mean(rates: FloatArray) -> FloatArray:
    """1 is fair; inf where a group makes no error and another does."""
    with np.errstate(divide="ignore"):
        mean = np.exp(np.log(rates).mean(axis=-1))
    return _ratio(rates.max(axis=-1), mean)


def max_over_min(rates: FloatArray) -> FloatArray:
    """1 is fair; inf where a group makes no error and another does."""
    return _ratio(rates.max(axis=-1), rates.min(axis=-1))


def gini(rates: FloatArray) -> FloatArray:
    """0 is fair, 1 where one group makes all errors; with the factor n / (n - 1) of n groups."""
    count = rates.shape[-1]
    # The sum of |y_i - y_j| over ordered couples, by rank.
    ranks = 2 * np.arange(1, count + 1) - count - 1
    between = 2 * (np.sort(rates, axis=-1) * ranks).sum(axis=-1)
    mean = rates.mean(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = count / (count - 1) * between / (2 * count**2 * mean)
    return np.where(mean == 0, 0.0, found)


def standard_deviation(rates: FloatArray) -> FloatArray:
    """Of the groups as they are, none of them a sample: divided by n (ddof 0)."""
    found: FloatArray = rates.std(axis=-1)
    return found


def garbe(fmr: FloatArray, fnmr: FloatArray, alpha: float) -> FloatArray:
    """0 is fair, 1 worst: the Gini coefficients of both rates, FMR's weighted by alpha."""
    return alpha * gini(fmr) + (1 - alpha) * gini(fnmr)


def fairness_discrepancy_rate(fmr: FloatArray, fnmr: FloatArray, alpha: float) -> FloatArray:
    """1 is fair; FNMR outweighs FMR wherever FMR is small."""
    found: FloatArray = 1 - alpha * np.ptp(fmr, axis=-1) - (1 - alpha) * np.ptp(fnmr, axis=-1)
    return found


def inequity_rate(fmr: FloatArray, fnmr: FloatArray, alpha: float) -> FloatArray:
    """1 is fair; inf where a group makes no error of a kind and another does."""
    return max_over_min(fmr) ** alpha * max_over_min(fnmr) ** (1 - alpha)


def _ratio(top: FloatArray, bottom: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(bottom > 0, top / bottom, np.where(top > 0, np.inf, 1.0))


def _share(errors: FloatArray, pairs: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs > 0, errors / pairs, np.nan)


@dataclass(frozen=True)
class Measure:
    """A measure of fairness: of which ``rates``, and what is ``fair``; ``turned`` times it (1 or
    -1), more is less fair. A ``ratio`` is undefined for groups of which one makes no error.
    """

    key: str
    words: str
    rates: tuple[str, ...]
    fair: float
    of: Callable[..., FloatArray]
    ratio: bool = False
    turned: int = 1

    def on(self, tally: Tally, usable: dict[str, BoolArray], alpha: float) -> FloatArray:
        """The measure (...) of the ``usable`` groups of each rate, (groups,) each."""
        rates = [getattr(tally, name)[..., usable[name]] for name in self.rates]
        return self.of(*rates, *([alpha] if len(rates) > 1 else []))


def _of_one(rate: str) -> list[Measure]:
    name = rate.upper()
    return [
        Measure(
            f"{rate}_max_over_geometric_mean",
            f"{name} max/geometric mean",
            (rate,),
            1,
            max_over_geometric_mean,
            ratio=True,
        ),
        Measure(f"{rate}_max_over_min", f"{name} max/min", (rate,), 1, max_over_min, ratio=True),
        Measure(f"{rate}_gini", f"{name} Gini", (rate,), 0, gini),
        Measure(f"{rate}_sd", f"{name} SD (ddof 0)", (rate,), 0, standard_deviation),
    ]


_BOTH = ("fmr", "fnmr")

#: Every measure in the order in which they are shown.
MEASURES = (
    *_of_one("fmr"),
    *_of_one("fnmr"),
    Measure("garbe", "GARBE", _BOTH, 0, garbe),
    Measure("fdr", "FDR", _BOTH, 1, fairness_discrepancy_rate, turned=-1),
    Measure("ir", "IR", _BOTH, 1, inequity_rate, ratio=True),
    Measure("accuracy_sd", "accuracy SD (ddof 0)", ("wrong",), 0, standard_deviation),
    Measure("ser", "SER", ("wrong",), 1, max_over_min, ratio=True),
)
