"""What a report says of models: figures, intervals, ranks and the summary."""

from __future__ import annotations

import math

import numpy as np
import pytest
from report_store import Store, labels, noisy
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from evaluator.errors import InputError
from evaluator.metrics.sharing import pair_sharing
from evaluator.results.choice import Contestant
from evaluator.statistics.comparison import compare_pairs
from zoo.report.selection import Selection, select
from zoo.report.standings import (
    METRICS,
    Standings,
    figure_of,
    figure_on,
    mean_figure,
    standings,
)
from zoo.report.summary import summary


@pytest.fixture(scope="module")
def chosen(three_by_two: Store) -> Selection:
    return select(three_by_two.folder)


@pytest.fixture(scope="module")
def table(chosen: Selection) -> Standings:
    return standings(chosen)


def named(selection: Selection, label: str) -> Contestant:
    return next(each for each in selection.contestants if each.label == label)


def test_models_that_cannot_be_told_apart_are_first_or_second_and_the_worse_is_third(
    table: Standings,
) -> None:
    ranks = {each.label: table.places[each.key].text for each in table.ranked}
    assert ranks == {"good": "1-2", "twin": "1-2", "poor": "3"}
    assert table.contestants[3].label == "broken"
    assert table.apart == ()


def test_an_invalid_result_is_left_out_and_named(chosen: Selection) -> None:
    (broken,) = chosen.left_out
    assert (broken.model, broken.bin) == ("broken", "two")
    assert "3 images" in broken.reason


def test_the_summary_says_that_the_leaders_cannot_be_told_apart(table: Standings) -> None:
    said = summary(table)
    assert said.headline.startswith("No single winner: ")
    assert "good" in said.headline
    assert "twin" in said.headline
    assert "may be luck" in said.text
    assert "That difference is real" in said.text
    assert "poor" in said.text


def test_the_summary_names_the_one_better_model_and_by_how_much(three_by_two: Store) -> None:
    picked = select(three_by_two.folder, models=["good", "poor"])
    found = picked.scored.items()
    said = summary(standings(picked))
    assert said.headline == "good is better than poor"
    good, poor = (
        np.mean([scored.result.figures["accuracy"] for (key, _), scored in found if key[0] == name])
        for name in ("good", "poor")
    )
    assert f"{100 * (good - poor):.2f} percentage points ahead of poor" in said.text


def test_a_difference_is_that_of_compare_pairs_on_the_stored_scores(
    chosen: Selection, table: Standings
) -> None:
    good, poor = named(chosen, "good"), named(chosen, "poor")
    duel = table.duel(poor, good)
    assert duel is not None
    column = chosen.columns[0]
    genuine = labels(400)
    scores = [noisy(genuine, 0.25, 0), noisy(genuine, 0.9, 2)]
    sharing = pair_sharing(np.arange(0, 800, 2) % 256, np.arange(1, 800, 2) % 256)
    expected = compare_pairs(scores[0], scores[1], genuine, sharing=sharing)
    assert expected is not None
    (found,) = (each.comparison for each in duel.bins if each.bin == column.record)
    assert found.interval == expected.interval
    assert found.p_value == expected.p_value


def test_p_values_are_holm_corrected_for_the_number_of_model_pairs(table: Standings) -> None:
    raw = sorted(duel.overall.p_value for duel in table.duels)
    corrected = sorted(duel.p_value for duel in table.duels)
    stepped = np.maximum.accumulate([min(1.0, p * (3 - i)) for i, p in enumerate(raw)])
    assert corrected == pytest.approx(stepped)


def test_auc_and_its_logit_interval_follow_hanley_mcneil_and_scikit_learn(
    chosen: Selection,
) -> None:
    scored = chosen.of(named(chosen, "poor"), chosen.columns[0])
    figure = figure_of(METRICS["auc"], scored)
    assert figure.value == pytest.approx(roc_auc_score(scored.genuine, scored.cosines))
    # DeLong's variance restated by its definition, pair by pair.
    genuine, impostor = scored.cosines[scored.genuine], scored.cosines[~scored.genuine]
    wins = (genuine[:, None] > impostor) + 0.5 * (genuine[:, None] == impostor)
    variance = wins.mean(1).var(ddof=1) / len(genuine) + wins.mean(0).var(ddof=1) / len(impostor)
    area = figure.value
    half = norm.ppf(0.975) * math.sqrt(variance) / (area * (1 - area))
    ends = [1 / (1 + math.exp(-(math.log(area / (1 - area)) + s * half))) for s in (-1, 1)]
    # Ours is not on the logit scale, and counts a worst pair more.
    assert figure.interval == pytest.approx(ends, abs=0.01)
    assert figure.interval[0] < ends[0]


def test_the_interval_of_a_mean_shrinks_as_that_of_independent_bins(
    chosen: Selection,
) -> None:
    good = named(chosen, "good")
    metric = METRICS["kfold"]
    parts = [figure_of(metric, chosen.of(good, column)) for column in chosen.columns]
    mean = mean_figure(metric, good, chosen.columns, chosen)
    assert mean.value == pytest.approx(np.mean([each.value for each in parts]))
    below = math.sqrt(sum((each.value - each.interval[0]) ** 2 for each in parts)) / 2
    assert mean.value - mean.interval[0] == pytest.approx(below)


def test_the_eer_interval_holds_the_true_rate_95_times_in_100() -> None:
    # Two normal classes 2 apart: the equal error rate is Phi(-1) whatever their sizes.
    random = np.random.default_rng(1)
    genuine = labels(400)
    true, hits = norm.cdf(-1), 0
    from evaluator.metrics.all_figures import figures, to_json
    from evaluator.results.record import Scores
    from zoo.report.selection import Scored

    class Stored:
        def __init__(self, block: dict[str, object]) -> None:
            self.figures = block
            self.bin = BinOfNoImages()

    class BinOfNoImages:
        unique_images = 0

    for _ in range(400):
        scores = random.normal(size=400) + 2.0 * genuine
        block = to_json(figures(scores, genuine))
        scored = Scored(Stored(block), Scores(scores, genuine, np.arange(800)))
        low, high = figure_of(METRICS["eer"], scored).interval
        hits += low <= true <= high
    assert 0.92 * 400 < hits < 0.98 * 400  # 3 standard errors of 400 draws


def test_a_model_without_a_bin_has_no_mean_and_no_rank(store: Store) -> None:
    genuine = labels(100)
    for shade, name in enumerate(("one", "two")):
        path, _ = store.bin(name, genuine, shade=shade)
        store.add("whole", path, noisy(genuine, 0.4, 1), genuine)
    store.add("part", path, noisy(genuine, 0.1, 2), genuine)
    table = standings(select(store.folder))
    assert [each.label for each in table.contestants] == ["whole", "part"]
    part = table.contestants[1]
    assert table.ranked == table.contestants[:1]
    assert (table.on(part), table.lacks(part)) == (["two"], ["one"])
    assert table.means[part.key].note == "none on one"
    assert "part has no figure on one: its rank on two is 1" in summary(table).text


def test_two_bins_of_one_name_and_different_bytes_are_two_columns(store: Store) -> None:
    genuine = labels(60)
    for shade, folder in ((0, "a"), (1, "b")):
        path, _ = store.bin(f"{folder}/lfw", genuine, shade=shade)
        store.add("net", path, noisy(genuine, 0.3, shade), genuine, name="lfw")
    columns = select(store.folder).columns
    assert [each.label for each in columns] == [
        f"lfw ({each.record.sha256[:8]})" for each in columns
    ]
    assert len({each.record.sha256 for each in columns}) == 2


def test_two_models_of_one_name_are_two_rows_told_apart_by_hash(store: Store) -> None:
    genuine = labels(60)
    path, _ = store.bin("lfw", genuine)
    for digit in "ab":
        store.add("net", path, noisy(genuine, 0.3, ord(digit)), genuine, sha256=digit * 64)
    found = [each.label for each in select(store.folder).contestants]
    assert found == ["net (aaaaaaaa)", "net (bbbbbbbb)"]


def test_one_class_leaves_every_figure_undefined_with_its_reason(store: Store) -> None:
    genuine = np.ones(30, dtype=bool)
    path, _ = store.bin("same", genuine)
    store.add("net", path, np.linspace(0, 1, 30), genuine)
    chosen = select(store.folder)
    scored = chosen.of(chosen.contestants[0], chosen.columns[0])
    for metric in METRICS.values():
        figure = figure_of(metric, scored)
        assert figure.value is None
        why = "no galleries are searched in it" if metric.searches else "no impostor pairs"
        assert figure.note == why
    assert summary(standings(chosen)).headline == "No model can be ranked"


def test_too_few_impostors_for_a_far_say_how_many_are_needed(chosen: Selection) -> None:
    figure = figure_of(METRICS["tar@1e-3"], chosen.of(named(chosen, "good"), chosen.columns[0]))
    assert figure.value is None
    assert figure.note == (
        "200 impostors, 1,000 needed; without a false accept they show a FAR below 0.015"
    )


def test_dropped_pairs_are_left_out_of_what_two_models_share(store: Store) -> None:
    genuine = labels(200)
    path, images = store.bin("lfw", genuine)
    holes = noisy(genuine, 0.3, 1)
    holes[[3, 4, 50]] = np.nan
    store.add("holes", path, holes, genuine, images=images)
    store.add("whole", path, noisy(genuine, 0.3, 2), genuine, images=images)
    chosen = select(store.folder)
    table = standings(chosen)
    assert table.duels[0].bins[0].comparison.pairs == 197
    model = named(chosen, "holes")
    assert table.means[model.key].note == "3 pairs dropped"
    found = figure_on(METRICS["eer"], model, chosen.columns[0], chosen)
    assert found.note.endswith("3 pairs dropped")


def test_unknown_names_are_refused_with_a_near_one(three_by_two: Store) -> None:
    with pytest.raises(InputError, match=r"--models godo: .* did you mean 'good'"):
        select(three_by_two.folder, models=["godo"])
    with pytest.raises(InputError, match=r"--bins three: .*there is: one, two"):
        select(three_by_two.folder, bins=["three"])


def test_a_model_is_chosen_by_the_beginning_of_its_hash(three_by_two: Store) -> None:
    good = named(select(three_by_two.folder), "good")
    found = select(three_by_two.folder, models=[good.record.sha256[:8]])
    assert [each.label for each in found.contestants] == ["good"]


def test_a_damaged_result_is_listed_and_the_others_are_shown(store: Store) -> None:
    genuine = labels(40)
    path, _ = store.bin("lfw", genuine)
    store.add("fine", path, noisy(genuine, 0.3, 1), genuine)
    torn = store.add("torn", path, noisy(genuine, 0.3, 2), genuine)
    torn.write_text("{")
    gone = store.add("gone", path, noisy(genuine, 0.3, 3), genuine)
    next(gone.parent.glob("*.h5")).unlink()
    chosen = select(store.folder)
    assert len(chosen.scored) == 1
    reasons = sorted(each.reason for each in chosen.left_out)
    assert "are gone" in reasons[1] or "are gone" in reasons[0]
    assert any("not JSON" in each for each in reasons)
