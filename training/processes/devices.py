"""Which devices a run trains on: one, several of this machine, or those of several processes."""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluator.errors import InputError
from evaluator.models.runtime import import_keras, native_messages_held
from training.processes.team import ALONE, Team, agree, jax_module
from training.recipes.parts import MINED_LOSSES, Recipe

# The one axis of the devices: batches are split over it, and so are classes with --shard-head.
_AXIS = "batch"


class DeviceError(InputError):
    """A device was asked for that is not there."""


@dataclass(frozen=True)
class Opened:
    """What a run trains on: ``shard`` is (this process, processes), each of which feeds its part
    of a batch; ``devices`` counts those of all processes; ``head_parts`` is into how many parts
    the head's classes are split.
    """

    shard: tuple[int, int] = (0, 1)
    devices: int = 1
    head_parts: int = 1


def check_devices(asked: str, *, team: Team = ALONE, shard_head: bool = False) -> str:
    """What ``asked`` (auto, cpu, gpu, cpu:2, gpu:4) comes to, as words: "2 x GPU"; of each process
    where several train together, which meets the others' backends here.

    On the CPU a number makes so many logical devices. Imports the backend; must run before
    anything else does. Raises DeviceError for words that mean no device, for a GPU that is not
    there, and for what only JAX can do.
    """
    kind, count = _parsed(asked)
    import_keras()
    for option, used in (("--hosts", team.processes > 1), ("--shard-head", shard_head)):
        if used and _backend() != "jax":
            raise DeviceError(f"{option}: works on JAX only; set KERAS_BACKEND=jax")
    with native_messages_held():
        found = (
            _tensorflow_gpus(kind, count)
            if _backend() == "tensorflow"
            else _jax_gpus(kind, count, team)
        )
    if kind == "auto":
        kind = "gpu" if found else "cpu"
        count = count or max(found, 1)
    if kind == "gpu" and found < max(count, 1):
        wanted = f"{max(count, 1)} GPUs" if count > 1 else "a GPU"
        raise DeviceError(
            f"--devices {asked}: expected {wanted}, found {found} that {_backend()} can use; "
            "is its GPU build installed (pip install 'face-zoo[gpu]')?"
        )
    if shard_head and max(count, 1) * team.processes == 1:
        raise DeviceError("--shard-head: expected several devices, as in --devices gpu:2; found 1")
    return f"{max(count, 1)} x {kind.upper()}"


def check_triplets_fit(recipe: Recipe, devices: str, *, processes: int = 1) -> None:
    """Raises DeviceError where devices ("2 x GPU") cannot share each batch in whole triplets.

    ``devices`` are those of one of the ``processes``. Only for stages whose batches hold triplets
    row by row; online losses look at the whole batch, whatever part of it a device has.
    """
    count = int(devices.split(" x ")[0]) * processes
    mined = any(stage.loss.name in MINED_LOSSES for stage in recipe.stages)
    if mined and recipe.batch % (3 * count):
        words = f"{devices} in {processes} processes" if processes > 1 else devices
        raise DeviceError(
            f"batch: {words} share it in whole triplets: expected a multiple of {3 * count}; "
            f"found {recipe.batch}"
        )


@contextmanager
def opened_devices(asked: str, *, team: Team = ALONE, shard_head: bool = False) -> Iterator[Opened]:
    """Builds and trains models in the block on these devices. Raises as `check_devices`, and
    TeamError for processes with other devices.
    """
    words = check_devices(asked, team=team, shard_head=shard_head)
    number, kind = words.split(" x ")
    count = int(number)
    agree(team, "devices", [words, shard_head])
    if count * team.processes == 1:
        yield Opened()
        return
    if _backend() == "tensorflow":
        import tensorflow as tf

        names = [f"/{kind.lower()}:{index}" for index in range(count)]
        with tf.distribute.MirroredStrategy(names).scope():
            yield Opened(devices=count)
        return
    total = count * team.processes
    with _distributed(_distribution(_devices(kind.lower(), count), shard_head)):
        yield Opened((team.process, team.processes), total, total if shard_head else 1)


def check_batch(batch: int, opened: Opened) -> None:
    """Raises DeviceError for a batch that the devices cannot share equally, as JAX wants it."""
    if batch % opened.devices and _backend() == "jax":
        raise DeviceError(
            f"batch: expected a multiple of the {opened.devices} devices; found {batch}"
        )


def this_process_alone() -> AbstractContextManager[None]:
    """Builds models in the block on this process's first device, whatever the others do."""
    return _distributed(None)


@contextmanager
def _distributed(distribution: Any) -> Iterator[None]:
    import keras

    before = keras.distribution.distribution()
    keras.distribution.set_distribution(distribution)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


def whole_array(variable: Any) -> Any:
    """A variable's value as a NumPy array, also where each process has a part of it: then all
    processes must ask for it.
    """
    import keras

    if _backend() != "jax":
        return keras.ops.convert_to_numpy(variable)
    value = variable.value
    if value.is_fully_addressable or value.is_fully_replicated:
        return keras.ops.convert_to_numpy(variable)
    return jax_module("jax.experimental.multihost_utils").process_allgather(value, tiled=True)


def _parsed(asked: str) -> tuple[str, int]:
    match = re.fullmatch(r"(auto|cpu|gpu)(?::([1-9][0-9]?))?", asked)
    if match is None:
        raise DeviceError(f"--devices {asked}: expected auto, cpu, gpu, or gpu:2 for two of them")
    return match[1], int(match[2] or 0)


def _backend() -> str:
    import keras

    return str(keras.backend.backend())


def _tensorflow_gpus(kind: str, count: int) -> int:
    """How many GPUs this process has; prepares the CPU if that is what is asked for."""
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


def _jax_gpus(kind: str, count: int, team: Team) -> int:
    jax = jax_module()
    if kind == "cpu":
        jax.config.update("jax_platforms", "cpu")
        if count > 1 and jax.config.jax_num_cpu_devices != count:
            jax.config.update("jax_num_cpu_devices", count)
            # XLA's threads: a device waits in one for the others, which must still find some.
            os.environ.setdefault("NPROC", str(max(os.cpu_count() or 1, 2 * count + 2)))
    if team.processes > 1:
        with _stdout_held():
            # The first operation over all processes makes the connections, and says so on stdout.
            jax_module("jax.experimental.multihost_utils").sync_global_devices("face-zoo")
    if kind == "cpu":
        return 0
    return sum(device.platform == "gpu" for device in jax.local_devices())


@contextmanager
def _stdout_held() -> Iterator[None]:
    """Throws away what native code writes to file descriptor 1 in the block."""
    sys.stdout.flush()
    original = os.dup(1)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(original, 1)
        os.close(original)


def _devices(kind: str, count: int) -> list[str]:
    """The first ``count`` devices of each process, in the order of processes."""
    known = sorted(jax_module().devices(kind), key=lambda each: (each.process_index, each.id))
    return [
        f"{device.platform}:{device.id}"
        for _, own in itertools.groupby(known, key=lambda each: each.process_index)
        for device in itertools.islice(own, count)
    ]


def _distribution(devices: list[str], shard_head: bool) -> Any:
    """Batches split over the devices and weights on each; with ``shard_head`` the head and the
    centers are split by class over the same devices, and never gathered.
    """
    import keras

    mesh = keras.distribution.DeviceMesh((len(devices),), [_AXIS], devices)
    if not shard_head:
        return keras.distribution.DataParallel(device_mesh=mesh, auto_shard_dataset=False)
    layouts = keras.distribution.LayoutMap(mesh)
    # The weight itself, and the optimizer's slots, which are named after it.
    layouts["(.*[/_])?head[/_](norm_dense_w|kernel).*"] = (None, _AXIS)
    layouts["(.*/)?center/centers"] = (_AXIS, None)
    # Logits stay where their class vectors are.
    layouts["(.*/)?head/output"] = (None, _AXIS)
    return keras.distribution.ModelParallel(
        layout_map=layouts, batch_dim_name=_AXIS, auto_shard_dataset=False
    )
