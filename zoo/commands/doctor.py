"""`zoo doctor`: what is installed, what is found, and whether an evaluation comes out right."""

from __future__ import annotations

import typer

from zoo.terminal import options


def doctor(
    json: options.JsonAlone = False,
    data: options.Data = None,
    results: options.Results = options.RESULTS,
    registry: options.Registry = None,
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
