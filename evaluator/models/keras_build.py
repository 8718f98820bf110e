"""Builds the network of a Keras file: with Keras 3, or with tf_keras where Keras 3 cannot."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluator.errors import ModelError
from evaluator.models import LoadOptions
from evaluator.models.keras_layers import training_layers
from evaluator.models.runtime import import_keras

# What Keras raises, by version and file, for a config or weights it cannot use.
_LOAD_ERRORS = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    IndexError,
    NotImplementedError,
    ImportError,
    RuntimeError,
    OSError,
)


def build_model(path: Path, file_format: str, options: LoadOptions) -> tuple[Any, tuple[str, ...]]:
    """The Keras 3 or tf_keras model of a file, and a note if it is tf_keras's.

    Does not look for code in the file: ``keras.check`` does. Raises ModelError.
    """
    keras = import_keras()
    custom = named_objects(options.custom)
    suffix = ".h5" if file_format == "keras-h5" else ".keras"
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        # Keras goes by the file's name; we go by its content.
        named = path if path.suffix == suffix else Path(folder) / f"model{suffix}"
        if named != path:
            named.symlink_to(path.resolve())
        try:
            return _load_with(keras, named, options, custom), ()
        except _LOAD_ERRORS as error:
            first = _cause(error)
        if importlib.util.find_spec("tf_keras") is None:
            raise ModelError(
                f"{path}: Keras {keras.__version__} cannot load it ({first}). It may be a Keras 2 "
                "file: install the extra that reads those: pip install 'face-zoo[legacy]'"
            )
        import tf_keras

        try:
            model = _load_with(tf_keras, named, options, custom)
        except _LOAD_ERRORS as error:
            raise ModelError(
                f"{path}: neither Keras {keras.__version__} ({first}) "
                f"nor tf_keras {tf_keras.__version__} ({_cause(error)}) can load it"
            ) from None
    return model, (f"loaded with tf_keras, since Keras {keras.__version__} cannot: {first}",)


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
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            raise ModelError(f"--custom {name}: {error}; it was looked for here, too") from None
        finally:
            sys.path.remove(here)
        if not hasattr(module, attribute):
            raise ModelError(f"--custom {name}: module {module_name} has no {attribute}")
        found[attribute] = getattr(module, attribute)
    return found


def _load_with(package: Any, path: Path, options: LoadOptions, custom: dict[str, Any]) -> Any:
    return package.models.load_model(
        path if package.__name__ == "keras" else str(path),
        compile=False,
        safe_mode=not options.trusted,
        custom_objects={**training_layers(package), **custom},
    )


def _cause(error: Exception) -> str:
    """The first sentence of a Keras error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0] if lines else type(error).__name__
    return first.split(". ")[0][:160].rstrip(".:")
