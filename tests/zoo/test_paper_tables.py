"""Tables for papers: the best in bold, ties marked, intervals, and LaTeX's own signs escaped."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from samples import Zoo
from stores import cosines, store, three_models

from zoo.terminal.blocks import Block, latex_blocks
from zoo.terminal.escaped import latex

RESULTS = Path("results")


def ranked(zoo: Zoo, *arguments: object) -> dict[str, Any]:
    Path("models.yaml").write_text(
        "models: {pub: {file: pub.h5, input: {profile: unit}, source: a paper, "
        "published: {protocol: kfold, lfw: {accuracy: 0.9954}}}}"
    )
    board: dict[str, Any] = json.loads(zoo("leaderboard", *arguments, "--format", "json").out)
    return board


def test_paper_tables_have_the_best_in_bold_and_its_ties_marked(zoo: Zoo) -> None:
    three_models(RESULTS)
    alpha = cosines(1000, noise=0.5, seed=9, bin="lfw")
    store(RESULTS, "alpha", alpha)
    for metric in ("kfold", "eer"):
        rows = ranked(zoo, "--metric", metric)["rows"]
        asked = ("leaderboard", "--metric", metric, "--format")
        shown = [
            [cell.strip() for cell in line.split("|")[2:-1]]
            for line in zoo(*asked, "markdown").out.splitlines()
            if line.startswith("| 1") or line.startswith("| 3")
        ]
        latex = zoo(*asked, "latex").out
        cells = {name: values for name, *values in shown}
        pick = min if metric == "eer" else max
        for i, of in enumerate([lambda row: row["mean"], *map(_figure_on, rows[0]["figures"])]):
            best = pick(map(of, rows))
            for row in rows:
                cell = cells[row["label"]][i]
                digits = f"{100 * of(row):.2f}"
                strong = digits == f"{100 * best:.2f}"
                assert cell.removesuffix("†") == (f"**{digits}**" if strong else digits)
                assert rf"\textbf{{{digits}}}" in latex or not strong
                tied = row["rank_interval"][0] == 1 and not strong and i == 0
                assert cell.endswith("†") == tied
        ties = sum(cell.endswith("†") for row in cells.values() for cell in row)
        assert ties == latex.count(r"$^{\dagger}$") == 1
        assert {row["label"]: row["rank"] for row in rows}["weak"] == 3


def _figure_on(sha256: str) -> Callable[[dict[str, Any]], float]:
    return lambda row: row["figures"][sha256]


def test_a_single_model_is_not_called_the_best(zoo: Zoo) -> None:
    store(RESULTS, "m", cosines(200, noise=1, seed=1))
    for form, mark in (("markdown", "**"), ("latex", "textbf")):
        text = zoo("leaderboard", "--format", form).out
        assert mark not in text
        assert "Bold" not in text


def test_csv_has_the_intervals_that_were_asked_for(zoo: Zoo) -> None:
    three_models(RESULTS)
    board = ranked(zoo, "--intervals")
    text = zoo("leaderboard", "--intervals", "--format", "csv").out
    rows = list(csv.DictReader(io.StringIO(text)))
    assert rows[-1]["kind"] == "published"
    for row, expected in zip(rows, board["rows"], strict=False):
        for column in board["bins"]:
            named = f"{column['name']}:{column['sha256']}"
            ends = [float(row[f"{end} {named}"]) for end in ("low95", "high95")]
            assert ends == expected["ci95"][column["sha256"]]
    assert "low95" not in zoo("leaderboard", "--format", "csv").out


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("_%&#$", r"\_\%\&\#\$"),
        ("{}~^", r"\{\}\textasciitilde{}\textasciicircum{}"),
        ("a\\b", r"a\textbackslash{}b"),
        ("a---b", "a-{}-{}-b"),  # or it is one long dash
        ("90 ± 1 – †", r"90 $\pm$ 1 \textendash{} $\dagger$"),
        ("[1, 2]", "{}[1, 2]"),  # or it is an option of the line break before
        ("*", "{}*"),
        ("-3.22", "$-$3.22"),
        ("~890", r"$\sim$890"),
        ("1-20", "1--20"),
        ("arc-8", "arc-8"),
    ],
)
def test_what_latex_takes_for_its_own_is_escaped(text: str, written: str) -> None:
    assert latex(text) == written


@pytest.mark.parametrize(
    ("name", "said"), [("plain", ""), ("café", "[T1]{fontenc}"), ("模型é", "XeLaTeX"), ("±", "")]
)
def test_a_comment_says_what_compiles_letters_beyond_the_usual(name: str, said: str) -> None:
    first, *_ = latex_blocks([Block("title", ("model", "x"), ((name, "1"),))]).splitlines()
    assert said in first
    assert (first == "% title") == (said == "")


def test_comparisons_have_the_better_of_each_row_in_bold_and_ties_marked(zoo: Zoo) -> None:
    three_models(RESULTS)
    for metric, pick in (("kfold", max), ("eer", min)):
        asked = ("compare", "alpha", "beta", "weak", "--metric", metric)
        duels = json.loads(zoo(*asked, "--format", "json").out)["comparisons"]
        tables = zoo(*asked, "--pairs", "all", "--format", "latex").out.split(r"\begin{tabular}")[
            1:
        ]
        assert len(tables) == len(duels) == 3
        for table, duel in zip(tables, duels, strict=True):
            rows = [line.split(" & ") for line in table.splitlines() if line.endswith(r"\\")][1:]
            for row, of_bin in zip(rows, duel["bins"], strict=False):
                shown = [f"{100 * of_bin[side]:.2f}" for side in ("value_a", "value_b")]
                best = pick(shown, key=float)
                tied = "" if of_bin["separable"] else r"$^{\dagger}$"
                assert row[2:4] == [
                    rf"\textbf{{{each}}}" if each == best else each + tied for each in shown
                ]


def test_a_matrix_has_its_first_model_in_bold_and_its_ties_marked(zoo: Zoo) -> None:
    three_models(RESULTS)
    for form, names in (
        ("latex", {r"\textbf{beta}", r"alpha (A)$^{\dagger}$", "weak"}),
        ("markdown", {"**beta**", "alpha (A)†", "weak"}),
    ):
        text = zoo("compare", "alpha", "beta", "weak", "--format", form).out
        cells = {cell.strip() for line in text.splitlines() for cell in re.split("[&|]", line)}
        assert names <= cells


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
def test_what_compare_and_discard_write_compiles(zoo: Zoo, tmp_path: Path) -> None:
    three_models(RESULTS)
    store(RESULTS, "100%_#1 & {a}^~", cosines(1000, noise=1, seed=5), bin="lfw")
    Path("q.csv").write_text("image,quality\n" + "".join(f"{i},{i % 97}\n" for i in range(2000)))
    body = zoo("compare", "alpha", "beta", "--format", "latex").out
    body += zoo("compare", "*", "--bins", "lfw", "--format", "latex").out
    body += zoo("compare", "*", "--bins", "lfw", "--pairs", "all", "--format", "latex").out
    asked = ("discard", "*", "--bins", "lfw", "--quality", "q.csv", "--format", "latex")
    body += zoo(*asked).out
    assert body.count(r"\begin{tabular}") > 8
    paper = tmp_path / "paper.tex"
    paper.write_text(
        r"\documentclass{article}\usepackage{booktabs}\begin{document}\tiny"
        f"\n{body}\n" + r"\end{document}",
        encoding="utf-8",
    )
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", paper.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-600:]
