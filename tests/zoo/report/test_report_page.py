"""The file itself: whole, self-contained, escaped, and made without TensorFlow."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from report_store import Store, labels, noisy

from evaluator.metrics.all_figures import figures
from evaluator.metrics.sharing import slots_sharing
from evaluator.results.store import load_result, load_scores
from zoo.cli import run
from zoo.report.page import breaking, render_report, write_report
from zoo.report.selection import select

ROOT = Path(__file__).parents[3]
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Elements, attributes and text of a page, and whether every element is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute of {tag} stands twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)

    def with_tag(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def html(three_by_two: Store) -> str:
    return render_report(select(three_by_two.folder), title="Three nets on two bins")


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_nothing_in_the_file_is_fetched(page: Page, html: str) -> None:
    for _, attributes in page.elements:
        for name in ("src", "href", "action", "poster", "srcset", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), value
    assert "@import" not in html
    assert "url(" not in html
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", html)


def test_the_policy_allows_this_script_alone(page: Page, html: str) -> None:
    (policy,) = [each["content"] for each in page.with_tag("meta") if "http-equiv" in each]
    assert "default-src 'none'" in policy
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2]


def test_every_part_of_a_report_is_there(page: Page) -> None:
    found = {attributes.get("id") for attributes in page.with_tag("section")}
    assert found == {
        "summary", "leaderboard", "differences", "curves", "scores", "thresholds", "errors",
        "disagreements", "provenance",
    }  # fmt: skip
    links = {each["href"] for each in page.with_tag("a")}
    assert links <= {f"#{name}" for name in found}


def test_a_section_that_has_nothing_to_say_is_not_there(store: Store) -> None:
    genuine = labels(400)
    path, _ = store.bin("only", genuine)
    store.add("net", path, np.where(genuine, 0.9, 0.1) + np.arange(400) / 2000, genuine)
    html = render_report(select(store.folder), title="t")
    for name in ("differences", "thresholds", "disagreements"):
        assert f'id="{name}"' not in html
        assert f'"#{name}"' not in html
    assert 'id="curves"' in html


def test_names_go_on_after_their_signs_and_figures_keep_their_units() -> None:
    assert breaking("<a>_b-c 1-2 95 % (p < 0.1)") == (
        "&lt;a&gt;_b-<wbr>c 1-<wbr>2 95\u00a0% (p\u00a0&lt;\u00a00.1)"
    )


def test_figures_on_the_page_are_those_that_are_stored(page: Page, three_by_two: Store) -> None:
    for path in three_by_two.folder.glob("*/*.json"):
        stored = json.loads(path.read_text())
        assert stored["model"]["sha256"] in page.words
        assert stored["bin"]["sha256"] in page.words
        if stored["figures"] is None:
            continue
        # Drawn anew, with what is known of images and people by now.
        scores = load_scores(path, load_result(path))
        kept = np.flatnonzero(np.isfinite(scores.scores))
        sharing = slots_sharing(kept, images=scores.images, people=scores.people)
        found = figures(scores.scores[kept], scores.genuine[kept], sharing=sharing)
        low, high = found.accuracy_ci95
        assert f"{100 * found.accuracy:.2f} {100 * low:.2f} – {100 * high:.2f}" in page.words
        assert f"{100 * stored['figures']['kfold']['accuracy']:.2f}" in page.words


def test_a_report_says_why_figures_without_intervals_are_not_there(page: Page) -> None:
    said = "minDCF 0.01 and min Cllr are not shown, for want of intervals (fitted to these very"
    assert said in " ".join(page.words.split())


def test_an_invalid_result_is_listed_below_the_table(page: Page) -> None:
    assert "Not ranked broken on two : invalid: 3 images without a finite embedding" in page.words


def test_every_image_has_words_for_who_cannot_see_it(page: Page) -> None:
    images = page.with_tag("img")
    assert len(images) > 20
    assert all(each["alt"] and each["src"].startswith("data:image/jpeg") for each in images)


def test_no_faces_leaves_every_face_out(three_by_two: Store) -> None:
    html = render_report(select(three_by_two.folder), title="x", faces=False)
    assert "data:image" not in html
    assert "pair " in Page(html).words


def test_missing_faces_are_explained(store: Store) -> None:
    genuine = labels(60)
    path, _ = store.bin("lfw", genuine)
    store.add("net", path, noisy(genuine, 0.9, 1), genuine)
    path.unlink()
    page = Page(render_report(select(store.folder), title="x"))
    assert "No faces: lfw.bin is no longer where it was" in page.words
    assert not page.with_tag("img")


HOSTILE = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}"


def test_hostile_names_stay_text_everywhere(store: Store) -> None:
    genuine = labels(60)
    for shade in (0, 1):
        path, _ = store.bin(f"bin{shade}", genuine, shade=shade)
        for seed, model in enumerate((HOSTILE, HOSTILE + "2")):
            store.add(model, path, noisy(genuine, 0.5, seed), genuine, name=f"{HOSTILE}{shade}")
        store.add(HOSTILE + "3", path, noisy(genuine, 0.5, 3), genuine, name=HOSTILE, unusable=1)
    html = render_report(select(store.folder), title=HOSTILE)
    page = Page(html)
    assert html.count("<script") == 2
    assert all("onerror" not in attributes for attributes in page.with_tag("img"))
    assert all((each["src"] or "").startswith("data:") for each in page.with_tag("img"))
    assert "49" not in re.findall(r"<title>(.*?)</title>", html)[0]
    (data,) = re.findall(r'id="chart-data">(.*?)</script>', html, re.DOTALL)
    names = {curve["model"] for each in json.loads(data) for curve in each.get("curves", ())}
    assert names == {HOSTILE, HOSTILE + "2"}


def test_the_same_results_give_the_same_report_but_for_its_date(three_by_two: Store) -> None:
    def dated(html: str) -> str:
        return re.sub(r"<time.*?</time>", "", html)

    made = [render_report(select(three_by_two.folder), title="x") for _ in range(2)]
    assert dated(made[0]) == dated(made[1])


def test_a_bin_without_impostors_is_shown_with_its_reason(store: Store) -> None:
    genuine = np.ones(30, dtype=bool)
    path, _ = store.bin("same", genuine)
    store.add("net", path, np.linspace(0, 1, 30), genuine)
    page = Page(render_report(select(store.folder), title="x"))
    assert "– no impostor pairs" in page.words
    # What has nothing to show is no section.
    sections = {"Error curves", "Hardest errors", "Scores", "Which differences"}
    assert {each for each in sections if each in page.words} == {"Scores"}
    assert "None" not in page.words
    assert not re.search(r"\bnan\b(?! fail)", page.words.lower())


def test_missed_pairs_are_said_beside_figures_and_shown_as_errors(store: Store) -> None:
    genuine = labels(200)
    path, images = store.bin("lfw", genuine)
    scores = noisy(genuine, 0.5, 1)
    scores[[6, 8, 11]] = -np.inf
    store.add("net", path, scores, genuine, images=images)
    store.add("other", path, noisy(genuine, 0.5, 2), genuine, images=images)
    html = render_report(select(store.folder), title="x")
    words = Page(html).words
    assert "3 pairs missed by net, rejected at every threshold" in words
    # Beside each figure of the model, d' and the like apart, which say why there is none.
    rows = [line for line in html.splitlines() if "3 pairs missed" in line]
    assert len(rows) >= 5
    assert "missed pairs, which have no score" in words
    assert "pair 6" in words
    assert "missed" in words[words.index("Hardest errors") :]
    assert "inf" not in re.findall(r"[a-z]+", words.lower())
    assert "-Infinity" not in html
    assert not re.search(r"\bnan\b(?! fail| miss)", words.lower())


def test_a_store_of_invalid_results_alone_still_makes_a_report(store: Store) -> None:
    genuine = labels(40)
    path, _ = store.bin("lfw", genuine)
    for model in ("nan", "nought"):
        store.add(model, path, np.full(40, np.nan), genuine, unusable=2)
    page = Page(render_report(select(store.folder), title="x"))
    assert "No model can be ranked" in page.words
    assert page.words.count("without a finite embedding") == 2


def test_a_store_of_damaged_results_alone_is_refused(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    genuine = labels(40)
    path, _ = store.bin("lfw", genuine)
    store.add("net", path, noisy(genuine, 0.3, 1), genuine).write_text("torn")
    target = tmp_path / "report.html"
    assert run(["report", "-o", str(target), "--results", str(store.folder)]) == 2
    assert "none of its results can be used" in capsys.readouterr().err
    assert not target.exists()


@pytest.mark.parametrize(("output", "said"), [("no/x.html", "there is no folder"), (".", "folder")])
def test_a_report_that_cannot_be_written_is_said_first(
    three_by_two: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], output: str, said: str
) -> None:
    target = tmp_path / output
    assert run(["report", "-o", str(target), "--results", str(three_by_two.folder)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"zoo: error: -o {target}: ")
    assert said in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_the_file_and_says_what_is_in_it(
    three_by_two: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.html"
    arguments = ["report", "-o", target, "--results", three_by_two.folder, "--title", "Nets & co"]
    assert run([*map(str, arguments), "--models", "good", "poor", "--bins", "one,two"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"{target}: 2 models, 2 bins, " in captured.err
    page = Page(target.read_text(encoding="utf-8"))
    assert "Nets & co" in page.words
    assert "twin" not in page.words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--results", "nowhere"), "nowhere: no stored results there; make some with zoo eval"),
        (("--models", "absent"), "--models absent: nothing stored has that name or hash"),
        (("-o", "nowhere/x.html"), "nowhere"),
        (("-o", "."), "is a folder"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...],
    words: str,
    three_by_two: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["report", *arguments]
    if "--results" not in given:
        given += ["--results", str(three_by_two.folder)]
    assert run(given) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert words in error
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_report_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_report(target, "new")
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]
    assert target.read_text() == "old"


def test_a_report_imports_no_tensorflow(three_by_two: Store, tmp_path: Path) -> None:
    code = (
        "import sys; from zoo.cli import run; code = run(sys.argv[1:]);"
        "print(code, [m for m in ('tensorflow', 'keras', 'jax') if m in sys.modules])"
    )
    target = tmp_path / "report.html"
    command = ["report", "-o", str(target), "--results", str(three_by_two.folder)]
    done = subprocess.run(
        [sys.executable, "-c", code, *command],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.split(maxsplit=1) == ["0", "[]\n"]
    assert target.stat().st_size > 10_000


@pytest.mark.slow
def test_five_models_on_three_bins_stay_under_8_megabytes(tmp_path: Path) -> None:
    # The benchmark's own limits; its time depends on the machine and is not judged here.
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    code = (
        "import pathlib, sys; sys.path.insert(0, 'benchmarks'); import report;"
        "report.store(pathlib.Path(sys.argv[1]), models=5, bins=3, pairs=6000)"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=True, cwd=ROOT, env=environment
    )
    html = render_report(select(tmp_path / "results"), title="x")
    assert 500_000 < len(html.encode()) < 8_000_000
    assert html.count("data:image/jpeg") > 500
