"""Many models: the matrix of `zoo compare`, and what a report shows of fifty."""

from __future__ import annotations

import csv
import json
import math
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stores import cosines, store

from tests.command import Zoo
from zoo.report.page import duel_groups, render_report
from zoo.report.selection import select
from zoo.report.standings import SHOWN, standings

RESULTS = Path("results")


def models(count: int, *, pairs: int = 400) -> None:
    """A store of so many models on lfw, each worse than the one before."""
    for number in range(1, count + 1):
        scores = cosines(pairs, noise=0.3 + 0.4 * number, seed=number)
        store(RESULTS, f"m{number}", scores)


def between(duels: list[dict[str, Any]]) -> dict[tuple[str, str], tuple[float, bool]]:
    """The differences of every two models in points, and whether they are real."""
    found = {}
    for duel in duels:
        a, b, overall = duel["a"]["label"], duel["b"]["label"], duel["overall"]
        found[a, b] = 100 * overall["difference"], overall["separable"]
        found[b, a] = -100 * overall["difference"], overall["separable"]
    return found


def test_a_matrix_has_the_differences_of_every_two(zoo: Zoo) -> None:
    models(4)
    known = between(json.loads(zoo("compare", "m*", "--format", "json").out)["comparisons"])
    out = zoo("compare", "m*").out
    rows = [line.split() for line in out.splitlines() if not line.startswith("# ")]
    names = [row[1].removesuffix("_(A)") for row in rows[1:]]
    assert rows[0] == ["no", "model", "1", "2", "3", "4"]
    for row, one in zip(rows[1:], names, strict=True):
        for cell, other in zip(row[2:], names, strict=True):
            if one == other:
                assert cell == "."
                continue
            difference, real = known[one, other]
            assert float(cell.rstrip("*")) == pytest.approx(difference, abs=0.006)
            assert cell.endswith("*") == real
    # The order, restated: by wins less defeats.
    wins = [sum(real * (1 if d > 0 else -1) for (a, _), (d, real) in known.items() if a == name)
            for name in names]  # fmt: skip
    assert wins == sorted(wins, reverse=True)
    assert "m1_(A)" in out
    assert f"# better than m1 (A): {'none' if names[0] == 'm1' else names[0]}" in out
    assert "--pairs all" in out


def test_two_alone_have_the_figures_they_have_among_many(zoo: Zoo) -> None:
    """Whatever pairs the others lack: what is corrected among many is the p-value alone."""
    for number in range(6):
        scores = cosines(400, noise=0.4 + 0.5 * number, seed=number)
        scores[: 7 * (number % 3)] = math.nan
        store(RESULTS, f"m{number}", scores, images=np.arange(800) // 3)
        if number != 2:
            store(RESULTS, f"m{number}", cosines(300, noise=1, seed=number, bin="cfp"), bin="cfp")
    among = json.loads(zoo("compare", "m*", "--format", "json").out)["comparisons"]
    assert len(among) == 15
    for duel in among:
        alone = zoo("compare", duel["a"]["label"], duel["b"]["label"], "--format", "json").out
        (two,) = json.loads(alone)["comparisons"]
        for each in (duel["overall"], two["overall"], *duel["bins"], *two["bins"]):
            del each["verdict"], each["p_holm"], each["separable"]
        assert duel == two


def test_fifty_models_take_seconds(zoo: Zoo) -> None:
    """1,225 comparisons of what is computed once a model; each alone, they took 36 s."""
    models(50, pairs=1000)
    started = time.process_time()
    assert "50 models, 1,225 comparisons" in zoo("compare", "m*").out
    assert time.process_time() - started < 15


def test_of_many_the_best_and_the_baseline_are_shown(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    models(11)
    for name in ("extra_1", "extra_2"):
        store(RESULTS, name, cosines(400, noise=9.0, seed=99, bin="lfw"))
        store(RESULTS, name, cosines(400, noise=9.0, seed=98, bin="cfp"), bin="cfp")
    done = zoo("compare", "m11", "m*", "extra_*")
    rows = [line.split() for line in done.out.splitlines() if not line.startswith("# ")]
    assert len(rows) == 9
    assert len(rows[0]) == 10
    assert rows[-1][1] == "m11_(A)"
    assert "# 5 more models, not shown: " in done.out
    assert len(done.out.splitlines()) < 30
    # Of what eleven models lack there is one line, not one a comparison.
    assert done.out.count("cfp") == 1
    assert "note: 11 models: no result on cfp: " in done.out
    assert len(zoo("compare", "m*", "--pairs", "all").out.splitlines()) > 200
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "80")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", zoo("compare", "m11", "m*").out)
    assert max(map(len, plain.splitlines())) <= 80
    assert "m11 (A)" in plain


def test_other_formats(zoo: Zoo) -> None:
    models(3)
    markdown = zoo("compare", "m*", "--format", "markdown").out
    assert "| 1 | **m1 (A)** | . |" in markdown
    every = zoo("compare", "m*", "--format", "markdown", "--pairs", "all").out
    assert every.count("### ") == 3
    rows = list(csv.DictReader(zoo("compare", "m*", "--format", "csv").out.splitlines()))
    duels = json.loads(zoo("compare", "m*", "--format", "json").out)["comparisons"]
    assert [(row["a"], row["b"]) for row in rows] == [("m1", "m2"), ("m1", "m3"), ("m2", "m3")]
    for row, duel in zip(rows, duels, strict=True):
        (of_bin,) = duel["bins"]
        assert float(row["difference"]) == of_bin["difference"]
        assert float(row["p_holm"]) == of_bin["p_holm"]
        assert row["verdict"] == of_bin["verdict"]
    assert "a plan is a table" in zoo("compare", "--plan", "--format", "csv").err


def test_a_margin_is_answered_for_the_baseline(zoo: Zoo) -> None:
    models(3)
    done = zoo("compare", "m*", "--margin", "0.1", "--fail-if-worse")
    assert done.code == 1
    assert "# by the margin, " in done.out


def test_a_report_of_many_compares_those_that_matter(zoo: Zoo) -> None:
    models(20)
    # The best on a bin of its own, though last on the others.
    for name, noise in (("m20", 0.2), ("m1", 3.0)):
        store(RESULTS, name, cosines(400, noise=noise, seed=7, bin="cfp"), bin="cfp")
    for number in range(2, 8):
        store(
            RESULTS, f"m{number}", cosines(400, noise=1, seed=1, bin="bad"), bin="bad", finite=False
        )
    selection = select(RESULTS)
    table = standings(selection, baseline="m18")
    names = [each.name for each in table.contestants]
    assert len(names) == SHOWN
    assert {"m1", "m2", "m18", "m20"} <= set(names)
    assert len(table.rest) == 20 - SHOWN
    assert len(table.ranked) == 20
    everybody = {each.label for each in (*table.contestants, *table.rest)}
    assert everybody == {f"m{number}" for number in range(1, 21)}
    html = render_report(selection, title="Many", faces=False, baseline="m18")
    # Of 66 differences those of the first model and the baseline that are real stand open.
    (_, first), (_, others), (luck_said, luck) = duel_groups(table, "m18")
    leads = {names[0], "m18"}
    assert all(each.separable and leads & {each.a.label, each.b.label} for each in first)
    assert not any(leads & {each.a.label, each.b.label} for each in others)
    assert not any(each.separable for each in luck)
    assert len(first) + len(others) + len(luck) == len(table.duels) == SHOWN * (SHOWN - 1) // 2
    assert first
    assert f"<summary>{luck_said}</summary>" in html
    assert len(duel_groups(standings(select(RESULTS, models=["m2", "m3", "m4"])), None)) == 1
    folded = html[html.index('<details class="rest">') : html.index("</details>")]
    assert all(f'data-value="{each.label}"' in folded for each in table.rest)
    assert "8 more models, by 10-fold accuracy" in folded
    # Six models of one fault are one line.
    (line,) = [each for each in selection.left_out if each.bin == "bad"]
    assert line.model == "6 models (m2, m3, m4, m5, m6, ...)"
    assert '<details class="rest">' not in render_report(
        select(RESULTS, models=["m1?"]), title="Few", faces=False
    )
