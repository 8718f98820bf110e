"""Every two of some models, compared on the bins they share; as JUnit XML for CI, too."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from xml.etree import ElementTree  # nosec B405 - written here, never read

from evaluator.errors import InputError
from evaluator.results.choice import labelled
from evaluator.statistics.duels import Duel, compare_sides
from evaluator.statistics.pair_tests import SIGNIFICANCE
from evaluator.statistics.sides import nothing_shared, stored_side
from evaluator.statistics.verdicts import b_is_worse
from zoo.results.selection import Chosen, contestants_of


def compare_models(
    models: Sequence[Chosen], *, metric: str = "accuracy", margin: float | None = None
) -> list[Duel]:
    """All pairs of the models, in the order given, as `compare_sides` has it.

    Raises InputError for fewer than two models, or where two are one or share no bin; ResultError
    for scores that are not there.
    """
    if len(models) < 2:
        raise InputError(f"expected two models or more to compare; got only {models[0].asked!r}")
    for a, b in itertools.combinations(models, 2):
        if a.identity == b.identity and a.variant == b.variant:
            raise InputError(
                f"{a.asked} and {b.asked} are one model with the same settings ({a.identity[:8]}); "
                "nothing to compare"
            )
    sides = labelled(contestants_of(models))
    duels, apart = compare_sides(
        [stored_side(each) for each in sides], metric=metric, margin=margin
    )
    if apart:
        raise InputError(nothing_shared(apart[0]))
    return duels


def failures(duels: Sequence[Duel]) -> list[str]:
    """Which models are worse than the first one, a line each; with a margin, which are not shown
    to be as good but for that.
    """
    found = [failure(duel) for duel in duels if duel.a is duels[0].a]
    return [line for line in found if line is not None]


def failure(duel: Duel) -> str | None:
    """Why the second model of a comparison is not good enough; None where it is."""
    if duel.by_margin is None:
        if not duel.b_is_worse:
            return None
        return f"{duel.b.label} is worse than {duel.a.label}: {duel.words}"
    return duel.margin_words if duel.by_margin in ("worse", "cannot tell") else None


# ---- For CI --------------------------------------------------------------------------------------


def junit(duels: Sequence[Duel]) -> bytes:
    """The comparisons with the first model, a suite each.

    A bin fails where the other model is shown to be worse on it, corrected for all bins; the case
    "overall" (a single bin's own) where `zoo compare --fail-if-worse` does. What fails has its
    verdict as the message, what passes as its output.
    """
    root = ElementTree.Element("testsuites", name="zoo compare")
    for duel in duels:
        if duel.a is duels[0].a:
            _add_suite(root, duel)
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _add_suite(root: ElementTree.Element, duel: Duel) -> None:
    name, said = f"{duel.a.label} / {duel.b.label}", failure(duel)
    cases = [
        (
            each.label,
            each.words,
            each.p_value < SIGNIFICANCE and b_is_worse(each.comparison, duel.figure),
        )
        for each in duel.bins
    ]
    overall = ("overall", said or duel.margin_words or duel.words, said is not None)
    cases = [*cases, overall] if len(cases) > 1 else [(cases[0][0], *overall[1:])]
    failed = sum(is_failed for *_, is_failed in cases)
    counts = {"tests": str(len(cases)), "failures": str(failed), "errors": "0", "skipped": "0"}
    suite = ElementTree.SubElement(root, "testsuite", {"name": name, **counts})
    for bin, words, is_failed in cases:
        case = ElementTree.SubElement(suite, "testcase", classname=name, name=bin)
        if is_failed:
            ElementTree.SubElement(case, "failure", message=words).text = words
        else:
            ElementTree.SubElement(case, "system-out").text = words
