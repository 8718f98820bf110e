"""Training runs in a report: whose models they are, what of their log is drawn, and where."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_store import Store, labels, noisy

from evaluator.axes import Axis, even_ticks
from training.data.sources.faces import FaceSet
from training.recipes.recipe import Recipe, parse_recipe
from training.run.runs import KeptEpoch, RunEntry, RunFolder, append_row, create_run, write_entry
from zoo.report.page import render_report
from zoo.report.runs import overlays, runs_of
from zoo.report.selection import select

SVG = re.compile(r"<svg.*?</svg>", re.DOTALL)


def recipe(figure: str = "accuracy") -> Recipe:
    stage = {"epochs": 2, "loss": "softmax", "optimizer": "adam", "learning_rate": 0.01}
    plain = {
        "model": {"backbone": "conv4", "pooling": "gdc"},
        "stages": [stage, {**stage, "loss": {"name": "margin", "preset": "arcface"}}],
        "verification": {"figure": figure},
    }
    return parse_recipe(plain, lambda place, message: ValueError(f"{place}: {message}"))


def faces(source: Path) -> FaceSet:
    return FaceSet(
        source, ("a", "b"), np.array([0, 0, 1]), "f1ng3r", lambda i: b"", str, lambda: None
    )


def trained(
    store: Store, name: str, bin_: Path, *, losses: tuple[float, ...], first: float = 0.5
) -> RunFolder:
    """A run of that name with one epoch a loss, and a stored result of its model."""
    entry = RunEntry(name, "arc", "a test", "")
    run = create_run(store.bins / name, entry, recipe(), faces(store.bins / "secret" / "people"))
    run.model.write_bytes(name.encode())
    write_entry(run, entry, recipe())
    for epoch, loss in enumerate(losses):
        row = {"stage": epoch // 2, "epoch": epoch, "step": 10 * (epoch + 1), "loss": loss,
               "accuracy": 0.1 * epoch, "learning_rate": 0.01, "seconds": 3.0,
               f"{bin_.stem}_accuracy": first + 0.01 * epoch, f"{bin_.stem}_auc": 0.6}  # fmt: skip
        append_row(run, row, [bin_.stem])
    genuine = labels(200)
    store.add(
        name,
        bin_,
        noisy(genuine, 0.4, len(name)),
        genuine,
        sha256=hashlib.sha256(run.model.read_bytes()).hexdigest(),
        file=run.model,
    )
    return run


@pytest.fixture
def bin_(store: Store) -> Path:
    path, _ = store.bin("easy", labels(200))
    return path


def dots(svg: str) -> list[tuple[str, int, float, float, float]]:
    """Name, epoch and value that each dot tells, and where it is."""
    found = []
    for circle in ElementTree.fromstring(svg).iter("circle"):
        name, epoch, value = re.fullmatch(
            r"(.*), epoch (\d+): (\S+)", circle.findtext("title") or ""
        ).groups()  # type: ignore[union-attr]
        place = float(circle.attrib["cx"]), float(circle.attrib["cy"])
        found.append((name, int(epoch), float(value), *place))
    return found


def test_each_epoch_of_the_log_is_a_dot_where_its_value_belongs(store: Store, bin_: Path) -> None:
    losses = (6.5, 4.25, 20.0, 18.5)
    trained(store, "net", bin_, losses=losses)
    (run,) = runs_of(select(store.folder).contestants).found
    panels = {panel.title: panel.svg for panel in run.panels}
    assert list(panels) == ["Loss", "Accuracy in training", "easy, accuracy", "Learning rate"]
    drawn = dots(panels["Loss"])
    assert [each[:3] for each in drawn] == [("training", i + 1, x) for i, x in enumerate(losses)]
    # Straight axes: a place is a linear function of what it stands for, upwards for more.
    for told, place in ((1, 3), (2, 4)):
        values, places = (np.array([each[i] for each in drawn]) for i in (told, place))
        slope, start = np.polyfit(values, places, 1)
        np.testing.assert_allclose(places, slope * values + start, atol=0.1)
        assert (slope > 0) == (told == 1)
    assert [each[2] for each in dots(panels["easy, accuracy"])] == [0.5, 0.51, 0.52, 0.53]
    # The second stage begins between the second epoch and the third.
    (at,) = re.findall(r'class="stage" d="M([\d.]+),', panels["Loss"])
    assert drawn[1][3] < float(at) < drawn[2][3]


def test_runs_lie_over_one_another_in_their_models_colours(store: Store, bin_: Path) -> None:
    trained(store, "long", bin_, losses=(3.0, 2.0, 1.0))
    trained(store, "short", bin_, losses=(3.0, 2.0), first=0.7)
    store.add("classic", bin_, noisy(labels(200), 0.4, 9), labels(200))
    selection = select(store.folder)
    runs = runs_of(selection.contestants)
    (panel,) = overlays(runs.found)
    drawn = dots(panel.svg)
    assert [each[:3] for each in drawn if each[0] == "long"] == [
        ("long", 1, 0.5), ("long", 2, 0.51), ("long", 3, 0.52),
    ]  # fmt: skip
    assert [each[2] for each in drawn if each[0] == "short"] == [0.7, 0.71]
    order = [each.label for each in selection.contestants]
    assert {line.name: line.slot for line in panel.lines} == {
        "long": order.index("long"),
        "short": order.index("short"),
    }
    html = render_report(selection, title="Runs", faces=False)
    assert "Verification during training, all runs" in html
    for button, name in re.findall(r'data-toggles="(\d+)"[^>]*>.*?</svg>(\w+)</button>', html):
        # The legend's button takes the model's line out of the overlay, too.
        marked = re.findall(rf'<path class="curve s\d+" data-model="{button}" d="M', html)
        assert len(marked) == (name != "classic")


def test_kept_epochs_that_were_evaluated_are_a_curve(store: Store, bin_: Path) -> None:
    run = RunFolder(store.bins / "net")
    accuracies = {}
    for epoch, noise in ((10, 0.2), (2, 0.5), (1, 0.9)):
        place = KeptEpoch(epoch)
        path = store.add(
            f"net-{place.name}", bin_, noisy(labels(200), noise, 1), labels(200),
            file=run.kept(place),
        )  # fmt: skip
        accuracies[epoch] = json.loads(path.read_text())["figures"]["accuracy"]
    for other in (KeptEpoch(3, 70).name, "best"):
        file = run.last.with_name(f"{other}.keras")
        store.add(f"net-{other}", bin_, noisy(labels(200), 0.4, 1), labels(200), file=file)
    selection = select(store.folder)
    (panel,) = runs_of(selection.contestants).kept
    assert panel.title == "easy, accuracy"
    wanted = [("net", epoch, pytest.approx(accuracies[epoch], abs=1e-5)) for epoch in (1, 2, 10)]
    assert [each[:3] for each in dots(panel.svg)] == wanted
    html = render_report(selection, title="Kept", faces=False)
    assert "Epochs that were kept, evaluated" in html
    assert 'href="#training"' in html


def test_a_report_tells_recipe_and_data_and_no_path(store: Store, bin_: Path) -> None:
    trained(store, "net", bin_, losses=(2.0, 1.0))
    html = render_report(select(store.folder), title="A run", faces=False)
    section = html[html.index('<section id="training">') : html.index('<section id="provenance">')]
    for words in (
        "2 epochs, 20 steps, 6 s of training",
        "2 epochs of margin arcface, adam, rate 0.01 (constant)",
        "trained on 3 images of 2 people in people",
        "f1ng3r",
    ):
        assert words in section
    assert "secret" not in html
    for svg in SVG.findall(section):
        ElementTree.fromstring(svg)
    assert "all runs" not in section


def test_a_name_in_a_log_is_text_and_not_markup(store: Store) -> None:
    path, _ = store.bin("a<b>&amp", labels(200))
    trained(store, "net", path, losses=(2.0, 1.0))
    html = render_report(select(store.folder), title="Names", faces=False)
    assert "a&lt;b&gt;&amp;amp, accuracy" in html
    assert "<b>&amp" not in html


def test_another_model_in_the_runs_folder_has_no_curves(store: Store, bin_: Path) -> None:
    run = trained(store, "net", bin_, losses=(2.0, 1.0))
    run.model.write_bytes(b"trained anew")
    write_entry(run, RunEntry("net", "arc", "a test", ""), recipe())
    found = runs_of(select(store.folder).contestants)
    assert (found.found, found.unreadable) == ((), ())
    assert 'id="training"' not in render_report(select(store.folder), title="None", faces=False)


def test_a_damaged_run_is_named_and_a_cut_off_log_is_read_as_far_as_it_goes(
    store: Store, bin_: Path
) -> None:
    whole = trained(store, "whole", bin_, losses=(2.0, 1.0, float("nan")))
    whole.log.write_text(whole.log.read_text() + "1,3,40,0.0")
    broken = trained(store, "broken", bin_, losses=(2.0,))
    broken.entry.write_text("models: {broken: {recipe")
    runs = runs_of(select(store.folder).contestants)
    (run,) = runs.found
    assert run.series["loss"] == ((1, 2.0), (2, 1.0))
    assert (run.epochs, run.seconds) == (4, 9.0)
    (line,) = runs.unreadable
    assert line.startswith("broken: its run cannot be read: ")
    assert "not YAML" in render_report(select(store.folder), title="Two", faces=False)


def test_settings_of_one_model_show_its_run_once(store: Store, bin_: Path) -> None:
    run = trained(store, "net", bin_, losses=(2.0, 1.0))
    first = select(store.folder).contestants[0]
    twice = (first, dataclasses.replace(first, label="net (flip sum)"))
    assert [each.folder for each in runs_of(twice).found] == [run.path]


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_round_and_reach_from_end_to_end(low: float, width: float) -> None:
    high = low + width
    ticks = even_ticks(low, high)
    step = ticks[1] - ticks[0]
    assert 2 <= len(ticks) <= 8
    np.testing.assert_allclose(np.diff(ticks), step, rtol=1e-3, atol=1e-9)
    slack = 1e-6 * max(1.0, abs(low), abs(high))
    assert ticks[0] <= low + slack
    assert high - slack <= ticks[-1]
    if width > 1e-3 * max(1.0, abs(low)):
        mantissa = step / 10 ** np.floor(np.log10(step * (1 + 1e-6)))
        assert min(abs(mantissa - each) for each in (1, 2, 5)) < 1e-3


@pytest.mark.parametrize("value", [1e-13, 3e-31, 1e-99, 1.0, 1e97])
def test_ticks_of_a_constant_are_apart_however_small_it_is(value: float) -> None:
    for low in (value, 0.0):
        ticks = even_ticks(low, value, (0.0, math.inf))
        assert np.all(np.diff(ticks) > 0)
        assert ticks[0] <= low < ticks[-1]
        assert Axis(ticks[0], ticks[-1], 0, 100).at(value) == pytest.approx(
            100 * (value - ticks[0]) / (ticks[-1] - ticks[0])
        )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("log.csv", "\x00\x01"),
        ("log.csv", "stage,loss\n1,2,3\n"),
        ("log.csv", "stage,loss,easy_auc,\x1b_auc\n" + "0,1e308,-1e308,1e-320\n" * 3),
        ("log.csv", "loss\n" + "5\n" * 50_000),
        ("data.json", "[" * 100_000),
        (
            "data.json",
            '{"source": "\\ud800", "fingerprint": "\\ud800", "images": [], "people": "x"}',
        ),
        ("models.yaml", "models: {}"),
        ("models.yaml", "[" * 5_000),
    ],
    ids=range(8),
)
def test_a_run_of_any_content_leaves_the_report(
    store: Store, bin_: Path, name: str, content: str
) -> None:
    run = trained(store, "net", bin_, losses=(6.5, 4.25))
    (run.path / name).write_text(content)
    page = render_report(select(store.folder), title="t")
    assert "net" in page
    page.encode()


@pytest.mark.parametrize("name", ["log.csv", "data.json", "models.yaml"])
def test_a_pipe_in_a_runs_folder_is_not_waited_for(store: Store, bin_: Path, name: str) -> None:
    import os

    run = trained(store, "net", bin_, losses=(6.5, 4.25))
    (run.path / name).unlink()
    os.mkfifo(run.path / name)
    assert "net" in render_report(select(store.folder), title="t")
