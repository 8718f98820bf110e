"""Whole training models as `training` builds and saves them: the embedding is found, untrusted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.evaluator.models.networks import save

pytestmark = pytest.mark.slow

SOFTMAX = {"epochs": 1, "loss": "softmax", "optimizer": "adam", "learning_rate": 0.01}
MARGIN = {**SOFTMAX, "loss": {"name": "margin", "preset": "arcface"}}
RECIPES: dict[str, dict[str, Any]] = {
    "softmax": {"stages": [SOFTMAX]},
    "margin": {"stages": [MARGIN]},
    "center": {"stages": [MARGIN], "center": {}},
    "dense": {"stages": [{**SOFTMAX, "head": "dense"}]},
    "dense-center": {"stages": [{**SOFTMAX, "head": "dense"}], "center": {}},
    "bfloat16": {"stages": [MARGIN], "center": {}, "precision": "mixed_bfloat16"},
}

# Evaluates each file as a user does, where nobody has imported what wrote it.
EVALUATE = """
import sys
from pathlib import Path
import numpy as np
from evaluator.models.load import load_embedder
from evaluator.models.options import LoadOptions
folder = Path(sys.argv[1])
images = np.load(folder / "images.npy")
found = {}
for path in sorted([*folder.glob("*.keras"), *folder.glob("*.h5")]):
    embedder = load_embedder(path, LoadOptions(profile="unit"))
    assert any("whole training model" in note for note in embedder.notes), path
    found[path.name] = embedder.forward(images)
assert "training" not in sys.modules
np.savez(folder / "found.npz", **found)
"""


def test_whole_training_models_give_their_embedding(keras: Any, tmp_path: Path) -> None:
    from training.network.assembly import embedding_model, stage_model
    from training.network.heads import NormDense
    from training.recipes.recipe import parse_recipe

    images = np.random.default_rng(0).uniform(size=(3, 32, 32, 3)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    expected = {}
    for name, parts in RECIPES.items():
        plain = {
            "model": {"backbone": "conv4", "pooling": "gdc", "embedding_size": 6},
            "preprocess": {"size": [32, 32]},
            **parts,
        }
        recipe = parse_recipe(plain, lambda place, message: ValueError(f"{place}: {message}"))
        keras.utils.set_random_seed(len(name))
        embedding = embedding_model(recipe)
        whole = stage_model(recipe, recipe.stages[0], embedding, classes=9, steps_per_epoch=2)
        expected[name] = (whole, embedding)
    embedding = expected["margin"][1]
    image = keras.Input((32, 32, 3))
    head = NormDense(9, cosine=True, sub_centers=3, name="head")
    expected["sub-centers"] = (keras.Model(image, head(embedding(image))), embedding)
    for name, (whole, _) in expected.items():
        save(whole, tmp_path / f"{name}.keras")
        save(whole, tmp_path / f"{name}.h5")
    done = subprocess.run(
        [sys.executable, "-c", EVALUATE, str(tmp_path)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = np.load(tmp_path / "found.npz")
    assert len(found.files) == 2 * len(expected)
    for name, (_, embedding) in expected.items():
        own = embedding.predict(images, verbose=0)
        for suffix in ("keras", "h5"):
            # Half a unit of bfloat16's last place is 0.4 %; elsewhere the graphs are the same.
            tolerance = {"rtol": 0.02, "atol": 0.02} if name == "bfloat16" else {"atol": 1e-5}
            np.testing.assert_allclose(found[f"{name}.{suffix}"], own, **tolerance)


def test_the_heads_are_what_training_computes(keras: Any, tmp_path: Path) -> None:
    from evaluator.models.keras.training_layers import training_layers
    from training.network.heads import NormDense

    layers = training_layers(keras)
    embeddings = np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)
    padded = {"cosine": True, "sub_centers": 3, "multiple": 4}  # 15 vectors in 16 columns
    for options in ({}, {"cosine": True}, {"cosine": True, "sub_centers": 3}, padded):
        own = NormDense(5, **options)
        expected = keras.ops.convert_to_numpy(own(embeddings))
        restated = layers["face_zoo>NormDense"].from_config(own.get_config())
        restated(embeddings)
        restated.set_weights(own.get_weights())
        found = keras.ops.convert_to_numpy(restated(embeddings))
        np.testing.assert_allclose(found, expected, atol=1e-5)
        # Once more by hand, in NumPy.
        weight = np.asarray(own.get_weights()[0], np.float64)[:, : 5 * own.sub_centers]
        rows = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
        logits = (rows if options else embeddings) @ (weight / np.linalg.norm(weight, axis=0))
        by_hand = logits.reshape(4, 5, -1).max(axis=-1)
        np.testing.assert_allclose(found, by_hand, atol=1e-5)
