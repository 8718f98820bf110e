"""Builds the network of a Keras file: with Keras 3, or with tf_keras where Keras 3 cannot."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from evaluator.errors import ModelError, cause_of
from evaluator.models.foreign import foreign_errors, reason
from evaluator.models.keras.account import Account, counted
from evaluator.models.keras.config import parts, read_config, settings_of, stored_weights
from evaluator.models.keras.training_layers import training_layers
from evaluator.models.options import LoadOptions
from evaluator.models.runtime import import_keras

_UNDEFINED = re.compile(r"name '(\w+)' is not defined")
_HINT = "a Lambda layer"
# In whose names the two Kerases run the code of a Lambda, by kind of file.
_LAMBDA_SCOPES = (
    "keras.src.utils.python_utils",
    "tf_keras.src.utils.generic_utils",
    "tf_keras.src.layers.core.lambda_layer",
)


class _UnloadableError(Exception):
    """One of the two Kerases cannot load a file; the message says why, on one line."""


def build_model(path: Path, file_format: str, options: LoadOptions) -> tuple[Any, tuple[str, ...]]:
    """The Keras 3 or tf_keras model of a file, and a note if it is tf_keras's.

    Does not look for code in the file: ``keras.check`` does. Nothing is allocated that the file
    cannot fill. Raises ModelError.
    """
    keras = import_keras()
    custom = named_objects(options.custom)
    suffix = ".h5" if file_format == "keras-h5" else ".keras"
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        # Keras goes by the file's name; we go by its content.
        named = path if path.suffix == suffix else Path(folder) / f"model{suffix}"
        if named != path:
            named.symlink_to(path.resolve())

        def load(package: Any) -> Any:
            account = Account(path, stored_weights(path, file_format))
            return _load_with(package, named, options, custom, account)

        try:
            return _with_inputs(path, keras, load(keras)), ()
        except _UnloadableError as error:
            first = str(error)
        if importlib.util.find_spec("tf_keras") is None:
            raise ModelError(
                f"{path}: Keras {keras.__version__} cannot load it ({first}). It may be a Keras 2 "
                "file: install the extra that reads those: pip install 'face-zoo[legacy]'"
            )
        import tf_keras

        try:
            model = load(tf_keras)
        except _UnloadableError as error:
            raise ModelError(
                f"{path}: neither Keras {keras.__version__} ({first}) nor tf_keras "
                f"{tf_keras.__version__} ({error}) can load it"
            ) from None
    note = f"loaded with tf_keras, since Keras {keras.__version__} cannot: {first}"
    return _with_inputs(path, tf_keras, model), (note,)


def named_objects(names: Sequence[str]) -> dict[str, Any]:
    """Class name -> class for each ``module:Class``. Modules are looked for here, too.

    Raises ModelError for a name of another form, or one that is not there.
    """
    found = {}
    for name in names:
        module_name, separator, attribute = name.partition(":")
        if not (separator and module_name and attribute.isidentifier()):
            raise ModelError(f"--custom {name}: expected module:Class, as in my_layers:Attention")
        here = str(Path.cwd())
        sys.path.insert(0, here)
        try:
            with foreign_errors(f"--custom {name}: its module cannot be imported"):
                module = importlib.import_module(module_name)
        finally:
            sys.path.remove(here)
        if not hasattr(module, attribute):
            raise ModelError(f"--custom {name}: module {module_name} has no {attribute}")
        found[attribute] = getattr(module, attribute)
        if not callable(found[attribute]):
            kind = type(found[attribute]).__name__
            raise ModelError(f"--custom {name}: expected a class or function, it is a {kind}")
    return found


@contextmanager
def lambda_hints(path: Path, file_format: str) -> Iterator[None]:
    """Adds to a ModelError of the block which Lambda may miss a global, where that is its cause."""
    try:
        yield
    except ModelError as error:
        missing = _UNDEFINED.search(str(error))
        names = [
            str(settings_of(part).get("name"))
            for part in parts(read_config(path, file_format) if missing else None)
            if isinstance(part, dict) and part.get("class_name") == "Lambda" and settings_of(part)
        ]
        if missing is None or not names or _HINT in str(error):
            raise
        shown = ", ".join(repr(cause_of(name)) for name in names[:3])
        raise ModelError(
            f"{error}: {_HINT} ({shown}) uses the global {missing[1]!r}, which is not in the file; "
            "save the network with a layer of its own in the Lambda's place"
        ) from None


def _load_with(
    package: Any, path: Path, options: LoadOptions, custom: dict[str, Any], account: Account
) -> Any:
    """The model as ``package`` loads it. Raises ModelError for one that asks for too much, or
    _UnloadableError.
    """
    if options.trusted:
        _provide_usual_globals(package)
    try:
        with counted(package, account):
            model = package.models.load_model(
                path if package.__name__ == "keras" else str(path),
                compile=False,
                safe_mode=not options.trusted,
                custom_objects={**training_layers(package), **custom},
            )
    except Exception as error:  # noqa: BLE001 - a file's layers raise what they like
        if account.refusal is None:
            raise _UnloadableError(reason(error)) from None
    if account.refusal is not None:  # Keras may have caught it and gone on
        raise account.refusal from None
    if not isinstance(model, package.Model):
        raise _UnloadableError(f"it holds a {type(model).__name__}, not a model")
    return model


class _KerasOrBackend:
    """What ``K`` is in a Lambda's code: Keras to some, to most the functions of its backend."""

    def __init__(self, package: Any, backend: Any) -> None:
        self._package, self.backend = package, backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._package if hasattr(self._package, name) else self.backend, name)


def _provide_usual_globals(package: Any) -> None:
    """Has a Lambda's code find the modules that it uses under their usual names."""
    backend = importlib.import_module(f"{package.__name__}.backend")
    found: dict[str, Any] = {"keras": package, "np": np}
    if package.__name__ != "keras" or backend.backend() == "tensorflow":
        import tensorflow

        found["tf"] = tensorflow
        old = "keras._tf_keras.keras.backend"  # where Keras 3 keeps what K had
        if package.__name__ == "keras" and importlib.util.find_spec(old):
            backend = importlib.import_module(old)
    found["K"] = _KerasOrBackend(package, backend)
    for name in _LAMBDA_SCOPES:
        if name.startswith(f"{package.__name__}.") and name in sys.modules:
            for word, value in found.items():
                vars(sys.modules[name]).setdefault(word, value)


def _with_inputs(path: Path, package: Any, model: Any) -> Any:
    """The model itself, or a sequence as a graph of its layers; a subclassed model, which knows no
    inputs, as a function of the images whose shape it was saved with. Raises ModelError.
    """
    if getattr(model, "inputs", None):
        # A sequence that was never called has outputs, but no `output`.
        sequence = isinstance(model, package.Sequential)
        return package.Model(model.inputs[0], model.outputs[0]) if sequence else model
    built = model.get_build_config() if hasattr(model, "get_build_config") else None
    shape = built.get("input_shape") if built else None
    if not isinstance(shape, list | tuple) or not all(
        size is None or isinstance(size, int) for size in shape
    ):
        raise ModelError(
            f"{path}: its class {type(model).__name__} does not say what it takes; call the model "
            "on a batch of images before saving it"
        )
    with foreign_errors(f"{path}: its class {type(model).__name__} cannot be called on images"):
        image = package.Input(tuple(shape[1:]))
        return package.Model(image, model(image, training=False))
