"""The seed's line, figures in the log, and rates on a plateau."""

from pathlib import Path

import numpy as np
import pytest
from face_samples import SIDE, write_pairs

from evaluator.bins.verification_set import read_bin
from evaluator.images.inputs import InputSpec
from training.loop.callbacks import after_epoch, bin_row, verify
from training.recipes.parts import Plateau, Verification
from training.run.position import PlateauState


class Projection:
    """A model: random projections of the pixels; counts the images it was given."""

    def __init__(self, size: int = 16) -> None:
        self.weights = np.random.default_rng(0).normal(size=(SIDE * SIDE * 3, size))
        self.images = 0

    def predict_on_batch(self, batch: np.ndarray) -> np.ndarray:
        self.images += int(batch.any(axis=(1, 2, 3)).sum())
        return batch.reshape(len(batch), -1) @ self.weights


def verified(path: Path, model: Projection, best: dict[str, float], **recipe: str):
    sets = [read_bin(path)]
    spec = InputSpec(SIDE, SIDE)

    def forward(batch: np.ndarray) -> np.ndarray:
        return np.float32(model.predict_on_batch(batch))

    return verify(forward, spec, sets, recipe=Verification(**recipe), best=best)


def test_verification_finds_the_best_accuracy_of_the_cosines(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "faces.bin")
    model = Projection()
    found = verified(path, model, {})
    (measured,) = found.measurements
    scores, genuine = measured.scores, measured.genuine
    cuts = [-2.0, *scores]
    accuracy = max(float(((scores > cut) == genuine).mean()) for cut in cuts)
    assert found.standing.aggregate == accuracy == found.standing.best["faces"]
    assert f"max accuracy: {accuracy:.6f}," in found.standing.lines[0]
    assert found.standing.lines[0].endswith("improved = True")
    assert bin_row(found.measurements)["faces_accuracy"] == accuracy


def test_an_accuracy_that_is_only_equal_is_no_improvement(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "faces.bin")
    first = verified(path, Projection(), {})
    again = verified(path, Projection(), dict(first.standing.best))
    assert again.standing.lines[0].endswith("improved = False")
    better = verified(path, Projection(), {"faces": 1.5})
    assert "overall max accuracy: 1.500000, improved = False" in better.standing.lines[0]


def test_images_that_are_equal_are_embedded_once(tmp_path: Path) -> None:
    from face_samples import face

    from evaluator.bins.verification_set import write_bin

    images = [face(0, 0), face(0, 1)] * 6 + [face(0, 0), face(1, 0)] * 6
    write_bin(tmp_path / "faces.bin", images, [True] * 6 + [False] * 6)
    model = Projection()
    verified(tmp_path / "faces.bin", model, {})
    assert model.images == 3


def test_embeddings_that_are_no_numbers_leave_the_bin_without_accuracy(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "faces.bin")
    model = Projection()
    model.weights[:] = np.nan
    found = verified(path, model, {"faces": 0.5})
    assert found.standing.aggregate is None
    assert found.standing.best == {"faces": 0.5}
    assert "24 embeddings are not finite" in found.standing.lines[0]
    assert bin_row(found.measurements) == {}


def states(recipe: Plateau, values: list[float]) -> list[float]:
    state, found = PlateauState(), []
    for value in values:
        state = after_epoch(recipe, state, value)
        found.append(state.multiplier)
    return found


def test_the_rate_falls_after_patience_epochs_without_a_lower_loss() -> None:
    recipe = Plateau(monitor="loss", factor=0.5, patience=2)
    assert states(recipe, [3, 2, 2, 2, 1, 2, 1, 2, 2]) == [
        1,
        1,
        1,
        0.5,
        0.5,
        0.5,
        0.25,
        0.25,
        0.125,
    ]


def test_an_accuracy_is_better_when_it_is_higher() -> None:
    recipe = Plateau(monitor="accuracy", factor=0.1, patience=1)
    assert states(recipe, [0.1, 0.2, 0.1]) == pytest.approx([1, 1, 0.1])


def test_the_plateau_agrees_with_keras() -> None:
    import keras

    values = [5.0, 4.0, 4.5, 4.6, 3.0, 3.1, 3.2, 3.3, 3.4, 2.0, 2.5, 2.6]
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    theirs = keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=2, min_delta=0)
    theirs.set_model(model)
    theirs.on_train_begin()
    rates = []
    for epoch, value in enumerate(values):
        theirs.on_epoch_end(epoch, {"loss": value})
        rates.append(float(model.optimizer.learning_rate.numpy()))
    assert states(Plateau(monitor="loss", factor=0.5, patience=2), values) == rates
