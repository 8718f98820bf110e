"""`zoo show --format markdown`: a model's card, parsed as GitHub and Hugging Face parse it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt
from samples import Zoo
from stores import cosines, labels, sha, store, with_flip

from evaluator.metrics.protocols import kfold
from evaluator.results.cost import Cost, save_costs
from evaluator.results.store import load_result, save_result

PAIRS = 6000
ENTRY = f"""models:
  net|one:
    file: weights/net.onnx
    sha256: {sha("net")}
    url: https://example.org/a_b/net.onnx
    input: {{profile: unit, size: [112, 96]}}
    source: "from a paper: *x* <script>alert(1)</script> | y"
    published: {{protocol: kfold, lfw: {{accuracy: 0.95}}, agedb_30: {{accuracy: 0.9}}}}
    notes: a note
"""


def parts(card: str) -> tuple[dict[str, Any], list[str], list[list[list[str]]], str]:
    """Front matter, headings, tables as rows of cells, and the card as HTML."""
    _, front, body = card.split("---\n", 2)
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    headings: list[str] = []
    tables: list[list[list[str]]] = []
    tokens = parser.parse(body)
    for token, inner in itertools.pairwise(tokens):
        if token.type == "heading_open":
            headings.append(inner.content)
        elif token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type in ("td_open", "th_open"):
            texts = [each.content for each in inner.children or () if each.type != "softbreak"]
            tables[-1][-1].append("".join(texts))
    return yaml.safe_load(front), headings, tables, parser.render(body)


@pytest.fixture
def scores(tmp_path: Path) -> np.ndarray:
    (tmp_path / "models.yaml").write_text(ENTRY)
    found = cosines(PAIRS, noise=0.5, seed=1)
    store(tmp_path / "results", "net", found)
    store(tmp_path / "results", "net", found, settings=with_flip("sum"), bin="cfp_fp")
    store(tmp_path / "results", "another", found)
    return found


def card(zoo: Zoo, *arguments: object) -> str:
    done = zoo("show", "net|one", "--format", "markdown", *arguments)
    assert done.code == 0, done.err
    return done.out


def test_a_card_says_where_from_what_published_and_what_measured(
    zoo: Zoo, tmp_path: Path, scores: np.ndarray
) -> None:
    text = card(zoo)
    _, headings, (facts, published, measured), html = parts(text)
    assert headings == ["net|one", "Published figures", "Measured on bins"]
    said = {row[0]: row[1] for row in facts}
    assert said["file"] == "net.onnx"
    assert said["sha256"] == sha("net")
    assert said["input"] == "112x96, unit, rgb"
    assert said["source"] == "from a paper: *x* <script>alert(1)</script> | y"
    assert "<script>" not in html
    assert '<a href="https://example.org/a_b/net.onnx">' in html
    assert str(tmp_path) not in text
    mean = kfold(scores, labels(PAIRS)).accuracy
    lfw, agedb = published[1:]
    assert lfw[:5] == ["net|one", "lfw", "95.00", f"{100 * mean:.2f}", f"{100 * mean - 95:+.2f}"]
    assert (lfw[6], agedb[6]) == ("differs", "not measured")
    cfp, own = measured[1:]
    assert own[:3] == [f"lfw ({sha('lfw')[:8]})", "usual", "6,000"]
    assert cfp[:2] == [f"cfp_fp ({sha('cfp_fp')[:8]})", "flip sum"]
    low, high = lfw[5].split("-")
    assert own[3] == f"{100 * mean:.2f} [{low}, {high}]"
    assert all("[" in cell for cell in own[3:])


def test_the_front_matter_is_a_model_index(zoo: Zoo, tmp_path: Path, scores: np.ndarray) -> None:
    front, *_ = parts(card(zoo))
    assert "license" not in front
    (model,) = front["model-index"]
    assert model["name"] == "net|one"
    cfp, lfw = model["results"]
    assert lfw["dataset"] == {"name": "lfw", "type": "lfw", "revision": sha("lfw")}
    metrics = {each["type"]: each["value"] for each in lfw["metrics"]}
    assert metrics["kfold"] == kfold(scores, labels(PAIRS)).accuracy
    assert cfp["task"]["name"] == "Face verification, flip sum"


def test_costs_and_groups_stand_on_it_where_they_are_known(
    zoo: Zoo, tmp_path: Path, scores: np.ndarray
) -> None:
    conditions = {"machine": "a CPU", "device": "cpu", "engine": "native", "precision": "float32"}
    numbers = {"threads": 1, "batch": 1, "repeats": 9, "file_bytes": 1, "peak_bytes": None}
    times = {"seconds": 0.02, "low": 0.02, "high": 0.02, "least": 0.02, "load": None}
    cost = Cost(
        name="net", sha256=sha("net"), format="onnx", size=(112, 96), parameters=1_250_000,
        macs=None, reasons=(), runtime="onnxruntime 1", measured="2026-01-01", **conditions,
        **numbers, **times,
    )  # fmt: skip
    save_costs(tmp_path / "results", [cost])
    rows = (f"{slot},{'ab'[slot // 2 % 20 // 10]}\n" for slot in range(2 * PAIRS))
    (tmp_path / "by.csv").write_text("slot,kind\n" + "".join(rows))
    text = card(zoo, "--by", "by.csv", "--bins", "lfw")
    _, headings, tables, _ = parts(text)
    assert headings[3:5] == ["Cost", "Groups of people"]
    (costs,) = (table[1] for table in tables if "MACs" in table[0])
    assert "1.25 M" in costs
    groups = next(table for table in tables if table[0][0] == "group")
    assert [row[0] for row in groups[1:]] == ["a", "b", "(two groups)"]
    assert "no result of net|one on such bins" in zoo(
        "show", "net|one", "--format", "markdown", "--by", "by.csv", "--bins", "x"
    ).err  # fmt: skip
    assert "--by: goes with --format markdown" in zoo("show", "net|one", "--by", "by.csv").err


def test_what_is_lost_is_said_and_nothing_is_made_up(zoo: Zoo, tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text(ENTRY)
    _, headings, tables, html = parts(card(zoo))
    assert headings[2:] == ["Measured"]
    assert "Nothing of this very file is stored." in html
    assert tables[1][1][3:] == ["-", "-", "-", "not measured"]
    path = store(tmp_path / "results", "net", cosines(40, noise=1, seed=1))
    store(tmp_path / "results", "net", cosines(40, noise=1, seed=1), finite=False, bin="agedb_30")
    save_result(path, replace(load_result(path), scores=None), None)
    _, headings, tables, html = parts(card(zoo))
    agedb, lfw = tables[2][1:]
    assert set(agedb[3:]) == {"-"}
    assert "[" not in "".join(lfw[3:])
    assert "not finite; nothing is scored" in html
    assert "no interval: this result has no stored scores" in html


@pytest.mark.parametrize(
    ("licence", "said"),
    [
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("research", {"license": "other", "license_name": "research"}),
        ("no: 'yaml'\\", {"license": "other", "license_name": "no: 'yaml'\\"}),
    ],
)
def test_a_licence_is_what_hugging_face_calls_it(
    tmp_path: Path, licence: str, said: dict[str, str]
) -> None:
    from zoo.entries.registry import read_registry
    from zoo.results.card import card_of

    (tmp_path / "models.yaml").write_text(ENTRY)
    (entry,) = read_registry(tmp_path / "models.yaml").values()
    text = card_of(entry, [("licence", licence)], tmp_path, by=None, bins=[])
    front, _, tables, _ = parts(text)
    assert {key: value for key, value in front.items() if key != "tags"} == said
    assert tables[0][1] == ["licence", licence]
