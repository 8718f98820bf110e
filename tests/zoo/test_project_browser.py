"""A projection in Debian's Chromium: hovered, kept, themed, without a request or an error."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from samples import face, png

from zoo.projection.page import Space, render_projection
from zoo.projection.pictures import Pictures, thumbnail_sheet
from zoo.report.page import write_report

playwright = pytest.importorskip(
    "playwright.sync_api", reason="needs playwright (pip install -e '.[dev]')"
)

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
PEOPLE = np.repeat(np.arange(7), [5, 5, 5, 5, 5, 4, 1])

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def projection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty images of seven people by their pixels, and by an embedding that parts them."""
    images = tuple(png(face(person, shot)) for shot, person in enumerate(PEOPLE.tolist()))
    pictures = Pictures(
        images,
        PEOPLE.astype(np.int64),
        tuple(f"person <i>{i}</i>" for i in range(7)),
        tuple(f"image {i}" for i in range(30)),
    )
    random = np.random.default_rng(0)
    pixels = random.normal(size=(30, 12)).astype(np.float32)
    embedding = (np.eye(7)[PEOPLE] + 0.1 * random.normal(size=(30, 7))).astype(np.float32)
    html = render_projection(
        "Nets <i>in</i> a browser",
        [
            Space("Pixels", "What goes in.", pixels),
            Space("Embedding", "What comes out.", embedding),
        ],
        pictures,
        thumbnail_sheet(images),
        maps=["pca", "tsne"],
    )
    path = tmp_path_factory.mktemp("projection") / "projection.html"
    write_report(path, html)
    return path


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[playwright.BrowserContext]:
    """A browser with an empty profile. $ZOO_CHROMIUM names another one."""
    found = os.environ.get("ZOO_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        missing = f"needs a Chromium: none of {', '.join(NAMES)} is on the PATH"
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
def page(context: playwright.BrowserContext, projection: Path) -> Iterator[playwright.Page]:
    """The page at 1400 x 1000; fails at its end on any message of the console or any request."""
    opened = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    opened.set_viewport_size({"width": 1400, "height": 1000})
    opened.emulate_media(color_scheme="light")
    opened.goto(projection.as_uri())
    yield opened
    opened.close()
    # Chromium's advice about these tests' own look at the pixels.
    assert [line for line in said if not line.startswith("Canvas2D: Multiple readback")] == []
    assert [url for url in asked if not url.startswith("data:")] == [projection.as_uri()]


def test_the_first_map_named_is_the_one_drawn(
    context: playwright.BrowserContext, projection: Path, tmp_path: Path
) -> None:
    first, second = '<button type="button" data-map="pca"', '<button type="button" data-map="tsne"'
    turned = projection.read_text().replace(first, "@").replace(second, first).replace("@", second)
    (tmp_path / "turned.html").write_text(turned)
    page = context.new_page()
    page.goto((tmp_path / "turned.html").as_uri())
    drawn = "document.querySelector('.map').toDataURL()"
    opened = page.evaluate(drawn)
    page.locator("[data-map=pca]").click()
    assert page.evaluate(drawn) != opened
    page.locator("[data-map=tsne]").click()
    assert page.evaluate(drawn) == opened
    page.close()


DOT = """([space, map, i]) => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const canvas = document.querySelectorAll('.map')[space];
  canvas.scrollIntoView({ block: 'center', behavior: 'instant' });
  const box = canvas.getBoundingClientRect(), [x, y] = data.maps[map][space][i];
  const scale = (canvas.clientWidth - 24) / 9999;
  return [box.left + 12 + x * scale, box.top + canvas.clientWidth - 12 - y * scale];
}"""


def dot(page: playwright.Page, i: int, space: int = 1, map: str = "pca") -> tuple[float, float]:
    """Where image ``i`` is on the screen."""
    x, y = page.evaluate(DOT, [space, map, i])
    return x, y


def colours(page: playwright.Page, space: int = 0) -> int:
    """How many pixels of a map are not empty."""
    return page.evaluate(
        """space => { const c = document.querySelectorAll('.map')[space];
        const all = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        let found = 0; for (let i = 3; i < all.length; i += 4) found += all[i] > 200;
        return found; }""",
        space,
    )


def test_both_maps_are_drawn(page: playwright.Page) -> None:
    assert colours(page, 0) > 500
    assert colours(page, 1) > 500
    assert page.locator("figcaption").all_inner_texts()[1].startswith("Embedding")
    assert "<i>in</i>" in page.locator(".eyebrow").inner_text()


def test_a_dot_shows_its_face_and_its_person_in_both_maps(page: playwright.Page) -> None:
    before = colours(page, 0)
    page.mouse.move(*dot(page, 12))
    assert page.locator("#tip").is_visible()
    assert page.locator("#tip p").inner_text() == "person <i>2</i>"
    assert page.locator("#tip small").inner_text() == "image 12, 5 images"
    # Cell 12 of six in a row: nothing to the left of it, two rows above.
    where = page.locator("#face").evaluate("each => each.style.backgroundPosition")
    assert where == "0px -192px"
    # In the other map, too, all others step back.
    assert colours(page, 0) < 0.6 * before
    page.mouse.move(5, 5)
    assert page.locator("#tip").is_hidden()
    assert colours(page, 0) == before


def test_a_click_keeps_a_person_and_the_list_does_so_too(page: playwright.Page) -> None:
    before = colours(page)
    page.mouse.click(*dot(page, 12))
    page.mouse.move(5, 5)
    assert page.locator("#person").input_value() == "2"
    assert colours(page) < 0.6 * before
    page.locator("#person").select_option("")
    assert colours(page) == before
    options = page.locator("#person option").all_inner_texts()
    assert options[1] == "person <i>0</i> (5)"
    assert not any("6" in each for each in options)  # who has one image only


def test_arrow_keys_go_from_image_to_image(page: playwright.Page) -> None:
    page.locator(".map").nth(1).focus()
    page.keyboard.press("ArrowRight")
    first = page.locator("#said").inner_text()
    assert first.startswith("person <i>0</i>, image 0")
    for key in ("ArrowRight", "ArrowUp", "ArrowLeft", "ArrowDown"):
        page.keyboard.press(key)
    assert page.locator("#said").inner_text() != first
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()


def test_the_other_map_and_the_other_theme(page: playwright.Page) -> None:
    page.get_by_role("button", name="t-SNE").click()
    page.mouse.move(*dot(page, 20, map="tsne"))
    assert page.locator("#tip small").inner_text() == "image 20, 5 images"
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light


def test_a_phone_needs_no_sideways_scrolling(page: playwright.Page) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    page.mouse.move(*dot(page, 0))
    box = page.locator("#tip").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 400
