"""A Keras embedding model written in another format."""

from __future__ import annotations

import errno
import shutil
import stat
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import InputError
from evaluator.files import whole_path
from evaluator.models.foreign import check_extra
from evaluator.models.graph import frozen_function
from evaluator.models.runtime import native_messages_held

Calibration = Sequence[NDArray[np.float32]]


@dataclass(frozen=True)
class ExportOptions:
    """``quantize``: ``none``, ``float16`` or ``int8``, for tflite; ``calibration`` are batches of
    one prepared image each, which int8 needs to know the range of every activation.
    """

    quantize: str = "none"
    calibration: Calibration = ()


def export_model(model: Any, target: Path, file_format: str, options: ExportOptions) -> None:
    """Writes a Keras 3 or tf_keras model to ``target``.

    ``file_format`` is a key of ``WRITERS``. Raises InputError for a missing extra or options that
    do not apply, OSError.
    """
    if options.quantize != "none" and file_format != "tflite":
        raise InputError(f"--quantize {options.quantize} applies to --to tflite only")
    WRITERS[file_format](model, target, options)


def put_whole(made: Path, target: Path) -> None:
    """Puts a copy of a model file or folder where ``target`` is, whole or not at all.

    Raises OSError, also for what is no regular file.
    """
    with whole_path(target) as whole:
        for source in [made, *sorted(made.rglob("*"))] if made.is_dir() else [made]:
            copy = whole / source.relative_to(made)
            mode = source.lstat().st_mode
            if stat.S_ISDIR(mode):
                copy.mkdir()
            elif stat.S_ISREG(mode):
                shutil.copyfile(source, copy)
            else:
                raise OSError(errno.EINVAL, "not a regular file", str(source))
        if target.is_dir():
            shutil.rmtree(target)


def _save_keras(model: Any, target: Path, _options: ExportOptions) -> None:
    import absl.logging

    verbosity = absl.logging.get_verbosity()
    with warnings.catch_warnings():
        # Both generations say that .h5 is old, each in its way; Keras 3 meets a deprecation of
        # NumPy's.
        warnings.simplefilter("ignore")
        absl.logging.set_verbosity(absl.logging.ERROR)
        try:
            model.save(str(target))
        finally:
            absl.logging.set_verbosity(verbosity)


def _save_saved_model(model: Any, target: Path, _options: ExportOptions) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.model = model
    function = _function(model)
    with native_messages_held():
        tf.saved_model.save(module, str(target), signatures={"serving_default": function})


def _save_tflite(model: Any, target: Path, options: ExportOptions) -> None:
    import tensorflow as tf

    # Frozen here: the converter does not find the variables of Keras 3 by itself.
    concrete = frozen_function(_function(model).get_concrete_function())
    with warnings.catch_warnings(), native_messages_held():
        warnings.simplefilter("ignore")
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
        if options.quantize != "none":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if options.quantize == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if options.quantize == "int8":
            converter.representative_dataset = lambda: ([batch] for batch in options.calibration)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = tf.int8
            converter.inference_output_type = tf.int8
        target.write_bytes(converter.convert())


def _save_onnx(model: Any, target: Path, _options: ExportOptions) -> None:
    check_extra("tf2onnx", "--to onnx needs tf2onnx", "onnx")
    # Frozen here: constants that a tf.function captures would become inputs.
    frozen = frozen_function(_function(model).get_concrete_function())
    image, embedding = frozen.inputs[0].name, frozen.outputs[0].name
    with warnings.catch_warnings(), native_messages_held():
        warnings.simplefilter("ignore")
        import tf2onnx

        tf2onnx.convert.from_graph_def(
            frozen.graph.as_graph_def(),
            input_names=[image],
            output_names=[embedding],
            tensors_to_rename={image: "image", embedding: "embedding"},
            opset=17,
            output_path=str(target),
        )


def _function(model: Any) -> Any:
    """The forward pass as a tf.function from ``image`` to {``embedding``: ...}."""
    import tensorflow as tf

    signature = tf.TensorSpec(model.inputs[0].shape, tf.float32, name="image")

    @tf.function(input_signature=[signature], autograph=False)  # type: ignore[untyped-decorator]
    def serve(image: Any) -> Any:
        return {"embedding": tf.cast(model(image, training=False), tf.float32)}

    return serve


WRITERS: dict[str, Callable[[Any, Path, ExportOptions], None]] = {
    "keras": _save_keras,
    "h5": _save_keras,
    "savedmodel": _save_saved_model,
    "tflite": _save_tflite,
    "onnx": _save_onnx,
}
SUFFIXES = {name: "" if name == "savedmodel" else f".{name}" for name in WRITERS}
