"""Which names and texts in a Keras config are not known to be harmless, before anything is built.

Keras 3 reads a file first, tf_keras where that fails; either resolves names by its own rules. A
name passes only if it is in our tables and none of those rules makes anything else of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evaluator.errors import ModelError
from evaluator.models.foreign import listed
from evaluator.models.keras.allowed import refused, tensorflow, tensorflow_refused
from evaluator.models.keras.allowed.names import (
    MARKERS,
    OP_LAYERS,
    REGISTERED,
    is_harmless_class,
    is_harmless_function,
)
from evaluator.models.keras.allowed.texts import (
    WIRING,
    is_harmless_pattern,
    is_harmless_text,
    is_known_key,
)
from evaluator.models.keras.config import parts, settings_of
from evaluator.models.keras.training_layers import KNOWN_MODULES, TRAINING_NAMES

# What says, of a serialised object, which class or function it is of.
_NAMES = ("class_name", "module", "registered_name")
# Looked up by the parsers of a config's text, wherever they stand.
_DECODED = ("TypeSpec", "CompositeTensor")


@dataclass(frozen=True)
class Finding:
    """Something that is not known to be harmless, and why if that is known."""

    what: str
    reason: str | None = None

    def __str__(self) -> str:
        return f"{self.what} ({self.reason})" if self.reason else self.what


@dataclass(frozen=True)
class _Part:
    """A part of a config, and what is known of it from where it stands."""

    value: object
    key: str = ""
    layer: str = ""
    # Below what wires the layers: its texts are names of layers, and arguments of vetted calls.
    wiring: bool = False


def refuse_code(path: Path, config: dict[str, Any]) -> None:
    """Raises ModelError that lists what in the file is code, or not known to be harmless."""
    found = code_in_config(config)
    if not found:
        return
    code = [each for each in found if each.reason in refused.CODE]
    other = [each for each in found if each.reason not in refused.CODE]
    if code:
        what = f"it carries code that would run on this machine: {listed([*map(str, code)])}"
        if other:
            what += f"; and it names what is not known to be harmless: {listed([*map(str, other)])}"
    else:
        what = f"it names what is not known to be harmless: {listed([*map(str, other)])}"
    advice = "If you know who made the file, repeat with --trust"
    if any(each.reason is None for each in other):
        advice += "; a layer of the maker's own is given with --custom module:Class"
    raise ModelError(f"{path}: not loaded, because {what}. {advice}")


def code_in_config(config: dict[str, Any]) -> list[Finding]:
    """What in a config is not known to be harmless. Empty if nothing.

    The outermost ``compile_config`` (losses, metrics, optimizer) is not looked at: both libraries
    drop it from a ``.keras`` that is loaded with ``compile=False``, and do not read it in an .h5,
    but for what they decode in the text of a config wherever it stands.
    """
    inner = {key: value for key, value in config.items() if key != "compile_config"}
    unread = [
        part.get("class_name")
        for part in parts(config.get("compile_config"))
        if isinstance(part, dict)
    ]
    # What both loaders of an .h5 would look up while they parse the text of its config.
    looked_up = [kind for kind in _DECODED if kind in unread]
    found = [*_walk(inner), *(Finding(kind, refused.why_refused(kind)) for kind in looked_up)]
    return list(dict.fromkeys(found))


def _walk(config: dict[str, Any]) -> Iterator[Finding]:
    stack = [_Part(config)]
    while stack:
        part = stack.pop()
        if isinstance(part.value, str):
            if not part.wiring and not is_harmless_text(part.key, part.value):
                place = f" of {part.layer}" if part.layer else ""
                reason = None if is_known_key(part.key) else "no layer of Keras reads a text there"
                yield Finding(f"the text {_shown(part.value)} as {_shown(part.key)}{place}", reason)
        elif isinstance(part.value, list):
            stack.extend(_Part(each, part.key, part.layer, part.wiring) for each in part.value)
        elif isinstance(part.value, dict):
            if "class_name" in part.value:
                named = list(_of_object(part.value))
                yield from named
                for each in _parts_of_object(part.value, part):
                    # Of a class that is refused, the texts say no more.
                    stack.append(replace(each, wiring=True) if named else each)
                continue
            for key, held in part.value.items():
                # What Keras would try on layers' names, without an end.
                if part.key == "policy_map" and not is_harmless_pattern(key):
                    yield Finding(f"the pattern {_shown(key)} in a map of dtypes")
                wiring = part.wiring or key in ("input_layers", "output_layers")
                stack.append(_Part(held, key, part.layer, wiring))


def _parts_of_object(value: dict[str, Any], part: _Part) -> Iterator[_Part]:
    """What lies in a dict that names a class, but for the names of the class itself."""
    kind = value["class_name"] if isinstance(value["class_name"], str) else ""
    if kind in MARKERS:
        yield from _parts_of_marker(value, part)
        return
    name = settings_of(value).get("name")
    layer = f"{_bare(kind)} {_shown(name)}" if isinstance(name, str) else part.layer
    for key, each in value.items():
        if key in _NAMES:
            continue
        if key == "config" and (kind == "function" or kind in OP_LAYERS):
            if isinstance(each, dict):
                each = {name: held for name, held in each.items() if name != "function"}
            elif isinstance(each, str):
                continue  # the name of a function, which _of_object has looked at
        yield _Part(each, key, layer, wiring=key in WIRING)


def _parts_of_marker(value: dict[str, Any], part: _Part) -> Iterator[_Part]:
    """What Keras takes for a list, an array, a slice: it stands for the dict, under its key."""
    wired = part.wiring or value["class_name"] == "__keras_tensor__"
    for key, each in value.items():
        if key in _NAMES:
            continue
        held = each.items() if key == "config" and isinstance(each, dict) else [(key, each)]
        for name, inner in held:
            if name == "dtype":
                yield _Part(inner, name, part.layer)
            else:
                yield _Part(inner, part.key, part.layer, wired)


def _of_object(value: dict[str, Any]) -> Iterator[Finding]:
    """What is not harmless in the names of a class or function itself."""
    kind, module = value["class_name"], value.get("module")
    registered = value.get("registered_name")
    for label, text in zip(_NAMES, (kind, module, registered), strict=True):
        if not isinstance(text, str) and (text is not None or label == "class_name"):
            yield Finding(f"a {label} that is no text: {_shown(text)}")
            return
    if kind == "function":
        yield from _of_function(value.get("config"), module, registered)
        return
    settings = settings_of(value)
    name = settings.get("name") or value.get("name")
    where = f" layer {_shown(name)}" if isinstance(name, str) else ""
    if not _is_harmless(kind, module, value):
        reason = refused.why_refused(kind)
        named = kind if module is None else f"{module}.{kind}"
        if reason is None and registered not in (None, kind):
            named, reason = f"{named} as {registered}", refused.why_refused(registered)
        if kind == "__lambda__":
            named = "a Lambda function"
        yield Finding(f"{_bare(named)}{where}", reason)
    elif kind in OP_LAYERS:
        function = settings.get("function")
        if not (isinstance(function, str) and tensorflow.only_computes(function)):
            reason = tensorflow_refused.why_refused(function) if isinstance(function, str) else None
            yield Finding(f"the TensorFlow call {_shown(function)} in{where or ' a layer'}", reason)


def _of_function(name: object, module: str | None, registered: str | None) -> Iterator[Finding]:
    if not isinstance(name, str):
        yield Finding(f"a function whose name is no text: {_shown(name)}")
    elif module is None or registered not in (None, name) or not is_harmless_function(module, name):
        also = f" as {registered}" if registered not in (None, name) else ""
        yield Finding(
            f"the function {_bare(f'{module}.{name}' if module else name)}{_bare(also)}",
            refused.why_refused(name),
        )


def _is_harmless(kind: str, module: str | None, value: dict[str, Any]) -> bool:
    """Whether Keras itself, or this project, has the class: nothing else is imported for it."""
    registered = value.get("registered_name")
    if kind in MARKERS:
        # tf_keras does not know them all, and imports the module that stands beside one.
        return module in (None, "builtins") and registered in (None, kind)
    if kind in TRAINING_NAMES:
        # Keras finds ours by the registered name, and imports the module where that is missing.
        if module is None:
            return registered is None or registered in TRAINING_NAMES
        if module in KNOWN_MODULES:
            return value.get("registered_name", kind) in TRAINING_NAMES
    if kind in REGISTERED and module is None:
        return registered in (None, kind)
    if registered not in (None, kind) and REGISTERED.get(registered) != (module, kind):
        return False
    return is_harmless_class(module, kind)


def _bare(text: object) -> str:
    """A name in a message: one line, printable, short."""
    return _shown(text)[1:-1] if isinstance(text, str) else _shown(text)


def _shown(value: object) -> str:
    """A value in a message: one line, printable, short."""
    if not isinstance(value, str):
        plain = value is None or isinstance(value, bool | int | float)
        return repr(value)[:40] if plain else f"a {type(value).__name__}"
    text = ascii(value[:200])
    return text if len(text) <= 80 else f"{text[:60]}...{text[-1]}"
