"""Pairs that are missed: an image failed to embed, and no threshold accepts its pairs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold

import evaluator
from evaluator.errors import InputError
from evaluator.metrics.all_figures import all_figures, figures, to_json
from evaluator.metrics.deployment import deployment_threshold
from evaluator.metrics.protocols import insightface, sorted_pairs
from evaluator.metrics.rates import rates_at_threshold
from evaluator.metrics.sharing import slots_sharing
from evaluator.metrics.sweep import fmr_fnmr, sweep

Scores = NDArray[np.float64]
Labels = NDArray[np.bool_]

NEEDS_EVERY_SCORE = {"d-prime", "min-cllr"}


def missed_pairs(
    seed: int, *, pairs: int = 600, share: float = 0.05, separation: float = 2.5
) -> tuple[Scores, Labels]:
    """Cosines of pairs of which a share is missed, of either kind."""
    random = np.random.default_rng(seed)
    genuine = random.random(pairs) < 0.5
    scores = np.round(np.tanh((random.normal(size=pairs) + separation * genuine - 1) / 4), 3)
    scores[random.random(pairs) < share] = -np.inf
    return scores, genuine


def candidates(scores: Scores) -> Scores:
    """Every threshold that decides the scored pairs in its own way; none lies below the missed."""
    finite = np.unique(scores[np.isfinite(scores)])
    return np.concatenate([[finite[0] - 1], finite])


def counted(scores: Scores, genuine: Labels, threshold: float) -> tuple[float, float, float]:
    """FMR, TAR and accuracy, all pairs of a kind in the denominator."""
    accepted = np.isfinite(scores) & (scores > threshold)
    fmr = (accepted & ~genuine).sum() / (~genuine).sum()
    tar = (accepted & genuine).sum() / genuine.sum()
    return fmr, tar, ((accepted & genuine).sum() + (~accepted & ~genuine).sum()) / len(genuine)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7])
@pytest.mark.parametrize("seed", range(5))
def test_figures_count_missed_pairs_as_rejected_at_every_threshold(seed: int, share: float) -> None:
    scores, genuine = missed_pairs(seed, share=share)
    found = figures(scores, genuine)
    rates = [(*counted(scores, genuine, t), t) for t in candidates(scores)]
    assert found.accuracy == pytest.approx(max(rate[2] for rate in rates), abs=1e-12)
    assert found.threshold is not None
    assert counted(scores, genuine, found.threshold)[2] == pytest.approx(found.accuracy, abs=1e-12)
    for key, far in (("0.1", 0.1), ("0.01", 0.01)):
        at = found.tar_at_far[key]
        allowed = [(fmr, tar) for fmr, tar, _, _ in rates if fmr <= far]
        assert at is not None
        assert (at.far, at.tar) == pytest.approx(max(allowed), abs=1e-12)
        assert counted(scores, genuine, at.threshold)[:2] == pytest.approx((at.far, at.tar))
        assert at.tar_ci95 is not None
        assert at.tar_ci95[0] <= at.tar <= at.tar_ci95[1]
    below = np.where(np.isfinite(scores), scores, -9)
    assert found.auc == pytest.approx(roc_auc_score(genuine, below), abs=1e-12)
    least = min(1 - tar + 99 * fmr for fmr, tar, _, _ in rates)
    assert found.min_dcf == pytest.approx(min(1.0, least), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_kfold_never_accepts_a_missed_pair(seed: int) -> None:
    scores, genuine = missed_pairs(seed, share=0.3, separation=1.0)
    folds = []
    for others, own in KFold(10).split(scores):
        known, labels = scores[others], genuine[others]
        # The highest of the best thresholds: an impostor score, or below all that have one.
        tried = sorted({*known[~labels & np.isfinite(known)], candidates(known)[0]}, reverse=True)
        best = max(tried, key=lambda t: counted(known, labels, t)[2])
        higher = known[known > best]
        middle = best if best < -1 else best / 2 + higher.min() / 2 if len(higher) else best
        folds.append(counted_in_fold(scores[own], genuine[own], middle))
    found = figures(scores, genuine).kfold
    assert found is not None
    assert found.accuracy == pytest.approx(np.mean(folds), abs=1e-12)
    assert found.std == pytest.approx(np.std(folds), abs=1e-12)


def counted_in_fold(scores: Scores, genuine: Labels, threshold: float) -> float:
    return float(((np.isfinite(scores) & (scores > threshold)) == genuine).mean())


@pytest.mark.parametrize("seed", range(3))
def test_insightface_rejects_missed_pairs(seed: int) -> None:
    scores, genuine = missed_pairs(seed, share=0.1)
    distances = np.where(np.isfinite(scores), 2 - 2 * scores, 1e9)
    grid, accuracies = np.arange(0, 4, 0.01), []
    for others, own in KFold(10).split(distances):
        right = [((distances[others] < t) == genuine[others]).mean() for t in grid]
        accuracies.append(((distances[own] < grid[np.argmax(right)]) == genuine[own]).mean())
    found = insightface(sorted_pairs(scores, genuine).folds)
    assert found is not None
    assert found.accuracy == pytest.approx(np.mean(accuracies), abs=1e-12)
    assert found.std == pytest.approx(np.std(accuracies), abs=1e-12)


def test_the_best_threshold_is_never_below_the_missed_pairs() -> None:
    # Accepting all would be right nine times of ten, but no threshold accepts the three.
    scores = np.array([-np.inf] * 3 + [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    genuine = np.array([True] * 9 + [False])
    found = figures(scores, genuine)
    assert found.accuracy == 0.6
    assert found.threshold == np.nextafter(0.1, -1)
    assert found.tar_at_far["0.1"] is None
    assert found.eer is not None


def test_eer_is_where_the_rates_meet_of_all_pairs() -> None:
    # Above 0.35: one of four impostors accepted, one of four genuine pairs missed.
    scores = np.array([-np.inf, 0.6, 0.7, 0.8, 0.1, 0.2, 0.3, 0.65])
    genuine = np.arange(8) < 4
    found = figures(scores, genuine)
    assert (found.eer, found.eer_threshold) == pytest.approx((0.25, 0.45))


def test_eer_is_undefined_where_fnmr_is_above_fmr_at_every_threshold() -> None:
    scores = np.array([-np.inf, -np.inf, -np.inf, 0.8, -np.inf, -np.inf, 0.3, 0.4])
    genuine = np.arange(8) < 4
    found = to_json(figures(scores, genuine))
    assert (found["eer"], found["eer_threshold"], found["eer_ci95"]) == (None, None, None)
    assert "never meet" in all_figures()["eer"].why_undefined(found, 4, 4)
    # Where they only just meet, at the lowest threshold, that is the rate.
    level = np.array([-np.inf, -np.inf, 0.7, 0.8, -np.inf, -np.inf, 0.3, 0.4])
    assert figures(level, genuine).eer == 0.5


def test_figures_that_need_every_score_are_undefined_and_say_so() -> None:
    scores, genuine = missed_pairs(0)
    found = to_json(figures(scores, genuine))
    for name, figure in all_figures().items():
        if name in NEEDS_EVERY_SCORE:
            assert figure.read(found) is None
            assert "missed" in figure.why_undefined(found, 300, 300)
            assert not figure.influence(sorted_pairs(scores, genuine)).genuine.any()
        elif not name.startswith("tar@") or float(name[4:]) >= 1e-2:
            assert figure.read(found) is not None, name


def test_no_figure_is_defined_where_every_pair_is_missed() -> None:
    genuine = np.arange(40) % 2 == 0
    found = to_json(figures(np.full(40, -np.inf), genuine))
    assert all(figure.read(found) is None for figure in all_figures().values())


def test_a_class_that_is_missed_as_a_whole_has_figures() -> None:
    genuine = np.arange(40) % 2 == 0
    scores = np.linspace(0.1, 0.9, 40)
    found = figures(np.where(genuine, -np.inf, scores), genuine)
    assert (found.accuracy, found.auc) == (0.5, 0.0)
    assert found.tar_at_far["0.1"] is not None
    assert found.tar_at_far["0.1"].tar == 0
    found = figures(np.where(genuine, scores, -np.inf), genuine)
    assert (found.accuracy, found.auc, found.eer) == (1.0, 1.0, 0.0)


@pytest.mark.parametrize("shared", [False, True])
def test_intervals_are_those_of_scores_below_all_others(shared: bool) -> None:
    scores, genuine = missed_pairs(3, pairs=2000, share=0.02)
    sharing = None
    if shared:
        images = np.random.default_rng(1).integers(0, 900, 4000)
        sharing = slots_sharing(np.arange(2000), images=images)
    below = np.where(np.isfinite(scores), scores, -1.0)
    ours, witness = (to_json(figures(each, genuine, sharing=sharing)) for each in (scores, below))
    for name, figure in all_figures().items():
        if name not in NEEDS_EVERY_SCORE:
            assert figure.read(ours) == pytest.approx(figure.read(witness), abs=1e-12), name
            assert figure.read_ci95(ours) == pytest.approx(figure.read_ci95(witness)), name


def test_the_curve_ends_at_the_pairs_that_have_scores() -> None:
    curve = fmr_fnmr(sweep(*missed_pairs(4, share=0.2)))
    scores, genuine = missed_pairs(4, share=0.2)
    assert curve is not None
    assert np.isfinite(curve.thresholds).all()
    for threshold, fmr, fnmr in zip(curve.thresholds, curve.fmr, curve.fnmr, strict=True):
        assert counted(scores, genuine, threshold)[:2] == pytest.approx((fmr, 1 - fnmr))
    assert curve.fnmr[0] == np.isneginf(scores[genuine]).mean() > 0


def test_rates_and_thresholds_count_missed_pairs() -> None:
    scores, genuine = missed_pairs(5, pairs=4000, share=0.1)
    found = rates_at_threshold(scores, genuine, 0.1)
    fmr, tar, _ = counted(scores, genuine, 0.1)
    assert (found.far, found.frr) == pytest.approx((fmr, 1 - tar))
    assert (found.impostors, found.genuine) == ((~genuine).sum(), genuine.sum())
    chosen = deployment_threshold(scores, genuine, 0.01)
    far, tar, _ = counted(scores, genuine, chosen.threshold)
    assert (chosen.rates.far, chosen.rates.frr) == pytest.approx((far, 1 - tar))
    assert far <= 0.01
    # Nearly all impostors missed: the threshold stays among the scores.
    scores[~genuine] = -np.inf
    lowest = deployment_threshold(scores, genuine, 0.01)
    assert math.isfinite(lowest.threshold)
    assert all(end is not None and math.isfinite(end) for end in lowest.interval)
    assert lowest.rates.far == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_other_score_that_is_not_finite_is_taken(value: float) -> None:
    scores, genuine = missed_pairs(6)
    scores[7] = value
    with pytest.raises(InputError, match="scores must be finite; 1 "):
        figures(scores, genuine)
    with pytest.raises(InputError, match="1 of 600 scores are not finite"):
        rates_at_threshold(scores, genuine, 0.1)


def test_python_misses_pairs_says_so_and_stores_them(tmp_path: Path) -> None:
    scores, genuine = missed_pairs(7)
    given = np.where(np.isneginf(scores), np.nan, scores)
    count = int(np.isnan(given).sum())
    missed = evaluator.evaluate_scores(given, genuine, name="vendor", nan="miss")
    assert f"{count} pairs missed" in repr(missed)
    assert f"{count} pairs missed" in repr(missed.bins[0])
    assert missed.scores is not None
    assert np.isneginf(missed.scores).sum() == count
    whole = evaluator.evaluate_scores(np.where(genuine, 0.5, 0.2), genuine, name="b")
    words = repr(evaluator.compare(missed, whole))
    assert f"{count} pairs missed by vendor, rejected at every threshold" in words
    evaluator.save_results(missed, tmp_path)
    (again,) = evaluator.load_results(tmp_path)
    assert again.scores is not None
    assert (again.scores.tolist(), again.bins[0].result.failed) == (
        missed.scores.tolist(),
        (count, "missed"),
    )
    assert to_json(again.figures) == to_json(missed.figures)
