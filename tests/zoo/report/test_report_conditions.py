"""Sections of a report on groups and discarded images."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from report_store import Store

from zoo.report.conditions import ConditionsAsked
from zoo.report.page import render_report
from zoo.report.selection import select


def table(path: Path, name: str, values: list[str]) -> Path:
    lines = [f"slot,{name}", *(f"{slot},{value}" for slot, value in enumerate(values))]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Groups with a name that is markup, and random qualities, of 400 pairs."""
    folder = tmp_path_factory.mktemp("tables")
    groups = [("<b>one</b>", "two")[slot // 4 % 2] for slot in range(800)]
    # The bins have 256 images, in turn.
    qualities = np.random.default_rng(0).uniform(size=256)
    quality = [f"{qualities[slot % 256]:.4f}" for slot in range(800)]
    return table(folder / "by.csv", "kind", groups), table(folder / "q.csv", "quality", quality)


class Balanced(HTMLParser):
    """Fails unless every tag that is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        if tag not in {"meta", "link", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_sections_show_every_model_group_and_curve(
    three_by_two: Store, tables: tuple[Path, Path]
) -> None:
    selection = select(three_by_two.folder, bins=["one"])
    asked = ConditionsAsked(tables[0], str(tables[1]), far=0.05)
    page = render_report(selection, title="T", faces=False, asked=asked)
    groups = page[page.index('<section id="groups">') : page.index('<section id="discard">')]
    discard = page[page.index('<section id="discard">') : page.index('<section id="provenance">')]
    assert groups.count('<svg class="chart"') == 2
    # Two groups of three models, each rate a dot with its interval.
    assert groups.count("<circle") == 12
    assert "&lt;b&gt;one" in groups
    assert "<b>one" not in page
    for model in ("good", "twin", "poor"):
        assert re.search(rf"{model}: (no difference|FMR|FNMR|cannot tell)", groups)
    assert "GARBE" in groups
    # FMR 1e-2 alone: 200 impostors cannot tell less.
    assert discard.count('class="band') == 3
    assert discard.count("is less than one of them") == 6
    assert 'href="#groups"' in page
    assert len(page.encode()) < 8e6
    reader = Balanced()
    reader.feed(page)
    assert not reader.open


def test_no_section_stands_where_nobody_asked(
    three_by_two: Store, tables: tuple[Path, Path]
) -> None:
    selection = select(three_by_two.folder, bins=["one"])
    page = render_report(selection, title="T", faces=False)
    assert 'id="groups"' not in page
    assert 'id="discard"' not in page
    only = render_report(selection, title="T", faces=False, asked=ConditionsAsked(tables[0]))
    assert 'id="groups"' in only
    assert 'id="discard"' not in only
