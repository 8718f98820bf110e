"""``zoo data``: look into training data and bring it from one layout into another."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from zoo.terminal import options

if TYPE_CHECKING:
    from evaluator.images.inputs import Embedder
    from training.data.convert.convert import Converted
    from training.data.convert.describe import DataInfo
    from zoo.entries.registry import Entry

app = typer.Typer(help="MXNet records, folders of faces and TFRecord shards.", no_args_is_help=True)

Force = Annotated[
    bool, typer.Option("--force", help="Move what is already at the output to a .old beside it.")
]


@app.command()
def info(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A .rec file, a folder of faces, or shards.")
    ],
    check: Annotated[
        bool, typer.Option("--check", help="Decode every image and compare with the manifest.")
    ] = False,
    as_json: options.JsonAlone = False,
) -> None:
    """Say what is in training data and what is wrong with it (exit code 1 if something is)."""
    from training.data.convert.describe import describe
    from zoo.terminal.progress import Progress

    with Progress("Reading", None) as progress:
        found = describe(path, check=check, progress=progress.advance)
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
    else:
        _print_info(found)
    if found.problems:
        raise typer.Exit(1)


@app.command()
def unpack(
    rec: Annotated[
        Path, typer.Argument(metavar="REC", help="A .rec file or the folder that holds it.")
    ],
    outdir: Annotated[
        Path,
        typer.Argument(metavar="OUTDIR", help="The folder to make, one folder a person in it."),
    ],
    force: Force = False,
) -> None:
    """Write a record file's images, byte for byte, into a folder per person."""
    from evaluator.errors import InputError
    from training.data.convert.unpack import unpack as unpacked
    from training.data.sources.faces import faces_of_records, find_record_file
    from training.data.sources.records import open_records
    from zoo.terminal.progress import Progress

    record_file = find_record_file(rec)
    if record_file is None:
        raise InputError(f"{rec}: expected a .rec file or a folder that holds one, found none")
    faces = faces_of_records(open_records(record_file))
    with Progress("Unpacking", len(faces)) as progress:
        done = unpacked(faces, outdir, force=force, progress=progress.advance)
    _print_done(done)


@app.command()
def pack(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A folder per person, or a .rec file.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to make.")],
    to: Annotated[Literal["rec", "tfrecord"], typer.Option("--to", help="What to write.")] = "rec",
    shards: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="TFRecord files; by default 16,384 images in each."),
    ] = None,
    force: Force = False,
    jobs: options.Jobs = 1,
) -> None:
    """Write train.rec, train.idx and property, or TFRecord shards; image bytes stay as they are."""
    from evaluator.errors import InputError
    from training.data.sources.faces import open_faces
    from zoo.terminal.progress import Progress
    from zoo.terminal.words import note_passed_over

    if shards is not None and to != "tfrecord":
        raise InputError("--shards: goes with --to tfrecord only; a record file is one file")
    if out.suffix in (".rec", ".tfrecord"):
        raise InputError(
            f"{out}: expected the folder to make, found a file's name; drop {out.suffix}"
        )
    faces = open_faces(folder)
    note_passed_over(folder, faces.ignored)
    with Progress("Packing", len(faces)) as progress:
        if to == "rec":
            from training.data.convert.pack import pack_records

            done = pack_records(faces, out, force=force, jobs=jobs, progress=progress.advance)
        else:
            from training.data.convert.tfrecords import pack_tfrecords

            done = pack_tfrecords(
                faces, out, shards=shards, force=force, jobs=jobs, progress=progress.advance
            )
    _print_done(done)


@app.command()
def clean(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A folder per person, a .rec file, or shards.")
    ],
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="BIN...", help="Test bins, by name or file, that share nothing."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Look for what this model finds alike, too."),
    ] = None,
    same_image: Annotated[
        float, typer.Option(metavar="COSINE", help="From where on two images are nearly one.")
    ] = 0.98,
    same_person: Annotated[
        float | None,
        typer.Option(
            metavar="COSINE",
            help="From where on two people are one. Default: what half of the people's own halves "
            "reach.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="All of it as CSV.")
    ] = None,
    input: options.Profile = None,
    channels: options.Channels = None,
    data: options.Data = None,
    trust: options.Trust = False,
    registry: options.Registry = None,
) -> None:
    """List duplicates, likely wrong labels and what test bins share (exit code 1 if any).

    zoo data clean faces --against lfw cfp_fp --model arc -o found.csv
    """
    from evaluator.bins.verification_set import read_bin
    from evaluator.errors import InputError
    from evaluator.files import write_whole
    from training.data.sources.shards import open_training_faces
    from zoo.data.clean import Cosines, checked
    from zoo.data.clean import clean as cleaned
    from zoo.data.findings import HEADER, findings_blocks, findings_csv
    from zoo.entries.lookup import bin_folders, bins_of_pairs
    from zoo.entries.registry import read_registry, registry_path
    from zoo.terminal.blocks import print_blocks
    from zoo.terminal.output import check_file_target
    from zoo.terminal.progress import Progress
    from zoo.terminal.words import note, note_passed_over

    cosines = checked(Cosines(same_image, same_person))
    if output is not None:
        check_file_target("-o", output, begins=HEADER.encode())
    if model is None and (input or channels or same_person is not None):
        raise InputError("--input, --channels and --same-person go with --model")
    entries = read_registry(registry_path(registry))
    paths = bins_of_pairs(options.listed(against), bin_folders(data or []), entries)
    bins = [read_bin(each) for each in paths]
    faces = open_training_faces(path)
    note_passed_over(path, faces.ignored)
    total = len(faces) + sum(len(set(each.images)) for each in bins)
    with (
        _opened(model, entries, input, channels, trust) as embedder,
        Progress("Looking", total) as progress,
    ):
        found, notes = cleaned(
            faces, bins, embedder=embedder, cosines=cosines, progress=progress.advance
        )
    for line in notes:
        note(line)
    if found:
        print_blocks(findings_blocks(found))
    beside = "".join(f", {each.name}" for each in bins)
    print(
        f"{len(faces):,} images of {faces.people:,} people{beside}: "
        f"{len(found) or 'nothing'} to look at"
    )
    if output is not None:
        write_whole(output, findings_csv(found))
    if found:
        raise typer.Exit(1)


@contextmanager
def _opened(
    model: str | None,
    entries: Mapping[str, Entry],
    profile: str | None,
    channels: str | None,
    trust: bool,
) -> Iterator[Embedder | None]:
    """The model that was named, in a process of its own; None where none was."""
    if model is None:
        yield None
        return
    from evaluator.isolation.process import open_model
    from zoo.entries.lookup import resolve_model
    from zoo.evaluate.loading import say_of
    from zoo.evaluate.request import Request, checked_model

    choice = resolve_model(model, entries)
    request = Request([choice], [], profile=profile, channels=channels, trust=trust)
    _, load_options = checked_model(choice, request)
    with open_model(choice.path, load_options) as embedder:
        say_of(choice, embedder, load_options)
        yield embedder


def _print_done(done: Converted) -> None:
    kept = f"; {done.kept} of them were there already" if done.kept else ""
    print(f"{done.out}: {done.images} images of {done.classes} people, read back and equal{kept}")


def _print_info(found: DataInfo) -> None:
    from zoo.terminal.table import print_facts

    per_person = found.images_per_person
    rows = {
        found.kind: found.path,
        "images": str(found.images),
        "people": f"{found.people}" + ("" if found.named else " (numbers, no names)"),
        "images per person": "{min:g} to {max:g}, median {median:g}".format(**per_person),
        "size" if found.checked else "first image": _counts(found.sizes, found.checked),
        "format": _counts(found.formats, found.checked),
        **{key.replace("_", " "): _detail(value) for key, value in found.details.items()},
    }
    print_facts(((name, value) for name, value in rows.items() if value), problems=found.problems)


def _detail(value: object) -> str:
    if value is None:
        return "none"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _counts(counts: dict[str, int], checked: bool) -> str:
    if not checked:
        return ", ".join(counts)
    return ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
