"""Layers inside published backbones that the loaders do not find by name, for Keras 3 and tf_keras.

Those of ``keras.applications`` lie in no module of layers, so that an .h5 that holds them is not
read without help; one is Keras_insightface's. Stochastic depth only acts in training.
"""

from __future__ import annotations

from typing import Any

from evaluator.models.keras.layers.heads import arithmetic


def layer_scale(package: Any) -> Any:
    """ConvNeXt's: a learned factor a channel."""

    class LayerScale(package.layers.Layer):  # type: ignore[misc]
        def __init__(self, init_values: float, projection_dim: int, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.init_values, self.projection_dim = init_values, projection_dim

        def build(self, input_shape: Any) -> None:
            self.gamma = self.add_weight(name="gamma", shape=(self.projection_dim,), trainable=True)
            super().build(input_shape)

        def call(self, x: Any) -> Any:
            return x * self.gamma

        def compute_output_shape(self, input_shape: Any) -> Any:
            return input_shape

        def get_config(self) -> dict[str, Any]:
            own = {"init_values": self.init_values, "projection_dim": self.projection_dim}
            return {**super().get_config(), **own}

    return LayerScale


def stochastic_depth(package: Any) -> Any:
    """ConvNeXt's, as it is in evaluation: the input."""

    class StochasticDepth(package.layers.Layer):  # type: ignore[misc]
        def __init__(self, drop_path_rate: float, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.drop_path_rate = drop_path_rate

        def call(self, x: Any) -> Any:
            return x

        def compute_output_shape(self, input_shape: Any) -> Any:
            return input_shape

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "drop_path_rate": self.drop_path_rate}

    return StochasticDepth


def scaled_sum(package: Any) -> Any:
    """Inception-ResNet's: the first input and a share of the second."""

    class CustomScaleLayer(package.layers.Layer):  # type: ignore[misc]
        def __init__(self, scale: float, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.scale = scale

        def call(self, inputs: Any) -> Any:
            return inputs[0] + inputs[1] * self.scale

        def compute_output_shape(self, input_shape: Any) -> Any:
            return input_shape[0]

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "scale": self.scale}

    return CustomScaleLayer


def aconc(package: Any) -> Any:
    """ACON-C, "Activate or Not" (Ma et al., 2021, eq. 8), in the form that Keras_insightface has.

    That is p1 x sigmoid(beta x) + p2 x; the paper has p1 - p2 where this has p1, and before beta.
    """

    class AconC(package.layers.Layer):  # type: ignore[misc]
        def __init__(self, p1: float = 1, p2: float = 0, beta: float = 1, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            del p1, p2, beta  # where training began

        def build(self, input_shape: Any) -> None:
            shape = (1, 1, 1, input_shape[-1])
            self.p1, self.p2, self.beta = (
                self.add_weight(name=name, shape=shape, initializer=initial, trainable=True)
                for name, initial in (("p1", "ones"), ("p2", "zeros"), ("beta", "ones"))
            )
            super().build(input_shape)

        def call(self, inputs: Any) -> Any:
            sigmoid = arithmetic(package).sigmoid(inputs * self.beta)
            return inputs * self.p1 * sigmoid + inputs * self.p2

        def compute_output_shape(self, input_shape: Any) -> Any:
            return input_shape

    return AconC
