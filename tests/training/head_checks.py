"""What `MarginHead` and its friends find on the backend of the process that asks, as plain data."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

IMAGES, CLASSES, FEATURES = 9, 7, 5
LABELS = np.array([0, 3, 6, 1, 2, 4, 0, 3, -1])
# Options of `MarginHead` for each margin by its name in recipes.
CASES: dict[str, dict[str, Any]] = {
    "arcface": {"scale": 16.0},
    "cosface": {"scale": 16.0, "label_smoothing": 0.1},
    "combined": {"scale": 16.0, "sub_centers": 3},
    "adaface": {"scale": 16.0},
    "curricularface": {"scale": 16.0, "label_smoothing": 0.1},
    "magface": {"scale": 16.0},
    "elasticface": {"scale": 16.0},
}
OPTIONS: dict[str, dict[str, Any]] = {
    "combined": {"angular_mul": 0.9, "angular_add": 0.3, "cosine_sub": 0.2},
    "magface": {"l_a": 1.0, "u_a": 4.0},
    "elasticface": {"std": 0.0},
    "adaface": {"momentum": 0.5},
    "curricularface": {"momentum": 0.5},
}


def inputs(name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Embeddings (9, 5) of lengths 0.3 to 6, and class vectors."""
    random = np.random.default_rng(sorted(CASES).index(name))
    embeddings = random.normal(size=(IMAGES, FEATURES))
    embeddings *= np.linspace(0.3, 6, IMAGES)[:, None] / np.linalg.norm(embeddings, axis=1)[:, None]
    rows = CLASSES * CASES[name].get("sub_centers", 1)
    return embeddings.astype(np.float32), random.normal(size=(rows, FEATURES)).astype(np.float32)


def head_of(name: str, **changes: Any) -> Any:
    from training.network.margin_head import MarginHead
    from training.network.margins import MARGIN_KINDS

    margin = MARGIN_KINDS[name](**OPTIONS.get(name, {}))
    head = MarginHead(CLASSES, margin, **{**CASES[name], "seed": 0, **changes})
    head.build((None, FEATURES))
    return head


# What JAX has compiled for a head.
_COMPILED: dict[Any, Any] = {}


def loss_and_gradients(head: Any, embeddings: Any) -> list[Any]:
    """The loss, and its gradients by embeddings and class vectors; state moves in the head."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        values = tf.constant(embeddings)
        with tf.GradientTape() as tape:
            tape.watch(values)
            head(values, LABELS, training=True)
            (loss,) = head.losses
        slopes = tape.gradient(loss, [values, head.class_vectors.value])
        arrays = [tf.convert_to_tensor(each).numpy() for each in slopes if each is not None]
        return [float(loss), *arrays]
    import jax

    if head not in _COMPILED:

        def loss_of(values: Any, vectors: Any, held: Any) -> Any:
            _, state, (loss,) = head.stateless_call(
                [vectors], held, values, LABELS, training=True, return_losses=True
            )
            return loss, state

        _COMPILED[head] = jax.jit(jax.value_and_grad(loss_of, argnums=(0, 1), has_aux=True))
    held = [each.value for each in head.non_trainable_variables]
    (loss, state), slopes = _COMPILED[head](embeddings, head.class_vectors.value, held)
    _hold(head, state)
    return [float(loss), *(np.asarray(each) for each in slopes)]


def _hold(head: Any, state: Any) -> None:
    for variable, value in zip(head.non_trainable_variables, state, strict=True):
        variable.assign(value)


def evaluated(head: Any, embeddings: Any) -> NDArray[np.float32]:
    """Loss and accuracy of each image outside of training; state moves in the head."""
    import keras

    if keras.backend.backend() == "tensorflow":
        return np.asarray(head(embeddings, LABELS, training=False, figures=True))
    import jax

    figures = jax.jit(functools.partial(head.stateless_call, training=False, figures=True))
    held = [each.value for each in head.non_trainable_variables]
    found, state = figures([head.class_vectors.value], held, embeddings, LABELS)
    _hold(head, state)
    return np.asarray(found)


def margins() -> dict[str, Any]:
    """Loss and gradients in training, what is kept after, and loss and accuracy outside of it."""
    import training.network.margin_head as module

    found = {}
    block, module.BLOCK = module.BLOCK, 3  # three blocks, the last of which overlaps
    for name in CASES:
        embeddings, vectors = inputs(name)
        head = head_of(name)
        head.class_vectors.assign(vectors)
        loss, by_embedding, by_vectors = loss_and_gradients(head, embeddings)
        state = [float(each) for each in head.kept]
        head.running.forget()
        figures = evaluated(head, embeddings)
        found[name] = {
            "loss": loss,
            "by_embedding": by_embedding.tolist(),
            "by_vectors": by_vectors.tolist(),
            "state": state,
            "state after evaluation": [float(each) for each in head.kept],
            "figures": figures.tolist(),
            "logs": [float(each.result()) for each in head.metrics],
        }
    module.BLOCK = block
    return found


def sampled() -> dict[str, Any]:
    """Two batches over drawn classes; a batch that has more images than the share has classes."""
    embeddings, vectors = inputs("arcface")
    found = []
    for rate in (0.5, 0.9, 0.99):
        head = head_of("arcface", sample_rate=rate)
        head.class_vectors.assign(vectors)
        for _ in range(2):
            loss, _, by_vectors = loss_and_gradients(head, embeddings)
            found.append({"rate": rate, "loss": loss, "by_vectors": by_vectors.tolist()})
    head = head_of("elasticface")
    head.margin = dataclasses.replace(head.margin, std=0.2)
    losses = [loss_and_gradients(head, embeddings)[0] for _ in range(3)]
    return {"batches": found, "elastic": losses}


def many_classes() -> dict[str, Any]:
    """Which of 40 classes 60 batches of two people draw."""
    from training.network.margin_head import MarginHead
    from training.network.margins import ArcFace

    head = MarginHead(40, ArcFace(), sample_rate=0.25, seed=1)
    head.build((None, 3))
    rows = [head._drawn_rows(np.array([[5], [17]]))[0] for _ in range(60)]
    return {"rows": np.stack([np.sort(np.asarray(each)) for each in rows]).tolist()}


def steps() -> dict[str, Any]:
    """SGD with lazy rows on a dense gradient, with and without momentum."""
    import keras

    from training.network.optimizers import SGD

    found = {}
    for nesterov in (False, True):
        weight = keras.Variable(np.ones((4, 2), np.float32), name="embeddings")
        other = keras.Variable(np.ones((4, 2), np.float32), name="kernel")
        sgd = SGD(0.1, learning_rate=0.5, momentum=0.9, lazy_rows=True, nesterov=nesterov)
        sgd.build([weight, other])
        for gradient in GRADIENTS:
            values = keras.ops.convert_to_tensor(gradient)
            sgd.apply([values, values], [weight, other])
        found[str(nesterov)] = [np.asarray(each).tolist() for each in (weight, other)]
    return found


GRADIENTS = [
    np.array([[1, 2], [0, 0], [0, 3], [0, 0]], np.float32),
    np.array([[0, 0], [0, 0], [1, 1], [-1, 0]], np.float32),
    np.array([[2, 0], [0, 0], [0, 0], [5, 0]], np.float32),
]


def resumed(folder: Path) -> dict[str, Any]:
    """Two epochs, then two more of the same model and two of what is loaded; the first's logs."""
    import keras

    import training as t

    random = np.random.default_rng(0)
    images = random.normal(size=(24, 4, 4, 3)).astype(np.float32)
    labels = (np.arange(24) % 12).astype(np.int32)

    data = ((images, labels), labels)

    def fitted(model: Any, **options: Any) -> Any:
        options |= {"batch_size": 8, "epochs": 2, "shuffle": False, "verbose": 0}
        return model.fit(*data, **options).history

    keras.utils.set_random_seed(1)
    inputs = keras.Input((4, 4, 3), name="images")
    x = keras.layers.Dense(6, name="embedding")(keras.layers.Flatten()(inputs))
    basic = keras.Model(inputs, x, name="tiny")
    head = t.MarginHead(40, t.AdaFace(momentum=0.1), sample_rate=0.5, seed=2, name="head")
    one = t.whole_model(basic, head)
    one.compile(t.SGD(5e-4, learning_rate=0.1, momentum=0.9, lazy_rows=True))
    history = fitted(one, validation_data=data)
    one.save(folder / "whole.keras")
    t.embedding_of(one).save(folder / "basic.keras")
    embedding = np.asarray(t.embedding_of(one)(images))
    before = float(head.kept[0])
    fitted(one)
    again = t.load_model(folder / "whole.keras")
    fitted(again)
    pairs = zip(one.variables, again.variables, strict=True)
    same = [bool(np.array_equal(np.asarray(a), np.asarray(b))) for a, b in pairs]
    return {
        "same": same,
        "weights": len(one.weights),
        "state": [float(head.kept[0]), before],
        "history": {key: [float(each) for each in value] for key, value in history.items()},
        "embedding": embedding.tolist(),
    }


def founding(folder: Path) -> dict[str, Any]:
    """Softmax, a margin, then center and softmax on the same weights."""
    import keras

    import training as t

    random = np.random.default_rng(0)
    images = random.random((12, 4, 4, 3)).astype(np.float32)
    labels = (np.arange(12) % 4).astype(np.int32)
    inputs = keras.Input((4, 4, 3), name="images")
    x = keras.layers.Dense(8, name="embedding")(keras.layers.Flatten()(inputs))
    basic = keras.Model(inputs, x, name="tiny")
    head, center = t.NormDense(4, name="head"), t.CenterLoss(4, name="center")
    soft = t.whole_model(basic, head)
    arc = t.whole_model(basic, head, cosine=True)
    cent = t.whole_model(basic, head, center=center)
    history = {}
    for name, model, loss, x in (
        ("soft", soft, t.SoftmaxLoss(label_smoothing=0.1), images),
        ("arc", arc, t.MarginLoss.preset("arcface"), images),
        ("cent", cent, t.SoftmaxLoss(), (images, labels)),
    ):
        model.compile("adamax", loss, metrics=[t.logits_accuracy])
        fit = model.fit(x, labels, batch_size=6, epochs=1, verbose=0)
        history[name] = {key: float(value[-1]) for key, value in fit.history.items()}
    cent.save(folder / "cent.keras")
    arc.save(folder / "arc.keras")
    loaded = t.load_model(folder / "cent.keras"), t.load_model(folder / "arc.keras")
    center.save_centers(folder / "centers.npy")
    same = [
        np.abs(np.asarray(a.predict_on_batch(x)) - np.asarray(b.predict_on_batch(x))).max()
        for a, b, x in ((cent, loaded[0], (images, labels)), (arc, loaded[1], images))
    ]
    logits = np.asarray(arc.predict_on_batch(images))
    return {
        "history": history,
        "apart": [float(each) for each in same],
        "cosines": logits.tolist(),
        "embedding": np.asarray(basic.predict_on_batch(images)).tolist(),
        "weight": np.asarray(head.norm_dense_w).tolist(),
        "centers": np.load(folder / "centers.npy").tolist(),
        "held": np.asarray(center.centers).tolist(),
        "iterations": [int(each.optimizer.iterations) for each in loaded],
        "backend": keras.backend.backend(),
    }


def everything(folder: Path) -> dict[str, Any]:
    """All of the above."""
    return {
        "margins": margins(),
        "sampled": sampled(),
        "many": many_classes(),
        "steps": steps(),
        "resumed": resumed(folder),
        "founding": founding(folder),
    }
