"""The head that owns class vectors, a margin's state and the loss; also of sampled classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

from evaluator.errors import InputError
from training.network.centers import whole_batch
from training.network.heads import (
    inverse_lengths,
    padded,
    positive_whole,
    rounded_up,
    vector_lengths,
)
from training.network.losses import (
    counted,
    cross_entropy,
    finite,
    label_column,
    refuse_foreign,
    share_below_one,
)
from training.network.margins import MARGIN_KINDS, Margin, margin_of, margin_plain
from training.network.running import LossLayer, Running

# Classes whose cosines are held at once outside of training.
BLOCK = 65_536


@keras.saving.register_keras_serializable(package="face_zoo")
class MarginHead(LossLayer):
    """The embedding as it came in; adds the loss of a margin on its cosines with class vectors.

    Called on embeddings (batch, features) and integer labels (batch,) or (batch, 1); a label below
    0 has the loss 0. The loss is the cross-entropy of ``scale`` x cosine, with ``margin`` on the
    target's, averaged over the batch, and what the margin adds. The logs have ``head_loss`` and
    ``head_accuracy`` (largest cosine, without the margin).

    In training, ``sample_rate`` below 1 leaves a share of the classes, drawn anew for each batch:
    those of the batch, and others at random up to the share, or to as many as the global batch has
    images (An et al., Partial FC, CVPR 2022). Outside of training all classes count, in blocks.

    Weights: ``class_vectors`` (classes * sub_centers, features), float32, a class's ``sub_centers``
    one after the other, of which the nearest counts (Deng et al., ECCV 2020); rows of zeros after
    them make their number a multiple of ``multiple``, as in `NormDense`. What the margin keeps over
    batches, it moves in training alone; it and the state of the draws are saved. With ``figures``
    a call gives (batch, 2): the loss, and 1 where the class was found.

    Computes in float32 whatever the global precision, unless ``dtype`` is given. Under
    ``tf.distribute`` classes are drawn, and state moves, for the batch of all replicas.

    Raises:
        InputError: a number out of range, a ``margin`` that is none of `margins`; in a call,
            one-hot labels.
    """

    def __init__(
        self,
        classes: int,
        margin: Margin,
        *,
        sample_rate: float = 1.0,
        sub_centers: int = 1,
        scale: float = 64.0,
        label_smoothing: float = 0.0,
        multiple: int = 1,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        options.setdefault("dtype", "float32")
        refuse_foreign("MarginHead", options)
        super().__init__(**options)
        if not isinstance(margin, Margin) or type(margin) not in MARGIN_KINDS.values():
            names = ", ".join(kind.__name__ for kind in MARGIN_KINDS.values())
            raise InputError(f"MarginHead: margin: expected one of {names}; found {margin!r}")
        if not 0 < float(sample_rate) <= 1:
            raise InputError(
                f"MarginHead: sample_rate: expected a share above 0 up to 1, found {sample_rate!r}"
            )
        self.classes = positive_whole("MarginHead: classes", classes)
        self.margin = margin
        self.sample_rate = float(sample_rate)
        self.sub_centers = positive_whole("MarginHead: sub_centers", sub_centers)
        self.scale = finite("MarginHead: scale", scale, positive=True)
        self.label_smoothing = share_below_one("MarginHead: label_smoothing", label_smoothing)
        self.multiple = positive_whole("MarginHead: multiple", multiple)
        self.seed = seed
        if self.sample_rate < 1 or margin.DRAWS:
            # Keras writes no SeedGenerator of a layer into a file; a weight it does.
            draws = keras.random.SeedGenerator(seed)
            self.draw_state = draws.state
            self._draws: Callable[[], Any] = lambda: draws
        self.running = Running(["head_loss", "head_accuracy"])

    def build(self, embedding_shape: Any, labels_shape: Any = None) -> None:
        shape = (self.classes * self.sub_centers, embedding_shape[-1])
        self.class_vectors = self.add_weight(
            name="class_vectors",
            shape=(rounded_up(shape[0], self.multiple), shape[1]),
            initializer=padded(keras.initializers.RandomNormal(), shape),
        )
        self.kept = [
            self.add_weight(
                name=name,
                shape=(),
                initializer=keras.initializers.Constant(start),
                dtype="float32",
                trainable=False,
                autocast=False,
            )
            for name, start in self.margin.STATE.items()
        ]

    def call(
        self, embedding: Any, labels: Any, training: bool | None = None, figures: bool = False
    ) -> Any:
        values = ops.cast(embedding, "float32")
        given = label_column(labels)
        unit = values * inverse_lengths(values, axis=-1)
        over = self._over_sampled if training else self._over_all
        losses, right = over(unit, vector_lengths(values), given)
        losses = counted(losses, given)
        self.add_loss(ops.mean(losses))
        counts = ops.cast(ops.squeeze(given, axis=-1) >= 0, "float32")
        found = ops.cast(right, "float32") * counts
        self.running([losses, found], counts)
        return ops.stack([losses, found], axis=1) if figures else embedding

    def _over_sampled(self, unit: Any, length: Any, given: Any) -> tuple[Any, Any]:
        """Losses (batch,) over this batch's classes, and whether each has its own nearest."""
        labels = ops.maximum(given, 0)
        vectors = ops.convert_to_tensor(self.class_vectors)
        if self.sample_rate < 1:
            rows, labels = self._drawn_rows(labels)
            vectors = ops.take(vectors, rows, axis=0)
        elif self.classes * self.sub_centers < vectors.shape[0]:
            vectors = vectors[: self.classes * self.sub_centers]
        cosines = self._cosines(unit, vectors)
        cosine = ops.take_along_axis(ops.stop_gradient(cosines), labels, axis=-1)
        state = self._moved(cosine, length, given)
        drawn = ops.zeros_like(cosine)
        if self.margin.DRAWS:
            drawn = keras.random.normal(ops.shape(cosine), seed=self._draws())
        value, slope = self.margin.target(cosine, length, state, drawn)
        others = self.margin.others(cosines, cosine, state)
        if others is not cosines:
            own = ops.equal(ops.arange(ops.shape(cosines)[1], dtype="int32"), labels)
            others = ops.where(own, cosines, others)
        losses = cross_entropy(
            others,
            labels,
            scale=self.scale,
            target=self.scale * value,
            slope=self.scale * slope,
            smoothing=self.label_smoothing,
        )
        nearest = ops.cast(ops.argmax(cosines, axis=-1), "int32")
        return self._with_penalty(losses, length), ops.equal(nearest, ops.squeeze(labels, axis=-1))

    def _drawn_rows(self, labels: Any) -> tuple[Any, Any]:
        """Rows of this batch's classes, and the labels' places among the classes: (batch, 1)."""
        _, everyone = whole_batch(labels, labels)
        images = everyone.shape[0]
        share = math.ceil(self.classes * self.sample_rate)
        if images is not None:
            number: Any = min(max(share, images), self.classes)
        else:
            number = ops.minimum(ops.maximum(share, ops.shape(everyone)[0]), self.classes)
        draws = keras.random.uniform((self.classes,), seed=self._draws())
        above = ops.full_like(ops.cast(ops.squeeze(everyone, axis=-1), draws.dtype), 2.0)
        draws = ops.scatter_update(draws, everyone, above)
        chosen = ops.cast(ops.top_k(draws, number, sorted=False)[1], "int32")
        counted_up = ops.arange(number, dtype="int32")
        places = ops.zeros((self.classes,), "int32")
        places = ops.scatter_update(places, ops.expand_dims(chosen, 1), counted_up)
        return self._rows_of(chosen), ops.take(places, labels)

    def _rows_of(self, classes: Any) -> Any:
        """The rows of some classes' vectors, those of a class one after the other."""
        if self.sub_centers == 1:
            return ops.reshape(classes, (-1,))
        first = ops.reshape(classes, (-1, 1)) * self.sub_centers
        return ops.reshape(first + ops.arange(self.sub_centers, dtype="int32"), (-1,))

    def _cosines(self, unit: Any, vectors: Any) -> Any:
        """Of unit-length embeddings with classes whose vectors these are, (batch, classes)."""
        cosines = ops.einsum("bf,cf->bc", unit, vectors)
        cosines = cosines * ops.transpose(inverse_lengths(vectors, axis=1))
        if self.sub_centers > 1:
            shape = (-1, ops.shape(cosines)[1] // self.sub_centers, self.sub_centers)
            cosines = ops.max(ops.reshape(cosines, shape), axis=-1)
        return cosines

    def _moved(self, cosine: Any, length: Any, given: Any) -> Mapping[str, Any]:
        """The margin's running values, moved by the batch of all devices."""
        if not self.kept:
            return {}
        both = ops.stop_gradient(ops.concatenate([cosine, length], axis=1))
        both, given = whole_batch(both, given)
        counts = ops.cast(given >= 0, "float32")
        state = self.margin.moved(self._state(), both[:, :1], both[:, 1:], counts)
        for weight, name in zip(self.kept, self.margin.STATE, strict=True):
            weight.assign(state[name])
        return state

    def _state(self) -> Mapping[str, Any]:
        held = zip(self.margin.STATE, self.kept, strict=True)
        return {name: ops.convert_to_tensor(weight) for name, weight in held}

    def _with_penalty(self, losses: Any, length: Any) -> Any:
        penalty = self.margin.penalty(length)
        return losses if penalty is None else losses + ops.squeeze(penalty, axis=-1)

    def _over_all(self, unit: Any, length: Any, given: Any) -> tuple[Any, Any]:
        """The same over all classes, `BLOCK` at a time, with the margin's state as it is."""
        labels, state = ops.maximum(given, 0), self._state()
        all_vectors = ops.convert_to_tensor(self.class_vectors)
        own = ops.take(all_vectors, self._rows_of(labels), axis=0)
        own = own * inverse_lengths(own, axis=1)
        own = ops.reshape(own, (-1, self.sub_centers, own.shape[-1]))
        cosine = ops.max(ops.einsum("bf,bsf->bs", unit, own), axis=1, keepdims=True)
        value, _ = self.margin.target(cosine, length, state, ops.zeros_like(cosine))
        size = min(BLOCK, self.classes)

        def block(number: Any, held: Any) -> Any:
            largest, total, summed, best, nearest = held
            # The last block ends with the last class, and has some that were before it.
            start = ops.minimum(number * size, self.classes - size)
            vectors = ops.slice(
                all_vectors,
                (start * self.sub_centers, 0),
                (size * self.sub_centers, unit.shape[-1]),
            )
            cosines = self._cosines(unit, vectors)
            numbers = start + ops.arange(size, dtype="int32")
            new = numbers >= number * size
            logits = ops.where(
                ops.equal(numbers, labels), value, self.margin.others(cosines, cosine, state)
            )
            logits = self.scale * logits
            higher = ops.max(ops.where(new, logits, _LOW), axis=1, keepdims=True)
            higher = ops.maximum(largest, higher)
            terms = ops.where(new, ops.exp(logits - higher), 0.0)
            total = total * ops.exp(largest - higher) + ops.sum(terms, axis=1, keepdims=True)
            summed = summed + ops.sum(ops.where(new, logits, 0.0), axis=1, keepdims=True)
            cosines = ops.where(new, cosines, _LOW)
            top = ops.max(cosines, axis=1, keepdims=True)
            at = start + ops.cast(ops.argmax(cosines, axis=1, keepdims=True), "int32")
            nearest = ops.where(top > best, at, nearest)
            return higher, total, summed, ops.maximum(top, best), nearest

        zero = ops.zeros_like(cosine)
        low = ops.full_like(cosine, _LOW)
        largest, total, summed, _, nearest = ops.fori_loop(
            0, -(-self.classes // size), block, (low, zero, zero, low, ops.zeros_like(labels))
        )
        smoothed = self.label_smoothing * summed / self.classes
        wanted = (1.0 - self.label_smoothing) * self.scale * value + smoothed
        losses = ops.squeeze(ops.log(total) + largest - wanted, axis=-1)
        right = ops.equal(ops.squeeze(nearest, axis=-1), ops.squeeze(labels, axis=-1))
        return self._with_penalty(losses, length), right

    def compute_output_spec(
        self, embedding: Any, labels: Any, training: bool | None = None, figures: bool = False
    ) -> Any:
        shape = (embedding.shape[0], 2) if figures else embedding.shape
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        names = "classes sample_rate sub_centers scale label_smoothing multiple seed".split()
        own = {name: getattr(self, name) for name in names}
        return {**super().get_config(), **own, "margin": margin_plain(self.margin)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MarginHead:
        """The layer a config describes."""
        return cls(**{**config, "margin": margin_of(config["margin"])})


_LOW = -1e30
