"""Several folders of results read as one, and bins that moved."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from samples import SIZE, face, png
from stores import cosines, sha, store

import evaluator
from evaluator.bins.verification_set import write_bin
from evaluator.results.located import located
from evaluator.results.record import BinRecord
from evaluator.results.store import load_result
from tests.command import Zoo

ONE, TWO = Path("one"), Path("two")
BOTH = ("--results", ONE, "--results", TWO)


@pytest.fixture
def stores(zoo: Zoo) -> Zoo:
    """arc on lfw in both folders, measured later and better in the second, which has center too;
    arc on agedb_30 in the first alone.
    """
    store(ONE, "arc", cosines(600, noise=1.5, seed=1))
    store(ONE, "arc", cosines(600, noise=1.5, seed=2, bin="agedb_30"), bin="agedb_30")
    store(TWO, "arc", cosines(600, noise=0.5, seed=1), created="2026-02-01T00:00:00+00:00")
    store(TWO, "center", cosines(600, noise=2.5, seed=3))
    store(TWO, "center", cosines(600, noise=2.5, seed=4, bin="agedb_30"), bin="agedb_30")
    return zoo


def test_every_reader_sees_all_folders_and_counts_the_same_once(stores: Zoo) -> None:
    board = json.loads(stores("leaderboard", *BOTH, "--format", "json").out)
    assert [row["label"] for row in board["rows"]] == ["arc", "center"]
    (duel,) = json.loads(stores("compare", "arc", "center", *BOTH, "--format", "json").out)[
        "comparisons"
    ]
    assert {each["bin"]["name"] for each in duel["bins"]} == {"lfw", "agedb_30"}
    # Of what was measured twice, the later stands, in whichever order the folders are named.
    later = load_result(next(TWO.glob("arc-*/lfw-*.json"))).figures
    assert later is not None
    on_lfw = next(each for each in duel["bins"] if each["bin"]["name"] == "lfw")
    assert on_lfw["accuracy_a"] == later["accuracy"]
    backwards = ("--results", TWO, "--results", ONE)
    assert (
        stores("leaderboard", *backwards, "--format", "json").out
        == stores("leaderboard", *BOTH, "--format", "json").out
    )
    listed = json.loads(stores("results", "list", *BOTH, "--format", "json").out)["rows"]
    assert [(row["model"], row["bins"], row["results"]) for row in listed] == [
        ("arc", "2", "3"),
        ("center", "2", "2"),
    ]
    at = ("--far", "0.1", "--format", "json")
    pairs = json.loads(stores("threshold", "arc", *BOTH, *at).out)["bins"]
    assert len(pairs) == 2
    loaded = evaluator.load_results([ONE, TWO])
    assert [(each.model.name, len(each.bins)) for each in loaded] == [("arc", 2), ("center", 2)]
    assert "2 models, 2 bins" in stores("report", *BOTH, "-o", "r.html", "--no-faces").err


def test_a_folder_given_twice_is_one(stores: Zoo) -> None:
    link = Path("link")
    link.symlink_to(ONE)
    once = stores("leaderboard", "--results", ONE, "--format", "json")
    assert stores("leaderboard", "--results", ONE, "--results", link, "--format", "json").out == (
        once.out
    )
    assert "no such folder" in stores("leaderboard", *BOTH, "--results", "three").err


def test_a_bin_is_found_by_its_hash(tmp_path: Path) -> None:
    content = b"x" * 100
    digest = hashlib.sha256(content).hexdigest()
    record = BinRecord("lfw", "gone/lfw.bin", digest, 10, 5, 5, 20, 20)
    (tmp_path / "sub").mkdir()
    (tmp_path / "lfw.bin").write_bytes(b"y" * 100)  # its name, another bin
    (tmp_path / "a.bin").write_bytes(b"y" * 5)  # too small to be read
    assert located(record, [tmp_path]) is None
    (tmp_path / "sub" / "renamed.bin").write_bytes(content)
    assert located(record, [tmp_path]) == tmp_path / "sub" / "renamed.bin"
    (tmp_path / "sub" / "lfw.bin").write_bytes(content)
    assert located(record, [tmp_path]) == tmp_path / "sub" / "lfw.bin"
    there = replace(record, path=str(tmp_path / "sub" / "renamed.bin"))
    assert located(there, []) == tmp_path / "sub" / "renamed.bin"
    assert located(replace(record, path=""), []) is None
    assert located(record, [tmp_path / "nowhere"]) is None


def test_a_report_keeps_its_faces_when_bins_move_or_says_what_it_lacks(
    zoo: Zoo, models: Path
) -> None:
    # No two images are of one person, whatever the labels say: some pairs are decided wrongly.
    write_bin(Path("easy.bin"), [png(face(i, 0, SIZE)) for i in range(40)], [True, False] * 10)
    zoo("eval", models / "a.onnx", models / "b.onnx", "--bins", "easy.bin")
    Path("far/away").mkdir(parents=True)
    os.rename("easy.bin", "far/away/other_name.bin")  # noqa: PTH104
    lacking = zoo("report", "-o", "r.html")
    assert lacking.code == 0
    assert "no faces of easy: easy.bin is no longer where it was" in lacking.err
    assert "data:image/jpeg" not in Path("r.html").read_text()
    found = zoo("report", "-o", "r.html", "--data", "far/away")
    assert "no faces" not in found.err
    assert "data:image/jpeg" in Path("r.html").read_text()
    assert "no faces" not in zoo("report", "-o", "r.html", "--no-faces").err


def test_a_model_is_measured_on_bins_that_moved(zoo: Zoo, models: Path, bins: Path) -> None:
    shutil.copy(bins / "easy.bin", "easy.bin")
    zoo("eval", models / "a.onnx", "--bins", "easy.bin")
    Path("moved").mkdir()
    os.rename("easy.bin", "moved/easy.bin")  # noqa: PTH104
    done = zoo("compare", "a", models / "b.onnx", "--data", "moved", "--format", "json")
    assert json.loads(done.out)["comparisons"][0]["bins"][0]["bin"]["name"] == "easy"
    assert sha("easy") not in done.out


def test_a_name_is_not_known_where_there_is_no_store(zoo: Zoo) -> None:
    done = zoo("compare", "arc", "center")
    assert done.code == 2
    assert "no model 'arc'" in done.err
    assert "there is no folder results; zoo eval stores results" in done.err
