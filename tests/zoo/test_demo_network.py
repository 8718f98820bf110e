"""The demo's network: when its run is kept, goes on, is replaced, and is left alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evaluator.errors import InputError
from training.data.sources.shards import open_training_faces
from training.run.runs import RunFolder
from zoo.demo import network as demo_network
from zoo.demo.faces_and_models import Faces

RECIPE = """models:
  demo_network:
    file: demo_network.keras
    input: {profile: unit, size: 8}
    source: a test
    recipe:
      data: {validation: 0, augment: {flip: true}}
      model: {backbone: mlp, embedding_size: 4, dropout: 0, pooling: none}
      batch: 6
      stages:
        - {epochs: 2, loss: softmax, optimizer: adam, learning_rate: RATE}
      export: last
"""


def tiny_faces(seed: int = 0) -> Faces:
    images = np.random.default_rng(seed).uniform(size=(12, 8, 8)).astype(np.float32)
    return Faces("tiny", images, np.repeat([0, 1, 2], 4), "drawn for a test")


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Writes the entry that is trained, with a learning rate."""
    path = tmp_path / "models.yaml"
    monkeypatch.setattr(demo_network, "own_registry", lambda: path)

    def write(rate: str = "0.01") -> None:
        path.write_text(RECIPE.replace("RATE", rate))

    write()
    return write


def test_people_are_a_folder_each_and_a_changed_face_changes_the_fingerprint(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "tiny"
    demo_network.write_people(folder, tiny_faces())
    found = open_training_faces(folder)
    assert found.names == ("tiny-00", "tiny-01", "tiny-02")
    assert found.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    demo_network.write_people(folder, tiny_faces())
    assert open_training_faces(folder).fingerprint == found.fingerprint
    one_darker = tiny_faces()
    one_darker.images[5] *= 0.9
    demo_network.write_people(folder, one_darker)
    assert len(open_training_faces(folder)) == 12
    assert open_training_faces(folder).fingerprint != found.fingerprint
    fewer = Faces("tiny", tiny_faces().images[:8], tiny_faces().people[:8], "")
    demo_network.write_people(folder, fewer)
    assert open_training_faces(folder).names == ("tiny-00", "tiny-01")


def test_other_files_among_the_faces_are_refused_and_stay(tmp_path: Path) -> None:
    (tmp_path / "tiny" / "ann").mkdir(parents=True)
    (tmp_path / "tiny" / "ann" / "holiday.png").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"tiny: expected the demo's faces only, found ann/holi"):
        demo_network.write_people(tmp_path / "tiny", tiny_faces())
    assert [each.name for each in (tmp_path / "tiny").rglob("*.png")] == ["holiday.png"]


def test_a_run_that_is_not_the_demos_is_left_alone(
    tmp_path: Path, registry: Callable[[str], None]
) -> None:
    kept = tmp_path / "runs" / "network" / "notes.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    with pytest.raises(InputError, match=r"runs/network: expected the demo's own run or nothing"):
        demo_network.trained_network(tmp_path, tiny_faces())
    entry = kept.with_name("models.yaml")
    entry.write_text(
        "models: {network: {file: a.keras, input: {profile: unit}, source: zoo train}}"
    )
    with pytest.raises(InputError, match=r"runs/network: expected the demo's own run or nothing"):
        demo_network.trained_network(tmp_path, tiny_faces())
    assert kept.read_text() == "mine"


@pytest.mark.slow
def test_a_whole_run_stays_and_another_recipe_or_face_trains_anew(
    tmp_path: Path, registry: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    import keras

    def trained(faces: Faces) -> tuple[bool, RunFolder]:
        capsys.readouterr()
        run = demo_network.trained_network(tmp_path, faces)
        return "trained before" not in capsys.readouterr().err, run

    anew, run = trained(tiny_faces())
    first = run.model.read_bytes()
    assert anew
    assert len(run.log.read_text().splitlines()) == 3  # a header and two epochs
    assert "zoo demo, on 12 images of 3 people: drawn for a test" in run.entry.read_text()
    assert not trained(tiny_faces())[0]
    registry("0.02")
    assert trained(tiny_faces())[0]
    assert run.model.read_bytes() != first
    assert not trained(tiny_faces())[0]
    fingerprint = json.loads(run.data.read_text())["fingerprint"]
    assert trained(tiny_faces(1))[0]
    assert json.loads(run.data.read_text())["fingerprint"] != fingerprint
    assert len(run.log.read_text().splitlines()) == 3
    # A model that is not the one the run wrote is written again, with the weights it had.
    last = keras.models.load_model(run.model, compile=False).get_weights()
    run.model.write_bytes(b"cut off")
    assert trained(tiny_faces(1))[0]
    again = keras.models.load_model(run.model, compile=False).get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(last, again, strict=True))
    assert len(run.log.read_text().splitlines()) == 3
