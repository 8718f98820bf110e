"""Results that other reading rules measured: no answers any more, listed as such, never mixed."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from samples import Zoo
from stores import cosines, labels, store, three_models

from evaluator.results.reading_rules import READING
from evaluator.results.store import load_result

RESULTS = Path("results")
OLDER = f"measured by older rules of reading models (version 0; now {READING})"
NEWER = (
    f"measured by a newer face-zoo's rules of reading models (version 99; this one's are {READING})"
)


def change(path: Path, **changes: Any) -> None:
    """Changes keys of a stored result; None takes the key away, as results had it before."""
    value = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: each for key, each in value.items() if each is not None}))


@pytest.fixture
def outdated(zoo: Zoo) -> dict[str, Path]:
    """A store in which alpha's result on lfw is of older rules and beta's of newer ones."""
    del zoo  # its folder is where this one is to be
    three_models(RESULTS)
    paths = {
        each.name.partition("-")[0]: next(each.glob("lfw-*.json")) for each in RESULTS.iterdir()
    }
    change(paths["alpha"], reading=None)
    change(paths["beta"], reading=99)
    return paths


def test_a_new_result_states_the_rules_it_was_measured_by(zoo: Zoo) -> None:
    del zoo
    path = store(RESULTS, "a", cosines(40, noise=1, seed=1))
    assert list(json.loads(path.read_text()))[-2:] == ["scores", "reading"]
    assert load_result(path).reading == READING
    change(path, reading=None)
    assert load_result(path).reading == 0


@pytest.mark.parametrize("reading", [True, -1, 1.0, "1", [1], 10**400])
def test_a_version_that_is_no_number_is_no_result(zoo: Zoo, reading: object) -> None:
    store(RESULTS, "good", cosines(40, noise=1, seed=2))
    change(store(RESULTS, "a", cosines(40, noise=1, seed=1)), reading=reading)
    done = zoo("leaderboard")
    assert done.code == 0
    assert "# unreadable: " in done.out


def test_a_leaderboard_lists_them_and_ranks_the_others(zoo: Zoo, outdated: dict[str, Path]) -> None:
    out = zoo("leaderboard", "--bins", "lfw").out
    assert [line.split()[2] for line in out.splitlines() if "ranked " in line] == ["weak"]
    assert f"# outdated: alpha on lfw: {OLDER}; zoo eval measures it again\n" in out
    assert f"# outdated: beta on lfw: {NEWER}; update face-zoo, or let" in out
    found = json.loads(zoo("leaderboard", "--format", "json").out)
    assert [(each["model"], each["bin"]) for each in found["outdated"]] == [
        ("alpha", "lfw"),
        ("beta", "lfw"),
    ]
    done = zoo("leaderboard", "--format", "csv")
    assert all(row[2] != "outdated" for row in csv.reader(done.out.splitlines()))
    assert done.err.count("outdated: ") == 2
    done = zoo("leaderboard", "--models", "alpha", "--bins", "lfw")
    assert done.code == 2
    assert f"no stored results to rank: alpha on lfw: {OLDER}" in done.error_lines[0]


def test_a_report_lists_them_and_shows_the_others(zoo: Zoo, outdated: dict[str, Path]) -> None:
    done = zoo("report", "--bins", "lfw", "--no-faces")
    assert done.code == 0, done.err
    assert f"not ranked: alpha on lfw: {OLDER}; zoo eval measures it again\n" in done.err
    page = Path("report.html").read_text()
    assert "measured by older rules" in page
    assert page.count("<b>alpha</b>") == 1  # among what is not ranked, nowhere else


def test_compare_and_threshold_leave_them_out(zoo: Zoo, outdated: dict[str, Path]) -> None:
    done = zoo("compare", "alpha", "weak", "--format", "json")
    assert done.code == 0, done.err
    assert f"passed over: alpha on lfw: {OLDER}" in done.err
    (duel,) = json.loads(done.out)["comparisons"]
    assert [each["bin"]["name"] for each in duel["bins"]] == ["agedb_30"]
    done = zoo("threshold", "beta", "--far", "0.1")
    assert done.code == 0, done.err
    assert f"passed over: beta on lfw: {NEWER}" in done.err
    for path in outdated["alpha"], outdated["alpha"].parent:
        done = zoo("threshold", path, "--bins", "lfw", "--far", "0.1")
        assert done.code == 2
        assert len(done.error_lines) == 1
    done = zoo("threshold", outdated["alpha"], "--far", "0.1")
    assert f"alpha on lfw: {OLDER}" in done.error_lines[0]


def test_a_newer_result_of_another_shape_says_so(zoo: Zoo) -> None:
    store(RESULTS, "good", cosines(40, noise=1, seed=2))
    path = store(RESULTS, "a", cosines(40, noise=1, seed=1))
    change(path, reading=99, invented={"a": 1})
    assert NEWER in zoo("leaderboard").out


@pytest.mark.slow
def test_eval_measures_them_again_and_says_so(zoo: Zoo, bins: Path, models: Path) -> None:
    run = ("eval", models / "a.onnx", "--bins", bins / "easy.bin")
    first = zoo(*run)
    assert "answered from the store" in zoo(*run).err
    (path,) = RESULTS.glob("a-*/easy-*.json")
    for reading, words in ((None, OLDER), (99, NEWER)):
        change(path, reading=reading)
        again = zoo(*run)
        assert (again.code, again.out) == (0, first.out)
        assert "answered from the store" not in again.err
        assert f"zoo: measured again: {path}: {words}\n" in again.err
        assert load_result(path).reading == READING
    compared = ("compare", models / "a.onnx", models / "b.onnx", "--bins", bins / "easy.bin")
    expected = zoo(*compared).out
    change(path, reading=None)
    again = zoo(*compared)
    assert (again.code, again.out) == (0, expected)
    assert f"measured again: {path}: {OLDER}" in again.err


def test_scores_from_elsewhere_stand_whatever_rules_there_are(zoo: Zoo) -> None:
    rows = zip(cosines(100, noise=1, seed=1), labels(100), strict=True)
    Path("s.csv").write_text("".join(f"{float(score)!r},{int(label)}\n" for score, label in rows))
    assert zoo("eval", "--scores", "s.csv").code == 0
    (path,) = RESULTS.glob("*/*.json")
    for reading in (None, 99):
        change(path, reading=reading)
        assert "\n1     ranked  s_(scores)" in zoo("leaderboard").out
