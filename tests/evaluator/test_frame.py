"""Evaluations as a table, with pandas and without."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

import evaluator
from evaluator.api.frame import table

FIGURES = ["accuracy", "threshold", "kfold", "kfold_std", "auc", "eer", "tar_at_far_1e-3"]
GENUINE = np.arange(40) % 2 == 0


def scored(name: str, seed: int) -> evaluator.Evaluation:
    scores = GENUINE * 0.4 + np.random.default_rng(seed).normal(size=40) * 0.2
    return evaluator.evaluate_scores(scores, GENUINE, name=name, bin="lfw")


def test_a_row_has_the_names_of_the_log_and_the_figures_as_they_are() -> None:
    found = scored("vendor", 1)
    columns, (row,) = table([("x", found.bins[0].result)], index="epoch")
    assert columns[:11] == ["epoch", "model", "bin", "pairs", *FIGURES]
    assert columns[-2:] == ["settings", "sha256"]
    assert len(set(columns)) == len(columns) == len(row)
    cells = dict(zip(columns, row, strict=True))
    figures = found.figures
    assert cells["epoch"] == "x"
    assert (cells["model"], cells["bin"], cells["pairs"]) == ("vendor", "lfw", 40)
    assert cells["accuracy"] == figures.accuracy
    assert cells["threshold"] == figures.threshold
    assert cells["kfold"] == figures.kfold.accuracy
    assert cells["kfold_std"] == figures.kfold.std
    assert (cells["auc"], cells["eer"]) == (figures.auc, figures.eer)
    assert cells["tar_at_far_1e-1"] == figures.tar_at_far["0.1"].tar
    assert cells["d_prime"] == figures.d_prime
    assert cells["sha256"] == found.model.identity
    assert math.isnan(cells["tar_at_far_1e-6"])  # 20 impostor pairs show none so low


def test_rows_of_searches_have_their_columns() -> None:
    from dataclasses import replace

    plain = scored("vendor", 1).bins[0].result
    galleries = {"rank": {"1": 0.5}, "tpir_at_fpir": {}, "galleries": []}
    searched = replace(plain, figures={**plain.figures, "identification": galleries})
    columns, rows = table([(None, plain), (None, searched)])
    place = columns.index("rank1")
    assert rows[1][place] == 0.5
    assert math.isnan(rows[0][place])
    assert "rank1" not in table([(None, plain)])[0]


def test_a_frame_is_for_pandas(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    a, b = scored("a", 1), scored("b", 2)
    frame = evaluator.to_dataframe([(1, a), (2, b)], index="epoch")
    assert list(frame.columns[:4]) == ["epoch", "model", "bin", "pairs"]
    pivot = frame.pivot(index="epoch", columns="bin", values="kfold")
    assert list(pivot["lfw"]) == [each.figures.kfold.accuracy for each in (a, b)]
    assert frame["accuracy"].dtype == frame["tar_at_far_1e-6"].dtype == np.float64
    for each in (a, b):
        evaluator.save_results(each, tmp_path)
    stored = evaluator.load_results(tmp_path).to_dataframe()
    pandas.testing.assert_frame_equal(
        stored, pandas.concat([a.to_dataframe(), b.to_dataframe()], ignore_index=True)
    )
    assert len(evaluator.to_dataframe([])) == 0


def test_what_is_no_evaluation_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = scored("a", 1)
    for given, index, said in (
        ([1], None, "got int"),
        ([(1, 2, 3)], "epoch", "got tuple"),
        ([(1, found)], None, "index= names"),
        ([found], "epoch", "index= names"),
    ):
        with pytest.raises(evaluator.InputError, match=said):
            evaluator.to_dataframe(given, index=index)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(evaluator.InputError, match="pip install pandas"):
        found.to_dataframe()
