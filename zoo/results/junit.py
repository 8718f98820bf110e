"""A comparison as JUnit XML, which CI systems show: a test case a bin."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree  # nosec B405 - written here, never read

from evaluator.statistics.duels import Duel
from evaluator.statistics.pair_tests import SIGNIFICANCE
from evaluator.statistics.verdicts import b_is_worse
from zoo.results.duels import failure


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
