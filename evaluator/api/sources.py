"""What `evaluate` takes for a model: a file, a network in memory, a function or an Embedder."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import InputError, ModelError, check_choice, plain_name
from evaluator.images.inputs import LAYOUTS, Embedder, InputSpec
from evaluator.isolation.process import open_model
from evaluator.models.identity import identity_digest, model_identity
from evaluator.models.input_note import noted_input
from evaluator.models.load import check_model
from evaluator.models.options import NATIVE, LoadOptions
from evaluator.results.external import name_sha256

# What a function gets when it does not say: the size of every public face bin.
_FUNCTION_SIZE = (112, 112)

# Functions that Python names so have no name of their own.
_NAMELESS = frozenset({"<lambda>", "forward", "__call__"})


@dataclass(frozen=True)
class Source:
    """A model as it was given. ``open`` gives its Embedder for as long as a block lasts: of a file
    from a process of its own, else from this one.

    ``sha256`` is that of a file's content or of a network's weights, ``data_sha256`` of the files
    beside it that hold weights of it. A function is known by its
    name alone, ``named`` is False where it has none. ``options`` say how it is loaded. ``network``
    is one in memory, whose weights may change.
    """

    name: str
    path: str
    sha256: str
    options: LoadOptions
    open: Callable[[], AbstractContextManager[Embedder]]
    named: bool = True
    data_sha256: str | None = None
    network: Any = None

    def now(self) -> Source:
        """The same, known by the weights that a network in memory has now."""
        if self.network is None:
            return self
        return replace(self, sha256=_weights_sha256(self.network))

    @property
    def identity(self) -> str:
        """What the model is known by in results."""
        return identity_digest(self.sha256, self.data_sha256)


def source_of(model: Any, options: LoadOptions, *, name: str | None, layout: str | None) -> Source:
    """The Source of a model file's path, a keras.Model, an Embedder or any other callable.

    Raises InputError or OSError for all that can be told to be wrong without loading it.
    """
    if layout is not None:
        check_choice("layout", layout, LAYOUTS)
    if isinstance(model, (str, Path)):
        _refuse("a model file, which states its own", layout=layout)
        return _file(Path(model), options, name)
    if isinstance(model, Embedder):
        return _ready(model, options, name=name, layout=layout)
    if _is_keras(model):
        _refuse("a Keras model, which states its own", layout=layout)
        return _network(model, options, name)
    if callable(model):
        return _function(model, options, name=name, layout=layout)
    raise InputError(
        "the model must be the path of a model file, a keras.Model, an Embedder or a function "
        f"from a batch of images to embeddings; got {type(model).__name__}"
    )


def _file(path: Path, options: LoadOptions, name: str | None) -> Source:
    check_model(path, options)
    found = model_identity(path)
    if options.profile is None and (noted := noted_input(path, found.digest)) is not None:
        options = replace(options, profile=noted[0], channels=noted[1])
    return Source(
        plain_name(name or path.stem),
        str(path),
        found.sha256,
        options,
        lambda: open_model(path, options),
        data_sha256=found.data_sha256,
    )


def _is_keras(model: Any) -> bool:
    # A model in memory means that its package is imported; no need to import one to ask.
    packages = (sys.modules.get(name) for name in ("keras", "tf_keras"))
    kinds = tuple(package.Model for package in packages if package is not None)
    return isinstance(model, kinds)


def _network(model: Any, options: LoadOptions, name: str | None) -> Source:
    from evaluator.models.keras.load import live_embedder

    called = name or str(model.name)
    embedder = live_embedder(model, options, name=called)
    sha256 = _weights_sha256(model)
    return Source(called, "", sha256, options, lambda: nullcontext(embedder), network=model)


def _weights_sha256(model: Any) -> str:
    """SHA-256 over the layers' settings and every weight's name, type, shape and bytes."""
    try:
        settings = model.get_config()
    except NotImplementedError:  # a layer that cannot describe itself
        settings = [type(layer).__qualname__ for layer in model.layers]
    digest = hashlib.sha256(
        json.dumps(settings, sort_keys=True, default=lambda value: type(value).__name__).encode()
    )
    for variable in model.weights:
        values = np.ascontiguousarray(variable.numpy())
        label = f"\0{getattr(variable, 'path', variable.name)}\0{values.dtype}\0{values.shape}\0"
        digest.update(label.encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _ready(
    embedder: Embedder, options: LoadOptions, *, name: str | None, layout: str | None
) -> Source:
    given = options.channels if options.channels != "rgb" else None
    _refuse(
        "an Embedder, which states its own",
        input=options.profile,
        channels=given,
        size=options.size,
        layout=layout,
    )
    _refuse_loading("an Embedder", options)
    spec = embedder.input
    return _called(
        embedder, replace(options, profile=spec.profile, channels=spec.channels), name=name
    )


def _function(
    function: Callable[[Any], Any],
    options: LoadOptions,
    *,
    name: str | None,
    layout: str | None,
) -> Source:
    _refuse_loading("a function", options)
    size = options.size or _FUNCTION_SIZE
    notes = []
    if options.profile is None:
        notes.append("no input= given: the function gets RGB in [0, 1] ('unit')")
    if options.size is None:
        notes.append(f"no size= given: the function gets images of {size[0]}x{size[1]}")
    spec = InputSpec(*size, options.profile or "unit", options.channels, layout or "NHWC")
    return _called(Embedder(function, spec, notes=tuple(notes)), options, name=name)


def _called(embedder: Embedder, options: LoadOptions, *, name: str | None) -> Source:
    """The Source of an Embedder, by the name given or else its function's own."""
    own = getattr(embedder.forward, "__name__", type(embedder.forward).__name__)
    called = name or ("function" if own == "<lambda>" else own)
    ready = replace(embedder, forward=_checked(embedder.forward, called))
    return Source(
        called,
        "",
        name_sha256(called),
        options,
        lambda: nullcontext(ready),
        named=bool(name) or own not in _NAMELESS,
    )


def _checked(
    function: Callable[[Any], Any], name: str
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """The function with what it returns turned to float32 (n, size), or ModelError."""

    def forward(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        found = np.asarray(function(batch))
        if found.dtype.kind not in "fiu" or found.ndim != 2 or len(found) != len(batch):
            raise ModelError(
                f"{name}: expected numbers of shape ({len(batch)}, embedding size) for a batch of "
                f"{len(batch)} images; got {found.dtype} of shape {found.shape}"
            )
        return found.astype(np.float32, copy=False)

    return forward


def _refuse_loading(what: str, options: LoadOptions) -> None:
    """Raises InputError for what only says how to load a file."""
    _refuse(
        f"{what}; it is for model files",
        output=options.output,
        custom=options.custom or None,
        trust=options.trust or None,
        precision=None if options.precision == "float32" else options.precision,
        engine=None if options.engine == NATIVE else options.engine,
    )


def _refuse(what: str, **given: object) -> None:
    for name, value in given.items():
        if value is not None:
            raise InputError(f"{name}={value!r} does not apply to {what}; leave it out")
