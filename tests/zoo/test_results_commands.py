"""`zoo results`: what is stored, and the folder kept in order."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from samples import Zoo

from evaluator.results.store import load_result, load_scores

pytestmark = pytest.mark.usefixtures("same_process")


@pytest.fixture
def store(zoo: Zoo, models: Path, bins: Path) -> Path:
    """Two models on two bins, in `results`."""
    done = zoo(
        "eval", models / "a.onnx", models / "b.onnx", "--input", "raw",
        "--bins", bins / "easy.bin", bins / "other.bin",
    )  # fmt: skip
    assert done.code == 0, done.err
    return Path("results")


def leaders(zoo: Zoo, folder: object = "results") -> Any:
    """Model -> its accuracies by bin, as the leaderboard says them."""
    done = zoo("leaderboard", "--results", folder, "--format", "json")
    assert done.code == 0, done.err
    return {row["model"]["name"]: row for row in json.loads(done.out)["rows"]}


def test_list_and_show_have_a_row_a_model_and_a_result(zoo: Zoo, store: Path) -> None:
    listed = zoo("results", "list").out.splitlines()
    assert listed[0] == "# results"
    rows = [line.split() for line in listed[2:]]
    assert [row[0] for row in rows] == ["a", "b"]
    assert all(row[2:6] == ["onnx", "here", "2", "2"] for row in rows)
    shown = zoo("results", "show", "a").out.splitlines()
    assert shown[0] == "# 2 results"
    assert [line.split()[:3] for line in shown[2:]] == [["a", "easy", "raw"], ["a", "other", "raw"]]
    (easy,) = store.glob("a-*/easy-*.json")
    accuracy = json.loads(easy.read_text())["figures"]["accuracy"]
    assert shown[2].split()[4] == f"{100 * accuracy:.2f}"


def test_rm_says_what_goes_and_removes_it_when_told_to(zoo: Zoo, store: Path) -> None:
    before = sorted(store.rglob("*"))
    asked = zoo("results", "rm", "a", "--bins", "easy")
    assert "# 1 result" in asked.out
    assert "nothing is removed yet" in asked.err
    assert sorted(store.rglob("*")) == before
    # No beginning of a hash that is shorter than anywhere else: "e" or "0" means no bin.
    for sign in "0123456789abcdef":
        assert zoo("results", "rm", "a", "--bins", sign, "--yes").code == 2
    assert sorted(store.rglob("*")) == before
    own = next(store.glob("a-*")) / "notes.txt"
    own.write_text("mine")
    assert zoo("results", "rm", "a", "--bins", "easy", "--yes").code == 0
    assert sorted(each.name.split("-")[0] for each in store.glob("a-*/*")) == [
        "notes.txt", "other", "other",
    ]  # fmt: skip
    assert zoo("results", "rm", "a", "--yes").code == 0
    assert list(store.glob("a-*/*")) == [own]
    own.unlink()
    own.parent.rmdir()
    assert set(leaders(zoo)) == {"b"}
    unknown = zoo("results", "rm", "aa", "--yes")
    assert (unknown.code, unknown.error_lines) == (
        2, ["zoo: error: no stored model 'aa' in results; there is: b"],
    )  # fmt: skip


def test_a_renamed_model_keeps_its_results_scores_and_costs(
    zoo: Zoo, store: Path, models: Path
) -> None:
    before = {
        path.name: load_scores(path, load_result(path)).scores for path in store.glob("a-*/*.json")
    }
    costed = zoo("cost", models / "a.onnx", "--repeats", "5")
    assert costed.code == 0, costed.err
    assert zoo("results", "rename", "a", "first of all").code == 0
    assert not list(store.glob("a-*"))
    after = {
        path.name: load_scores(path, load_result(path)).scores
        for path in store.glob("first*/*.json")
    }
    assert {name: each.tolist() for name, each in after.items()} == {
        name: each.tolist() for name, each in before.items()
    }
    assert '"first of all"' in next(store.glob("first*/costs.jsonl")).read_text()
    assert set(leaders(zoo)) == {"first of all", "b"}
    taken = zoo("results", "rename", "b", "first of all")
    assert taken.code == 2
    assert "first of all: another stored model has that name" in taken.err
    several = zoo("results", "rename", "*", "x")
    assert several.code == 2
    assert "expected one model to rename, found b" in several.err


def test_merged_folders_answer_as_one(zoo: Zoo, store: Path) -> None:
    whole = leaders(zoo)
    for name, gone in (("left", "a-*"), ("right", "b-*")):
        shutil.copytree(store, name)
        for each in Path(name).glob(gone):
            shutil.rmtree(each)
    done = zoo("results", "merge", "left", "right", "--results", "all")
    assert done.code == 0, done.err
    assert "4 results added, 0 newer than what was there, 0 there already" in done.err
    assert leaders(zoo, "all") == whole
    again = zoo("results", "merge", "left", "--results", "all")
    assert "0 results added, 0 newer than what was there, 2 there already" in again.err
    newer = next(Path("left").glob("b-*/easy-*.json"))
    newer.write_text(newer.read_text().replace('"created": "20', '"created": "21'))
    assert "1 newer than" in zoo("results", "merge", "left", "--results", "all").err
    same = zoo("results", "merge", "all", "--results", "all")
    assert (same.code, "is one of the folders" in same.err) == (2, True)
    missing = zoo("results", "merge", "nowhere", "--results", "all")
    assert missing.error_lines == ["zoo: error: --results nowhere: there is no such folder"]
