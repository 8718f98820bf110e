"""Twenty checkpoints of a run: their order, names, patterns, curves, and files overwritten."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import SIZE
from stores import cosines, sha, store

from evaluator.files import natural
from evaluator.results.epochs import epochs_in
from evaluator.results.names import Named, Shown, is_at, meant, model_labels
from tests.command import Zoo
from tests.small_models import save_projection
from zoo.commands.show import with_curves
from zoo.completion import COMPLETERS
from zoo.report.runs import runs_of
from zoo.report.selection import select
from zoo.terminal.sparkline import sparkline

RESULTS = Path("results")


def epochs(count: int, *, run: str = "run", noise: float = 3.0) -> None:
    """A store of a run's checkpoints, of which each is better than the one before."""
    for number in range(1, count + 1):
        name = f"epoch_{number}"
        scores = cosines(400, noise=noise * 0.7**number, seed=number)
        store(RESULTS, name, scores, path=f"{run}/{name}.keras", model_hash=sha(f"{run}{number}"))


# ---- Order ---------------------------------------------------------------------------------------


def test_numbers_are_sorted_by_their_value() -> None:
    names = ["epoch-10", "epoch-2", "a", "10", "9", "epoch-2-b", "epoch", "v1.10", "v1.9"]
    wanted = ["9", "10", "a", "epoch", "epoch-2", "epoch-2-b", "epoch-10", "v1.9", "v1.10"]
    assert sorted(names, key=natural) == wanted


@given(st.lists(st.text("a1 0-.")))
def test_any_names_can_be_sorted(names: list[str]) -> None:
    assert sorted(sorted(names, key=natural)) == sorted(names)


def test_epoch_2_stands_before_epoch_10_everywhere(zoo: Zoo) -> None:
    epochs(11)
    wanted = [f"epoch_{number}" for number in range(1, 12)]
    listed = json.loads(zoo("results", "list", "--format", "json").out)
    assert [row["model"] for row in listed["rows"]] == wanted
    rows = csv.reader(zoo("results", "list", "--format", "csv").out.splitlines())
    assert [row[0] for row in rows] == ["model", *wanted]
    duels = json.loads(zoo("compare", "epoch_*", "--format", "json").out)["comparisons"]
    assert [each["b"]["name"] for each in duels[:10]] == wanted[1:]
    assert [each.name for each in select(RESULTS).contestants] == wanted


def test_the_shell_completes_in_that_order(zoo: Zoo) -> None:
    import typer

    epochs(11)
    context = typer.Context(typer.core.TyperCommand("compare"))
    found = COMPLETERS["compare models"](context, "epoch_")
    assert [each.value for each in found] == [f"epoch_{number}" for number in range(1, 12)]


def test_files_are_measured_in_that_order_also_if_the_shell_listed_them(
    zoo: Zoo, models: Path, bins: Path
) -> None:
    Path("run").mkdir()
    for number in (1, 2, 10):
        shutil.copy(models / "a.onnx", f"run/epoch_{number}.onnx")
    on = ("--bins", bins / "easy.bin")
    done = zoo("eval", "run/*.onnx", *on)
    rows = [line.split()[0] for line in done.out.splitlines()[1:]]
    assert rows == ["epoch_1", "epoch_2", "epoch_10"]
    # What is true of all is said once, and of how many.
    assert done.err.count("no --input given") == 2
    assert "2 more models, too: no --input given" in done.err
    assert "(epoch_2, epoch_10)" in done.err
    typed = ("run/epoch_1.onnx", "run/epoch_10.onnx", "run/epoch_2.onnx")
    assert zoo("eval", *typed, *on).out == done.out
    missed = zoo("eval", "run/none*.onnx", *on)
    assert missed.code == 2
    assert "no model 'run/none*.onnx': no model file matches" in missed.err


def test_what_is_true_of_all_is_said_once_where_folders_tell_them_apart(
    zoo: Zoo, bins: Path
) -> None:
    for number in (1, 2, 10):
        Path(f"run/epoch_{number}").mkdir(parents=True)
        save_projection(Path(f"run/epoch_{number}/net.onnx"), side=SIZE, seed=number)
    done = zoo("eval", "run/*/net.onnx", "--bins", bins / "easy.bin")
    assert done.err.count("no --input given") == 2
    assert "(epoch_2/net, epoch_10/net)" in done.err


# ---- Names ---------------------------------------------------------------------------------------


def test_folders_tell_equal_names_apart() -> None:
    a, b, c = (Shown("net", sha(run), "", f"/runs/{run}/ckpt/net.keras") for run in "abc")
    assert model_labels([a, b, c]) == ["a/ckpt/net", "b/ckpt/net", "c/ckpt/net"]
    here = Shown("net", sha("here"), "", "net.keras")
    assert model_labels([here, here._replace(identity=a.identity, path="run/net.keras")]) == [
        "./net",
        "run/net",
    ]
    # A name that is not the file's says nothing about folders.
    named = [a._replace(name="mine"), b._replace(name="mine")]
    assert model_labels(named) == [f"mine ({each.identity[:8]})" for each in named]
    assert model_labels([a]) == ["net"]


def test_a_run_is_named_by_its_folder(zoo: Zoo) -> None:
    for run, noise in (("run1", 0.5), ("run2", 2.5)):
        scores = cosines(400, noise=noise, seed=1)
        store(RESULTS, "net", scores, path=f"{run}/net.keras", model_hash=sha(run))
    board = json.loads(zoo("leaderboard", "--format", "json").out)
    assert [row["label"] for row in board["rows"]] == ["run1/net", "run2/net"]
    (duel,) = json.loads(zoo("compare", "run2/net", "run1/net.keras", "--format", "json").out)[
        "comparisons"
    ]
    assert [duel[side]["sha256"] for side in "ab"] == [sha("run2"), sha("run1")]
    assert [each.identity for each in select(RESULTS, models=["run2/*"]).contestants] == [
        sha("run2")
    ]
    assert "run1/net" in zoo("compare", "net", "run1/net").err


def test_a_value_with_a_folder_is_the_end_of_a_path() -> None:
    assert is_at("runs/a/net.keras", "a/net")
    assert is_at("runs/a/net.keras", "./a/net.keras")
    assert is_at("/runs/a/net.keras", "/runs/*/net.keras")
    assert is_at("a/e1.keras", "a/e?")
    assert not is_at("runs/ba/net.keras", "a/net")
    assert not is_at("a/net.keras", "net")
    known = [Named("net", sha("a"), sha("a"), "a/net.h5"), Named("net", sha("b"), sha("b"), "")]
    assert meant("a/net", known) == known[:1]
    assert meant("net", known) == known


def test_a_model_can_be_given_a_name(zoo: Zoo, models: Path, bins: Path) -> None:
    on = ("--bins", bins / "easy.bin", "--name", "mine")
    done = zoo("eval", models / "a.onnx", *on, "--json", "-")
    assert json.loads(done.out)[0]["model"]["name"] == "mine"
    assert "answered from the store" in zoo("eval", models / "a.onnx", *on).err
    assert "is for one MODEL; got 2" in zoo("eval", models / "a.onnx", models / "b.onnx", *on).err
    assert "printable" in zoo("eval", models / "a.onnx", *on[:3], " ").err


# ---- Files that were overwritten -----------------------------------------------------------------


@pytest.fixture
def overwritten(zoo: Zoo) -> Zoo:
    """A store with a file measured, overwritten and measured again, and another model."""
    for day, noise in ((1, 2.5), (2, 0.5)):
        scores = cosines(400, noise=noise, seed=1)
        created = f"2026-03-0{day}T10:30:00+00:00"
        store(RESULTS, "net", scores, model_hash=sha(str(day)), path="run/net.h5", created=created)
    store(RESULTS, "other", cosines(400, noise=1.0, seed=3))
    return zoo


def test_a_name_means_the_latest_and_says_so(overwritten: Zoo) -> None:
    zoo, old, new = overwritten, sha("1"), sha("2")
    line = (
        f"net: latest {new[:8]} (2026-03-02 10:30, run/net.h5); older {old[:8]} "
        "(2026-03-01 10:30), asked for by its hash"
    )
    for value, wanted in (("net", new), ("n*", new), ("run/net", new), (old[:8], old)):
        done = zoo("compare", value, "other", "--format", "json")
        assert json.loads(done.out)["comparisons"][0]["a"]["sha256"] == wanted
        assert (line in done.err) == (wanted == new)
        (chosen,) = select(RESULTS, models=[value]).contestants
        assert chosen.identity == wanted
    assert line in zoo("threshold", "net", "--far", "0.1").err


def test_all_that_is_stored_is_shown_as_what_it_is(overwritten: Zoo) -> None:
    board = json.loads(overwritten("leaderboard", "--format", "json").out)
    older = f"net ({sha('1')[:8]}, older)"
    assert {row["label"] for row in board["rows"]} == {older, f"net ({sha('2')[:8]})", "other"}
    assert any("net: latest" in note for note in board["notes"])
    rows = overwritten("results", "list").out.splitlines()
    assert [line.split()[3] for line in rows if line.startswith("net")] in (
        ["older", "gone"],
        ["gone", "older"],
    )


# ---- Curves --------------------------------------------------------------------------------------


def test_which_files_are_epochs_of_a_run() -> None:
    keras = [f"r/weights.{n:02d}-{0.5 / n:.2f}.keras" for n in (1, 2, 3)]
    (found,) = epochs_in([*keras[::-1], "r/best.keras", ""])
    assert (found.run, found.word, found.numbers, found.places) == (
        "r",
        "epoch",
        (1, 2, 3),
        (2, 1, 0),
    )
    ours = [f"net/checkpoints/epoch-{n:04d}.keras" for n in (1, 2, 10)]
    assert [each.run for each in epochs_in([*ours, *keras])] == ["net", "r"]
    # Two files are no curve, nor are depths, parts of epochs, or files of several folders.
    assert not epochs_in(keras[:2])
    assert not epochs_in([f"r/iresnet{n}.onnx" for n in (18, 34, 50)])
    assert not epochs_in([f"r/model_{n}.onnx" for n in (18, 34, 50)])
    assert [each.numbers for each in epochs_in([f"r/model_{n}.keras" for n in (2, 10, 1, 4)])] == [
        (1, 2, 4, 10)
    ]
    assert not epochs_in([f"r/epoch-0001-step-{n}.keras" for n in (1, 2, 3)])
    assert not epochs_in([f"{n}/epoch_{n}.keras" for n in (1, 2, 3)])


def test_a_sparkline_goes_from_lowest_to_highest() -> None:
    assert sparkline([0.1, 0.2, None, 0.8]) == "▁▂ █"
    assert sparkline([0.5, 0.5]) == ""
    assert sparkline([None, 0.5]) == ""
    assert sparkline([]) == ""
    assert sparkline([float(i) for i in range(100)], most=8) == "▁▂▃▄▅▆▇█"


def test_a_curve_is_shown_in_a_terminal_alone(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    epochs(12)
    assert "over epochs" not in zoo("leaderboard").out
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "80")
    shown = zoo("leaderboard", "--top", "3").out
    assert "run, accuracy, 10-fold over epochs 1-12" in shown
    (line,) = [line for line in shown.splitlines() if line.startswith("  lfw ")]
    assert "▁" in line
    assert "█" in line
    assert "best" in line
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert max(map(len, plain.splitlines())) <= 80


def test_a_report_draws_the_epochs_of_any_run(zoo: Zoo) -> None:
    epochs(5)
    (panel,) = runs_of(select(RESULTS).contestants).kept
    assert panel.title == "lfw, accuracy"
    assert panel.svg.count("<circle") == 5


def test_a_runs_epochs_end_with_their_curves() -> None:
    header = ["epoch", "step", "loss", "lfw", "kept"]
    rows = [
        header,
        ["1", "10", "3", "-", "-"],
        ["2", "20", "2", "50", "a"],
        ["3", "30", "1", "60", "b"],
    ]
    assert with_curves(rows)[-1] == ["", "", "█▅▁", " ▁█", ""]
    assert with_curves(rows)[:-1] == rows
    assert with_curves(rows[:2]) == rows[:2]


def test_many_overwritten_files_are_one_line(zoo: Zoo) -> None:
    for day in (1, 2):
        for number in range(1, 6):
            store(
                RESULTS,
                f"epoch_{number}",
                cosines(200, noise=1.0, seed=number),
                model_hash=sha(f"{day} {number}"),
                path=f"run/epoch_{number}.h5",
                created=f"2026-03-0{day}T10:30:00+00:00",
            )
    selection = select(RESULTS, models=["epoch_*"])
    assert {each.identity for each in selection.contestants} == {
        sha(f"2 {number}") for number in range(1, 6)
    }
    (line,) = selection.older
    assert line.startswith("5 models whose files were overwritten since (epoch_1 ")
    assert line in zoo("compare", "epoch_*").err
