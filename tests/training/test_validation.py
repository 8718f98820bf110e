"""Figures of the images held back: each image once, whatever the batch, against NumPy."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from face_samples import write_faces

PLAIN = {
    "model": {"backbone": "mlp", "pooling": "none", "embedding_size": 8, "dropout": 0},
    "preprocess": {"size": 32},
    "batch": 4,
    "data": {"validation": 0.4},
    "center": {"factor": 0.7},
    "stages": [
        {
            "epochs": 1,
            "loss": {"name": "margin", "preset": "cosface"},
            "optimizer": "adamax",
            "learning_rate": "seed",
        }
    ],
}


@pytest.mark.slow
def test_each_image_held_back_counts_once_in_loss_and_accuracy(tmp_path: Path) -> None:
    import keras

    from evaluator.images.inputs import InputSpec
    from training.data.batches.pipeline import prepare_data
    from training.data.sources.faces import open_faces
    from training.loop.epoch_end import validation_figures
    from training.network.assembly import embedding_model, stage_model
    from training.recipes.recipe import parse_recipe

    recipe = parse_recipe(PLAIN, lambda place, message: ValueError(f"{place}: {message}"))
    faces = open_faces(write_faces(tmp_path / "faces"))
    data = prepare_data(faces, recipe.data, InputSpec(32, 32), batch=recipe.batch)
    assert len(data.held_back) == 11  # the last batch of 4 lacks one
    keras.utils.set_random_seed(0)  # a layer of ReLUs may begin with an embedding of zeros
    embedding = embedding_model(recipe)
    model = stage_model(recipe, recipe.stages[0], embedding, classes=4, steps_per_epoch=5)
    random = np.random.default_rng(0)
    weight, centers = random.normal(size=(8, 4)), random.normal(size=(4, 8))
    layers = {layer.name: layer for layer in model.layers}
    layers["head"].norm_dense_w.assign(weight)
    layers["center"].centers.assign(centers)

    def witness(numbers: np.ndarray) -> tuple[float, float]:
        """CosFace (scale 64, margin 0.4) plus 0.7 x the mean squared distance to the center."""
        pixels = np.stack([_pixels(faces, number) for number in numbers])
        found = np.asarray(embedding.predict_on_batch(pixels), np.float64)
        labels, rows = faces.labels[numbers], np.arange(len(numbers))
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        cosines = found / lengths @ (weight / np.linalg.norm(weight, axis=0))
        logits = 64 * (cosines - 0.4 * np.eye(4)[labels])
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        distance = np.square(found - centers[labels]).mean(axis=1)
        accuracy = (cosines.argmax(axis=1) == labels).mean()
        return float((-logs[rows, labels] + 0.7 * distance).mean()), float(accuracy)

    figures = validation_figures(model, data, recipe)
    loss, accuracy = witness(data.held_back)
    assert figures["val_loss"] == pytest.approx(loss, rel=1e-5)
    assert figures["val_accuracy"] == pytest.approx(accuracy, rel=1e-6)
    # The image with the largest say is the first: counted twice, it would be seen.
    assert abs(witness(np.append(data.held_back, data.held_back[0]))[0] - loss) > 1e-3 * loss

    # An image that cannot be read takes its part in nothing.
    lost = int(data.held_back[5])
    read = faces.read
    broken = dataclasses.replace(
        faces, read=lambda number: b"no image" if number == lost else read(number)
    )
    others = dataclasses.replace(data, faces=broken, cache=None)
    loss, accuracy = witness(np.delete(data.held_back, 5))
    figures = validation_figures(model, others, recipe)
    assert figures["val_loss"] == pytest.approx(loss, rel=1e-5)
    assert figures["val_accuracy"] == pytest.approx(accuracy, rel=1e-6)


def _pixels(faces: object, number: int) -> np.ndarray:
    from io import BytesIO

    from PIL import Image

    raw = bytes(faces.read(int(number)))  # type: ignore[attr-defined]
    return np.asarray(Image.open(BytesIO(raw)), np.float32) / 255
