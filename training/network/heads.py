"""The last layer of training: from an embedding to one logit for each person."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from evaluator.errors import InputError

# Shorter than this, a vector has no direction that float32 could tell; it is left as it is, so
# that a zero embedding has the cosine 0 and a finite gradient.
SHORTEST = 1e-6


def inverse_lengths(vectors: Any, axis: int) -> Any:
    """1 / L2 length along ``axis``, which is kept with size 1; 1 where the length is below 1e-6."""
    squared = ops.sum(ops.square(vectors), axis=axis, keepdims=True)
    short = squared < SHORTEST**2
    # Not rsqrt, which some processors round otherwise in a vector's last rows: equal embeddings
    # would differ, and what ties with them.
    return ops.where(short, ops.ones_like(squared), 1.0 / ops.sqrt(ops.where(short, 1.0, squared)))


@keras.saving.register_keras_serializable(package="face_zoo")
class NormDense(keras.layers.Layer):  # type: ignore[misc]
    """Logits (batch, classes): the embedding (batch, features) times unit-length class vectors.

    With ``cosine`` the embedding is brought to unit length too, and the logits are cosines; that is
    what the margin losses expect. A call may say otherwise, ``head(embedding, cosine=True)``: the
    one weight, ``norm_dense_w``, has the shape (features, classes * sub_centers) and does not
    depend on it, so a head warmed up with softmax goes on with a margin. With ``sub_centers`` above
    1 a class has that many vectors and its logit is the largest of theirs (Deng et al., Sub-center
    ArcFace, ECCV 2020).

    The weight has zero columns after the last class, as many as make its columns a multiple of
    ``multiple``: so many devices can hold equal parts. They give no logit and get no gradient.

    Computes in float32 whatever the global precision, unless ``dtype`` is given. A zero embedding
    has the logit 0 for each class.

    Raises:
        InputError: ``classes``, ``sub_centers`` or ``multiple`` is no positive whole number.
    """

    def __init__(
        self,
        classes: int,
        cosine: bool = False,
        *,
        sub_centers: int = 1,
        multiple: int = 1,
        **options: Any,
    ) -> None:
        options.setdefault("dtype", "float32")
        super().__init__(**options)
        self.classes = positive_whole("NormDense: classes", classes)
        self.cosine = bool(cosine)
        self.sub_centers = positive_whole("NormDense: sub_centers", sub_centers)
        self.multiple = positive_whole("NormDense: multiple", multiple)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        columns = self.classes * self.sub_centers
        start = keras.initializers.RandomNormal()
        self.norm_dense_w = self.add_weight(
            name="norm_dense_w",
            shape=(input_shape[-1], rounded_up(columns, self.multiple)),
            initializer=padded(start, (input_shape[-1], columns)),
        )

    def call(self, embedding: Any, cosine: bool | None = None) -> Any:
        if self.cosine if cosine is None else cosine:
            embedding = embedding * inverse_lengths(embedding, axis=-1)
        weight = ops.convert_to_tensor(self.norm_dense_w)
        # Scaling the products costs batch x classes; scaling the weight, features x classes.
        logits = ops.matmul(embedding, weight) * inverse_lengths(weight, axis=0)
        if self.classes * self.sub_centers < self.norm_dense_w.shape[1]:
            logits = logits[:, : self.classes * self.sub_centers]
        if self.sub_centers > 1:
            logits = ops.max(ops.reshape(logits, (-1, self.classes, self.sub_centers)), axis=-1)
        return logits

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.classes)

    def get_config(self) -> dict[str, Any]:
        names = ("classes", "cosine", "sub_centers", "multiple")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> NormDense:
        """The layer a config describes; ``output_dim``, as older files say, stands for classes."""
        config = dict(config)
        if "output_dim" in config:
            config.setdefault("classes", config.pop("output_dim"))
        return cls(**config)


def padded(start: Any, shape: tuple[Any, ...]) -> Any:
    """What ``start`` draws for ``shape``, with zeros after it up to the shape that is asked for."""

    def initializer(whole: tuple[int, ...], dtype: Any = None) -> Any:
        drawn = start(shape, dtype=dtype)
        spare = [(0, side - own) for side, own in zip(whole, shape, strict=True)]
        return ops.pad(drawn, spare) if any(more for _, more in spare) else drawn

    return initializer


def assign(variable: Any, array: np.ndarray[Any, Any]) -> None:
    """Puts an array into a variable that may have zeros after it."""
    spare = [(0, side - own) for side, own in zip(variable.shape, array.shape, strict=True)]
    variable.assign(np.pad(array, spare) if any(more for _, more in spare) else array)


def vector_lengths(vectors: Any) -> Any:
    """L2 lengths along the last axis, which is kept with size 1; at 0 with the gradient 0."""
    return root(ops.sum(ops.square(vectors), axis=-1, keepdims=True))


def root(squared: Any) -> Any:
    """The square root with gradient 0 at 0, where it has none."""
    positive = squared > 0
    return ops.where(positive, ops.sqrt(ops.where(positive, squared, 1.0)), 0.0)


def rounded_up(count: int, multiple: int) -> int:
    """The smallest multiple of ``multiple`` that is no less than ``count``."""
    return -(-count // multiple) * multiple


def positive_whole(what: str, value: Any) -> int:
    """``value`` as an int.

    Raises:
        InputError: it is not a whole number above zero; the message begins with ``what``.
    """
    if isinstance(value, bool) or value != int(value) or value < 1:
        raise InputError(f"{what}: expected a whole number above 0, found {value!r}")
    return int(value)
