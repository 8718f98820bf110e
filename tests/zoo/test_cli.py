"""The command line itself: how values are spread, and how each kind of failure ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from samples import Zoo

from evaluator import choices
from evaluator.errors import InputError
from evaluator.images.inputs import CHANNELS
from evaluator.models.export import SUFFIXES
from zoo import cli
from zoo.commands.export import export
from zoo.commands.leaderboard import leaderboard
from zoo.results.leaderboard_text import TEXTS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("typed", "spread"),
    [
        ("eval m --bins a", "eval m --bins a"),
        ("eval m --bins a b c", "eval m --bins a --bins b --bins c"),
        ("eval m --bins a,b", "eval m --bins a,b"),
        ("eval m --bins a --bins b", "eval m --bins a --bins b"),
        ("eval m --bins a b --flip sum n", "eval m --bins a --bins b --flip sum n"),
        ("eval --bins a b -- m n", "eval --bins a --bins b -- m n"),
        ("eval -- m --bins a b", "eval -- m --bins a b"),
        ("eval --bins=a m", "eval --bins=a m"),
        ("eval m --bins", "eval m --bins"),
        ("eval m --bins --fresh", "eval m --bins --fresh"),
        ("eval m --bins a --json - --bins b c", "eval m --bins a --json - --bins b --bins c"),
        ("eval m n --flip sum", "eval m n --flip sum"),
        ("", ""),
    ],
)
def test_many_values_become_one_option_each(typed: str, spread: str) -> None:
    assert cli.spread_values(typed.split(), frozenset({"--bins"})) == spread.split()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evl"], "No such command 'evl'"),
        (["eval", "m.h5", "--flop", "sum"], "No such option: --flop"),
        (["eval", "m.h5", "--bins"], "--bins"),
        (["eval"], "no MODEL given"),
        (["eval", "m.h5", "--bins", ","], "--bins: names no bin"),
        (["eval", "m.h5", "--batch-size", "0"], "--batch-size"),
        (["eval", "m.h5", "--batch-size", "many"], "--batch-size"),
        (["eval", "m.h5", "--input", "uni"], "unknown --input 'uni': expected one of unit, symm"),
        (
            ["eval", "m.h5", "--input", "uni"],
            "did you mean 'unit'? (see zoo eval --help)",
        ),
        (["eval", "m.h5", "--flip", "it's"], 'unknown --flip "it\'s": expected one of none, sum'),
        (["compare", "a", "b", "--channels", ""], "unknown --channels '': expected one of rgb"),
        (["bins", "fetch", "lfv"], "unknown NAME 'lfv': expected one of lfw, olivetti; did"),
        (["data", "pack", "a", "b", "--to", "c"], "unknown --to 'c': expected one of rec, tfr"),
        (["show"], "Missing argument 'ENTRY'"),
        (["show", "ark"], "did you mean 'arc'?"),
        (["list", "too", "many"], "unexpected extra argument"),
        (["list", "--registry", "none.yaml"], "none.yaml: No such file or directory"),
        (["eval", "m.h5", "--data", "none"], "--data none: no such folder"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(zoo: Zoo, arguments: list[str], words: str) -> None:
    done = zoo(*arguments)
    assert done.code == 2
    assert done.out == ""
    (line,) = done.err.splitlines()
    assert line.startswith("zoo: error: ")
    assert words in line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("a\nb"), "zoo: error: a b"),
        (PermissionError(13, "Permission denied", "x/y"), "zoo: error: x/y: Permission denied"),
        (OSError(28, "No space left on device"), "zoo: error: No space left on device"),
    ],
)
def test_expected_errors_become_one_line(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    monkeypatch.setattr("zoo.entries.registry.read_registry", _raiser(error))
    done = zoo("list")
    assert (done.code, done.out, done.err) == (2, "", line + "\n")


def test_a_bug_keeps_its_traceback(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.entries.registry.read_registry", _raiser(ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        zoo("list")


def test_an_interrupt_is_exit_130(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.entries.registry.read_registry", _raiser(KeyboardInterrupt()))
    done = zoo("list")
    assert done.code == 130
    assert done.err.strip() == "zoo: interrupted; what was finished is kept"


def _raiser(error: BaseException):
    def raise_it(*_: object) -> None:
        raise error

    return raise_it


def test_without_a_command_the_help_appears(zoo: Zoo) -> None:
    done = zoo()
    assert done.code == 0
    assert "Usage: zoo" in done.out
    assert "eval" in done.out


def test_the_version_is_the_distributions(zoo: Zoo) -> None:
    import importlib.metadata

    assert zoo("--version").out == f"face-zoo {importlib.metadata.version('face-zoo')}\n"


def test_list_in_a_pipe_is_a_plain_line_an_entry(zoo: Zoo) -> None:
    done = zoo("list")
    header, *rows = done.out.splitlines()
    columns = ["entry", "lfw", "cfp_fp", "agedb_30", "protocol", "weights", "licence"]
    assert header.split() == columns
    assert all(len(row.split()) == len(columns) for row in rows)
    assert max(map(len, done.out.splitlines())) <= 80
    assert [row.split()[0] for row in rows][:3] == ["centsoft", "arc_8", "arc"]
    assert rows[0].split()[1:5] == ["99.28", "90.96", "88.75", "seed"]
    assert done.out.isascii()


def test_show_prints_what_the_entry_says(zoo: Zoo) -> None:
    done = zoo("show", "arc_8")
    assert "lfw 99.4167 % @ 0.141986 (protocol seed)" in done.out
    assert "112x112, unit, rgb" in done.out


def test_brackets_in_an_entry_are_text(zoo: Zoo) -> None:
    Path("models.yaml").write_text(
        "models:\n  '[red]x':\n    file: a.h5\n    input: {profile: unit}\n"
        "    source: '[/bold] in [0, 1]'\n"
    )
    assert "[red]x" in zoo("list").out
    assert "[/bold] in [0, 1]" in zoo("show", "[red]x").out


def test_the_installed_command_answers(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "zoo", "show", "nothing"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(
        "zoo: error: no entry 'nothing'; there is: centsoft, arc_8, arc, "
    )
    assert done.stderr.count("\n") == 1


def test_a_reader_that_leaves_early_is_no_crash(tmp_path: Path) -> None:
    done = subprocess.run(
        f'"{sys.executable}" -m zoo list | true',
        shell=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert "Broken pipe" not in done.stderr
    assert "Exception" not in done.stderr


def test_what_options_take_is_what_there_is() -> None:
    def taken(command: Callable[..., None], option: str) -> tuple[str, ...]:
        return get_args(get_type_hints(command)[option])

    assert get_args(choices.Channels) == CHANNELS
    assert taken(leaderboard, "format") == ("table", *TEXTS)
    assert taken(export, "to") == tuple(SUFFIXES)
