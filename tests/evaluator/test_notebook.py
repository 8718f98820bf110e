"""What notebooks show of results: all that `print` shows, escaped; and names in Python."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest

import evaluator

NAME = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> evaluator.Results:
    """Two models with figures on one bin, and a third whose embeddings were not finite."""
    folder: Path = tmp_path_factory.mktemp("notebook")
    faces = [np.full((8, 8, 3), level, np.uint8) for level in range(160)]
    evaluator.write_bin(folder / "a&b.bin", faces, np.arange(80) % 2 == 0)
    bin = evaluator.read_bin(folder / "a&b.bin")
    random = np.random.default_rng(0)
    for name in (NAME, "plain", "third"):
        rows = random.normal(size=(160, 8))
        found = evaluator.evaluate_embeddings(rows, name=name, bin=bin)
        evaluator.save_results(found, folder / "results")
    return evaluator.load_results(folder / "results")


def shown(value: object) -> str:
    """The words of its HTML, which holds no more tags than a table needs."""
    html = value._repr_html_()  # type: ignore[attr-defined]
    known = {"table", "caption", "thead", "tbody", "tr", "th", "td", "p"}
    assert set(re.findall(r"</?(\w+)", html)) <= known
    assert html.count("<table>") == html.count("</table>") > 0
    return unescape(re.sub(r"<[^>]*>", " ", html))


def test_html_has_every_word_that_print_has(stored: evaluator.Results) -> None:
    first, second, third = stored
    values = [stored, first, next(iter(first)), evaluator.compare(first, second)]
    values.append(evaluator.compare([first, second, third]))
    for value in values:
        words = shown(value).split()
        for word in re.split(r"[\s:]+", repr(value)):
            assert any(word in each for each in words) or not word, word
    assert sum(NAME in shown(value) for value in values) == len(values)


def test_a_name_that_is_nowhere_is_one_line(stored: evaluator.Results) -> None:
    for wrong in (
        lambda: stored["nobody"],
        lambda: stored["plain"]["lfw"],
        lambda: evaluator.compare(list(stored))["nobody"],
    ):
        with pytest.raises(evaluator.InputError, match=r"^[^'\"\n].*(there is|meant by)") as caught:
            wrong()
        assert isinstance(caught.value, KeyError)


def test_bins_are_found_by_name_as_the_commands_find_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mean(batch: np.ndarray) -> np.ndarray:
        return batch.reshape(len(batch), -1)

    faces = [np.full((8, 8, 3), level, np.uint8) for level in range(40)]
    for folder in ("own", "datasets"):
        (tmp_path / folder).mkdir()
    evaluator.write_bin(tmp_path / "own" / "first.bin", faces, np.arange(20) % 2 == 0)
    evaluator.write_bin(tmp_path / "datasets" / "second.bin", faces, np.arange(20) % 2 == 1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZOO_DATA", str(tmp_path / "own"))
    for names in (["first", "second"], ["first.bin", "second.bin"]):
        found = evaluator.evaluate(mean, names, input="unit", size=8)
        assert [each.name for each in found] == ["first", "second"]
    with pytest.raises(evaluator.InputError, match=r"no bin 'frist'.*did you mean 'first'\?"):
        evaluator.evaluate(mean, "frist", input="unit", size=8)
