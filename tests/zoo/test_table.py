"""The table of an evaluation: on a terminal, in a pipe, and with results of every kind."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from rich.console import Console

from evaluator.results.record import BinRecord, ModelRecord, Result, Settings
from zoo.evaluate.outcome import far_figures, finished
from zoo.evaluate.request import Request
from zoo.terminal import bin_table

BOX = set("─│┃┏┓┗┛━┳┻╇┡┩╭╮╰╯")


def result(
    model: str = "m",
    bin_name: str = "lfw",
    *,
    accuracy: float | None = 0.9,
    kfold: float = 0.5,
    key: str = "0",
    bin_key: str = "0",
    dropped: int = 0,
    unusable: int = 0,
    pairs: tuple[int, int] = (3000, 3000),
) -> Result:
    """A result with an accuracy, an undefined one (None), or without figures (unusable > 0)."""
    figures: dict[str, Any] | None = {
        "accuracy": accuracy,
        "threshold": None if accuracy is None else 0.188595,
        "kfold": None if accuracy is None else {"accuracy": kfold, "std": 0.0123, "thresholds": []},
    }
    return Result(
        status="non_finite" if unusable and not dropped else "ok",
        model=ModelRecord(model, f"{model}.h5", key * 64, "keras-h5", 512, {}),
        bin=BinRecord(bin_name, f"{bin_name}.bin", bin_key * 64, sum(pairs), *pairs, 12000, 7701),
        settings=Settings(),
        figures=None if unusable and not dropped else figures,
        non_finite={"count": unusable, "images": [], "dropped_pairs": dropped},
        cost={},
        versions={},
        created="",
    )


def on_terminal(
    results: Sequence[Result],
    monkeypatch: pytest.MonkeyPatch,
    width: int = 80,
    **further: Any,
) -> list[str]:
    """The lines that a terminal of that width shows, without colours."""
    buffer = io.StringIO()
    terminal = Console(
        file=buffer, width=width, force_terminal=True, color_system=None, no_color=True
    )
    monkeypatch.setenv("FORCE_COLOR", "1")  # else Rich is not even asked
    monkeypatch.setattr("rich.console.Console", lambda: terminal)
    bin_table.print_evaluation(results, **further)
    return [line.rstrip() for line in buffer.getvalue().splitlines()]


def rows(results: Sequence[Result]) -> list[list[str]]:
    return [line.split() for line in bin_table.plain_table(results).splitlines()]


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("bins", range(1, 7))
@pytest.mark.parametrize("length", [3, 30, 90])
def test_no_line_is_wider_than_the_terminal_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, bins: int, length: int, width: int
) -> None:
    names = [f"{'b' * (length - 1)}{i}" for i in range(bins)]
    results = [
        result(model + "x" * length, name, accuracy=0.98765)
        for model, name in itertools.product("pq", names)
    ]
    lines = on_terminal(results, monkeypatch, width)
    assert max(len(line) for line in lines) <= width
    text = "\n".join(lines)
    assert text.count("98.77 @ 0.1886") == 2 * bins
    assert text.count("50.00 ± 1.23") == 2 * bins
    letters = "".join(text.split())
    assert letters.count("x") >= 2 * length


def test_three_usual_bins_stand_side_by_side_in_80_columns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ("lfw", "cfp_fp", "agedb_30")
    lines = on_terminal([result("resnet50v2", name) for name in names], monkeypatch)
    header = next(line for line in lines if "model" in line or "lfw" in line)
    assert all(any(name in line for line in lines[:3]) for name in names), header
    assert sum("90.00 @ 0.1886" in line for line in lines) == 1


def test_the_best_of_a_column_is_marked_and_ties_share(monkeypatch: pytest.MonkeyPatch) -> None:
    results = [
        # By the figure to publish, not the one that flatters; and as it is printed.
        result("a", "x", accuracy=0.99, kfold=0.9, key="a", bin_key="1"),
        result("b", "x", accuracy=0.96, kfold=0.95, key="b", bin_key="1"),
        result("a", "y", accuracy=0.8, kfold=0.80001, key="a", bin_key="2"),
        result("b", "y", accuracy=0.9, kfold=0.80002, key="b", bin_key="2"),
    ]
    assert [row[4] for row in rows(results)[1:]] == ["-", "best"]
    assert [row[8] for row in rows(results)[1:]] == ["best", "best"]
    text = "\n".join(on_terminal(results, monkeypatch))
    assert "95.00 ± 1.23 *" in text
    assert "90.00 ± 1.23 *" not in text
    assert text.count("80.00 ± 1.23 *") == 2


def test_one_model_is_not_called_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rows([result()])[1][4] == "-"
    assert "*" not in "\n".join(on_terminal([result()], monkeypatch))


def test_a_pipe_gets_plain_columns(capsys: pytest.CaptureFixture[str]) -> None:
    results = [result("a b", "my\tbin", key="a"), result("c", "my\tbin", key="c")]
    bin_table.print_evaluation(results)
    out = capsys.readouterr().out
    assert out.startswith("model  my_bin")
    assert "\x1b" not in out
    assert not BOX & set(out)
    lines = out.splitlines()
    assert len(lines) == 3
    assert {len(line.split()) for line in lines} == {5}
    assert lines[1].split()[0] == "a_b"


def test_not_finite_and_dropped_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    results = [
        result("bad", key="a", unusable=1234),
        result("cut", key="b", unusable=3, dropped=5),
        result("none", key="c", unusable=9, dropped=6000, accuracy=None),
        result("fine", key="d", accuracy=0.7, kfold=0.4),
    ]
    assert [row[4] for row in rows(results)[1:]] == [
        "non_finite:1234",
        "best,dropped:5",
        "undefined,dropped:6000",
        "-",
    ]
    text = "\n".join(on_terminal(results, monkeypatch))
    for words in ("not finite:", "1,234 images", "5 pairs dropped", "6,000 pairs dropped"):
        assert words in text


@pytest.mark.parametrize(("pairs", "missing"), [((10, 0), "impostor"), ((0, 10), "genuine")])
def test_an_undefined_accuracy_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, pairs: tuple[int, int], missing: str
) -> None:
    only = result(accuracy=None, pairs=pairs)
    assert f"{missing} pairs" in "\n".join(on_terminal([only], monkeypatch))
    assert rows([only])[1][1:] == ["-", "-", "-", "undefined"]


def test_a_missing_result_is_called_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    results = [
        result("a", "x", key="a", bin_key="1"),
        result("a", "y", key="a", bin_key="2"),
        result("b", "x", key="b", bin_key="1"),
    ]
    assert rows(results)[2][5:] == ["-", "-", "-", "failed"]
    assert "failed" in "\n".join(on_terminal(results, monkeypatch))


def test_two_of_one_name_carry_their_hash() -> None:
    results = [
        result(model, name, key=key, bin_key=bin_key)
        for (model, key), (name, bin_key) in itertools.product(
            [("m", "a"), ("m", "b"), ("n", "c")], [("lfw", "d"), ("lfw", "e")]
        )
    ]
    found = rows(results)
    assert found[0][1] == "lfw_(dddddddd)"
    assert found[0][5] == "lfw_(eeeeeeee)"
    assert [row[0] for row in found[1:]] == ["m_(aaaaaaaa)", "m_(bbbbbbbb)", "n"]


def test_brackets_in_names_are_text(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\n".join(on_terminal([result("[red]m[/bold]", "[link]b")], monkeypatch))
    assert "[red]m[/bold]" in text
    assert "[link]b" in text


def with_tars() -> tuple[list[Result], dict[str, Any]]:
    """Two models with TAR at two FARs, one undefined, and intervals, as `zoo eval` shows them."""
    found = [result("a" * 28, key="a"), result("m", key="b", kfold=0.4)]
    tars = far_figures(["1e-3", "1e-6"])
    at = {"tar": 0.75, "far": 0.00099, "threshold": 0.31234}
    for each in found:
        each.figures["tar_at_far"] = {"0.001": at, "0.000001": None}  # type: ignore[index]
    reading = bin_table.Reading(
        ci95={"accuracy": (0.881, 0.912), "kfold": (0.4, 0.61), "tar@1e-3": (0.7, 0.8)},
        lacks={"tar@1e-6": "3,000 impostors, 1,000,000 needed"},
    )
    return found, {"readings": [reading, reading], "tars": tars}


@pytest.mark.parametrize("width", [80, 120])
def test_tars_and_intervals_fit_a_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    found, further = with_tars()
    lines = on_terminal(found, monkeypatch, width, **further)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "90.00 @ 0.1886" in text
    assert text.count("[88.10, 91.20]") == text.count("[40.00, 61.00]") == 2
    assert "95 % intervals" in text
    rows = [line.split() for line in lines if " 1e-3 " in line]
    assert [row[-5:] for row in rows] == [["75.00", "[70.00,", "80.00]", "0.00099", "0.3123"]] * 2
    assert [line.split()[-5:] for line in lines if " 1e-6 " in line] == [
        ["1e-6", "-", "-", "-", "-"]
    ] * 2
    (note,) = (i for i, line in enumerate(lines) if line.startswith("note: lfw: TAR at FAR 0.0"))
    assert "1,000,000 needed" in " ".join(lines[note : note + 2])


def test_a_terminal_too_narrow_for_tars_has_a_line_a_figure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, further = with_tars()
    lines = on_terminal(found, monkeypatch, 50, **further)
    assert "FAR reached     0.00099" in lines
    assert max(map(len, lines)) <= 50


def test_a_pipe_has_tars_and_intervals_as_columns_without_spaces() -> None:
    found, further = with_tars()
    lines = bin_table.plain_table(found, **further).splitlines()
    of_tar = ["tar@1e-3", "95%", "far", "cosine", "tar@1e-6", "95%", "far", "cosine"]
    assert lines[0].split() == ["model", "lfw", "threshold", "10-fold", *of_tar, "note"]
    assert lines[2].split() == [
        "m", "90.00[88.10,91.20]", "0.1886", "40.00±1.23[40.00,61.00]",
        "75.00", "[70.00,80.00]", "0.00099", "0.3123", "-", "-", "-", "-", "-",
    ]  # fmt: skip
    assert lines[3:] == [
        "# lfw: TAR at FAR 0.000001 is undefined: 3,000 impostors, 1,000,000 needed"
    ]
    assert bin_table.plain_table(found).splitlines()[0].split() == [
        "model", "lfw", "threshold", "10-fold", "note",
    ]  # fmt: skip


def test_a_terminal_hears_of_stored_results_where_there_are_some(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert finished(([], ["m.h5: broken"]), Request([], []), None) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "m.h5: broken" in printed.err
