"""What one call of `zoo bins make` asks for, as its options say it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from evaluator.errors import InputError
from zoo.terminal import options

Force = Annotated[bool, typer.Option("--force", help="Replace an output that is there.")]


@dataclass(frozen=True, kw_only=True)
class MakeRequest:
    """One call of `zoo bins make`; None is an option not given. InputError for a wrong mix."""

    out: Annotated[Path, typer.Argument(metavar="OUT", help="The bin to make: .bin or .npz.")]
    folder: Annotated[
        Path | None, typer.Argument(metavar="FOLDER", help="A folder per person.")
    ] = None
    pairs: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="LFW's pairs format, or a .csv of path,path,label."),
    ] = None
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the images of --pairs lie. CSV: its own folder."),
    ] = None
    pairs_per_person: Annotated[
        int | None,
        typer.Option(metavar="N", help="At most so many genuine pairs of each person. Default: 3."),
    ] = None
    impostors: Annotated[
        int | None,
        typer.Option(metavar="N", help="Impostor pairs in all. Default: as many as genuine ones."),
    ] = None
    folds: Annotated[int, typer.Option(min=2, metavar="N", help="Folds of equal size.")] = 10
    seed: Annotated[int | None, typer.Option(metavar="N", help="Another draw. Default: 0.")] = None
    negatives: Annotated[
        Literal["random", "hard"] | None,
        typer.Option(help="Default: random; hard: the impostors that --model finds alike."),
    ] = None
    model: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The model of --negatives hard.")
    ] = None
    input: options.Profile = None
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, max=4096, metavar="N", help="Processes it embeds in."),
    ] = None
    singles: Annotated[
        Literal["fail", "impostors", "skip"] | None,
        typer.Option(help="People with one image. Default: fail."),
    ] = None
    align: Annotated[
        bool, typer.Option("--align", help="Align each face to 112x112 by five landmarks.")
    ] = False
    landmarks: options.Landmarks = None
    missing: Annotated[
        options.Missing | None,
        typer.Option(help="A face not found: fail (default), skip its pairs, or crop the centre."),
    ] = None
    size: Annotated[
        int | None, typer.Option(min=8, max=4096, metavar="N", help="Resize to N x N instead.")
    ] = None
    force: Force = False

    def __post_init__(self) -> None:
        """Refuses options that do not go together: none is silently ignored."""
        if (self.folder is None) == (self.pairs is None):
            raise InputError("make: give a FOLDER with one folder a person, or --pairs FILE")
        if self.pairs is not None:
            for name in ("pairs_per_person", "impostors", "seed", "negatives", "singles"):
                if getattr(self, name) is not None:
                    option = "--" + name.replace("_", "-")
                    raise InputError(f"{option}: goes with a FOLDER; --pairs names its own pairs")
            if self.images is None and self.pairs.suffix.lower() != ".csv":
                raise InputError(f"--pairs {self.pairs}: needs --images DIR, where its images lie")
        elif self.images is not None:
            raise InputError("--images: goes with --pairs; the FOLDER holds the images")
        if (self.negatives == "hard") != (self.model is not None):
            raise InputError("--negatives hard needs --model FILE, and --model goes with it only")
        if self.jobs is not None and self.model is None:
            raise InputError("--jobs: embeds by the --model of --negatives hard; goes with it only")
        if not self.align and (self.landmarks or self.missing):
            raise InputError("--landmarks and --missing: go with --align")
        if self.align and self.size is not None:
            raise InputError("--size: aligned faces are 112x112; give --align or --size")
