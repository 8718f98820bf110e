"""Which pairs a report shows, what a borrowed threshold costs, and where faces come from."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from report_store import Store, labels, noisy

from evaluator.metrics.protocols import seed
from zoo.report.faces import SIDE, faces_of, thumbnail
from zoo.report.mistakes import calibration, disagreement, hard_pairs
from zoo.report.selection import Selection, select
from zoo.report.standings import standings


@pytest.fixture(scope="module")
def chosen(three_by_two: Store) -> Selection:
    return select(three_by_two.folder, models=["good", "poor"])


def test_the_hardest_errors_are_the_extreme_wrong_scores_in_order(chosen: Selection) -> None:
    poor = chosen.contestants[1]
    scored = chosen.of(poor, chosen.columns[0])
    found = hard_pairs(poor, chosen.columns[0], scored, shown=3)
    threshold = scored.result.figures["threshold"]
    accepts = [
        (-score, pair)
        for pair, (score, same) in enumerate(zip(scored.cosines, scored.genuine, strict=True))
        if score > threshold and not same
    ]
    rejects = [
        (score, pair)
        for pair, (score, same) in enumerate(zip(scored.cosines, scored.genuine, strict=True))
        if score <= threshold and same
    ]
    assert (found.false_accepts, found.false_rejects) == (len(accepts), len(rejects))
    assert [each.pair for each in found.accepted] == [pair for _, pair in sorted(accepts)[:3]]
    assert [each.pair for each in found.rejected] == [pair for _, pair in sorted(rejects)[:3]]


def test_disagreements_are_the_pairs_that_one_model_decides_wrongly(
    chosen: Selection,
) -> None:
    good, poor = chosen.contestants
    column = chosen.columns[0]
    both = (chosen.of(good, column), chosen.of(poor, column))
    (duel,) = standings(chosen).duels
    assert (duel.a.key, duel.b.key) == (good.key, poor.key)
    (compared,) = (each for each in duel.bins if each.bin == column.record)
    found = disagreement((good, poor), column, both, compared, shown=10_000)
    genuine = labels(400)
    right = [
        set(np.flatnonzero((each > seed(each, genuine).threshold) == genuine).tolist())
        for each in (noisy(genuine, 0.25, 0), noisy(genuine, 0.9, 2))
    ]
    assert {each.pair for each in found.shown_a} == right[0] - right[1]
    assert {each.pair for each in found.shown_b} == right[1] - right[0]
    assert (found.only_a, found.only_b) == (len(right[0] - right[1]), len(right[1] - right[0]))


def test_pairs_keep_their_place_in_the_bin_when_others_were_dropped(store: Store) -> None:
    genuine = labels(100)
    path, images = store.bin("lfw", genuine)
    scores = np.where(genuine, 0.9, 0.1)
    scores[:6] = np.nan
    scores[40], scores[61] = 0.05, 0.95
    store.add("net", path, scores, genuine, images=images)
    chosen = select(store.folder)
    (net,), (column,) = chosen.contestants, chosen.columns
    found = hard_pairs(net, column, chosen.of(net, column), shown=5)
    assert {each.pair for each in (*found.accepted, *found.rejected)} == {40, 61}


def test_a_borrowed_threshold_costs_the_accuracy_it_loses(chosen: Selection) -> None:
    found = calibration(chosen.contestants[1], chosen)
    for i, threshold in enumerate(found.thresholds):
        for j, column in enumerate(found.columns):
            scored = chosen.of(chosen.contestants[1], column)
            right = np.mean((scored.cosines > threshold) == scored.genuine)
            best = scored.result.figures["accuracy"]
            assert found.cells[i][j].lost == pytest.approx(100 * (best - right))
            impostors = scored.cosines[~scored.genuine]
            assert found.cells[i][j].fmr == pytest.approx(np.mean(impostors > threshold))
    assert all(found.cells[i][i].lost == 0 for i in range(2))


def test_calibration_needs_two_bins(chosen: Selection, three_by_two: Store) -> None:
    alone = select(three_by_two.folder, bins=["one"])
    assert calibration(alone.contestants[0], alone) is None


def gray_of(uri: str) -> float:
    assert uri.startswith("data:image/jpeg;base64,")
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert max(image.size) <= SIDE
    return float(np.asarray(image).mean())


def test_faces_are_those_of_the_pairs_slots(store: Store) -> None:
    genuine = labels(20)
    path, _ = store.bin("lfw", genuine, shade=100)
    store.add("net", path, noisy(genuine, 0.3, 1), genuine)
    (column,) = select(store.folder).columns
    found = faces_of(column.record, [7, 3])
    assert set(found.pairs) == {7, 3}
    left, right = found.pairs[7]
    assert gray_of(left) == pytest.approx(114, abs=1)
    assert gray_of(right) == pytest.approx(115, abs=1)


def test_faces_of_a_changed_or_missing_bin_are_refused_with_the_reason(store: Store) -> None:
    genuine = labels(20)
    path, _ = store.bin("lfw", genuine)
    store.add("net", path, noisy(genuine, 0.3, 1), genuine)
    (column,) = select(store.folder).columns
    store.bin("lfw", genuine, shade=9)
    changed = faces_of(column.record, [1])
    assert not changed.pairs
    assert "another SHA-256" in changed.missing
    path.unlink()
    assert "no longer where it was" in faces_of(column.record, [1]).missing
    path.write_bytes(b"no pickle")
    assert "no longer a bin" in faces_of(column.record, [1]).missing
    nowhere = replace(column.record, path=str(path.parent))
    assert faces_of(nowhere, [1]).missing


def test_a_thumbnail_of_a_photograph_keeps_its_shape_and_bounds() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (3000, 1500), (10, 200, 30)).save(buffer, "JPEG")
    uri = thumbnail(buffer.getvalue())
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert image.size == (SIDE, SIDE // 2)


def test_bytes_that_are_no_image_have_no_thumbnail() -> None:
    assert thumbnail(b"\xff\xd8\xff torn") is None
