"""The line of `zoo export`: load, write, state the input, load again, compare.

Of PyTorch weights a Keras model is made first, its input stated beside it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.bins.verification_set import distinct_images, read_bin
from evaluator.errors import InputError, ModelError, plain_name
from evaluator.images.decode import decode_image
from evaluator.images.inputs import Embedder, InputSpec, write_model_input
from evaluator.isolation.process import model_process, open_model, walled
from evaluator.models.export import SUFFIXES, put_whole
from evaluator.models.formats import model_format
from evaluator.models.identity import model_identity
from evaluator.models.input_note import sidecar_path, write_sidecar
from evaluator.models.options import LoadOptions
from evaluator.models.runtime import import_keras, native_messages_held
from evaluator.models.torch_weights.read import weights_kind
from zoo.entries.lookup import ModelChoice
from zoo.evaluate.loading import say_of
from zoo.evaluate.request import Request, checked_model
from zoo.terminal.words import note

# Cosine distance from the source that a format may add: rounding, or the steps of eight bits.
_ALLOWED = {"none": 1e-4, "float16": 1e-3, "int8": 5e-2}
_RANDOM_IMAGES = 8
_REAL_IMAGES = 32
_CALIBRATION_IMAGES = 200


@dataclass(frozen=True)
class Job:
    """What to write: format, path (None: NAME-embedding beside the source), quantisation, and
    whether a file that is there is replaced. Raises InputError for what does not go together.
    """

    to: str
    out: Path | None
    quantize: str
    force: bool

    def __post_init__(self) -> None:
        """Refuses options that do not go together."""
        if self.quantize != "none" and self.to != "tflite":
            raise InputError(f"--quantize {self.quantize} applies to --to tflite only")


@dataclass(frozen=True)
class Parity:
    """Where the export is, and by how much cosines to the source's embeddings fall short of 1, at
    most, by kind of image; ``allowed`` is what such an export may differ by.
    """

    target: Path
    differences: dict[str, float]
    allowed: float

    @property
    def agrees(self) -> bool:
        """Whether the export gives what its source gives."""
        return max(self.differences.values()) <= self.allowed


def run_export(request: Request, job: Job) -> Parity:
    """Writes the embedding model of a request's one model. Raises InputError, or OSError."""
    (choice,) = request.models
    if job.quantize == "int8" and not request.bins:
        raise InputError("--quantize int8 is calibrated on real images: give --bins NAME")
    target = _target(choice.path, job)
    if weights_kind(choice.path) is None:
        return _exported(choice, request, job, target)
    with tempfile.TemporaryDirectory() as folder:
        return _exported(keras_model(choice, Path(folder)), request, job, target)


def _exported(choice: ModelChoice, request: Request, job: Job, target: Path) -> Parity:
    if model_format(choice.path) not in ("keras", "keras-h5"):
        raise InputError(
            f"{choice.path}: export reads Keras checkpoints, .h5 and .keras, and PyTorch weights"
        )
    _, options = checked_model(choice, request)
    encoded = [
        image for path in request.bins for image in distinct_images(read_bin(path).images)[0]
    ]

    with model_process(wall=walled(options)) as process:
        source = process.load(choice.path, options)
        say_of(choice, source, options)
        made = process.export(
            choice.path,
            options,
            to=job.to,
            suffix=SUFFIXES[job.to],
            quantize=job.quantize,
            calibration=_calibration(encoded, source.input) if job.quantize == "int8" else None,
        )
        put_whole(made, target)
        write_sidecar(target, source.input, model_identity(target).digest)
        differences = _differences(target, source, encoded, options)
    return Parity(target, differences, _ALLOWED[job.quantize])


def _calibration(encoded: Sequence[bytes], spec: InputSpec) -> NDArray[np.float32]:
    """Images from all over a bin, as the model takes them."""
    spread = np.linspace(0, len(encoded), min(len(encoded), _CALIBRATION_IMAGES), endpoint=False)
    return _prepared([decode_image(encoded[int(i)]) for i in spread], spec)


def _differences(
    target: Path, source: Embedder, encoded: Sequence[bytes], options: LoadOptions
) -> dict[str, float]:
    """How far the export is from its source, by kind of image.

    An export that cannot be loaded is taken away; ModelError says why.
    """
    own = replace(
        options,
        profile=source.input.profile,
        size=(source.input.height, source.input.width),
        output=None,
    )
    try:
        with open_model(target, own) as again:
            return {
                kind: _largest_difference(source, again, _prepared(images, source.input))
                for kind, images in _test_images(encoded, source.input).items()
            }
    except ModelError:
        sidecar_path(target).unlink()
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink()
        raise


def _target(source: Path, job: Job) -> Path:
    """Where the export goes. Raises InputError for a place that is taken, or not there."""
    usual = source.with_name(f"{source.stem}-embedding{SUFFIXES[job.to]}")
    target = job.out or usual
    if not target.parent.is_dir():
        raise InputError(f"--out {target}: there is no folder {target.parent}; make it first")
    if target.resolve() == source.resolve():
        raise InputError(f"--out {target}: this is the checkpoint itself")
    if target.exists() and not job.force:
        raise InputError(f"{target}: is there already; --force replaces it")
    if target.is_dir() and job.to == "savedmodel" and model_format(target) != "savedmodel":
        raise InputError(f"{target}: a folder, but not a SavedModel; it is not replaced")
    return target


def _test_images(encoded: Sequence[bytes], spec: InputSpec) -> dict[str, list[NDArray[np.uint8]]]:
    """Random pixels, and real faces: the bin's, else the small gray ones of scikit-image."""
    random = np.random.default_rng(0)
    shape = (_RANDOM_IMAGES, *spec.image_size, 3)
    noise = random.integers(0, 256, shape, dtype=np.uint8)
    if encoded:
        real = [decode_image(image) for image in encoded[:_REAL_IMAGES]]
    else:
        from skimage.data import lfw_subset

        faces = np.round(255 * lfw_subset()[:_REAL_IMAGES]).astype(np.uint8)
        real = [np.repeat(face[..., None], 3, axis=2) for face in faces]
    return {"random": list(noise), "real": real}


def _prepared(images: Sequence[NDArray[np.uint8]], spec: InputSpec) -> NDArray[np.float32]:
    batch = np.empty((len(images), *spec.batch_shape), np.float32)
    for image, out in zip(images, batch, strict=True):
        write_model_input(image, spec, out)
    return batch


def _largest_difference(a: Embedder, b: Embedder, batch: NDArray[np.float32]) -> float:
    """The largest 1 - cosine between two models' embeddings of the same images."""
    first, second = (_embedded(each, batch).astype(np.float64) for each in (a, b))
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = (first * second).sum(axis=1) / lengths
    # No length, or not finite: nothing alike can be said of them.
    return float(np.max(np.where(np.isfinite(cosines), np.abs(1 - cosines), np.inf)))


def _embedded(embedder: Embedder, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    size = embedder.fixed_batch or len(batch)
    rows = []
    for start in range(0, len(batch), size):
        part = batch[start : start + size]
        filled = np.concatenate([part, np.zeros((size - len(part), *part.shape[1:]), np.float32)])
        rows.append(embedder.forward(filled)[: len(part)])
    return np.concatenate(rows)


# ---- PyTorch weights -----------------------------------------------------------------------------


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
