"""The options that several commands have, each declared once: its words, placeholder and text.

Typer checks and completes what is a ``Literal``; names of models and bins are `zoo.completion`'s.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from evaluator import choices
from evaluator.errors import InputError

# ---- Models --------------------------------------------------------------------------------------

EntryName = Annotated[str, typer.Argument(metavar="ENTRY", help="A name that zoo list shows.")]
Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="An entry of the zoo, a run, or a model file.")
]
Profile = Annotated[
    choices.Profile | None,
    typer.Option(
        "--input",
        metavar="PROFILE",
        help="What pixels the model was trained with: unit [0,1], symmetric (x-127.5)/128, "
        "insightface (x/255-0.5)/0.5, raw 0..255.",
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
    list[str], typer.Argument(metavar="MODEL...", help="Entries of the zoo, runs, or model files.")
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
        "--registry", metavar="FILE", help="Another models.yaml ($ZOO_MODELS does the same)."
    ),
]

# ---- Bins and results ----------------------------------------------------------------------------

Data = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="DIR", help="Where NAME.bin is looked for, before $ZOO_DATA, ./datasets and here."
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
Fresh = Annotated[bool, typer.Option("--fresh", help="Measure again, whatever is stored.")]
RESULTS = Path("results")

# ---- Which of a model's results ------------------------------------------------------------------

_ONLY = "Only results with this."
OnlyFlip = Annotated[choices.Flip | None, typer.Option("--flip", help=_ONLY)]
OnlyProfile = Annotated[
    choices.Profile | None,
    typer.Option(
        "--input",
        metavar="PROFILE",
        help="Only results with this: unit, symmetric, insightface or raw.",
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
JsonAlone = Annotated[bool, typer.Option("--json", help="Print JSON alone.")]
TableFormat = Annotated[
    Literal["table", "markdown", "csv", "json", "latex"],
    typer.Option(metavar="FORMAT", help="table, markdown, csv, json or latex."),
]
#: How what a command prints is written: ``Annotated[Literal["table", "json"], FORMAT]``.
FORMAT = typer.Option("--format", help="How it is printed.")


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
