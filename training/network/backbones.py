"""Networks from a face to an embedding: a backbone, a head, and `embedding` as the last layer.

How pixels are scaled is not theirs: they take what the recipe's preprocessing gives, of shape
(batch, height, width, 3).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import keras
from keras import layers

from evaluator.errors import InputError

# PyTorch's defaults (its momentum 0.1 is Keras's 0.9), with which both papers' figures were made.
NORM = MappingProxyType({"momentum": 0.9, "epsilon": 1e-5})


def build_embedding_model(
    backbone: str,
    *,
    input_shape: tuple[int, int, int] = (112, 112, 3),
    embedding_size: int = 512,
    weights: str | None = None,
    head: str = "gap",
    dropout: float = 0.1,
) -> keras.Model:
    """A model from images (batch, *input_shape) to float32 embeddings (batch, embedding_size).

    Its last layer is named ``embedding``. ``head`` is the way from the feature map to it:
        "gap": global average, dropout, a dense layer (the seeds' models);
        "gdc": a depthwise convolution as large as the map, batch norm, dropout, a dense layer
            without bias, batch norm (Chen et al., MobileFaceNets, 2018);
        "e": batch norm, dropout, all positions flattened into a dense layer, batch norm without
            gain (Deng et al., ArcFace, CVPR 2019, section 3.2.2, option E);
        "none": a dense layer with ReLU; for the backbone ``mlp`` and no other.

    ``backbone``, ``head`` and ``dropout`` are what a recipe may say; ``weights`` is None or
    "imagenet".

    Raises:
        InputError: images too small, a head that does not go with the backbone; weights where there
            are none or they cannot be downloaded.
    """
    if (backbone == "mlp") != (head == "none"):
        raise InputError(f"head: expected none with backbone mlp and only there, found {head!r}")
    small = min(input_shape[:2]) < SMALLEST_SIDE or input_shape[2:] != (3,)
    if small and backbone != "mlp":
        raise InputError(
            f"input_shape: expected (height, width, 3) of at least {SMALLEST_SIDE} pixels a side, "
            f"found {input_shape}"
        )
    images = keras.Input(input_shape, name="images")
    features = BACKBONES[backbone](images) if weights is None else _imagenet(backbone, images)
    embedding = HEADS[head](features, embedding_size, dropout)
    return keras.Model(images, embedding, name=backbone)


# Five halvings leave one position of 32 pixels.
SMALLEST_SIDE = 32


# Backbones out of keras.applications.
APPLICATIONS: Mapping[str, str] = MappingProxyType(
    {"resnet50v2": "ResNet50V2", "resnet101v2": "ResNet101V2", "mobilenetv2": "MobileNetV2"}
)


def application(backbone: str, images: Any, weights: str | None = None) -> Any:
    """The last feature map of a backbone out of keras.applications, without its top."""
    make = getattr(keras.applications, APPLICATIONS[backbone])
    with warnings.catch_warnings():
        # MobileNetV2 notes that other sizes get its 224-pixel weights; that is meant.
        warnings.filterwarnings("ignore", message=".*`input_shape` is undefined or non-square")
        return make(input_tensor=images, include_top=False, weights=weights).output


def _imagenet(backbone: str, images: Any) -> Any:
    """`application` with published weights. Raises InputError where there are none."""
    if backbone not in APPLICATIONS:
        raise InputError(f"weights: {backbone} has none from imagenet; use weights none")
    try:
        return application(backbone, images, "imagenet")
    except Exception as error:
        # Keras reports a failed download as a bare Exception.
        if type(error) is Exception and str(error).startswith("URL fetch failure"):
            raise InputError(
                f"weights: imagenet for {APPLICATIONS[backbone]} cannot be downloaded ({error}); "
                "use weights none, or run once with a network"
            ) from error
        raise


def conv(x: Any, filters: int, kernel: int, *, strides: int = 1) -> Any:
    """A convolution without bias, padded as in PyTorch: kernel // 2 on each side."""
    if kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2)(x)
    return layers.Conv2D(
        filters, kernel, strides=strides, use_bias=False, kernel_initializer="he_normal"
    )(x)


def norm(x: Any) -> Any:
    """Batch norm."""
    return layers.BatchNormalization(**NORM)(x)


def prelu(x: Any) -> Any:
    """PReLU with one slope, at first 0.25, for each channel."""
    slope = keras.initializers.Constant(0.25)
    return layers.PReLU(alpha_initializer=slope, shared_axes=[1, 2])(x)


def iresnet50(images: Any) -> Any:
    """The improved ResNet-50 of ArcFace (Deng et al., CVPR 2019; Han et al., CVPR 2017).

    A block is batch norm, conv 3x3, batch norm, PReLU, conv 3x3 (with the stride), batch norm, plus
    its input; the stem does not halve the map, so 112 x 112 ends as 7 x 7 x 512.
    """
    x = prelu(norm(conv(images, 64, 3)))
    for filters, blocks in zip((64, 128, 256, 512), (3, 4, 14, 3), strict=True):
        for block in range(blocks):
            x = improved_block(x, filters, 2 if block == 0 else 1)
    return x


def improved_block(x: Any, filters: int, strides: int) -> Any:
    """See `iresnet50`; the first block of a stage brings its input to size by a 1x1 convolution."""
    shortcut = x if strides == 1 else norm(conv(x, filters, 1, strides=strides))
    x = prelu(norm(conv(norm(x), filters, 3)))
    x = norm(conv(x, filters, 3, strides=strides))
    return layers.Add()([x, shortcut])


def mobilefacenet(images: Any) -> Any:
    """MobileFaceNet up to its last feature map (Chen et al., MobileFaceNets, 2018, table 1)."""
    x = prelu(norm(conv(images, 64, 3, strides=2)))
    x = prelu(norm(depthwise(x, 3)))
    for expansion, filters, blocks, strides in (
        (2, 64, 5, 2),
        (4, 128, 1, 2),
        (2, 128, 6, 1),
        (4, 128, 1, 2),
        (2, 128, 2, 1),
    ):
        for block in range(blocks):
            x = bottleneck(x, expansion, filters, strides if block == 0 else 1)
    return prelu(norm(conv(x, 512, 1)))


def conv4(images: Any) -> Any:
    """Four 3x3 convolutions of stride 2, 32 to 256 channels: for a few hundred faces."""
    x = images
    for filters in (32, 64, 128, 256):
        x = prelu(norm(conv(x, filters, 3, strides=2)))
    return x


def bottleneck(x: Any, expansion: int, filters: int, strides: int) -> Any:
    """1x1 up to ``expansion`` times the input's channels, depthwise 3x3, linear 1x1 down."""
    inner = prelu(norm(conv(x, expansion * x.shape[-1], 1)))
    inner = prelu(norm(depthwise(inner, 3, strides=strides)))
    inner = norm(conv(inner, filters, 1))
    return layers.Add()([x, inner]) if inner.shape == x.shape else inner


def depthwise(x: Any, kernel: int, *, strides: int = 1) -> Any:
    """A depthwise convolution without bias, padded as `conv` pads."""
    x = layers.ZeroPadding2D(kernel // 2)(x)
    return layers.DepthwiseConv2D(
        kernel, strides=strides, use_bias=False, depthwise_initializer="he_normal"
    )(x)


def mlp(images: Any) -> Any:
    """256 units with ReLU on all pixels: the founding triplet network, with its initial weights."""
    start = keras.initializers.RandomUniform(-0.1, 0.1)
    return layers.Dense(256, "relu", kernel_initializer=start)(layers.Flatten()(images))


def average_head(features: Any, size: int, dropout: float) -> Any:
    """ "gap" of `build_embedding_model`."""
    x = layers.GlobalAveragePooling2D()(features)
    # The embedding is float32 under every precision: cosines near 1 need the digits.
    return layers.Dense(size, name="embedding", dtype="float32")(dropped(x, dropout))


def depthwise_head(features: Any, size: int, dropout: float) -> Any:
    """ "gdc" of `build_embedding_model`."""
    x = norm(layers.DepthwiseConv2D(tuple(features.shape[1:3]), use_bias=False)(features))
    x = layers.Dense(size, use_bias=False, dtype="float32")(dropped(layers.Flatten()(x), dropout))
    return layers.BatchNormalization(**NORM, name="embedding", dtype="float32")(x)


def flat_head(features: Any, size: int, dropout: float) -> Any:
    """ "e" of `build_embedding_model`."""
    x = layers.Flatten()(dropped(norm(features), dropout))
    x = layers.Dense(size, dtype="float32")(x)
    return layers.BatchNormalization(**NORM, scale=False, name="embedding", dtype="float32")(x)


def dense_head(features: Any, size: int, dropout: float) -> Any:
    """ "none" of `build_embedding_model`."""
    start = keras.initializers.RandomUniform(-0.1, 0.1)
    dense = layers.Dense(size, "relu", kernel_initializer=start, name="embedding", dtype="float32")
    return dense(dropped(features, dropout))


def dropped(x: Any, dropout: float) -> Any:
    """``x`` after dropout; no layer where there is none."""
    return layers.Dropout(dropout)(x) if dropout else x


BACKBONES: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {
        **{name: partial(application, name) for name in APPLICATIONS},
        "mobilefacenet": mobilefacenet,
        "iresnet50": iresnet50,
        "conv4": conv4,
        "mlp": mlp,
    }
)
HEADS: Mapping[str, Callable[[Any, int, float], Any]] = MappingProxyType(
    {"gap": average_head, "gdc": depthwise_head, "e": flat_head, "none": dense_head}
)
