"""PyTorch weights on the way to `zoo export`: a Keras model of them, its input stated beside it."""

from __future__ import annotations

from pathlib import Path

from evaluator.errors import plain_name
from evaluator.images.inputs import InputSpec
from evaluator.models.identity import model_identity
from evaluator.models.input_note import write_sidecar
from evaluator.models.runtime import import_keras, native_messages_held
from evaluator.models.torch_weights.read import weights_kind
from zoo.entries.lookup import ModelChoice
from zoo.terminal.words import note


def weights_choice(value: str) -> ModelChoice | None:
    """A file of PyTorch weights, as a choice; None for anything else."""
    path = Path(value)
    if not path.is_file() or weights_kind(path) is None:
        return None
    return ModelChoice(plain_name(path.stem), path)


def keras_model(choice: ModelChoice, folder: Path) -> ModelChoice:
    """The Keras model of a file of weights, in ``folder``. Raises InputError, or OSError."""
    import_keras()
    from training.network.pytorch import model_of_weights

    found = model_of_weights(choice.path)
    made = folder / f"{choice.name}.keras"
    with native_messages_held():
        found.model.save(made)
    _, height, width, _ = found.model.input_shape
    spec = InputSpec(height, width, "insightface", found.channels)
    write_sidecar(made, spec, model_identity(made).digest)
    note(
        f"{choice.path}: {found.family}'s network, {found.model.count_params():,} numbers, for "
        f"{height}x{width} images, {found.channels}, by the profile insightface"
    )
    if found.others:
        shown = ", ".join(plain_name(name)[:60] for name in found.others[:3])
        more = f" and {len(found.others) - 3} more" if len(found.others) > 3 else ""
        note(f"{choice.path}: left out, as no part of the network: {shown}{more}")
    return ModelChoice(choice.name, made)
