"""An .onnx file as it may run: read once, checked whole, and with the embedding as its output."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evaluator.errors import ModelError, cause_of
from evaluator.images.inputs import InputSpec
from evaluator.models.onnx.output import embedding_output, keep_only
from evaluator.models.onnx.proto import Message, parsed, read_bytes
from evaluator.models.onnx.scan import check_operators, written_once
from evaluator.models.onnx.sizes import check_sizes
from evaluator.models.onnx.weights import check_weights, read_data
from evaluator.models.options import LoadOptions
from evaluator.models.shapes import Shape, check_one_input, input_spec, takes_whole_numbers


@dataclass(frozen=True)
class OnnxModel:
    """``data`` is the model that was checked, with the weights beside it, as bytes: what runs is
    what was looked at. ``image`` and ``output`` name its input and its one output; ``kind`` is the
    input's type in NumPy's words, ``shape`` its sizes, None for an open one.
    """

    data: bytes
    image: str
    kind: str
    shape: tuple[int | None, ...]
    spec: InputSpec
    output: str
    notes: tuple[str, ...]


def read_onnx(path: Path, options: LoadOptions) -> OnnxModel:
    """The model of an .onnx file. Raises ModelError for what it must not say, or not so; OSError.

    Needs the onnx package, and none that runs models.
    """
    data = read_bytes(path)
    model = parsed(path, data)
    data = written_once(path, model, data)
    check_operators(path, model)
    check_weights(path, model)
    image, shape = _image(path, model)
    kind = _kind(path, image)
    spec, input_notes = input_spec(path, shape, options, integer=takes_whole_numbers(path, kind))
    outputs: dict[str, Shape] = {each.name: _shape(each) for each in model.graph.output}
    output, output_notes = embedding_output(
        path, model.graph, image.name, outputs=outputs, wanted=options.output
    )
    changed = keep_only(model.graph, output)
    # What says how to train and to run it is not for this.
    if model.training_info or model.metadata_props:
        model.ClearField("training_info")
        model.ClearField("metadata_props")
        changed = True
    check_sizes(path, model, image.name, (shape[0] or 1, *spec.batch_shape))
    changed |= read_data(path, model)
    return OnnxModel(
        # Writing hundreds of megabytes again takes as long as parsing them.
        data=model.SerializeToString() if changed else data,
        image=image.name,
        kind=kind,
        shape=shape,
        spec=spec,
        output=output,
        notes=(*output_notes, *input_notes),
    )


def _image(path: Path, model: Message) -> tuple[Message, tuple[int | None, ...]]:
    """The one input that is no weight, and its shape. Raises ModelError."""
    weights = {each.name for each in model.graph.initializer}
    weights |= {each.values.name for each in model.graph.sparse_initializer}
    # Older files list their weights among the inputs.
    inputs = [each for each in model.graph.input if each.name not in weights]
    check_one_input(path, [_shape(each) for each in inputs])
    return inputs[0], _shape(inputs[0])


def _kind(path: Path, image: Message) -> str:
    import onnx

    kind = image.type.tensor_type.elem_type
    try:
        return str(onnx.helper.tensor_dtype_to_np_dtype(kind))
    except KeyError:
        raise ModelError(
            f"{path}: the model's input {cause_of(image.name)[:80]!r} is of an unknown type, {kind}"
        ) from None


def _shape(value: Message) -> tuple[int | None, ...]:
    """The shape with None for a named axis. insightface names the batch axis of its inputs only."""
    return tuple(
        int(each.dim_value) if each.HasField("dim_value") and each.dim_value > 0 else None
        for each in value.type.tensor_type.shape.dim
    )
