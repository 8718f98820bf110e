"""Verification in anyone's `fit`: what it logs, prints and saves. All of it on both backends."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from face_samples import SIDE, write_pairs

import evaluator
import training
from evaluator.bins.verification_set import read_bin
from tests.programs import COMPILES_QUICKLY, Programs

CLASSES = 4
SHAPE = (SIDE, SIDE, 3)


@pytest.fixture
def bin_path(tmp_path: Path) -> Path:
    return write_pairs(tmp_path / "lfw.bin", pairs=20)


def backbone(size: int = 8) -> keras.Model:
    """Images to embeddings."""
    keras.utils.set_random_seed(0)
    images = keras.Input(SHAPE)
    map_ = keras.layers.Conv2D(4, 3, strides=4, activation="relu")(images)
    map_ = keras.layers.BatchNormalization()(map_)
    flat = keras.layers.Dropout(0.2)(keras.layers.Flatten()(map_))
    return keras.Model(images, keras.layers.Dense(size, name="embedding")(flat), name="basic")


def whole(basic: keras.Model, **options: Any) -> keras.Model:
    """Images to logits, compiled; the embedding model is not nested."""
    model = keras.Model(basic.inputs, keras.layers.Dense(CLASSES)(basic.outputs[0]), name="whole")
    return compiled(model, **options)


def compiled(model: keras.Model, **options: Any) -> keras.Model:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, **options)
    return model


def data(batches: int = 5, batch: int = 4) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    labels = random.integers(0, CLASSES, batches * batch)
    images = random.random((len(labels), *SHAPE)) * 0.2 + labels[:, None, None, None] / 5
    return images.astype(np.float32), labels


def fit(model: keras.Model, *callbacks: Any, **options: Any) -> dict[str, list[float]]:
    images, labels = data()
    options = {"epochs": 3, "batch_size": 4, "verbose": 0, **options}
    return model.fit(images, labels, callbacks=[*callbacks], **options).history


def accuracy_of(evaluation: evaluator.Evaluation) -> float:
    """The best accuracy over all thresholds, counted anew."""
    scores, genuine = evaluation.scores, evaluation.genuine
    return max(float(((scores > cut) == genuine).mean()) for cut in [-2.0, *scores])


def test_logs_are_the_figures_of_the_saved_model(
    bin_path: Path, tmp_path: Path, same_process: None
) -> None:
    verify = training.VerificationCallback(
        bin_path,
        figures=("accuracy", "threshold", "kfold", "kfold_std", "auc", "eer", "tar_at_far_1e-1"),
        save_improved=tmp_path / "new" / "{bin}_{epoch:03d}.keras",
        save_best=tmp_path / "best-{loss:.3f}.h5",
        save="embedding",
    )
    logs = fit(whole(backbone()), verify)
    assert [each.epoch for each in verify.history] == [1, 2, 3]
    assert [each.step for each in verify.history] == [5, 10, 15]
    names = [path.name for path in sorted((tmp_path / "new").iterdir())]
    best, expected = 0.0, []
    for epoch, record in enumerate(verify.history):
        evaluation = record.evaluation
        accuracy = accuracy_of(evaluation)
        assert logs["lfw_accuracy"][epoch] == accuracy == logs["verification"][epoch]
        assert logs["lfw_kfold"][epoch] == evaluation.figures.kfold.accuracy
        assert logs["lfw_kfold_std"][epoch] == evaluation.figures.kfold.std
        assert logs["lfw_auc"][epoch] == evaluation.figures.auc
        assert logs["lfw_eer"][epoch] == evaluation.figures.eer
        assert logs["lfw_tar_at_far_1e-1"][epoch] == evaluation.figures.tar_at_far["0.1"].tar
        if accuracy > best:
            best = accuracy
            expected.append(f"lfw_{epoch + 1:03d}.keras")
            found = evaluator.evaluate(tmp_path / "new" / expected[-1], bin_path, input="unit")
            np.testing.assert_allclose(found.scores, evaluation.scores, atol=1e-5)
            assert found.figures.accuracy == accuracy
    assert names == expected
    assert verify.best == {"lfw": best, "verification": best}
    assert all(isinstance(each, float) for each in logs["verification"])
    (saved,) = tmp_path.glob("best-*.h5") if len(expected) == 1 else [None]
    assert saved is None or f"{logs['loss'][0]:.3f}" in saved.name


def test_the_line_is_the_founding_one_to_the_character(
    bin_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verify = training.VerificationCallback(
        bin_path, initial_best={"lfw": 0.25}, save_improved=tmp_path / "{bin}.keras"
    )
    fit(whole(backbone()), verify, epochs=1)
    figures = verify.history[0].evaluation.figures
    accuracy, threshold = figures.accuracy, figures.threshold
    assert capsys.readouterr().out.splitlines() == [
        f"Saving model to: {tmp_path}/lfw.keras",
        f">>>> lfw evaluation max accuracy: {accuracy:.6f}, thresh: {threshold:.6f}, "
        f"overall max accuracy: {accuracy:.6f}, improved = True",
    ]
    again = verify.evaluate()
    assert again.figures.accuracy == accuracy
    line = evaluator.verification_line(again["lfw"], best=1.0)
    assert line.endswith("overall max accuracy: 1.000000, improved = False")
    assert capsys.readouterr().out.endswith(
        f"overall max accuracy: {accuracy:f}, improved = False\n"
    )


def test_keras_callbacks_see_the_figures(bin_path: Path, tmp_path: Path) -> None:
    verify = training.VerificationCallback(bin_path, every=2, verbose=0)
    kept = keras.callbacks.ModelCheckpoint(
        tmp_path / "{epoch}-{lfw_kfold:.3f}.keras", "lfw_kfold", mode="max", save_best_only=True
    )
    stop = keras.callbacks.EarlyStopping("lfw_accuracy", mode="max", patience=2)
    table = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    model = whole(backbone())
    every = training.VerificationCallback(bin_path, verbose=0)
    history = fit(model, every, kept, stop, table, epochs=4)
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert {"lfw_accuracy", "lfw_kfold", "lfw_threshold", "verification"} <= set(rows[0].split(","))
    assert len(rows) == len(history["lfw_kfold"]) + 1
    first = history["lfw_kfold"][0]
    assert (tmp_path / f"1-{first:.3f}.keras").is_file()
    sparse = fit(whole(backbone()), verify, epochs=5)
    assert len(sparse["loss"]) == 5
    assert len(sparse["lfw_kfold"]) == 2
    assert [each.epoch for each in verify.history] == [2, 4]


def test_an_accuracy_that_does_not_rise_stops_the_fit(bin_path: Path) -> None:
    model = whole(backbone())
    model.optimizer.learning_rate = 0.0
    next(each for each in model.layers if "batch_norm" in each.name).trainable = False
    verify = training.VerificationCallback(bin_path, verbose=0)
    stop = keras.callbacks.EarlyStopping("lfw_kfold", mode="max", patience=2)
    assert len(fit(model, verify, stop, epochs=9)["loss"]) == 3


class Batches(keras.callbacks.Callback):
    """Notes after which batches the logs have figures."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, bool]] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.seen.append((batch, "lfw_accuracy" in logs))


def test_steps_are_counted_over_epochs(bin_path: Path) -> None:
    verify = training.VerificationCallback(bin_path, on="steps", every=3, verbose=0)
    seen = Batches()
    history = fit(whole(backbone()), verify, seen, epochs=3)  # 5 batches each
    assert [i + 1 for i, (_, has) in enumerate(seen.seen) if has] == [3, 6, 9, 12, 15]
    assert [each.step for each in verify.history] == [3, 6, 9, 12, 15]
    assert [each.epoch for each in verify.history] == [1, 2, 2, 3, 3]
    newest = [verify.history[i].evaluation.figures.accuracy for i in (0, 2, 4)]
    assert history["lfw_accuracy"] == newest


def test_steps_of_several_batches_evaluate_at_the_next_call(bin_path: Path) -> None:
    verify = training.VerificationCallback(bin_path, on="steps", every=3, verbose=0)
    fit(whole(backbone(), steps_per_execution=2), verify, epochs=2)
    # Calls end after batches 2, 4 and 5 of each epoch, as ModelCheckpoint's save_freq counts them.
    assert [each.step for each in verify.history] == [4, 7, 10]


def test_the_weights_in_the_middle_of_an_epoch_are_measured(bin_path: Path, tmp_path: Path) -> None:
    verify = training.VerificationCallback(
        bin_path, on="steps", every=2, save_improved=tmp_path / "{step}.keras", save="model",
        verbose=0,
    )  # fmt: skip
    fit(whole(backbone()), verify, epochs=1)
    first = verify.history[0]
    saved = keras.models.load_model(tmp_path / "2.keras")
    assert saved.output_shape == (None, CLASSES)
    assert int(saved.optimizer.iterations) == 2
    found = verify.evaluate(saved)
    np.testing.assert_allclose(found.scores, first.evaluation.scores, atol=1e-5)
    assert not np.allclose(verify.history[1].evaluation.scores, first.evaluation.scores, atol=1e-5)


def test_fitting_goes_as_without_the_callback(bin_path: Path) -> None:
    plain, watched = whole(backbone()), whole(backbone())
    watched.set_weights(plain.get_weights())
    verify = training.VerificationCallback(bin_path, on="steps", every=1, verbose=0)
    a = fit(plain, shuffle=False)
    b = fit(watched, verify, shuffle=False)
    np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-5)


def nested(basic: keras.Model) -> keras.Model:
    images = keras.Input(SHAPE, name="images")
    return compiled(keras.Model(images, keras.layers.Dense(CLASSES)(basic(images)), name="nested"))


def test_the_embedding_is_found_in_a_nested_model(bin_path: Path) -> None:
    basic = backbone()
    nested(basic)  # an earlier model of the same layers
    model = nested(basic)
    found = [
        training.VerificationCallback(bin_path, embedding=embedding, verbose=0)
        for embedding in (None, "embedding", "basic", basic)
    ]
    fit(model, *found, epochs=1)
    scores = [each.history[0].evaluation.scores for each in found]
    np.testing.assert_allclose(scores[1:], [scores[0]] * 3, atol=1e-6)
    expected = evaluator.evaluate(basic, bin_path, input="unit")
    np.testing.assert_allclose(scores[0], expected.scores, atol=1e-6)
    assert verify_size(found[0]) == 8


def verify_size(verify: training.VerificationCallback) -> int:
    return verify.history[0].evaluation.model.embedding_size


def test_labels_as_an_input_are_not_needed(bin_path: Path) -> None:
    images, labels = keras.Input(SHAPE, name="images"), keras.Input((), name="labels")
    embedding = backbone()(images)
    joined = embedding + 0.0 * keras.ops.expand_dims(labels, 1)
    model = compiled(keras.Model([images, labels], keras.layers.Dense(CLASSES)(joined)))
    verify = training.VerificationCallback(bin_path, verbose=0)
    x, y = data()
    model.fit([x, y.astype(np.float32)], y, epochs=1, verbose=0, callbacks=[verify])
    assert verify_size(verify) == 8


def test_a_named_layer_is_taken_even_if_its_name_says_logits(bin_path: Path) -> None:
    images = keras.Input(SHAPE)
    flat = keras.layers.Flatten()(images)
    out = keras.layers.Dense(CLASSES, name="logits")(keras.layers.Dense(6, name="wide")(flat))
    model = compiled(keras.Model(images, out, name="plain"))
    for name, size in (("logits", CLASSES), ("wide", 6)):
        verify = training.VerificationCallback(bin_path, embedding=name, verbose=0)
        fit(model, verify, epochs=1)
        assert verify_size(verify) == size
    with pytest.raises(training.InputError, match=r"'flatten\w*' \(3072\), 'wide' \(6\), 'logits'"):
        fit(model, training.VerificationCallback(bin_path))


def test_a_sequential_network_and_a_triplet_fit_on_the_embedding_itself(bin_path: Path) -> None:
    keras.utils.set_random_seed(0)
    layers = [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(5, name="embedding")]
    basic = keras.Sequential(layers)
    basic.compile("adam", training.TripletBatchHard(margin_cosine=0.2))
    own = training.VerificationCallback(bin_path, embedding=basic, on="steps", every=2, verbose=0)
    named = training.VerificationCallback(bin_path, verbose=0)
    fit(basic, own, named, epochs=2)
    np.testing.assert_allclose(
        own.history[-1].evaluation.scores, named.history[-1].evaluation.scores, atol=1e-6
    )
    whole = keras.Sequential([*basic.layers, keras.layers.Dense(CLASSES)])
    verify = training.VerificationCallback(bin_path, verbose=0)
    fit(compiled(whole), verify, epochs=1)
    assert verify_size(verify) == 5


def test_a_model_that_is_not_fitted_is_refused(bin_path: Path) -> None:
    other = backbone()
    verify = training.VerificationCallback(bin_path, embedding=other)
    with pytest.raises(training.InputError, match="shares no weight"):
        fit(whole(backbone()), verify)


class Poison(keras.callbacks.Callback):
    """Makes the embedding NaN after an epoch, and finite after another."""

    def __init__(self, layer: Any, at: tuple[int, int]) -> None:
        super().__init__()
        self.layer, self.at, self.kept = layer, at, None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        if epoch == self.at[0]:
            _ = self.model
            self.kept = self.layer.get_weights()
            self.layer.set_weights([np.full_like(each, np.nan) for each in self.kept])
        elif epoch == self.at[1]:
            self.layer.set_weights(self.kept)


def test_embeddings_that_are_no_numbers_are_nan_in_the_logs(
    bin_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = whole(backbone())
    layer = model.get_layer("embedding")
    verify = training.VerificationCallback(bin_path, save_best=tmp_path / "best.keras")
    kept = keras.callbacks.ModelCheckpoint(
        tmp_path / "{epoch}.keras", "verification", mode="max", save_best_only=True
    )
    history = fit(model, Poison(layer, (1, 9)), verify, kept, epochs=2)
    assert math.isnan(history["lfw_accuracy"][1])
    assert math.isnan(history["verification"][1])
    assert verify.best["lfw"] == history["lfw_accuracy"][0]
    line = capsys.readouterr().out.splitlines()[-1]
    assert (
        line == ">>>> lfw evaluation: no accuracy: 40 embeddings are not finite or have no length"
    )
    assert not (tmp_path / "2.keras").exists()


def test_what_cannot_be_is_refused_at_once(bin_path: Path, tmp_path: Path) -> None:
    one = read_bin(bin_path)
    write_pairs(tmp_path / "val_lfw.bin")
    (tmp_path / "cut.bin").write_bytes(bin_path.read_bytes()[:-50])
    flat = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(1)])
    for given, said in (
        ({"input": "unti"}, "did you mean 'unit'"),
        ({"flip": "both"}, "flip"),
        ({"nan": "skip"}, "nan"),
        ({"on": "batch"}, "unknown on 'batch'"),
        ({"every": 0}, "every must be at least 1"),
        ({"figures": ("acuracy",)}, "did you mean 'accuracy'"),
        ({"monitor": "eer"}, "unknown monitor 'eer'"),
        ({"monitor": "tar_at_far_1e-4"}, "lfw has no tar_at_far_1e-4"),
        ({"aggregate": "max"}, "expected one of mean, min"),
        ({"save": "weights"}, "expected one of embedding, model"),
        ({"save_best": "best"}, r"ends in \.keras or \.h5"),
        ({"save_best": "{bin}.keras"}, "'bin' is save_improved's"),
        ({"save_improved": "{bin.keras"}, "save_improved"),
        ({"save_improved": "{}.keras"}, "name what is to stand"),
        ({"initial_best": {"lwf": 0.9}}, "did you mean 'lfw'"),
        ({"initial_best": {"lfw": 99.3}}, r"share in \[0, 1\]"),
        ({"size": 0}, "size must be"),
        ({"batch_size": 0}, "batch_size"),
        ({"bins": []}, "no bins"),
        ({"bins": [bin_path, one]}, "two bins are called 'lfw'"),
        ({"bins": tmp_path / "val_lfw.bin"}, "called 'val_lfw'"),
        ({"bins": tmp_path / "cut.bin"}, "cut.bin"),
        ({"embedding": flat}, "one number an image"),
    ):
        with pytest.raises(training.InputError, match=said):
            training.VerificationCallback(**{"bins": bin_path, **given})
    with pytest.raises(training.InputError, match="no model was fitted yet"):
        training.VerificationCallback(bin_path).evaluate()
    renamed = replace(read_bin(tmp_path / "val_lfw.bin"), name="lfw_2")
    assert training.VerificationCallback([one, renamed], verbose=0).sets[1].name == "lfw_2"


def test_a_template_that_the_logs_cannot_fill_says_what_they_have(
    bin_path: Path, tmp_path: Path
) -> None:
    verify = training.VerificationCallback(
        bin_path, save_best=tmp_path / "{val_loss}.keras", verbose=0
    )
    with pytest.raises(training.InputError, match=r"'val_loss'.*lfw_accuracy, .*loss, step"):
        fit(whole(backbone()), verify)


def test_a_save_that_fails_leaves_what_was_there(bin_path: Path, tmp_path: Path) -> None:
    target = tmp_path / "best.keras"
    target.write_bytes(b"before")
    model = whole(backbone())

    def fails(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    model.save = fails
    verify = training.VerificationCallback(bin_path, save_best=target, save="model", verbose=0)
    with pytest.raises(OSError, match="disk full"):
        fit(model, verify)
    assert target.read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.keras", "lfw.bin"]


def test_the_class_has_no_hook_that_costs_every_fit_its_asynchronous_callbacks(
    bin_path: Path,
) -> None:
    verify = training.VerificationCallback(bin_path)
    assert "on_train_batch_end" not in vars(type(verify)) | vars(verify)
    steps = training.VerificationCallback(bin_path, on="steps")
    assert "on_train_batch_end" in vars(steps)


@pytest.mark.slow
def test_a_stranger_fits_a_network_of_keras_with_ten_lines(bin_path: Path, tmp_path: Path) -> None:
    base = keras.applications.MobileNet(
        SHAPE, alpha=0.25, include_top=False, weights=None, pooling="avg"
    )
    emb = keras.layers.Dense(16, name="embedding", dtype="float32")(base.output)
    model = keras.Model(base.input, keras.layers.Dense(CLASSES)(emb))
    model.compile("adamax", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    verify = training.VerificationCallback(bin_path, save_improved=tmp_path / "{bin}_{epoch}.keras")
    stop = keras.callbacks.EarlyStopping("lfw_kfold", mode="max", patience=3)
    images, labels = data()
    model.fit(images, labels, batch_size=4, epochs=2, verbose=0, callbacks=[verify, stop])
    assert (tmp_path / "lfw_1.keras").is_file()
    assert accuracy_of(verify.evaluate(model)) == verify.history[-1].evaluation.figures.accuracy


TWO_DEVICES = """
import contextlib
import keras, numpy as np
import evaluator, training
from test_verification_callback import backbone, fit, whole
scope = contextlib.nullcontext()
if keras.backend.backend() == "jax":
    keras.distribution.set_distribution(keras.distribution.DataParallel())
    assert keras.distribution.distribution().device_mesh.devices.size == 2
else:
    import tensorflow as tf
    scope = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"]).scope()
with scope:
    model = whole(backbone())
verify = training.VerificationCallback(
    path, on="steps", every=3, save_improved=saved + "/{step}.keras", batch_size=15
)
fit(model, verify, epochs=2)
keras.distribution.set_distribution(None)
found = evaluator.evaluate(keras.models.load_model(saved + "/3.keras"), path, input="unit")
assert [each.step for each in verify.history] == [3, 6, 9]
np.testing.assert_allclose(found.scores, verify.history[0].evaluation.scores, atol=1e-5)
found = "as on one"
"""


@pytest.mark.slow
def test_two_devices_of_one_process_verify_as_one(
    bin_path: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    name = "on_two_jax_devices" if keras.backend.backend() == "jax" else "on_two_devices"
    programs: Programs = request.getfixturevalue(name)
    found = programs.found(TWO_DEVICES, path=str(bin_path), saved=str(tmp_path))
    assert found == "as on one"


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() == "jax", reason="is that test")
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax")
def test_all_of_this_holds_on_jax() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        env={**os.environ, **COMPILES_QUICKLY, "KERAS_BACKEND": "jax"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "1 skipped" in done.stdout
