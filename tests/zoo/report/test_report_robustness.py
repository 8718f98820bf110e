"""Accuracy on spoilt images in a report: drawn, and beside a baseline's as mCE."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from samples import face, png

from evaluator.bins.verification_set import write_bin
from evaluator.results.choice import contestants, labelled
from evaluator.results.stored import read_store
from tests.command import Zoo
from tests.small_models import save_projection
from zoo.report.robustness import spoilt_of
from zoo.report.selection import select

KINDS, STRENGTHS = ("noise", "contrast"), (1, 3, 5)


@pytest.fixture
def store(zoo: Zoo, tmp_path: Path) -> Path:
    """Two projections on a bin and on six bins made of it."""
    images, genuine = [], []
    for person in range(30):
        for shot, other in ((1, person), (2, (person + 1) % 30)):
            images += [png(face(person, 0)), png(face(other, shot))]
            genuine.append(other == person)
    write_bin(tmp_path / "own.bin", images, genuine)
    strengths = map(str, STRENGTHS)
    made = zoo(
        "bins", "corrupt", "own.bin", "-o", "s", "--corruption", *KINDS, "--strength", *strengths
    )
    assert made.code == 0
    for seed, name in enumerate(("first", "second")):
        save_projection(tmp_path / f"{name}.onnx", units=3 + seed, seed=seed)
    done = zoo("eval", "first.onnx", "second.onnx", "--bins", "own.bin", *made.out.splitlines())
    assert done.code == 0
    return tmp_path / "results"


def _wrong(store: Path) -> dict[tuple[str, str, int], float]:
    """1 - accuracy by model, corruption and strength, out of the stored JSON."""
    found = {}
    for path in store.glob("*/*.json"):
        result = json.loads(path.read_text())
        derived = result["bin"].get("derived")
        if derived:
            key = result["model"]["name"], derived["corruption"], derived["strength"]
            found[key] = 1 - result["figures"]["accuracy"]
    return found


def test_mce_is_the_mean_of_summed_errors_by_the_baselines(store: Path) -> None:
    wrong = _wrong(store)
    assert len(wrong) == 2 * len(KINDS) * len(STRENGTHS)
    models = labelled(select(store).contestants)
    (found,) = spoilt_of(select(store), models, "second")
    assert found.baseline.name == "second"
    assert {kind: list(own) for kind, own in found.strengths.items()} == {
        kind: list(STRENGTHS) for kind in KINDS
    }
    order = list(found.strengths)
    for model, errors in found.errors:
        ce = [
            sum(wrong[model.name, kind, k] for k in STRENGTHS)
            / sum(wrong["second", kind, k] for k in STRENGTHS)
            for kind in order
        ]
        assert [each.value for each in errors] == pytest.approx([np.mean(ce), *ce])
        if model.name == "second":
            assert [each.value for each in errors] == [1.0] * 3
        for each in errors[1:]:
            if each.interval:
                assert each.value is not None
                assert each.interval[0] <= each.value <= each.interval[1]
    assert any(each.interval for _, errors in found.errors for each in errors)


def test_the_report_draws_them_and_ranks_on_the_bin_alone(zoo: Zoo, store: Path) -> None:
    done = zoo("report", "-o", "r.html", "--baseline", "second")
    assert done.code == 0
    assert "r.html: 2 models, 1 bin" in done.err
    html = Path("r.html").read_text()
    section = html.partition('<section id="robustness">')[2].partition("</section>")[0]
    assert "baseline: second" in section
    assert section.count('<svg class="chart training"') == len(KINDS)
    # A dot a model and strength, 0 included.
    assert section.count("<circle") == 2 * len(KINDS) * (1 + len(STRENGTHS))
    accuracies = {float(x) for x in re.findall(r"strength 3: ([\d.]+)</title>", section)}
    expected = {round(100 * (1 - each), 2) for key, each in _wrong(store).items() if key[2] == 3}
    assert accuracies == expected
    assert "strength 1, 3, 5" in section
    first = zoo("report", "-o", "f.html")
    assert first.code == 0
    assert "baseline:" in Path("f.html").read_text()


def test_a_wrong_baseline_is_one_line_and_without_spoilt_bins_there_is_no_section(
    zoo: Zoo, store: Path
) -> None:
    done = zoo("report", "-o", "r.html", "--baseline", "secnd")
    assert done.code == 2
    assert "--baseline secnd: no model there has that name; did you mean 'second'?" in done.err
    assert zoo("report", "-o", "r.html", "--bins", "own").code == 0
    assert 'id="robustness"' not in Path("r.html").read_text()
    # Alone, a bin of spoilt images is a bin like others.
    assert zoo("report", "-o", "r.html", "--bins", "own-noise-3").code == 0
    assert "own-noise-3" in Path("r.html").read_text()


def test_a_model_without_all_bins_has_no_mce(store: Path) -> None:
    for path in store.glob("first*/own-noise-3*.json"):
        path.unlink()
    selection = select(store)
    (found,) = spoilt_of(selection, labelled(selection.contestants), "second")
    errors = {model.name: errors for model, errors in found.errors}
    place = 1 + list(found.strengths).index("noise")
    assert errors["first"][place].note == "not all measured"
    assert errors["first"][0].value is None
    assert errors["second"][0].value == 1.0
    assert len(contestants(read_store(store).results)) == 2
