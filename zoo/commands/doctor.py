"""`zoo doctor`: what is installed, what is found, and whether an evaluation comes out right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
    data: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Where bins are looked for, too, as zoo eval does."),
    ] = None,
    results: Annotated[Path, typer.Option(metavar="DIR", help="Where results are stored.")] = Path(
        "results"
    ),
    registry: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Another models.yaml ($ZOO_MODELS does the same)."),
    ] = None,
) -> None:
    """Say what is installed and found, and evaluate a tiny model against NumPy's own figures.

    What it prints belongs into the report of a bug. Exit code 1: something is wrong.
    """
    import json as json_text
    import sys

    from zoo.doctor.findings import examined, findings_text

    findings = examined(data=data or [], results=results, registry=registry)
    if json:
        sys.stdout.write(json_text.dumps(findings, indent=2) + "\n")
    else:
        sys.stdout.write(findings_text(findings))
    raise typer.Exit(1 if findings["problems"] else 0)
