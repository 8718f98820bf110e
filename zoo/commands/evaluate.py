"""`zoo eval`: models on bins, from names to the table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from evaluator.results import Result
    from zoo.evaluation import Request


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
    decoder: Annotated[
        str, typer.Option(help="accurate (libjpeg's pixels), or fast (approximate).")
    ] = "accurate",
    precision: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
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
) -> None:
    """Evaluate models on verification bins: table, and stored results.

    zoo eval model.h5 --bins lfw agedb_30 cfp_fp
    """
    from evaluator.errors import InputError
    from zoo.lookup import all_bins, bin_folders, resolve_bins, resolve_models
    from zoo.output import check_json_target
    from zoo.registry import read_registry, registry_path

    folders = bin_folders(data or [])
    entries = read_registry(registry_path(registry))
    # Bins first: a model typed after --bins is told from a model that is missing.
    named = resolve_bins(_bin_names(bins), folders, entries) if bins else None
    if not models:
        raise InputError("no MODEL given; expected zoo eval MODEL... --bins NAME...")
    if json is not None:
        check_json_target(json)
    choices = resolve_models(models, entries)
    chosen = _every_bin(all_bins(folders)) if named is None else named

    # Imported when the names are known to be right: SciPy alone doubles the time of an error.
    from zoo.evaluation import Request, run_request

    request = Request(
        models=choices,
        bins=chosen,
        flip=flip,
        decoder=decoder,
        precision=precision,
        nan=nan,
        profile=input,
        channels=channels,
        batch_size=batch_size,
        results=results,
        fresh=fresh,
        trust=trust,
    )
    raise typer.Exit(finish(run_request(request), request, json))


def finish(outcome: tuple[list[Result], list[str]], request: Request, json: str | None) -> int:
    """Prints what was found and returns the exit code."""
    from zoo.output import write_json
    from zoo.table import print_evaluation

    found, failures = outcome
    if json is not None:
        write_json(found, json)
    if json != "-" and found:
        print_evaluation(found, show_store=request.results)
    for result in found:
        if result.status != "ok":
            print(f"zoo: {_not_finite(result)}", file=sys.stderr)
    for failure in failures:
        print(f"zoo: error: {failure}", file=sys.stderr)
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


def _bin_names(values: list[str]) -> list[str]:
    """The names in the values of --bins; a value may hold several, as in `--bins a,b`."""
    from evaluator.errors import InputError

    names = [part for value in values for part in value.split(",") if part.strip()]
    if not names:
        raise InputError("--bins: names no bin; expected --bins NAME...")
    return names


def _every_bin(paths: list[Path]) -> list[Path]:
    from evaluator.errors import InputError

    if not paths:
        raise InputError(
            "no --bins given, and no *.bin in $ZOO_DATA, ./datasets or here; "
            "name them (--bins lfw.bin), or their folder with --data DIR"
        )
    names = " ".join(path.stem for path in paths)
    print(f"no --bins given: using every bin found: {names}", file=sys.stderr)
    return paths
