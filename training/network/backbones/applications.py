"""Backbones out of keras.applications, which have published weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import keras

from evaluator.errors import InputError

# The function there, and its arguments.
APPLICATIONS: Mapping[str, tuple[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "resnet50v2": ("ResNet50V2", {}),
        "resnet101v2": ("ResNet101V2", {}),
        "mobilenetv2": ("MobileNetV2", {}),
        "mobilenetv3_small": ("MobileNetV3Small", {"include_preprocessing": False}),
        "mobilenetv3_large": ("MobileNetV3Large", {"include_preprocessing": False}),
    }
)


def application(backbone: str, images: Any, weights: str | None = None) -> Any:
    """The last feature map of a backbone, without its top."""
    name, options = APPLICATIONS[backbone]
    make = getattr(keras.applications, name)
    with warnings.catch_warnings():
        # The MobileNets note that other sizes get their 224-pixel weights; that is meant.
        warnings.filterwarnings("ignore", message=".*`input_shape` is undefined or non-square")
        return make(input_tensor=images, include_top=False, weights=weights, **options).output


def pretrained(backbone: str, images: Any) -> Any:
    """`application` with weights from ImageNet. Raises InputError where there are none."""
    if backbone not in APPLICATIONS:
        raise InputError(f"weights: {backbone} has none from imagenet; use weights none")
    try:
        return application(backbone, images, "imagenet")
    except Exception as error:
        # Keras reports a failed download as a bare Exception.
        if type(error) is Exception and str(error).startswith("URL fetch failure"):
            raise InputError(
                f"weights: imagenet for {APPLICATIONS[backbone][0]} cannot be downloaded "
                f"({error}); use weights none, or run once with a network"
            ) from error
        raise
