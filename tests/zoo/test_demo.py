"""The demo's faces, bin and three models, against scikit-learn and by their definition."""

from __future__ import annotations

import contextlib
import glob
import io
import itertools
import json
import urllib.error
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from samples import Outcome, Zoo

from evaluator.bins.verification_set import read_bin
from tests.command import without_processes
from tests.doc_blocks import ROOT, Session, blocks, commands, run_block
from zoo.demo import faces_and_models as demo
from zoo.entries.registry import own_registry

# Keras's own use of NumPy when it saves a model.
KERAS_SAVES = "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"


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
    from evaluator.models.load import load_embedder
    from evaluator.models.options import LoadOptions

    random = np.random.default_rng(3)
    mean, projection = random.uniform(size=48), random.normal(size=(48, 5))
    demo.save_linear_model(tmp_path / "m.h5", mean, projection, size=(8, 6))
    assert [path.name for path in tmp_path.iterdir()] == ["m.h5"]
    embedder = load_embedder(tmp_path / "m.h5", LoadOptions(profile="unit"))
    gray = random.uniform(size=(4, 8, 6)).astype(np.float32)
    found = embedder.forward(np.repeat(gray[..., None], 3, axis=-1))
    np.testing.assert_allclose(found, (gray.reshape(4, 48) - mean) @ projection, atol=1e-4)


def test_without_a_download_faces_are_synthetic_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    assert (faces.name, demo.prepare(tmp_path).bin.name) == ("synthetic", "held_out.bin")
    within = np.linalg.norm(flat[:, 0] - flat[:, 1], axis=1)
    between = np.linalg.norm(flat[:, 0] - np.roll(flat[:, 0], 1, axis=0), axis=1)
    assert 0 < within.mean() < between.mean()


@pytest.mark.slow
@pytest.mark.filterwarnings(KERAS_SAVES)
def test_offline_what_readme_says_next_works_on_synthetic_faces(
    zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_demo(tmp_path, tmp_path / "no cache", monkeypatch, epochs=1)
    # scikit-learn's own download fails: nothing listens there.
    monkeypatch.setattr("urllib.request._opener", None)
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    done = zoo("demo")
    assert done.code == 0
    assert "faces: synthetic" in done.err
    suggested = [line.strip() for line in done.out.splitlines() if line.startswith("  zoo ")]
    readme = [block for block in blocks(ROOT / "README.md") if "demo/" in block.text]
    shown = [
        command.text
        for block in readme
        if block.language in ("sh", "console")
        for command in commands(block)
        if "demo/" in command.text and "w600k_mbf" not in command.text  # which is pulled
    ]
    assert (len(suggested), len(shown)) == (5, 2)
    for text in (*(each for each in suggested if "project" not in each), *shown):
        words = [sorted(glob.glob(word)) or [word] for word in text.split()[1:]]  # noqa: PTH207
        assert zoo(*itertools.chain(*words)).code == 0, text
    (python,) = (block for block in readme if block.language == "pycon")
    assert not run_block(python, Session(tmp_path, exact=False))


@dataclass(frozen=True)
class Demo:
    """One real demo: the folder that it was run in, and what it said."""

    folder: Path
    done: Outcome

    def auc(self, model: str) -> float:
        """The AUC that it stored for a model."""
        (path,) = (self.folder / "demo" / "results").glob(f"{model}-*/held_out-*.json")
        return float(json.loads(path.read_text())["figures"]["auc"])

    def pixels(self) -> NDArray[np.float64]:
        """The bin's images in [0, 1], two a pair."""
        bin_ = read_bin(self.folder / "demo" / "held_out.bin")
        return np.stack([np.asarray(Image.open(io.BytesIO(image))) / 255 for image in bin_.images])

    def expected_auc(self, codes: NDArray[np.floating[Any]]) -> float:
        """scikit-learn's AUC of the bin's pairs, given a code an image."""
        from sklearn.metrics import roc_auc_score

        genuine = read_bin(self.folder / "demo" / "held_out.bin").genuine
        unit = codes / np.linalg.norm(codes, axis=1, keepdims=True)
        return float(roc_auc_score(genuine, (unit[0::2] * unit[1::2]).sum(axis=1)))


def in_demo(folder: Path, faces: Path, patch: pytest.MonkeyPatch, *, epochs: int) -> None:
    """Enters a demo's folder: models in this process, so many epochs a stage in place of 30."""
    entries = folder / "fewer_epochs.yaml"
    text = own_registry().read_text(encoding="utf-8")
    entries.write_text(text.replace("epochs: 30", f"epochs: {epochs}"), encoding="utf-8")
    patch.setattr("zoo.demo.network.own_registry", lambda: entries)
    patch.setenv("SCIKIT_LEARN_DATA", str(faces / "scikit_learn_data"))
    for name in ("ZOO_DATA", "ZOO_MODELS", "FORCE_COLOR", "COLUMNS"):
        patch.delenv(name, raising=False)
    patch.chdir(folder)
    without_processes(patch)


@pytest.fixture(scope="session")
def made(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """`zoo demo` in an empty folder, once a session."""
    from zoo.cli import run

    folder = tmp_path_factory.mktemp("demo")
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        in_demo(folder, shared, patch, epochs=6)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(["demo"])
    return Demo(folder, Outcome(code, out.getvalue(), err.getvalue()))


@pytest.fixture
def there(made: Demo, zoo: Zoo, shared: Path, monkeypatch: pytest.MonkeyPatch) -> Demo:
    """That demo, with its folder as the current one."""
    in_demo(made.folder, shared, monkeypatch, epochs=6)
    return made


@pytest.mark.slow
def test_the_demo_prints_the_table_and_leaves_its_files(there: Demo, zoo: Zoo) -> None:
    done = there.done
    assert done.code == 0
    header, *rows = done.out.splitlines()[:4]
    assert header.split()[:2] == ["model", "held_out"]
    accuracy = {row.split()[0]: float(row.split()[1]) for row in rows}
    assert list(accuracy) == ["eigenfaces", "fisherfaces", "network"]
    assert 75 < accuracy["eigenfaces"] < 83 < accuracy["fisherfaces"] < 95
    assert "Olivetti" in done.err
    left = {path.name for path in Path("demo").iterdir()}
    files = {"held_out.bin", "eigenfaces.h5", "fisherfaces.h5", "results", "report.html"}
    assert left == files | {"olivetti", "runs"}
    assert read_bin(Path("demo/held_out.bin")).pairs == 900
    assert "fisherfaces is better: +11" in done.out
    again = zoo("eval", "demo/fisherfaces.h5", "--bins", "demo/held_out.bin",
                "--results", "demo/results", "--json", "-")  # fmt: skip
    assert "answered from the store" in again.err
    (result,) = json.loads(again.out)
    assert result["figures"]["accuracy"] == pytest.approx(accuracy["fisherfaces"] / 100, abs=1e-4)


@pytest.mark.slow
def test_the_commands_that_the_demo_suggests_work(there: Demo, zoo: Zoo) -> None:
    commands = [line for line in there.done.out.splitlines() if line.startswith("  zoo ")]
    threshold, runs = (next(c for c in commands if f"zoo {word} " in c) for word in
                       ("threshold", "list --runs"))  # fmt: skip
    assert len(commands) == 5
    suggested = zoo(*threshold.split()[1:])
    assert (suggested.code, suggested.out[:14]) == (0, "# fisherfaces ")
    listed = zoo(*runs.split()[1:]).out.splitlines()
    assert [line.split()[0] for line in listed] == ["run", "network"]
    assert "finished" in listed[1]


@pytest.mark.slow
def test_the_network_is_really_better_than_eigenfaces(there: Demo) -> None:
    import keras
    from sklearn.decomposition import PCA

    # The last verdict before the suggestions is that of the network against eigenfaces.
    said = there.done.out.split("$ zoo compare demo/runs/network demo/eigenfaces.h5")[1]
    assert "held_out: network is better: +" in said
    pixels = there.pixels()
    network = keras.models.load_model("demo/runs/network/basic_model.keras", compile=False)
    distinct, places = np.unique(pixels, axis=0, return_inverse=True)
    codes = network.predict(np.repeat(distinct[..., None], 3, axis=-1), verbose=0)[places.ravel()]
    own = there.expected_auc(codes)
    assert there.auc("network") == pytest.approx(own, abs=1e-4)
    faces = demo.load_faces()
    pca = PCA(100, svd_solver="full").fit(faces.images[faces.people < 30].reshape(300, -1))
    assert own > there.expected_auc(pca.transform(pixels.reshape(len(pixels), -1))) + 0.05


@pytest.mark.slow
def test_nobody_in_the_bin_trains_the_network(there: Demo) -> None:
    faces = demo.load_faces()
    shown = {np.asarray(Image.open(path)).tobytes() for path in Path("demo/olivetti").rglob("*.*")}
    # Of the 30 people all photographs, and none of the ten others'.
    levels = np.round(faces.images * 255).astype(np.uint8)
    of = [{levels[i].tobytes() for i in np.flatnonzero(which)}
          for which in (faces.people < 30, faces.people >= 30)]  # fmt: skip
    assert shown == of[0]
    assert not shown & of[1]
    assert not shown & {(np.round(each * 255)).astype(np.uint8).tobytes()
                        for each in there.pixels()}  # fmt: skip
    about = json.loads(Path("demo/runs/network/data.json").read_text())
    assert (about["source"], about["images"], about["people"]) == ("demo/olivetti", 300, 30)
    assert not Path("demo/runs/network/verification.jsonl").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings(KERAS_SAVES)
def test_a_second_demo_trains_nothing_and_shows_the_same(there: Demo, zoo: Zoo) -> None:
    run = Path("demo/runs/network")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    again = zoo("demo")
    assert again.code == 0
    assert again.out == there.done.out
    assert "trained before" in again.err
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


@pytest.mark.slow
def test_fisherfaces_of_olivetti_agree_with_scikit_learn(there: Demo) -> None:
    from sklearn.datasets import fetch_olivetti_faces
    from sklearn.decomposition import PCA
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.pipeline import make_pipeline

    data = fetch_olivetti_faces()
    flat, people = data.images.reshape(400, -1), data.target
    lda = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto", n_components=29)
    pipeline = make_pipeline(PCA(100, svd_solver="full"), lda)
    pipeline.fit(flat[people < 30], people[people < 30])
    pixels = there.pixels()
    codes = pipeline.transform(pixels.reshape(len(pixels), -1))
    assert there.auc("fisherfaces") == pytest.approx(there.expected_auc(codes), abs=1e-5)
