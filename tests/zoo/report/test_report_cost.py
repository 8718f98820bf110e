"""The report's section of accuracy against cost."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path

import pytest
from report_store import Store

from evaluator.results.cost import Cost, save_costs
from evaluator.results.stored import read_store
from zoo.report.cost import Point, cost_plot, log_ticks
from zoo.report.page import render_report
from zoo.report.selection import select
from zoo.report.standings import Figure

MACS = {"good": 4e8, "twin": 1e8, "poor": 2e8}


def cost(name: str, sha256: str, macs: float) -> Cost:
    return Cost(
        name=name, sha256=sha256, format="onnx", size=(112, 112), parameters=int(macs / 100),
        macs=int(macs), reasons=(), file_bytes=1, machine="CPU", device="cpu", engine="native",
        precision="float32", threads=1, batch=1, repeats=5, seconds=macs / 1e10, low=macs / 1e10,
        high=macs / 1e10, least=macs / 1e10, load=None, peak_bytes=None, runtime="onnxruntime",
        measured="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


@pytest.fixture
def costly(three_by_two: Store, tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    shutil.copytree(three_by_two.folder, folder)
    models = {each.result.model.name: each.result.model for each in read_store(folder).results}
    for name, macs in MACS.items():
        save_costs(folder, [cost(name, models[name].identity, macs)])
    return folder


def test_the_section_draws_each_model_and_rings_the_unbeaten(costly: Path) -> None:
    html = render_report(select(costly), title="Report", faces=False)
    section = html[html.index('<section id="cost">') :]
    section = section[: section.index("</section>")]
    charts = re.findall(r"<svg class=\"chart.*?</svg>", section, re.DOTALL)
    assert len(charts) == 2
    ringed = set(re.findall(r"<title>(\w+): [^<]*, unbeaten</title>", charts[0]))
    # poor is worse than twin, and dearer; good cannot be told from twin.
    assert ringed == {"good", "twin"}
    assert charts[0].count('class="ring"') == 2
    assert charts[0].count('r="4"') == 3
    assert "100 M *" in section
    assert "200 M *" not in section
    assert 'href="#cost"' in html


def test_a_report_without_costs_has_no_such_section(three_by_two: Store) -> None:
    html = render_report(select(three_by_two.folder), title="Report", faces=False)
    assert 'id="cost"' not in html
    assert 'href="#cost"' not in html


def test_equal_ratios_are_equal_distances_and_names_are_escaped() -> None:
    points = [
        Point(i, f"<{i}>", macs, Figure(0.9, (0.8, 0.95)), unbeaten=False)
        for i, macs in enumerate((1e6, 1e7, 1e8))
    ]
    svg = cost_plot(points, "macs")
    places = [float(each) for each in re.findall(r'<circle cx="([\d.]+)"', svg)]
    assert places[1] - places[0] == pytest.approx(places[2] - places[1], abs=0.2)
    assert "&lt;1&gt;" in svg
    assert "<1>" not in svg


@pytest.mark.parametrize(("low", "high"), [(1, 10), (3e6, 4e6), (1e3, 1e9), (0.004, 0.2), (7, 7.1)])
def test_marks_lie_on_the_axis(low: float, high: float) -> None:
    found = log_ticks(low, high)
    assert 1 <= len(found) <= 6
    assert all(low <= value <= high for value in found)
    assert found == sorted(found)
    assert math.isfinite(sum(found))
