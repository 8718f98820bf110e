"""Models around an embedding: put together, taken apart, read from files of the last release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import training as t
from evaluator.errors import InputError
from training.network.losses import MARGINS

# Written by the code of the last release: embedding, center, head, a margin and triplets, L2SGD
# with rates by step, after two steps. Re-zipped; nothing else was changed.
LAST_RELEASE = Path(__file__).with_name("last_release.keras")


def tiny(features: int = 4, size: int = 3) -> keras.Model:
    inputs = keras.Input((features,), name="images")
    return keras.Model(inputs, keras.layers.Dense(size, name="embedding")(inputs), name="tiny")


def test_a_file_of_the_last_release_is_read_and_gives_what_it_gave() -> None:
    model = t.load_model(LAST_RELEASE)
    random = np.random.default_rng(0)
    images = random.normal(size=(10, 4)).astype(np.float32)
    labels = (np.arange(10) % 5).astype(np.int32)
    both = {"logits": labels, "vector": labels}
    logs = model.evaluate((images, labels), both, verbose=0, return_dict=True)
    # What the code that wrote the file found.
    assert logs["logits_loss"] == pytest.approx(64.1960678100586, rel=1e-5)
    assert logs["vector_loss"] == pytest.approx(0.15127740800380707, rel=1e-4)
    assert logs["loss"] == pytest.approx(98.56664276123047, rel=1e-5)
    assert logs["center_loss"] == pytest.approx(98.56664 - 64.19607 - 0.15128, rel=1e-4)
    first = [0.13297145, -0.35808969, 0.57886219, -0.68544269, 0.57922792]
    found = model.predict_on_batch([images, labels])["logits"][0]
    np.testing.assert_allclose(found, first, rtol=1e-5)
    center = [1.062131643295288, -0.04011891782283783, -0.9500128030776978]
    np.testing.assert_allclose(model.get_layer("center").centers[3], center, rtol=1e-6)
    assert isinstance(model.optimizer, t.SGD)
    assert int(model.optimizer.iterations) == 2
    assert float(model.optimizer.l2) == 5e-4
    assert isinstance(model.loss["logits"], t.MarginLoss)
    assert isinstance(model.loss["vector"], t.TripletSemiHard)
    before = np.array(model.optimizer.momentums[0])
    model.fit((images, labels), both, epochs=1, batch_size=5, verbose=0)
    assert not np.array_equal(before, np.array(model.optimizer.momentums[0]))


def test_the_embedding_of_a_whole_model_is_its_own_variables() -> None:
    basic = tiny()
    whole = t.whole_model(basic, t.MarginHead(5, t.CosFace(), name="head"))
    assert t.embedding_of(whole) is basic
    assert [each.name for each in whole.inputs] == ["images", "labels"]
    assert whole.output_shape == (None, 3)
    assert t.embedding_of(basic) is basic
    flat = keras.Model(basic.input, t.NormDense(5)(basic.output))
    found = t.embedding_of(flat)
    assert found.output_shape == (None, 3)
    assert found.weights[0] is basic.weights[0]
    inputs = keras.Input((4,))
    other = keras.Model(inputs, keras.layers.Dense(3, name="vector")(inputs), name="other")
    with pytest.raises(InputError, match=r"other: no layer is named 'embedding'.*'vector' \(3\)"):
        t.embedding_of(other)


def test_an_embedding_model_is_made_of_a_name_a_model_or_a_file(tmp_path: Path) -> None:
    base = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3, strides=4)])
    model = t.embedding_model(keras.Model(base.inputs[0], base.outputs[0]), embedding_size=6)
    assert model.output_shape == (None, 6)
    assert model.layers[-1].name == "embedding"
    named = t.embedding_model("conv4", input_shape=(32, 32, 3), embedding_size=6, pooling="gdc")
    assert named.output_shape == (None, 6)
    whole = t.whole_model(named, keras.layers.Dense(9))
    whole.save(tmp_path / "whole.keras")
    images = np.random.default_rng(0).random((2, 32, 32, 3)).astype(np.float32)
    again = t.embedding_model(tmp_path / "whole.keras")
    np.testing.assert_allclose(
        again.predict_on_batch(images), named.predict_on_batch(images), rtol=1e-5, atol=1e-6
    )
    with pytest.raises(InputError, match="did you mean 'conv4'"):
        t.embedding_model("conv5")
    with pytest.raises(InputError, match="pooling"):
        t.embedding_model("conv4", pooling="gpa")
    with pytest.raises(InputError, match="weights: a model brings its own"):
        t.embedding_model(named, weights="imagenet")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"head": keras.layers.Dense(5), "cosine": True}, "cosine: belongs to NormDense"),
        ({"head": t.NormDense(5), "center": t.CenterLoss(6)}, "head has 5 classes and center 6"),
    ],
)
def test_parts_that_do_not_fit_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        t.whole_model(tiny(), **arguments)
    images = keras.Input((8, 8, 3))
    maps = keras.Model(images, keras.layers.Conv2D(2, 3)(images))
    with pytest.raises(InputError, match="expected one embedding"):
        t.whole_model(maps, t.NormDense(5))


def heads() -> dict[str, Any]:
    return {
        "norm": t.NormDense(5, multiple=4),
        "dense": keras.layers.Dense(5),
        "margin": t.MarginHead(5, t.ArcFace(), multiple=3),
    }


@pytest.mark.parametrize("source", ["norm", "dense", "margin"])
@pytest.mark.parametrize("target", ["norm", "dense", "margin"])
def test_class_vectors_go_from_head_to_head(source: str, target: str) -> None:
    one, two = heads()[source], heads()[target]
    one.build((None, 3))
    t.copy_head(one, two)
    vectors = {
        "norm": lambda layer: layer.norm_dense_w[:, :5],
        "dense": lambda layer: layer.kernel,
        "margin": lambda layer: keras.ops.transpose(layer.class_vectors[:5]),
    }
    given = np.asarray(vectors[source](one))
    assert np.abs(given).min() > 0
    np.testing.assert_array_equal(np.asarray(vectors[target](two)), given)


def test_heads_and_centers_go_from_a_file_into_another_model(tmp_path: Path) -> None:
    made = []
    for _ in range(2):
        head = t.MarginHead(5, t.ArcFace(), name="head")
        made.append(t.whole_model(tiny(), head, center=t.CenterLoss(5, name="center")))
    one, two = made
    values = np.random.default_rng(0).random((5, 3)).astype(np.float32)
    one.get_layer("center").centers.assign(values)
    one.save(tmp_path / "one.keras")
    t.copy_head(tmp_path / "one.keras", two)
    np.testing.assert_array_equal(np.asarray(two.get_layer("center").centers), values)
    vectors = [np.asarray(each.get_layer("head").class_vectors) for each in (one, two)]
    np.testing.assert_array_equal(*vectors)


def test_heads_that_differ_are_not_copied() -> None:
    one, two = t.NormDense(5, name="one"), t.NormDense(6, name="two")
    with pytest.raises(InputError, match="one has no weights yet"):
        t.copy_head(one, two)
    one.build((None, 3))
    with pytest.raises(InputError, match="one has 5 classes x 1 of 3 features, two 6 classes"):
        t.copy_head(one, two)
    dense = keras.layers.Dense(5, bias_initializer="ones", name="dense")
    dense.build((None, 3))
    with pytest.raises(InputError, match="dense has a bias, one has no place for it"):
        t.copy_head(dense, one)
    with pytest.raises(InputError, match="expected heads or centers in both"):
        t.copy_head(t.CenterLoss(5), one)


def test_centers_are_written_and_read(tmp_path: Path) -> None:
    center = t.CenterLoss(5, multiple=4)
    with pytest.raises(InputError, match="call the layer on embeddings first"):
        center.save_centers(tmp_path / "centers.npy")
    center.build((None, 3), (None,))
    values = np.random.default_rng(0).random((5, 3)).astype(np.float32)
    np.save(tmp_path / "centers.npy", values)
    center.load_centers(tmp_path / "centers.npy")
    assert np.asarray(center.centers).shape == (8, 3)
    center.save_centers(tmp_path / "again.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "again.npy"), values)


# ---- Losses and metrics that came with them ------------------------------------------------------


def test_label_smoothing_is_kerass() -> None:
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(6, 4)).astype(np.float32), np.array([0, 1, 2, 3, 3, 0])
    one_hot = np.eye(4, dtype=np.float32)[labels]
    expected = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2)
    import tensorflow as tf

    slopes = []
    for loss, truth in ((t.SoftmaxLoss(label_smoothing=0.2), labels), (expected, one_hot)):
        values = tf.Variable(logits)
        with tf.GradientTape() as tape:
            value = loss(truth, values)
        slopes.append([float(value), np.asarray(tape.gradient(value, values))])
    assert slopes[0][0] == pytest.approx(slopes[1][0], rel=1e-6)
    np.testing.assert_allclose(slopes[0][1], slopes[1][1], atol=1e-6)
    again = t.SoftmaxLoss.from_config(t.SoftmaxLoss(label_smoothing=0.2).get_config())
    assert again.label_smoothing == 0.2


@pytest.mark.parametrize("loss", [t.SoftmaxLoss(), t.MarginLoss.preset("arcface")])
def test_one_hot_labels_are_refused_where_a_fit_is_traced(loss: Any) -> None:
    inputs = keras.Input((3,))
    model = keras.Model(inputs, t.NormDense(4)(inputs))
    model.compile("sgd", loss)
    images, one_hot = np.ones((4, 3), np.float32), np.eye(4, dtype=np.float32)
    with pytest.raises(InputError, match=r"one-hot labels use argmax\(labels, axis=-1\)"):
        model.fit(images, one_hot, verbose=0)


@pytest.mark.parametrize(
    ("given", "words"), [("s", "scale"), ("m", "angular_add"), ("easy_margin", "fallback=")]
)
def test_what_others_call_a_parameter_is_refused_with_our_name(given: str, words: str) -> None:
    with pytest.raises(InputError, match=f"MarginLoss: {given}: .*{words}"):
        t.MarginLoss(**{given: 1})


def test_the_founding_margins_have_two_names() -> None:
    assert "founding" in t.MarginLoss.presets()
    assert "seed" not in t.MarginLoss.presets()
    for name in MARGINS:
        ours = t.MarginLoss.preset(name.replace("seed", "founding")).get_config()
        assert ours == t.MarginLoss.preset(name).get_config()
        assert {key: ours[key] for key in MARGINS[name]} == dict(MARGINS[name])


def test_accuracy_of_logits_counts_labels_from_0_on() -> None:
    logits = np.array([[1, 2, 0], [3, 0, 0], [0, 0, 1], [9, 0, 0]], np.float32)
    metric = keras.metrics.MeanMetricWrapper(t.logits_accuracy)
    metric.update_state(np.array([1, 1, 2, -1]), logits)
    assert float(metric.result()) == pytest.approx(2 / 3)


def test_active_triplets_are_those_of_the_loss() -> None:
    random = np.random.default_rng(0)
    embeddings, labels = random.normal(size=(8, 3)).astype(np.float32), np.arange(8) // 2
    for name, kind in (
        ("triplet_semihard", t.TripletSemiHard),
        ("triplet_batch_all", t.TripletBatchAll),
    ):
        metric = t.ActiveTriplets(loss=name, margin_cosine=0.1)
        metric = t.ActiveTriplets.from_config(metric.get_config())
        metric.update_state(labels, embeddings)
        expected = float(kind(margin_cosine=0.1).found(labels, embeddings).active)
        assert 0 < expected < 1
        assert float(metric.result()) == pytest.approx(expected)
    with pytest.raises(InputError, match="expected one of margin_cosine"):
        t.ActiveTriplets()


def test_distillation_is_its_formula() -> None:
    from scipy.special import rel_entr, softmax

    random = np.random.default_rng(0)
    teacher, student = random.normal(size=(2, 5, 4)).astype(np.float32)
    units = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (teacher, student)]
    expected = {
        "cosine": (1 - (units[0] * units[1]).sum(axis=1)).mean(),
        "squared": ((teacher - student) ** 2).mean(),
    }
    for kind, value in expected.items():
        loss = t.EmbeddingDistillation(kind)
        assert float(loss(teacher, student)) == pytest.approx(value, rel=1e-5)
        assert loss.from_config(loss.get_config()).kind == kind
    loss = t.LogitDistillation(temperature=3.0)
    both = softmax(teacher / 3.0, axis=1), softmax(student / 3.0, axis=1)
    value = 9 * rel_entr(*both).sum(axis=1).mean()
    assert float(loss(teacher, student)) == pytest.approx(value, rel=1e-5)
    assert float(loss(teacher, teacher)) == pytest.approx(0, abs=1e-6)
    assert loss.from_config(loss.get_config()).temperature == 3.0
    with pytest.raises(InputError, match="kind"):
        t.EmbeddingDistillation("cosin")
    with pytest.raises(InputError, match="temperature: expected a finite number above 0"):
        t.LogitDistillation(0)
