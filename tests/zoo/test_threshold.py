"""`zoo threshold`, on synthetic stored results."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import Zoo
from scipy.stats import beta
from stores import cosines, labels, sha, store

RESULTS = Path("results")


def chosen(zoo: Zoo, *arguments: object) -> dict[str, Any]:
    done = zoo("threshold", *arguments, "--format", "json")
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def two_bins() -> dict[str, np.ndarray]:
    scores = {
        "easy": cosines(2000, noise=0.3, seed=1, bin="easy"),
        "hard": 0.8 * cosines(1000, noise=2.0, seed=2, bin="hard") + 0.1,
    }
    for bin, values in scores.items():
        store(RESULTS, "m", values, bin=bin)
    return scores


def test_the_impostors_of_all_bins_choose_the_lowest_score_that_keeps_the_rate(zoo: Zoo) -> None:
    scores = two_bins()
    impostors = np.concatenate([each[~labels(len(each))] for each in scores.values()])
    found = chosen(zoo, "m", "--far", "0.01")
    # By definition: of all scores seen, the lowest above which at most 1 % of impostors lie.
    allowed = [t for t in impostors if (impostors > t).mean() <= 0.01]
    assert found["threshold"] == min(allowed)
    assert found["pooled"]["impostors"] == 1500


def test_each_bin_has_its_own_rates_with_exact_intervals(zoo: Zoo) -> None:
    scores = two_bins()
    found = chosen(zoo, "m", "--far", "0.01")
    assert {each["name"] for each in found["bins"]} == set(scores)
    for each in found["bins"]:
        values = scores[each["name"]]
        genuine = labels(len(values))
        passed = int((values[~genuine] > found["threshold"]).sum())
        count = int((~genuine).sum())
        assert each["far"] == passed / count
        assert each["frr"] == (values[genuine] <= found["threshold"]).mean()
        low = beta.ppf(0.025, passed, count - passed + 1) if passed else 0.0
        high = beta.ppf(0.975, passed + 1, count - passed)
        assert each["far_ci95"] == pytest.approx([low, high])


def test_only_the_bins_asked_for_choose(zoo: Zoo) -> None:
    scores = two_bins()
    found = chosen(zoo, "m", "--far", "0.01", "--bins", "hard")
    own = scores["hard"][~labels(1000)]
    assert (own > found["threshold"]).sum() == 5
    assert [each["name"] for each in found["bins"]] == ["hard"]


def test_too_few_impostors_are_refused_with_the_number_it_takes(zoo: Zoo) -> None:
    two_bins()
    done = zoo("threshold", "m", "--far", "1e-4")
    assert done.code == 2
    assert done.out == ""
    (line,) = done.error_lines
    assert "takes at least 10,000 impostor pairs" in line
    assert "got 1,500" in line


def test_an_interval_without_upper_end_is_said(zoo: Zoo) -> None:
    two_bins()
    found = chosen(zoo, "m", "--far", "1e-3")
    assert found["interval95"][1] is None
    assert any("takes 3,688 impostor pairs" in note for note in found["notes"])
    assert "unknown]" in zoo("threshold", "m", "--far", "1e-3").out


def test_dropped_pairs_and_invalid_bins_are_left_out_and_said(zoo: Zoo) -> None:
    scores = cosines(1000, noise=0.5, seed=1)
    scores[:5] = np.nan
    store(RESULTS, "m", scores)
    store(RESULTS, "m", cosines(100, noise=1, seed=1), bin="agedb_30", finite=False)
    found = chosen(zoo, "m", "--far", "0.01")
    (on_bin,) = found["bins"]
    assert (on_bin["dropped_pairs"], on_bin["genuine"], on_bin["impostors"]) == (5, 497, 498)
    assert "agedb_30: left out, its result is non_finite" in found["notes"]


def test_bins_of_one_name_are_told_apart(zoo: Zoo) -> None:
    for content in ("one", "two"):
        store(RESULTS, "m", cosines(400, noise=1, seed=1, bin=content), bin_hash=sha(content))
    out = zoo("threshold", "m", "--far", "0.01").out
    assert f"lfw_({sha('one')[:8]})" in out
    assert f"lfw_({sha('two')[:8]})" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("m", "--far", "7"), "between 0 and 1"),
        (("m", "--far", "nan"), "between 0 and 1"),
        (("m",), "Missing option '--far'"),
        (("n", "--far", "0.1"), "no model 'n'"),
        (("m", "--far", "0.1", "--bins", "esay"), "did you mean 'easy'"),
        (("m", "--far", "0.1", "--format", "csv"), "expected one of table, json"),
    ],
)
def test_wrong_arguments_are_one_line(zoo: Zoo, arguments: tuple[str, ...], said: str) -> None:
    two_bins()
    done = zoo("threshold", *arguments)
    assert done.code == 2
    (line,) = done.error_lines
    assert said in line


def test_the_table_fits_eighty_columns_and_says_who_chose(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_bins()
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", zoo("threshold", "m", "--far", "0.01").out)
    assert max(map(len, plain.splitlines())) <= 80
    assert "impostors of all 2 bins together" in plain
    assert "accept if the cosine is above" in plain


def test_a_model_file_is_measured_where_results_lack(zoo: Zoo, models: Path, bins: Path) -> None:
    arguments = (models / "a.onnx", "--bins", bins / "easy.bin", "--far", "0.1")
    found = chosen(zoo, *arguments)
    assert found["bins"][0]["name"] == "easy"
    assert len(list(RESULTS.glob("a-*/easy-*.json"))) == 1
