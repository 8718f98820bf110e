"""That every benchmark still runs, that both its sides agree, and what a row and the table say.

No speed is asserted: small sizes show none.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks"
# Without a GPU there is nothing for it to say, and it takes a TensorFlow-less Keras.
NOT_RUN = {"gpu"}
PARTS = {"__main__", "rows", "table", "timing", "lfw_shaped", "small_onnx", "stored"}
SCRIPTS = sorted({path.stem for path in FOLDER.glob("*.py")} - NOT_RUN - PARTS)
# The rows that the table of the issue asks for, by script.
EXPECTED = {
    "alignment": {"align"},
    "command": {"memory-3-bins", "second-run"},
    "compare": {"compare"},
    "engines": {"engine-onnxruntime-small", "engine-openvino-small"},
    "evaluation": {"eval-seed", "eval-limit"},
    "figures": {"figures-peer", "figures-sort-0.5", "figures-exponent"},
    "isolation": {"isolation-eval", "isolation-each-onnx", "isolation-each-keras"},
    "leaderboard": {"store-leaderboard"},
    "losses": {"loss-16-time", "loss-16-memory", "labels"},
    "pipeline": {"pipeline-folder", "pipeline-rec", "pipeline-tfrecord", "pipeline-memory"},
    "processes": {"processes-small", "processes-memory-small"},
    "scaling": {"scaling-time", "scaling-memory"},
    "sampled_head": {"sampled-head-memory", "sampled-head-time"},
    "set_lists": {"set-lists-seconds", "set-lists-memory"},
    "startup": {"startup-help-seconds", "startup-leaderboard-seconds"},
    "steps": {"step-mlp", "batches-mlp", "batches-memory-mlp"},
    "templates": {"templates-peer", "templates-1-to-1", "templates-1-to-n", "templates-search"},
    "triplets": {"mining-random-loop", "mining-random-product"},
}


def run(shared: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "ZOO_SHARED": str(shared),
    }
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_each_script_has_its_rows_in_seconds(shared: Path, script: str) -> None:
    # Each script ends with exit code 1 where its two sides do not find the same.
    done = run(shared, str(FOLDER / f"{script}.py"), "--quick", "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads(done.stdout)
    keys = [row["key"] for row in rows]
    assert len(keys) == len(set(keys))
    assert set(keys) >= EXPECTED.get(script, set())
    for row in rows:
        assert row["what"]
        assert row["against"]
        assert math.isfinite(row["value"])
        # An exponent that is fitted to moments may be anything on a busy machine.
        assert row["value"] >= 0 or row["key"] == "figures-exponent"
        assert row["verdict"] == "-"  # small sizes are never judged


def test_every_script_is_run_by_make_bench() -> None:
    # The error of an unknown name lists those that are known.
    listed = run(ROOT, str(FOLDER), "--only", "unheard-of").stderr
    assert set(SCRIPTS) <= set(re.findall(r"\w+", listed))


ROW = """
import sys; sys.path.insert(0, {folder!r})
from rows import Row
def row(value, wanted, **options):
    return Row("k", "a name as long as the names of rows are, 6,000 pairs", "the seed's callback",
               value, "x", wanted, **options)
"""


def says(code: str) -> str:
    done = run(ROOT, "-c", ROW.format(folder=str(FOLDER)) + code)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_bound_is_met_at_least_or_at_most() -> None:
    cases = "row(2, 2), row(1.99, 2), row(2, 2, at_most=True), row(2.01, 2, at_most=True)"
    assert says(f"print([each.verdict for each in ({cases})])") == "['ok', 'miss', 'ok', 'miss']\n"
    cases = "row(1, None), row(1, 2, quick=True)"
    assert says(f"print([each.verdict for each in ({cases})])") == "['-', '-']\n"


def test_rows_come_back_from_their_json() -> None:
    code = """
import contextlib, io
from argparse import Namespace
from rows import rows_from_json
from table import finish
rows = [row(2.5, 2), row(1, None, detail='a "quoted" | one')]
with contextlib.redirect_stdout(io.StringIO()) as text:
    finish(rows, Namespace(json=True, quick=False))
print(rows_from_json(text.getvalue()) == rows)
"""
    assert says(code) == "True\n"


def test_the_table_fits_80_columns_and_marks_a_miss() -> None:
    code = "from table import print_table; print_table([row(2.61, 2.5), row(1.2345, 2.5)])"
    lines = says(code).splitlines()
    assert max(map(len, lines)) <= 80
    assert any("2.61x" in line and ">= 2.5x" in line and "ok" in line for line in lines)
    assert any("1.23x" in line and "miss" in line for line in lines)
    assert lines[-1].startswith("1 of 2 wanted ratios reached")


def test_the_markdown_table_has_a_line_a_row() -> None:
    code = "from table import markdown; print(markdown([row(2.61, 2.5, detail='1 s | 2 s')]))"
    header, rule, line = says(code).split("\n")[:3]
    assert header.count("|") == rule.count("|") == 7
    assert line.endswith("| the seed's callback | 2.61x | >= 2.5x | ok | 1 s \\| 2 s |")


@pytest.mark.slow
def test_the_runner_collects_rows_and_fails_with_a_script(tmp_path: Path) -> None:
    target = tmp_path / "table.md"
    arguments = ["--quick", "--json", "--only", "compare", "--only", "records"]
    done = run(tmp_path, str(FOLDER), *arguments, "--markdown", str(target))
    # There are no records in that folder: their script fails, and the others' rows are there.
    assert done.returncode == 1
    assert "failed: records" in done.stderr
    assert [row["key"] for row in json.loads(done.stdout)] == ["compare"]
    assert "| compare, 3 bins" in target.read_text(encoding="utf-8")
