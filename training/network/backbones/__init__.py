"""Networks from a face to an embedding: a backbone, a pooling, `embedding` as the last layer.

How pixels are scaled is not theirs: they take what the recipe's preprocessing gives, of shape
(batch, height, width, 3). A file a family: `applications`, `mobile`, `residual`, `small` and
`transformer`, of `blocks`; `pooling` has the ways from a map to the embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras

from evaluator.errors import InputError, unknown_name
from evaluator.models.load import check_model
from evaluator.models.options import LoadOptions
from training.network.backbones.applications import APPLICATIONS, application, pretrained
from training.network.backbones.mobile import ghostfacenet, mobilefacenet
from training.network.backbones.pooling import POOLINGS
from training.network.backbones.residual import RESIDUAL
from training.network.backbones.small import conv4, mlp
from training.network.backbones.transformer import vit_t
from training.recipes import registry

BACKBONES: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {
        **{name: partial(application, name) for name in APPLICATIONS},
        **RESIDUAL,
        "mobilefacenet": mobilefacenet,
        "ghostfacenet": ghostfacenet,
        "vit_t": vit_t,
        "conv4": conv4,
        "mlp": mlp,
    }
)
# Five halvings leave one position of 32 pixels.
SMALLEST_SIDE = 32


def build_embedding_model(
    backbone: str,
    *,
    input_shape: tuple[int, int, int] = (112, 112, 3),
    embedding_size: int = 512,
    weights: str | None = None,
    pooling: str = "gap",
    dropout: float = 0.1,
) -> keras.Model:
    """A model from images (batch, *input_shape) to float32 embeddings (batch, embedding_size).

    Its last layer is named ``embedding``. ``pooling`` is the way from the feature map to it:
        "gap": global average, dropout, a dense layer (the seeds' models);
        "gdc": a depthwise convolution as large as the map, batch norm, dropout, a dense layer
            without bias, batch norm (Chen et al., MobileFaceNets, 2018);
        "e": batch norm, dropout, all positions flattened into a dense layer, batch norm without
            gain (Deng et al., ArcFace, CVPR 2019, section 3.2.2, option E);
        "none": a dense layer with ReLU; for the backbone ``mlp`` and no other.

    ``backbone``, ``pooling`` and ``dropout`` are what a recipe may say, registered backbones among
    them, or the path of a Keras model file (`of_file`); ``weights`` is None or "imagenet".

    Raises:
        InputError: an unknown backbone, or one that makes no feature map; images too small, a
            pooling that does not go with the backbone; weights where there are none or they cannot
            be downloaded.
    """
    if backbone.endswith(registry.MODEL_FILES):
        return of_file(Path(backbone), embedding_size, pooling, dropout)
    if (backbone == "mlp") != (pooling == "none"):
        raise InputError(
            f"pooling: expected none with backbone mlp and only there, found {pooling!r}"
        )
    small = min(input_shape[:2]) < SMALLEST_SIDE or input_shape[2:] != (3,)
    if small and backbone != "mlp":
        raise InputError(
            f"input_shape: expected (height, width, 3) of at least {SMALLEST_SIDE} pixels a side, "
            f"found {input_shape}"
        )
    images = keras.Input(input_shape, name="images")
    features = _features(backbone, images, weights)
    embedding = POOLINGS[pooling](features, embedding_size, dropout)
    return keras.Model(images, embedding, name=backbone)


def of_file(path: Path, embedding_size: int, pooling: str, dropout: float) -> keras.Model:
    """The network of a Keras model file with its weights: where it ends in a feature map, with
    ``pooling``, ``dropout`` and a last layer ``embedding``; where it ends in a vector, as it is.

    Raises:
        InputError: no such file, one that `zoo eval` would refuse, or one of another output.
    """
    check_model(path, LoadOptions())
    model = keras.models.load_model(path, compile=False)
    width = len(getattr(model, "output_shape", None) or ())
    if width == 4:
        embedding = POOLINGS[pooling](model.output, embedding_size, dropout)
        return keras.Model(model.input, embedding, name=model.name)
    if width != 2:
        raise InputError(
            f"backbone {path}: expected a model with one output, a feature map or a vector"
        )
    return model


def _features(backbone: str, images: Any, weights: str | None) -> Any:
    """What a backbone makes of images. Raises InputError, as `build_embedding_model` says."""
    if backbone in BACKBONES and weights is None:
        return BACKBONES[backbone](images)
    if backbone in BACKBONES:
        return pretrained(backbone, images)
    made = registry.found("backbone", backbone)
    if made is None:
        known = (*BACKBONES, *registry.names("backbone"))
        raise InputError(f"no backbone {backbone!r}: {unknown_name(backbone, known)}")
    features = made(images) if weights is None else made(images, weights=weights)
    if len(getattr(features, "shape", ())) != 4:
        raise InputError(
            f"backbone {backbone}: expected a feature map (batch, height, width, channels) of its "
            f"function, found {getattr(features, 'shape', type(features).__name__)}"
        )
    return features
