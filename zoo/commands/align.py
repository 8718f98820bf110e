"""``zoo align``: a folder of faces onto the template that face models are trained with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo.terminal import options
from zoo.terminal.words import warn


def align(
    indir: Annotated[
        Path, typer.Argument(metavar="INDIR", help="A folder of images, at any depth.")
    ],
    outdir: Annotated[
        Path, typer.Argument(metavar="OUTDIR", help="The folder to make, the same tree of PNGs.")
    ],
    landmarks: options.Landmarks = None,
    missing: Annotated[
        options.Missing,
        typer.Option(help="A face not found: fail at the end, skip it, or crop the centre."),
    ] = "fail",
) -> None:
    """Align faces by five landmarks to ArcFace's 112x112; run it again to go on after a stop."""
    from zoo.align.faces import AlignOptions
    from zoo.align.folder import LOG, align_folder, image_files
    from zoo.terminal.progress import Progress

    options = AlignOptions(landmarks, missing)
    with Progress("finding faces", len(image_files(indir))) as progress:
        done = align_folder(indir, outdir, options, progress=progress.advance)
    for name in done.missing:
        taken = "its centre is taken" if missing == "crop" else "skipped"
        warn(f"no face found in {name}: {taken}")
    kept = f", {done.kept} of them from an earlier run" if done.kept else ""
    typer.echo(
        f"{done.out}: {done.images} images of 112x112{kept}; {len(done.missing)} without a face;"
        f" landmarks in {done.out / LOG}"
    )
