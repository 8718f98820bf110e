"""`zoo eval`, from names to the table, on small bins and tiny models."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from samples import SIZE, Zoo, face, png, write_pairs

from evaluator.bins.verification_set import read_bin, write_bin
from evaluator.results.store import load_result, load_scores
from tests.small_models import save_any_size, save_projection


def figures_of(text: str) -> list[dict[str, Any]]:
    return [result["figures"] for result in json.loads(text)]


def test_a_table_and_a_stored_result_come_out(zoo: Zoo, models: Path, bins: Path) -> None:
    done = zoo("eval", models / "a.onnx", "--input", "raw", "--bins", bins / "easy.bin")
    assert done.code == 0
    assert done.err == ""
    header, row = done.out.splitlines()
    assert header.split() == ["model", "easy", "threshold", "10-fold", "note"]
    assert row.split()[0] == "a"
    (stored,) = Path("results").glob("a-*/easy-*.raw.json")
    accuracy = json.loads(stored.read_text())["figures"]["accuracy"]
    assert row.split()[1] == f"{100 * accuracy:.2f}"


def test_figures_are_those_of_numpy_and_scikit_learn(zoo: Zoo, models: Path, bins: Path) -> None:
    from sklearn.metrics import roc_auc_score

    done = zoo(
        "eval", models / "a.onnx", "--input", "raw", "--bins", bins / "easy.bin", "--json", "-"
    )
    (figures,) = figures_of(done.out)
    # The model restated: the same random matrix, and cosines of the pixels it projects.
    weights = np.random.default_rng(1).normal(size=(SIZE * SIZE * 3, 16))
    verification_set = read_bin(bins / "easy.bin")
    pixels = [np.asarray(Image.open(io.BytesIO(i))) for i in verification_set.images]
    embeddings = np.stack(pixels).reshape(len(pixels), -1) @ weights
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    scores = (embeddings[0::2] * embeddings[1::2]).sum(axis=1)
    genuine = verification_set.genuine
    best = max(((scores > t) == genuine).mean() for t in [-2, *scores])
    assert figures["accuracy"] == pytest.approx(best, abs=1e-12)
    assert figures["auc"] == pytest.approx(roc_auc_score(genuine, scores), abs=1e-9)


def test_every_way_to_name_bins_means_the_same(zoo: Zoo, models: Path, bins: Path) -> None:
    a, b = models / "a.onnx", models / "b.onnx"
    easy, other = bins / "easy.bin", bins / "other.bin"
    ways: list[tuple[object, ...]] = [
        (a, b, "--bins", easy, other),
        (a, b, "--bins", f"{easy},{other}"),
        (a, b, "--bins", easy, "--bins", other),
        ("--bins", easy, other, "--", a, b),
        ("--bins", easy, other, "--input", "unit", a, b),
        (a, b, "--data", bins, "--bins", "easy", "other"),
        (a, b, "--bins", "easy", "other", "--data", bins),
    ]
    tables = {zoo("eval", *way).out for way in ways}
    assert len(tables) == 1
    assert len(tables.pop().splitlines()) == 3


def test_without_bins_every_bin_found_is_used_and_said(
    zoo: Zoo, models: Path, bins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_DATA", str(bins))
    done = zoo("eval", models / "a.onnx")
    assert "no --bins given: using every bin found: easy other" in done.err
    assert done.out.split()[:2] == ["model", "easy"]
    assert "other" in done.out.splitlines()[0]


def test_without_bins_and_with_none_found_it_is_an_error(zoo: Zoo, models: Path) -> None:
    done = zoo("eval", models / "a.onnx")
    assert done.code == 2
    assert "no --bins given" in done.error_lines[0]
    assert "--data DIR" in done.error_lines[0]


def test_asking_again_is_answered_from_the_store_and_said(
    zoo: Zoo, models: Path, bins: Path
) -> None:
    first = zoo("eval", models / "a.onnx", "--bins", bins / "easy.bin")
    again = zoo("eval", models / "a.onnx", "--bins", bins / "easy.bin")
    assert "store" not in first.err
    assert "all results answered from the store; --fresh measures again" in again.err
    assert again.out == first.out
    more = zoo("eval", models / "a.onnx", "--bins", bins / "easy.bin", bins / "other.bin")
    assert "1 of 2 results answered from the store" in more.err


def test_fresh_measures_again(zoo: Zoo, models: Path, bins: Path) -> None:
    zoo("eval", models / "a.onnx", "--bins", bins / "easy.bin")
    (stored,) = Path("results").glob("*/*.json")
    before = stored.stat().st_mtime_ns
    done = zoo("eval", models / "a.onnx", "--bins", bins / "easy.bin", "--fresh")
    assert "store" not in done.err
    assert stored.stat().st_mtime_ns > before
    assert len(list(stored.parent.iterdir())) == 2  # the old scores are gone


def test_a_damaged_stored_result_is_measured_again(zoo: Zoo, models: Path, bins: Path) -> None:
    first = zoo("eval", models / "a.onnx", "--bins", bins / "easy.bin")
    (stored,) = Path("results").glob("*/*.json")
    stored.write_text(stored.read_text()[:100])
    again = zoo("eval", models / "a.onnx", "--bins", bins / "easy.bin")
    assert again.code == 0
    assert "measured again" in again.err
    assert again.out == first.out


def test_a_stored_result_of_other_settings_or_name_is_no_answer(
    zoo: Zoo, models: Path, bins: Path
) -> None:
    zoo("eval", models / "a.onnx", "--bins", bins / "easy.bin")
    (stored,) = Path("results").glob("*/*.json")
    result = json.loads(stored.read_text())
    for part, key, value in (("settings", "flip", "sum"), ("model", "name", "b")):
        stored.write_text(json.dumps({**result, part: {**result[part], key: value}}))
        assert "store" not in zoo("eval", models / "a.onnx", "--bins", bins / "easy.bin").err


def test_an_entry_whose_size_was_edited_is_measured_again(
    zoo: Zoo, bins: Path, tmp_path: Path
) -> None:
    save_any_size(tmp_path / "any.onnx")
    seen = []
    for size in (4, 6, 6):
        Path("models.yaml").write_text(
            f"models:\n  any:\n    file: any.onnx\n    source: a test\n"
            f"    input: {{profile: unit, size: {size}}}\n"
        )
        done = zoo("eval", "any", "--bins", bins / "easy.bin", "--json", "-")
        (result,) = json.loads(done.out)
        seen.append((result["model"]["input"]["size"], "answered from the store" in done.err))
    assert seen == [([4, 4], False), ([6, 6], False), ([6, 6], True)]


def test_a_changed_model_of_the_same_name_is_measured(
    zoo: Zoo, models: Path, bins: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    shutil.copy(models / "a.onnx", path)
    first = zoo("eval", path, "--bins", bins / "easy.bin")
    shutil.copy(models / "b.onnx", path)
    second = zoo("eval", path, "--bins", bins / "easy.bin")
    assert "store" not in second.err
    assert first.out != second.out


def each_has_a_result_of_its_own(zoo: Zoo, model: Path, bin: Path, ways: list[str]) -> None:
    base = ("eval", model, "--bins", bin)
    for way in ways:
        assert "store" not in zoo(*base, *way.split()).err
    assert len(list(Path("results").glob("*/*.json"))) == len(ways)
    for way in ways:
        assert "answered from the store" in zoo(*base, *way.split()).err


def test_other_settings_have_results_of_their_own(zoo: Zoo, models: Path, bins: Path) -> None:
    ways = ["", "--flip sum", "--input raw", "--input symmetric", "--channels bgr"]
    ways += ["--nan drop", "--decoder fast"]
    if importlib.util.find_spec("openvino"):
        ways.append("--engine openvino")
    each_has_a_result_of_its_own(zoo, models / "a.onnx", bins / "easy.bin", ways)


@pytest.mark.usefixtures("same_process")
def test_another_precision_has_a_result_of_its_own(
    zoo: Zoo, keras_models: Path, bins: Path
) -> None:
    ways = ["", "--precision bfloat16"]
    each_has_a_result_of_its_own(zoo, keras_models / "c.keras", bins / "easy.bin", ways)


def test_json_on_stdout_stands_alone(zoo: Zoo, models: Path, bins: Path) -> None:
    done = zoo(
        "eval", models / "a.onnx", models / "b.onnx", "--bins", bins / "easy.bin", "--json", "-"
    )
    results = json.loads(done.out)
    assert [result["model"]["name"] for result in results] == ["a", "b"]
    assert done.code == 0


def test_json_in_a_file_comes_with_the_table(zoo: Zoo, models: Path, bins: Path) -> None:
    done = zoo("eval", models / "a.onnx", "--bins", bins / "easy.bin", "--json", "found.json")
    assert done.out.startswith("model")
    (result,) = json.loads(Path("found.json").read_text())
    assert result["bin"]["pairs"] == 60
    assert sorted(path.name for path in Path().iterdir()) == ["found.json", "results"]


@pytest.mark.parametrize(
    ("target", "complaint"), [("no/such/x.json", "no folder no/such"), (".", "a folder")]
)
def test_a_json_target_that_cannot_be_is_refused_before_the_work(
    zoo: Zoo, models: Path, bins: Path, target: str, complaint: str
) -> None:
    done = zoo("eval", models / "a.onnx", "--bins", bins / "easy.bin", "--json", target)
    assert done.code == 2
    assert complaint in done.error_lines[0]
    assert not Path("results").exists()


@pytest.fixture(scope="session")
def dark_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """easy.bin's pairs with a black first pixel in slots 4 and 30, so in pairs 2 and 15."""
    path = write_pairs(tmp_path_factory.mktemp("dark") / "dark.bin")
    images = list(read_bin(path).images)
    for slot in (4, 30):
        pixels = face(90 + slot, 0)
        pixels[0, 0] = 0
        images[slot] = png(pixels)
    write_bin(path, images, read_bin(path).genuine)
    return path


def test_embeddings_that_are_not_finite_score_nothing(
    zoo: Zoo, models: Path, dark_bin: Path
) -> None:
    done = zoo("eval", models / "dark.onnx", "--bins", dark_bin, "--json", "-")
    assert done.code == 1
    (result,) = json.loads(done.out)
    assert result["status"] == "non_finite"
    assert result["figures"] is None
    assert result["non_finite"] == {"count": 2, "images": [4, 30], "dropped_pairs": 0}
    again = zoo("eval", models / "dark.onnx", "--bins", dark_bin)
    assert again.code == 1
    assert "answered from the store" in again.err
    assert "non_finite:2" in again.out


def test_non_finite_images_are_named_for_the_user(zoo: Zoo, models: Path, dark_bin: Path) -> None:
    done = zoo("eval", models / "dark.onnx", "--bins", dark_bin)
    assert done.code == 1
    (line,) = [line for line in done.err.splitlines() if "finite" in line]
    assert "dark on dark: 2 images" in line
    assert "image 4, 30;" in line
    assert "--nan drop" in line


def test_dropped_pairs_are_left_out_and_counted(zoo: Zoo, models: Path, dark_bin: Path) -> None:
    done = zoo("eval", models / "dark.onnx", "--bins", dark_bin, "--nan", "drop", "--json", "-")
    assert done.code == 0
    (result,) = json.loads(done.out)
    assert result["status"] == "ok"
    assert result["non_finite"]["dropped_pairs"] == 2
    assert result["bin"]["pairs"] == 60
    table = zoo("eval", models / "dark.onnx", "--bins", dark_bin, "--nan", "drop").out
    assert "dropped:2" in table
    # Without the two pairs the bin gives the same figures.
    whole = read_bin(dark_bin)
    keep = [pair for pair in range(60) if pair not in (2, 15)]
    images = [whole.images[slot] for pair in keep for slot in (2 * pair, 2 * pair + 1)]
    write_bin(Path("kept.bin"), images, whole.genuine[keep])
    alone = zoo("eval", models / "dark.onnx", "--bins", "kept.bin", "--json", "-")
    kept, dropped = figures_of(alone.out)[0], result["figures"]
    assert dropped["accuracy"] == kept["accuracy"]
    assert dropped["threshold"] == pytest.approx(kept["threshold"], abs=1e-6)
    assert dropped["auc"] == pytest.approx(kept["auc"], abs=1e-9)


def test_missed_pairs_are_rejected_at_every_threshold_and_counted(
    zoo: Zoo, models: Path, dark_bin: Path
) -> None:
    dropped = zoo("eval", models / "dark.onnx", "--bins", dark_bin, "--nan", "drop", "--json", "-")
    ask = ("eval", models / "dark.onnx", "--bins", dark_bin, "--nan", "miss")
    done = zoo(*ask, "--json", "-")
    assert done.code == 0
    (result,) = json.loads(done.out)
    assert result["status"] == "ok"
    assert result["settings"]["nan"] == "miss"
    assert result["non_finite"]["missed_pairs"] == 2
    assert result["non_finite"]["dropped_pairs"] == 0
    again = zoo(*ask)
    assert "answered from the store" in again.err
    assert "missed:2" in again.out
    # The scores of the pairs that have some are those of --nan drop, the others are below all.
    (path,) = Path("results").glob("*/*.nan-miss.json")
    (other,) = Path("results").glob("*/*.nan-drop.json")
    scores = load_scores(path, load_result(path)).scores
    kept = load_scores(other, load_result(other)).scores
    assert np.flatnonzero(np.isneginf(scores)).tolist() == [2, 15]
    assert np.flatnonzero(np.isnan(kept)).tolist() == [2, 15]
    at = [pair not in (2, 15) for pair in range(60)]
    assert scores[at].tolist() == kept[at].tolist()
    genuine, figures = read_bin(dark_bin).genuine, result["figures"]
    highest = np.sort(scores[~genuine])[::-1]
    tar = figures["tar_at_far"]["0.1"]
    threshold = highest[int(0.1 * len(highest))]
    assert tar["tar"] == pytest.approx((scores[genuine] > threshold).sum() / genuine.sum())
    assert tar["far"] == pytest.approx((scores[~genuine] > threshold).sum() / (~genuine).sum())
    assert figures["tar_at_far"] != figures_of(dropped.out)[0]["tar_at_far"]


def test_missing_every_pair_leaves_figures_undefined(zoo: Zoo, models: Path, bins: Path) -> None:
    ask = ("eval", models / "nan.onnx", "--bins", bins / "easy.bin", "--nan", "miss")
    done = zoo(*ask, "--json", "-")
    assert done.code == 0
    (result,) = json.loads(done.out)
    assert result["non_finite"]["missed_pairs"] == 60
    assert (result["figures"]["accuracy"], result["figures"]["kfold"]) == (None, None)
    assert "undefined,missed:60" in zoo(*ask).out
    assert zoo("report", "-o", "page.html", "--no-faces").code == 0
    assert "60 pairs missed" in Path("page.html").read_text()


def test_dropping_every_pair_leaves_figures_undefined(zoo: Zoo, models: Path, bins: Path) -> None:
    done = zoo(
        "eval", models / "nan.onnx", "--bins", bins / "easy.bin", "--nan", "drop", "--json", "-"
    )
    (result,) = json.loads(done.out)
    assert result["non_finite"]["dropped_pairs"] == 60
    assert result["figures"]["accuracy"] is None
    table = zoo("eval", models / "nan.onnx", "--bins", bins / "easy.bin", "--nan", "drop").out
    assert "undefined,dropped:60" in table


def test_one_broken_model_leaves_the_others_results(
    zoo: Zoo, models: Path, bins: Path, tmp_path: Path
) -> None:
    torn = tmp_path / "torn.onnx"
    torn.write_bytes((models / "a.onnx").read_bytes()[:-200])
    done = zoo(
        "eval", models / "a.onnx", torn, models / "b.onnx", "--input", "unit",
        "--bins", bins / "easy.bin",
    )  # fmt: skip
    assert done.code == 2
    assert [line.split()[0] for line in done.out.splitlines()] == ["model", "a", "b"]
    (line,) = done.error_lines
    assert "torn.onnx" in line


def test_an_image_that_does_not_decode_leaves_the_bins_before(
    zoo: Zoo, models: Path, bins: Path
) -> None:
    images = list(read_bin(bins / "other.bin").images)
    images[7] = images[7][:60]
    write_bin(Path("cut.bin"), images, read_bin(bins / "other.bin").genuine)
    done = zoo("eval", models / "a.onnx", "--bins", bins / "easy.bin", "cut.bin")
    assert done.code == 2
    (line,) = done.error_lines
    assert "cut.bin: image 7 (pair 3)" in line
    assert done.out.splitlines()[1].split()[0] == "a"


def test_resizing_is_said_once_a_run(zoo: Zoo, models: Path, bins: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.onnx"
    save_projection(second, side=4, seed=9)
    done = zoo(
        "eval", models / "small.onnx", second, "--input", "unit",
        "--bins", bins / "easy.bin", bins / "other.bin",
    )  # fmt: skip
    assert done.err.splitlines() == ["images of 8x8 are resized to 4x4, the model's input"]


def test_nothing_is_said_of_resizing_where_there_is_none(
    zoo: Zoo, models: Path, bins: Path
) -> None:
    done = zoo("eval", models / "a.onnx", "--input", "unit", "--bins", bins / "easy.bin")
    assert done.err == ""


def test_an_assumed_input_range_is_said(zoo: Zoo, models: Path, bins: Path) -> None:
    done = zoo("eval", models / "a.onnx", "--bins", bins / "easy.bin")
    assert "a: no --input given: assuming 'unit'" in done.err


def test_the_batch_size_does_not_change_figures(zoo: Zoo, models: Path, bins: Path) -> None:
    seen = []
    for size in (1, 7, 64):
        done = zoo(
            "eval", models / "a.onnx", "--bins", bins / "easy.bin", "--batch-size", size,
            "--fresh", "--json", "-",
        )  # fmt: skip
        (figures,) = figures_of(done.out)
        seen.append([figures[name] for name in ("accuracy", "threshold", "auc", "eer")])
    assert np.allclose(seen[0], seen[1], rtol=0, atol=1e-6)
    assert np.allclose(seen[0], seen[2], rtol=0, atol=1e-6)


def test_two_bins_of_one_name_are_two_columns(
    zoo: Zoo, models: Path, bins: Path, tmp_path: Path
) -> None:
    (tmp_path / "new").mkdir()
    shutil.copy(bins / "other.bin", tmp_path / "new" / "easy.bin")
    done = zoo("eval", models / "a.onnx", "--bins", bins / "easy.bin", "new/easy.bin")
    first, second = (read_bin(p).sha256[:8] for p in (bins / "easy.bin", Path("new/easy.bin")))
    header = done.out.splitlines()[0].split()
    assert header[1] == f"easy_({first})"
    assert header[5] == f"easy_({second})"


def test_a_copy_of_a_bin_has_a_column_and_a_result_of_its_own(
    zoo: Zoo, models: Path, bins: Path
) -> None:
    shutil.copy(bins / "easy.bin", "copy.bin")
    done = zoo("eval", models / "a.onnx", "--bins", bins / "easy.bin", "copy.bin", "--json", "-")
    results = json.loads(done.out)
    assert [result["bin"]["name"] for result in results] == ["easy", "copy"]
    assert results[0]["figures"] == results[1]["figures"]
    assert results[1]["cost"]["images_per_second"] == 0  # nothing new to embed


def test_an_entry_brings_its_range_and_is_checked_by_hash(
    zoo: Zoo, models: Path, bins: Path
) -> None:
    def write(sha256: str) -> None:
        Path("models.yaml").write_text(
            f"models:\n  mine:\n    file: {models}/a.onnx\n    sha256: {sha256}\n"
            "    input: {profile: symmetric}\n    source: a test\n"
        )

    write("")
    done = zoo("eval", "mine", "--bins", bins / "easy.bin", "--json", "-")
    (result,) = json.loads(done.out)
    assert result["model"]["input"]["range"] == "symmetric"
    assert result["model"]["name"] == "mine"
    assert done.err == ""
    write("ab" * 32)
    done = zoo("eval", "mine", "--bins", bins / "easy.bin")
    assert done.code == 2
    assert "this is another file than the entry's" in done.error_lines[0]


def test_a_results_folder_that_is_a_file_is_refused_in_one_line(
    zoo: Zoo, models: Path, bins: Path
) -> None:
    Path("taken").write_text("")
    done = zoo("eval", models / "a.onnx", "--bins", bins / "easy.bin", "--results", "taken")
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert "taken" in done.error_lines[0]


@pytest.mark.parametrize(
    "option", ["--flip", "--decoder", "--precision", "--nan", "--input", "--channels"]
)
def test_an_unknown_value_lists_the_choices(
    zoo: Zoo, models: Path, bins: Path, option: str
) -> None:
    done = zoo("eval", models / "a.onnx", "--bins", bins / "easy.bin", option, "rgbb")
    assert done.code == 2
    assert f"unknown {option} 'rgbb': expected one of " in done.error_lines[0]
