"""``zoo data``: look into training data and bring it from one layout into another."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from zoo.terminal import options
from zoo.terminal.words import shows_progress

if TYPE_CHECKING:
    from training.data.convert.convert import Converted
    from training.data.convert.describe import DataInfo

app = typer.Typer(help="MXNet records, folders of faces and TFRecord shards.", no_args_is_help=True)

Force = Annotated[
    bool, typer.Option("--force", help="Move what is already at the output to a .old beside it.")
]


@app.command()
def info(
    path: Annotated[Path, typer.Argument(help="A .rec file, a folder of faces, or shards.")],
    check: Annotated[
        bool, typer.Option("--check", help="Decode every image and compare with the manifest.")
    ] = False,
    as_json: options.JsonAlone = False,
) -> None:
    """Say what is in training data and what is wrong with it (exit code 1 if something is)."""
    from training.data.convert.describe import describe

    with _progress("Reading", None, show=not as_json) as step:
        found = describe(path, check=check, progress=step)
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
    else:
        _print_info(found)
    if found.problems:
        raise typer.Exit(1)


@app.command()
def unpack(
    rec: Annotated[Path, typer.Argument(help="A .rec file or the folder that holds it.")],
    outdir: Annotated[Path, typer.Argument(help="The folder to make, one folder a person in it.")],
    force: Force = False,
) -> None:
    """Write a record file's images, byte for byte, into a folder per person."""
    from evaluator.errors import InputError
    from training.data.convert.unpack import unpack as unpacked
    from training.data.sources.faces import faces_of_records, find_record_file
    from training.data.sources.records import open_records

    record_file = find_record_file(rec)
    if record_file is None:
        raise InputError(f"{rec}: expected a .rec file or a folder that holds one, found none")
    faces = faces_of_records(open_records(record_file))
    with _progress("Unpacking", len(faces)) as step:
        done = unpacked(faces, outdir, force=force, progress=step)
    _print_done(done)


@app.command()
def pack(
    folder: Annotated[Path, typer.Argument(help="A folder per person, or a .rec file.")],
    out: Annotated[Path, typer.Argument(help="The folder to make.")],
    to: Annotated[Literal["rec", "tfrecord"], typer.Option("--to", help="What to write.")] = "rec",
    shards: Annotated[
        int | None, typer.Option(min=1, help="TFRecord files; by default 16,384 images in each.")
    ] = None,
    force: Force = False,
) -> None:
    """Write train.rec, train.idx and property, or TFRecord shards; image bytes stay as they are."""
    from evaluator.errors import InputError
    from training.data.sources.faces import open_faces

    if shards is not None and to != "tfrecord":
        raise InputError("--shards: goes with --to tfrecord only; a record file is one file")
    if out.suffix in (".rec", ".tfrecord"):
        raise InputError(
            f"{out}: expected the folder to make, found a file's name; drop {out.suffix}"
        )
    faces = open_faces(folder)
    with _progress("Packing", len(faces)) as step:
        if to == "rec":
            from training.data.convert.pack import pack_records

            done = pack_records(faces, out, force=force, progress=step)
        else:
            from training.data.convert.tfrecords import pack_tfrecords

            done = pack_tfrecords(faces, out, shards=shards, force=force, progress=step)
    _print_done(done)


@contextmanager
def _progress(
    what: str, total: int | None, *, show: bool = True
) -> Iterator[Callable[[int], None] | None]:
    """A bar on stderr, with images/s and the time left; nothing where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not show or not shows_progress():
        yield None
        return
    rate = TextColumn("{task.completed} images, {task.fields[rate]:.0f}/s")
    with Progress(
        TextColumn(what), BarColumn(), rate, TimeRemainingColumn(), console=console, transient=True
    ) as bar:
        task = bar.add_task(what, total=total, rate=0.0)

        def step(count: int) -> None:
            bar.update(task, advance=count, rate=bar.tasks[0].speed or 0.0)

        yield step


def _print_done(done: Converted) -> None:
    from rich.console import Console

    kept = f"; {done.kept} of them were there already" if done.kept else ""
    line = f"{done.out}: {done.images} images of {done.classes} people, read back and equal{kept}"
    Console(soft_wrap=True, highlight=False).print(line, markup=False)


def _print_info(found: DataInfo) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    per_person = found.images_per_person
    table = Table(box=None, show_header=False, pad_edge=False)
    rows = {
        found.kind: found.path,
        "images": str(found.images),
        "people": f"{found.people}" + ("" if found.named else " (numbers, no names)"),
        "images per person": "{min:g} to {max:g}, median {median:g}".format(**per_person),
        "size" if found.checked else "first image": _counts(found.sizes, found.checked),
        "format": _counts(found.formats, found.checked),
        **{key.replace("_", " "): _detail(value) for key, value in found.details.items()},
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, Text(value))
    console = Console(highlight=False)
    if not console.is_terminal:  # a pipe has no width to fold long paths to
        console.width = 10_000
    console.print(table)
    for problem in found.problems:
        console.print(Text(f"problem: {problem}"), soft_wrap=True)


def _detail(value: object) -> str:
    if value is None:
        return "none"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _counts(counts: dict[str, int], checked: bool) -> str:
    if not checked:
        return ", ".join(counts)
    return ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
