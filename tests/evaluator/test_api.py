"""`import evaluator`: the public names, and what each gives beside an independent computation."""

from __future__ import annotations

import io
import itertools
import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

import evaluator

ROOT = Path(__file__).parents[2]
SIZE = 8


def face(person: int, shot: int) -> NDArray[np.uint8]:
    """A blot that is mostly the person's and a little the photograph's."""
    own = np.random.default_rng(person).uniform(0, 255, (SIZE, SIZE, 3))
    noise = np.random.default_rng((person, shot)).uniform(0, 255, (SIZE, SIZE, 3))
    return np.round(0.5 * own + 0.5 * noise).astype(np.uint8)


@pytest.fixture(scope="module")
def faces() -> list[NDArray[np.uint8]]:
    """The images of 60 pairs: genuine and impostor in turn."""
    found = []
    for person in range(10):
        for shot in range(3):
            found += [face(person, shot), face(person, (shot + 1) % 3)]
            found += [face(person, shot), face((person + 1) % 10, shot)]
    return found


@pytest.fixture(scope="module")
def easy(
    tmp_path_factory: pytest.TempPathFactory, faces: list[NDArray[np.uint8]]
) -> evaluator.VerificationSet:
    path = tmp_path_factory.mktemp("bins") / "easy.bin"
    evaluator.write_bin(path, faces, np.arange(60) % 2 == 0)
    return evaluator.read_bin(path)


def flat(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """The pixels themselves as an embedding."""
    return batch.reshape(len(batch), -1)


def cosines(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    left, right = rows[0::2], rows[1::2]
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    found: NDArray[np.float64] = (left * right).sum(axis=1) / lengths
    return found


def some_scores(seed: int, lift: float = 1.5) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    genuine = np.arange(400) % 2 == 0
    return np.random.default_rng(seed).normal(size=400) + lift * genuine, genuine


# ---- Names ---------------------------------------------------------------------------------------


def test_the_public_names_are_these_and_each_is_there() -> None:
    assert set(evaluator.__all__) == {
        "BinError", "BinEvaluation", "Comparison", "DeploymentThreshold", "Embedder", "Evaluation",
        "Figures", "InputError", "InputSpec", "ManyComparisons", "ModelError", "Overall",
        "PairedComparison", "Profile",
        "Rates", "ResultError", "Results", "VerificationSet", "compare",
        "deployment_threshold",
        "evaluate", "evaluate_embeddings", "evaluate_scores", "figures", "load_results",
        "rates_at_threshold", "read_bin", "save_results", "to_dataframe", "verification_line",
        "write_bin",
    }  # fmt: skip
    assert evaluator.__all__ == sorted(evaluator.__all__) == dir(evaluator)
    for name in evaluator.__all__:
        found = getattr(evaluator, name)
        assert found.__name__ == name
        assert found.__doc__, name
        assert not found.__doc__.startswith(f"{name}("), f"{name} has no docstring of its own"
    with pytest.raises(AttributeError, match="no attribute 'figure'"):
        _ = evaluator.figure  # type: ignore[attr-defined]


def test_no_public_name_is_a_module_too() -> None:
    # Importing a submodule sets its name on the package, and would hide the public one.
    modules = {path.stem for path in (ROOT / "evaluator").iterdir()}
    assert not modules & set(evaluator.__all__)


def test_importing_costs_nothing_and_figures_need_no_tensorflow() -> None:
    code = (
        "import sys, evaluator\n"
        "print('numpy' in sys.modules)\n"
        "import numpy as np\n"
        "a = evaluator.evaluate_scores(np.arange(40.0), np.arange(40) % 2 == 0, name='a')\n"
        "evaluator.compare(a, evaluator.evaluate_scores(-a.scores, a.genuine, name='b'))\n"
        "print('tensorflow' in sys.modules, 'keras' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False", "False"]


@pytest.mark.slow  # mypy reads NumPy's stubs where its cache has none
def test_mypy_knows_every_public_name(tmp_path: Path) -> None:
    wrong = "evaluator.figure(scores, genuine)"
    snippet = tmp_path / "snippet.py"
    lines = [
        "import numpy as np",
        "import evaluator",
        "scores, genuine = np.ones(3), np.ones(3, np.bool_)",
        "area: float | None = evaluator.figures(scores, genuine).auc",
        "found: evaluator.Evaluation = evaluator.evaluate('a.h5', ['b.bin'], input='raw')",
        "text: str = evaluator.compare(found, found).verdict",
        *(f"from evaluator import {name}" for name in evaluator.__all__),
        wrong,
    ]
    snippet.write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", ROOT / ".mypy_cache", snippet],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert f'snippet.py:{len(lines)}: error: Module has no attribute "figure"' in done.stdout
    assert "Found 1 error in 1 file" in done.stdout, done.stdout
    for package in ("evaluator", "training", "zoo"):
        assert (ROOT / package / "py.typed").is_file()


# ---- Figures of plain arrays ---------------------------------------------------------------------


def test_figures_of_arrays_are_scikit_learns_and_print_as_a_table() -> None:
    scores, genuine = some_scores(0)
    found = evaluator.figures(scores, genuine)
    assert found.auc == pytest.approx(roc_auc_score(genuine, scores), abs=1e-12)
    best = max(((scores > t) == genuine).mean() for t in scores)
    assert found.accuracy == pytest.approx(best, abs=1e-12)
    lines = dict(line.split("  ", 1) for line in repr(found).splitlines())
    assert lines["AUC"].split()[0] == f"{roc_auc_score(genuine, scores):.4f}"
    assert lines["accuracy, best"].strip().startswith(f"{100 * best:.2f} [")
    assert lines["TAR at FAR 0.001"].strip() == "-"


# ---- evaluate ------------------------------------------------------------------------------------


def test_a_function_gets_the_pixels_that_input_says(
    easy: evaluator.VerificationSet, faces: list[NDArray[np.uint8]]
) -> None:
    pixels = np.stack(faces).astype(np.float64)
    for profile, prepared in (
        ("raw", pixels),
        ("unit", pixels / 255),
        ("symmetric", (pixels - 127.5) / 128),
        ("insightface", (pixels / 255 - 0.5) / 0.5),
    ):
        found = evaluator.evaluate(flat, easy, input=profile, size=SIZE)
        expected = cosines(prepared.reshape(120, -1))
        assert found.scores == pytest.approx(expected, abs=1e-6)
        assert found.figures is not None
        assert found.figures.auc == pytest.approx(roc_auc_score(easy.genuine, expected))
        assert found.notes == ()


def test_layout_channels_and_flip_reach_a_function(
    easy: evaluator.VerificationSet, faces: list[NDArray[np.uint8]]
) -> None:
    shapes = []

    def first_channel(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        shapes.append(batch.shape[1:])
        return flat(batch[:, 0])

    found = evaluator.evaluate(
        first_channel, easy, input="raw", size=SIZE, layout="NCHW", channels="bgr", flip="sum"
    )
    blue = np.stack(faces).astype(np.float64)[..., 2]
    expected = cosines((blue + blue[..., ::-1]).reshape(120, -1))
    assert found.scores == pytest.approx(expected, abs=1e-6)
    assert set(shapes) == {(3, SIZE, SIZE)}


def test_what_was_assumed_is_noted(easy: evaluator.VerificationSet) -> None:
    found = evaluator.evaluate(lambda x: x.reshape(len(x), -1)[:, :300], easy)
    assert found.notes == (
        "no input= given: the function gets RGB in [0, 1] ('unit')",
        "no size= given: the function gets images of 112x112",
        "images of 8x8 are resized to 112x112, the model's input",
    )
    assert [line for line in repr(found).splitlines() if line.startswith("note: ")]
    alike = evaluator.evaluate(lambda x: np.ones((len(x), 4)), easy, input="raw", size=SIZE)
    assert any("look collapsed" in note for note in alike.notes)


@pytest.fixture(scope="module")
def network() -> Any:
    """A random projection of 8x8 pixels as a keras.Model."""
    from evaluator.models.runtime import import_keras

    keras = import_keras()
    image = keras.Input((SIZE, SIZE, 3))
    dense = keras.layers.Dense(16)
    model = keras.Model(image, dense(keras.layers.Flatten()(image)), name="projection")
    weights = np.random.default_rng(0).normal(size=(SIZE * SIZE * 3, 16)).astype(np.float32)
    dense.set_weights([weights, np.zeros(16, np.float32)])
    return model


def saved(model: Any, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="__array__ implementation doesn't accept a copy")
        model.save(str(path))
    return path


def test_a_network_in_memory_scores_as_its_file_and_as_numpy(
    easy: evaluator.VerificationSet,
    faces: list[NDArray[np.uint8]],
    network: Any,
    tmp_path: Path,
) -> None:
    live = evaluator.evaluate(network, easy, input="unit")
    filed = evaluator.evaluate(saved(network, tmp_path / "p.keras"), [easy.path], input="unit")
    expected = cosines(
        (np.stack(faces) / 255).reshape(120, -1) @ network.layers[-1].get_weights()[0]
    )
    assert live.scores == pytest.approx(expected, abs=1e-5)
    np.testing.assert_array_equal(live.scores, filed.scores)
    assert (live.model.name, filed.model.name) == ("projection", "p")
    assert live["easy"].figures.auc == filed.figures.auc  # type: ignore[union-attr]


def test_openvino_computes_a_network_in_memory_and_a_result_says_so(
    easy: evaluator.VerificationSet, network: Any
) -> None:
    pytest.importorskip("openvino")
    native = evaluator.evaluate(network, easy, input="unit")
    found = evaluator.evaluate(network, easy, input="unit", engine="openvino")
    assert found.scores == pytest.approx(native.scores, abs=1e-6)
    assert found["easy"].result.settings.engine == "openvino"
    assert found["easy"].result.settings.engine == "openvino"
    assert found.model.sha256 == native.model.sha256


def test_other_weights_are_another_model(easy: evaluator.VerificationSet, network: Any) -> None:
    before = evaluator.evaluate(network, easy, input="unit")
    weights = network.get_weights()
    try:
        network.set_weights([weights[0], weights[1] + 1])
        after = evaluator.evaluate(network, easy, input="unit")
    finally:
        network.set_weights(weights)
    again = evaluator.evaluate(network, easy, input="unit")
    assert before.model.sha256 == again.model.sha256 != after.model.sha256
    assert not np.array_equal(before.scores, after.scores)  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_real_network_scores_as_keras_itself_does(shared: Path) -> None:
    import keras

    model_path, bin_path = shared / "models/faceapi_resnet.h5", shared / "bins/small_lfw.bin"
    found = evaluator.evaluate(str(model_path), str(bin_path), input="raw")
    images = evaluator.read_bin(bin_path).images
    model = keras.saving.load_model(model_path, compile=False)
    height, width = model.input_shape[1:3]
    batch = np.empty((len(images), height, width, 3), np.float32)
    for i, image in enumerate(images):
        pixels = np.asarray(Image.open(io.BytesIO(image)).convert("RGB"), np.float32)
        for j in range(3):
            plane = Image.fromarray(pixels[..., j])
            batch[i, ..., j] = plane.resize((width, height), Image.Resampling.BILINEAR)
    expected = cosines(np.asarray(model.predict(batch, verbose=0), np.float64))
    assert found.scores == pytest.approx(expected, abs=2e-5)
    assert found.notes == ("images of 112x112 are resized to 150x150, the model's input",)


def test_several_bins_are_asked_for_by_name(easy: evaluator.VerificationSet) -> None:
    other = evaluator.VerificationSet("b2", easy.path, "0" * 64, easy.images, easy.genuine)
    found = evaluator.evaluate(flat, [easy, other], input="raw", size=SIZE)
    assert [each.name for each in found] == ["easy", "b2"]
    assert len(found) == 2
    np.testing.assert_array_equal(found["easy"].scores, found["b2"].scores)
    with pytest.raises(KeyError, match="there is: easy, b2"):
        _ = found["lfw"]
    with pytest.raises(evaluator.InputError, match=r"take one: evaluation\['easy'\]\.figures"):
        _ = found.figures
    rows = repr(found).splitlines()
    assert rows[0] == "flat (192-d, function)"
    assert [row.split()[0] for row in rows[1:]] == ["bin", "easy", "b2"]


def test_embeddings_that_are_not_finite_are_not_scored_unless_dropped(
    easy: evaluator.VerificationSet,
) -> None:
    bright = face(3, 0).mean()

    def torn(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        rows = flat(batch).copy()
        rows[np.isclose(rows.mean(axis=1), bright, atol=1e-3), 0] = np.nan
        return rows

    failed = evaluator.evaluate(torn, easy, input="raw", size=SIZE)
    assert failed.figures is None
    assert failed.scores is None
    assert "without a usable embedding" in repr(failed)
    kept = evaluator.evaluate(torn, easy, input="raw", size=SIZE, nan="drop")
    dropped = np.isnan(kept.scores)
    whole = evaluator.evaluate(flat, easy, input="raw", size=SIZE).scores
    assert 0 < dropped.sum() < 10
    assert kept.scores[~dropped] == pytest.approx(whole[~dropped])  # type: ignore[index]
    assert f"{dropped.sum()} pairs dropped" in repr(kept)


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"model": 3}, "the model must be the path of a model file, a keras.Model"),
    ({"bins": []}, "no bins: give the path of one"),
    ({"bins": [3]}, "a bin must be a path or a VerificationSet; got int"),
    ({"input": "units"}, "unknown input 'units': expected one of .* did you mean 'unit'"),
    ({"channels": "rbg"}, "unknown channels 'rbg'"),
    ({"flip": "yes"}, "unknown flip 'yes': expected one of none, sum"),
    ({"nan": "skip"}, "unknown nan 'skip'"),
    ({"decoder": "slow"}, "unknown decoder 'slow'"),
    ({"layout": "HWC"}, "unknown layout 'HWC'"),
    ({"size": 0}, "size must be pixels, or"),
    ({"size": (1, 2, 3)}, "size must be pixels, or"),
    ({"batch_size": 0}, "batch_size must be at least 1; got 0"),
    ({"precision": "bfloat16"}, "precision='bfloat16' does not apply to a function"),
    ({"output": "embedding"}, "output='embedding' does not apply to a function"),
    ({"trust": True}, "trust=True does not apply to a function"),
    ({"model": lambda x: x}, r"expected numbers of shape \(\d+, embedding size\)"),
    ({"model": lambda x: x[0]}, "expected numbers of shape"),
    ({"model": lambda x: [["a"]] * len(x)}, "got <U1 of shape"),
]


@pytest.mark.parametrize(("given", "said"), MISTAKES, ids=[said[:40] for _, said in MISTAKES])
def test_a_mistake_is_one_line_that_says_what_was_expected(
    given: dict[str, Any], said: str, easy: evaluator.VerificationSet
) -> None:
    arguments = {"model": flat, "bins": easy, "size": SIZE, **given}
    with pytest.raises(evaluator.InputError, match=said) as error:
        evaluator.evaluate(arguments.pop("model"), arguments.pop("bins"), **arguments)
    assert "\n" not in str(error.value)


def test_files_that_are_missing_or_something_else_are_named(
    easy: evaluator.VerificationSet, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        evaluator.evaluate(flat, tmp_path / "lfw.bin")
    with pytest.raises(FileNotFoundError):
        evaluator.evaluate("missing.h5", easy)
    with pytest.raises(evaluator.ModelError, match="not a model"):
        evaluator.evaluate(easy.path, easy)
    with pytest.raises(evaluator.BinError, match="is no bin"):
        evaluator.evaluate(flat, Path(__file__))


def test_a_network_without_an_input_says_what_to_do(easy: evaluator.VerificationSet) -> None:
    import keras

    with pytest.raises(evaluator.ModelError, match="declares no input"):
        evaluator.evaluate(keras.Sequential([keras.layers.Dense(2)]), easy)
    with pytest.raises(evaluator.ModelError, match="takes a vector of 3 numbers"):
        evaluator.evaluate(
            keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)], name="head"), easy
        )


def test_a_sequential_network_that_was_never_called_is_evaluated(
    easy: evaluator.VerificationSet, faces: list[NDArray[np.uint8]]
) -> None:
    import keras

    model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), keras.layers.Flatten()])
    found = evaluator.evaluate(model, easy, input="raw")
    expected = cosines(np.stack(faces).astype(np.float64).reshape(120, -1))
    assert found.scores == pytest.approx(expected, abs=1e-6)


def test_an_embedder_brings_its_own_input(easy: evaluator.VerificationSet) -> None:
    ready = evaluator.Embedder(flat, evaluator.InputSpec(SIZE, SIZE, "raw"))
    found = evaluator.evaluate(ready, easy, name="pixels")
    plain = evaluator.evaluate(flat, easy, input="raw", size=SIZE)
    np.testing.assert_array_equal(found.scores, plain.scores)
    with pytest.raises(evaluator.InputError, match="input='unit' does not apply to an Embedder"):
        evaluator.evaluate(ready, easy, input="unit")


# ---- Arrays made elsewhere -----------------------------------------------------------------------


def test_embeddings_become_cosines(easy: evaluator.VerificationSet) -> None:
    rows = np.random.default_rng(1).normal(size=(120, 5))
    found = evaluator.evaluate_embeddings(rows, name="rows", bin=easy)
    assert found.scores == pytest.approx(cosines(rows.astype(np.float32).astype(float)), abs=1e-12)
    np.testing.assert_array_equal(found.genuine, easy.genuine)
    rows[7] = 0  # no length: pair 3 has no cosine
    assert evaluator.evaluate_embeddings(rows, name="rows", bin=easy).figures is None
    dropped = evaluator.evaluate_embeddings(rows, name="rows", bin=easy, nan="drop")
    assert np.flatnonzero(np.isnan(dropped.scores)).tolist() == [3]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scores", "genuine", "said"),
    [
        (np.arange(4), np.ones(4, bool), "scores must be floats"),
        (np.ones((2, 2)), np.ones(4, bool), r"scores must be floats of shape \(pairs,\)"),
        (np.ones(0), np.ones(0, bool), "scores must be floats"),
        (np.ones(4), np.ones(4, int), "genuine must be bool"),
        (np.ones(4), np.ones(3, bool), r"genuine must be bool of shape \(4,\)"),
        (np.ones(4), None, "genuine must be bool"),
    ],
)
def test_scores_and_labels_that_do_not_fit_are_refused(
    scores: Any, genuine: Any, said: str
) -> None:
    with pytest.raises(evaluator.InputError, match=said):
        evaluator.evaluate_scores(scores, genuine, name="x")


def test_labels_that_are_not_the_bins_are_refused(easy: evaluator.VerificationSet) -> None:
    with pytest.raises(evaluator.InputError, match="differs from the labels of easy"):
        evaluator.evaluate_scores(np.ones(60), ~easy.genuine, name="x", bin=easy)


# ---- compare -------------------------------------------------------------------------------------


def folds_decided(of: evaluator.BinEvaluation) -> NDArray[np.bool_]:
    """Which pairs the best threshold of nine tenths decides rightly in the tenth, by trying all."""
    scores, genuine = of.scores, of.genuine
    assert of.folds is not None
    right = np.empty(len(scores), bool)
    for fold in range(10):
        test = np.flatnonzero(of.folds == fold)
        train = np.setdiff1d(np.arange(len(scores)), test)
        candidates = np.sort(scores[train][~genuine[train]])[::-1]
        hits = [((scores[train] > t) == genuine[train]).mean() for t in candidates]
        at = candidates[int(np.argmax(hits))]
        middle = (at + scores[train][scores[train] > at].min()) / 2
        right[test] = (scores[test] > middle) == genuine[test]
    return right


def test_a_comparison_counts_what_numpy_and_scipy_count() -> None:
    (strong, genuine), (weak, _) = some_scores(0, 2.0), some_scores(1, 1.0)
    a = evaluator.evaluate_scores(strong, genuine, name="strong")
    b = evaluator.evaluate_scores(weak, genuine, name="weak")
    found = evaluator.compare(a, b, metric="kfold-decisions")
    one = found.bins["pairs"]
    right_a, right_b = (folds_decided(each.bins[0]) for each in (a, b))
    assert one.difference == pytest.approx(right_a.mean() - right_b.mean())
    np.testing.assert_array_equal(one.only_a, np.flatnonzero(right_a & ~right_b))
    np.testing.assert_array_equal(one.only_b, np.flatnonzero(right_b & ~right_a))
    only = len(one.only_a), len(one.only_b)
    assert one.mcnemar_p == pytest.approx(binomtest(only[0], sum(only)).pvalue)
    areas = [roc_auc_score(genuine, scores) for scores in (strong, weak)]
    assert one.auc_difference == pytest.approx(areas[0] - areas[1])
    assert found.verdict.startswith("strong is better: +")
    assert repr(found).splitlines()[0] == "A = strong, B = weak"
    back = evaluator.compare(b, a, metric="kfold-decisions")
    assert back.overall.difference == pytest.approx(-found.overall.difference)


def test_the_order_of_the_bins_changes_no_bit_of_what_is_said_of_all(
    faces: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    paths = [tmp_path / f"{name}.bin" for name in "abcd"]
    for path, pairs in zip(paths, (60, 47, 31, 19), strict=True):
        evaluator.write_bin(path, faces[: 2 * pairs], np.arange(pairs) % 2 == 0)

    def overall(order: list[Path]) -> evaluator.Overall:
        a, b = (
            evaluator.evaluate(model, order, input="raw", size=SIZE, name=name)
            for name, model in (("flat", flat), ("dot", lambda batch: flat(batch[:, :1, :1])))
        )
        found = evaluator.compare(a, b)
        assert list(found.bins) == [path.stem for path in order]
        return found.overall

    found = {(each.difference, each.interval, each.p_value)
             for each in map(overall, map(list, itertools.permutations(paths)))}  # fmt: skip
    assert len(found) == 1


def test_a_comparison_says_what_it_left_out(easy: evaluator.VerificationSet) -> None:
    other = evaluator.VerificationSet("b2", easy.path, "0" * 64, easy.images, easy.genuine)
    both = evaluator.evaluate(flat, [easy, other], input="raw", size=SIZE)
    one = evaluator.evaluate(lambda x: flat(x) - 90, easy, input="raw", size=SIZE, name="centred")
    found = evaluator.compare(both, one)
    assert found.notes == ("only flat has a result on b2",)
    assert list(found.bins) == ["easy"]
    alone = evaluator.evaluate(flat, other, input="raw", size=SIZE)
    with pytest.raises(
        evaluator.InputError, match=r"share no bin .* flat has b2 \w{8}; centred has easy"
    ):
        evaluator.compare(alone, one)


# ---- Storing -------------------------------------------------------------------------------------


def zoo(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    from zoo.cli import run

    capsys.readouterr()
    code = run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_what_is_saved_the_commands_take(
    easy: evaluator.VerificationSet,
    network: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    model = saved(network, tmp_path / "p.keras")
    filed = evaluator.evaluate(model, easy.path, input="raw", flip="sum")
    pixels = evaluator.evaluate(flat, easy, input="raw", size=SIZE)
    vendor = evaluator.evaluate_scores(some_scores(5)[0][:60], name="vendor", bin=easy)
    for each in (filed, pixels, vendor):
        [path] = evaluator.save_results(each)
        assert path.is_file()

    options = ["--input", "raw", "--flip", "sum", "--json", "-"]
    code, out, said = zoo(capsys, "eval", "p.keras", "--bins", easy.path, *options)
    assert code == 0
    assert said.startswith("all results answered from the store")
    assert json.loads(out)[0]["figures"]["auc"] == filed.figures.auc  # type: ignore[union-attr]

    _, out, _ = zoo(capsys, "leaderboard", "--format", "json", "--metric", "auc")
    listed = {row["model"]["name"]: row["mean"] for row in json.loads(out)["rows"]}
    assert listed == {each.model.name: each.figures.auc for each in (filed, pixels, vendor)}  # type: ignore[union-attr]

    _, out, _ = zoo(capsys, "compare", "flat", "vendor", "--format", "json")
    [duel] = json.loads(out)["comparisons"]
    ours = evaluator.compare(pixels, vendor)
    assert duel["overall"]["p_value"] == ours.overall.p_value
    assert duel["overall"]["difference"] == ours.overall.difference

    code, _, said = zoo(capsys, "report", "-o", "report.html")
    assert code == 0
    assert "3 models, 1 bin" in said


def test_a_function_without_a_name_is_not_stored(
    easy: evaluator.VerificationSet, tmp_path: Path
) -> None:
    found = evaluator.evaluate(lambda x: flat(x), easy, input="raw", size=SIZE)
    with pytest.raises(evaluator.InputError, match=r"evaluate it again with name='\.\.\.'"):
        evaluator.save_results(found, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_bin_of_pixels_keeps_every_one(
    easy: evaluator.VerificationSet, faces: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    for pixels, image in zip(faces, easy.images, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(image))), pixels)
    with pytest.raises(evaluator.BinError, match=r"image 1 \(pair 0\) is an array of float64"):
        evaluator.write_bin(tmp_path / "x.bin", [faces[0], faces[0] / 255], [True])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: evaluator.figures([0.1, 0.2], [1, 0]), "genuine must be bool"),
        (lambda: evaluator.figures(["a"], [True]), "scores must be floats"),
        (lambda: evaluator.figures([0.1], [True, False]), "of equal length"),
        (lambda: evaluator.figures([np.nan], [True]), "scores must be finite"),
        (lambda: evaluator.deployment_threshold([0.1], [True], far="1e-3"), "far must lie in"),  # type: ignore[arg-type]
        (lambda: evaluator.deployment_threshold([0.1, 0.2], [1, -1], far=0.1), "must be bool"),
        (lambda: evaluator.compare("a", "b"), "expected two evaluations"),  # type: ignore[arg-type]
        (lambda: evaluator.save_results("a"), "expected an evaluation"),  # type: ignore[arg-type]
        (lambda: evaluator.evaluate(len, None), "no bins"),  # type: ignore[arg-type]
    ],
)
def test_what_a_caller_can_mend_is_an_input_error(call: Any, words: str) -> None:
    with pytest.raises(evaluator.InputError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_every_public_name_says_what_it_is() -> None:
    import inspect

    for name in evaluator.__all__:
        text = inspect.getdoc(getattr(evaluator, name)) or ""
        assert text.endswith("."), name
        # Of a name that help() of this package does not reach, it could say nothing.
        assert "scored_pairs" not in text, name


def test_models_of_one_name_are_told_apart_and_too_few_pairs_are_no_comparison() -> None:
    scores, genuine = some_scores(1)
    one, other = (evaluator.evaluate_scores(x, genuine, name="m") for x in (scores, -scores))
    assert "m (A)" in evaluator.compare(one, other).verdict
    few = np.r_[np.flatnonzero(genuine)[:3], np.flatnonzero(~genuine)[:3]]
    short = [evaluator.evaluate_scores(x[few], genuine[few], name="m") for x in (scores, -scores)]
    with pytest.raises(
        evaluator.InputError, match=r"\(too few pairs of both kinds for ten folds\); left"
    ):
        evaluator.compare(*short, metric="kfold-decisions")
    assert evaluator.compare(*short, margin=50).margin == "cannot tell"
    with pytest.raises(evaluator.InputError, match=r"pairs: not paired, the bins differ"):
        evaluator.compare(one, short[0])
    assert "10-fold" in str(short[0])
