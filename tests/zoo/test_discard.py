"""`zoo discard`, on synthetic stored results and on a model's norms."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import Zoo, write_pairs
from stores import cosines, labels, store

from evaluator.results.store import load_result, load_scores

RESULTS = Path("results")


def found(zoo: Zoo, *arguments: object) -> dict[str, Any]:
    done = zoo("discard", *arguments, "--format", "json")
    assert done.code == 0, done.err
    value: dict[str, Any] = json.loads(done.out)
    return value


def write_quality(path: str, values: np.ndarray, name: str = "quality") -> None:
    lines = [f"slot,{name}", *(f"{i},{value}" for i, value in enumerate(values))]
    Path(path).write_text("\n".join(lines) + "\n")


def test_a_quality_that_knows_lowers_fnmr_and_the_threshold_stays(zoo: Zoo) -> None:
    scores = cosines(4000, noise=1, seed=1)
    store(RESULTS, "m", scores)
    knows = np.repeat(np.where(labels(4000), scores, 0.5), 2)
    write_quality("quality.csv", knows)
    [model] = found(zoo, "m", "--quality", "quality.csv")["models"]
    first, second, third = model["curves"]
    assert (first["target_fmr"], second["target_fmr"]) == (0.01, 0.001)
    assert "of 2,000 impostors is less than one" in third["undefined"]
    lower = knows[::2]
    order = np.argsort(lower, kind="stable")
    for step in first["steps"]:
        gone = int(step["discarded"] * 4000 + 1e-9)
        kept = np.sort(order[gone:])
        own = scores[kept][labels(4000)[kept]]
        assert step["genuine"] == len(own)
        assert step["fnmr"] == (own <= first["threshold"]).mean()
        assert step["threshold"] == first["threshold"]
    rates = [step["fnmr"] for step in first["steps"]]
    assert rates[4] < 0.6 * rates[0]
    assert first["pauc"] == pytest.approx(np.trapezoid(rates[:5], dx=0.05))
    assert first["mean_fnmr"] == pytest.approx(first["pauc"] / 0.2)


def test_pairs_without_a_quality_are_left_out_and_said(zoo: Zoo) -> None:
    store(RESULTS, "m", cosines(2000, noise=1, seed=1))
    values = np.random.default_rng(0).uniform(size=4000).astype(object)
    values[:20] = "NA"
    write_quality("quality.csv", values, "sharpness")
    [model] = found(zoo, "m", "--quality", "quality.csv")["models"]
    assert (model["left_out_pairs"], model["quality"]) == (10, "sharpness")
    out = zoo("discard", "m", "--quality", "quality.csv").out
    assert "# 10 pairs without a score or a quality left out" in out


def test_decimal_commas_of_spreadsheets_are_read(zoo: Zoo) -> None:
    store(RESULTS, "m", cosines(2000, noise=1, seed=1))
    values = np.random.default_rng(0).uniform(size=4000)
    write_quality("points.csv", values)
    text = Path("points.csv").read_text()
    Path("commas.csv").write_text(text.replace(",", ";").replace(".", ","))
    assert found(zoo, "m", "--quality", "commas.csv") == found(zoo, "m", "--quality", "points.csv")


def test_the_norms_of_embeddings_are_a_quality(zoo: Zoo, models: Path) -> None:
    write_pairs(Path("easy.bin"))
    assert zoo("eval", models / "a.onnx", "--bins", "easy.bin").code == 0
    [path] = RESULTS.glob("a-*/easy-*.json")
    scores = load_scores(path, load_result(path))
    assert scores.norms is not None
    assert scores.norms.shape == (120,)
    assert (scores.norms > 0).all()
    one_image = scores.images == scores.images[0]
    assert len(np.unique(scores.norms[one_image])) == 1
    write_quality("norms.csv", scores.norms.astype(float))
    for by in ("pair", "image"):
        by_norm, by_table = (
            found(zoo, "a", "--quality", quality, "--far", "0.1", "--by", by)["models"][0]
            for quality in ("norm", "norms.csv")
        )
        assert by_norm["curves"] == by_table["curves"]
    assert by_norm["curves"][0]["steps"][4]["images"] < 30


def test_every_format_has_the_same_rates(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    store(RESULTS, "m", cosines(2000, noise=1, seed=1))
    write_quality("quality.csv", np.random.default_rng(0).uniform(size=4000))
    arguments = ("m", "--quality", "quality.csv", "--far", "0.01", "--limit", "0.3")
    value = found(zoo, *arguments)
    [curve] = value["models"][0]["curves"]
    rows = list(csv.DictReader(io.StringIO(zoo("discard", *arguments, "--format", "csv").out)))
    assert [float(row["fnmr"]) for row in rows] == [step["fnmr"] for step in curve["steps"]]
    assert value["limit"] == 0.3
    shown = f"{curve['steps'][2]['fnmr']:.3g}"
    for name in ("table", "markdown", "latex"):
        assert shown in zoo("discard", *arguments, "--format", name).out
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", zoo("discard", *arguments).out)
    assert max(map(len, plain.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--quality", "norm"), "no norms of embeddings"),
        (("--quality", "words.csv"), "column 'quality': expected a number, found 'good'"),
        (("--quality", "two.csv"), "2 columns, and none is called quality; choose by --column"),
        (("--quality", "two.csv", "--column", "blr"), "did you mean 'blur'?"),
        (("--quality", "norm", "--column", "x"), "--column: goes with a CSV"),
        (("--quality", "good.csv", "--far", "1e-6"), "of 1,000 impostors is less than one"),
        (("--quality", "good.csv", "--far", "0"), "between 0 and 1"),
        (("--quality", "good.csv", "--limit", "0"), "--limit 0: expected a share"),
        (("--quality", "good.csv", "--by", "pairs"), "expected one of pair, image"),
        (("--quality", "none.csv"), "none.csv: No such file"),
        (("--quality", "missing.csv"), "m: no pair has a quality of both its images and a score"),
        (("--quality", "uneven.csv", "--by", "image"), "equal images have different qualities"),
    ],
)
def test_wrong_arguments_are_one_line(zoo: Zoo, arguments: tuple[str, ...], said: str) -> None:
    store(RESULTS, "m", cosines(2000, noise=1, seed=1))
    values = np.random.default_rng(0).uniform(size=4000)
    write_quality("good.csv", values)
    write_quality("words.csv", np.where(values < 2, "good", "bad"))
    Path("missing.csv").write_text("slot,quality\n0,NA\n1,0.5\n2,0.5\n")
    Path("two.csv").write_text("slot,blur,light\n0,1,2\n")
    if "uneven.csv" in arguments:
        images = np.arange(4000)
        images[2] = 0
        store(RESULTS, "m", cosines(2000, noise=1, seed=1), images=images)
        Path("uneven.csv").write_text(Path("good.csv").read_text())
        said = "line 4: the very image of line 2, with other values"
    done = zoo("discard", "m", *arguments)
    assert done.code == 2
    [line] = done.error_lines
    assert said in line
