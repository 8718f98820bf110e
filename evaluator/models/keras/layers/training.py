"""The layers of training models that Keras does not have, for Keras 3 and tf_keras.

`training` writes the first; Keras_insightface and the ArcFace layers that go about the others. They
are stated again here because this package imports nothing of it. Only what a network needs that is
evaluated: a loss is not computed, and what a margin adds to its class is not either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from evaluator.models.keras.layers.blocks import aconc, layer_scale, scaled_sum, stochastic_depth
from evaluator.models.keras.layers.heads import insightface_head, margin_head

# The modules that these layers have been saved from. None of them is imported.
KNOWN_MODULES = frozenset(
    """
    __main__ keras_insightface keras_insightface.models layers losses models training.centers
    training.network.centers training.network.heads
    training.heads
    """.split()
)


def training_layers(package: Any) -> dict[str, Any]:
    """Name -> class under every name by which files have called these layers."""
    made = {factory: factory(package) for factory in set(_FACTORIES.values())}
    return {name: made[factory] for name, factory in _FACTORIES.items()}


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

        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            if "units" in config:  # Keras_insightface's, from before it registered its layers
                return insightface_head(package)(**config)
            return cls(**config)

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


# What has been saved as a margin head, with or without the package that Keras puts before it.
_MARGIN_HEADS = """
    AdaCos AddMarginProduct ArcFace ArcFaceLayer ArcLayer ArcMarginPenaltyLogists ArcMarginProduct
    CosFace CurricularFace MagFace SphereFace SphereProduct
"""
_FACTORIES: dict[str, Callable[[Any], Any]] = {
    "NormDense": _norm_dense,
    "Custom>NormDense": _norm_dense,
    "face_zoo>NormDense": _norm_dense,
    "CenterLoss": _center_loss,
    "face_zoo>CenterLoss": _center_loss,
    "NormDenseVPL": insightface_head,
    "keras_insightface>NormDense": insightface_head,
    "keras_insightface>NormDenseVPL": insightface_head,
    "keras_insightface>AconC": aconc,
    "LayerScale": layer_scale,
    "StochasticDepth": stochastic_depth,
    "CustomScaleLayer": scaled_sum,
    "Custom>CustomScaleLayer": scaled_sum,
    **{
        f"{package}{name}": margin_head
        for name in _MARGIN_HEADS.split()
        for package in ("", "Custom>", "keras_insightface>")
    },
}
# Class names and registered names as files have them.
TRAINING_NAMES = frozenset(_FACTORIES)
