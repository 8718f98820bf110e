"""Stores of any content: what is no result is named in one line, and the others stay in."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from samples import Zoo
from stores import cosines, labels, store

from evaluator.errors import ResultError
from evaluator.metrics.all_figures import figure_named
from evaluator.results.store import load_result, load_scores
from evaluator.results.stored import read_store
from zoo.report.page import render_report
from zoo.report.selection import select
from zoo.results.leaderboard import build_leaderboard
from zoo.results.leaderboard_text import TEXTS, plain_leaderboard

RESULTS = Path("results")
PAIRS = 100

DEEP: Any = []
for _ in range(60):
    DEEP = [DEEP]
HOSTILE: tuple[Any, ...] = (
    None,
    True,
    -1,
    0.5,
    10**400,
    1e308,
    float("nan"),
    "",
    "../x.h5",
    "n" * 300 + "/x\udc80",
    "\x1b[31m\u202e<b>\ud800",
    "9" * 5000,
    [],
    {},
    {"a": [1]},
    DEEP,
)


def good_and_bad(folder: Path) -> Path:
    """A store of a good result, and of one to be spoilt; the path of the second."""
    store(folder, "good", cosines(PAIRS, noise=1, seed=1))
    return store(folder, "bad", cosines(PAIRS, noise=1, seed=2))


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every node of JSON, leaves and inner ones."""
    yield place
    if isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(each, (*place, key))


def spoilt(whole: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    changed = copy.deepcopy(whole)
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return changed


def everything_reads(folder: Path) -> tuple[str, list[str]]:
    """The leaderboard, and the lines about what is left out; also of the report and all formats."""
    selection = select(folder)
    page = render_report(selection, title="t", faces=False)
    assert "good" in page
    board = build_leaderboard(read_store(folder), figure_named("--metric", "kfold"), entries={})
    for text in TEXTS.values():
        assert "good" in text(board)
    lines = [*(each.reason for each in selection.left_out), *board.damaged]
    assert all(len(line) < 1000 and "\n" not in line for line in lines)
    return plain_leaderboard(board), lines


def test_a_result_with_any_value_anywhere_leaves_the_others(tmp_path: Path) -> None:
    path = good_and_bad(tmp_path / "one")
    text = path.read_text()
    whole = json.loads(text)
    refused = 0
    said: list[str] = []
    crowd = tmp_path / "crowd"
    shutil.copytree(tmp_path / "one", crowd)
    for place in places(whole):
        for value in HOSTILE:
            path.write_text(json.dumps(spoilt(whole, place, value)))
            try:
                load_result(path)
            except ResultError as error:
                said.append(str(error))
                shutil.copy(path, crowd / path.parent.name / f"{refused}.json")
                refused += 1
                continue
            shown, _ = everything_reads(path.parents[1])
            assert re.search(r"\n1(-2)? +ranked  good", shown)
    assert refused > 700
    assert all(line.startswith(f"{path}: ") and line.isprintable() for line in said)
    shown, lines = everything_reads(crowd)
    assert len([line for line in lines if "remove it" in line or "expected" in line]) == 2 * refused


def test_files_that_are_no_results_are_passed_over(tmp_path: Path) -> None:
    folder = good_and_bad(tmp_path).parent
    contents = {
        "deep": b"[" * 200_000,
        "object": b'{"a":' * 100_000,
        "empty": b"",
        "binary": bytes(range(256)),
        "number": b"9" * 5000,
        "utf16": '{"schema": 1}'.encode("utf-16"),
        "boolean": b'{"schema": true}',
        "schema": b'{"schema": ' + b"9" * 4000 + b"}",
        "large": b" " * 2_000_000 + b"{}",
    }
    for name, content in contents.items():
        (folder / f"{name}.json").write_bytes(content)
    (folder / "folder.json").mkdir()
    (folder / "loop.json").symlink_to("loop.json")
    os.mkfifo(folder / "pipe.json")
    (folder / "zero.json").symlink_to("/dev/zero")
    with (folder / "sparse.json").open("wb") as file:
        file.truncate(10 * 2**30)
    _, lines = everything_reads(tmp_path)
    named = {name for name in (*contents, "sparse") if any(f"/{name}.json: " in x for x in lines)}
    assert named == {*contents, "sparse"}


@pytest.mark.parametrize("command", ["compare", "threshold"])
def test_a_bad_file_beside_a_models_result_is_named_and_passed_over(zoo: Zoo, command: str) -> None:
    path = good_and_bad(RESULTS)
    (path.parent / "torn.json").write_text("{")
    rest = ["good"] if command == "compare" else ["--far", "0.1"]
    done = zoo(command, "bad", *rest)
    assert done.code == 0, done.err
    line = next(line for line in done.err.splitlines() if "torn.json" in line)
    assert line.startswith("passed over: ")
    done = zoo(command, path.parent, *rest)
    assert done.code == 0, done.err
    path.write_text("{}")
    done = zoo(command, "bad", *rest)
    assert done.code == 2
    assert "none of its stored results can be used" in done.error_lines[0]


def hdf5_of(path: Path, changes: dict[str, Any]) -> None:
    """Scores of PAIRS pairs with some datasets replaced; None leaves one out."""
    arrays: dict[str, Any] = {
        "scores": cosines(PAIRS, noise=1, seed=2),
        "genuine": labels(PAIRS).astype(np.uint8),
        "images": np.arange(2 * PAIRS),
        **changes,
    }
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            if values is not None:
                file[name] = values


@pytest.mark.parametrize(
    "changes",
    [
        {"scores": np.full(PAIRS, np.nan)},
        {"scores": np.full(PAIRS, np.inf)},
        {"scores": np.full(PAIRS, 0.25)},
        {"scores": np.full(PAIRS, 1e99)},
        {"scores": 1.7e308 * np.linspace(-1, 1, PAIRS)},
        {"scores": np.linspace(-1e99, 1e99, PAIRS)},
        {"scores": np.linspace(0, 5e-324, PAIRS)},
        {"scores": np.where(labels(PAIRS), 0.5, np.nan)},
        {"scores": np.where(labels(PAIRS), np.nan, 0.5)},
        {"genuine": np.ones(PAIRS, np.uint8)},
        {"genuine": np.zeros(PAIRS, np.uint8)},
        {"genuine": np.arange(PAIRS)[::-1] % 2},
        {"images": np.full(2 * PAIRS, 2**62)},
        {"images": np.full(2 * PAIRS, -(2**62))},
        {"people": np.arange(2 * PAIRS) * 2**50},
        {"people": np.zeros(3, np.int64)},
        {"scores": None},
        {"scores": b"text"},
    ],
    ids=range(18),
)
def test_scores_of_any_values_leave_the_others(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = good_and_bad(tmp_path)
    for name in ("good", "bad"):
        store(tmp_path, name, cosines(PAIRS, noise=1, seed=1, bin="cfp"), bin="cfp")
    hdf5_of(path.with_name(load_result(path).scores or ""), changes)
    shown, _ = everything_reads(tmp_path)
    assert "good" in shown


def test_scores_that_are_a_pipe_or_a_device_are_refused_at_once(tmp_path: Path) -> None:
    path = good_and_bad(tmp_path)
    scores = path.with_name(load_result(path).scores or "")
    scores.unlink()
    for make in (os.mkfifo, lambda at: at.symlink_to("/dev/zero"), lambda at: at.mkdir()):
        make(scores)
        with pytest.raises(ResultError, match=r"damaged scores"):
            load_scores(path, load_result(path))
        everything_reads(tmp_path)
        scores.rmdir() if scores.is_dir() else scores.unlink()


@pytest.mark.parametrize("change", ["fewer pairs", "more pairs", "other labels", "other images"])
def test_results_that_claim_one_bin_and_differ_leave_the_others(zoo: Zoo, change: str) -> None:
    from stores import sha

    store(RESULTS, "good", cosines(PAIRS, noise=1, seed=1))
    store(RESULTS, "fine", cosines(PAIRS, noise=2, seed=2))
    pairs = {"fewer pairs": 60, "more pairs": 140}.get(change, PAIRS)
    genuine = labels(pairs) if change != "other labels" else ~labels(pairs)
    images = np.zeros(2 * pairs, np.int64) if change == "other images" else None
    scores = np.where(genuine, 0.5, -0.5) + np.linspace(0, 0.7, pairs)
    store(RESULTS, "liar", scores, genuine=genuine, images=images, bin_hash=sha("lfw"))
    everything_reads(RESULTS)
    for command in (
        ("leaderboard",),
        ("report", "--no-faces"),
        ("compare", "good", "liar"),
        ("compare", "good", "fine"),
        ("threshold", "liar", "--far", "0.1"),
    ):
        done = zoo(*command)
        assert done.code in (0, 2), command
        assert len(done.error_lines) == (done.code == 2)
        assert done.code == 0 or "liar" in done.error_lines[0]


def test_a_report_does_not_look_for_pairs_that_a_bin_does_not_have(zoo: Zoo, bins: Path) -> None:
    import hashlib

    path = bins / "easy.bin"
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    at = store(RESULTS, "good", cosines(400, noise=3, seed=1), bin="easy", bin_hash=sha256)
    value = json.loads(at.read_text())
    value["bin"]["path"] = str(path)
    at.write_text(json.dumps(value))
    done = zoo("report")
    assert done.code == 0, done.err
    assert "easy.bin has 60 pairs, not 400" in Path("report.html").read_text()
