"""Center loss: each embedding is drawn to the running center of its person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from evaluator.errors import InputError
from evaluator.files import whole_file
from training.network.heads import assign, positive_whole, rounded_up
from training.network.running import LossLayer, Running


@keras.saving.register_keras_serializable(package="face_zoo")
class CenterLoss(LossLayer):
    """The embedding as it came in; adds ``factor`` x its distance to its center to the loss.

    Called on embeddings (batch, features) and integer labels (batch,) or (batch, 1). The distance
    is the mean over features of (embedding - center)^2, averaged over the batch. In training, each
    class in the batch then moves: center -= alpha * sum(center - embedding) / (1 + count), with
    the center from before and the sum and count over the whole batch (Wen et al., ECCV 2016,
    eq. 4). Under ``tf.distribute`` the whole batch is that of all replicas, so that centers equal
    one device's.

    The centers are a non-trainable float32 weight, (classes, features), that starts at zero: the
    one form that Keras saves and resumes on TensorFlow and updates on JAX. No gradient reaches
    them. Computes in float32 whatever the global precision, unless ``dtype`` is given. Rows of
    zeros after the last class make their number a multiple of ``multiple``, as in `NormDense`.

    A label below 0 is that of an image that only fills up a batch: its distance counts as 0. The
    logs have ``center_loss``, the mean of ``factor`` x distance, which is in ``loss`` too.

    Raises:
        InputError: ``classes`` or ``multiple`` no positive whole number, ``alpha`` or ``factor``
            not above 0.
    """

    def __init__(
        self,
        classes: int,
        alpha: float = 0.5,
        factor: float = 1.0,
        *,
        multiple: int = 1,
        **options: Any,
    ) -> None:
        options.setdefault("dtype", "float32")
        super().__init__(**options)
        self.classes = positive_whole("CenterLoss: classes", classes)
        for name, value in (("alpha", alpha), ("factor", factor)):
            if not 0 < value < float("inf"):
                raise InputError(f"CenterLoss: {name}: expected a number above 0, found {value!r}")
        self.alpha = float(alpha)
        self.factor = float(factor)
        self.multiple = positive_whole("CenterLoss: multiple", multiple)
        self.running = Running(["center_loss"])

    def build(
        self, embedding_shape: tuple[int | None, ...], labels_shape: tuple[int | None, ...]
    ) -> None:
        self.centers = self.add_weight(
            name="centers",
            shape=(rounded_up(self.classes, self.multiple), embedding_shape[-1]),
            initializer="zeros",
            dtype="float32",
            trainable=False,
            autocast=False,
        )

    def call(self, embedding: Any, labels: Any, training: bool | None = None) -> Any:
        labels = ops.cast(ops.reshape(labels, (-1,)), "int32")
        values = ops.cast(embedding, "float32")
        distance = values - ops.take(self.centers, ops.maximum(labels, 0), axis=0)
        counts = ops.cast(labels >= 0, "float32")
        losses = self.factor * ops.mean(ops.square(distance), axis=1)
        self.add_loss(ops.mean(losses * counts))
        self.running([losses], counts)
        if training:
            self.move(*whole_batch(ops.stop_gradient(values), labels))
        return embedding

    def move(self, embeddings: Any, labels: Any) -> None:
        """Moves the centers of the classes in this batch, once."""
        same = ops.equal(ops.expand_dims(labels, 1), ops.expand_dims(labels, 0))
        weight = ops.cast(same, "float32")
        old = ops.take(self.centers, labels, axis=0)
        step = ops.matmul(weight, old - embeddings) / (1.0 + ops.sum(weight, axis=1, keepdims=True))
        # A class in the batch twice is written twice: each time with the same row, bit by bit.
        first = ops.argmax(ops.cast(same, "int32"), axis=1)
        rows = ops.take(old - self.alpha * step, first, axis=0)
        set_rows(self.centers, labels, rows)

    def load_centers(self, path: str | Path) -> None:
        """Puts the array of a ``centers.npy`` in, as `save_centers` and the founding training
        write it.

        Raises:
            InputError: as `read_centers`; the layer has not been called yet.
            OSError: the file cannot be read.
        """
        shape = (self.classes, self._built_centers().shape[1])
        assign(self.centers, read_centers(Path(path), shape))

    def save_centers(self, path: str | Path) -> None:
        """Writes the centers, (classes, features), as a float32 ``.npy``, whole or not at all.

        Raises InputError for a layer that has not been called yet, or OSError.
        """
        centers = ops.convert_to_numpy(self._built_centers())
        write_centers(Path(path), centers[: self.classes])

    def _built_centers(self) -> Any:
        if not self.built:
            raise InputError(f"{self.name}: call the layer on embeddings first: it has no centers")
        return self.centers

    def compute_output_shape(
        self, embedding_shape: tuple[int | None, ...], labels_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        return embedding_shape

    def get_config(self) -> dict[str, Any]:
        names = ("classes", "alpha", "factor", "multiple")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def whole_batch(embeddings: Any, labels: Any) -> tuple[Any, Any]:
    """Embeddings and labels of all replicas, the same on each; JAX's arrays are global already."""
    if keras.backend.backend() != "tensorflow":
        return embeddings, labels
    import tensorflow as tf

    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return embeddings, labels
    return replica.all_gather(embeddings, axis=0), replica.all_gather(labels, axis=0)


def set_rows(variable: Any, indices: Any, rows: Any) -> None:
    """Writes ``rows`` into ``variable`` at ``indices``; in place where the backend can."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # On a mirrored variable that aggregates nothing this writes each replica's own copy.
        variable.value.scatter_update(tf.IndexedSlices(rows, indices))
    else:
        variable.assign(ops.scatter_update(variable, ops.expand_dims(indices, 1), rows))


def read_centers(path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    """The array of a ``centers.npy``, (classes, features), as the seed's training wrote them.

    Raises:
        InputError: the file holds no array, one of another shape, or a value that is not finite.
        OSError: it cannot be read.
    """
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(f"{path}: expected a NumPy array of centers: {error}") from error
    found = getattr(values, "shape", "an archive of arrays")
    if found != shape:
        raise InputError(f"{path}: expected centers of shape {shape}, found {found}")
    if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise InputError(f"{path}: expected finite numbers as centers, found others")
    return np.asarray(values, np.float32)


def write_centers(path: Path, centers: NDArray[np.float32]) -> None:
    """Writes centers (classes, features) as a float32 ``.npy``, whole or not at all."""
    with whole_file(path, follow=False) as file:
        np.save(file, centers.astype(np.float32))
