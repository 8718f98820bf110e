"""What a Keras network asks of memory, counted while it is built and before it is allocated."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from evaluator.errors import ModelError
from evaluator.limits import check_tensor

# Beside what a file stores a network may have the seeds of its random layers, the state of a
# recurrent one, low-rank additions to a kernel: never as much again, and a little.
_FACTOR = 2
_ALLOWANCE = 2**20

#: The largest published face network calls its layers 2,000 times; models that call the model in
#: them twice, which calls the one in it twice, would take for ever.
MAX_CALLS = 50_000


class Account:
    """What the network of ``path`` has declared so far, against the ``stored`` weights of its file.

    ``refusal`` is the first ModelError that was raised: Keras catches some errors of a layer, and
    goes on.
    """

    def __init__(self, path: Path, stored: int) -> None:
        self.refusal: ModelError | None = None
        self._path, self._stored = path, stored
        self._declared = self._calls = 0
        self._thread = threading.get_ident()

    def add_variable(self, shape: Any, name: object) -> None:
        """Counts a variable that is about to be made. Raises ModelError for one too many."""
        sizes = _sizes(shape)
        if threading.get_ident() != self._thread or sizes is None:
            return  # another thread's, or a shape for Keras to complain of
        self._declared += math.prod(abs(size) for size in sizes)
        if self.refusal is None and self._declared > _FACTOR * self._stored + _ALLOWANCE:
            shown = " x ".join(f"{size:,}" for size in sizes)
            self.refusal = ModelError(
                f"{self._path}: not loaded: its layers declare {self._declared:,} weights, up to "
                f"{str(name)[:60]!r} of {shown}; the file stores {self._stored:,}"
            )
        self._stop()

    def add_outputs(self, layer: Any, outputs: object) -> None:
        """Looks at what a layer makes of one image. Raises ModelError for too large a tensor."""
        if threading.get_ident() != self._thread:
            return
        self._calls += 1
        name = f"layer {str(getattr(layer, 'name', ''))[:60]!r} ({type(layer).__name__})"
        try:
            for _, tensor in named_parts(outputs):
                sizes = _sizes(getattr(tensor, "shape", None)) or ()
                check_tensor(self._path, name, sizes[1:])
            if self._calls > MAX_CALLS:
                raise ModelError(
                    f"{self._path}: not loaded: it calls its layers more than {MAX_CALLS:,} times"
                )
        except ModelError as error:
            self.refusal = self.refusal or error
        self._stop()

    def _stop(self) -> None:
        if self.refusal is not None:
            raise self.refusal


@contextmanager
def counted(package: Any, account: Account) -> Iterator[None]:
    """Has all that ``package``, Keras 3 or tf_keras, makes in the block go by the account."""
    is_keras_3 = package.__name__ == "keras"
    caller = package.Operation if is_keras_3 else package.layers.Layer
    call = caller.__call__

    def counted_call(self: Any, *args: Any, **kwargs: Any) -> Any:
        outputs = call(self, *args, **kwargs)
        account.add_outputs(self, outputs)
        return outputs

    with ExitStack() as stack:
        stack.enter_context(_replaced(caller, "__call__", counted_call))
        stack.enter_context(
            (_keras_3_variables if is_keras_3 else _tf_keras_variables)(package, account)
        )
        yield


def _keras_3_variables(keras: Any, account: Account) -> AbstractContextManager[None]:
    make = keras.Variable.__init__

    def counted_make(
        self: Any, initializer: Any, shape: Any = None, *args: Any, **kwargs: Any
    ) -> None:
        # A value that is no function is there already, and came from the config.
        if callable(initializer) or isinstance(initializer, str):
            account.add_variable(shape, kwargs.get("name"))
        make(self, initializer, shape, *args, **kwargs)

    return _replaced(keras.Variable, "__init__", counted_make)


def _tf_keras_variables(_: Any, account: Account) -> AbstractContextManager[None]:
    import tensorflow as tf

    def counted_make(following: Any, **kwargs: Any) -> Any:
        account.add_variable(kwargs.get("shape"), kwargs.get("name"))
        return following(**kwargs)

    scope: AbstractContextManager[None] = tf.variable_creator_scope(counted_make)
    return scope


@contextmanager
def _replaced(owner: type, name: str, value: Any) -> Iterator[None]:
    own = vars(owner).get(name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own is None:
            delattr(owner, name)  # the class has it from another one
        else:
            setattr(owner, name, own)


def named_parts(structure: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """What a dict, list or tuple of any depth holds, in order, by its keys with slashes between
    them; the thing itself, by no name, if it is none.
    """
    if isinstance(structure, dict | list | tuple):
        parts = structure.items() if isinstance(structure, dict) else enumerate(structure)
        for key, each in parts:
            yield from named_parts(each, f"{name}/{key}" if name else str(key))
    else:
        yield name, structure


def _sizes(shape: Any) -> Sequence[Any] | None:
    """The known sizes of a shape, an unknown first one as 1; None if it is no shape."""
    if isinstance(shape, int):
        return [shape]
    if hasattr(shape, "as_list"):
        shape = shape.as_list() if shape.rank is not None else None
    if not isinstance(shape, list | tuple):
        return None
    known = [1 if size is None else size for size in shape]
    return known if all(isinstance(size, int) for size in known) else None
