"""The zoo's entries: models.yaml, read and checked line by line."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from evaluator.errors import InputError, cause_of, unknown_name
from evaluator.profiles import profile_text
from training.recipes.recipe import Place, Recipe, RecipeError, parse_recipe, with_settings
from zoo.entries.yaml_nodes import RegistryError, ScalarError, compose_file, describe, scalar
from zoo.terminal.settings import read_settings

T = TypeVar("T")

PROTOCOLS = ("seed", "seed300", "kfold", "insightface")
_CHANNELS = ("rgb", "bgr")
_FLIPS = ("none", "sum")
_ROW = ("threshold", "sha256")


@dataclass(frozen=True)
class Published:
    """A published figure of an entry on one bin: accuracy in [0, 1], threshold as a cosine, and the
    SHA-256 of the bin where it is known.
    """

    accuracy: float
    threshold: float | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Entry:
    """One model of the zoo. ``published`` maps a bin's name to its figure under ``protocol``,
    measured with ``flip``; ``published_images`` says on what images, where these are not those of
    the public bins of that name. ``sha256`` is the file's, read at ``hash_source``. ``url`` is
    where it can be had: itself, or a zip of ``archive_sha256`` whose ``member`` it is. ``licence``
    is the weights', in a word or two. ``output`` and ``custom`` are those of LoadOptions.
    """

    name: str
    file: Path
    sha256: str | None
    profile: str
    channels: str
    size: tuple[int, int] | None
    embedding_size: int | None
    source: str
    protocol: str | None
    published: Mapping[str, Published]
    notes: str
    flip: str = "none"
    published_images: str | None = None
    url: str | None = None
    member: str | None = None
    archive_sha256: str | None = None
    hash_source: str | None = None
    licence: str | None = None
    output: str | None = None
    custom: tuple[str, ...] = ()
    recipe: Recipe | None = None
    recipe_source: RecipeSource | None = None


@dataclass(frozen=True)
class RecipeSource:
    """A recipe as its file has it: plain data, and the line of each key and list member."""

    path: Path
    plain: Mapping[str, Any]
    lines: Mapping[Place, int]


def registry_path(given: Path | None = None) -> Path:
    """The models.yaml in use: the one given, $ZOO_MODELS, zoo.toml's, ./models.yaml, or the
    project's own. Raises InputError and OSError for a zoo.toml that cannot be read.
    """
    if given is not None:
        return given
    if os.environ.get("ZOO_MODELS"):
        return Path(os.environ["ZOO_MODELS"])
    if stated := read_settings().values.get("registry"):
        return Path(stated)
    here = Path("models.yaml")
    return here if here.is_file() else own_registry()


def own_registry() -> Path:
    """The project's own models.yaml."""
    package = Path(__file__).parents[1]
    checkout = package.parent / "models.yaml"
    return checkout if checkout.is_file() else package / "models.yaml"


def read_registry(path: Path) -> dict[str, Entry]:
    """Name -> entry, in the file's order. Raises RegistryError with the line, or OSError."""
    root = compose_file(path)
    reader = _Reader(path)
    top = reader.mapping(root, "the file", required=("models",))
    entries = reader.mapping(top["models"], "models")
    return {name: reader.entry(name, node) for name, node in entries.items()}


def entry_named(name: str, entries: Mapping[str, Entry]) -> Entry:
    """The entry of that name. Raises InputError with the nearest one."""
    if name not in entries:
        raise InputError(f"no entry {name!r}; {unknown_name(name, entries)}")
    return entries[name]


def recipe_with(source: RecipeSource, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with ``--set`` values put in, checked anew.

    Raises RecipeError that names the option, or else the line, that is wrong.
    """

    def fail(place: Place, message: str) -> RecipeError:
        key = next((key for key in settings if _touches(key, place)), None)
        if key is not None:
            return RecipeError(cause_of(f"--set {key}={settings[key]}: {message}"))
        dotted = ".".join(["recipe", *map(str, place)])
        where = f"{source.path}:{_line(source, place)}"
        return RecipeError(f"{where}: {cause_of(f'{dotted}: {message}')}")

    return parse_recipe(with_settings(source.plain, settings, fail), fail)


def _touches(key: str, place: Place) -> bool:
    """Whether a setting's key leads to the place, or below it."""
    parts = key.split(".")
    return all(part in ("*", str(step)) for part, step in zip(parts, place, strict=False)) and bool(
        place
    )


def _line(source: RecipeSource, place: Place) -> int:
    """The line of the place, or of the nearest thing around it."""
    while place and place not in source.lines:
        place = place[:-1]
    return source.lines[place]


class _Reader:
    """Checks YAML nodes, so that each complaint can name its line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def error(self, node: yaml.Node, message: str) -> RegistryError:
        return RegistryError(f"{self.path}:{node.start_mark.line + 1}: {cause_of(message)}")

    def mapping(
        self,
        node: yaml.Node,
        what: str,
        required: tuple[str, ...] = (),
        optional: tuple[str, ...] | None = None,
    ) -> dict[str, yaml.Node]:
        """Key -> node; ``optional=None`` with no ``required`` allows any key."""
        if not isinstance(node, yaml.MappingNode):
            raise self.error(node, f"{what}: expected keys with values; found {describe(node)}")
        known = (*required, *(optional or ()))
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.error(key, f"{what}: expected a plain key; found {describe(key)}")
            if known and key.value not in known:
                names = dict.fromkeys(known)
                raise self.error(
                    key, f"{what}: unknown key {key.value!r}; {unknown_name(key.value, names)}"
                )
            if not key.value.isprintable():
                raise self.error(key, f"{what}: key {key.value!r}: expected printable signs alone")
            if key.value in found:
                raise self.error(key, f"{what}: key {key.value!r} stands twice")
            found[key.value] = value
        missing = [name for name in required if name not in found]
        if missing:
            raise self.error(node, f"{what}: missing key {missing[0]!r}")
        return found

    def value(self, node: yaml.Node, what: str, kind: Callable[[Any], T | None], name: str) -> T:
        """A scalar turned by ``kind``, which gives None for what it cannot take."""
        if isinstance(node, yaml.ScalarNode):
            try:
                loaded = kind(scalar(node))
            except ScalarError:
                loaded = None
            if loaded is not None:
                return loaded
        raise self.error(node, f"{what}: expected {name}; found {describe(node)}")

    def choice(self, node: yaml.Node, what: str, choices: tuple[str, ...]) -> str:
        value = self.value(node, what, _text, "a name")
        if value not in choices:
            raise self.error(node, f"{what}: expected one of {', '.join(choices)}; found {value!r}")
        return value

    def entry(self, name: str, node: yaml.Node) -> Entry:
        what = f"entry {name!r}"
        given = self.mapping(node, what, ("file", "input", "source"), _OPTIONAL)
        keys = {
            key: self.value(given[key], f"{what}: {key}", *read)
            for key, read in _SCALARS.items()
            if key in given
        }
        settings = self.mapping(given["input"], f"{what}: input", (), _INPUT_KEYS)
        for key, other in _NEEDS.items():
            if key in given and (other not in given or _is_empty(given[other])):
                raise self.error(given[key], f"{what}: {key}: expected {other!r} beside it")
        published = self.published(given.get("published"), what)
        source = self.recipe(given.get("recipe"), given["input"], what)
        channels = settings.get("channels")
        return Entry(
            name=name,
            file=self.path.parent / keys["file"],
            sha256=self.sha256(given.get("sha256"), f"{what}: sha256"),
            profile=self.profile(given["input"], settings, what),
            channels=self.choice(channels, f"{what}: channels", _CHANNELS) if channels else "rgb",
            size=self.size(settings["size"], what) if "size" in settings else None,
            embedding_size=keys.get("embedding_size"),
            source=keys["source"],
            notes=keys.get("notes", ""),
            **published,
            url=keys.get("url"),
            member=keys.get("member"),
            archive_sha256=self.sha256(given.get("archive_sha256"), f"{what}: archive_sha256"),
            hash_source=keys.get("hash_source"),
            licence=keys.get("licence"),
            output=keys.get("output"),
            custom=self.names(given["custom"], f"{what}: custom") if "custom" in given else (),
            recipe=None if source is None else recipe_with(source, {}),
            recipe_source=source,
        )

    def profile(self, whole: yaml.Node, settings: Mapping[str, yaml.Node], what: str) -> str:
        """The text of an input: its ``profile``, or what stands for one, and beside it."""
        if not {"profile", "mean", "std", "scale"} & settings.keys():
            raise self.error(whole, f"{what}: input: missing key 'profile', or mean, std or scale")
        words: list[str] = []
        text = ""
        for key in (each for each in _PROFILE_KEYS if each in settings):
            words += self.words(key, settings[key], f"{what}: input")
            try:
                text = profile_text("+".join(words))
            except InputError as error:
                raise self.error(settings[key], f"{what}: {error}") from None
        return text

    def words(self, key: str, node: yaml.Node, what: str) -> list[str]:
        """A key of an input as a profile's text has it; of what is fed several."""
        if key == "feed":
            fed = self.mapping(node, f"{what}: feed")
            names = {
                name: self.value(each, f"{what}: feed", _boolean, "true or false")
                for name, each in fed.items()
            }
            return [f"{name}={value}" for name, value in names.items()]
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        values = [self.value(each, f"{what}: {key}", _plain, _PROFILE_KEYS[key]) for each in parts]
        if key == "profile":
            return values
        if key == "crop":
            size, place = values[:2], values[2:]
            return [f"crop={'x'.join(size)}" + (f"@{','.join(place)}" if place else "")]
        return [f"{key}={','.join(values)}"]

    def names(self, node: yaml.Node, what: str) -> tuple[str, ...]:
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        return tuple(self.value(each, what, _text, "module:Class") for each in nodes)

    def recipe(self, node: yaml.Node | None, given: yaml.Node, what: str) -> RecipeSource | None:
        """The recipe's plain data; its preprocess is the entry's input unless it has its own."""
        if node is None:
            return None
        lines: dict[Place, int] = {(): node.start_mark.line + 1}
        plain = self.plain(node, (), f"{what}: recipe", lines)
        if not isinstance(plain, dict):
            raise self.error(node, f"{what}: recipe: expected keys with values")
        if "preprocess" not in plain:
            lines[("preprocess",)] = given.start_mark.line + 1
            plain["preprocess"] = self.plain(given, ("preprocess",), f"{what}: input", lines)
        return RecipeSource(self.path, plain, lines)

    def plain(self, node: yaml.Node, place: Place, what: str, lines: dict[Place, int]) -> Any:
        """A node as plain data, noting where each part of it stands."""
        if isinstance(node, yaml.MappingNode):
            nodes = self.mapping(node, what)
            lines |= {(*place, key.value): key.start_mark.line + 1 for key, _ in node.value}
            return {
                name: self.plain(value, (*place, name), f"{what}: {name}", lines)
                for name, value in nodes.items()
            }
        if isinstance(node, yaml.SequenceNode):
            numbered = list(enumerate(node.value))
            lines |= {(*place, number): each.start_mark.line + 1 for number, each in numbered}
            return [self.plain(value, (*place, number), what, lines) for number, value in numbered]
        try:
            return scalar(node)
        except ScalarError:
            raise self.error(
                node, f"{what}: expected a plain value; found {describe(node)}"
            ) from None

    def sha256(self, node: yaml.Node | None, what: str) -> str | None:
        if node is None or _is_empty(node):
            return None
        digits = _matching("[0-9a-fA-F]{64}")
        return self.value(node, what, digits, "64 hexadecimal digits, or nothing").lower()

    def size(self, node: yaml.Node, what: str) -> tuple[int, int]:
        if isinstance(node, yaml.SequenceNode) and len(node.value) == 2:
            height, width = (
                self.value(side, f"{what}: size", _count, "a whole number of pixels")
                for side in node.value
            )
            return height, width
        side = self.value(node, f"{what}: size", _count, "pixels, as 112 or [112, 96]")
        return side, side

    def published(self, node: yaml.Node | None, what: str) -> dict[str, Any]:
        """What of an entry is published: its fields of these names."""
        if node is None:
            return {"protocol": None, "published": {}}
        keys = self.mapping(node, f"{what}: published")
        if "protocol" not in keys:
            raise self.error(node, f"{what}: published: missing key 'protocol'")
        protocol = self.choice(keys.pop("protocol"), f"{what}: protocol", PROTOCOLS)
        flip = keys.pop("flip", None)
        mirrored = "none" if flip is None else self.choice(flip, f"{what}: flip", _FLIPS)
        other = keys.pop("images", None)
        images = None if other is None else self.value(other, f"{what}: images", _text, "text")
        rows = {}
        for name, row in keys.items():
            where = f"{what}: published: {name}"
            values = self.mapping(row, where, required=("accuracy",), optional=_ROW)
            rows[name] = Published(
                self.value(
                    values["accuracy"], f"{where}: accuracy", _between(0, 1), "a number in 0..1"
                ),
                self.value(values["threshold"], f"{where}: threshold", _between(-1, 1), "a cosine")
                if "threshold" in values
                else None,
                self.sha256(values.get("sha256"), f"{where}: sha256"),
            )
        return {
            "protocol": protocol, "flip": mirrored, "published_images": images, "published": rows,
        }  # fmt: skip


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.value == ""


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _plain(value: Any) -> str | None:
    """A text or number as a profile's text has it."""
    if isinstance(value, str):
        return value.strip() or None
    return str(value) if type(value) in (int, float) else None


def _boolean(value: Any) -> str | None:
    return str(value).lower() if isinstance(value, bool) else None


def _matching(pattern: str) -> Callable[[Any], str | None]:
    return lambda value: value if isinstance(value, str) and re.fullmatch(pattern, value) else None


def _count(value: Any) -> int | None:
    return value if type(value) is int and value > 0 else None


def _between(low: float, high: float) -> Callable[[Any], float | None]:
    return lambda value: (
        float(value) if type(value) in (int, float) and low <= value <= high else None
    )


# What of an entry is one plain value: how it is read, and what is expected, in words.
_SCALARS: Mapping[str, tuple[Callable[[Any], Any], str]] = {
    "file": (_text, "a path"),
    "source": (_text, "text"),
    "embedding_size": (_count, "a whole number above 0"),
    "notes": (_text, "text"),
    "url": (_matching("(?s)https?://[^/].*"), "an address that starts with http"),
    # Nothing is written by this name; what could not be a file's in a zip is a mistake.
    "member": (
        _matching(r"(?!.*(?:^|/)\.{0,2}(?:/|$))[^\\:\x00-\x1f\x7f]+"),
        "the name of a file in a zip, as folder/model.onnx",
    ),
    "hash_source": (_text, "text"),
    "licence": (_text, "a word or two"),
    "output": (_text, "a name"),
}
# What of an input makes its profile's text, in the text's order, and what is expected, in words.
_PROFILE_KEYS = {
    "profile": "a profile",
    "mean": "a number, or three",
    "std": "a number, or three",
    "scale": "a number, as 0.0078125 or 1/255",
    "crop": "pixels, as 100, [100, 90] or [100, 90, 6, 11]",
    "feed": "names with true or false",
}
_INPUT_KEYS = (*_PROFILE_KEYS, "size", "channels")
_OPTIONAL = tuple(
    "sha256 hash_source url member archive_sha256 licence output custom embedding_size "
    "published notes recipe".split()
)
# What means nothing without another.
_NEEDS = {"member": "url", "archive_sha256": "member", "hash_source": "sha256"}
