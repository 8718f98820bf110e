"""`zoo eval`: models on bins, from names to the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from evaluator import choices
from evaluator.errors import InputError
from zoo.terminal import options
from zoo.terminal.output import check_file_target
from zoo.terminal.settings import read_settings
from zoo.terminal.words import note

if TYPE_CHECKING:
    from zoo.entries.lookup import ModelChoice

Bins = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME...",
        help="Bins by name or path, and folders of template sets; takes every value up to the next "
        "option. Default: every bin found.",
    ),
]
Json = Annotated[
    str | None,
    typer.Option(metavar="FILE|-", help="Write the results as JSON; - prints JSON alone."),
]
Scores = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Instead of a MODEL: another system's scores, as score,label lines or .npz; "
        "higher is more alike. With --bins NAME they are of that bin's pairs, in its order.",
    ),
]
Embeddings = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.npz",
        help="Instead of a MODEL: another system's embeddings (2 x pairs, d), and genuine "
        "(pairs) unless --bins NAME tells; of a template set names (n) and embeddings (n, d), and "
        "mirrored (n, d) if you have them.",
    ),
]

Far = Annotated[
    list[str] | None,
    typer.Option(
        metavar="RATE,...",
        help="Also show TAR at these FARs, as 1e-6,1e-4, of stored results too.",
    ),
]
Intervals = Annotated[
    bool, typer.Option("--intervals", help="Show each figure's 95 % interval, of new pairs.")
]


def evaluate(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL", help="Entries of the zoo, or model files."),
    ] = None,
    bins: Bins = None,
    data: options.Data = None,
    json: Json = None,
    flip: Annotated[
        choices.Flip, typer.Option(help="sum adds the mirrored image's embedding.")
    ] = "none",
    input: options.Profile = None,
    channels: options.Channels = None,
    size: options.Size = None,
    output: options.Output = None,
    custom: options.Custom = None,
    decoder: Annotated[
        choices.Decoder, typer.Option(help="libjpeg's pixels, or approximate ones.")
    ] = "accurate",
    precision: options.Precision = "float32",
    engine: options.Engine = "native",
    batch_size: options.BatchSize = 64,
    nan: Annotated[
        choices.NonFinite,
        typer.Option(
            help="Pairs of images that fail to embed: fail, drop them, or count them as a miss."
        ),
    ] = "fail",
    norm: Annotated[
        choices.Norm,
        typer.Option(help="Template sets: an embedding counts by its length, or as a unit vector."),
    ] = choices.NORM,
    detector_score: Annotated[
        choices.DetectorScore | None,
        typer.Option(
            help="Template sets: whether it counts by its image's detector score, too. Default: "
            "where the set states them."
        ),
    ] = None,
    far: Far = None,
    intervals: Intervals = False,
    epochs: Annotated[
        bool,
        typer.Option("--epochs", help="Of a training run: every epoch that was kept, in order."),
    ] = False,
    gallery_sizes: Annotated[
        bool,
        typer.Option(
            "--gallery-sizes", help="Template sets: what a threshold does in smaller galleries."
        ),
    ] = False,
    results: options.Results = options.RESULTS,
    fresh: options.Fresh = False,
    trust: options.Trust = False,
    registry: options.Registry = None,
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            max=4096,
            metavar="N",
            help="Models measured at once, or batches of few models, each by a part of the cores.",
        ),
    ] = 1,
    backend: Annotated[
        Literal["joblib", "ray", "dask"],
        typer.Option(help="What runs the jobs: this machine, or a cluster (extras)."),
    ] = "joblib",
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Only the I-th of N parts of the models, of about equal cost."
        ),
    ] = None,
    scores: Scores = None,
    embeddings: Embeddings = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="What the results of the one MODEL are called. Default: its file's name."
        ),
    ] = None,
) -> None:
    """Evaluate models on verification bins and template sets: table, and stored results.

    zoo eval model.h5 --bins lfw agedb_30 cfp_fp

    zoo eval model.onnx --bins IJBC --flip sum

    zoo eval --scores vendor.csv --name vendor --bins lfw
    """
    outside = scores is not None or embeddings is not None
    chosen, paths = _resolved(
        models or [], bins, data or [], registry=registry, outside=outside, epochs=epochs
    )
    usual = read_settings()
    if asked := usual.measuring():
        note(f"{usual.path}: {asked}, where nothing else is said")
    if name is not None and not outside:
        chosen = [_called(name, chosen)]
    if json is not None and json != "-":
        check_file_target("--json", Path(json), begins=b"[")

    # Imported when the names are known to be right: NumPy alone doubles the time of an error.
    from zoo.evaluate.evaluation import run_request
    from zoo.evaluate.external import stored_external
    from zoo.evaluate.jobs import models_of_shard, parsed_shard
    from zoo.evaluate.outcome import far_figures, finished
    from zoo.evaluate.request import Request

    if shard is not None:
        chosen = models_of_shard(chosen, parsed_shard(shard))
        if not chosen:
            note(f"--shard {shard}: fewer models than parts; nothing is left for this one")
            raise typer.Exit(0)
    request = Request(
        models=chosen,
        bins=paths,
        flip=flip,
        decoder=decoder,
        precision=precision,
        engine=engine,
        nan=nan,
        norm=norm,
        detector_score=detector_score,
        profile=input,
        channels=channels,
        size=options.image_size(size),
        output=output,
        custom=tuple(custom or ()),
        batch_size=batch_size,
        results=results,
        fresh=fresh,
        trust=trust,
        tars=far_figures(options.listed(far)),
        intervals=intervals,
        gallery_sizes=gallery_sizes,
        jobs=jobs,
        backend=backend,
    )
    if outside:
        found = stored_external(request, scores=scores, embeddings=embeddings, name=name)
        raise typer.Exit(finished(([found], []), request, json))
    raise typer.Exit(finished(run_request(request), request, json))


def _called(name: str, chosen: list[ModelChoice]) -> ModelChoice:
    """The one model, by that name."""
    if len(chosen) != 1:
        raise InputError(f"--name {name}: is for one MODEL; got {len(chosen)}")
    if not name.strip() or not name.isprintable():
        raise InputError(f"--name {name!r}: expected some printable signs")
    return replace(chosen[0], name=name.strip())


def _resolved(
    models: list[str],
    bins: list[str] | None,
    data: list[Path],
    *,
    registry: Path | None,
    outside: bool,
    epochs: bool,
) -> tuple[list[ModelChoice], list[Path]]:
    """The models and bins that are meant: every bin found where none is named, for models."""
    from zoo.entries.lookup import (
        bin_folders,
        every_bin,
        kept_epochs,
        resolve_bins,
        resolve_models,
    )
    from zoo.entries.registry import read_registry, registry_path

    folders = bin_folders(data)
    entries = read_registry(registry_path(registry))
    names = options.listed(bins)
    if bins and not names:
        raise InputError("--bins: names no bin; expected --bins NAME...")
    # Bins first: a model typed after --bins is told from a model that is missing.
    paths = resolve_bins(names, folders, entries)
    if not models and not outside:
        raise InputError(
            "no MODEL given; expected zoo eval MODEL... --bins NAME..., or another system's "
            "--scores or --embeddings"
        )
    if epochs:
        chosen = [each for name in models for each in kept_epochs(name)]
    else:
        chosen = resolve_models(models, entries)
    return chosen, paths or ([] if outside else every_bin(folders))
