"""Layers that add a loss, and means that they show as Keras's metrics, on either backend."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops


class LossLayer(keras.layers.Layer):  # type: ignore[misc]
    """A layer that adds a loss, of which a replica of ``tf.distribute`` sees its own alone.

    Keras keeps the losses of all replicas in one list of the layer, which each of them clears when
    it begins: where they wait for one another in between, a loss gets lost, or counts twice.
    """

    def add_loss(self, loss: Any) -> None:
        """Adds a scalar to the loss."""
        replica = _replica()
        if replica is not None:
            loss.zoo_replica = replica
        super().add_loss(loss)

    def _get_own_losses(self) -> list[Any]:
        replica = _replica()
        found = super()._get_own_losses()
        return [each for each in found if getattr(each, "zoo_replica", replica) == replica]

    def _clear_losses(self) -> None:
        replica, alive = _replica(), {each.ident for each in threading.enumerate()}
        others = [
            each
            for each in self._losses
            if getattr(each, "zoo_replica", replica) in alive - {replica}
        ]
        super()._clear_losses()
        self._losses.extend(others)


def _replica() -> int | None:
    """The thread of the replica that runs here; None where there is one replica."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return None
    return threading.get_ident()


# By this name of a variable it is known that it belongs to an epoch alone.
SUMS = "sums_of_the_epoch"


class Running(keras.layers.Layer):  # type: ignore[misc]
    """Means since an epoch began; ``running(values, counts)`` adds a batch to them.

    ``names`` are the keys of the logs. The sums are variables of the layer that holds this one, and
    no weights: they stand in no file. A metric of Keras's own that a layer updates in its call
    never moves on JAX, whose trainer takes no metric's variables into the forward pass. For the
    same reason JAX has a NaN in the logs of a step; those of an epoch are whole.
    """

    def __init__(self, names: Sequence[str], **options: Any) -> None:
        super().__init__(dtype="float32", **options)
        self.sums = keras.Variable(
            "zeros",
            shape=(len(names) + 1,),
            dtype="float32",
            trainable=False,
            aggregation="sum",
            synchronization="on_read",
            name=SUMS,
        )
        self.shown = [
            _Shown(functools.partial(self.mean, place), self.forget, name)
            for place, name in enumerate(names)
        ]
        self.built = True

    def call(self, values: Sequence[Any], counts: Any) -> None:
        """Adds a batch: one array (batch,) a name, each image times its count (batch,)."""
        counts = ops.cast(counts, "float32")
        sums = [ops.sum(ops.cast(each, "float32") * counts) for each in values]
        self.sums.assign_add(ops.stop_gradient(ops.stack([*sums, ops.sum(counts)])))

    def mean(self, place: int) -> Any:
        """The mean of the name at ``place``; NaN while JAX traces a step."""
        if any(kind.__name__ == "Tracer" for kind in type(ops.ones(())).__mro__):
            return ops.convert_to_tensor(float("nan"))
        return ops.divide_no_nan(self.sums[place], self.sums[-1])

    def forget(self) -> None:
        """Begins anew."""
        self.sums.assign(ops.zeros(self.sums.shape))

    @property
    def weights(self) -> list[Any]:
        """None: the sums belong to an epoch, not to the model."""
        return []

    def save_own_variables(self, store: Any) -> None:
        """Writes nothing."""

    def load_own_variables(self, store: Any) -> None:
        """Reads nothing."""


class _Shown(keras.metrics.Metric):  # type: ignore[misc]
    def __init__(self, read: Callable[[], Any], forget: Callable[[], None], name: str) -> None:
        super().__init__(name=name)
        self.read = read
        self.forget = forget

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """The layer does it."""

    def result(self) -> Any:
        return self.read()

    def reset_state(self) -> None:
        self.forget()
