"""A report in Debian's Chromium: sorted, hovered and themed, without a request or an error."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from report_store import Store

from zoo.report.page import render_report, write_report
from zoo.report.selection import select

playwright = pytest.importorskip(
    "playwright.sync_api", reason="needs playwright (pip install -e '.[dev]')"
)

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(three_by_two: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of three models on two bins, with faces."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, render_report(select(three_by_two.folder), title="Nets <i>in</i> a browser"))
    return path


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[playwright.BrowserContext]:
    """A browser with an empty profile. $ZOO_CHROMIUM names another one."""
    found = os.environ.get("ZOO_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        missing = f"needs a Chromium: none of {', '.join(NAMES)} is on the PATH"
        # CI sets this, so that there no one takes a skipped test for a passed one.
        (pytest.fail if os.environ.get("ZOO_REQUIRE_BROWSER") else pytest.skip)(missing)
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=found,
            headless=True,
            args=list(FLAGS),
        )
        yield opened
        opened.close()


@pytest.fixture
def page(context: playwright.BrowserContext, report: Path) -> Iterator[playwright.Page]:
    """The report at 1400 x 900; fails at its end on any message of the console or any request."""
    opened = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    opened.set_viewport_size({"width": 1400, "height": 900})
    opened.emulate_media(color_scheme="light")
    opened.goto(report.as_uri())
    yield opened
    opened.close()
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]


def column(page: playwright.Page, number: int) -> list[str]:
    """The values of a column of the first table, from top to bottom."""
    return page.locator("table.sortable").first.evaluate(
        "(table, n) => [...table.tBodies[0].rows].map((row) => row.cells[n].dataset.value ?? '')",
        number,
    )


def test_a_click_sorts_the_table_and_a_second_one_turns_it_round(page: playwright.Page) -> None:
    head = page.locator("table.sortable").first.locator("thead th").nth(2)
    head.locator("button").click()
    down = column(page, 2)
    known = [float(each) for each in down if each]
    assert len(known) == 3
    assert known == sorted(known, reverse=True)
    assert down[-1] == ""  # the invalid model stays last
    assert head.get_attribute("aria-sort") == "descending"
    head.locator("button").click()
    up = column(page, 2)
    assert [float(each) for each in up if each] == sorted(known)
    assert up[-1] == ""
    assert head.get_attribute("aria-sort") == "ascending"
    assert page.locator("table.sortable").first.locator("th[aria-sort=none]").count() >= 3


def test_a_table_sorts_by_keyboard(page: playwright.Page) -> None:
    page.locator("table.sortable").first.locator("thead button").nth(1).focus()
    page.keyboard.press("Enter")
    assert column(page, 1) == ["broken", "good", "poor", "twin"]


def test_a_sorted_comparison_keeps_its_bins_under_it(page: playwright.Page) -> None:
    page.get_by_role("button", name="Show each bin").click()
    table = page.locator(".duels")
    table.locator("thead button").nth(2).click()
    kinds = table.evaluate("(table) => [...table.tBodies[0].rows].map((row) => row.className)")
    assert kinds == ["total", "part", "part"] * 3
    totals = table.evaluate(
        "(table) => [...table.querySelectorAll('.total')].map((row) => +row.cells[2].dataset.value)"
    )
    assert totals == sorted(totals, reverse=True)


def test_hovering_a_curve_tells_model_rates_and_threshold(page: playwright.Page) -> None:
    chart = page.locator("svg.curves").first
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert not page.locator("#tip").is_visible()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.3 * box["height"])
    tip = page.locator("#tip")
    assert tip.is_visible()
    assert tip.locator("th").all_text_contents() == ["model", "FMR", "FNMR", "threshold"]
    rows = [row.locator("td").all_text_contents() for row in tip.locator("tbody tr").all()]
    assert {row[0] for row in rows} == {"good", "twin", "poor"}
    assert tip.locator("tr.near").count() == 1
    # The page's own data says the same of the score that the tooltip names.
    data = page.evaluate("() => JSON.parse(document.getElementById('chart-data').textContent)[0]")
    for model, fmr, fnmr, threshold in rows:
        curve = next(each for each in data["curves"] if each["model"] == model)
        near = min(
            range(len(curve["threshold"])),
            key=lambda i: (
                abs(curve["threshold"][i] - float(threshold.replace("−", "-")))
                + abs(100 * curve["fmr"][i] - float(fmr.split()[0]))
            ),
        )
        assert float(fmr.split()[0]) == pytest.approx(100 * curve["fmr"][near], rel=0.01)
        assert float(fnmr.split()[0]) == pytest.approx(100 * curve["fnmr"][near], rel=0.01)
    page.mouse.move(5, 5)
    assert not tip.is_visible()


def test_arrow_keys_move_the_cursor_and_say_where_it_is(page: playwright.Page) -> None:
    page.locator("svg.curves").first.focus()
    page.keyboard.press("ArrowRight")
    first = page.locator("#said").text_content()
    assert "FMR" in first
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    assert page.locator("#said").text_content() != first
    page.keyboard.press("Escape")
    assert not page.locator("#tip").is_visible()


def test_hovering_a_histogram_counts_its_pairs(page: playwright.Page) -> None:
    chart = page.locator("svg.histogram").first
    chart.scroll_into_view_if_needed()
    chart.hover()
    tip = page.locator("#tip")
    assert "score" in tip.locator("p").text_content()
    assert tip.locator("tbody tr").count() == 2


def test_the_theme_follows_the_system_and_the_button(page: playwright.Page) -> None:
    def ground() -> str:
        return page.evaluate("() => getComputedStyle(document.body).backgroundColor")

    light = ground()
    page.emulate_media(color_scheme="dark")
    dark = ground()
    assert light != dark
    page.locator("#theme").click()
    assert ground() == light
    page.locator("#theme").click()
    assert ground() == dark


def test_the_chosen_figure_is_the_one_table_shown(page: playwright.Page) -> None:
    assert page.locator(".board:visible").count() == 1
    page.get_by_role("button", name="EER").click()
    shown = page.locator(".board:visible")
    assert shown.count() == 1
    assert shown.get_attribute("data-metric") == "eer"


def test_the_legend_takes_a_model_out_of_the_charts(page: playwright.Page) -> None:
    curves = page.locator("svg.curves path.curve:visible")
    before = curves.count()
    page.locator(".legend button").first.click()
    assert curves.count() < before


@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_itself_never_scrolls_sideways(page: playwright.Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    wide = page.evaluate("() => document.documentElement.scrollWidth")
    assert wide <= width


def test_a_narrow_screen_has_every_bin_and_difference_without_scrolling(
    page: playwright.Page,
) -> None:
    page.set_viewport_size({"width": 400, "height": 900})
    for cards in page.locator(".scroll:has(.cards):visible").all():
        assert cards.evaluate("(each) => each.scrollWidth <= each.clientWidth")
    row = page.locator(".board:visible tbody tr").first
    labels = row.locator("td[data-label]").evaluate_all(
        "(cells) => cells.map((cell) => getComputedStyle(cell, '::before').content)"
    )
    assert labels[0] == '"mean of bins"'
    assert len(set(labels)) == 3
    hashes = page.locator("#provenance .cards .hash:visible").all_text_contents()
    assert {len(each) for each in hashes} == {64}


def test_print_unfolds_the_details_and_shows_every_figure(page: playwright.Page) -> None:
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert page.locator(".board:visible").count() == page.locator(".board").count() == 6
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)"
    )
