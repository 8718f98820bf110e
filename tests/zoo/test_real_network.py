"""A real published network on real pairs: every figure against an independent computation.

The witness shares nothing with the code under test: a plain restricted unpickler, TensorFlow's
decoder and resize, tf_keras's predict, scikit-learn's curve, and the protocols restated.
"""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from evaluator.bins.verification_set import write_bin
from evaluator.results.store import load_result, load_scores
from tests import command
from tests.evaluator.models.networks import loaded_by_tf_keras

pytestmark = pytest.mark.slow

Z = 1.959963984540054  # the normal distribution's 97.5 % point


class _BytesOnly(pickle.Unpickler):
    """Knows one global: how Python 3 writes bytes in protocol 2 and below."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return str.encode
        raise pickle.UnpicklingError(f"{module}.{name}")


@pytest.fixture(scope="module")
def network(shared: Path) -> Path:
    path = shared / "models" / "faceapi_resnet.h5"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    return path


@pytest.fixture(scope="module")
def labels(shared: Path) -> NDArray[np.bool_]:
    return _unpickled(shared)[1]


def _unpickled(shared: Path) -> tuple[list[bytes], NDArray[np.bool_]]:
    data = (shared / "bins" / "lfw_devtest.bin").read_bytes()
    images, genuine = _BytesOnly(io.BytesIO(data), encoding="bytes").load()
    return [bytes(image) for image in images], np.array([bool(label) for label in genuine])


@pytest.fixture(scope="module")
def embeddings(shared: Path, network: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """tf_keras's embeddings of the 2000 slots, and those of the mirrored images."""
    import tensorflow as tf

    encoded, _ = _unpickled(shared)
    distinct = sorted(set(encoded))
    pixels = np.stack(
        [
            tf.image.resize(
                tf.image.decode_jpeg(image, channels=3, dct_method="INTEGER_ACCURATE"), (150, 150)
            ).numpy()
            for image in distinct
        ]
    )
    model = loaded_by_tf_keras(network)
    both = [model.predict(x, batch_size=50, verbose=0) for x in (pixels, pixels[:, :, ::-1])]
    row = {image: i for i, image in enumerate(distinct)}
    slots = [row[image] for image in encoded]
    return both[0][slots].astype(np.float64), both[1][slots].astype(np.float64)


def cosines(embeddings: NDArray[np.float64]) -> NDArray[np.float64]:
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    return (unit[0::2] * unit[1::2]).sum(axis=1)


def zoo_eval(
    folder: Path, pairs: Path, network: Path, *options: str, apart: bool = False
) -> dict[str, Any]:
    """The JSON of the command: run here, or ``apart`` in processes as it is installed."""
    words = ["eval", network, "--input", "raw", "--bins", pairs, "--json", "-", *options]
    done = (
        command.ended(command.started(*words, cwd=folder))
        if apart
        else (command.zoo_here(folder, *words))
    )
    assert done.code == 0, done.err
    assert done.err.count("resized") == 1
    (result,) = json.loads(done.out)
    found: dict[str, Any] = result
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, shared: Path, network: Path) -> dict[str, Any]:
    pairs = shared / "bins" / "lfw_devtest.bin"
    return zoo_eval(tmp_path_factory.mktemp("plain"), pairs, network, apart=True)


@pytest.fixture(scope="module")
def flipped(
    tmp_path_factory: pytest.TempPathFactory, shared: Path, network: Path
) -> dict[str, Any]:
    pairs = shared / "bins" / "lfw_devtest.bin"
    return zoo_eval(tmp_path_factory.mktemp("flipped"), pairs, network, "--flip", "sum")


def wilson(successes: float, total: int) -> tuple[float, float]:
    share = successes / total
    middle = (share + Z**2 / (2 * total)) / (1 + Z**2 / total)
    half = Z / (1 + Z**2 / total) * np.sqrt(share * (1 - share) / total + Z**2 / (4 * total**2))
    return middle - half, middle + half


def best_threshold(scores: NDArray[np.float64], genuine: NDArray[np.bool_]) -> tuple[float, float]:
    """(accuracy, threshold) of the best impostor score, the highest of equals, by trying each."""
    candidates = np.sort(scores[~genuine])[::-1]
    accuracies = [((scores > t) == genuine).mean() for t in candidates]
    best = int(np.argmax(accuracies))
    return float(accuracies[best]), float(candidates[best])


def kfold(
    scores: NDArray[np.float64], genuine: NDArray[np.bool_]
) -> tuple[list[float], list[float]]:
    """Accuracy and threshold a fold: the midpoint above the best score of nine, on the tenth."""
    accuracies, thresholds = [], []
    for test in np.array_split(np.arange(len(scores)), 10):
        train = np.setdiff1d(np.arange(len(scores)), test)
        _, at = best_threshold(scores[train], genuine[train])
        above = scores[train][scores[train] > at].min()
        thresholds.append((at + above) / 2)
        accuracies.append(((scores[test] > thresholds[-1]) == genuine[test]).mean())
    return accuracies, thresholds


def insightface(
    scores: NDArray[np.float64], genuine: NDArray[np.bool_]
) -> tuple[list[float], list[float], list[float]]:
    """insightface's evaluate: accuracies, TARs and FARs a fold, squared distance below its grid."""
    distance = 2 - 2 * scores
    accuracies, tars, fars = [], [], []

    def rates(index: NDArray[np.intp], t: float) -> tuple[float, float, float]:
        accepted = distance[index] < t
        same = genuine[index]
        return (accepted == same).mean(), accepted[same].mean(), accepted[~same].mean()

    for test in np.array_split(np.arange(len(scores)), 10):
        train = np.setdiff1d(np.arange(len(scores)), test)
        coarse = np.arange(0, 4, 0.01)
        best = coarse[int(np.argmax([rates(train, t)[0] for t in coarse]))]
        accuracies.append(rates(test, best)[0])
        fine = np.arange(0, 4, 0.001)
        far = np.array([rates(train, t)[2] for t in fine])
        at = float(np.interp(1e-3, far, fine)) if far.max() >= 1e-3 else 0.0
        tars.append(rates(test, at)[1])
        fars.append(rates(test, at)[2])
    return accuracies, tars, fars


def test_the_published_figures_come_out(plain: dict[str, Any], flipped: dict[str, Any]) -> None:
    for found, accuracy, threshold, auc in (
        (plain, 0.990, 0.9062, 0.99868),
        (flipped, 0.989, 0.9140, 0.99898),
    ):
        assert found["figures"]["accuracy"] == pytest.approx(accuracy, abs=1e-9)
        assert found["figures"]["threshold"] == pytest.approx(threshold, abs=6e-5)
        assert found["figures"]["auc"] == pytest.approx(auc, abs=6e-6)


def test_openvino_gives_the_same_scores_and_figures(
    tmp_path: Path,
    shared: Path,
    network: Path,
    embeddings: tuple[NDArray[np.float64], NDArray[np.float64]],
    labels: NDArray[np.bool_],
) -> None:
    """On every fifth pair."""
    pytest.importorskip("openvino")
    encoded, genuine = _unpickled(shared)[0], labels[::5]
    images = [image for pair in range(0, 1000, 5) for image in encoded[2 * pair : 2 * pair + 2]]
    write_bin(tmp_path / "fifth.bin", images, genuine)
    found = zoo_eval(tmp_path, tmp_path / "fifth.bin", network, "--engine", "openvino")
    assert found["settings"]["engine"] == "openvino"
    assert "openvino" in found["versions"]
    (path,) = tmp_path.glob("results/*/*.json")
    ours = load_scores(path, load_result(path)).scores
    scores = cosines(embeddings[0])[::5]
    np.testing.assert_allclose(ours, scores, atol=2e-6)
    accuracy, threshold = best_threshold(scores, genuine)
    assert found["figures"]["accuracy"] == pytest.approx(accuracy, abs=1e-12)
    assert found["figures"]["threshold"] == pytest.approx(threshold, abs=2e-6)
    folds = kfold(scores, genuine)[0]
    assert found["figures"]["kfold"]["accuracy"] == pytest.approx(np.mean(folds), abs=1e-12)


def test_what_was_measured_is_recorded(plain: dict[str, Any], flipped: dict[str, Any]) -> None:
    assert plain["status"] == "ok"
    assert plain["model"]["embedding_size"] == 128
    assert plain["model"]["input"] == {
        "size": [150, 150],
        "range": "raw",
        "channels": "rgb",
        "layout": "NHWC",
    }
    counts = {name: plain["bin"][name] for name in ("pairs", "genuine", "impostor", "images")}
    assert counts == {"pairs": 1000, "genuine": 500, "impostor": 500, "images": 2000}
    assert plain["settings"]["flip"] == "none"
    assert flipped["settings"]["flip"] == "sum"


@pytest.mark.parametrize("flip", ["none", "sum"])
def test_every_figure_matches_an_independent_computation(
    flip: str,
    plain: dict[str, Any],
    flipped: dict[str, Any],
    embeddings: tuple[NDArray[np.float64], NDArray[np.float64]],
    labels: NDArray[np.bool_],
) -> None:
    from sklearn.metrics import roc_auc_score, roc_curve

    found = (plain if flip == "none" else flipped)["figures"]
    scores = cosines(embeddings[0] if flip == "none" else embeddings[0] + embeddings[1])

    accuracy, threshold = best_threshold(scores, labels)
    assert found["accuracy"] == pytest.approx(accuracy, abs=1e-12)
    assert found["threshold"] == pytest.approx(threshold, abs=2e-6)
    # Ours counts images that pairs share, and is drawn a little below the best accuracy.
    assert found["accuracy_ci95"] == pytest.approx(wilson(accuracy * 1000, 1000), abs=4e-3)

    accuracies, thresholds = kfold(scores, labels)
    assert found["kfold"]["accuracy"] == pytest.approx(np.mean(accuracies), abs=1e-12)
    assert found["kfold"]["std"] == pytest.approx(np.std(accuracies), abs=1e-12)
    assert found["kfold"]["thresholds"] == pytest.approx(thresholds, abs=2e-6)

    accuracies, tars, fars = insightface(scores, labels)
    peer = found["insightface"]
    assert peer["accuracy"] == pytest.approx(np.mean(accuracies), abs=1e-12)
    assert peer["std"] == pytest.approx(np.std(accuracies), abs=1e-12)
    assert peer["tar_at_far_1e-3"] == pytest.approx(
        {"tar": np.mean(tars), "std": np.std(tars), "far": np.mean(fars)}, abs=1e-12
    )

    assert found["auc"] == pytest.approx(roc_auc_score(labels, scores), abs=8e-6)
    fpr, tpr, at = roc_curve(labels, scores, drop_intermediate=False)
    nearest = int(np.argmin(np.abs(fpr - (1 - tpr))))
    assert found["eer"] == pytest.approx((fpr[nearest] + 1 - tpr[nearest]) / 2, abs=2e-3)
    assert found["eer_threshold"] == pytest.approx(at[nearest], abs=2e-3)

    for far in (0.1, 0.01):
        row = found["tar_at_far"][str(far)]
        last = int(np.flatnonzero(fpr <= far)[-1])
        assert row["tar"] == pytest.approx(tpr[last], abs=1e-12)
        assert row["far"] == pytest.approx(fpr[last], abs=1e-12)
        # Wilson's is of a threshold that is known; ours holds that of an estimated one, too.
        fixed = wilson(tpr[last] * 500, 500)
        assert row["tar_ci95"][0] < fixed[0] + 3e-3  # which counts half an error less
        assert row["tar_ci95"][0] < row["tar"] < row["tar_ci95"][1] + 1e-12
        # Accepting there decides as the curve says, halfway to the next score.
        lowest = scores[~labels][scores[~labels] < at[last]].max()
        assert lowest - 2e-6 <= row["threshold"] <= at[last] + 2e-6
    # 500 impostors cannot tell these rates from none.
    assert found["tar_at_far"]["0.001"] is None
    assert found["tar_at_far"]["0.0001"] is None
