"""Imports Keras and TensorFlow without their start-up notes on the user's screen."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def native_messages_held() -> Iterator[None]:
    """Holds what is written to file descriptor 2 in the block; shows it only if the block fails.

    TensorFlow's C++ side writes notes about CUDA and oneDNN before its log level is read, so the
    environment alone cannot silence them.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        original = os.dup(2)
        os.dup2(held.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        except KeyboardInterrupt:
            failed = False  # the notes have nothing to do with it
            raise
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
            if failed:
                held.seek(0)
                os.write(2, held.read())


def import_keras() -> Any:
    """The keras package, its backend started."""
    with native_messages_held():
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
