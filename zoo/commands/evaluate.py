"""`zoo eval`: models on bins, from names to the table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evaluator import choices
from evaluator.errors import InputError
from zoo.terminal import options
from zoo.terminal.output import check_file_target

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
    scores: Scores = None,
    embeddings: Embeddings = None,
    name: Annotated[
        str | None,
        typer.Option(help="What --scores or --embeddings are called. Default: the file's name."),
    ] = None,
) -> None:
    """Evaluate models on verification bins and template sets: table, and stored results.

    zoo eval model.h5 --bins lfw agedb_30 cfp_fp

    zoo eval model.onnx --bins IJBC --flip sum

    zoo eval --scores vendor.csv --name vendor --bins lfw
    """
    outside = scores is not None or embeddings is not None
    chosen, paths = _resolved(models or [], bins, data or [], registry=registry, outside=outside)
    if name is not None and not outside:
        raise InputError("--name is for --scores and --embeddings; a model has its file's name")
    if json is not None and json != "-":
        check_file_target("--json", Path(json), begins=b"[")

    # Imported when the names are known to be right: NumPy alone doubles the time of an error.
    from zoo.evaluate.evaluation import run_request
    from zoo.evaluate.external import stored_external
    from zoo.evaluate.outcome import finished
    from zoo.evaluate.reading import far_figures
    from zoo.evaluate.request import Request

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
    )
    if outside:
        found = stored_external(request, scores=scores, embeddings=embeddings, name=name)
        raise typer.Exit(finished(([found], []), request, json))
    raise typer.Exit(finished(run_request(request), request, json))


def _resolved(
    models: list[str],
    bins: list[str] | None,
    data: list[Path],
    *,
    registry: Path | None,
    outside: bool,
) -> tuple[list[ModelChoice], list[Path]]:
    """The models and bins that are meant: every bin found where none is named, for models."""
    from zoo.entries.lookup import bin_folders, every_bin, resolve_bins, resolve_models
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
    chosen = resolve_models(models, entries)
    return chosen, paths or ([] if outside else every_bin(folders))
