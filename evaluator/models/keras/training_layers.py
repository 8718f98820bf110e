"""The layers that loaders do not find by name, for Keras 3 and tf_keras: of training and backbones.

`training` writes the first; Keras_insightface and the ArcFace layers that go about the others;
those of ``keras.applications`` lie in no module of layers, so that an .h5 is not read without help.
They are stated again here because this package imports nothing of it. Only what a network needs
that is evaluated: weights have the shapes and the order in which that code wrote them; a loss, what
a margin adds to its class, a scale and stochastic depth are not computed.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

# The modules that these layers have been saved from. None of them is imported.
KNOWN_MODULES = frozenset(
    """
    __main__ keras_insightface keras_insightface.models layers losses models training.centers
    training.network.centers training.network.heads training.network.margin_head
    training.heads
    """.split()
)

# What the number of classes has been called.
_WIDTHS = "classes n_classes num_classes class_num num_class units output_dim out_features".split()
# What else is between the head's class and Keras's own arguments; none of it changes a weight.
_LAYER_ARGUMENTS = frozenset("name trainable dtype dynamic autocast".split())


def training_layers(package: Any) -> dict[str, Any]:
    """Name -> class under every name by which files have called these layers."""
    made = {factory: factory(package) for factory in set(_FACTORIES.values())}
    return {name: made[factory] for name, factory in _FACTORIES.items()}


def _layer(package: Any, **settings: Any) -> Any:
    """A layer's class with settings by name, and their usual values: its attributes and its config.

    None is as not given. What it makes has the shape of what goes into it.
    """

    class Layer(package.layers.Layer):  # type: ignore[misc]
        def __init__(self, **kwargs: Any) -> None:
            own = {name: kwargs.pop(name, usual) for name, usual in settings.items()}
            super().__init__(**kwargs)
            for name, value in own.items():
                setattr(self, name, value)

        def compute_output_shape(self, input_shape: Any) -> Any:
            return input_shape

        def get_config(self) -> dict[str, Any]:
            own = {name: getattr(self, name) for name in settings}
            return {**super().get_config(), **{k: v for k, v in own.items() if v is not None}}

    return Layer


def _passing(package: Any, **settings: Any) -> Any:
    """`_layer`, of a layer that takes an embedding and its label and gives the embedding."""

    class Passing(_layer(package, **settings)):  # type: ignore[misc]
        def call(self, embedding: Any, labels: Any) -> Any:
            del labels
            return embedding

        def compute_output_shape(self, embedding_shape: Any, labels_shape: Any) -> Any:
            del labels_shape
            return embedding_shape

    return Passing


def _arithmetic(package: Any) -> Any:
    """Functions on tensors, under the names that Keras 3 has."""
    if package.__name__ == "keras":
        return package.ops
    backend = package.backend
    same = "concatenate max reshape sigmoid sqrt square sum".split()
    return SimpleNamespace(
        **{name: getattr(backend, name) for name in same},
        matmul=backend.dot,
        normalize=backend.l2_normalize,
    )


# ---- Heads ---------------------------------------------------------------------------------------


def _norm_dense(package: Any) -> Any:
    """The weight-normalised head: the founding one, and the one with cosines and sub-centers.

    Accepts both names under which its width has been saved, ``classes`` and ``output_dim``;
    ``multiple`` puts columns of zeros after the last class, for devices that held equal parts.
    """
    ops = _arithmetic(package)
    settings = {"classes": None, "cosine": False, "sub_centers": 1, "multiple": 1}

    class NormDense(_layer(package, **settings)):  # type: ignore[misc]
        def __init__(self, output_dim: int | None = None, **kwargs: Any) -> None:
            super().__init__(**{**kwargs, "classes": kwargs.get("classes") or output_dim})

        def build(self, input_shape: Any) -> None:
            columns = _rounded_up(self.classes * self.sub_centers, self.multiple)
            shape = (input_shape[-1], columns)
            self.w = self.add_weight(name="norm_dense_w", shape=shape, trainable=True)
            self.built = True  # tf_keras builds again what does not say so

        def call(self, inputs: Any, cosine: bool | None = None) -> Any:
            cosine = self.cosine if cosine is None else cosine
            inputs = ops.normalize(inputs, axis=-1) if cosine else inputs
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
                return _insightface_head(package)(**config)
            return cls(**config)

    return NormDense


def _center_loss(package: Any) -> Any:
    """Center loss as a layer: the embedding as it came in; the centers are read and not used."""

    class CenterLoss(_passing(package, classes=None, alpha=0.5, factor=1.0, multiple=1)):  # type: ignore[misc]
        def build(self, embedding_shape: Any, labels_shape: Any) -> None:
            del labels_shape
            shape = (_rounded_up(self.classes, self.multiple), embedding_shape[-1])
            self.centers = self.add_weight(
                name="centers", shape=shape, initializer="zeros", trainable=False
            )
            self.built = True

    return CenterLoss


def _own_margin_head(package: Any) -> Any:
    """Our head that has the loss itself: the embedding as it came in; its weights are read."""
    settings = dict.fromkeys("margin sample_rate scale label_smoothing seed".split())

    class MarginHead(_passing(package, classes=None, sub_centers=1, multiple=1, **settings)):  # type: ignore[misc]
        def build(self, embedding_shape: Any, labels_shape: Any) -> None:
            del labels_shape
            rows = _rounded_up(self.classes * self.sub_centers, self.multiple)
            self.add_weight(name="class_vectors", shape=(rows, embedding_shape[-1]))
            name = self.margin["name"]
            if self.sample_rate < 1 or name == "elasticface":
                self.add_weight(shape=(2,), trainable=False, dtype="int64")
            for _ in range({"adaface": 2, "curricularface": 1}.get(name, 0)):
                self.add_weight(shape=(), trainable=False)
            self.built = True

    return MarginHead


def _rounded_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _insightface_head(package: Any) -> Any:
    """Keras_insightface's ``NormDense`` and ``NormDenseVPL``, which has ``batch_size`` besides.

    Both are called NormDense, by which a head is known. A .keras looks weights up by the class's
    name, so that one with NormDenseVPL is not read; Keras_insightface writes .h5.
    """
    ops = _arithmetic(package)
    settings = {"units": 1000, "loss_top_k": 1, "append_norm": False, "partial_fc_split": 0}
    unused = ("kernel_regularizer", "batch_size", "vpl_lambda", "start_iters", "allowed_delta")

    class NormDense(_layer(package, **settings, **dict.fromkeys(unused))):  # type: ignore[misc]
        def build(self, input_shape: Any) -> None:
            size, columns = _embedding_shape(input_shape)[-1], self.units * self.loss_top_k
            if self.batch_size is not None:
                # Of the virtual prototypes, only the queue has a shape: a row for each class.
                self._add_state("norm_features", (self.batch_size, size))
                self._add_state("queue_features", (self.units, size))
                self._add_state("queue_iters", (self.units,), dtype="int64")
                self._add_state("iters", (), dtype="int64")
            if self.partial_fc_split > 1:
                self._add_state("cur_id", (), dtype="int64")
            split = (self.partial_fc_split,) if self.partial_fc_split > 1 else ()
            name = "norm_dense_w_subs" if split else "norm_dense_w"
            self.w = self.add_weight(name=name, shape=(*split, size, columns), trainable=True)
            self.built = True

        def _add_state(self, name: str, shape: Any, **kwargs: Any) -> None:
            self.add_weight(name=name, shape=shape, initializer="zeros", trainable=False, **kwargs)

        def call(self, inputs: Any) -> Any:
            inputs = inputs[0] if isinstance(inputs, list | tuple) else inputs
            logits = _cosines(ops, inputs, self.w[0] if self.partial_fc_split > 1 else self.w)
            if self.loss_top_k > 1:
                logits = ops.reshape(logits, (-1, self.units, self.loss_top_k))
                logits = ops.max(logits, axis=2)
            if self.append_norm:
                norm = ops.sqrt(ops.sum(ops.square(inputs), axis=1, keepdims=True))
                logits = ops.concatenate([logits, -norm], axis=-1)
            return logits

        def compute_output_shape(self, input_shape: Any) -> Any:
            return (_embedding_shape(input_shape)[0], self.units + int(self.append_norm))

    return NormDense


def _margin_head(package: Any) -> Any:
    """A head with one vector a class, on the embedding or on a list of embedding and label.

    Named as our own head: what goes into either is the embedding.
    """

    class NormDense(package.layers.Layer):  # type: ignore[misc]
        def __init__(self, **kwargs: Any) -> None:
            own = {name: kwargs.pop(name) for name in list(kwargs) if name in _LAYER_ARGUMENTS}
            super().__init__(**own)
            self.settings = kwargs
            widths = [kwargs[name] for name in _WIDTHS if isinstance(kwargs.get(name), int)]
            if not widths:
                raise ValueError(f"a margin head that states no number of classes: {kwargs}")
            self.classes = widths[0]

        def build(self, input_shape: Any) -> None:
            shape = (_embedding_shape(input_shape)[-1], self.classes)
            self.w = self.add_weight(name="W", shape=shape, trainable=True)
            self.built = True

        def call(self, inputs: Any) -> Any:
            embedding = inputs[0] if isinstance(inputs, list | tuple) else inputs
            return _cosines(_arithmetic(package), embedding, self.w)

        def compute_output_shape(self, input_shape: Any) -> Any:
            return (_embedding_shape(input_shape)[0], self.classes)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), **self.settings}

    return NormDense


def _embedding_shape(input_shape: Any) -> Any:
    """Of a head's input, or of the first where the label is the second."""
    first = input_shape[0]
    return input_shape if first is None or isinstance(first, int) else first


def _cosines(ops: Any, embedding: Any, weight: Any) -> Any:
    """Of each embedding (rows) with each class (columns of the weight)."""
    return ops.matmul(ops.normalize(embedding, axis=-1), ops.normalize(weight, axis=0))


# ---- Inside backbones ----------------------------------------------------------------------------


def _layer_scale(package: Any) -> Any:
    """ConvNeXt's: a learned factor a channel."""

    class LayerScale(_layer(package, init_values=None, projection_dim=None)):  # type: ignore[misc]
        def build(self, input_shape: Any) -> None:
            del input_shape
            self.gamma = self.add_weight(name="gamma", shape=(self.projection_dim,), trainable=True)
            self.built = True

        def call(self, x: Any) -> Any:
            return x * self.gamma

    return LayerScale


def _stochastic_depth(package: Any) -> Any:
    """ConvNeXt's, as it is in evaluation: the input."""

    class StochasticDepth(_layer(package, drop_path_rate=None)):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x

    return StochasticDepth


def _scaled_sum(package: Any) -> Any:
    """Inception-ResNet's: the first input and a share of the second."""

    class CustomScaleLayer(_layer(package, scale=None)):  # type: ignore[misc]
        def call(self, inputs: Any) -> Any:
            return inputs[0] + inputs[1] * self.scale

        def compute_output_shape(self, input_shape: Any) -> Any:
            return input_shape[0]

    return CustomScaleLayer


def _aconc(package: Any) -> Any:
    """ACON-C, "Activate or Not" (Ma et al., 2021, eq. 8), in the form that Keras_insightface has.

    That is p1 x sigmoid(beta x) + p2 x; the paper has p1 - p2 where this has p1, and before beta.
    """

    class AconC(_layer(package, p1=None, p2=None, beta=None)):  # type: ignore[misc]
        def build(self, input_shape: Any) -> None:
            # Where training began is not where it ended.
            self.factors = [
                self.add_weight(name=name, shape=(1, 1, 1, input_shape[-1]), trainable=True)
                for name in ("p1", "p2", "beta")
            ]
            self.built = True

        def call(self, inputs: Any) -> Any:
            p1, p2, beta = self.factors
            return inputs * p1 * _arithmetic(package).sigmoid(inputs * beta) + inputs * p2

    return AconC


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
    "face_zoo>MarginHead": _own_margin_head,
    "MarginHead": _own_margin_head,
    "NormDenseVPL": _insightface_head,
    "keras_insightface>NormDense": _insightface_head,
    "keras_insightface>NormDenseVPL": _insightface_head,
    "keras_insightface>AconC": _aconc,
    "LayerScale": _layer_scale,
    "StochasticDepth": _stochastic_depth,
    "CustomScaleLayer": _scaled_sum,
    "Custom>CustomScaleLayer": _scaled_sum,
    **{
        f"{package}{name}": _margin_head
        for name in _MARGIN_HEADS.split()
        for package in ("", "Custom>", "keras_insightface>")
    },
}
# Class names and registered names as files have them.
TRAINING_NAMES = frozenset(_FACTORIES)
