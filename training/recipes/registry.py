"""What others add to the names of recipes, from their own modules or as installed packages."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar, get_args

from evaluator.errors import InputError, check_choice
from evaluator.files import file_sha256
from training.recipes.parts import BACKBONES, LOSSES

Made = TypeVar("Made", bound=Callable[..., Any])
# What a model file that is a backbone is called.
MODEL_FILES = (".keras", ".h5")
Takes = Literal["logits", "cosines", "embeddings"]

_REGISTERED: dict[str, dict[str, Callable[..., Any]]] = {
    "backbone": {},
    "loss": {},
    "optimizer": {},
}
# Where installed packages name theirs; what is loaded registers itself, or is what is registered.
_GROUPS = {
    "backbone": "face_zoo.backbones",
    "loss": "face_zoo.losses",
    "optimizer": "face_zoo.optimizers",
}
# What each registered loss takes.
_TAKES: dict[str, Takes] = {}
# Whether names that nobody has registered here are read as those of a recipe's own modules.
_FOREIGN: ContextVar[bool] = ContextVar("foreign", default=False)


def register_optimizer(name: str, *, replace: bool = False) -> Callable[[Made], Made]:
    """Decorates what makes an optimizer, a class or a function, so that recipes can name it.

    It is called with ``learning_rate``, a number or a schedule, with the recipe's ``options``, and
    with those of ``weight_decay``, ``global_clipnorm``, ``clipnorm``, ``use_ema``,
    ``ema_momentum`` and ``gradient_accumulation_steps`` that the recipe asks for.

    Raises:
        InputError: the name is taken; ``replace`` allows that.
    """
    return _register("optimizer", name, replace=replace)


def register_backbone(name: str, *, replace: bool = False) -> Callable[[Made], Made]:
    """Decorates a function of images that makes a feature map, so that recipes can name it.

    It is called with a KerasTensor (batch, height, width, 3) and, where the recipe asks for
    weights, with ``weights="imagenet"``; it returns one (batch, height, width, channels).

    Raises:
        InputError: the name is taken; ``replace`` allows that, but for names of our own.
    """
    if name in BACKBONES:
        raise InputError(f"backbone {name!r} is face-zoo's own; register yours by another name")
    return _register("backbone", name, replace=replace)


def register_loss(name: str, *, takes: Takes, replace: bool = False) -> Callable[[Made], Made]:
    """Decorates what makes a Keras loss of integer labels (batch, 1), so that recipes can name it.

    ``takes`` says what stands beside the labels, and so the head of a stage: the ``logits`` or
    ``cosines`` (batch, people) of one, or the ``embeddings`` (batch, features) themselves, without.
    It is called with the recipe's other keys below ``loss``, which its arguments are checked for.
    A loss of embeddings meets labels below 0, those of images that only fill up a batch held back.

    Raises:
        InputError: the name is taken; ``replace`` allows that, but for names of our own; ``takes``
            is none of the three.
    """
    check_choice("takes", takes, get_args(Takes))
    if name in LOSSES:
        raise InputError(f"loss {name!r} is face-zoo's own; register yours by another name")
    register = _register("loss", name, replace=replace)

    def registered(made: Made) -> Made:
        register(made)
        _TAKES[name] = takes
        return made

    return registered


def taken_by(name: str) -> Takes | None:
    """What a registered loss takes; None for one that is not here."""
    return None if found("loss", name) is None else _TAKES.get(name)


def _register(kind: str, name: str, *, replace: bool) -> Callable[[Made], Made]:
    def registered(made: Made) -> Made:
        if name in _REGISTERED[kind] and not replace:
            raise InputError(f"{kind} {name!r} is registered already; replace=True allows that")
        _REGISTERED[kind][name] = made
        return made

    return registered


def found(kind: str, name: str) -> Callable[..., Any] | None:
    """What is registered by that name, or an installed package has as an entry point of the group
    ``face_zoo.backbones``, ``face_zoo.losses`` or ``face_zoo.optimizers``; None for neither.
    """
    if name not in _REGISTERED[kind]:
        for point in entry_points(group=_GROUPS[kind], name=name):
            _REGISTERED[kind].setdefault(name, point.load())
    return _REGISTERED[kind].get(name)


def made(kind: str, name: str, given: Mapping[str, Any]) -> Any:
    """What the registered thing of that name makes of these options.

    Raises InputError where it is not registered here, or takes no such options.
    """
    make = found(kind, name)
    if make is None:
        raise InputError(f"{kind} {name!r} is not registered: give the module that does, --custom")
    try:
        with suppress(ValueError):  # what is built into Python may have no signature
            inspect.signature(make).bind(**given)
        return make(**given)
    except TypeError as error:
        raise InputError(f"{kind} {name!r}: {error}") from error


def names(kind: str) -> tuple[str, ...]:
    """What is registered of that kind."""
    return tuple(_REGISTERED[kind])


def may_be(kind: str, name: str) -> bool:
    """Whether a recipe may have that name; a backbone may be a file."""
    if kind == "backbone" and name.endswith(MODEL_FILES):
        return True
    return _FOREIGN.get() or found(kind, name) is not None


@contextmanager
def foreign(custom: Any) -> Iterator[None]:
    """Has names of modules that are not imported here read, in a recipe that says ``custom``: its
    run can be evaluated and shown without them.
    """
    before = _FOREIGN.set(bool(custom))
    try:
        yield
    finally:
        _FOREIGN.reset(before)


def imported(modules: Sequence[str | ModuleType]) -> list[str]:
    """Imports modules, by name from the current folder too, or by the path of a ``.py`` file; their
    names and the SHA-256 of their files, as a recipe's ``custom`` has them.

    Raises InputError where there is no such module; what a module raises itself comes through.
    """
    return [_stamp(each if isinstance(each, ModuleType) else _module(each)) for each in modules]


def _module(name: str) -> ModuleType:
    path = Path(name)
    folder, module = (path.parent, path.stem) if path.suffix == ".py" else (Path(), name)
    sys.path.insert(0, str(folder.absolute()))
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise InputError(
            f"--custom {name}: no such module here or among those installed; expected my_module, "
            "or path/my_module.py"
        ) from None
    finally:
        sys.path.remove(str(folder.absolute()))


def _stamp(module: ModuleType) -> str:
    path = getattr(module, "__file__", None)
    return f"{module.__name__} {file_sha256(Path(path)) if path else 'without a file'}"
