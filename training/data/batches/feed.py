"""Batches in the form that Keras's fit takes on each backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras

from evaluator.errors import InputError
from training.data.batches.pipeline import Batch, TrainingData, empty_batch
from training.recipes.parts import Recipe


class Feed:
    """Batches as (inputs, labels) or (inputs, labels, weights), as the recipe's model takes them.

    ``make`` begins them anew at each call: MirroredStrategy reads the first ones twice.
    ``failure`` is the error that reading raised, which TensorFlow wraps into one of its own.
    """

    def __init__(
        self, data: TrainingData, make: Callable[[], Iterator[Batch]], recipe: Recipe
    ) -> None:
        self._data = data
        self._make = make
        self._with_labels = recipe.labels_too
        self._weighted = recipe.data.class_weights != "none"
        self.failure: InputError | OSError | None = None

    def source(self) -> Any:
        """A generator, or on TensorFlow a tf.data.Dataset of constant shapes."""
        if keras.backend.backend() != "tensorflow":
            return self._rows()
        return tf_rows(self._rows, self._row(empty_batch(self._data)))

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        try:
            for batch in self._make():
                yield self._row(batch)
        except (InputError, OSError) as error:
            self.failure = error
            raise

    def _row(self, batch: Batch) -> tuple[Any, ...]:
        inputs = (batch.images, batch.labels) if self._with_labels else batch.images
        row = (inputs, batch.labels)
        return (*row, batch.weights) if self._weighted else row


def tf_rows(rows: Callable[[], Iterator[Any]], row: Any, *, short: bool = False) -> Any:
    """A tf.data.Dataset of what ``rows()`` gives, each shaped as ``row``; with ``short``, of any
    number of images.
    """
    import tensorflow as tf

    def spec(each: Any) -> Any:
        return tf.TensorSpec((None, *each.shape[1:]) if short else each.shape, each.dtype)

    signature = tf.nest.map_structure(spec, row)
    options = tf.data.Options()
    # There is nothing to tune, and the search for it holds every batch up by 5 to 10 ms.
    options.autotune.enabled = False
    made = tf.data.Dataset.from_generator(rows, output_signature=signature)
    return made.prefetch(2).with_options(options)
