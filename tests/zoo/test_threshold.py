"""`zoo threshold`, on synthetic stored results."""

from __future__ import annotations

import csv
import io
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


def test_the_impostors_of_all_bins_choose_the_lowest_score_that_surely_keeps_the_rate(
    zoo: Zoo,
) -> None:
    scores = two_bins()
    impostors = np.concatenate([each[~labels(len(each))] for each in scores.values()])
    found = chosen(zoo, "m", "--far", "0.01")
    # By definition: of all scores seen, the lowest whose upper limit is no more than 1 %.
    kept = [t for t in impostors if upper_limit(impostors > t) <= 0.01]
    everyone = np.concatenate(list(scores.values()))
    assert np.array_equal(everyone > found["threshold"], everyone > min(kept))
    assert found["threshold"] == float(f"{found['threshold']:.4f}")
    allowed = [t for t in impostors if (impostors > t).mean() <= 0.01]
    assert found["empirical"]["threshold"] == min(allowed)
    assert found["pooled"]["impostors"] == 1500
    assert (found["target_far"], found["confidence"], found["design_effect"]) == (0.01, 0.95, 1)
    surer = chosen(zoo, "m", "--far", "0.01", "--confidence", "0.999")
    assert surer["threshold"] > found["threshold"]


def upper_limit(passed: np.ndarray) -> float:
    return float(beta.ppf(0.95, passed.sum() + 1, (~passed).sum()))


def test_the_printed_threshold_is_the_one_of_the_promise(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 0.5359, to the nearest, would let in the impostor that must be kept out.
    genuine = labels(600)
    scores = np.where(genuine, 0.9, 0.1)
    scores[[1, 3]] = 0.535912, 0.5361
    store(RESULTS, "m", scores)
    [line] = [x for x in zoo("threshold", "m", "--far", "0.02").out.splitlines() if x[0] == "t"]
    printed = float(line.split()[1])
    assert (scores[~genuine] > printed).sum() <= 1
    assert chosen(zoo, "m", "--far", "0.02")["threshold"] == printed
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert f"is above {line.split()[1]}" in zoo("threshold", "m", "--far", "0.02").out
    scores[3] = 0.53591204
    store(RESULTS, "close", scores)
    at = chosen(zoo, "close", "--far", "0.02")["threshold"]
    assert 0.535912 < at < 0.53591204
    assert f"is above {at!r}" in zoo("threshold", "close", "--far", "0.02").out


def test_pairs_that_share_images_are_worth_less(zoo: Zoo) -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 60, 4000)
    of_image = generator.normal(size=60)[images]
    scores = np.tanh((of_image[0::2] + of_image[1::2] + generator.normal(size=2000)) / 4)
    for name, shown in (("apart", None), ("reused", images)):
        store(RESULTS, name, scores, images=shown)
    apart, reused = (chosen(zoo, name, "--far", "0.05") for name in ("apart", "reused"))
    assert reused["design_effect"] > 2 > apart["design_effect"] == 1
    assert reused["threshold"] > apart["threshold"]
    low, high = reused["pooled"]["far_ci95"]
    assert high - low > 1.3 * beta.ppf(0.975, 1000 * low + 1, 1000 * (1 - low)) - low
    worth = re.search(
        r"1,000 pairs, worth (\d+) independent", zoo("threshold", "reused", "--far", "0.05").out
    )
    assert worth is not None
    assert int(worth[1]) == round(1000 / reused["design_effect"])
    (line,) = zoo("threshold", "reused", "--far", "0.004").error_lines
    assert "takes 748 independent impostor pairs; got 1,000 of 60 images, worth " in line
    # Bins share no one with each other, so that another beside it adds to what they are worth.
    store(RESULTS, "reused", cosines(4000, noise=1, seed=1, bin="other"), bin="other")
    both = chosen(zoo, "reused", "--far", "0.05")
    assert 1000 / reused["design_effect"] < 3000 / both["design_effect"] < 3000


def test_a_threshold_at_hand_is_checked_on_each_bin(zoo: Zoo) -> None:
    scores = two_bins()
    found = chosen(zoo, "m", "--check", "0.25")
    assert found["threshold"] == found["pooled"]["threshold"] == 0.25
    assert not {"target_far", "confidence", "interval95", "elsewhere"} & found.keys()
    for each in found["bins"]:
        values = scores[each["name"]]
        genuine = labels(len(values))
        assert each["far"] == (values[~genuine] > 0.25).mean()
        assert each["frr"] == (values[genuine] <= 0.25).mean()
    both = np.concatenate([each[~labels(len(each))] for each in scores.values()])
    assert found["pooled"]["far"] == (both > 0.25).mean()
    plain = zoo("threshold", "m", "--check", "0.25").out.splitlines()
    assert plain[1] == "threshold 0.2500"
    assert [line.split()[0] for line in plain[2:6]] == ["bin", "easy", "hard", "all_bins"]
    assert "threshold -0.1234567" in zoo("threshold", "m", "--check", "-0.1234567").out
    # What was chosen, as printed, has the rates that were printed beside it.
    at = chosen(zoo, "m", "--far", "0.01")
    assert chosen(zoo, "m", "--check", f"{at['threshold']:.4f}")["pooled"] == at["pooled"]


def test_each_bins_own_threshold_is_tried_on_the_others(zoo: Zoo) -> None:
    scores = two_bins()
    store(RESULTS, "m", cosines(100, noise=1, seed=1, bin="tiny"), bin="tiny")
    found = chosen(zoo, "m", "--far", "0.01")
    tried = {(each["threshold_of"]["name"], each["name"]): each for each in found["elsewhere"]}
    assert tried.keys() == {
        (own, on) for own in scores for on in ("easy", "hard", "tiny") if on != own
    }
    own = chosen(zoo, "m", "--far", "0.01", "--bins", "easy")
    on = tried["easy", "hard"]
    assert on["threshold"] == own["threshold"]
    genuine = labels(1000)
    assert on["far"] == (scores["hard"][~genuine] > own["threshold"]).mean()
    assert on["frr"] == (scores["hard"][genuine] <= own["threshold"]).mean()
    (note,) = found["notes"]
    assert note.startswith("tiny: no threshold of its own, that takes about 299 impostor pairs")
    plain = zoo("threshold", "m", "--far", "0.01").out
    row = next(line.split() for line in plain.splitlines() if re.match(r"easy +0\.\d+ +hard", line))
    assert row == ["easy", f"{own['threshold']:.4f}", "hard", f"{on['far']:.3g}", *row[4:]]


def test_of_many_bins_each_threshold_is_shown_where_it_is_most_lenient(zoo: Zoo) -> None:
    for i in range(5):
        store(RESULTS, "m", cosines(1000, noise=i, seed=i, bin=f"b{i}"), bin=f"b{i}")
    found = chosen(zoo, "m", "--far", "0.01")
    assert len(found["elsewhere"]) == 20
    out = zoo("threshold", "m", "--far", "0.01").out
    rows = [line.split() for line in out.splitlines() if re.match(r"b\d +\S+ +b\d", line)]
    for own, _, on, far, *_ in rows:
        rates = [x for x in found["elsewhere"] if x["threshold_of"]["name"] == own]
        worst = max(rates, key=lambda each: each["far"])
        assert (on, far) == (worst["name"], f"{worst['far']:.3g}")
    assert len(rows) == 5
    assert "where its FAR is highest" in out


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
    kept = [t for t in own if upper_limit(own > t) <= 0.01]
    assert (own > found["threshold"]).sum() == (own > min(kept)).sum()
    assert [each["name"] for each in found["bins"]] == ["hard"]


def test_too_few_impostors_are_refused_with_the_number_it_takes(zoo: Zoo) -> None:
    two_bins()
    done = zoo("threshold", "m", "--far", "1e-4")
    assert done.code == 2
    assert done.out == ""
    (line,) = done.error_lines
    assert "FAR 0.0001 at 95 % confidence takes 29,956 impostor pairs; got 1,500: bring" in line
    assert line.endswith("or ask for FAR 0.002 or higher")


def test_an_interval_without_upper_end_is_said(zoo: Zoo) -> None:
    two_bins()
    # The promise has one side, the interval two: 1,498 and 1,843 impostors.
    found = chosen(zoo, "m", "--far", "0.002")
    assert found["interval95"][1] is None
    assert found["impostors_to_bound"] == 1497
    assert "unknown]" in zoo("threshold", "m", "--far", "0.002").out


def test_dropped_pairs_and_invalid_bins_are_left_out_and_said(zoo: Zoo) -> None:
    scores = cosines(1000, noise=0.5, seed=1)
    scores[:5] = np.nan
    store(RESULTS, "m", scores)
    store(RESULTS, "m", cosines(100, noise=1, seed=1), bin="agedb_30", finite=False)
    found = chosen(zoo, "m", "--far", "0.01")
    (on_bin,) = found["bins"]
    assert (on_bin["dropped_pairs"], on_bin["genuine"], on_bin["impostors"]) == (5, 497, 498)
    assert "agedb_30: left out, its result is non_finite" in found["notes"]


def test_missed_pairs_count_and_are_said(zoo: Zoo) -> None:
    scores = cosines(1000, noise=0.5, seed=1)
    scores[:50] = -np.inf
    store(RESULTS, "m", scores)
    found = chosen(zoo, "m", "--far", "0.02")
    (on_bin,) = found["bins"]
    assert (on_bin["dropped_pairs"], on_bin["missed_pairs"]) == (0, 50)
    genuine = labels(1000)
    accepted = np.isfinite(scores) & (scores > found["threshold"])
    assert on_bin["far"] == pytest.approx(accepted[~genuine].mean())
    assert on_bin["frr"] == pytest.approx(1 - accepted[genuine].mean())
    assert "lfw: 50 pairs missed, accepted at no threshold" in found["notes"]
    assert "# lfw: 50 pairs missed" in zoo("threshold", "m", "--check", "0.2").out


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
        (("m",), "expected --far RATE"),
        (("m", "--far", "0.1", "--check", "0.3"), "not both"),
        (("m", "--check", "nan"), "expected a number"),
        (("m", "--check", "0.3", "--confidence", "0.9"), "goes with --far"),
        (("m", "--far", "0.1", "--confidence", "1"), "expected 0.5 or more, below 1"),
        (("n", "--far", "0.1"), "no model 'n'"),
        (("m", "--far", "0.1", "--bins", "esay"), "did you mean 'easy'"),
        (("m", "--far", "0.1", "--format", "tex"), "expected one of table, markdown"),
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
    assert "Each bin's own threshold on the others" in plain
    assert "at 95 % confidence" in plain


def test_a_model_file_is_measured_where_results_lack(zoo: Zoo, models: Path, bins: Path) -> None:
    arguments = (models / "a.onnx", "--bins", bins / "easy.bin", "--far", "0.3")
    found = chosen(zoo, *arguments)
    assert found["bins"][0]["name"] == "easy"
    assert len(list(RESULTS.glob("a-*/easy-*.json"))) == 1


def test_every_format_has_the_same_rates(zoo: Zoo) -> None:
    two_bins()
    asked = ("m", "--far", "0.01")
    value = chosen(zoo, *asked)
    rows = list(csv.DictReader(io.StringIO(zoo("threshold", *asked, "--format", "csv").out)))
    assert [(row["threshold_of"], row["bin"]) for row in rows] == [
        ("all bins", "easy"),
        ("all bins", "hard"),
        ("all bins", "all bins"),
        ("easy", "hard"),
        ("hard", "easy"),
    ]
    expected = [*value["bins"], value["pooled"], *value["elsewhere"]]
    for row, each in zip(rows, expected, strict=True):
        for name in ("threshold", "far", "frr", "impostors"):
            assert float(row[name]) == each[name]
        ends = [float(row["frr_low95"]), float(row["frr_high95"])]
        assert ends == each["frr_ci95"]
    pooled = value["pooled"]
    low, high = pooled["frr_ci95"]
    cells = [f"{pooled['frr']:.3g}", f"{low:.2g} .. {high:.2g}"]
    for name, between in (("markdown", " | "), ("latex", " & ")):
        text = zoo("threshold", *asked, "--format", name).out
        assert between.join(cells) in text
        assert f"accept if the cosine is above {value['threshold']:.4f}" in text


def test_csv_holds_no_formula(zoo: Zoo) -> None:
    store(RESULTS, "=cmd()", cosines(600, noise=1, seed=1))
    text = zoo("threshold", "=cmd()", "--check", "0.3", "--format", "csv").out
    assert [row["model"] for row in csv.DictReader(io.StringIO(text))] == ["'=cmd()"]
