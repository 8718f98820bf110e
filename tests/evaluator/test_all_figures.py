"""The figures block: its keys, its nulls, and its numbers against independent ones."""

import dataclasses
import importlib
import json
import math
import pkgutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from evaluator.errors import InputError
from evaluator.metrics import figures as home
from evaluator.metrics.all_figures import (
    NAMES,
    SEARCH_NAMES,
    Figures,
    all_figures,
    figure_named,
    figures,
    to_json,
)
from evaluator.metrics.protocols import seed300, sorted_pairs

FARS = ["0.1", "0.01", "0.001", "0.0001", "0.00001", "0.000001"]


def random_figures(pairs: int = 2000) -> tuple[np.ndarray, np.ndarray, Figures]:
    rng = np.random.default_rng(pairs)
    genuine = rng.random(pairs) < 0.5
    scores = rng.normal(np.where(genuine, 0.5, 0.0), 0.15).clip(-1, 1)
    return scores, genuine, figures(scores, genuine)


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)
    else:
        yield value


def test_json_has_exactly_the_keys_of_the_contract() -> None:
    block = to_json(random_figures(40_000)[2])
    assert list(block) == [
        "accuracy",
        "threshold",
        "accuracy_ci95",
        "kfold",
        "insightface",
        "auc",
        "auc_ci95",
        "eer",
        "eer_threshold",
        "eer_ci95",
        "tar_at_far",
        "far_bound95",
        "d_prime",
        "d_prime_ci95",
        "min_dcf",
        "min_cllr",
    ]
    assert list(block["kfold"]) == [
        "accuracy",
        "std",
        "standard_error",
        "accuracy_ci95",
        "thresholds",
    ]
    assert list(block["insightface"]) == ["accuracy", "std", "accuracy_ci95", "tar_at_far_1e-3"]
    assert list(block["insightface"]["tar_at_far_1e-3"]) == ["tar", "std", "far"]
    assert list(block["tar_at_far"]) == FARS
    for key in FARS[:4]:
        assert list(block["tar_at_far"][key]) == ["tar", "far", "threshold", "tar_ci95"]
    assert len(block["kfold"]["thresholds"]) == 10
    assert len(block["accuracy_ci95"]) == len(block["tar_at_far"]["0.1"]["tar_ci95"]) == 2


def test_json_is_written_and_read_back_without_loss() -> None:
    block = to_json(random_figures()[2])
    assert json.loads(json.dumps(block, allow_nan=False)) == block
    assert {type(x) for x in leaves(block)} <= {float, type(None)}


def test_figures_agree_with_direct_counts_scipy_and_scikit_learn() -> None:
    scores, genuine, found = random_figures()
    assert found.threshold is not None
    assert found.eer_threshold is not None
    correct = int(((scores > found.threshold) == genuine).sum())
    assert found.accuracy == correct / len(scores)
    # Clopper and Pearson's counts a whole error more where ours counts half of one, and is drawn
    # around the figure that is too good by a little.
    exact = binomtest(correct, len(scores)).proportion_ci(method="exact")
    assert found.accuracy_ci95 == pytest.approx((exact.low, exact.high), abs=0.003)
    assert found.auc == pytest.approx(roc_auc_score(genuine, scores), abs=1e-12)
    fmr = np.mean(scores[~genuine] > found.eer_threshold)
    assert found.eer == pytest.approx(fmr, abs=1 / (~genuine).sum())
    assert found.kfold is not None
    thresholds = np.repeat(found.kfold.thresholds, 200)
    assert found.kfold.accuracy == pytest.approx(np.mean((scores > thresholds) == genuine))
    for far in FARS[:2]:
        at = found.tar_at_far[far]
        assert at is not None
        matched = scores > at.threshold
        assert (np.mean(matched[genuine]), np.mean(matched[~genuine])) == (at.tar, at.far)
        assert float(far) - 1 / (~genuine).sum() < at.far <= float(far)
        interval = binomtest(int(matched[genuine].sum()), int(genuine.sum())).proportion_ci(
            method="wilson"
        )
        assert at.tar_ci95 is not None  # which allows for the threshold's noise, too
        assert at.tar_ci95[0] < interval.low
        assert at.tar_ci95[1] > interval.high - 0.001


def test_a_far_below_one_impostor_is_null_and_the_others_are_not() -> None:
    block = to_json(random_figures(6000)[2])
    defined = {key: value is not None for key, value in block["tar_at_far"].items()}
    assert defined == {key: float(key) >= 0.001 for key in FARS}


@pytest.mark.parametrize("genuine", [[True] * 20, [False] * 20, [True], [False], []])
def test_every_figure_is_null_when_a_class_is_missing(genuine: list[bool]) -> None:
    block = to_json(figures(np.linspace(-1, 1, len(genuine)), np.array(genuine, dtype=bool)))
    bound = block.pop("far_bound95")
    assert (bound is None) == (not len(genuine) - sum(genuine))
    assert set(leaves(block)) == {None}
    assert block["tar_at_far"] == dict.fromkeys(FARS)


def test_fewer_than_ten_pairs_have_no_folds_but_the_rest() -> None:
    block = to_json(figures([0.9, 0.8, 0.2, 0.1], [True, True, False, False]))
    assert block["kfold"] is block["insightface"] is None
    assert (block["accuracy"], block["auc"], block["eer"]) == (1.0, 1.0, 0.0)


def test_scores_that_are_no_cosines_leave_only_insightface_undefined() -> None:
    scores, genuine, cosines = random_figures()
    found = figures(100 * scores, genuine)
    assert cosines.insightface is not None
    assert found.insightface is None
    assert found.kfold is not None
    assert cosines.kfold is not None
    np.testing.assert_array_equal(found.kfold.correct, cosines.kfold.correct)
    assert (found.accuracy, found.auc, found.eer) == (cosines.accuracy, cosines.auc, cosines.eer)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.sampled_from([0, 1, 9]))
def test_no_figure_is_ever_nan_and_accuracy_is_never_below_seed300(
    seed: int, pairs: int, decimals: int
) -> None:
    rng = np.random.default_rng(seed)
    scores, genuine = np.round(rng.uniform(-1, 1, pairs), decimals), rng.random(pairs) < 0.5
    found = figures(scores, genuine)
    assert all(x is None or math.isfinite(x) for x in leaves(to_json(found)))
    limited = seed300(scores, genuine)
    assert (found.accuracy is None) == (limited is None)
    if found.accuracy is not None and limited is not None:
        assert found.accuracy >= limited.accuracy


def test_every_file_of_a_figure_is_in_the_list_by_its_names() -> None:
    files = [each.name for each in pkgutil.iter_modules(home.__path__)]
    modules = [importlib.import_module(f"{home.__name__}.{file}") for file in files]
    named = [figure.name for module in modules for figure in module.FIGURES]
    assert sorted(named) == sorted([*NAMES, *SEARCH_NAMES])
    assert [each.name for each in all_figures().values()] == list(NAMES)


def test_every_figure_reads_from_its_json_what_it_computed() -> None:
    stored = to_json(random_figures(40_000)[2])
    for figure in all_figures().values():
        value = figure.read(stored)
        if figure.name in ("tar@1e-5", "tar@1e-6"):  # which 20,000 impostors cannot show
            assert value is None
            continue
        assert value is not None, figure.name
        assert figure.line_of(stored).startswith(figure.digits(value))
        assert figure.read(dict.fromkeys(stored)) is figure.read(None) is figure.read({}) is None
        assert figure.cell_of({}) == figure.line_of({}) == "-"


def test_every_interval_holds_its_figure_and_is_as_wide_as_its_influence_says() -> None:
    scores, genuine, found = random_figures(40_000)
    stored, pairs = to_json(found), sorted_pairs(scores, genuine)
    for figure in all_figures().values():
        value, interval = figure.read(stored), figure.interval_of(pairs)
        if value is None or figure.name in ("min-dcf", "min-cllr"):
            assert interval is None  # the last two are too low by more than their spread
            continue
        assert interval == figure.read_ci95(stored)
        assert interval is not None
        assert interval[0] < value < interval[1]
        errors = figure.influence(pairs).contributions(pairs)
        assert abs(errors.sum()) < 1e-9
        wide = 2 * 1.96 * math.sqrt(errors @ errors)
        few = figure.name == "tar@1e-4"  # two false accepts, whose slope is noise
        assert 0.5 < (interval[1] - interval[0]) / wide < (9 if few else 1.2), figure.name


@pytest.mark.parametrize(
    ("given", "name"), [("tar@0.001", "tar@1e-3"), ("tar@1E-1", "tar@1e-1"), ("d-prime", "d-prime")]
)
def test_a_figure_is_found_by_its_name_and_a_far_by_its_value(given: str, name: str) -> None:
    assert figure_named("--metric", given).name == name


def test_a_far_that_no_result_carries_is_computed_from_scores() -> None:
    with pytest.raises(InputError, match="no other FAR"):
        figure_named("--metric", "tar@0.02")
    scores, genuine, _ = random_figures(4000)
    found = figure_named("--metric", "tar@0.02", any_far=True)
    value = found.value(sorted_pairs(scores, genuine))
    least = np.sort(scores[~genuine])[::-1][math.floor(0.02 * (~genuine).sum())]
    assert value == (scores[genuine] > least).mean()


def test_every_field_of_figures_is_in_the_json() -> None:
    found = random_figures()[2]
    assert [field.name for field in dataclasses.fields(found)] == list(to_json(found))
