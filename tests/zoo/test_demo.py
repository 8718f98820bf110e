"""The demo's faces, bin and two models, against scikit-learn and by their definition."""

from __future__ import annotations

import io
import itertools
import json
import urllib.error
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from samples import Zoo

from evaluator.bins import read_bin
from zoo import demo

# Keras's own use of NumPy when it saves a model.
KERAS_SAVES = "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"


@pytest.fixture
def olivetti(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(shared / "scikit_learn_data"))


def test_eigenfaces_are_the_principal_components() -> None:
    random = np.random.default_rng(0)
    flat = (random.normal(size=(300, 12)) @ random.normal(size=(12, 150))).astype(np.float32)
    mean, projection = demo.eigenfaces(flat)
    codes = (flat - mean) @ projection
    # By the definition: uncorrelated, of falling variance, along the covariance's eigenvectors.
    np.testing.assert_allclose(mean, flat.mean(axis=0), atol=1e-5)
    values = np.linalg.eigvalsh(np.cov(flat.T.astype(np.float64)))[::-1][:12]
    np.testing.assert_allclose(codes.var(axis=0, ddof=1)[:12], values, rtol=1e-4)
    np.testing.assert_allclose(projection.T @ projection, np.eye(100), atol=1e-5)


def test_fisherfaces_separate_people_better_than_eigenfaces() -> None:
    random = np.random.default_rng(1)
    people = np.repeat(np.arange(30), 10)
    # What tells people apart is weak beside what varies within each of them.
    own = random.normal(size=(30, 8)) @ random.normal(size=(8, 150))
    noise = random.normal(size=(300, 6)) @ (6 * random.normal(size=(6, 150)))
    flat = (own[people] + noise + random.normal(size=(300, 150))).astype(np.float32)

    def ratio(mean: NDArray[np.float64], projection: NDArray[np.float64]) -> float:
        codes = (flat - mean) @ projection
        means = np.stack([codes[people == person].mean(axis=0) for person in range(30)])
        return float(means.var(axis=0).sum() / (codes - means[people]).var(axis=0).sum())

    assert ratio(*demo.fisherfaces(flat, people)) > 5 * ratio(*demo.eigenfaces(flat))


def test_pairs_are_all_genuine_ones_and_as_many_impostors_a_fold() -> None:
    images = np.random.default_rng(2).uniform(size=(40, 4, 4)).astype(np.float32)
    people = np.repeat([7, 3, 9, 5], 10)
    encoded, genuine = demo.verification_pairs(images, people)
    assert (len(encoded), len(genuine), genuine.sum()) == (720, 360, 180)
    levels = np.round(images * 255).astype(np.uint8)
    person_of = {levels[i].tobytes(): int(people[i]) for i in range(40)}
    shown = [np.asarray(Image.open(io.BytesIO(image))).tobytes() for image in encoded]
    pairs = [(shown[i], shown[i + 1]) for i in range(0, 720, 2)]
    assert [person_of[a] == person_of[b] for a, b in pairs] == genuine.tolist()
    assert len({frozenset(pair) for pair in pairs if person_of[pair[0]] == 7}) >= 89
    same = {frozenset(pair) for pair, label in zip(pairs, genuine, strict=True) if label}
    assert len(same) == 4 * len(list(itertools.combinations(range(10), 2)))
    for fold in range(4):  # one person's genuine pairs a fold
        part = pairs[90 * fold : 90 * (fold + 1)]
        assert len({person_of[a] for a, _ in part}) == 1


@pytest.mark.filterwarnings(KERAS_SAVES)
def test_a_saved_model_projects(tmp_path: Path) -> None:
    from evaluator.models import LoadOptions, load_embedder

    random = np.random.default_rng(3)
    mean, projection = random.uniform(size=48), random.normal(size=(48, 5))
    demo.save_linear_model(tmp_path / "m.h5", mean, projection, size=(8, 6))
    assert [path.name for path in tmp_path.iterdir()] == ["m.h5"]
    embedder = load_embedder(tmp_path / "m.h5", LoadOptions(profile="unit"))
    gray = random.uniform(size=(4, 8, 6)).astype(np.float32)
    found = embedder.forward(np.repeat(gray[..., None], 3, axis=-1))
    np.testing.assert_allclose(found, (gray.reshape(4, 48) - mean) @ projection, atol=1e-4)


def test_without_a_download_faces_are_synthetic_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("sklearn.datasets.fetch_olivetti_faces", refuse)
    faces = demo.load_faces()
    assert faces.images.shape == (400, 64, 64)
    assert 0 <= faces.images.min() < faces.images.max() <= 1
    assert np.bincount(faces.people).tolist() == [10] * 40
    assert "synthetic" in faces.origin
    assert "lfw_subset" in faces.origin
    assert "no route to host" in faces.origin
    np.testing.assert_array_equal(faces.images, demo.load_faces().images)
    # A person's photographs are more alike than two people's, but differ.
    flat = faces.images.reshape(40, 10, -1)
    within = np.linalg.norm(flat[:, 0] - flat[:, 1], axis=1)
    between = np.linalg.norm(flat[:, 0] - np.roll(flat[:, 0], 1, axis=0), axis=1)
    assert 0 < within.mean() < between.mean()


@pytest.mark.slow
@pytest.mark.filterwarnings(KERAS_SAVES)
def test_the_demo_prints_the_table_and_leaves_its_files(zoo: Zoo, olivetti: None) -> None:
    done = zoo("demo")
    assert done.code == 0
    header, *rows = done.out.splitlines()[:3]
    assert header.split()[:2] == ["model", "olivetti"]
    accuracy = {row.split()[0]: float(row.split()[1]) for row in rows}
    assert 75 < accuracy["eigenfaces"] < accuracy["fisherfaces"] < 95
    assert "Olivetti" in done.err
    left = {path.name for path in Path("demo").iterdir()}
    assert left == {"olivetti.bin", "eigenfaces.h5", "fisherfaces.h5", "results", "report.html"}
    assert read_bin(Path("demo/olivetti.bin")).pairs == 900
    commands = [line for line in done.out.splitlines() if line.startswith("  zoo ")]
    assert len(commands) == 3
    suggested = zoo(*commands[1].split()[1:])
    assert suggested.code == 0
    assert suggested.out.startswith("# fisherfaces ")
    assert "fisherfaces is better: +14" in done.out
    again = zoo("eval", "demo/fisherfaces.h5", "--bins", "demo/olivetti.bin",
                "--results", "demo/results", "--json", "-")  # fmt: skip
    assert "answered from the store" in again.err
    (result,) = json.loads(again.out)
    assert result["figures"]["accuracy"] == pytest.approx(accuracy["fisherfaces"] / 100, abs=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings(KERAS_SAVES)
def test_fisherfaces_of_olivetti_agree_with_scikit_learn(
    zoo: Zoo, olivetti: None, shared: Path
) -> None:
    from sklearn.datasets import fetch_olivetti_faces
    from sklearn.decomposition import PCA
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline

    data = fetch_olivetti_faces()
    flat, people = data.images.reshape(400, -1), data.target
    lda = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto", n_components=29)
    pipeline = make_pipeline(PCA(100, svd_solver="full"), lda)
    pipeline.fit(flat[people < 30], people[people < 30])
    zoo("demo")
    (result,) = json.loads(
        zoo("eval", "demo/fisherfaces.h5", "--bins", "demo/olivetti.bin", "--results",
            "demo/results", "--json", "-").out
    )  # fmt: skip
    bin_ = read_bin(Path("demo/olivetti.bin"))
    pixels = [np.asarray(Image.open(io.BytesIO(image))) / 255 for image in bin_.images]
    codes = pipeline.transform(np.stack(pixels).reshape(len(pixels), -1))
    codes /= np.linalg.norm(codes, axis=1, keepdims=True)
    scores = (codes[0::2] * codes[1::2]).sum(axis=1)
    expected = roc_auc_score(bin_.genuine, scores)
    assert result["figures"]["auc"] == pytest.approx(expected, abs=1e-5)
