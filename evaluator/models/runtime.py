"""Imports Keras and TensorFlow without their start-up notes on the user's screen."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evaluator.models.options import NATIVE, LoadOptions


@contextmanager
def native_messages_held(*told: type[Exception]) -> Iterator[None]:
    """Holds what is written to file descriptor 2 in the block; shows it only if the block fails,
    and not by one of the exceptions ``told``, which say enough.

    TensorFlow's C++ side writes notes about CUDA and oneDNN before its log level is read, so the
    environment alone cannot silence them.
    """
    quiet: tuple[type[BaseException], ...] = (KeyboardInterrupt, *told)
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        original = os.dup(2)
        os.dup2(held.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        except quiet:
            failed = False  # the notes have nothing to do with the first
            raise
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
            if failed:
                held.seek(0)
                os.write(2, held.read())


def _backend_is_tensorflow() -> bool:
    """Whether Keras will run on TensorFlow: told as Keras tells it, before Keras is imported."""
    given = os.environ.get("KERAS_BACKEND")
    if not given:
        home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
        try:
            stored = json.loads((home / "keras.json").read_text())
        except FileNotFoundError:
            stored = {}
        except (OSError, ValueError):  # for Keras to complain of
            return False
        given = stored.get("backend", "tensorflow") if isinstance(stored, dict) else None
    return given == "tensorflow"


@contextmanager
def _hidden(package: str) -> Iterator[None]:
    """Has a package, unless it is imported already, look as if it were not installed.

    TensorFlow Lite's converter imports JAX where it finds it: 100 MB and a second for what no
    command here does.
    """
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]


def limit_threads(threads: int) -> None:
    """Has TensorFlow, from its start on, compute with so many threads, operations one by one.

    Of no effect once it has computed something: for a process of one model.
    """
    os.environ["TF_NUM_INTRAOP_THREADS"] = str(threads)
    os.environ["TF_NUM_INTEROP_THREADS"] = "1"


def device(options: LoadOptions) -> str:
    """Where TensorFlow, which must be imported already, computes: ``gpu`` or ``cpu``."""
    tensorflow = sys.modules.get("tensorflow")
    gpus = tensorflow is not None and tensorflow.config.list_physical_devices("GPU")
    return "gpu" if gpus and options.engine == NATIVE else "cpu"


def import_keras() -> Any:
    """The keras package, its backend started."""
    with native_messages_held():
        if _backend_is_tensorflow():
            with _hidden("jax"):
                import tensorflow  # noqa: F401 - here, so that Keras finds it imported

        import keras

        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            # The first look for devices writes too.
            tf.config.list_physical_devices()
    return keras


def import_tensorflow() -> Any:
    """The tensorflow package, where no Keras is wanted; to be called before threads are begun."""
    with native_messages_held():
        import tensorflow

        tensorflow.config.list_physical_devices()
    return tensorflow
