"""What curves and histograms draw, and colours that can be told apart."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from report_store import Store, labels
from scipy.stats import norm
from skimage.color import deltaE_ciede2000, rgb2lab
from sklearn.metrics import roc_curve

import zoo.report
from zoo.report.charts import Curve, curve, det_chart, histogram_chart, rank_chart, roc_chart
from zoo.report.selection import Scored, select

STYLE = (Path(zoo.report.__file__).parent / "report.css").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def scored(three_by_two: Store) -> Scored:
    chosen = select(three_by_two.folder, models=["poor"])
    found = chosen.of(chosen.contestants[0], chosen.columns[0])
    assert found is not None
    return found


def test_every_drawn_operating_point_is_one_of_scikit_learns(scored: Scored) -> None:
    found = curve(0, "poor", scored)
    (drawn,) = det_chart([found], 200, 200).data["curves"]
    fpr, tpr, _ = roc_curve(scored.genuine, scored.cosines, drop_intermediate=False)
    points = {(round(a, 6), round(1 - b, 6)) for a, b in zip(fpr, tpr, strict=True)}
    assert len(drawn["fmr"]) > 30
    for fmr, fnmr, threshold in zip(drawn["fmr"], drawn["fnmr"], drawn["threshold"], strict=True):
        assert min(abs(fmr - a) + abs(fnmr - b) for a, b in points) < 1e-3
        accepted = scored.cosines > threshold
        assert np.mean(accepted[~scored.genuine]) == pytest.approx(fmr, abs=0.011)


def test_a_path_has_a_vertex_for_each_point_of_its_data(scored: Scored) -> None:
    found = curve(0, "poor", scored)
    # Equal ratios are equal distances on one, equal differences of normal deviates on the other.
    for chart, scale, (low, high) in (
        (roc_chart([found], 200), np.log10, (1e-3, 1.0)),
        (det_chart([found], 200, 200), norm.ppf, (1e-3, 0.5)),
    ):
        (path,) = re.findall(r'data-curve="0" d="M([^"]*)"', chart.svg)
        vertices = [tuple(map(float, each.split(","))) for each in path.split("L")]
        (data,) = chart.data["curves"]
        assert len(vertices) == len(data["fmr"]) == len(data["threshold"])
        across = [x for x, _ in vertices]
        assert across == sorted(across, reverse=True)
        x = chart.data["left"], chart.data["right"]
        for (at, _), fmr in zip(vertices, data["fmr"], strict=True):
            share = (scale(fmr) - scale(low)) / (scale(high) - scale(low))
            assert at == pytest.approx(x[0] + share * (x[1] - x[0]), abs=0.2)


def test_a_curve_without_errors_draws_no_det(store: Store) -> None:
    genuine = labels(40)
    path, _ = store.bin("easy", genuine)
    store.add("net", path, np.where(genuine, 0.9, 0.1) + np.arange(40) / 1000, genuine)
    chosen = select(store.folder)
    found = curve(0, "net", chosen.of(chosen.contestants[0], chosen.columns[0]))
    assert det_chart([found], 20, 20).data["curves"] == []
    assert len(roc_chart([found], 20).data["curves"]) == 1


@pytest.mark.parametrize("lowest", [0.0, 0.3, 0.51, 0.56, 0.63, 0.77, 0.871, 0.985, 1.0])
def test_shares_have_round_marks_up_to_one(lowest: float) -> None:
    found = Curve(0, "m", np.zeros(1), np.ones(1), np.full(1, 1 - lowest))
    marks = [float(each) for each in re.findall(r">([\d.]+) %<", rank_chart([found], 20))]
    steps = np.diff(marks)
    assert marks[-1] == 100
    assert marks[0] <= max(50, 100 * lowest)
    mantissa = steps[0] / 10 ** np.floor(np.log10(steps[0] * (1 + 1e-9)))
    assert np.allclose(steps, steps[0])
    assert min(abs(mantissa - each) for each in (1, 2, 5)) < 1e-6


def test_a_histogram_counts_every_pair_once(scored: Scored) -> None:
    chart = histogram_chart("poor", scored)
    data = chart.data
    assert sum(data["genuine"]) == 200
    assert sum(data["impostor"]) == 200
    assert re.search(r'text-anchor="middle">−?0(\.[1-9])?</text>', chart.svg)
    counts, _ = np.histogram(scored.cosines[scored.genuine], np.array(data["edges"]))
    assert np.abs(counts - data["genuine"]).sum() <= 4  # edges are rounded to four digits


def test_missed_pairs_have_no_place_in_a_chart(store: Store) -> None:
    genuine = labels(400)
    path, _ = store.bin("holes", genuine)
    scores = np.where(genuine, 0.6, 0.2) + np.arange(400) / 2000
    scores[:40] = -np.inf
    store.add("net", path, scores, genuine)
    chosen = select(store.folder)
    own = chosen.of(chosen.contestants[0], chosen.columns[0])
    data = histogram_chart("net", own).data
    assert data["edges"][0] == pytest.approx(scores[40:].min(), abs=1e-4)
    assert (sum(data["genuine"]), sum(data["impostor"])) == (180, 180)
    found = curve(0, "net", own)
    assert np.isfinite(found.thresholds).all()
    assert (found.fmr[0], found.fnmr[0]) == (0.9, 0.1)


def test_equal_scores_still_make_a_histogram(store: Store) -> None:
    genuine = labels(40)
    path, _ = store.bin("flat", genuine)
    store.add("net", path, np.full(40, 0.5), genuine)
    chosen = select(store.folder)
    chart = histogram_chart("net", chosen.of(chosen.contestants[0], chosen.columns[0]))
    assert sum(chart.data["genuine"]) == 20
    assert "nan" not in chart.svg


def test_a_hostile_label_cannot_leave_its_attribute(scored: Scored) -> None:
    svg = histogram_chart('"><script>alert(1)</script>', scored).svg
    assert "<script" not in svg


def colours(mode: int) -> dict[str, np.ndarray]:
    """The custom properties of the style sheet in light (0) or dark (1), as RGB in [0, 1]."""
    found = re.findall(r"--([a-z0-9]+): light-dark\((#\w{6}), (#\w{6})\)", STYLE)
    return {
        name: np.array([int(values[mode][i : i + 2], 16) for i in (1, 3, 5)]) / 255
        for name, *values in found
    }


def luminance(colour: np.ndarray) -> float:
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_text_and_lines_have_wcag_contrast(mode: int) -> None:
    found = colours(mode)
    for ground in ("page", "card"):
        assert contrast(found["ink"], found[ground]) >= 7
        for text in ("soft", "accent", "warn"):
            assert contrast(found[text], found[ground]) >= 4.5, text
        for i in range(8):
            assert contrast(found[f"s{i}"], found[ground]) >= 3, i


# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
BLINDNESS = {
    "none": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
               [-0.011820, 0.042940, 0.968881]],
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
               [-0.003882, -0.048116, 1.051998]],
}  # fmt: skip


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("kind", BLINDNESS)
def test_all_eight_colours_differ_to_the_colour_blind(mode: int, kind: str) -> None:
    def seen(colour: np.ndarray) -> np.ndarray:
        linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
        shown = np.clip(np.array(BLINDNESS[kind]) @ linear, 0, 1)
        return np.where(shown <= 0.0031308, 12.92 * shown, 1.055 * shown ** (1 / 2.4) - 0.055)

    found = colours(mode)
    lab = [rgb2lab(seen(found[f"s{i}"])) for i in range(8)]
    for one, other in itertools.combinations(range(8), 2):
        assert deltaE_ciede2000(lab[one], lab[other]) >= 10, (one, other)


def test_no_two_of_twelve_models_share_colour_and_dash() -> None:
    colour, dash = {}, dict.fromkeys(range(12), "solid")
    for selectors, name in re.findall(r"((?:\.s\d+,? ?)+)\{ color: var\(--(s\d)\)", STYLE):
        colour.update({int(each): name for each in re.findall(r"\.s(\d+)", selectors)})
    for slot, pattern in re.findall(r"\.s(\d+) \{ stroke-dasharray: ([^;]+);", STYLE):
        dash[int(slot)] = pattern
    assert len({(colour[slot], dash[slot]) for slot in range(12)}) == 12
    assert len(set(dash.values())) == 12
