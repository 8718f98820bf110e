"""Models out of the checkpoints of earlier runs, and the heads that training goes on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from evaluator.errors import InputError
from training.data.sources.faces import FaceSet
from training.loop.variables import averaged, load_all, whole_arrays
from training.network.assembly import embedding_copy, shared_weights, stage_model, turned
from training.recipes.parts import Recipe
from training.run.checkpoints import read_state
from training.run.runs import RunError, RunFolder, names_sha256, read_data_record, read_entry


def restored(path: Path) -> tuple[Recipe, keras.Model]:
    """The recipe of a checkpoint's run (``RUN/checkpoints/last.npz``), and the stage's whole model
    with every variable that the checkpoint has.

    Raises RunError, CheckpointError or RecipeError where these are not a run's, OSError.
    """
    run = RunFolder(path.absolute().parent.parent)
    _, recipe = read_entry(run)
    people = read_data_record(run).get("people")
    if not isinstance(people, int) or people < 1:
        raise RunError(f"{run.data}: does not say how many people there were; restore it")
    model = stage_model(
        recipe,
        recipe.stage_at(read_state(path)["stage"]),
        embedding_copy(recipe),
        classes=people,
        steps_per_epoch=1,
    )
    load_all(model, path)
    return recipe, model


def restored_embedding(path: Path) -> tuple[Recipe, keras.Model]:
    """The recipe of a checkpoint's run, and its embedding model in float32, of averaged weights
    where the stage averages. Raises what `restored` raises.
    """
    recipe, model = restored(path)
    exported = embedding_copy(recipe, precision="float32")
    embedding = next(each for each in model.layers if isinstance(each, keras.Model))
    with averaged(model):
        exported.set_weights(embedding.get_weights())
    return recipe, exported


def start_head(run: RunFolder, faces: FaceSet, embedding_size: int) -> list[Any]:
    """The head's weight (features, classes) of the exported model of a run, and its centers where
    it has some.

    Raises InputError for other people, another size, or a run without a head, what `restored`
    raises, OSError.
    """
    _, recipe = read_entry(run)
    record = read_data_record(run)
    if record.get("people") != len(faces.names) or (
        record.get("names", names_sha256(faces)) != names_sha256(faces)
    ):
        raise InputError(
            f"start_head {run.path}: has a head for {record.get('people')} other people than the "
            f"{len(faces.names)} of {faces.source}; train on the same, or without start_head"
        )
    if recipe.model.embedding_size != embedding_size:
        raise InputError(
            f"start_head {run.path}: has embeddings of {recipe.model.embedding_size}; set "
            "model.embedding_size to that"
        )
    _, model = restored(run.exported_from(recipe))
    found = shared_weights(model)
    if not found:
        raise InputError(f"start_head {run.path}: ended on triplets, without a head; leave it out")
    return turned(model, whole_arrays(model, found))
