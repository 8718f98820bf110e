"""Batch normalisation put into the weights of the convolution before it, for inference."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def folded(model: Any) -> Any:
    """A Keras 3 model that computes the same without the BatchNormalization layers that follow a
    linear Conv2D, DepthwiseConv2D or Dense; the given one, whose weights change, is used up.

    With s = gamma / sqrt(variance + epsilon), (w * x + b - mean) s + beta is (w s) * x + the bias
    (b - mean) s + beta. Weights are multiplied in float64 and rounded once. A layer that is used
    twice, or whose own output is needed elsewhere, stays as it is; so do layers inside a nested
    model. A model without such layers is returned as it is.
    """
    import keras

    if isinstance(model, keras.Sequential):
        model = keras.Model(model.inputs[0], model.outputs[0])
    pairs = _pairs(model, keras)
    if not pairs:
        return model
    # Weights that are not finite give embeddings that are not, which are named where they are met.
    with np.errstate(all="ignore"):
        biases = {name: _absorb(layer, norm) for name, (layer, norm) in pairs.items()}

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if layer.name not in biases:
            return layer(*args, **kwargs)
        bias = biases[layer.name]
        if bias is None:
            return args[0]
        # Under the norm's name, which is free: one that Keras makes up may be in the file.
        plus = keras.layers.Lambda(lambda x: x + bias, name=layer.name, dtype="float32")
        return plus(args[0])

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


def _pairs(model: Any, keras: Any) -> dict[str, tuple[Any, Any]]:
    """By the name of a BatchNormalization: the layer it can be folded into, and itself."""
    calls: Counter[str] = Counter()
    readers: Counter[int] = Counter()
    made_by: dict[int, Any] = {}
    read: dict[str, Any] = {}
    kept: list[Any] = []  # so that no id is used twice

    def look(layer: Any, *args: Any, **kwargs: Any) -> Any:
        found = layer(*args, **kwargs)
        calls[layer.name] += 1
        inputs, outputs = keras.tree.flatten((args, kwargs)), keras.tree.flatten(found)
        readers.update(id(each) for each in inputs)
        made_by.update((id(each), layer) for each in outputs)
        read[layer.name] = inputs[0]
        kept.extend((inputs, outputs))
        return found

    twin = keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=look)
    readers.update(id(tensor) for tensor in twin.outputs)
    found = {}
    for norm in model.layers:
        if type(norm) is not keras.layers.BatchNormalization or calls[norm.name] != 1:
            continue
        source = read[norm.name]
        layer = made_by.get(id(source))
        if layer is None or calls[layer.name] != 1 or readers[id(source)] != 1:
            continue
        if _takes_a_factor(layer, norm, rank=len(source.shape), keras=keras):
            found[norm.name] = layer, norm
    return found


def _takes_a_factor(layer: Any, norm: Any, *, rank: int, keras: Any) -> bool:
    """Whether a layer's output is linear in its weights, channel by channel of the norm's axis."""
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)
    if type(layer) not in kinds or layer.activation is not keras.activations.linear:
        return False
    if layer.dtype_policy.name != "float32" or norm.dtype_policy.name != "float32":
        return False
    first = getattr(layer, "data_format", "channels_last") == "channels_first"
    return bool(norm.axis % rank == (1 if first else rank - 1))


def _absorb(layer: Any, norm: Any) -> NDArray[np.float32] | None:
    """Multiplies the layer's weights; the bias still to be added, None if the layer has its own."""
    factor: FloatArray = 1 / np.sqrt(_wide(norm.moving_variance) + norm.epsilon)
    if norm.scale:
        factor = factor * _wide(norm.gamma)
    bias = (_wide(layer.bias) if layer.use_bias else 0.0) - _wide(norm.moving_mean)
    bias = bias * factor + (_wide(norm.beta) if norm.center else 0.0)
    kernel = _wide(layer.kernel)
    # A depthwise kernel is (height, width, channels, multiplier), its output channel by channel.
    depthwise = type(layer).__name__ == "DepthwiseConv2D"
    layer.kernel.assign(kernel * (factor.reshape(kernel.shape[2:]) if depthwise else factor))
    if layer.use_bias:
        layer.bias.assign(bias)
        return None
    first = getattr(layer, "data_format", "channels_last") == "channels_first"
    return bias.astype(np.float32).reshape(-1, 1, 1) if first else bias.astype(np.float32)


def _wide(variable: Any) -> FloatArray:
    return np.asarray(variable, np.float64)
