"""The options that several commands have, each declared once: its words, placeholder and text.

Typer checks and completes what is a ``Literal``; names of models and bins are `zoo.completion`'s.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from evaluator import choices
from evaluator.errors import InputError, check_choice
from evaluator.profiles import PROFILES, profile_text

# Typer has no public name for the base class of its usage errors.
UsageError: type[typer.BadParameter] = typer.BadParameter.__bases__[0]

# ---- Models --------------------------------------------------------------------------------------

EntryName = Annotated[str, typer.Argument(metavar="ENTRY", help="A name that zoo list shows.")]
Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="An entry of the zoo, a run, or a model file.")
]


def canonical_profile(value: str | None) -> str | None:
    """An ``--input`` as all that is stored has it. Raises UsageError."""
    if value is None:
        return None
    name = value.partition("+")[0]
    try:
        if "=" not in name:
            check_choice("--input", name, tuple(PROFILES))
        return profile_text(value)
    except InputError as error:
        raise UsageError(str(error)) from None


Profile = Annotated[
    str | None,
    typer.Option(
        "--input",
        metavar="PROFILE",
        callback=canonical_profile,
        help="What pixels the model was trained with: unit [0,1], symmetric (x-127.5)/128, "
        "insightface (x/255-0.5)/0.5, raw 0..255, whiten, imagenet; or in words, as "
        "scale=1/255+mean=0.5,0.4,0.4+std=0.25+crop=100.",
    ),
]
Channels = Annotated[
    Literal["rgb", "bgr"] | None, typer.Option(help="The order of the model's colours.")
]
Size = Annotated[
    str | None,
    typer.Option(metavar="PIXELS", help="Input size of a model that takes any: 112 or 112x96."),
]
Output = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Which output, or layer, of a model is the embedding."),
]
Custom = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODULE:CLASS",
        help="A layer of the model's own, imported from here; implies --trust.",
    ),
]
Models = Annotated[
    list[str], typer.Argument(metavar="MODEL", help="Entries of the zoo, runs, or model files.")
]
Precision = Annotated[choices.Precision, typer.Option(help="Of the network.")]
Engine = Annotated[
    choices.Engine,
    typer.Option(help="What computes: each format's own runtime, or OpenVINO (an extra)."),
]
BatchSize = Annotated[
    int, typer.Option(min=1, max=4096, metavar="N", help="Images in one forward pass.")
]
Trust = Annotated[bool, typer.Option("--trust", help="Let code inside a model file run.")]
Registry = Annotated[
    Path | None,
    typer.Option(
        "--registry",
        metavar="FILE",
        help="Another models.yaml ($ZOO_MODELS, zoo.toml do the same).",
    ),
]

# ---- Bins and results ----------------------------------------------------------------------------

Data = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="DIR",
        help="Where NAME.bin is looked for, before $ZOO_DATA, zoo.toml's, ./datasets and here.",
    ),
]
StoredModels = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL",
        help="One or more: name of a stored one, or a pattern of names, start of its SHA-256, "
        "path of a model, entry of the zoo, or path of a stored result.",
    ),
]
StoredBins = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME...",
        help="Only these bins: name, path or start of the SHA-256. Default: all there are.",
    ),
]
Results = Annotated[Path, typer.Option(metavar="DIR", help="Where results are stored.")]
StoredIn = Annotated[
    list[Path] | None,
    typer.Option(
        "--results",
        metavar="DIR",
        help="Where results are stored; given again, several folders are one. Default: results.",
    ),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Measure again, whatever is stored.")]
RESULTS = Path("results")

# ---- Which of a model's results ------------------------------------------------------------------

_ONLY = "Only results with this."
OnlyFlip = Annotated[choices.Flip | None, typer.Option("--flip", help=_ONLY)]
OnlyProfile = Annotated[
    str | None,
    typer.Option(
        "--input",
        metavar="PROFILE",
        callback=canonical_profile,
        help="Only results with this, as zoo eval.",
    ),
]
OnlyChannels = Annotated[choices.Channels | None, typer.Option("--channels", help=_ONLY)]
OnlyDecoder = Annotated[choices.Decoder | None, typer.Option("--decoder", help=_ONLY)]
OnlyPrecision = Annotated[choices.Precision | None, typer.Option("--precision", help=_ONLY)]
OnlyEngine = Annotated[choices.Engine | None, typer.Option("--engine", help=_ONLY)]
OnlyNorm = Annotated[choices.Norm | None, typer.Option("--norm", help=_ONLY)]
OnlyDetectorScore = Annotated[
    choices.DetectorScore | None, typer.Option("--detector-score", help=_ONLY)
]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which stored results a command is asked for, as its options say it; None: not said."""

    bins: StoredBins = None
    data: Data = None
    flip: OnlyFlip = None
    input: OnlyProfile = None
    channels: OnlyChannels = None
    decoder: OnlyDecoder = None
    precision: OnlyPrecision = None
    engine: OnlyEngine = None
    norm: OnlyNorm = None
    detector_score: OnlyDetectorScore = None
    results: StoredIn = None
    trust: Trust = False
    registry: Registry = None


def stores(given: Sequence[Path] | None) -> tuple[Path, ...]:
    """The folders that ``--results`` names."""
    return tuple(given or (RESULTS,))


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` as one that takes, instead of each parameter that is a dataclass as `Asked` is,
    the options that are its fields.
    """
    own = inspect.signature(command, eval_str=True).parameters
    fields = {
        name: inspect.signature(one.annotation, eval_str=True).parameters
        for name, one in own.items()
        if isinstance(one.annotation, type) and is_dataclass(one.annotation)
    }

    @functools.wraps(command)
    def called(**values: Any) -> None:
        for name, parts in fields.items():
            said = {part: values.pop(part) for part in parts if part in values}
            values[name] = own[name].annotation(**said)
        command(**values)

    parameters = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, one in own.items()
        for each in (fields[name].values() if name in fields else (one,))
    ]
    vars(called)["__signature__"] = inspect.Signature(parameters)
    called.__annotations__ = {each.name: each.annotation for each in parameters}
    return called


# ---- Faces and files -----------------------------------------------------------------------------

Landmarks = Annotated[
    Path | None,
    typer.Option(
        metavar="CSV",
        help="File and x, y of both eyes, nose, both corners of the mouth. "
        "Default: found by the mtcnn package.",
    ),
]
Missing = Literal["fail", "skip", "crop"]
Jobs = Annotated[
    int,
    typer.Option("--jobs", "-j", min=1, max=4096, metavar="N", help="Processes that share it."),
]
JsonAlone = Annotated[bool, typer.Option("--json", help="Print JSON alone.")]
TableFormat = Annotated[
    Literal["table", "markdown", "csv", "json", "latex"],
    typer.Option(metavar="FORMAT", help="table, markdown, csv, json or latex."),
]
#: How what a command prints is written: ``Annotated[Literal["table", "json"], FORMAT]``.
FORMAT = typer.Option("--format", help="How it is printed.")


def rate(text: str) -> float:
    """A share between 0 and 1, as 1e-3 or 0.1%."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise typer.BadParameter(f"{text}: expected a rate between 0 and 1, as 1e-3 or 0.1%")
    return value


def listed(values: Sequence[str] | None) -> list[str]:
    """The names in an option's values; one value may hold several, as in ``--bins a,b``."""
    return [part for value in values or () for part in value.split(",") if part.strip()]


def image_size(value: str | None) -> tuple[int, int] | None:
    """(height, width) of a --size: 112, or 112x96, height first. Raises InputError."""
    if value is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", value.strip())
    if found is None:
        raise InputError(f"--size {value}: expected pixels, as 112 or 112x96 (height x width)")
    return int(found[1]), int(found[2] or found[1])
