"""What a shell's user expects: completion, --quiet, pipes, colours, what to do about a bug."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from samples import Zoo, write_pairs
from stores import three_models

from evaluator.metrics.all_figures import NAMES
from zoo import cli

ROOT = Path(__file__).parents[2]


def run_zoo(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """`python -m zoo` in a folder, with these variables of the environment besides."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ZOO_")}
    return subprocess.run(
        [sys.executable, "-m", "zoo", *arguments],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(ROOT), **more},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two entries, two bins, a run, a model file and three models' results."""
    folder = tmp_path_factory.mktemp("shop")
    entry = "    source: a test\n    input: {profile: unit}\n"
    (folder / "models.yaml").write_text(
        f"models:\n  arc:\n    file: arc.h5\n{entry}  soft:\n    file: soft.h5\n{entry}"
    )
    (folder / "datasets").mkdir()
    write_pairs(folder / "datasets" / "lfw.bin", people=3)
    write_pairs(folder / "agedb.bin", people=3)
    (folder / "runs" / "first").mkdir(parents=True)
    (folder / "runs" / "first" / "models.yaml").write_text("models: {}\n")
    (folder / "model.h5").write_bytes(b"")
    three_models(folder / "results")
    return folder


@pytest.fixture
def here(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """`zoo` in the shop, in this process, with these variables of the environment besides; what it
    leaves on stdout.
    """
    monkeypatch.chdir(shop)

    def call(*arguments: str, **more: str) -> str:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in more.items():
                patch.setenv(name, value)
            try:
                code = cli.run(arguments)
            except SystemExit as ended:  # Typer answers a shell and exits
                code = ended.code
        said = capsys.readouterr()
        assert (code, said.err) == (0, "")
        return said.out

    return call


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("zoo lea", ["leaderboard"]),
        ("zoo show ", ["arc", "soft"]),
        ("zoo show s", ["soft"]),
        ("zoo eval a", ["arc", "agedb.bin"]),
        ("zoo eval mod", ["model.h5"]),
        ("zoo eval arc --bins ", ["lfw", "agedb"]),
        ("zoo eval arc --bins lfw a", ["agedb"]),
        ("zoo eval arc --bins lfw,a", ["lfw,agedb"]),
        ("zoo eval arc -q --bins lfw --flip s", ["sum"]),
        ("zoo train arc --run runs/", ["runs/first"]),
        ("zoo compare al", ["alpha"]),
        ("zoo leaderboard --models alpha b", ["beta"]),
        ("zoo leaderboard --bins l", ["lfw"]),
        ("zoo leaderboard --format m", ["markdown"]),
        ("zoo leaderboard --metric ", list(NAMES)),
    ],
)
def test_the_shell_completes_what_is_there(
    here: Callable[..., str], line: str, offered: list[str]
) -> None:
    words = line.split(" ")
    # As Typer's script asks for Bash.
    asked = {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    found = here(**asked, _ZOO_COMPLETE="complete_bash").splitlines()
    wanted = [each for each in offered if each != "agedb.bin"]
    assert [each for each in found if each in wanted] == wanted
    assert all(each.startswith(words[-1]) for each in found)


def test_zsh_and_fish_are_told_what_a_name_is(here: Callable[..., str]) -> None:
    line = "zoo eval arc --bins agedb l"
    zsh = here(_TYPER_COMPLETE_ARGS=line, _ZOO_COMPLETE="complete_zsh")
    assert '"lfw":"datasets/lfw.bin"' in zsh
    fish = here(
        _TYPER_COMPLETE_ARGS=line,
        _TYPER_COMPLETE_FISH_ACTION="get-args",
        _ZOO_COMPLETE="complete_fish",
    )
    assert fish == "lfw\tdatasets/lfw.bin\n"


@pytest.mark.parametrize(
    ("words", "offered", "imported"),
    [
        (["zoo", "eval", "arc", "--bins", ""], ["lfw", "agedb"], ["numpy"]),
        (["zoo", "leaderboard", "--metric", "d"], ["d-prime"], []),
    ],
)
def test_completion_imports_nothing_heavy(
    shop: Path, words: list[str], offered: list[str], imported: list[str]
) -> None:
    probe = (
        "import sys, atexit\n"
        "atexit.register(lambda: print(*sorted({n.partition('.')[0] for n in sys.modules} & "
        "{'tensorflow', 'keras', 'scipy', 'sklearn', 'numpy'}), file=sys.stderr))\n"
        "from zoo.cli import run\nrun([])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        cwd=shop,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "COMP_WORDS": "\n".join(words),
            "COMP_CWORD": str(len(words) - 1),
            "_ZOO_COMPLETE": "complete_bash",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == offered
    assert done.stderr.split() == imported


@pytest.mark.parametrize("place", ["before", "behind"])
def test_quiet_leaves_the_table_and_no_notes(
    zoo: Zoo, models: Path, bins: Path, place: str
) -> None:
    command = ["eval", str(models / "a.onnx"), "--bins", str(bins / "easy.bin")]
    loud = zoo(*command)
    assert "assuming 'unit'" in loud.err
    done = zoo("--quiet", *command) if place == "before" else zoo(*command, "-q")
    assert done.err == ""
    assert done.out == loud.out
    assert "answered from the store" in zoo(*command).err  # and is not quiet for ever


def test_quiet_keeps_warnings_and_errors(zoo: Zoo, models: Path, bins: Path) -> None:
    done = zoo("eval", models / "nan.onnx", "--bins", bins / "easy.bin", "-q")
    assert done.code == 1
    assert "without a finite embedding" in done.err
    assert zoo("show", "nothing", "-q").error_lines


def test_verbose_says_which_files_and_how_long(zoo: Zoo, models: Path, bins: Path) -> None:
    done = zoo("eval", models / "a.onnx", "--bins", bins / "easy.bin", "--verbose")
    assert f"model a: {models / 'a.onnx'}, SHA-256 " in done.err
    assert f"bin easy: {bins / 'easy.bin'}, 60 pairs" in done.err
    assert "stored as results/a-" in done.err


def test_verbose_shows_where_a_mistake_was_found(zoo: Zoo) -> None:
    done = zoo("show", "nothing", "-v")
    assert "Traceback" in done.err
    assert len(done.error_lines) == 1
    assert "Traceback" not in zoo("show", "nothing").err


def test_quiet_and_verbose_exclude_each_other(zoo: Zoo) -> None:
    done = zoo("list", "-q", "-v")
    assert done.code == 2
    assert "give one of them" in done.error_lines[0]


def test_flags_behind_a_double_dash_are_names() -> None:
    arguments = ["eval", "-q", "--", "m", "-v"]
    assert cli.moved_to_front(arguments, cli.ANYWHERE) == ["-q", "eval", "--", "m", "-v"]


def test_a_reader_that_leaves_after_a_line_ends_it_in_silence(shop: Path) -> None:
    command = f'"{sys.executable}" -m zoo leaderboard --format json'
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -c 1 | true; echo ${{PIPESTATUS[0]}}"],
        cwd=shop,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.strip() in ("0", "141")  # 0 where all fitted into the pipe in time


@pytest.mark.parametrize("command", ["leaderboard", "--help", "bins --help"])
def test_a_closed_pipe_is_exit_141(shop: Path, command: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [sys.executable, "-m", "zoo", *command.split()],
        cwd=shop,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert (process.returncode, process.stderr) == (141, "")


@pytest.mark.parametrize("command", ["eval", "compare", "verify", "bins info", "bins make"])
def test_usage_names_an_argument_once_and_plainly(zoo: Zoo, command: str) -> None:
    usage = next(
        line for line in zoo(*command.split(), "--help").out.splitlines() if "Usage" in line
    )
    assert not re.search(r"\[\[|\.\.\.[\]}]", usage), usage  # [MODEL]... and not [MODEL...]...


def test_a_group_without_a_command_shows_its_help(zoo: Zoo) -> None:
    done = zoo("bins")
    assert done.code == 2
    assert "Usage: zoo bins" in done.out
    assert done.err == ""


def test_a_bug_shows_its_traceback_and_how_to_report_it(tmp_path: Path) -> None:
    script = (
        "import sys, zoo.entries.registry\n"
        "def broken(*_): raise ZeroDivisionError('a bug')\n"
        "zoo.entries.registry.read_registry = broken\n"
        "sys.argv = ['zoo', 'list']\n"
        "from zoo.cli import main\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert "ZeroDivisionError: a bug" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("zoo: this is a bug in face-zoo. Please report it ")
    assert "`zoo doctor`" in last


def test_colour_is_forced_and_refused_as_asked(here: Callable[..., str]) -> None:
    assert "\x1b[" not in here("list")
    forced = here("list", FORCE_COLOR="1", TERM="xterm-256color")
    assert "\x1b[" in forced
    plain = here("list", FORCE_COLOR="1", NO_COLOR="1", TERM="xterm-256color")
    # Bold and dim may stay; colours are codes 30 to 37, 90 to 97 and 38;5.
    assert not any(f"\x1b[{code}m" in plain for code in (*range(30, 38), *range(90, 98)))


# FORCE_COLOR has the tables of a terminal drawn, and COLUMNS is its width.
TERMINAL = {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm"}


@pytest.mark.parametrize("width", [40, 60, 80])
def test_no_line_is_wider_than_the_terminal(here: Callable[..., str], width: int) -> None:
    for command in (["leaderboard"], ["list"], ["compare", "alpha", "weak"], ["show", "arc"]):
        said = here(*command, COLUMNS=str(width), **TERMINAL)
        lines = [_without_styles(line) for line in said.splitlines()]
        assert lines
        assert max(map(len, lines)) <= width, (command, max(lines, key=len))


def test_a_narrow_list_breaks_no_figure(tmp_path: Path) -> None:
    # The project's own zoo: three bins, names of 16 characters.
    done = run_zoo(tmp_path, "list", COLUMNS="40", **TERMINAL)
    text = _without_styles(done.stdout)
    assert "99.28   90.96     88.75" in text
    assert "too narrow here for: protocol, weights" in text
    assert max(map(len, text.splitlines())) <= 40


def _without_styles(line: str) -> str:
    import re

    return re.sub(r"\x1b\[[0-9;]*m", "", line)


def test_doctor_finds_what_is_there_and_tests_itself(
    zoo: Zoo, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.metadata

    monkeypatch.chdir(shop)
    done = zoo("doctor", "--json", "--data", "datasets")
    found = json.loads(done.out)
    assert done.code == 0, found["problems"]
    assert found["bins"][0] == {"folder": "datasets", "exists": True, "bins": ["lfw"]}
    assert found["bins"][-1]["bins"] == ["agedb"]
    assert found["entries"]["entries"] == ["arc", "soft"]
    assert found["results"]["results"] == 6
    assert any(each["device"].endswith("CPU:0") for each in found["devices"])
    assert found["versions"]["numpy"] == importlib.metadata.version("numpy")
    figures = found["self_test"]["figures"]
    for figure in figures.values():
        assert figure["zoo"] == pytest.approx(figure["expected"], abs=1e-5)
    assert 0.5 < figures["accuracy"]["zoo"] < 1
    assert done.err == ""


@pytest.mark.usefixtures("same_process")
def test_doctor_says_what_is_wrong(zoo: Zoo, monkeypatch: pytest.MonkeyPatch, models: Path) -> None:
    from evaluator.measure.embed import pair_scores

    Path("models.yaml").write_text("models: 3\n")
    Path("results/x-12345678").mkdir(parents=True)
    Path("results/x-12345678/b-12345678.json").write_text("{")
    # A tool that scores wrongly must not pass its own test.
    monkeypatch.setattr(
        "evaluator.measure.evaluation.pair_scores", lambda *given: -pair_scores(*given)
    )
    done = zoo("doctor")
    assert done.code == 1
    problems = [line for line in done.out.splitlines() if line.startswith("PROBLEM")]
    assert any("models.yaml" in line for line in problems)
    assert any("not a stored result" in line for line in problems)
    assert any("NumPy and scikit-learn have" in line for line in problems)


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (("compare", "alpha", "weak"), ["A %", "B %", "only A right", "pairs needed"]),
        (("threshold", "alpha", "--far", "0.1"), ["impostors", "FAR", "FRR"]),
    ],
)
def test_a_narrow_terminal_gets_a_line_a_figure(
    here: Callable[..., str], command: tuple[str, ...], shown: list[str]
) -> None:
    wide = _without_styles(here(*command, COLUMNS="100", **TERMINAL))
    text = _without_styles(here(*command, COLUMNS="36", **TERMINAL))
    assert "…" not in text
    for heading in shown:
        (line,) = [line for line in text.splitlines() if line.startswith(f"{heading}  ")][:1]
        assert line.split()[-1] in wide.split()
