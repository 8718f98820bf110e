"""Which devices a run trains on: one, several of this machine, or processes on several."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from evaluator.errors import InputError
from evaluator.models.runtime import import_keras, native_messages_held
from training.recipes import MINED_LOSSES, Recipe


class DeviceError(InputError):
    """A device was asked for that is not there."""


def check_devices(asked: str) -> str:
    """What ``asked`` (auto, cpu, gpu, cpu:2, gpu:4) comes to, as words: "2 x GPU".

    On the CPU a number makes so many logical devices. Imports the backend; must run before
    anything else does. Raises DeviceError for words that mean no device and for a GPU that is not
    there.
    """
    kind, count = _parsed(asked)
    found = _gpus(kind, count)
    if kind == "auto":
        kind = "gpu" if found else "cpu"
        count = count or max(found, 1)
    if kind == "gpu" and found < max(count, 1):
        wanted = f"{max(count, 1)} GPUs" if count > 1 else "a GPU"
        raise DeviceError(
            f"--devices {asked}: expected {wanted}, found {found} that {_backend()} can use; "
            "is its GPU build installed (pip install 'face-zoo[gpu]')?"
        )
    return f"{max(count, 1)} x {kind.upper()}"


def check_triplets_fit(recipe: Recipe, devices: str) -> None:
    """Raises DeviceError where devices ("2 x GPU") cannot share each batch in whole triplets.

    Only for stages whose batches hold triplets row by row; online losses look at the whole batch,
    whatever part of it a device has.
    """
    count = int(devices.split(" x ")[0])
    mined = any(stage.loss.name in MINED_LOSSES for stage in recipe.stages)
    if mined and recipe.batch % (3 * count):
        raise DeviceError(
            f"batch: {devices} share it in whole triplets: expected a multiple of {3 * count}; "
            f"found {recipe.batch}"
        )


@contextmanager
def opened_devices(asked: str) -> Iterator[tuple[int, int]]:
    """Builds and trains models in the block on these devices.

    Gives (this process, processes), each of which feeds its part of a batch.
    """
    number, kind = check_devices(asked).split(" x ")
    count = int(number)
    if count == 1:
        yield (0, 1)
        return
    if _backend() == "tensorflow":
        import tensorflow as tf

        names = [f"/{kind.lower()}:{index}" for index in range(count)]
        with tf.distribute.MirroredStrategy(names).scope():
            yield (0, 1)
        return
    import keras

    before = keras.distribution.distribution()
    devices = keras.distribution.list_devices(kind.lower())[:count]
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))
    try:
        yield (0, 1)
    finally:
        keras.distribution.set_distribution(before)


def _parsed(asked: str) -> tuple[str, int]:
    match = re.fullmatch(r"(auto|cpu|gpu)(?::([1-9][0-9]?))?", asked)
    if match is None:
        raise DeviceError(f"--devices {asked}: expected auto, cpu, gpu, or gpu:2 for two of them")
    return match[1], int(match[2] or 0)


def _backend() -> str:
    import keras

    return str(keras.backend.backend())


def _gpus(kind: str, count: int) -> int:
    """How many GPUs the backend has; prepares the CPU if that is what is asked for."""
    import_keras()
    with native_messages_held():
        return (
            _tensorflow_gpus(kind, count) if _backend() == "tensorflow" else _jax_gpus(kind, count)
        )


def _tensorflow_gpus(kind: str, count: int) -> int:
    import tensorflow as tf

    found: list[Any] = tf.config.list_physical_devices("GPU")
    if kind == "cpu" and count > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        if len(tf.config.get_logical_device_configuration(cpu) or ()) != count:
            tf.config.set_logical_device_configuration(
                cpu, [tf.config.LogicalDeviceConfiguration()] * count
            )
    if kind == "cpu" and found:
        tf.config.set_visible_devices([], "GPU")
    return len(found)


def _jax_gpus(kind: str, count: int) -> int:
    import importlib

    # Not an import statement: with its types it would have to be installed to be checked.
    jax: Any = importlib.import_module("jax")
    if kind == "cpu":
        jax.config.update("jax_platforms", "cpu")
        if count > 1 and jax.config.jax_num_cpu_devices != count:
            jax.config.update("jax_num_cpu_devices", count)
        return 0
    return sum(device.platform == "gpu" for device in jax.devices())
