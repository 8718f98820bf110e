"""A stage's optimizer, and what Keras's do not have: PyTorch's weight decay, a rate off knots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from training.recipes import registry
from training.recipes.parts import Stage

# Knots of a rate that changes with every step; between two of them it runs straight. A quadratic
# decay is met within 2e-8 of its first value.
_KNOTS = 4096


@keras.saving.register_keras_serializable(package="face_zoo")
class StepRates(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """The rate at each of ``steps`` steps, read off knots that lie evenly over them."""

    def __init__(self, rates: list[float], steps: int) -> None:
        self.rates = rates
        self.steps = steps

    def __call__(self, step: Any) -> Any:
        last = len(self.rates) - 1
        place = ops.clip(ops.cast(step, "float32") * (last / self.steps), 0.0, float(last))
        below = ops.minimum(ops.floor(place), float(last - 1))
        share = place - below
        number = ops.cast(below, "int32")
        rates = ops.convert_to_tensor(self.rates, dtype="float32")
        return (1.0 - share) * ops.take(rates, number) + share * ops.take(rates, number + 1)

    def get_config(self) -> dict[str, Any]:
        return {"rates": self.rates, "steps": self.steps}


# Weights whose rows stand for one person or thing each: of MarginHead, and of Keras's Embedding.
_ROWS = ("class_vectors", "embeddings")


@keras.saving.register_keras_serializable(package="face_zoo", name="L2SGD")
class SGD(keras.optimizers.SGD):  # type: ignore[misc]
    """SGD whose weight decay is part of the gradient, and so of the momentum, as in PyTorch.

    Keras's own ``weight_decay`` is decoupled: with momentum 0.9 it is a tenth as strong.

    With ``lazy_rows``, rows of `MarginHead`'s class vectors and of Keras's Embedding whose gradient
    is 0 keep weight and momentum, as the classes that Partial FC does not draw (An et al., CVPR
    2022). On TensorFlow no array as large as the weight is made; JAX's gradient is one.
    """

    def __init__(self, l2: float = 0.0, *, lazy_rows: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.l2 = l2
        self.lazy_rows = bool(lazy_rows)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One variable's step."""
        place = self._get_variable_index(variable)
        if not (self.lazy_rows and self._trainable_variables[place].name in _ROWS):
            if self.l2 and self._use_weight_decay(variable):
                decay = ops.multiply(ops.cast(variable, gradient.dtype), self.l2)
                gradient = ops.add(gradient, decay)
            super().update_step(gradient, variable, learning_rate)
            return
        kept = [variable, *self.momentums[place : place + 1]]
        step = self._sliced_step if hasattr(gradient, "indices") else self._row_step
        step(gradient, kept, ops.cast(learning_rate, variable.dtype))

    def _row_step(self, gradient: Any, kept: list[Any], rate: Any) -> None:
        """The step by a gradient as large as the weight; ``kept``: weight and momentum, if any."""
        for each, new in zip(kept, self._new_rows(gradient, kept, rate), strict=True):
            self.assign(each, new)

    def _sliced_step(self, gradient: Any, kept: list[Any], rate: Any) -> None:
        """The step of the rows that a gradient of TensorFlow's speaks of, some of them twice."""
        import tensorflow as tf

        variables = [each.value if isinstance(each, keras.Variable) else each for each in kept]
        rows, count = gradient.indices, tf.shape(gradient.indices)[0]
        # One place for each row, where its parts are summed; XLA has no set of unknown size.
        place = tf.zeros((variables[0].shape[0],), tf.int32)
        place = tf.tensor_scatter_nd_update(place, rows[:, None], tf.range(count))
        place = tf.gather(place, rows)
        summed = tf.math.unsorted_segment_sum(gradient.values, place, count)
        old = [tf.gather(each, rows) for each in variables]
        for each, new in zip(
            variables, self._new_rows(tf.gather(summed, place), old, rate), strict=True
        ):
            each.scatter_update(tf.IndexedSlices(new, rows))

    def _new_rows(self, gradient: Any, kept: list[Any], rate: Any) -> list[Any]:
        """What becomes of weight and momentum: rows with a gradient move as Keras's SGD moves."""
        weight, *momentum = (ops.convert_to_tensor(each) for each in kept)
        touched = ops.any(ops.not_equal(gradient, 0.0), axis=-1, keepdims=True)
        step = rate * (gradient + self.l2 * weight)
        if not momentum:
            return [ops.where(touched, weight - step, weight)]
        speed = self.momentum * momentum[0] - step
        moved = weight + (self.momentum * speed - step if self.nesterov else speed)
        return [ops.where(touched, moved, weight), ops.where(touched, speed, momentum[0])]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "l2": self.l2, "lazy_rows": self.lazy_rows}


_KINDS = {
    "adam": keras.optimizers.Adam,
    "adamax": keras.optimizers.Adamax,
    "adamw": keras.optimizers.AdamW,
    "lamb": keras.optimizers.Lamb,
    "sgd": SGD,
    "sgdw": keras.optimizers.SGD,
}


def stage_optimizer(
    stage: Stage, steps_per_epoch: int, variables: Sequence[Any]
) -> keras.optimizers.Optimizer:
    """The optimizer of a recipe's stage, not built yet, for these trainable ``variables``. Raises
    InputError as `registry.made` does.

    With ``ema`` the averages stay in the optimizer: Keras's fit, which ends with every segment of
    an epoch here, would else put them into the model that is trained on.
    """
    recipe = stage.optimizer
    decay = recipe.weight_decay
    asked = {
        "l2" if recipe.name == "sgd" else "weight_decay": decay or None,
        "lazy_rows": True if recipe.name == "sgd" and stage.sample_rate < 1 else None,
        "use_ema": recipe.ema > 0 or None,
        "ema_momentum": recipe.ema or None,
        "global_clipnorm": recipe.clip_norm or None,
        "clipnorm": recipe.clip_each_norm or None,
        "gradient_accumulation_steps": recipe.accumulate if recipe.accumulate > 1 else None,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    given |= {
        **recipe.own,
        **(recipe.options or {}),
        "learning_rate": _rate(stage, steps_per_epoch),
    }
    if recipe.name in _KINDS:
        optimizer = _KINDS[recipe.name](**given)
    else:
        optimizer = registry.made("optimizer", recipe.name, given)
    if recipe.decay == "kernels":
        # Biases, a norm's two vectors, and slopes, which have a size of 1 along all other axes.
        small = [each for each in variables if np.prod(each.shape) == max(each.shape, default=1)]
        optimizer.exclude_from_weight_decay(var_list=small)
    if recipe.ema:
        optimizer.finalize_variable_values = _leave_alone
    return optimizer


def _leave_alone(variables: Any) -> None:
    """Keeps a model's own weights at a fit's end."""


def _rate(stage: Stage, steps_per_epoch: int) -> Any:
    schedule = stage.learning_rate.over(stage.epochs)
    if not stage.learning_rate.by_step:
        return schedule(0)
    knots = np.linspace(0, stage.epochs, _KNOTS + 1)
    rates = np.array([schedule(float(epoch)) for epoch in knots], np.float32)
    return StepRates(rates.tolist(), stage.epochs * steps_per_epoch)
