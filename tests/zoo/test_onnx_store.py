"""`zoo` on .onnx models whose weights lie beside them, and on the cases found with them."""

from __future__ import annotations

import functools
import io
import json
import os
import pickle
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from samples import Zoo

from tests.evaluator.models.onnx_graphs import (
    model,
    node,
    projection,
    save,
    save_with_data,
    weights,
)

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def stored(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in sorted(folder.glob("*/*.json"))]


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """Two models of one .onnx file and other data."""
    found = [
        save_with_data(projection(seed), tmp_path / f"run{seed}" / "model.onnx") for seed in (1, 2)
    ]
    assert found[0].read_bytes() == found[1].read_bytes()
    return found[0], found[1]


def test_models_of_one_file_and_other_data_are_two(
    zoo: Zoo, bins: Path, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    options = ("--bins", bins / "easy.bin", "--results", "store")
    for path in runs:
        done = zoo("eval", path, *options)
        assert (done.code, "from the store" in done.err) == (0, False)
    for path in runs:
        assert "all results answered from the store" in zoo("eval", path, *options).err
    results = stored(tmp_path / "store")
    assert len({each["model"]["sha256"] for each in results}) == 1
    assert len({each["model"]["data_sha256"] for each in results}) == 2

    table = json.loads(zoo("leaderboard", "--results", "store", "--format", "json").out)
    assert len({row["model"]["sha256"] for row in table["rows"]}) == 2
    compared = zoo("compare", *runs, "--results", "store")
    assert compared.code == 0
    assert "one model" not in compared.err
    heads = [line.split()[-1] for line in compared.out.splitlines() if line.startswith("# ")][:2]
    # Each by the beginning of what the comparison calls it.
    by_hash = zoo("compare", heads[0][:8], heads[1][:8], "--results", "store")
    assert by_hash.out.splitlines()[2:4] == compared.out.splitlines()[2:4]
    sha256 = results[0]["model"]["sha256"]
    of_file = zoo("threshold", sha256[:12], "--results", "store", "--far", "0.1")
    assert "2 stored models" in of_file.error_lines[0]
    assert heads[0][:8] in of_file.error_lines[0]
    ambiguous = zoo("threshold", "model", "--results", "store", "--far", "0.1")
    assert "2 stored models" in ambiguous.error_lines[0]


def test_missing_data_is_said_before_a_stored_answer(
    zoo: Zoo, bins: Path, runs: tuple[Path, Path]
) -> None:
    options = ("--bins", bins / "easy.bin", "--results", "store")
    assert zoo("eval", runs[0], *options).code == 0
    runs[0].with_name("model.data").unlink()
    again = zoo("eval", runs[0], *options)
    assert (again.code, again.out) == (2, "")
    assert "its data file 'model.data' is missing" in again.error_lines[0]


def test_a_one_file_model_s_result_has_no_second_digest(
    zoo: Zoo, bins: Path, tmp_path: Path
) -> None:
    path = save(projection(), tmp_path / "one.onnx")
    assert zoo("eval", path, "--bins", bins / "easy.bin", "--results", "store").code == 0
    (result,) = stored(tmp_path / "store")
    assert set(result["model"]) == {
        "name",
        "path",
        "sha256",
        "format",
        "embedding_size",
        "input",
    }
    assert (tmp_path / "store" / f"one-{result['model']['sha256'][:8]}").is_dir()


@pytest.mark.parametrize("part", ["model", "bin"])
def test_eight_digits_in_common_are_no_answer(
    zoo: Zoo, bins: Path, tmp_path: Path, part: str
) -> None:
    path = save(projection(), tmp_path / "one.onnx")
    options = ("--bins", bins / "easy.bin", "--results", "store")
    assert zoo("eval", path, *options).code == 0
    (at,) = (tmp_path / "store").glob("*/*.json")
    result = json.loads(at.read_bytes())
    result[part]["sha256"] = result[part]["sha256"][:8] + "0" * 56
    at.write_text(json.dumps(result))
    assert "from the store" not in zoo("eval", path, *options).err
    assert "all results answered from the store" in zoo("eval", path, *options).err


@pytest.mark.parametrize("changed", ["data", "note"])
def test_data_or_a_note_changed_while_the_model_is_read_stores_nothing(
    zoo: Zoo,
    bins: Path,
    runs: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    changed: str,
) -> None:
    from evaluator.isolation.process import ModelProcess

    loaded = ModelProcess.loaded

    def load(process: Any) -> Any:
        found, path = loaded(process), runs[0]
        if changed == "data":
            shutil.copy(runs[1].with_name("model.data"), path.with_name("model.data"))
        else:
            path.with_name(f"{path.name}.input.json").write_text("{}")
        return found

    monkeypatch.setattr("evaluator.isolation.process.ModelProcess.loaded", load)
    done = zoo("eval", runs[0], "--bins", bins / "easy.bin", "--results", "store")
    assert "was changed while it was read" in done.err
    assert stored(tmp_path / "store") == []


def test_what_is_no_file_is_one_line_at_once(zoo: Zoo, bins: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.onnx")
    path = save(projection(), tmp_path / "noted.onnx")
    os.mkfifo(tmp_path / "noted.onnx.input.json")
    for given in ("/dev/zero", "fifo.onnx", path):
        start = time.process_time()
        done = zoo("eval", given, "--bins", bins / "easy.bin")
        assert time.process_time() - start < 5
        assert (done.code, len(done.err.splitlines())) == (2, 1)
        assert done.err.startswith(f"zoo: error: {given}")


def test_classes_and_their_embedding_have_one_figure(zoo: Zoo, bins: Path, tmp_path: Path) -> None:
    size = 8
    layers = [node("Flatten", "image", "flat"), node("MatMul", "flat w", "embedding")]
    constants = {"w": weights(3 * size * size, 6), "v": weights(6, 9)}
    image = ("n", 3, size, size)
    save(model(layers, constants, image=image), tmp_path / "plain.onnx")
    ending = [node("Gemm", "embedding v", "l"), node("Softmax", "l", "p", axis=1)]
    classes = model([*layers, *ending], constants, image=image, output="p", shape=("n", 9))
    save(classes, tmp_path / "classes.onnx")
    for name in ("plain", "classes"):
        done = zoo("eval", f"{name}.onnx", "--bins", bins / "easy.bin", "--results", "store")
        assert ("it ends in classes (Softmax 'p')" in done.err) is (name == "classes")
    first, second = stored(tmp_path / "store")
    assert first["figures"] == second["figures"]
    assert first["model"]["embedding_size"] == 6


@functools.cache
def witnessed(path: Path, bin_path: Path, *, raw: bool = False) -> tuple[float, float]:
    """Best accuracy and AUC by pickle, Pillow, onnxruntime and scikit-learn."""
    import onnxruntime
    from sklearn.metrics import accuracy_score, roc_auc_score

    encoded, genuine = pickle.loads(bin_path.read_bytes(), encoding="bytes")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    image = session.get_inputs()[0]
    rows = []
    for each in encoded:
        pixels = np.asarray(Image.open(io.BytesIO(bytes(each))).convert("RGB"))
        given = pixels.transpose(2, 0, 1)[None].astype(np.float32)
        given = given.astype(np.uint8) if raw else (given - np.float32(127.5)) / np.float32(127.5)
        rows.append(session.run(None, {image.name: given})[0].ravel().astype(np.float64))
    found = np.stack(rows)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    scores = (found[0::2] * found[1::2]).sum(axis=1)
    labels = np.asarray(genuine, bool)
    best = max(accuracy_score(labels, scores >= each) for each in [*scores, np.inf])
    return float(best), float(roc_auc_score(labels, scores))


# Case -> figures in % and AUC, as stated with them.
CASES = {
    "first_only.onnx": (55.00, 0.529444),
    "reshape_1_m1.onnx": (55.00, 0.529444),
    "out_64_1_1.onnx": (55.00, 0.529444),
    "uint8b_nchw.onnx": (55.00, 0.529444),
    "onnx_external_data/runA/model.onnx": (55.00, 0.529444),
    "onnx_external_data/runB/model.onnx": (55.83, 0.522778),
}


@pytest.mark.parametrize("engine", ["native", "openvino"])
@pytest.mark.parametrize("name", CASES)
def test_cases_give_the_figures_stated(
    zoo: Zoo, shared: Path, tmp_path: Path, name: str, engine: str
) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino")
    path, bin_path = shared / "cases" / "models" / name, shared / "cases" / "data" / "base.bin"
    raw = name.startswith("uint8")
    given = () if raw else ("--input", "insightface")
    done = zoo("eval", path, "--bins", bin_path, "--engine", engine, *given)
    assert done.code == 0, done.err
    (result,) = stored(tmp_path / "results")
    figures = result["figures"]
    accuracy, area = CASES[name]
    assert round(100 * figures["accuracy"], 2) == accuracy
    assert round(figures["auc"], 6) == area
    best, own_area = witnessed(path, bin_path, raw=raw)
    assert (round(100 * best, 2), round(own_area, 6)) == (accuracy, area)


def test_the_case_without_its_data_is_refused(zoo: Zoo, shared: Path) -> None:
    cases = shared / "cases"
    options = ("--bins", cases / "data" / "base.bin", "--input", "insightface")
    runs = cases / "models" / "onnx_external_data"
    assert zoo("eval", runs / "runA" / "model.onnx", *options).code == 0
    done = zoo("eval", runs / "runC" / "model.onnx", *options)
    assert done.code == 2
    assert "its data file 'model.onnx.data' is missing" in done.err
