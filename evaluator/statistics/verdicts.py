"""Comparisons in words: which model is better, and whether one is good enough."""

from __future__ import annotations

from typing import Literal

from evaluator.metrics.figure import Figure
from evaluator.metrics.text import Digits
from evaluator.statistics.comparison import Comparison, Overall
from evaluator.statistics.pair_tests import SIGNIFICANCE

MarginVerdict = Literal["equivalent", "not worse", "worse", "cannot tell"]


def ranking_digits(figure: Figure) -> Digits:
    """How differences of a figure are printed: shares in percentage points."""
    return figure.ranking_digits or figure.digits


def in_points(value: float, figure: Figure) -> str:
    """A distance with its unit: ``0.32 points``, or the plain number of a figure that has none."""
    digits = ranking_digits(figure)
    return digits(value) + (" points" if digits.scale == 100 else "")


def signed(value: float, figure: Figure) -> str:
    """A difference with its sign, in percentage points for a share."""
    digits = ranking_digits(figure)
    text = f"{digits.scale * value:+.{digits.decimals}f}"
    return text if float(text) else text[1:]


def b_is_worse(compared: Comparison | Overall, figure: Figure) -> bool:
    """Whether B's figure is the worse one of the two, by whatever little."""
    return compared.difference > 0 if figure.higher_is_better else compared.difference < 0


def verdict(
    compared: Comparison | Overall, names: tuple[str, str], p_value: float, figure: Figure
) -> str:
    """One line: which model is better by a p-value corrected for other tests, or what could be
    shown, and what the correction cost.
    """
    if p_value >= SIGNIFICANCE:
        shown = in_points(compared.detectable_difference, figure)
        count = f"{compared.pairs:,} {'searches' if figure.searches else 'pairs'}"
        words = f"not separable: {count} would show {shown} or more in 4 of 5 cases"
        if compared.p_value < SIGNIFICANCE:
            words += f" (p {p_text(compared.p_value)} alone, {p_text(p_value)} among all tests)"
        return words
    worse = b_is_worse(compared, figure)
    sign = 1 if worse else -1
    low, high = sorted(sign * end for end in compared.interval)
    digits = ranking_digits(figure)
    by = f"{in_points(abs(compared.difference), figure)} [{digits(low)}, {digits(high)}]"
    return f"{names[0 if worse else 1]} is better: {'+' if figure.higher_is_better else '-'}{by}"


def against_margin(
    compared: Comparison | Overall, names: tuple[str, str], margin: float, figure: Figure
) -> tuple[MarginVerdict, str]:
    """Whether B is as good as A but for a margin (above 0, in units of the figure), and in words.

    By two one-sided tests at 5 %, which is where the 90 % interval of B - A lies: above -margin B
    is shown not to be worse by more, within both ends equivalent (Schuirmann 1987; for paired
    shares Liu et al. 2002).
    """
    low, high = compared.interval90
    if figure.higher_is_better:
        low, high = -high, -low
    within = in_points(margin, figure)
    a, b = names
    where = f" (90 % interval of {b} - {a}: "
    ends = sorted(-end for end in compared.interval90)
    where += f"[{signed(ends[0], figure)}, {signed(ends[1], figure)}])"
    if low > -margin and high < margin:
        return "equivalent", f"{a} and {b} are equivalent within {within}{where}"
    if low > -margin:
        return "not worse", f"{b} is not worse than {a} by more than {within}{where}"
    if high < -margin:
        return "worse", f"{b} is worse than {a} by more than {within}{where}"
    return "cannot tell", f"cannot tell whether {b} is worse than {a} by more than {within}{where}"


def p_text(value: float) -> str:
    """A p-value for readers: three digits, and never 0."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"
