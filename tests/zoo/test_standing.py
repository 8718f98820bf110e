"""What `zoo leaderboard` remembers of a folder of results, and when it does not."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from samples import Zoo
from stores import cosines, labels, store, three_models

import zoo.ranking
from evaluator.metrics import best_accuracy, sweep
from zoo.figure_choice import figure_named
from zoo.standing import NAME, SOURCES, standing
from zoo.stored import Stored, read_store, results_named

ROOT = Path(__file__).parents[2]
RESULTS = Path("results")
MEMORY = RESULTS / NAME


@pytest.fixture
def rankings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by the number of models whenever models are really ranked."""
    counted: list[int] = []
    rank = zoo.ranking.rank_means

    def counting(means: list[float], *others: object) -> object:
        counted.append(len(means))
        return rank(means, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(zoo.ranking, "rank_means", counting)
    return counted


def test_an_unchanged_folder_is_ranked_once_a_figure_and_choice(
    zoo: Zoo, rankings: list[int]
) -> None:
    three_models(RESULTS)
    questions: list[tuple[str, ...]] = [
        (), ("--metric", "eer"), ("--metric", "tar@1e-1"), ("--bins", "lfw"), ("--top", "2"),
        ("--models", "alpha,weak"),
    ]  # fmt: skip
    first = [zoo("leaderboard", *each, "--format", "json") for each in questions]
    assert rankings == [3, 3, 3, 3, 2, 2]
    assert [zoo("leaderboard", *each, "--format", "json") for each in questions] == first
    assert len(rankings) == len(questions)
    assert zoo("leaderboard", "--format", "csv").out.startswith("rank,")
    assert len(rankings) == len(questions)


def remeasured(seed: int) -> None:
    store(RESULTS, "beta", cosines(1000, noise=2.5, seed=seed), bin="lfw")


def equal_figures_other_scores() -> None:
    """The same decisions by other scores: every figure of the result stays, its noise does not."""
    path = next(RESULTS.glob("beta-*/lfw-*.json"))
    before = json.loads(path.read_text())
    store(RESULTS, "beta", cosines(1000, noise=0.5, seed=2) / 2, bin="lfw")
    after = json.loads(path.read_text())
    path.write_text(json.dumps({**before, "scores": after["scores"]}))


def shuffled_in_place() -> None:
    """Other scores in a file of the same name, size and time."""
    path = next(RESULTS.glob("beta-*/lfw-*.h5"))
    status = path.stat()
    data = bytearray(path.read_bytes())
    other = next(RESULTS.glob("weak-*/lfw-*.h5")).read_bytes()
    data = bytearray(other[: len(data)].ljust(len(data), b"\0"))
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


CHANGES: dict[str, Callable[[], object]] = {
    "measured again": lambda: remeasured(2),
    "measured to another end": lambda: remeasured(7),
    "other scores, equal figures": equal_figures_other_scores,
    "scores changed in place": shuffled_in_place,
    "scores removed": lambda: next(RESULTS.glob("beta-*/lfw-*.h5")).unlink(),
    "another model": lambda: [
        store(RESULTS, "new", cosines(1000, noise=1.5, seed=4, bin=bin), bin=bin)
        for bin in ("lfw", "agedb_30")
    ],
    "a model removed": lambda: shutil.rmtree(next(RESULTS.glob("beta-*"))),
    "a bin removed": lambda: [path.unlink() for path in RESULTS.glob("*/lfw-*.json")],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_folder_is_never_answered_from_memory(
    zoo: Zoo, rankings: list[int], change: str
) -> None:
    three_models(RESULTS)
    zoo("leaderboard")
    CHANGES[change]()
    told = zoo("leaderboard", "--format", "json")
    assert len(rankings) == 2
    MEMORY.unlink()
    assert zoo("leaderboard", "--format", "json").out == told.out


def test_a_result_that_comes_back_is_remembered_by_its_content(
    zoo: Zoo, rankings: list[int]
) -> None:
    three_models(RESULTS)
    first = zoo("leaderboard").out
    folder = next(RESULTS.glob("beta-*"))
    folder.rename("aside")
    assert zoo("leaderboard").out != first
    Path("aside").rename(folder)
    shutil.copytree(RESULTS, "elsewhere")
    assert zoo("leaderboard").out == first
    assert zoo("leaderboard", "--results", "elsewhere").out == first
    assert rankings == [3, 2]


@pytest.mark.parametrize(
    "garbage",
    [
        "", "{", "[]", "null", "[" * 100_000, '{"version": 2}', '{"version": 1}',
        '{"version": 1, "standings": []}', "\x00" * 100,
        '{"version": 1, "sha256": 3, "standings": {}}',
    ],
    ids=range(10),
)  # fmt: skip
def test_garbage_is_ignored_and_written_anew(zoo: Zoo, rankings: list[int], garbage: str) -> None:
    three_models(RESULTS)
    expected = zoo("leaderboard").out
    MEMORY.write_text(garbage)
    for _ in range(2):
        done = zoo("leaderboard")
        assert (done.code, done.out, done.err) == (0, expected, "")
    assert len(rankings) == 2


def test_a_flipped_digit_is_damage(zoo: Zoo, rankings: list[int]) -> None:
    three_models(RESULTS)
    expected = zoo("leaderboard").out
    text = MEMORY.read_text()
    MEMORY.write_text(re.sub(r'"ranks": \[1, 1, 3\]', '"ranks": [1, 2, 3]', text))
    assert MEMORY.read_text() != text
    assert zoo("leaderboard").out == expected
    assert len(rankings) == 2


def test_another_version_of_the_program_ranks_anew(
    zoo: Zoo, rankings: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    three_models(RESULTS)
    zoo("leaderboard")
    for name in SOURCES:
        (tmp_path / "other" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "other" / name)
    monkeypatch.setattr("zoo.standing._PACKAGES", tmp_path / "other")
    zoo("leaderboard")
    assert len(rankings) == 1
    with (tmp_path / "other" / "evaluator" / "statistics.py").open("a") as file:
        file.write("# a change\n")
    zoo("leaderboard")
    assert len(rankings) == 2


def test_every_module_that_ranks_is_in_the_key() -> None:
    look = (
        "import sys, zoo.ranking, numpy as np\n"
        "from zoo.stored import read_store\n"
        "print(*(n.replace('.', '/') for n in sys.modules"
        " if n.partition('.')[0] in ('evaluator', 'zoo', 'training')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", look], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    found = {
        f"{each}/__init__.py" if (ROOT / each).is_dir() else f"{each}.py"
        for each in done.stdout.split()
    }
    assert found <= set(SOURCES)


def test_a_folder_that_cannot_be_written_is_ranked_each_time(
    zoo: Zoo, rankings: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    three_models(RESULTS)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(MEMORY))

    monkeypatch.setattr("evaluator.results.write_atomically", refused)
    assert [zoo("leaderboard").code for _ in range(2)] == [0, 0]
    assert len(rankings) == 2
    assert not MEMORY.exists()


def test_a_folder_in_the_place_of_the_file_is_no_error(zoo: Zoo, rankings: list[int]) -> None:
    three_models(RESULTS)
    MEMORY.mkdir()
    assert [zoo("leaderboard").code for _ in range(2)] == [0, 0]
    assert len(rankings) == 2


def test_scores_that_change_while_they_are_ranked_are_not_remembered(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    three_models(RESULTS)
    rank = zoo_ranking = __import__("zoo.ranking").ranking.rank_means

    def interrupted(*arguments: object) -> object:
        found = rank(*arguments)
        remeasured(7)
        return found

    monkeypatch.setattr("zoo.ranking.rank_means", interrupted)
    zoo("leaderboard")
    assert not MEMORY.exists()
    monkeypatch.setattr("zoo.ranking.rank_means", zoo_ranking)
    assert zoo("leaderboard").out.splitlines()[2].startswith("2")


def test_two_writers_leave_a_whole_file(zoo: Zoo, rankings: list[int]) -> None:
    three_models(RESULTS)
    expected = {each: zoo("leaderboard", "--metric", each).out for each in ("kfold", "eer")}
    found = read_store(RESULTS).results
    models = {name: results_named(RESULTS, name).results for name in ("alpha", "beta", "weak")}
    assert sum(map(len, models.values())) == len(found)
    MEMORY.unlink()

    def write(metric: str) -> None:
        figure = figure_named(metric)
        for number in range(20):  # other means each time: another key
            given: list[tuple[str, list[Stored]]] = list(models.items())
            standing(RESULTS, [0.9 - number, 0.8, 0.7], given, figure)

    writers = [threading.Thread(target=write, args=(each,)) for each in ("kfold", "eer")]
    for each in writers:
        each.start()
    while any(each.is_alive() for each in writers):
        if MEMORY.exists():
            assert 1 <= len(json.loads(MEMORY.read_text())["standings"]) <= 16
    for each in writers:
        each.join()
    assert {each: zoo("leaderboard", "--metric", each).out for each in expected} == expected
    assert [path.name for path in RESULTS.iterdir() if path.is_file()] == [NAME]


def test_other_commands_do_not_see_the_file(zoo: Zoo) -> None:
    three_models(RESULTS)
    before = {each: zoo(*each) for each in (("compare", "alpha", "weak"), ("leaderboard",))}
    assert MEMORY.exists()
    MEMORY.write_text("{")
    assert {each: zoo(*each) for each in before} == before
    assert zoo("report", "-o", "r.html", "--no-faces").code == 0


def test_the_scores_of_this_file_are_graded_by_their_figures() -> None:
    # The witness of `equal_figures_other_scores`: halving scores moves no decision.
    scores = cosines(1000, noise=0.5, seed=2)
    whole, half = (best_accuracy(sweep(each, labels(1000))) for each in (scores, scores / 2))
    assert whole is not None
    assert half is not None
    assert np.isclose(whole.accuracy, half.accuracy)
