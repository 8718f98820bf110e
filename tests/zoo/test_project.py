"""`zoo project`: what is drawn, its figures against scikit-learn, its exports, its mistakes."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from samples import Zoo, face, png, save_dense, write_pairs
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
from sklearn.neighbors import KNeighborsClassifier

from evaluator.bins.verification_set import read_bin
from zoo.projection.maps import in_unit_square, nearest_same_person, principal_components, t_sne
from zoo.projection.pictures import (
    chosen_people,
    pictures_of_bin,
    thumbnail_sheet,
)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five people with four images each, and one with a single one."""
    root = tmp_path_factory.mktemp("faces")
    for person in range(6):
        folder = root / f"<i>{person}"
        folder.mkdir()
        for shot in range(4 if person < 5 else 1):
            (folder / f"{shot}.png").write_bytes(png(face(person, shot)))
    return root


def page_data(path: Path) -> dict:
    text = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(found.group(1))


def test_people_of_a_bin_are_what_genuine_pairs_link(tmp_path):
    pictures = pictures_of_bin(read_bin(write_pairs(tmp_path / "some.bin")))
    assert len(pictures) == 30
    assert len(set(pictures.people.tolist())) == 10
    known = {png(face(person, shot)): person for person in range(10) for shot in range(3)}
    true = np.array([known[image] for image in pictures.images])
    # The same parting of the images, whatever the numbers are.
    assert len(set(zip(true.tolist(), pictures.people.tolist(), strict=True))) == 10
    images = read_bin(tmp_path / "some.bin").images
    slots = [int(origin.removeprefix("image ")) for origin in pictures.origins]
    assert [images[slot] for slot in slots] == list(pictures.images)
    assert slots == [images.index(image) for image in pictures.images]


def test_a_limit_keeps_whole_people_those_with_most_first():
    people = np.array([0, 1, 1, 2, 2, 2, 3, 3])
    assert chosen_people(people, 8).tolist() == list(range(8))
    assert chosen_people(people, 6).tolist() == [1, 2, 3, 4, 5]
    assert len(chosen_people(people, 3)) == 3
    one = chosen_people(np.zeros(9, int), 4)
    assert len(set(one.tolist())) == 4


def test_nearest_same_person_is_leave_one_out_one_neighbour():
    random = np.random.default_rng(0)
    people = random.integers(0, 12, 80)
    people[-1] = 99
    points = (random.normal(size=(100, 6))[people] + 0.8 * random.normal(size=(80, 6))).astype("f4")
    right = 0
    able = [i for i in range(80) if (people == people[i]).sum() > 1]
    for i in able:
        others = np.arange(80) != i
        found = (
            KNeighborsClassifier(1).fit(points[others], people[others]).predict(points[i : i + 1])
        )
        right += int(found[0] == people[i])
    assert nearest_same_person(points, people) == (right, len(able))
    assert nearest_same_person(points[:3], np.array([0, 1, 2])) == (0, 0)


def test_maps_are_scikit_learns():
    points = np.random.default_rng(1).normal(size=(40, 9)).astype(np.float32)
    expected = PCA(2, svd_solver="covariance_eigh").fit_transform(points.astype(np.float64))
    assert np.allclose(np.abs(principal_components(points)), np.abs(expected), atol=1e-4)
    assert principal_components(np.ones((4, 1), np.float32)).tolist() == [[0, 0]] * 4


def test_t_sne_keeps_neighbours_and_is_seeded():
    random = np.random.default_rng(1)
    points = 4 * random.normal(size=(8, 20))[np.arange(120) % 8] + random.normal(size=(120, 20))
    plane = t_sne(points.astype(np.float32))
    assert trustworthiness(points, plane, n_neighbors=5) > 0.9
    assert np.array_equal(plane, t_sne(points.astype(np.float32)))


def test_the_unit_square_keeps_shapes():
    plane = np.array([[0, 0], [10, 0], [10, 5]], np.float32)
    assert in_unit_square(plane).tolist() == [[0, 0.25], [1, 0.25], [1, 0.75]]
    assert in_unit_square(np.zeros((3, 2), np.float32)).tolist() == [[0.5, 0.5]] * 3


def test_the_sheet_has_each_image_in_its_cell():
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0), (0, 250, 250)]
    images = [png(np.full((8, 8, 3), colour, np.uint8)) for colour in colours]
    images.insert(2, b"no image")
    sheet = thumbnail_sheet(images)
    assert (sheet.columns, sheet.pixels.shape) == (3, (2 * sheet.cell, 3 * sheet.cell, 3))
    middle = sheet.cell // 2
    colours.insert(2, (240, 240, 240))
    for number, colour in enumerate(colours):
        row, column = divmod(number, 3)
        found = sheet.pixels[row * sheet.cell + middle, column * sheet.cell + middle]
        assert tuple(found) == colour
    assert Image.open(io.BytesIO(sheet.encoded("PNG"))).size == (3 * sheet.cell, 2 * sheet.cell)


def test_a_sheet_of_many_fits_tensorboard():
    sheet = thumbnail_sheet([png(face(0, 0))] * 14_000)
    assert max(sheet.pixels.shape[:2]) <= 8192


def test_a_page_shows_the_faces_of_a_folder(zoo: Zoo, models: Path, faces: Path, tmp_path: Path):
    done = zoo("project", models / "a.onnx", "--data", faces, "--maps", "pca", "-o", "out.html")
    assert done.code == 0, done.err
    assert "out.html: 21 images" in done.err
    assert done.out == ""
    data = page_data(tmp_path / "out.html")
    assert list(data["maps"]) == ["pca"]
    assert [len(space) for space in data["maps"]["pca"]] == [21, 21]
    assert data["names"] == [f"<i>{i}" for i in range(6)]
    assert np.bincount(data["people"]).tolist() == [4, 4, 4, 4, 4, 1]
    assert data["origins"][5] == "<i>1/1.png"
    text = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert "<i>1" not in text
    assert "http" not in text.replace("http-equiv", "")


def test_the_pages_figures_are_those_of_the_whole_embedding(
    zoo: Zoo, faces: Path, tmp_path: Path, same_process: None
):
    from evaluator.models.runtime import import_keras

    model = save_dense(tmp_path / "m.keras", units=6, seed=3)
    done = zoo(
        "project", model, "--data", faces, "--maps", "pca", "-o", "out.html", "--tsv",
        "--tensorboard", "log",
    )  # fmt: skip
    assert done.code == 0, done.err
    pixels, people = [], []
    for person in range(6):
        for shot in range(4 if person < 5 else 1):
            pixels.append(face(person, shot).astype(np.float32) / 255)
            people.append(person)
    embeddings = import_keras().models.load_model(model).predict(np.stack(pixels), verbose=0)
    vecs = np.loadtxt(tmp_path / "vecs.tsv", delimiter="\t", dtype=np.float32)
    assert np.allclose(vecs, embeddings, atol=1e-5)
    meta = (tmp_path / "meta.tsv").read_text(encoding="utf-8").splitlines()
    assert meta == [f"<i>{person}" for person in people]
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    cosines = units @ units.T - 2 * np.eye(21)
    right = sum(people[cosines[i].argmax()] == people[i] for i in range(20))
    text = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert f"{right} of 20 ({100 * right / 20:.1f} %)" in text
    log = tmp_path / "log"
    assert np.allclose(np.loadtxt(log / "embedding.tsv", delimiter="\t"), vecs)
    raw = np.loadtxt(log / "pixels.tsv", delimiter="\t")
    assert np.allclose(raw, np.stack(pixels).reshape(21, -1), atol=1e-6)
    assert (log / "metadata.tsv").read_text(encoding="utf-8").splitlines() == meta
    with Image.open(log / "sprites.png") as sheet:
        assert sheet.size[0] % 5 == 0


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed"
)
def test_tensorboards_projector_reads_the_log(zoo: Zoo, models: Path, faces: Path, tmp_path: Path):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from google.protobuf import text_format
        from tensorboard.plugins.projector import projector_config_pb2
    done = zoo(
        "project", models / "a.onnx", "--data", faces, "--maps", "pca", "--tensorboard", "log"
    )
    assert done.code == 0, done.err
    config = projector_config_pb2.ProjectorConfig()
    text_format.Parse((tmp_path / "log" / "projector_config.pbtxt").read_text(), config)
    assert [each.tensor_name for each in config.embeddings] == ["pixels", "embedding"]
    for each in config.embeddings:
        rows = np.loadtxt(tmp_path / "log" / each.tensor_path, delimiter="\t")
        assert list(each.tensor_shape) == list(rows.shape)
        names = (tmp_path / "log" / each.metadata_path).read_text().splitlines()
        assert len(names) == len(rows)
        with Image.open(tmp_path / "log" / each.sprite.image_path) as sheet:
            columns = sheet.size[0] // each.sprite.single_image_dim[0]
        assert columns == int(np.ceil(np.sqrt(len(rows))))


def test_embeddings_that_are_not_finite_are_left_out_and_counted(
    zoo: Zoo, models: Path, bins: Path, tmp_path: Path
):
    done = zoo("project", models / "nan.onnx", "--bins", bins / "easy.bin", "--maps", "pca")
    assert done.code == 2
    [error] = done.error_lines
    assert "only 0 of 30 embeddings are finite" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected --bins NAME or --data DIR"),
        (("--bins", "one", "two"), "expected one bin, found 2"),
        (("--bins", "nowhere"), "no bin 'nowhere'"),
        (("--data", "nowhere"), "nowhere"),
        (("--data", ".", "--maps", "pcs"), "did you mean 'pca'"),
        (("--bins", "easy", "--data", "BINS", "-o", "no/such/out.html"), "there is no folder"),
        (("--bins", "easy", "--data", "BINS", "--input", "units"), "did you mean 'unit'"),
    ],
)
def test_mistakes_are_one_line_before_tensorflow(
    arguments, message, zoo: Zoo, models: Path, bins: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    filled = [str(bins) if each == "BINS" else each for each in arguments]
    done = zoo("project", models / "a.onnx", *filled)
    assert done.code == 2
    [error] = done.error_lines
    assert message in error


def test_umap_names_its_extra(zoo: Zoo, models: Path, bins: Path, monkeypatch: pytest.MonkeyPatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "umap" else found(name, *a)
    )
    done = zoo("project", models / "a.onnx", "--bins", bins / "easy.bin", "--maps", "umap")
    assert done.code == 2
    assert "pip install 'face-zoo[umap]'" in done.err


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("umap") is None, reason="umap-learn is not installed")
def test_umap_parts_what_is_apart():
    from zoo.projection.maps import umap

    random = np.random.default_rng(0)
    people = np.arange(90) // 30
    points = (20 * random.normal(size=(3, 10))[people] + random.normal(size=(90, 10))).astype("f4")
    plane = umap(points)
    assert nearest_same_person(plane, people) == (90, 90)


def test_an_entry_is_held_to_its_sha256_as_by_eval(
    zoo: Zoo, models: Path, bins: Path, tmp_path: Path
):
    (tmp_path / "models.yaml").write_text(
        f"models:\n  odd:\n    file: {models / 'a.onnx'}\n    input: {{profile: unit}}\n"
        f"    sha256: {'ab' * 32}\n    source: a test\n"
    )
    done = zoo("project", "odd", "--bins", bins / "easy.bin", "--maps", "pca")
    assert done.code == 2
    [error] = done.error_lines
    assert "this is another file than the entry's" in error


def test_three_images_are_the_least(zoo: Zoo, models: Path, tmp_path: Path):
    from evaluator.bins.verification_set import write_bin

    write_bin(tmp_path / "two.bin", [png(face(0, 0)), png(face(0, 1))], np.array([True]))
    done = zoo("project", models / "a.onnx", "--bins", "two.bin")
    assert done.code == 2
    assert "a map takes 3 distinct images or more; found 2" in done.err
