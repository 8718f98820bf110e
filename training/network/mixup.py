"""A loss on labels of mixed images."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="face_zoo")
class MixupLoss(keras.losses.Loss):  # type: ignore[misc]
    """A loss on integer labels for batches of `FaceBatches.with_mixup` (Zhang et al. 2018, sec. 2).

    Labels (batch, 3) are an image's own, that of the image mixed into it, and its own share s:
    the loss is s * loss(own) + (1 - s) * loss(other), which for cross-entropy is that of mixed
    one-hot labels. Labels (batch,) or (batch, 1), as those of images held back, go to ``loss`` as
    they are.
    """

    def __init__(
        self,
        loss: keras.losses.Loss,
        name: str = "mixup",
        reduction: str = "sum_over_batch_size",
        **options: Any,
    ) -> None:
        options.setdefault("dtype", "float32")
        super().__init__(name=name, reduction=reduction, **options)
        self.loss = loss

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """(batch,) losses."""
        if len(y_true.shape) != 2 or y_true.shape[-1] != 3:
            return self.loss.call(y_true, y_pred)
        own, other, share = y_true[:, 0], y_true[:, 1], y_true[:, 2]
        return share * self.loss.call(own, y_pred) + (1 - share) * self.loss.call(other, y_pred)

    def get_config(self) -> dict[str, Any]:
        loss = keras.saving.serialize_keras_object(self.loss)
        return {**super().get_config(), "loss": loss}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MixupLoss:
        loss = keras.saving.deserialize_keras_object(config["loss"])
        return cls(**{**config, "loss": loss})
