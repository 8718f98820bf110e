"""Checkpoints, logs and records of runs that anyone may have written."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from evaluator.errors import InputError
from training.run.checkpoints import (
    CheckpointError,
    read_checkpoint,
    read_state,
    save_checkpoint,
)
from training.run.curves import draw_curves
from training.run.position import PlateauState, Position
from training.run.runs import RunError, RunFolder, read_data_record, read_log

STATE: dict[str, Any] = {
    "stage": 0, "epoch": 1, "step": 2, "epochs_done": 1, "steps_done": 12, "loss_sum": 1.5,
    "accuracy_sum": 0.5, "active_sum": 0.0, "spread_sum": 0.0, "epoch_seconds": 1.0,
    "timed_seconds": 1.0, "timed_steps": 3, "best": 0.9, "best_step": 7,
    "best_by_bin": {"lfw": 0.9}, "plateau": {"multiplier": 1.0, "best": None, "waited": 0},
    "log_bytes": 10, "verification_bytes": 0, "finished": False,
}  # fmt: skip
HOSTILE: tuple[Any, ...] = (None, True, -1, 10**400, 0.5, "x", [], {}, {"a": "b"}, [[1]])


def test_a_state_is_read_as_it_was_saved(tmp_path: Path) -> None:
    for state in (STATE, asdict(Position())):
        save_checkpoint(tmp_path / "last.npz", [np.ones(3), np.zeros((2, 2))], state)
        assert read_state(tmp_path / "last.npz") == state
        first, second = read_checkpoint(tmp_path / "last.npz")
        assert (first.tolist(), second.shape) == ([1, 1, 1], (2, 2))


def test_states_that_no_run_has_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "last.npz"
    states: list[Any] = [{}, [], None, 3, "x", {**STATE, "more": 1}, {"stage": 0}]
    states += [{**STATE, key: value} for key in STATE for value in HOSTILE]
    refused = 0
    for state in states:
        save_checkpoint(path, [np.ones(3)], state)
        try:
            found = read_state(path)
        except CheckpointError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
            refused += 1
        else:
            # What is done with it: neither raises.
            PlateauState(**Position(**found).plateau)
            assert f"{100 * (found['best'] or 0):.2f} {found['steps_done']}"
    assert refused > 150


@pytest.mark.parametrize("data", [b"[" * 100_000, b"\xff\xfe", b"", b" " * 2_000_000 + b"{}"])
def test_a_state_of_other_bytes_is_one_line(tmp_path: Path, data: bytes) -> None:
    np.savez(tmp_path / "last.npz", state=np.frombuffer(data, np.uint8))
    with pytest.raises(CheckpointError, match=r"last\.npz: not a whole checkpoint"):
        read_state(tmp_path / "last.npz")


def test_a_checkpoint_that_is_none_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "last.npz"
    path.write_bytes(b"text")
    for reader in (read_state, read_checkpoint):
        with pytest.raises(CheckpointError, match="not a whole checkpoint"):
            reader(path)
    path.unlink()
    os.mkfifo(path)
    for reader in (read_state, read_checkpoint):
        with pytest.raises(OSError, match="FIFO"):
            reader(path)
    np.savez(tmp_path / "none.npz", a=[1])
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        read_state(tmp_path / "none.npz")


@pytest.mark.parametrize(
    "log",
    [
        b"\xff\xfe",
        b"stage,loss\n1,2,3\n",
        b'stage\n"' + b"x" * 200_000 + b'"\n',
        b"," * 2000 + b"\n" + b"1\n" * 2000,
        b"x" * 5_000_000,
    ],
    ids=["bytes", "longer rows", "long cell", "wide", "large"],
)
def test_a_log_of_other_content_is_one_line(tmp_path: Path, log: bytes) -> None:
    run = RunFolder(tmp_path)
    run.log.write_bytes(log)
    with pytest.raises((RunError, OSError)):
        read_log(run)


@pytest.mark.parametrize(
    "log",
    [
        "",
        "\n\n",
        "stage,step,loss\n0,1,nan\n0,2,1e999\n0,x,3\n0,4\n0,5,-1e308\n0,6,1e308\n",
        "loss\n1\n2\n",
        "stage,step,loss,loss\n0,1,2,3\n",
        "step,\x1b[31m_accuracy,x_accuracy\n1,1,1\n2,1,1e-320\n",
    ],
)
def test_a_log_of_any_cells_can_be_drawn(tmp_path: Path, log: str) -> None:
    run = RunFolder(tmp_path)
    run.log.write_text(log)
    draw_curves(read_log(run), run.curves)


@pytest.mark.parametrize(
    "data", ["", "{}", "[]", "[" * 100_000, '{"source": 3, "fingerprint": "x"}', '{"source": "x"}']
)
def test_a_record_of_data_of_other_content_is_one_line(tmp_path: Path, data: str) -> None:
    run = RunFolder(tmp_path)
    run.data.write_text(data)
    with pytest.raises(RunError, match=r"data\.json: not the record"):
        read_data_record(run)


def test_a_list_of_runs_or_none_is_one_line(tmp_path: Path) -> None:
    from zoo.entries.lookup import resolve_models

    run = tmp_path / "run"
    run.mkdir()
    entry = "{file: a, source: s, input: {profile: unit}}"
    two = f"models:\n  a: &x {entry}\n  b: *x\n"
    for text in ("models: {}\n", two, "[]", "models: 3", json.dumps({"models": {"a": [1]}})):
        (run / "models.yaml").write_text(text)
        with pytest.raises(InputError, match=r"models\.yaml"):
            resolve_models([str(run)], {})


def test_no_axis_runs_past_what_its_figure_can_be(tmp_path: Path) -> None:
    row = {"stage": "0", "loss": "0.02", "accuracy": "1.0", "a<b_accuracy": "0.9", "a<b_auc": "1"}
    rows = [row, {**row, "stage": "1", "loss": "1.93", "a<b_accuracy": "0.995"}]
    draw_curves(rows, tmp_path / "curves.svg")
    texts = [each.text or "" for each in ElementTree.parse(tmp_path / "curves.svg").iter()]
    assert {"Loss", "Accuracy in training", "a<b, accuracy"} <= set(texts)
    loss, accuracy = texts.index("Loss"), texts.index("Accuracy in training")
    numbers = [float(text) for text in texts[loss + 1 : accuracy] if text[:1].isdigit()]
    # Values first, then epochs.
    assert numbers == [0.0, 0.5, 1.0, 1.5, 2.0, 1.0, 2.0]
    after = texts[accuracy + 1 : texts.index("a<b, accuracy")]
    assert max(float(text) for text in after[:6] if text[:1].isdigit()) == 1.0
