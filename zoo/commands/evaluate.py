"""`zoo eval`: models on bins, from names to the table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.terminal.words import warn

if TYPE_CHECKING:
    from evaluator.results.record import Result
    from zoo.evaluate.request import Request


def evaluate(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL...", help="Entries of the zoo, or model files."),
    ] = None,
    bins: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME...",
            help="Bins by name or path; takes every value up to the next option. "
            "Default: every bin found.",
        ),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="Where NAME.bin is looked for, before $ZOO_DATA, ./datasets and here.",
        ),
    ] = None,
    json: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help="Write the results as JSON; - prints JSON alone."),
    ] = None,
    flip: Annotated[
        str, typer.Option(help="none, or sum: add the mirrored image's embedding.")
    ] = "none",
    input: Annotated[
        str | None,
        typer.Option(
            metavar="PROFILE",
            help="What pixels the model was trained with: unit [0,1], symmetric (x-127.5)/128, "
            "insightface (x/255-0.5)/0.5, raw 0..255.",
        ),
    ] = None,
    channels: Annotated[str | None, typer.Option(help="rgb or bgr.")] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="PIXELS", help="Input size of a model that takes any: 112 or 112x96."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Which output, or layer, of a model is the embedding."),
    ] = None,
    custom: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE:CLASS",
            help="A layer of the model's own, imported from here; implies --trust.",
        ),
    ] = None,
    decoder: Annotated[
        str, typer.Option(help="accurate (libjpeg's pixels), or fast (approximate).")
    ] = "accurate",
    precision: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    engine: Annotated[
        str,
        typer.Option(
            help="What computes: native (each format's own runtime), or openvino (an extra)."
        ),
    ] = "native",
    batch_size: Annotated[
        int, typer.Option(min=1, max=4096, help="Images in one forward pass.")
    ] = 64,
    nan: Annotated[
        str, typer.Option(help="Embeddings that are not finite: fail, or drop their pairs.")
    ] = "fail",
    results: Annotated[Path, typer.Option(metavar="DIR", help="Where results are stored.")] = Path(
        "results"
    ),
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure again, whatever is stored.")
    ] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="Let code inside a model file run.")
    ] = False,
    registry: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Another models.yaml ($ZOO_MODELS does the same)."),
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Instead of a MODEL: another system's scores, as score,label lines or .npz; "
            "higher is more alike. With --bins NAME they are of that bin's pairs, in its order.",
        ),
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npz",
            help="Instead of a MODEL: another system's embeddings (2 x pairs, d), and genuine "
            "(pairs) unless --bins NAME tells.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="What --scores or --embeddings are called. Default: the file's name."),
    ] = None,
) -> None:
    """Evaluate models on verification bins: table, and stored results.

    zoo eval model.h5 --bins lfw agedb_30 cfp_fp

    zoo eval --scores vendor.csv --name vendor --bins lfw
    """
    from evaluator.errors import InputError
    from zoo.entries.lookup import bin_folders, every_bin, resolve_bins, resolve_models
    from zoo.entries.registry import read_registry, registry_path
    from zoo.terminal.output import check_file_target

    folders = bin_folders(data or [])
    entries = read_registry(registry_path(registry))
    outside = scores is not None or embeddings is not None
    # Bins first: a model typed after --bins is told from a model that is missing.
    named = resolve_bins(_bin_names(bins), folders, entries) if bins else None
    if not models and not outside:
        raise InputError(
            "no MODEL given; expected zoo eval MODEL... --bins NAME..., or another system's "
            "--scores or --embeddings"
        )
    if name is not None and not outside:
        raise InputError("--name is for --scores and --embeddings; a model has its file's name")
    if json is not None and json != "-":
        check_file_target("--json", Path(json), begins=b"[")
    choices = resolve_models(models or [], entries)
    if named is None:
        named = [] if outside else every_bin(folders)

    # Imported when the names are known to be right: SciPy alone doubles the time of an error.
    from zoo.evaluate.evaluation import run_request
    from zoo.evaluate.request import Request

    request = Request(
        models=choices,
        bins=named,
        flip=flip,
        decoder=decoder,
        precision=precision,
        engine=engine,
        nan=nan,
        profile=input,
        channels=channels,
        size=image_size(size),
        output=output,
        custom=tuple(custom or ()),
        batch_size=batch_size,
        results=results,
        fresh=fresh,
        trust=trust,
    )
    if outside:
        found = _bring(request, scores=scores, embeddings=embeddings, name=name)
        raise typer.Exit(finish(([found], []), request, json))
    raise typer.Exit(finish(run_request(request), request, json))


def _bring(
    request: Request, *, scores: Path | None, embeddings: Path | None, name: str | None
) -> Result:
    """Stores another system's scores or embeddings as a result."""
    from evaluator.bins.verification_set import read_bin
    from evaluator.errors import InputError, plain_name
    from evaluator.results.record import Settings
    from zoo.evaluate.external import looks_like_distances, store_external
    from zoo.evaluate.external_files import read_embeddings, read_scores

    if request.models:
        raise InputError("--scores and --embeddings stand for a model; give no MODEL beside them")
    if scores is not None and embeddings is not None:
        raise InputError("give --scores or --embeddings, not both")
    if len(request.bins) > 1:
        raise InputError(f"one file is of one bin; --bins names {len(request.bins)}")
    given = (request.profile, request.channels, request.settings)
    if given != (None, None, Settings(nan=request.nan)):
        raise InputError(
            "--flip, --input, --channels, --decoder, --precision and --engine are for models; "
            "--scores and --embeddings come from elsewhere"
        )
    verification_set = read_bin(request.bins[0]) if request.bins else None
    if scores is not None:
        path, pairs = scores, read_scores(scores)
    elif embeddings is not None:
        path, pairs = embeddings, read_embeddings(embeddings, verification_set)
    result = store_external(
        path,
        pairs,
        name=plain_name(name or path.stem),
        verification_set=verification_set,
        nan=request.nan,
        results=request.results,
    )
    if looks_like_distances(result):
        warn(
            f"note: {path}: genuine pairs score lower than impostors; if these are distances, "
            "negate them: higher must be more alike"
        )
    return result


def finish(outcome: tuple[list[Result], list[str]], request: Request, json: str | None) -> int:
    """Prints what was found and returns the exit code."""
    from zoo.terminal.output import write_json
    from zoo.terminal.table import print_evaluation

    found, failures = outcome
    if json is not None:
        write_json(found, json)
    if json != "-" and found:
        print_evaluation(found, show_store=request.results)
    for result in found:
        if result.status != "ok":
            warn(f"zoo: {_not_finite(result)}")
    for failure in failures:
        warn(f"zoo: error: {failure}")
    if failures:
        return 2
    return 1 if any(result.status != "ok" for result in found) else 0


def _not_finite(result: Result) -> str:
    """Which images of a result cannot be scored, and what to do."""
    count, slots = result.non_finite["count"], result.non_finite["images"]
    named = ", ".join(str(slot) for slot in slots) + (", ..." if count > len(slots) else "")
    return (
        f"{result.model.name} on {result.bin.name}: {count:,} "
        f"image{'s' if count > 1 else ''} without a finite embedding of some length, so nothing "
        f"is scored (image {named}; pair = image // 2); --nan drop leaves their pairs out"
    )


def image_size(value: str | None) -> tuple[int, int] | None:
    """(height, width) of a --size: 112, or 112x96, height first."""
    from evaluator.errors import InputError

    if value is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", value.strip())
    if found is None:
        raise InputError(f"--size {value}: expected pixels, as 112 or 112x96 (height x width)")
    return int(found[1]), int(found[2] or found[1])


def _bin_names(values: list[str]) -> list[str]:
    """The names in the values of --bins; a value may hold several, as in `--bins a,b`."""
    from evaluator.errors import InputError

    names = [part for value in values for part in value.split(",") if part.strip()]
    if not names:
        raise InputError("--bins: names no bin; expected --bins NAME...")
    return names
