"""`zoo pull`: an entry's weights, downloaded and checked."""

from __future__ import annotations

from typing import Annotated

import typer

from zoo.terminal import options
from zoo.terminal.words import note


def pull(
    name: Annotated[str, typer.Argument(metavar="ENTRY", help="An entry with a url.")],
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="How long a silent server is borne.")
    ] = 30.0,
    registry: options.Registry = None,
) -> None:
    """Download an entry's weights to where the entry has its file, checked against its SHA-256.

    zoo pull r100_glint360k
    """
    from evaluator.errors import InputError
    from zoo.entries.download import download
    from zoo.entries.registry import entry_named, read_registry, registry_path

    path = registry_path(registry)
    entry = entry_named(name, read_registry(path))
    if entry.url is None:
        raise InputError(f"entry {name!r} states no url; its source: {entry.source}")
    found = download(entry.url, entry.file, entry.sha256, timeout=timeout)
    print(entry.file)
    if entry.sha256 is None:
        note(
            f"its SHA-256 was not known; to hold later downloads against it, add to entry "
            f"{name!r} of {path}:"
        )
        note(f"    sha256: {found}")
