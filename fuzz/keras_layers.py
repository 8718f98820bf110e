"""Layers of small networks as Keras saves them, with the shapes of their weights: the honest half
of the grammar of Keras configs.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Shape = tuple[int, ...]
Config = dict[str, Any]


@dataclass(frozen=True)
class Layer:
    """A layer behind one of output ``shape``: its class, config, weights, and its own ``output``.

    ``args`` are what a call of an operation is given behind the tensor, ``inner`` the layers of a
    nested Sequential.
    """

    kind: str
    config: Config
    output: Shape
    weights: tuple[Shape, ...] = ()
    module: str = "keras.layers"
    args: tuple[Any, ...] = ()
    inner: tuple[Layer, ...] = ()


class Words:
    """Draws values of a config that name something harmless, in one of the ways Kerases write."""

    def __init__(self, draw: random.Random, version: int) -> None:
        self.draw, self.version = draw, version

    def activation(self) -> Any:
        name = self.draw.choice(_ACTIVATIONS)
        if self.version == 3 and self.draw.random() < 0.2:
            return self.named("builtins", "function", name, registered=name)
        return name

    def initializer(self) -> Any:
        name = self.draw.choice(("Zeros", "Ones", "HeNormal", "GlorotUniform", "LecunNormal"))
        form = self.draw.randrange(3)
        if form == 0:
            return {"Zeros": "zeros", "Ones": "ones"}.get(name, "glorot_uniform")
        config = {} if name in ("Zeros", "Ones") else {"seed": None}
        return self.named("keras.initializers", name, config)

    def penalty(self) -> Any:
        if self.draw.random() < 0.7:
            return None
        return self.draw.choice((self.named("keras.regularizers", "L2", {"l2": 0.01}), "l2"))

    def constraint(self) -> Any:
        if self.draw.random() < 0.8:
            return None
        found = self.named("keras.constraints", "NonNeg", {})
        return self.draw.choice((found, self.named("keras.constraints", "UnitNorm", {"axis": 0})))

    def dtype(self) -> Any:
        if self.version == 2 or self.draw.random() < 0.5:
            return "float32"
        return self.named("keras", "DTypePolicy", {"name": "float32"})

    def named(self, module: str, kind: str, config: Any, registered: str | None = None) -> Config:
        """An object as a config names it."""
        if self.version == 2:
            return {"class_name": kind, "config": config}
        return {
            "module": module,
            "class_name": kind,
            "config": config,
            "registered_name": registered,
        }


_ACTIVATIONS = "relu linear tanh sigmoid softplus selu elu swish gelu softsign".split()
_Maker = Callable[[Words, Shape], "Layer | None"]


def drawn_layers(words: Words, shape: Shape, count: int, *, depth: int = 0) -> list[Layer]:
    """So many layers, each behind the one before."""
    found: list[Layer] = []
    while len(found) < count:
        if depth < 2 and words.draw.random() < 0.08:
            inner = drawn_layers(words, shape, words.draw.randint(1, 3), depth=depth + 1)
            layer: Layer | None = Layer(
                "Sequential", {}, inner[-1].output, module="keras", inner=tuple(inner)
            )
        else:
            # A nested Sequential holds layers, and no calls of functions.
            layer = words.draw.choice(_MAKERS[:-2] if depth else _MAKERS)(words, shape)
        if layer is not None and math.prod(layer.output) <= 4096:
            found.append(layer)
            shape = layer.output
    return found


def last_layers(words: Words, shape: Shape) -> list[Layer]:
    """What makes a vector of a map, and an embedding of four numbers of that."""
    found = []
    if len(shape) > 1:
        kinds = ("GlobalAveragePooling2D", "Flatten", "GlobalMaxPooling2D")
        kind = words.draw.choice(kinds) if len(shape) == 3 else "Flatten"
        size = math.prod(shape) if kind == "Flatten" else shape[-1]
        found.append(Layer(kind, {"data_format": "channels_last"}, (size,)))
        shape = (size,)
    found.append(_dense(words, shape, units=4, linear=True))
    return found


def _dense(words: Words, shape: Shape, *, units: int = 0, linear: bool = False) -> Layer:
    units = units or words.draw.choice((3, 4, 6, 8))
    bias = words.draw.random() < 0.8
    config = {
        "units": units,
        "activation": "linear" if linear else words.activation(),
        "use_bias": bias,
        "kernel_initializer": words.initializer(),
        "bias_initializer": words.initializer(),
        "kernel_regularizer": words.penalty(),
        "kernel_constraint": words.constraint(),
    }
    weights = ((shape[-1], units), (units,)) if bias else ((shape[-1], units),)
    return Layer("Dense", config, (*shape[:-1], units), weights)


def _conv(words: Words, shape: Shape) -> Layer | None:
    if len(shape) != 3:
        return None
    filters, side = words.draw.choice((2, 4, 6)), words.draw.choice((1, 3))
    config = {
        "filters": filters,
        "kernel_size": [side, side],
        "strides": [1, 1],
        "padding": "same",
        "data_format": "channels_last",
        "dilation_rate": [1, 1],
        "groups": 1,
        "activation": words.activation(),
        "use_bias": True,
        "kernel_initializer": words.initializer(),
        "bias_initializer": words.initializer(),
        "kernel_regularizer": words.penalty(),
        "bias_constraint": words.constraint(),
    }
    weights = ((side, side, shape[2], filters), (filters,))
    return Layer("Conv2D", config, (*shape[:2], filters), weights)


def _depthwise(words: Words, shape: Shape) -> Layer | None:
    if len(shape) != 3:
        return None
    config = {
        "kernel_size": [3, 3],
        "strides": [1, 1],
        "padding": "same",
        "depth_multiplier": 1,
        "activation": words.activation(),
        "use_bias": False,
        "depthwise_initializer": words.initializer(),
    }
    return Layer("DepthwiseConv2D", config, shape, ((3, 3, shape[2], 1),))


def _separable(words: Words, shape: Shape) -> Layer | None:
    if len(shape) != 3:
        return None
    config = {
        "filters": 4,
        "kernel_size": [3, 3],
        "padding": "same",
        "depth_multiplier": 1,
        "activation": words.activation(),
        "use_bias": True,
        "pointwise_initializer": words.initializer(),
    }
    weights = ((3, 3, shape[2], 1), (1, 1, shape[2], 4), (4,))
    return Layer("SeparableConv2D", config, (*shape[:2], 4), weights)


def _norm(words: Words, shape: Shape) -> Layer:
    size = (shape[-1],)
    if words.draw.random() < 0.3:
        config = {"axis": [len(shape)], "epsilon": 0.001, "center": True, "scale": True}
        return Layer("LayerNormalization", config, shape, (size, size))
    config = {
        "axis": len(shape) if words.version == 3 else [len(shape)],
        "momentum": 0.99,
        "epsilon": 0.001,
        "center": True,
        "scale": True,
        "gamma_initializer": words.initializer(),
        "beta_regularizer": words.penalty(),
        "moving_mean_initializer": words.initializer(),
    }
    return Layer("BatchNormalization", config, shape, (size, size, size, size))


def _prelu(words: Words, shape: Shape) -> Layer:
    axes = [1, 2] if len(shape) == 3 else None
    alpha = (1, 1, shape[2]) if len(shape) == 3 else shape
    return Layer(
        "PReLU", {"alpha_initializer": words.initializer(), "shared_axes": axes}, shape, (alpha,)
    )


def _recurrent(words: Words, shape: Shape) -> Layer | None:
    if len(shape) != 2 or words.version == 3:  # Keras 3 stores them below a cell
        return None
    units, rows = 3, {"SimpleRNN": 1, "LSTM": 4}
    kind = words.draw.choice(list(rows))
    config = {
        "units": units,
        "activation": "tanh",
        "return_sequences": False,
        "kernel_initializer": words.initializer(),
        "unit_forget_bias": True,
    }
    if kind == "SimpleRNN":
        del config["unit_forget_bias"]
    wide = units * rows[kind]
    return Layer(kind, config, (units,), ((shape[1], wide), (units, wide), (wide,)))


def _pool(words: Words, shape: Shape) -> Layer | None:
    if len(shape) != 3 or min(shape[:2]) < 2:
        return None
    kind = words.draw.choice(("MaxPooling2D", "AveragePooling2D"))
    config = {"pool_size": [2, 2], "padding": "valid", "strides": [2, 2]}
    return Layer(kind, config, (shape[0] // 2, shape[1] // 2, shape[2]))


def _reshape(words: Words, shape: Shape) -> Layer:
    size = math.prod(shape)
    targets = [(size,), (1, size), (size, 1), (1, 1, size)]
    target = words.draw.choice(targets)
    return Layer("Reshape", {"target_shape": list(target)}, target)


def _up(words: Words, shape: Shape) -> Layer | None:
    if len(shape) != 3:
        return None
    if words.draw.random() < 0.5:
        config: Config = {"padding": [[1, 1], [1, 1]], "data_format": "channels_last"}
        return Layer("ZeroPadding2D", config, (shape[0] + 2, shape[1] + 2, shape[2]))
    config = {"size": [2, 2], "interpolation": "nearest", "data_format": "channels_last"}
    return Layer("UpSampling2D", config, (2 * shape[0], 2 * shape[1], shape[2]))


def _same(words: Words, shape: Shape) -> Layer:
    """A layer without weights that leaves the shape as it is."""
    kind, config = words.draw.choice(
        (
            ("Activation", {"activation": words.activation()}),
            ("ReLU", {"max_value": 6.0, "negative_slope": 0.0, "threshold": 0.0}),
            ("LeakyReLU", {"negative_slope" if words.version == 3 else "alpha": 0.2}),
            ("ELU", {"alpha": 1.0}),
            ("Softmax", {"axis": -1}),
            ("Rescaling", {"scale": 0.0078125, "offset": -1.0}),
            ("ActivityRegularization", {"l1": 0.0, "l2": 0.01}),
            ("UnitNormalization", {"axis": -1}),
            ("Masking", {"mask_value": 0.0}),
        )
    )
    return Layer(kind, config, shape)


def _timed(words: Words, shape: Shape) -> Layer | None:
    """A layer of each row, in a wrapper."""
    if len(shape) != 2:
        return None
    inner = _dense(words, shape[1:])
    if words.version == 3:  # stored below the layer that is wrapped
        inner = Layer("Activation", {"activation": words.activation()}, shape[1:])
    layer = words.named("keras.layers", inner.kind, {"name": "inside", **inner.config})
    return Layer("TimeDistributed", {"layer": layer}, (shape[0], *inner.output), inner.weights)


def _operation(words: Words, shape: Shape) -> Layer:
    """A call of a function of Keras 3, or of TensorFlow."""
    if words.version == 3:
        module, kind, args = words.draw.choice(_OPERATIONS)
        return Layer(kind, {}, shape, module=module, args=args)
    function, args = words.draw.choice(_FUNCTIONS)
    return Layer("TFOpLambda", {"function": function}, shape, args=args)


_OPERATIONS: tuple[tuple[str, str, tuple[Any, ...]], ...] = (
    ("keras.src.ops.numpy", "Multiply", (2.0,)),
    ("keras.src.ops.numpy", "Add", (1.0,)),
    ("keras.src.ops.numpy", "Subtract", (0.5,)),
    ("keras.src.ops.numpy", "Absolute", ()),
    ("keras.src.ops.numpy", "Tanh", ()),
    ("keras.src.ops.nn", "Relu", ()),
    ("keras.src.ops.nn", "Sigmoid", ()),
    ("keras.src.ops.core", "StopGradient", ()),
)
_FUNCTIONS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("math.multiply", (2.0,)),
    ("math.add", (1.0,)),
    ("math.subtract", (0.5,)),
    ("math.abs", ()),
    ("math.tanh", ()),
    ("nn.relu", ()),
    ("math.sigmoid", ()),
    ("nn.l2_normalize", (1,)),
    ("identity", ()),
    ("compat.v1.nn.relu", ()),
)
_MAKERS: tuple[_Maker, ...] = (
    _dense,
    _conv,
    _conv,
    _depthwise,
    _separable,
    _norm,
    _prelu,
    _recurrent,
    _pool,
    _reshape,
    _up,
    _same,
    _same,
    _timed,
    _operation,
    _operation,
)
