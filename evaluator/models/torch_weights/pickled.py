"""What torch.save and PyTorch Lightning pickle, as plain values and tensors that nothing built.

The names in such a file that stand for PyTorch's constructors get stand-ins here. What a training
keeps beside the weights (settings, callbacks, the state of an optimizer) is passed over: a name of
a few known ones is an `Inert`, which does nothing. Every other name is refused.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace

from evaluator.bins.pickle_reader import Dialect, State, load, pop, pop_to_mark
from evaluator.bins.pickle_values import EncodedTexts, Global, PickleError, malformed, shown

#: Storage class in torch -> what its numbers are, as NumPy names it; bfloat16 by its own name.
STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}
# Whose names a training's file may hold without anything being made of them: only these, and only
# as names.
_INERT_MODULES = ("lightning.", "lightning_fabric.", "lightning_utilities.", "pytorch_lightning.")
_INERT_NAMES = frozenset(
    """argparse.Namespace collections.Counter collections.defaultdict __builtin__.set builtins.set
    builtins.list builtins.dict builtins.int builtins.float builtins.str pathlib.PosixPath
    pathlib.WindowsPath pathlib.PurePosixPath pathlib._local.PosixPath torch.Size torch.device
    torch.float16 torch.float32 torch.float64 torch.bfloat16 torch.int32 torch.int64 torch.bool
    torch.strided torch.contiguous_format torch.channels_last torch.serialization._get_layout
    numpy.dtype numpy.core.multiarray.scalar numpy._core.multiarray.scalar""".split()
)


@dataclass(frozen=True, slots=True)
class Storage:
    """A row of numbers in the file: its key there, their type and how many there are."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A view of a storage, as the file declares it: nothing of it has been checked."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(eq=False, slots=True)
class Inert:
    """What stands for a thing that is not looked at."""


def load_torch(data: bytes, start: int = 0) -> tuple[object, int, list[Storage]]:
    """The value of the pickle at ``start``, where it ends, and the storages that it refers to.

    The value is of dicts, with those items whose key is text; lists, tuples, numbers, texts,
    `Tensor` and `Inert`. Raises PickleError.
    """
    storages: list[Storage] = []

    def stored(state: State) -> None:
        storages.append(_storage(pop(state)))
        state.stack.append(storages[-1])

    dialect = replace(_TORCH, operations={**_TORCH.operations, pickle.BINPERSID: stored})
    return *load(data, dialect, start), storages


def find_torch_global(module: object, name: object) -> Global:
    """The stand-in for a name of torch.save's or Lightning's; PickleError for any other."""
    if not isinstance(module, str) or not isinstance(name, str):
        raise malformed("a name in it is no text")
    full = f"{module}.{name}"
    if module == "torch" and name in STORAGES:
        return Global(full, None)
    construct = _CONSTRUCTORS.get(full)
    if construct is None and (full in _INERT_NAMES or full.startswith(_INERT_MODULES)):
        construct = _inert
    if construct is None:
        raise PickleError(
            f"asks for {shown(full)}, which is code and not weights: it was refused and nothing"
            " was run; use a file of weights alone (torch.save(model.state_dict(), PATH)), from a"
            " source you trust"
        )
    return Global(full, construct)


def _inert(_arguments: tuple[object, ...], _: EncodedTexts) -> Inert:
    return Inert()


def _ordered_dict(arguments: tuple[object, ...], _: EncodedTexts) -> dict[str, object]:
    match arguments:
        case ():
            return {}
        case (list() as pairs,):
            two = [pair for pair in pairs if isinstance(pair, list | tuple) and len(pair) == 2]
            return {key: value for key, value in two if isinstance(key, str)}
    raise malformed("an ordered dict in it is of no known form")


def _tensor(arguments: tuple[object, ...], _: EncodedTexts) -> Tensor:
    match arguments:
        case (Storage() as storage, int(offset), tuple(shape), tuple(strides), *_):
            return Tensor(storage, offset, _sizes(shape), _sizes(strides))
    raise malformed("a tensor in it has no storage, place, shape and strides")


def _sizes(given: tuple[object, ...]) -> tuple[int, ...]:
    found = tuple(each for each in given if type(each) is int)
    if len(found) != len(given):
        raise malformed("a tensor in it has sizes that are no whole numbers")
    return found


def _parameter(arguments: tuple[object, ...], _: EncodedTexts) -> object:
    match arguments:
        case (Tensor() | Inert() as data, *_):
            return data
    raise malformed("a parameter in it has no tensor")


_CONSTRUCTORS: dict[str, Callable[[tuple[object, ...], EncodedTexts], object]] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
}


def _fill_in(target: object, _details: object) -> None:
    # An OrderedDict's own attributes (`_metadata`) and an Inert's state are not looked at.
    if not isinstance(target, dict | Inert):
        raise malformed(f"it fills in a {type(target).__name__}")


# ---- Instructions that a bin has no need of ------------------------------------------------------


def _set_items(state: State, items: list[object]) -> None:
    target = pop(state)
    if len(items) % 2 or not isinstance(target, dict | Inert):
        raise malformed("it puts items where there is no dict")
    if isinstance(target, dict):
        # No other key is hashed: those of a damaged file may be made to take long.
        pairs = zip(items[::2], items[1::2], strict=True)
        target.update((key, value) for key, value in pairs if isinstance(key, str))
    state.stack.append(target)


def _set_item(state: State) -> None:
    value, key = pop(state), pop(state)
    _set_items(state, [key, value])


def _dict_of_group(state: State) -> None:
    items = pop_to_mark(state)
    state.stack.append({})
    _set_items(state, items)


def _frozen_set(state: State) -> None:
    pop_to_mark(state)
    state.stack.append(Inert())


def _add_items(state: State) -> None:
    pop_to_mark(state)
    state.stack.append(pop(state))


def _new_object(state: State) -> None:
    arguments, kind = pop(state), pop(state)
    if not isinstance(kind, Global) or kind.construct is None or not isinstance(arguments, tuple):
        raise malformed("it makes an object of something that is no class")
    state.stack.append(kind.construct(arguments, state.encoded))


def _storage(given: object) -> Storage:
    match given:
        case ("storage", Global(name=name), str(key), _, int(count), *_) if count >= 0:
            dtype = STORAGES.get(name.removeprefix("torch."))
            if dtype is not None:
                return Storage(key, dtype, count)
    raise malformed("it refers to something that is no storage")


_TORCH = Dialect(
    kind="PyTorch file",
    needs="weights need none but tensors, dicts and plain values",
    find_global=find_torch_global,
    fill_in=_fill_in,
    operations={
        pickle.EMPTY_DICT: lambda state: state.stack.append({}),
        pickle.DICT: _dict_of_group,
        pickle.SETITEM: _set_item,
        pickle.SETITEMS: lambda state: _set_items(state, pop_to_mark(state)),
        pickle.EMPTY_SET: lambda state: state.stack.append(Inert()),
        pickle.FROZENSET: _frozen_set,
        pickle.ADDITEMS: _add_items,
        pickle.NEWOBJ: _new_object,
    },
)
