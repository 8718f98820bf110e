"""Losses of a student on what its teacher gave for the same images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import keras
from keras import ops

from evaluator.errors import check_choice
from training.network.heads import inverse_lengths
from training.network.losses import finite


@keras.saving.register_keras_serializable(package="face_zoo")
class EmbeddingDistillation(keras.losses.Loss):  # type: ignore[misc]
    """How far an embedding (batch, features) is from the teacher's, of the same length.

    ``kind`` "cosine": 1 - cosine, 0 to 2; "squared": the mean over features of the squared
    difference of the embeddings as they are. In float32 whatever the global precision.

    Raises:
        InputError: another ``kind``.
    """

    def __init__(
        self,
        kind: str = "cosine",
        *,
        name: str = "embedding_distillation",
        reduction: str = "sum_over_batch_size",
        **options: Any,
    ) -> None:
        options.setdefault("dtype", "float32")
        super().__init__(name=name, reduction=reduction, **options)
        check_choice("kind", kind, tuple(DISTANCES))
        self.kind = kind

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """(batch,) losses."""
        return DISTANCES[self.kind](y_true, y_pred)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kind": self.kind}


def _turned(teacher: Any, student: Any) -> Any:
    teacher = teacher * inverse_lengths(teacher, axis=-1)
    return 1.0 - ops.sum(teacher * student * inverse_lengths(student, axis=-1), axis=-1)


DISTANCES: Mapping[str, Callable[[Any, Any], Any]] = MappingProxyType(
    {
        "cosine": _turned,
        "squared": lambda teacher, student: ops.mean(ops.square(teacher - student), axis=-1),
    }
)


@keras.saving.register_keras_serializable(package="face_zoo")
class LogitDistillation(keras.losses.Loss):  # type: ignore[misc]
    """temperature^2 x the Kullback-Leibler divergence of the student's softmax from the teacher's,
    both of logits (batch, classes) / temperature (Hinton et al., 2015, section 2): 0 where they are
    the same. An embedding model has no logits: the teacher is a classifier of the same people.

    Raises:
        InputError: a ``temperature`` that is no number above 0.
    """

    def __init__(
        self,
        temperature: float = 4.0,
        *,
        name: str = "logit_distillation",
        reduction: str = "sum_over_batch_size",
        **options: Any,
    ) -> None:
        options.setdefault("dtype", "float32")
        super().__init__(name=name, reduction=reduction, **options)
        self.temperature = finite("LogitDistillation: temperature", temperature, positive=True)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """(batch,) losses."""
        teacher = ops.log_softmax(y_true / self.temperature, axis=-1)
        student = ops.log_softmax(y_pred / self.temperature, axis=-1)
        divergence = ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)
        return self.temperature**2 * divergence

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "temperature": self.temperature}
