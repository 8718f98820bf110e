"""`zoo verify`: published figures beside stored ones, and which bins they are of."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import Outcome, Zoo, write_pairs
from stores import cosines, labels, sha, store, with_flip

from evaluator.metrics.protocols import kfold, seed

PAIRS = 6000  # as the public lfw has


def registry(folder: Path, published: str, *, name: str = "mine", sha256: str = "") -> None:
    (folder / "models.yaml").write_text(
        f"models:\n  {name}:\n    file: gone.h5\n    input: {{profile: unit}}\n    source: a test\n"
        f"    sha256: {sha256 or sha('mine')}\n    published: {{{published}}}\n"
    )


def rows(done: Outcome) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(done.out)["checks"]
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a model called otherwise than its entry, on a bin of lfw's size."""
    folder = tmp_path_factory.mktemp("made") / "results"
    store(folder, "other name", cosines(PAIRS, noise=0.5, seed=1), model_hash=sha("mine"))
    return folder


@pytest.fixture
def scores(made: Path, tmp_path: Path) -> np.ndarray:
    """The scores of these results, which are there."""
    shutil.copytree(made, tmp_path / "results")
    return cosines(PAIRS, noise=0.5, seed=1)


def test_stored_scores_answer_without_weights(zoo: Zoo, tmp_path: Path, scores: np.ndarray) -> None:
    best = seed(scores, labels(PAIRS)).accuracy
    registry(tmp_path, f"protocol: seed, lfw: {{accuracy: {best + 0.001:.6f}}}")
    done = zoo("verify", "mine", "--format", "json")
    (row,) = rows(done)
    assert (done.code, row["word"], row["ours"]) == (0, "agrees", best)
    assert row["difference"] == pytest.approx(-0.001, abs=1e-6)
    assert row["low95"] < best < row["high95"]
    mean = kfold(scores, labels(PAIRS)).accuracy
    registry(tmp_path, f"protocol: kfold, lfw: {{accuracy: {mean:.6f}}}")
    assert rows(zoo("verify", "mine", "--format", "json"))[0]["ours"] == mean


def test_the_table_fits_80_columns_and_says_what_another_bin_can_do(
    zoo: Zoo, tmp_path: Path, scores: np.ndarray
) -> None:
    published = "protocol: seed, lfw: {accuracy: 0.99}, agedb_30: {accuracy: 0.9}"
    registry(tmp_path, published, name="mobilenet_emb256")
    done = zoo("verify", "--all")
    title, header, lfw, agedb, *notes = done.out.splitlines()
    assert header.split() == ["model", "bin", "published", "ours", "diff", "95%", "word"]
    assert max(map(len, (title, header, lfw, agedb))) <= 80
    assert (done.code, lfw.split()[-1]) == (1, "differs")
    assert agedb.split()[2:] == ["90.00", "-", "-", "-", "not_measured"]
    said = "\n".join(notes)
    assert "not measured, its weights are not here: mobilenet_emb256" in said
    assert f"nobody stated the SHA-256 of the published one: lfw ({sha('lfw')[:8]})" in said
    assert "moved LFW by 0.2 to 1.3 points" in said


@pytest.mark.parametrize("format", ["csv", "markdown", "latex"])
def test_other_forms_say_the_same(
    zoo: Zoo, tmp_path: Path, scores: np.ndarray, format: str
) -> None:
    registry(tmp_path, "protocol: seed, lfw: {accuracy: 0.5}")
    done = zoo("verify", "--all", "--format", format)
    assert done.code == 1
    if format == "csv":
        (row,) = csv.DictReader(io.StringIO(done.out))
        assert (row["model"], row["bin"], row["word"]) == ("mine", "lfw", "differs")
        assert float(row["ours"]) == seed(scores, labels(PAIRS)).accuracy
    else:
        assert "differs" in done.out


def test_a_bin_that_cannot_be_the_published_one_is_another(zoo: Zoo, tmp_path: Path) -> None:
    accuracy = seed(few := cosines(600, noise=0.5, seed=1), labels(600)).accuracy
    store(tmp_path / "results", "mine", few)
    registry(tmp_path, f"protocol: seed, lfw: {{accuracy: {accuracy}}}")
    done = zoo("verify", "mine", "--format", "json")
    (row,) = rows(done)
    assert (done.code, row["word"], row["ours"]) == (1, "other bin", accuracy)
    assert row["why"] == "600 pairs, 300 genuine; the published one has 6,000, half genuine"
    # Of two bins of that name, the one that may be it.
    store(tmp_path / "results", "mine", cosines(PAIRS, noise=0.5, seed=1), bin_hash=sha("whole"))
    (row,) = rows(zoo("verify", "mine", "--format", "json"))
    assert (row["bin_sha256"], row["word"] == "other bin") == (sha("whole"), False)


@pytest.mark.parametrize(
    ("key", "word"),
    [
        (f"lfw: {{accuracy: 0.99, sha256: {sha('lfw')}}}", "differs"),
        (f"lfw: {{accuracy: 0.99, sha256: {sha('raw')}}}", "other bin"),
        ("images: aligned by YuNet, lfw: {accuracy: 0.99}", "other bin"),
    ],
)
def test_an_entry_says_which_bin_its_figures_are_of(
    zoo: Zoo, tmp_path: Path, scores: np.ndarray, key: str, word: str
) -> None:
    registry(tmp_path, f"protocol: seed, {key}")
    (row,) = rows(zoo("verify", "mine", "--format", "json"))
    assert row["word"] == word
    if "images" in key:
        assert row["why"] == "the published figure is on other images: aligned by YuNet"


def test_what_is_noted_beside_a_bin_tells_it(zoo: Zoo, tmp_path: Path, scores: np.ndarray) -> None:
    from zoo.entries.public_bins import MADE_HERE, PUBLIC, keep_origin

    registry(tmp_path, "protocol: seed, lfw: {accuracy: 0.99}")
    beside = tmp_path / "lfw.bin"  # where the result says its bin was
    found = {}
    for origin in (PUBLIC["lfw"].url, f"{MADE_HERE} funneled", "https://example.org/lfw.bin"):
        keep_origin(beside, sha("lfw"), str(origin))
        (row,) = rows(zoo("verify", "mine", "--format", "json"))
        found[row["why"]] = row["word"]
    assert found == {
        f"fetched from {PUBLIC['lfw'].url}": "differs",
        "made here: funneled": "other bin",
        "nobody stated the SHA-256 of the published one": "differs",
    }
    keep_origin(beside, sha("another file"), f"{MADE_HERE} funneled")
    assert rows(zoo("verify", "mine", "--format", "json"))[0]["word"] == "differs"


def test_results_of_other_settings_or_files_do_not_answer(zoo: Zoo, tmp_path: Path) -> None:
    scores = cosines(PAIRS, noise=0.5, seed=1)
    store(tmp_path / "results", "mine", scores, settings=with_flip("sum"))
    store(tmp_path / "results", "mine", scores, profile="raw")
    store(tmp_path / "results", "mine", scores, model_hash=sha("another"))
    registry(tmp_path, "protocol: seed, lfw: {accuracy: 0.9}")
    done = zoo("verify", "--all", "--format", "json")
    assert (done.code, rows(done)[0]["word"]) == (1, "not measured")
    assert "its weights are not at" in zoo("verify", "mine").error_lines[0]


def test_damaged_scores_are_one_line_and_no_figure(
    zoo: Zoo, tmp_path: Path, scores: np.ndarray
) -> None:
    registry(tmp_path, "protocol: seed, lfw: {accuracy: 0.9}")
    (file,) = (tmp_path / "results").glob("*/*.h5")
    file.write_bytes(b"no HDF5")
    done = zoo("verify", "--all", "--format", "json")
    assert (done.code, rows(done)[0]["word"], len(done.error_lines)) == (2, "not measured", 1)
    assert str(file.relative_to(tmp_path)) in done.error_lines[0]


def test_entries_or_all_are_asked_for(zoo: Zoo, tmp_path: Path) -> None:
    registry(tmp_path, "protocol: seed, lfw: {accuracy: 0.9}")
    for asked in ((), ("mine", "--all")):
        done = zoo("verify", *asked)
        assert (done.code, done.error_lines) == (
            2, ["zoo: error: verify: give entries, or --all"],
        )  # fmt: skip


def test_one_entry_that_fails_leaves_the_others(
    zoo: Zoo, tmp_path: Path, scores: np.ndarray
) -> None:
    registry(tmp_path, "protocol: seed, lfw: {accuracy: 0.9}")
    with (tmp_path / "models.yaml").open("a") as file:
        file.write(
            f"  torn:\n    file: torn.h5\n    input: {{profile: unit}}\n    source: a test\n"
            f"    sha256: {sha('torn')}\n"
            "    published: {protocol: seed, lfw: {accuracy: 0.9}}\n"
        )
    (tmp_path / "torn.h5").write_bytes(b"no model")
    write_pairs(tmp_path / "lfw.bin", people=2)
    done = zoo("verify", "--all", "--format", "json")
    mine, torn = rows(done)
    assert (done.code, mine["word"], torn["word"]) == (2, "differs", "not measured")
    assert len(done.error_lines) == 1
    assert "torn.h5" in torn["why"]
    assert zoo("verify", "torn").error_lines == done.error_lines
