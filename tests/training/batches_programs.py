"""Programs that feed Keras's fit with our batches; what they found, for both backends to hold to.

Most batches are of 4 images, which 28 and 40 are multiples of: JAX compiles for each size anew.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

import training

SIZE = 16


def small_model(size: int = 8) -> keras.Model:
    images = keras.Input((SIZE, SIZE, 3))
    features = keras.layers.Conv2D(4, 4, strides=4, activation="tanh")(images)
    return keras.Model(
        images, keras.layers.Dense(size, name="embedding")(keras.layers.Flatten()(features))
    )


def mean_level(y_true: Any, y_pred: Any) -> Any:
    return ops.mean(y_pred, axis=-1)


def levels_by_epoch(faces: training.FaceSet) -> dict[str, Any]:
    """The mean level that a model saw in each epoch of fits, and that of the batches themselves."""

    def batches() -> training.FaceBatches:
        return training.face_batches(
            faces, batch_size=6, size=SIZE, seed=3, sampler=training.BalancedSampler()
        )[0]

    images = keras.Input((SIZE, SIZE, 3))
    model = keras.Model(images, keras.layers.GlobalAveragePooling2D()(images))
    model.compile("sgd", mean_level)
    train, seen = batches(), []
    for begin, end in ((0, 2), (2, 3)):
        found = model.fit(train, initial_epoch=begin, epochs=end, verbose=0)
        seen += found.history["loss"]
    own = []
    for epoch in range(3):
        fresh = batches()
        fresh.epoch = epoch
        own.append(float(np.mean([fresh[k][0].mean() for k in range(len(fresh))])))
    return {"seen": seen, "own": own, "epoch": train.epoch}


def center_fits(faces: training.FaceSet) -> dict[str, list[float]]:
    """The losses of a fit with our batches, and of one of the same model with another's."""

    class Theirs(keras.utils.PyDataset):
        def __init__(self) -> None:
            super().__init__()
            self.held, _ = training.face_batches(faces, batch_size=4, size=SIZE)

        def __len__(self) -> int:
            return len(self.held)

        def __getitem__(self, index: int) -> Any:
            return self.held[index]

    keras.utils.set_random_seed(0)
    train, held = training.face_batches(faces, batch_size=4, size=SIZE, validation=0.3)
    model, labels = small_model(), keras.Input((), dtype="int32")
    embedding = training.CenterLoss(faces.people)(model.output, labels)
    logits = training.NormDense(faces.people)(embedding)
    whole = keras.Model([model.input, labels], logits)
    whole.compile(keras.optimizers.Adam(0.02), training.SoftmaxLoss())
    start = whole.get_weights()
    ours = whole.fit(
        train.with_labels(), validation_data=held.with_labels(), epochs=4, verbose=0, shuffle=False
    )
    assert all(np.isfinite(ours.history["val_loss"]))
    whole.set_weights(start)
    theirs = whole.fit(training.with_labels(Theirs()), epochs=4, verbose=0)
    return {"center": ours.history["loss"], "stranger": theirs.history["loss"]}


def mixup_fit(faces: training.FaceSet) -> list[float]:
    keras.utils.set_random_seed(0)
    train, held = training.face_batches(faces, batch_size=4, size=SIZE, validation=0.3)
    model = small_model()
    whole = keras.Model(model.input, training.NormDense(faces.people)(model.output))
    whole.compile(keras.optimizers.Adam(0.02), training.MixupLoss(training.SoftmaxLoss()))
    found = whole.fit(train.with_mixup(0.4), validation_data=held, epochs=6, verbose=0)
    return found.history["val_loss"]


def triplet_fits(faces: training.FaceSet) -> dict[str, list[float]]:
    keras.utils.set_random_seed(0)
    person, other = small_model(), small_model()
    person.compile(keras.optimizers.Adam(0.01), training.TripletSemiHard(margin_cosine=0.2))
    other.compile(keras.optimizers.Adam(0.01), training.TripletMined(margin_cosine=0.2))
    # So wide that a model which has learnt has such triplets, too.
    mined = training.MinedSampler(embedding=other, people=4, images=4, alpha_cosine=1.0)
    found = {}
    for name, model, sampler in (
        ("person", person, training.PersonSampler(people=3, images=3)),
        ("mined", other, mined),
        ("sliding", other, training.SlidingWindowSampler(rounds=2)),
    ):
        train, _ = training.face_batches(faces, sampler=sampler, batch_size=9, size=SIZE)
        found[name] = model.fit(train, epochs=3, verbose=0).history["loss"]
    return found


def distilled(faces: training.FaceSet, teacher_file: str, cache: str) -> dict[str, Any]:
    keras.utils.set_random_seed(0)
    train, _ = training.face_batches(faces, batch_size=4, size=SIZE)
    teacher = training.Teacher(teacher_file, input="raw", cache=cache)
    model = small_model(teacher.embedding_size)
    logits = training.NormDense(faces.people, cosine=True)(model.output)
    whole = keras.Model(model.input, {"embedding": model.output, "logits": logits})
    whole.compile(
        keras.optimizers.Adam(0.01),
        {"embedding": keras.losses.CosineSimilarity(), "logits": training.MarginLoss(scale=16)},
        loss_weights={"embedding": 10, "logits": 1},
    )
    with teacher_batches(train, teacher) as batches:
        found = whole.fit(batches, epochs=4, verbose=0)
    return {"loss": found.history["loss"], "size": teacher.embedding_size}


class teacher_batches:  # noqa: N801 - reads as a function
    """Batches with a teacher, which is closed at the end."""

    def __init__(self, train: training.FaceBatches, teacher: training.Teacher) -> None:
        self.train, self.teacher = train, teacher

    def __enter__(self) -> training.FaceBatches:
        return self.train.with_teacher(self.teacher)

    def __exit__(self, *_: object) -> None:
        self.teacher.close()


def findings(folder: str, teacher_file: str, cache: str) -> dict[str, Any]:
    faces = training.open_faces(folder)
    found: dict[str, Any] = {
        "backend": keras.backend.backend(),
        "levels": levels_by_epoch(faces),
        **center_fits(faces),
        "mixup": mixup_fit(faces),
        "triplets": triplet_fits(faces),
    }
    if teacher_file:
        found["distilled"] = distilled(faces, teacher_file, cache)
    return found
