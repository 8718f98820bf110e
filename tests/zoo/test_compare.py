"""`zoo compare`, on synthetic stored results and tiny Keras models."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from samples import Zoo
from stores import cosines, labels, sha, store, three_models, with_flip

from evaluator.results.record import Settings
from evaluator.results.store import load_result, load_scores, save_result

RESULTS = Path("results")


def compared(zoo: Zoo, *arguments: object) -> list[dict[str, Any]]:
    done = zoo("compare", *arguments, "--format", "json")
    assert done.code == 0, done.err
    found: list[dict[str, Any]] = json.loads(done.out)["comparisons"]
    return found


def held_out_decisions(
    scores: NDArray[np.float64], genuine: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Ten contiguous folds, the threshold the best of all midpoints on the other nine."""
    right = np.zeros(len(scores), bool)
    for part in np.array_split(np.arange(len(scores)), 10):
        rest = np.setdiff1d(np.arange(len(scores)), part)
        candidates = np.sort(scores[rest][~genuine[rest]])[::-1]
        accuracies = [((scores[rest] > t) == genuine[rest]).mean() for t in candidates]
        best = candidates[int(np.argmax(accuracies))]
        above = scores[rest][scores[rest] > best]
        threshold = (best + above.min()) / 2 if len(above) else best
        right[part] = (scores[part] > threshold) == genuine[part]
    return right


def test_difference_and_lone_pairs_are_those_of_ten_fold_decisions(zoo: Zoo) -> None:
    a, b = cosines(400, noise=0.4, seed=1), cosines(400, noise=1.5, seed=2)
    store(RESULTS, "a", a)
    store(RESULTS, "b", b)
    (duel,) = compared(zoo, "a", "b", "--metric", "kfold-decisions")
    right_a, right_b = (held_out_decisions(each, labels(400)) for each in (a, b))
    (on_bin,) = duel["bins"]
    assert on_bin["accuracy_a"] == right_a.mean()
    assert on_bin["accuracy_b"] == right_b.mean()
    assert on_bin["difference"] == pytest.approx(right_a.mean() - right_b.mean())
    assert on_bin["only_a"] == np.flatnonzero(right_a & ~right_b).tolist()
    assert on_bin["only_b"] == np.flatnonzero(right_b & ~right_a).tolist()


def test_overall_is_the_mean_of_the_bins(zoo: Zoo) -> None:
    three_models(RESULTS)
    (duel,) = compared(zoo, "alpha", "weak")
    mean = np.mean([each["difference"] for each in duel["bins"]])
    assert duel["overall"]["difference"] == pytest.approx(mean)
    assert duel["overall"]["separable"]
    assert "alpha is better" in duel["overall"]["verdict"]


def test_noisy_copies_of_one_model_are_not_separable(zoo: Zoo) -> None:
    three_models(RESULTS)
    (duel,) = compared(zoo, "alpha", "beta")
    assert not duel["overall"]["separable"]
    assert "not separable: 2,000 pairs would show" in duel["overall"]["verdict"]


def test_the_order_of_the_models_turns_the_sign_and_nothing_else(zoo: Zoo) -> None:
    three_models(RESULTS)
    (there,) = compared(zoo, "alpha", "weak")
    (back,) = compared(zoo, "weak", "alpha")
    for one, other in zip(there["bins"], back["bins"], strict=True):
        assert one["difference"] == -other["difference"]
        assert one["p_value"] == other["p_value"]
        assert one["only_a"] == other["only_b"]


def test_p_values_are_corrected_over_bins_and_over_couples(zoo: Zoo) -> None:
    three_models(RESULTS)
    duels = compared(zoo, "alpha", "beta", "weak")
    assert [(duel["a"]["name"], duel["b"]["name"]) for duel in duels] == [
        ("alpha", "beta"),
        ("alpha", "weak"),
        ("beta", "weak"),
    ]

    def holm(p: list[float]) -> list[float]:
        adjusted = dict.fromkeys(range(len(p)), 0.0)
        running = 0.0
        for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
            running = max(running, min(1.0, p[i] * (len(p) - rank)))
            adjusted[i] = running
        return list(adjusted.values())

    bins = [each for duel in duels for each in duel["bins"]]
    assert [each["p_holm"] for each in bins] == pytest.approx(
        holm([each["p_value"] for each in bins])
    )
    overall = [duel["overall"] for duel in duels]
    assert [each["p_holm"] for each in overall] == pytest.approx(
        holm([each["p_value"] for each in overall])
    )


def test_bins_of_one_name_with_different_content_are_said_and_not_paired(zoo: Zoo) -> None:
    three_models(RESULTS)
    store(RESULTS, "alpha", cosines(500, noise=1, seed=5), bin="cfp_fp", bin_hash=sha("one"))
    store(RESULTS, "beta", cosines(500, noise=1, seed=6), bin="cfp_fp", bin_hash=sha("two"))
    (duel,) = compared(zoo, "alpha", "beta")
    assert [each["bin"]["name"] for each in duel["bins"]] == ["agedb_30", "lfw"]
    said = [note for note in duel["notes"] if "cfp_fp" in note]
    assert said
    assert sha("one")[:8] in said[0]
    assert sha("two")[:8] in said[0]


def test_models_without_a_common_bin_are_refused_by_name(zoo: Zoo) -> None:
    store(RESULTS, "a", cosines(100, noise=1, seed=1), bin="lfw")
    store(RESULTS, "b", cosines(100, noise=1, seed=1), bin="agedb_30")
    done = zoo("compare", "a", "b")
    assert done.code == 2
    (line,) = done.error_lines
    assert "share no bin" in line
    assert "lfw" in line
    assert "agedb_30" in line


def test_only_pairs_that_both_models_scored_count(zoo: Zoo) -> None:
    a, b = cosines(400, noise=0.5, seed=1), cosines(400, noise=0.5, seed=2)
    a[[3, 8]], b[[8, 11]] = np.nan, np.nan
    store(RESULTS, "a", a)
    store(RESULTS, "b", b)
    (duel,) = compared(zoo, "a", "b", "--metric", "kfold-decisions")
    kept = np.isfinite(a) & np.isfinite(b)
    (on_bin,) = duel["bins"]
    assert (on_bin["pairs"], on_bin["dropped_pairs"]) == (397, 3)
    right = held_out_decisions(a[kept], labels(400)[kept])
    other = held_out_decisions(b[kept], labels(400)[kept])
    # The pairs are named by their place in the bin, not among those kept.
    assert on_bin["only_a"] == np.flatnonzero(kept)[right & ~other].tolist()


def test_missed_pairs_are_compared_as_rejected_and_said(zoo: Zoo) -> None:
    a, b = cosines(400, noise=0.5, seed=1), cosines(400, noise=0.5, seed=2)
    a[[3, 8, 20, 22]] = -np.inf
    store(RESULTS, "a", a)
    store(RESULTS, "b", b)
    (duel,) = compared(zoo, "a", "b", "--metric", "tar@1e-1")
    (on_bin,) = duel["bins"]
    assert (on_bin["pairs"], on_bin["dropped_pairs"], on_bin["missed_pairs"]) == (400, 0, [4, 0])
    for value, scores in ((on_bin["value_a"], a), (on_bin["value_b"], b)):
        threshold = np.sort(scores[~labels(400)])[-21]
        assert value == pytest.approx((scores[labels(400)] > threshold).mean())
    line = "lfw: 4 pairs missed by a, rejected at every threshold"
    assert line in duel["notes"]
    assert f"# note: {line}" in zoo("compare", "a", "b").out
    done = zoo("compare", "a", "b", "--metric", "d-prime")
    assert "d' is undefined (" in done.err
    assert "missed" in done.err


@pytest.mark.parametrize(
    "metric", ["accuracy", "kfold", "insightface", "kfold-decisions", "auc", "eer", "tar@1e-1"]
)
def test_a_model_that_missed_every_pair_has_no_figure_to_compare(zoo: Zoo, metric: str) -> None:
    for bin in ("lfw", "agedb_30"):
        store(RESULTS, "a", cosines(400, noise=0.5, seed=1), bin=bin)
    store(RESULTS, "b", cosines(400, noise=0.6, seed=2), bin="agedb_30")
    store(RESULTS, "b", np.full(400, -np.inf))
    for models in (("a", "b"), ("b", "a")):
        (duel,) = compared(zoo, *models, "--metric", metric)
        assert [each["bin"]["name"] for each in duel["bins"]] == ["agedb_30"]
        (line,) = [note for note in duel["notes"] if "undefined" in note]
        assert line.startswith("lfw: ")
        assert line.endswith("is undefined (b missed every pair); left out")
    done = zoo("compare", "a", "b", "--bins", "lfw", "--metric", metric)
    assert done.code == 2
    assert "b missed every pair" in done.err
    assert "b" not in {row["label"] for row in ranked_on_lfw(zoo)}


def ranked_on_lfw(zoo: Zoo) -> list[dict[str, Any]]:
    asked = ("--bins", "lfw", "--format", "json")
    rows: list[dict[str, Any]] = json.loads(zoo("leaderboard", *asked).out)["rows"]
    return rows


def test_a_bin_without_finite_scores_is_said_and_left_out(zoo: Zoo) -> None:
    three_models(RESULTS)
    store(RESULTS, "alpha", cosines(100, noise=1, seed=1), bin="cfp_fp", finite=False)
    store(RESULTS, "beta", cosines(100, noise=1, seed=1), bin="cfp_fp")
    (duel,) = compared(zoo, "alpha", "beta")
    assert any("cfp_fp: left out, alpha has no scores" in note for note in duel["notes"])
    assert len(duel["bins"]) == 2


def test_settings_that_differ_are_said(zoo: Zoo) -> None:
    store(RESULTS, "a", cosines(400, noise=0.5, seed=1))
    store(
        RESULTS,
        "b",
        cosines(400, noise=0.5, seed=2),
        settings=with_flip("sum"),
        profile="insightface",
    )
    (duel,) = compared(zoo, "a", "b")
    (note,) = duel["notes"]
    assert "flip none / sum" in note
    assert "range unit / insightface" in note
    assert "precision" not in note


def test_several_stored_settings_are_listed_and_one_can_be_picked(zoo: Zoo) -> None:
    store(RESULTS, "a", cosines(400, noise=0.5, seed=1))
    store(RESULTS, "a", cosines(400, noise=0.5, seed=2), settings=with_flip("sum"))
    store(RESULTS, "b", cosines(400, noise=2.0, seed=3), settings=with_flip("sum"))
    (line,) = zoo("compare", "a", "b").error_lines
    first = next(RESULTS.glob("a-*/*.flip-sum.json"))
    assert f"2 settings: flip sum ({first}); the default settings (" in line
    assert line.endswith("pick one with --flip, for all models, or name the JSON of the one")
    (duel,) = compared(zoo, "a", "b", "--flip", "sum", "--metric", "kfold-decisions")
    right = held_out_decisions(cosines(400, noise=0.5, seed=2), labels(400))
    assert duel["bins"][0]["accuracy_a"] == right.mean()


def test_an_engine_is_a_setting_that_is_said_and_can_be_picked(zoo: Zoo) -> None:
    scores = cosines(400, noise=0.5, seed=2)
    store(RESULTS, "a", cosines(400, noise=0.5, seed=1))
    store(RESULTS, "a", scores, settings=Settings(engine="openvino"))
    store(RESULTS, "b", cosines(400, noise=2.0, seed=3))
    (line,) = zoo("compare", "a", "b").error_lines
    assert "pick one with --engine, for" in line
    path = store(RESULTS, "a", scores, settings=Settings(engine="openvino"))
    (duel,) = compared(zoo, path, "b", "--metric", "kfold-decisions")
    assert duel["bins"][0]["accuracy_a"] == held_out_decisions(scores, labels(400)).mean()
    assert any("engine openvino / native" in note for note in duel["notes"])
    done = zoo("threshold", "a", "--far", "0.1", "--format", "json", "--engine", "openvino")
    assert json.loads(done.out)["model"]["settings"]["engine"] == "openvino"
    board = zoo("leaderboard", "--format", "csv").out.splitlines()
    assert sum("openvino" in row for row in board) == 1
    assert "openvino" in zoo("leaderboard").out


def test_two_settings_of_one_model_are_compared_by_their_files(zoo: Zoo) -> None:
    one = store(RESULTS, "a", cosines(400, noise=0.5, seed=1))
    two = store(RESULTS, "a", cosines(400, noise=0.5, seed=2), settings=with_flip("sum"))
    (duel,) = compared(zoo, one, two)
    assert (duel["a"]["label"], duel["b"]["label"]) == ("a", "a (flip sum)")


def test_models_are_found_by_hash_prefix_and_folder(zoo: Zoo) -> None:
    three_models(RESULTS)
    by_name = compared(zoo, "alpha", "weak")
    folder = next(RESULTS.glob("weak-*"))
    assert compared(zoo, sha("alpha")[:6], folder) == by_name


def test_a_name_that_several_models_have_asks_for_the_hash(zoo: Zoo) -> None:
    for seed, content in enumerate(("one", "two")):
        store(RESULTS, "a", cosines(400, noise=1, seed=seed), model_hash=sha(content))
    store(RESULTS, "b", cosines(400, noise=1, seed=9))
    (line,) = zoo("compare", "a", "b").error_lines
    assert sha("one")[:8] in line
    assert sha("two")[:8] in line
    assert compared(zoo, sha("one")[:8], "b")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("alpha", "btea"), "did you mean 'beta'"),
        (("alpha",), "expected two models or more"),
        (("alpha", "alpha"), "one model with the same settings"),
        (("alpha", "beta", "--bins", "lwf"), "did you mean 'lfw'"),
        (("alpha", "beta", "--flip", "sun"), "did you mean 'sum'"),
        (("alpha", "beta", "--format", "jsn"), "did you mean 'json'"),
        (("alpha", "beta", "--flip", "sum"), "no result is stored with these settings"),
    ],
)
def test_wrong_arguments_are_one_line(zoo: Zoo, arguments: tuple[str, ...], said: str) -> None:
    three_models(RESULTS)
    done = zoo("compare", *arguments)
    assert done.code == 2
    assert done.out == ""
    (line,) = done.error_lines
    assert said in line


def test_damaged_scores_are_one_line(zoo: Zoo) -> None:
    three_models(RESULTS)
    path = next(RESULTS.glob("alpha-*/lfw-*.h5"))
    path.write_bytes(path.read_bytes()[:100])
    done = zoo("compare", "alpha", "beta")
    assert done.code == 2
    assert str(path) in done.error_lines[0]


def test_labels_that_differ_under_one_hash_are_refused(zoo: Zoo) -> None:
    store(RESULTS, "a", cosines(400, noise=1, seed=1))
    store(RESULTS, "b", cosines(400, noise=1, seed=1), genuine=~labels(400))
    (line,) = zoo("compare", "a", "b").error_lines
    assert "labels are not those of" in line


def test_tables_fit_eighty_columns(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    three_models(RESULTS, bins=("a_bin_of_a_rather_long_name", "lfw"))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    done = zoo("compare", "alpha", "beta", "weak", "--pairs", "all")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", done.out)
    assert plain != done.out
    assert max(map(len, plain.splitlines())) <= 80
    assert "alpha / weak: alpha is better" in plain


def test_a_pipe_gets_fixed_columns_and_markdown_the_same_figures(zoo: Zoo) -> None:
    three_models(RESULTS)
    (duel,) = compared(zoo, "alpha", "weak")
    piped = zoo("compare", "alpha", "weak").out
    rows = [line.split() for line in piped.splitlines() if line and not line.startswith("#")]
    assert {len(row) for row in rows} == {10}
    assert "\x1b" not in piped
    by_bin = {row[0]: row for row in rows}
    for each in duel["bins"]:
        row = by_bin[each["bin"]["name"]]
        assert row[4] == f"{100 * each['difference']:+.2f}"
        assert row[7] == str(len(each["only_a"]))
    markdown = zoo("compare", "alpha", "weak", "--format", "markdown").out
    assert "| agedb\\_30 | 1000 |" in markdown
    assert by_bin["lfw"][4] in markdown


def test_a_model_file_is_measured_once_and_then_answered_from_the_store(
    zoo: Zoo, models: Path, bins: Path
) -> None:
    arguments = (models / "a.onnx", models / "b.onnx", "--bins", bins / "easy.bin")
    first = compared(zoo, *arguments)
    assert len(list(RESULTS.glob("*/easy-*.json"))) == 2
    script = (
        "import sys; from zoo.cli import run; "
        f"code = run(['compare', *{[str(each) for each in arguments]!r}, '--format', 'json']); "
        "sys.exit(code or 3 * ('tensorflow' in sys.modules))"
    )
    root = Path(__file__).parents[2]
    again = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["comparisons"] == first


def test_what_the_other_model_is_stored_on_is_measured(zoo: Zoo, models: Path, bins: Path) -> None:
    assert zoo("eval", models / "a.onnx", "--bins", bins / "other.bin").code == 0
    (duel,) = compared(zoo, "a", models / "b.onnx")
    assert [each["bin"]["name"] for each in duel["bins"]] == ["other"]


def test_missing_bins_are_measured_with_the_settings_that_are_stored(
    zoo: Zoo, models: Path, bins: Path
) -> None:
    for model in ("a", "b"):
        done = zoo("eval", models / f"{model}.onnx", "--bins", bins / "easy.bin", "--flip", "sum")
        assert done.code == 0
    chosen = ("--bins", bins / "easy.bin", bins / "other.bin")
    (duel,) = compared(zoo, models / "a.onnx", models / "b.onnx", *chosen)
    assert len(duel["bins"]) == 2
    assert duel["a"]["settings"]["flip"] == "sum"


def test_people_that_a_bin_names_are_what_the_comparison_draws(zoo: Zoo, tmp_path: Path) -> None:
    # Twenty pairs a person, whose scores move together: image numbers alone hide that.
    random = np.random.default_rng(0)
    people, each = 60, 20
    left = np.repeat(np.arange(people), each)
    genuine = np.arange(people * each) % 2 == 0
    right = np.where(genuine, left, people + np.arange(people * each))
    shared = random.normal(size=people)[left]
    scores = [np.tanh(genuine + 0.7 * (shared + random.normal(size=len(left)))) for _ in range(2)]
    said = []
    for known in (None, np.column_stack([left, right]).ravel()):
        folder = tmp_path / ("people" if known is not None else "images")
        for name, values in zip("ab", scores, strict=True):
            path = store(folder, name, values, genuine=genuine)
            result = load_result(path)
            stored = load_scores(path, result)
            save_result(path, result, replace(stored, people=known))
            assert (load_scores(path, load_result(path)).people is None) == (known is None)
        done = zoo("compare", "a", "b", "--results", folder)
        assert done.code == 0
        said.append(done.out)
    assert "share people" not in said[0]
    assert "share people" in said[1]


def test_the_difference_is_of_decisions_at_each_best_threshold(zoo: Zoo) -> None:
    scores = [cosines(400, noise=0.4, seed=1), cosines(400, noise=1.5, seed=2)]
    for name, own in zip("ab", scores, strict=True):
        store(RESULTS, name, own)
    right = []
    for own in scores:
        thresholds = [*own, own.min() - 1]
        best = max(thresholds, key=lambda t: ((own > t) == labels(400)).sum())
        right.append((own > best) == labels(400))
    expected = right[0].mean() - right[1].mean()
    for metric in ("accuracy", "kfold", "insightface"):
        (duel,) = compared(zoo, "a", "b", "--metric", metric)
        (on_bin,) = duel["bins"]
        assert on_bin["difference"] == pytest.approx(expected)
        figures = load_result(next(RESULTS.glob("a-*/*.json"))).figures
        assert figures is not None
        of_metric = figures if metric == "accuracy" else figures[metric]
        assert on_bin["value_a"] == of_metric["accuracy"]


@pytest.mark.parametrize("metric", ["auc", "eer", "tar@1e-1", "d-prime"])
def test_any_figure_is_compared(zoo: Zoo, metric: str) -> None:
    three_models(RESULTS)
    done = zoo("compare", "weak", "alpha", "--metric", metric)
    assert "overall: alpha is better" in done.out
    assert "only_A and only_B: accuracy by decisions at each model's best threshold" in done.out
    (duel,) = compared(zoo, "weak", "alpha", "--metric", metric)
    for each in duel["bins"]:
        assert each["difference"] == pytest.approx(each["value_a"] - each["value_b"])
    assert zoo("compare", "weak", "alpha", "--metric", metric, "--fail-if-worse").code == 0
    failed = zoo("compare", "alpha", "weak", "--metric", metric, "--fail-if-worse")
    assert (failed.code, len(failed.err.splitlines())) == (1, 1)


def test_an_unknown_figure_names_those_that_there_are(zoo: Zoo) -> None:
    three_models(RESULTS)
    done = zoo("compare", "weak", "alpha", "--metric", "cosine")
    assert done.code == 2
    (line,) = done.error_lines
    assert all(name in line for name in ("kfold-decisions", "accuracy", "tar@1e-3"))


def test_a_margin_is_held_by_the_90_percent_interval(zoo: Zoo) -> None:
    three_models(RESULTS)
    (duel,) = compared(zoo, "alpha", "beta")
    low, high = (100 * end for end in duel["overall"]["interval90"])
    wide, narrow = max(-low, high) + 0.01, max(0.001, min(-low, high) - 0.01)
    assert zoo("compare", "alpha", "beta", "--fail-if-worse").code == 0
    for margin, verdict, code in ((wide, "equivalent", 0), (narrow, "cannot tell", 1)):
        (duel,) = compared(zoo, "alpha", "beta", "--margin", margin)
        assert duel["overall"]["margin"]["verdict"] == verdict
        done = zoo("compare", "alpha", "beta", "--margin", margin, "--fail-if-worse")
        assert done.code == code
        assert f"# margin: {duel['overall']['margin']['words']}" in done.out
        assert done.out == zoo("compare", "alpha", "beta", "--margin", margin).out
    (duel,) = compared(zoo, "weak", "alpha", "--margin", 1)
    assert duel["overall"]["margin"]["verdict"] == "not worse"
    (duel,) = compared(zoo, "alpha", "weak", "--margin", 0.01)
    assert duel["overall"]["margin"]["verdict"] == "worse"
    assert zoo("compare", "alpha", "beta", "--margin", 0).code == 2
