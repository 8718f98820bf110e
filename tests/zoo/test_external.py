"""`zoo eval --scores` and `--embeddings`: other systems in the same store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from samples import Zoo
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score
from stores import cosines, labels

from evaluator.bins.verification_set import read_bin, write_bin
from evaluator.metrics.protocols import kfold

RESULTS = Path("results")


def stored(zoo: Zoo, *arguments: object) -> dict[str, Any]:
    done = zoo("eval", *arguments, "--json", "-")
    assert done.code == 0, done.err
    (result,) = json.loads(done.out)
    found: dict[str, Any] = result
    return found


def write_scores(
    path: Path, scores: NDArray[np.float64], genuine: NDArray[np.bool_], header: str = ""
) -> Path:
    rows = [f"{float(score)!r},{int(label)}" for score, label in zip(scores, genuine, strict=True)]
    path.write_text("\n".join([*([header] if header else []), *rows]) + "\n")
    return path


def test_a_score_list_becomes_a_result_with_the_figures_of_its_scores(zoo: Zoo) -> None:
    scores = cosines(400, noise=1, seed=1)
    path = write_scores(Path("vendor.csv"), scores, labels(400))
    result = stored(zoo, "--scores", path)
    assert result["figures"]["auc"] == pytest.approx(roc_auc_score(labels(400), scores))
    assert (result["model"]["name"], result["model"]["format"]) == ("vendor", "scores")
    assert (result["bin"]["pairs"], result["bin"]["genuine"]) == (400, 200)
    assert result["bin"]["unique_images"] == 0


@pytest.mark.parametrize(
    "text",
    [
        "score,label\n0.9,1\n0.1,0\n",
        "\ufeffScore;Label\r\n0.9;Genuine\r\n0.1;Impostor\r\n",
        "0.9\ttrue\n\n0.1\tfalse",
        "pair,genuine,score\nx,1,0.9\ny,0,0.1\n",
    ],
)
def test_layouts_of_text_are_read_alike(zoo: Zoo, text: str) -> None:
    Path("s.csv").write_text(text, encoding="utf-8", newline="")
    result = stored(zoo, "--scores", "s.csv")
    assert (result["bin"]["genuine"], result["bin"]["impostor"]) == (1, 1)
    assert result["figures"]["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("score,label\n0.9,1\n0.1,maybe\n", 3, "found 'maybe'"),
        ("0.9,1\nhigh,0\n", 2, "expected a number as score; found 'high'"),
        ("0.9,1\n\n0.2\n", 3, "expected score,label; found '0.2'"),
        ("name,value\n0.9,1\n", 1, "a header that names these columns"),
        ('0.9,1\n"0.2,0\n0.3,1\n', 2, "found '\"0.2'"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(zoo: Zoo, text: str, line: int, said: str) -> None:
    Path("s.csv").write_text(text)
    done = zoo("eval", "--scores", "s.csv")
    assert done.code == 2
    assert done.error_lines[0].startswith(f"zoo: error: s.csv:{line}: ")
    assert said in done.error_lines[0]
    assert not RESULTS.exists()


def test_npz_scores_are_those_of_the_text(zoo: Zoo) -> None:
    scores = cosines(400, noise=1, seed=1)
    write_scores(Path("a.csv"), scores, labels(400))
    np.savez("b.npz", score=scores, label=labels(400).astype(int))
    one, other = (stored(zoo, "--scores", name)["figures"] for name in ("a.csv", "b.npz"))
    assert one == other


def test_a_pickle_inside_a_npz_is_not_loaded(zoo: Zoo) -> None:
    class Touch:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path("ran"),)  # type: ignore[return-value]

    np.savez("evil.npz", score=np.array([Touch(), 0.5], dtype=object), label=np.array([1, 0]))
    done = zoo("eval", "--scores", "evil.npz")
    assert done.code == 2
    assert "evil.npz: array 'score' cannot be read" in done.error_lines[0]
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"value": [1.0], "label": [1]}, "expected an array named score or scores; found value"),
        ({"score": [[1.0]], "label": [1]}, "expected one score and one label a pair"),
        ({"score": [1.0, 2.0], "label": [1]}, "shape (2,) and labels of shape (1,)"),
        ({"score": [1.0, 2.0], "label": [1, 2]}, "label[1]: expected 1, true, genuine"),
        ({"score": ["a"], "label": [1]}, "score must be numbers"),
        ({"score": [], "label": []}, "holds no pairs"),
    ],
)
def test_wrong_arrays_are_one_line(zoo: Zoo, arrays: dict[str, Any], said: str) -> None:
    np.savez("s.npz", **{name: np.array(values) for name, values in arrays.items()})
    done = zoo("eval", "--scores", "s.npz")
    assert done.code == 2
    assert said in done.error_lines[0]


def test_embeddings_are_scored_by_their_cosine(zoo: Zoo) -> None:
    embeddings = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    genuine = labels(30)
    np.savez("e.npz", embeddings=embeddings, genuine=genuine)
    result = stored(zoo, "--embeddings", "e.npz", "--name", "torch")
    left, right = embeddings[0::2].astype(float), embeddings[1::2].astype(float)
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosine = (left * right).sum(axis=1) / norms
    assert result["figures"]["auc"] == pytest.approx(roc_auc_score(genuine, cosine))
    assert np.abs(cosine - result["figures"]["threshold"]).min() < 1e-12
    assert result["model"]["embedding_size"] == 8
    assert result["model"]["name"] == "torch"


def test_embeddings_of_a_bin_take_order_and_labels_from_it(zoo: Zoo, bins: Path) -> None:
    of_bin = read_bin(bins / "easy.bin")
    embeddings = np.random.default_rng(0).normal(size=(2 * of_bin.pairs, 8))
    np.savez("e.npz", embeddings=embeddings)
    result = stored(zoo, "--embeddings", "e.npz", "--bins", bins / "easy.bin")
    assert result["bin"]["sha256"] == of_bin.sha256
    assert result["bin"]["genuine"] == of_bin.genuine_pairs
    assert result["bin"]["unique_images"] == len(set(of_bin.images))


def test_an_embedding_that_is_not_finite_fails_or_drops_its_pair(zoo: Zoo) -> None:
    embeddings = np.random.default_rng(0).normal(size=(60, 8))
    embeddings[6, 0], embeddings[21] = np.nan, 0.0
    np.savez("e.npz", embeddings=embeddings, genuine=labels(30))
    failed = zoo("eval", "--embeddings", "e.npz", "--json", "-")
    assert failed.code == 1
    (result,) = json.loads(failed.out)
    assert (result["status"], result["figures"]) == ("non_finite", None)
    assert result["non_finite"]["images"] == [6, 21]
    dropped = stored(zoo, "--embeddings", "e.npz", "--nan", "drop")
    assert dropped["non_finite"]["dropped_pairs"] == 2


def test_a_score_that_is_not_finite_fails_or_is_dropped(zoo: Zoo) -> None:
    scores = cosines(100, noise=1, seed=1)
    scores[4] = np.inf
    path = write_scores(Path("s.csv"), scores, labels(100))
    assert zoo("eval", "--scores", path).code == 1
    result = stored(zoo, "--scores", path, "--nan", "drop")
    kept = np.arange(100) != 4
    assert result["non_finite"]["dropped_pairs"] == 1
    assert result["figures"]["auc"] == pytest.approx(roc_auc_score(labels(100)[kept], scores[kept]))


def test_tar_at_any_far_is_read_off_stored_scores(zoo: Zoo) -> None:
    scores = cosines(4000, noise=0.2, seed=1)
    path = write_scores(Path("s.csv"), scores, labels(4000))
    before = stored(zoo, "--scores", path)
    (stored_at,) = Path("results").glob("*/*.json")
    kept = json.loads(stored_at.read_text())
    assert "0.00025" not in kept["figures"]["tar_at_far"]
    done = zoo("eval", "--scores", path, "--far", "2.5e-3,1e-5", "--far", "0.02", "--json", "-")
    (result,) = json.loads(done.out)
    tars = result["figures"]["tar_at_far"]
    assert list(tars) == [*before["figures"]["tar_at_far"], "0.0025", "0.02"]
    assert tars["0.00001"] is None
    impostors, genuine = np.sort(scores[~labels(4000)]), scores[labels(4000)]
    for key, allowed in (("0.0025", 5), ("0.02", 40)):
        threshold = impostors[-allowed - 1]
        assert tars[key]["tar"] == pytest.approx((genuine > threshold).mean())
        assert tars[key]["far"] == pytest.approx(allowed / 2000)
        assert tars[key]["threshold"] >= threshold
        low, high = tars[key]["tar_ci95"]
        # Wilder than Wilson's at a known threshold: the threshold has noise, too.
        known = binomtest(round(2000 * tars[key]["tar"]), 2000).proportion_ci(method="wilson")
        assert low <= known.low < tars[key]["tar"] < known.high <= high
    again = json.loads(stored_at.read_text())
    assert {**again, "created": "", "cost": {}, "scores": ""} == {
        **kept, "created": "", "cost": {}, "scores": "",
    }  # fmt: skip
    out = zoo("eval", "--scores", path, "--far", "1e-5,0.02").out
    at = tars["0.02"]
    row = dict(zip(*(line.split()[3:] for line in out.splitlines()[:2]), strict=True))
    assert row["tar@2e-2"] == f"{100 * at['tar']:.2f}"
    assert row["far"] == "0.02"
    assert row["tar@1e-5"] == "-"
    bound = 1 - 0.05 ** (1 / 2000)
    assert "2,000 impostors, 100,000 needed" in out
    assert f"without a false accept they show a FAR below {bound:.2g}" in out


@pytest.mark.parametrize("far", ["0", "1", "2", "-1e-3", "nan", "inf", "1e-400", "abc", "1e-3,x"])
def test_a_far_that_is_no_rate_is_refused_before_anything_is_stored(zoo: Zoo, far: str) -> None:
    path = write_scores(Path("s.csv"), cosines(100, noise=1, seed=1), labels(100))
    done = zoo("eval", "--scores", path, f"--far={far}")
    assert done.code == 2
    assert "expected rates from 1e-12 to below 1" in done.error_lines[0]
    assert not Path("results").exists()


def test_intervals_of_the_table_are_those_of_the_leaderboard(zoo: Zoo) -> None:
    path = write_scores(Path("s.csv"), cosines(1000, noise=0.2, seed=1), labels(1000))
    out = zoo("eval", "--scores", path, "--intervals").out
    accuracy, _, kfold = out.splitlines()[1].split()[1:4]
    for metric, cell in (("accuracy", accuracy), ("kfold", kfold)):
        board = json.loads(
            zoo("leaderboard", "--metric", metric, "--intervals", "--format", "json").out
        )
        ((low, high),) = board["rows"][0]["ci95"].values()
        assert cell.endswith(f"[{100 * low:.2f},{100 * high:.2f}]")
    assert "[" not in zoo("eval", "--scores", path).out


def test_a_score_or_an_embedding_that_is_not_finite_is_missed_on_demand(zoo: Zoo) -> None:
    scores = cosines(100, noise=1, seed=1)
    scores[[4, 5, 8]] = np.nan
    path = write_scores(Path("s.csv"), scores, labels(100))
    result = stored(zoo, "--scores", path, "--nan", "miss")
    assert result["status"] == "ok"
    assert result["non_finite"]["missed_pairs"] == 3
    below = np.where(np.isnan(scores), -9, scores)
    assert result["figures"]["auc"] == pytest.approx(roc_auc_score(labels(100), below))
    embeddings = np.random.default_rng(0).normal(size=(60, 8))
    embeddings[6, 0], embeddings[21] = np.nan, 0.0
    np.savez("e.npz", embeddings=embeddings, genuine=labels(30))
    result = stored(zoo, "--embeddings", "e.npz", "--nan", "miss")
    assert result["non_finite"] == {
        "count": 2,
        "images": [6, 21],
        "dropped_pairs": 0,
        "missed_pairs": 2,
    }


def test_a_system_that_misses_every_pair_is_read_by_all(zoo: Zoo) -> None:
    path = write_scores(Path("s.csv"), np.full(100, np.nan), labels(100))
    out = zoo("eval", "--scores", path, "--name", "none", "--nan", "miss", "--far", "0.1").out
    assert "undefined,missed:100" in out
    assert "# s: TAR at FAR 0.1 is undefined: no pair has a score" in out
    write_scores(path, cosines(100, noise=1, seed=1), labels(100))
    assert zoo("eval", "--scores", path, "--name", "some").code == 0
    alone = zoo("compare", "none", "some")
    assert (alone.code, "none missed every pair" in alone.err) == (2, True)
    assert zoo("report", "-o", "page.html", "--no-faces").code == 0
    assert zoo("leaderboard").code == 0
    refused = zoo("threshold", "none", "--far", "0.5")
    assert (refused.code, "impostor" in refused.error_lines[0]) == (2, True)


def test_scores_of_a_bin_are_paired_with_a_model_on_it(zoo: Zoo, bins: Path, models: Path) -> None:
    of_bin = read_bin(bins / "easy.bin")
    assert zoo("eval", models / "a.onnx", "--bins", bins / "easy.bin").code == 0
    scores = of_bin.genuine + np.random.default_rng(0).normal(size=of_bin.pairs)
    path = write_scores(Path("vendor.csv"), scores, of_bin.genuine)
    stored(zoo, "--scores", path, "--bins", bins / "easy.bin")
    done = zoo("compare", "a", "vendor", "--format", "json")
    assert done.code == 0, done.err
    (duel,) = json.loads(done.out)["comparisons"]
    assert duel["bins"][0]["pairs"] == of_bin.pairs
    # The images are the bin's: the scores file knows none.
    assert "30 images" in duel["bins"][0]["basis"]
    assert any("vendor was scored elsewhere" in note for note in duel["notes"])
    board = json.loads(zoo("leaderboard", "--format", "json").out)
    assert {row["label"] for row in board["rows"]} == {"a", "vendor (scores)"}
    assert len(board["bins"]) == 1


def test_pairs_that_are_not_the_bins_are_refused(zoo: Zoo, bins: Path) -> None:
    of_bin = read_bin(bins / "easy.bin")
    scores = np.zeros(of_bin.pairs)
    short = write_scores(Path("short.csv"), scores[:-1], of_bin.genuine[:-1])
    (line,) = zoo("eval", "--scores", short, "--bins", bins / "easy.bin").error_lines
    assert "short.csv: 59 pairs, but" in line
    assert "has 60" in line
    other = of_bin.genuine.copy()
    other[[3, 4]] ^= True
    swapped = write_scores(Path("swapped.csv"), scores, other)
    (line,) = zoo("eval", "--scores", swapped, "--bins", bins / "easy.bin").error_lines
    assert "pair 3 is" in line
    assert "(2 pairs differ)" in line


def test_files_of_one_system_for_two_bins_are_one_row(zoo: Zoo, bins: Path) -> None:
    for bin in ("easy", "other"):
        of_bin = read_bin(bins / f"{bin}.bin")
        scores = of_bin.genuine + np.random.default_rng(0).normal(size=of_bin.pairs)
        path = write_scores(Path(f"{bin}.csv"), scores, of_bin.genuine)
        stored(zoo, "--scores", path, "--name", "vendor", "--bins", bins / f"{bin}.bin")
    (row,) = json.loads(zoo("leaderboard", "--format", "json").out)["rows"]
    assert row["mean"] is not None
    assert len(row["figures"]) == 2


def test_a_new_file_of_a_system_replaces_its_result_on_that_bin(zoo: Zoo, bins: Path) -> None:
    of_bin = read_bin(bins / "easy.bin")
    for scale in (1, 2):
        scores = scale * of_bin.genuine + np.random.default_rng(0).normal(size=of_bin.pairs)
        path = write_scores(Path("s.csv"), scores, of_bin.genuine)
        last = stored(zoo, "--scores", path, "--name", "vendor", "--bins", bins / "easy.bin")
    (path,) = RESULTS.glob("*/*.json")
    assert json.loads(path.read_text())["figures"] == last["figures"]
    assert len(list(RESULTS.glob("*/*.h5"))) == 1


def test_insightface_is_undefined_for_scores_that_are_no_cosines(zoo: Zoo) -> None:
    scores = cosines(400, noise=1, seed=1)
    inside = stored(zoo, "--scores", write_scores(Path("in.csv"), scores, labels(400)))
    outside = stored(zoo, "--scores", write_scores(Path("out.csv"), 3 * scores, labels(400)))
    assert inside["figures"]["insightface"] is not None
    assert outside["figures"]["insightface"] is None
    assert outside["figures"]["kfold"]["accuracy"] == inside["figures"]["kfold"]["accuracy"]


def test_pairs_of_unknown_images_are_compared_as_if_none_were_shared(zoo: Zoo) -> None:
    np.savez("e.npz", score=cosines(400, noise=1, seed=1), label=labels(400))
    for name in ("one", "two"):
        stored(zoo, "--scores", "e.npz", "--name", name)
    done = zoo("compare", "one", "two", "--format", "json")
    (duel,) = json.loads(done.out)["comparisons"]
    assert duel["bins"][0]["basis"] == "pairs count as independent: what they share is not known"
    assert duel["bins"][0]["design_effect"] == 1


def test_a_report_is_written_of_scores_from_elsewhere(zoo: Zoo) -> None:
    for seed in (1, 2):
        scores = cosines(400, noise=1, seed=seed)
        stored(zoo, "--scores", write_scores(Path(f"s{seed}.csv"), scores, labels(400)))
    done = zoo("report", "-o", "report.html")
    assert done.code == 0, done.err
    assert "s1" in Path("report.html").read_text()


def test_distances_are_noticed(zoo: Zoo) -> None:
    path = write_scores(Path("d.csv"), -cosines(400, noise=1, seed=1), labels(400))
    assert "if these are distances, negate them" in zoo("eval", "--scores", path).err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--scores", "s.csv", "--embeddings", "s.csv"), "not both"),
        (("--scores", "s.csv", "--flip", "sum"), "are for models"),
        (("--scores", "s.csv", "--input", "unit"), "are for models"),
        (("--name", "x"), "no MODEL given"),
        (("--scores", "gone.csv"), "gone.csv: No such file"),
        (("--embeddings", "s.csv"), "expected a .npz file"),
        (("--scores", "s.csv", "--nan", "dorp"), "did you mean 'drop'"),
    ],
)
def test_wrong_arguments_are_one_line(zoo: Zoo, arguments: tuple[str, ...], said: str) -> None:
    write_scores(Path("s.csv"), cosines(20, noise=1, seed=1), labels(20))
    done = zoo("eval", *arguments)
    assert done.code == 2
    (line,) = done.error_lines
    assert said in line


def test_no_command_on_stored_scores_imports_tensorflow(tmp_path: Path) -> None:
    write_scores(tmp_path / "a.csv", cosines(400, noise=1, seed=1), labels(400))
    script = """
import sys
from zoo.cli import run
for name in ("a", "b"):
    assert run(["eval", "--scores", "a.csv", "--name", name]) == 0
assert run(["compare", "a", "b"]) == 0
assert run(["leaderboard"]) == 0
assert run(["threshold", "a", "--far", "0.1"]) == 0
loaded = [name for name in ("tensorflow", "keras", "torch") if name in sys.modules]
sys.exit(f"imported: {loaded}" if loaded else 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "content",
    [
        b"0.5,1\n" + b"x" * 200_000 + b",1\n",
        b"0.5,1\n" + b"x" * 100_000 + b",1\n",
        b"0.5,1\n0.5," + b"x" * 100_000 + b"\n",
        b"a" * 100_000 + b",1\n",
        b"0.5,1\n\0,\0\n",
        "0.5,1\n".encode("utf-16"),
        b"\xff\xfe\xfd",
        b"0.5,1\n1e300,0\n",
        b"\x1b[31m,\x1b\n",
        b"",
        b"\n" * 100_000,
    ],
    ids=range(11),
)
def test_text_of_any_content_is_one_short_line(zoo: Zoo, content: bytes) -> None:
    Path("s.csv").write_bytes(content)
    done = zoo("eval", "--scores", "s.csv")
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert line.startswith("zoo: error: s.csv")
    assert len(line) < 400
    assert line.isprintable()


@pytest.mark.parametrize("option", ["--scores", "--embeddings"])
@pytest.mark.parametrize("name", ["x.npz", "x.csv"])
def test_scores_that_are_no_file_are_one_line_at_once(zoo: Zoo, option: str, name: str) -> None:
    path = Path(name)
    for make in (os.mkfifo, lambda at: at.symlink_to("/dev/zero"), Path.mkdir):
        make(path)
        done = zoo("eval", option, path)
        assert done.code == 2
        assert len(done.err.splitlines()) == 1
        path.rmdir() if path.is_dir() else path.unlink()


def test_text_larger_than_what_is_read_is_refused_at_once(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path("s.csv").open("wb") as file:
        file.truncate(10 * 2**30)
    done = zoo("eval", "--scores", "s.csv")
    assert "s.csv: larger than" in done.error_lines[0]
    monkeypatch.setattr("zoo.evaluate.external_files.available_bytes", lambda: 12_000)
    Path("s.csv").write_text("0.5,1\n" * 200)
    assert "s.csv: larger than 1,000 bytes" in zoo("eval", "--scores", "s.csv").error_lines[0]


@pytest.mark.parametrize("name", ["badz.npz", "huge.npz"])
@pytest.mark.parametrize("option", ["--scores", "--embeddings"])
def test_an_npz_that_cannot_be_what_it_says_is_one_line(
    zoo: Zoo, shared: Path, name: str, option: str
) -> None:
    done = zoo("eval", option, shared / "cases" / "security" / name)
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert name in done.error_lines[0]


def test_a_small_npz_does_not_fill_memory(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluator.limits.available_bytes", lambda: 2**27)
    np.savez_compressed("s.npz", score=np.zeros(2**22), label=np.zeros(2**22, np.uint8))
    assert Path("s.npz").stat().st_size < 100_000
    line = zoo("eval", "--scores", "s.npz").error_lines[0]
    assert "s.npz: array 'score' cannot be read: needs 201,326,592 bytes of memory" in line


def test_names_of_arrays_are_shown_as_one_printable_line(zoo: Zoo) -> None:
    np.savez("s.npz", **{"\x1b[31m" + "x" * 500: np.zeros(3), "a\nb": np.zeros(3)})
    (line,) = zoo("eval", "--scores", "s.npz").err.splitlines()
    assert line.isprintable()
    assert len(line) < 400


def in_three_orders(
    scores: NDArray[np.float64], genuine: NDArray[np.bool_]
) -> dict[str, NDArray[np.intp]]:
    """The rows of a list mixed, genuine first and by score."""
    mixed = np.random.default_rng(0).permutation(len(scores))
    return {
        "mixed": mixed,
        "grouped": np.argsort(~genuine, kind="stable"),
        "sorted": np.argsort(scores),
    }


def test_one_list_in_any_order_has_one_figure_by_folds(zoo: Zoo) -> None:
    scores, genuine = cosines(3000, noise=1, seed=1), np.arange(3000) < 300
    scores = np.where(genuine, 0.3, 0.0) + scores / 4
    found = []
    for name, order in in_three_orders(scores, genuine).items():
        path = write_scores(Path(f"{name}.csv"), scores[order], genuine[order])
        found.append(stored(zoo, "--scores", path))
    assert found[0]["figures"]["kfold"] is not None
    assert found[0]["figures"]["insightface"]["tar_at_far_1e-3"] is not None
    assert found[0]["figures"] == found[1]["figures"] == found[2]["figures"]
    assert found[0]["bin"]["folds"] == "by rule, pair by pair"


def test_the_pairs_of_a_bin_keep_its_contiguous_folds(zoo: Zoo, bins: Path) -> None:
    of_bin = read_bin(bins / "easy.bin")
    scores = np.tanh(of_bin.genuine + np.random.default_rng(0).normal(size=of_bin.pairs))
    path = write_scores(Path("s.csv"), scores, of_bin.genuine)
    result = stored(zoo, "--scores", path, "--bins", bins / "easy.bin")
    expected = kfold(scores, of_bin.genuine)
    assert expected is not None
    assert result["figures"]["kfold"]["accuracy"] == expected.accuracy
    assert "folds" not in result["bin"]


def test_how_folds_are_drawn_is_said(zoo: Zoo) -> None:
    scores, genuine = cosines(400, noise=1, seed=1), labels(400)
    said = zoo("eval", "--scores", write_scores(Path("a.csv"), scores, genuine)).err
    assert "ten folds by rule, pair by pair, whatever their order; two systems are" in said
    write_named(Path("b.csv"), scores, genuine, people=True)
    said = zoo("eval", "--scores", "b.csv").err
    assert "ten folds by rule, pairs linked by people in one fold, whatever their order\n" in said
    assert "folds" not in zoo("--quiet", "eval", "--scores", "b.csv").err


def write_named(
    path: Path,
    scores: NDArray[np.float64],
    genuine: NDArray[np.bool_],
    *,
    order: NDArray[np.intp] | None = None,
    swapped: bool = False,
    people: bool = False,
) -> Path:
    """Scores of pairs that are named by their number, in an order, with columns in another one."""
    header = ["left", "right", "score", "label", *(["left_person", "right_person"] * people)]
    rows = []
    for i in range(len(scores)) if order is None else order.tolist():
        ends = [f"{i}/a.jpg", f"{i}/{'b' if genuine[i] else 'c'}.jpg"]
        who = [f"p{i}", f"p{i}" if genuine[i] else f"q{i}"]
        if swapped:
            ends, who = ends[::-1], who[::-1]
        rows.append([*ends, repr(float(scores[i])), str(int(genuine[i])), *(who * people)])
    columns = [3, 1, 0, 2, *range(4, len(header))] if swapped else range(len(header))
    lines = [",".join(row[column] for column in columns) for row in [header, *rows]]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_files_of_one_named_list_in_any_order_are_one_bin(zoo: Zoo) -> None:
    genuine = labels(600)
    ours, theirs = (cosines(600, noise=noise, seed=seed) for noise, seed in ((0.5, 1), (2.5, 2)))
    stored(zoo, "--scores", write_named(Path("ours.csv"), ours, genuine))
    mixed = np.random.default_rng(0).permutation(600)
    variants: dict[str, dict[str, Any]] = {
        "same": {},
        "mixed": {"order": mixed},
        "swapped": {"order": mixed[::-1], "swapped": True},
    }
    answers = []
    for name, how in variants.items():
        stored(zoo, "--scores", write_named(Path(f"{name}.csv"), theirs, genuine, **how))
        done = zoo("compare", "ours", name, "--format", "json")
        assert done.code == 0, done.err
        (duel,) = json.loads(done.out)["comparisons"]
        (of_bin,) = duel["bins"]
        answers.append({key: value for key, value in of_bin.items() if "name" not in key})
    assert answers[0] == answers[1] == answers[2]
    assert answers[0]["pairs"] == 600
    best = [max(((own > t) == genuine).mean() for t in own) for own in (ours, theirs)]
    assert answers[0]["difference"] == pytest.approx(best[0] - best[1])


def test_decisions_of_folds_are_those_of_the_printed_figure(zoo: Zoo) -> None:
    genuine = labels(600)
    order = np.argsort(~genuine, kind="stable")  # contiguous folds of it would lack a class
    for seed, name in enumerate(("one", "two")):
        scores = cosines(600, noise=1, seed=seed)
        stored(zoo, "--scores", write_scores(Path(f"{name}.csv"), scores[order], genuine[order]))
    figures = {
        path.parent.name.split("-")[0]: json.loads(path.read_text())["figures"]["kfold"]["accuracy"]
        for path in Path("results").glob("*/*.json")
    }
    done = zoo("compare", "one", "two", "--metric", "kfold-decisions", "--format", "json")
    ((of_bin,),) = (each["bins"] for each in json.loads(done.out)["comparisons"])
    assert of_bin["difference"] == pytest.approx(figures["one"] - figures["two"])


def test_lists_by_labels_alone_in_another_order_are_not_paired(zoo: Zoo) -> None:
    scores, genuine = cosines(400, noise=1, seed=1), labels(400)
    write_scores(Path("a.csv"), scores, genuine)
    order = np.argsort(~genuine, kind="stable")
    write_scores(Path("b.csv"), scores[order], genuine[order])
    for name in ("a", "b"):
        stored(zoo, "--scores", f"{name}.csv")
    done = zoo("compare", "a", "b")
    assert done.code == 2
    assert "a and b share no bin that can be compared" in done.error_lines[0]


def test_the_same_pairs_in_two_containers_make_nothing_more_certain(zoo: Zoo, bins: Path) -> None:
    of_bin = read_bin(bins / "easy.bin")
    write_bin(Path("copy.npz"), of_bin.images, of_bin.genuine)
    for seed, name in enumerate(("one", "two")):
        scores = 2 * of_bin.genuine + np.random.default_rng(seed).normal(size=of_bin.pairs)
        path = write_scores(Path("s.csv"), scores, of_bin.genuine)
        for bin in (bins / "easy.bin", "copy.npz"):
            stored(zoo, "--scores", path, "--name", name, "--bins", bin)
    (alone,) = json.loads(zoo("compare", "one", "two", "--bins", "easy", "--format", "json").out)[
        "comparisons"
    ]
    (both,) = json.loads(zoo("compare", "one", "two", "--format", "json").out)["comparisons"]
    widths = [np.ptp(each["overall"]["interval95"]) for each in (alone, both)]
    assert widths[1] == pytest.approx(widths[0], rel=0.1)
    assert any("share 60 pairs: they are drawn together" in note for note in both["notes"])
    assert "share 60 pairs: they are drawn together" in zoo("leaderboard").out
    assert zoo("report", "--output", "report.html", "--no-faces").code == 0
    page = Path("report.html").read_text()
    assert "Copy and easy share 60 pairs: they are drawn together" in page
