"""``zoo bins``: look into verification bins, make them from faces, fetch and convert them."""

from __future__ import annotations

import json
from collections.abc import Sized
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from zoo.bins.request import Force, MakeRequest
from zoo.terminal import options
from zoo.terminal.words import error_text, note, warn

if TYPE_CHECKING:
    from zoo.bins.inspection import BinReport

app = typer.Typer(
    help="Verification bins: info, make, fetch, convert, corrupt.", no_args_is_help=True
)


@app.command()
def info(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Bins; folders of template sets.")
    ],
    as_json: options.JsonAlone = False,
    faces: Annotated[
        Path | None,
        typer.Option(metavar="PNG", help="Draw pairs of the (one) bin as a contact sheet."),
    ] = None,
    alignment: Annotated[
        bool,
        typer.Option("--alignment", help="Do the faces of 50 images lie on ArcFace's template?"),
    ] = False,
) -> None:
    """Say what is in bins and template sets, and what is wrong with them (then exit code 1)."""
    from dataclasses import asdict
    from functools import partial

    from evaluator.bins.verification_set import read_stored
    from evaluator.errors import InputError
    from zoo.align.detector import check_detector
    from zoo.bins.inspection import BinReport, inspect_bin
    from zoo.bins.sheet import write_sheet
    from zoo.bins.template_sets import SetReport, inspect_set, set_rows
    from zoo.entries.lookup import bin_folders, resolve_bins
    from zoo.terminal.output import check_file_target
    from zoo.terminal.progress import Progress
    from zoo.terminal.table import print_facts

    if faces is not None and len(files) > 1:
        raise InputError(f"--faces {faces}: goes with one bin, found {len(files)}")
    if faces is not None and files[0].is_dir():
        raise InputError(f"--faces {faces}: draws pairs of a bin, and {files[0]} is a folder")
    if faces is not None:
        check_file_target("--faces", faces, begins=b"\x89PNG")
    if alignment:
        check_detector()
        for path in files:
            if path.is_dir():
                raise InputError(f"--alignment: looks at bins, and {path} is a folder")
    reports: list[BinReport | SetReport] = []
    failed = False
    for path in files:
        try:
            if not path.exists():  # as zoo eval names bins: NAME of datasets/NAME.bin
                (path,) = resolve_bins([str(path)], bin_folders([]), {})
            with Progress(f"{path.name}: decoding", None) as progress:
                look = inspect_set if path.is_dir() else partial(inspect_bin, alignment=alignment)
                reports.append(look(path, progress=progress.advance))
        except (InputError, OSError) as error:
            if len(files) == 1:
                raise
            warn(f"zoo: error: {error_text(error)}")
            failed = True
            continue
        if not as_json:
            shown = reports[-1]
            rows = _rows(shown) if isinstance(shown, BinReport) else set_rows(shown)
            if len(reports) > 1:
                print()
            print_facts(rows, notes=shown.notes, problems=shown.problems)
    if as_json:
        typer.echo(json.dumps([asdict(report) for report in reports], indent=2))
    if faces is not None:
        drawn = write_sheet(faces, read_stored(Path(reports[0].path)))
        note(f"{faces}: {len(drawn)} of {reports[0].pairs} pairs")
    if failed:
        raise typer.Exit(2)
    if any(report.problems for report in reports):
        raise typer.Exit(1)


@app.command()
@options.spread
def make(asked: MakeRequest) -> None:
    """Make a bin of your own faces; JPEG and PNG bytes stay as they are.

    zoo bins make own.bin FOLDER

    zoo bins make own.bin --pairs pairs.txt --images FOLDER
    """
    from zoo.bins.make import make_bin

    typer.echo(make_bin(asked))


@app.command()
def fetch(
    name: Annotated[
        Literal["lfw", "olivetti"], typer.Argument(metavar="NAME", help="The data set.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT", help="Default: datasets/NAME.bin."),
    ] = None,
    landmarks: options.Landmarks = None,
    missing: Annotated[
        options.Missing | None,
        typer.Option(help="LFW, a face not found: crop the centre (default), fail, or skip."),
    ] = None,
    download: Annotated[
        bool, typer.Option(help="Let scikit-learn download what is not there.")
    ] = True,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="public|URL",
            help="Take the bin itself, as published figures have it. Its SHA-256 is noted, and no "
            "other taken from there later without --force.",
        ),
    ] = None,
    force: Force = False,
) -> None:
    """Make the bin of a public data set from scikit-learn's download ($SCIKIT_LEARN_DATA).

    zoo bins fetch lfw --from public
    """
    from zoo.bins.make import fetch_bin

    made = fetch_bin(
        name,
        output,
        landmarks=landmarks,
        missing=missing,
        download=download,
        force=force,
        source=source,
    )
    typer.echo(made)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A bin of any layout.")],
    out: Annotated[
        Path | None, typer.Argument(metavar="OUT", help="The bin to write: .bin or .npz.")
    ] = None,
    drop_bad: Annotated[
        bool, typer.Option("--drop-bad", help="Leave out pairs whose images do not decode.")
    ] = False,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Replace IN itself; it stays beside it as .bak.")
    ] = False,
    force: Force = False,
) -> None:
    """Rewrite a bin, its images' bytes as they are: clean pickle, or .npz without any."""
    from evaluator.errors import InputError
    from zoo.bins.convert import convert_bin

    if out is None and not in_place:
        raise InputError("convert: give the bin to write as OUT, or --in-place")
    done = convert_bin(
        source, source if out is None else out, drop_bad=drop_bad, in_place=in_place, force=force
    )
    for pair, cause in done.dropped.items():
        warn(f"left out pair {pair}: {cause}")
    if done.backup is not None:
        note(f"the former file is {done.backup}")
    left_out = f", {len(done.dropped)} left out" if done.dropped else ""
    typer.echo(f"{done.path}: {done.pairs} pairs{left_out}")


@app.command()
def corrupt(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A bin of any layout.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="The folder of the new bins.")
    ],
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--corruption",
            metavar="NAME...",
            help="blur, noise, jpeg, resolution, brightness, contrast, occlusion, mask; all.",
        ),
    ] = None,
    strengths: Annotated[
        list[str] | None,
        typer.Option("--strength", metavar="N...", help="1 to 5. Default: all."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Another draw. Default: 0.")] = 0,
    force: Force = False,
) -> None:
    """Make bins of spoilt images: IN-blur-3.bin and so on, for accuracy against strength.

    zoo bins corrupt lfw.bin -o datasets --corruption blur mask --strength 1 3 5
    """
    from evaluator.errors import check_choice
    from zoo.bins.corrupt import corrupt_bin
    from zoo.bins.corruptions import CORRUPTIONS, STRENGTHS
    from zoo.terminal.progress import Progress

    wanted = options.listed(kinds) or list(CORRUPTIONS)
    known = tuple(map(str, STRENGTHS))
    grades = options.listed(strengths) or list(known)
    for kind in wanted:
        check_choice("--corruption", kind, tuple(CORRUPTIONS))
    for grade in grades:
        check_choice("--strength", grade, known)
    with Progress("spoiling", None) as progress:
        made = corrupt_bin(
            source,
            output,
            kinds=list(dict.fromkeys(wanted)),
            strengths=sorted({int(grade) for grade in grades}),
            seed=seed,
            force=force,
            progress=progress.advance,
        )
    for path in made:
        typer.echo(str(path))


def _rows(report: BinReport) -> list[tuple[str, str]]:
    from zoo.bins.inspection import counted
    from zoo.bins.placement import placement_words

    rows = [
        ("bin", report.path),
        ("sha256", report.sha256),
        ("known as", report.known or "not known"),
        ("layout", f"{report.layout}, {report.bytes:,} bytes"),
        (
            "pairs",
            f"{report.pairs:,}: {report.genuine:,} genuine, {report.impostor:,} impostor",
        ),
        ("images", f"{report.images:,}, {report.unique_images:,} distinct"),
        ("sizes", counted(report.sizes)),
        ("formats", counted(report.formats)),
        ("ten folds", _folds(report.folds)),
    ]
    if report.people:
        several = report.people["in_several_folds"]
        shared = f"{several:,} in several folds" if several else "each in one fold"
        rows.append(("people", f"{report.people['count']:,}, {shared}"))
    if report.alignment:
        rows.append(("alignment", placement_words(report.alignment)))
    checks: dict[str, Sized] = {
        "repeated pairs": report.repeated,
        "contradicting": [*report.contradicting, *report.linked],
        "same image twice": report.same_image,
        "undecodable": report.undecodable,
    }
    rows += [(label, f"{len(found):,}" if found else "none") for label, found in checks.items()]
    return rows


def _folds(folds: list[list[int]]) -> str:
    if not folds:
        return "fewer than ten pairs"
    if all(fold == folds[0] for fold in folds):
        return f"balanced: {folds[0][0]} genuine and {folds[0][1]} impostor in each"
    return "genuine/impostor " + " ".join(f"{a}/{b}" for a, b in folds)
