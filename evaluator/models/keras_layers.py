"""The layers of training models that Keras does not have, for Keras 3 and tf_keras.

`training` writes them; they are stated again here because this package imports nothing of it. Only
what a network needs that is evaluated: a loss is not computed.
"""

from __future__ import annotations

from typing import Any

# Class names as files have them, and the modules that they have been saved from.
KNOWN_LAYERS = frozenset({"NormDense", "CenterLoss"})
KNOWN_MODULES = ("__main__", "training.heads", "training.centers")


def training_layers(package: Any) -> dict[str, Any]:
    """Name -> class under every name by which files have called these layers."""
    norm_dense, center_loss = _norm_dense(package), _center_loss(package)
    return {
        "NormDense": norm_dense,
        "Custom>NormDense": norm_dense,
        "face_zoo>NormDense": norm_dense,
        "CenterLoss": center_loss,
        "face_zoo>CenterLoss": center_loss,
    }


def _norm_dense(package: Any) -> Any:
    """The weight-normalised head: the founding one, and the one with cosines and sub-centers.

    Accepts both names under which its width has been saved, ``classes`` and ``output_dim``.
    """

    class NormDense(package.layers.Layer):  # type: ignore[misc]
        def __init__(
            self,
            classes: int | None = None,
            output_dim: int | None = None,
            cosine: bool = False,
            sub_centers: int = 1,
            multiple: int = 1,
            **kwargs: Any,
        ) -> None:
            super().__init__(**kwargs)
            self.classes: Any = classes or output_dim
            self.cosine = cosine
            self.sub_centers = sub_centers
            # Columns of zeros after the last class, for devices that held equal parts.
            self.multiple = multiple

        def build(self, input_shape: Any) -> None:
            columns = _rounded_up(self.classes * self.sub_centers, self.multiple)
            shape = (input_shape[-1], columns)
            self.w = self.add_weight(name="norm_dense_w", shape=shape, trainable=True)
            super().build(input_shape)

        def call(self, inputs: Any) -> Any:
            if package.__name__ != "keras":
                # The files that only tf_keras reads are from before cosines and sub-centers.
                import tensorflow as tf

                return tf.matmul(inputs, tf.nn.l2_normalize(self.w, axis=0))
            ops = package.ops
            if self.cosine:
                inputs = ops.normalize(inputs, axis=-1)
            weight = self.w[:, : self.classes * self.sub_centers]
            logits = ops.matmul(inputs, ops.normalize(weight, axis=0))
            if self.sub_centers > 1:
                logits = ops.reshape(logits, (-1, self.classes, self.sub_centers))
                logits = ops.max(logits, axis=-1)
            return logits

        def compute_output_shape(self, input_shape: Any) -> Any:
            return (*input_shape[:-1], self.classes)

        def get_config(self) -> dict[str, Any]:
            names = ("classes", "cosine", "sub_centers", "multiple")
            return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    return NormDense


def _center_loss(package: Any) -> Any:
    """Center loss as a layer: the embedding as it came in; the centers are read and not used."""

    class CenterLoss(package.layers.Layer):  # type: ignore[misc]
        def __init__(
            self,
            classes: int,
            alpha: float = 0.5,
            factor: float = 1.0,
            multiple: int = 1,
            **kwargs: Any,
        ) -> None:
            super().__init__(**kwargs)
            self.classes, self.alpha, self.factor = classes, alpha, factor
            self.multiple = multiple

        def build(self, embedding_shape: Any, labels_shape: Any) -> None:
            del labels_shape
            shape = (_rounded_up(self.classes, self.multiple), embedding_shape[-1])
            self.centers = self.add_weight(
                name="centers", shape=shape, initializer="zeros", trainable=False
            )

        def call(self, embedding: Any, labels: Any) -> Any:
            del labels
            return embedding

        def compute_output_shape(self, embedding_shape: Any, labels_shape: Any) -> Any:
            del labels_shape
            return embedding_shape

        def get_config(self) -> dict[str, Any]:
            names = ("classes", "alpha", "factor", "multiple")
            return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    return CenterLoss


def _rounded_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
