"""`zoo compare --plan`: a row a question, and one line for what it cannot answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from samples import Zoo

from evaluator.statistics.planning import (
    Expected,
    Pairs,
    pairs_to_bound,
    pairs_to_exclude,
    pairs_to_find,
    pairs_to_measure,
)


def planned(zoo: Zoo, *arguments: object) -> list[dict[str, Any]]:
    done = zoo("compare", "--plan", *arguments, "--format", "json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["schema"] == 1
    rows: list[dict[str, Any]] = found["needs"]
    return rows


def counts(row: dict[str, Any]) -> Pairs:
    return Pairs(row["genuine"], row["impostor"])


def test_a_difference_and_a_margin_are_a_row_each(zoo: Zoo) -> None:
    difference, margin = planned(
        zoo, "--accuracy", 0.99, "--difference", 0.2, "--margin", 0.1, "--correlation", 0.5
    )
    expected = Expected("accuracy", 0.99, correlation=0.5)
    assert counts(difference) == pairs_to_find(expected, 0.002)
    assert counts(margin) == pairs_to_exclude(expected, 0.001)
    assert difference["people"] == difference["genuine"] + 2 * difference["impostor"]


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("kfold", Expected("accuracy", 0.9, power=0.9)),
        ("auc", Expected("auc", 0.9, power=0.9)),
        ("tar@0.001", Expected("tar", 0.9, far=0.001, power=0.9)),
    ],
)
def test_the_metric_says_what_differs(zoo: Zoo, metric: str, expected: Expected) -> None:
    chosen = ("--metric", metric, "--accuracy", 0.9, "--difference", 2, "--power", 0.9)
    assert counts(planned(zoo, *chosen)[0]) == pairs_to_find(expected, 0.02)


def test_a_far_alone_takes_impostors_and_reuse_more_of_them(zoo: Zoo) -> None:
    rows = planned(zoo, "--metric", "tar@1e-4", "--reuse", 1.5)
    alone = [pairs_to_bound(1e-4), pairs_to_measure(1e-4, 2), pairs_to_measure(1e-4, 1.5)]
    assert [counts(row) for row in rows] == [Pairs(0, each).times(1.5) for each in alone]
    assert [row["people"] for row in rows] == [2 * each for each in alone]


def test_a_pipe_has_a_line_a_question_and_a_terminal_and_markdown_the_same_numbers(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = ("compare", "--plan", "--accuracy", 0.99, "--difference", 0.2)
    header, row, caption = zoo(*chosen).out.splitlines()
    assert header.split() == ["question", "pairs", "genuine", "impostor", "people"]
    assert row.split() == ["accuracy_of_99%_is_above_98.8%", "31472", "15736", "15736", "47208"]
    assert caption.startswith("# Answered in 80 % of repetitions")
    assert (
        "| accuracy of 99 % is above 98.8 % | 31,472 | 15,736 | 15,736 | 47,208 |"
        in zoo(*chosen, "--format", "markdown").out.splitlines()
    )
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown = zoo(*chosen).out
    assert "31,472" in shown
    assert "47,208" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--plan"], "expected --accuracy with --difference or --margin, in points; or --metric"),
        (["--plan", "--accuracy", "0.99"], "expected --accuracy with --difference or --margin"),
        (["--plan", "--difference", "1"], "expected --accuracy, what the better model has"),
        (["--plan", "--margin", "1"], "expected --accuracy, what the better model has"),
        (["--plan", "a", "b", "--accuracy", "0.9"], "--plan: expected no models; got 'a'"),
        (["--plan", "--accuracy", "99", "--margin", "1"], "accuracy of 99: expected a fraction"),
        (["--plan", "--accuracy", "0.9", "--difference", "50"], "difference of 50 points from 90"),
        (["--plan", "--metric", "eer"], "--metric eer: expected accuracy, auc or a FAR"),
        (["--plan", "--metric", "tar@x"], "--metric tar@x: expected accuracy, auc or a FAR"),
        (["--plan", "--metric", "tar@2"], "rate of 2: expected"),
        (["--plan", "--metric", "tar@1e-4", "--reuse", "0.5"], "--reuse 0.5: expected 1"),
        (["a", "b", "--accuracy", "0.9"], "--accuracy: only with --plan"),
        (["a", "b", "--power", "0.9"], "--power: only with --plan"),
        ([], "expected two models or more to compare; got none"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(zoo: Zoo, arguments: list[str], words: str) -> None:
    done = zoo("compare", *arguments)
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert line.startswith("zoo: error: ")
    assert words in line
