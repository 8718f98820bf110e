"""`zoo pull`: entries' weights, downloaded and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from zoo.terminal import options
from zoo.terminal.words import Interrupted, error_text, note, warn

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from zoo.entries.registry import Entry


def pull(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="ENTRY", help="Entries with a url.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All entries that have a url and a SHA-256.")
    ] = False,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Take what no SHA-256 is known of, too.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="How long a silent server is borne.")
    ] = 30.0,
    registry: options.Registry = None,
) -> None:
    """Download entries' weights to where they have their files, checked against their SHA-256.

    zoo pull w600k_r50
    """
    from evaluator.errors import InputError
    from zoo.entries.registry import entry_named, read_registry, registry_path

    path = registry_path(registry)
    entries = read_registry(path)
    if everything == bool(names):
        raise InputError("give the ENTRY to pull, or several, or --all")
    if everything:
        chosen = _all_of(entries.values(), unverified=unverified)
    else:
        chosen = [entry_named(name, entries) for name in dict.fromkeys(names or ())]
    failed = 0
    for entry in chosen:
        try:
            _pull(entry, path, unverified=unverified, timeout=timeout)
        except (InputError, OSError) as error:
            failed += 1
            warn("zoo: error: " + " ".join(error_text(error).split()))
    if len(chosen) > 1:
        note(f"{len(chosen) - failed} of {len(chosen)} entries have their weights")
    raise typer.Exit(2 if failed else 0)


def _all_of(entries: Iterable[Entry], *, unverified: bool) -> list[Entry]:
    """The entries that can be pulled; those left out for want of a hash are named."""
    there = [entry for entry in entries if entry.url is not None]
    unknown = [entry.name for entry in there if not (unverified or _is_known(entry))]
    if unknown:
        note(f"no SHA-256 is known of {', '.join(unknown)}: left out; --unverified takes them")
    return [entry for entry in there if entry.name not in unknown]


def _is_known(entry: Entry) -> bool:
    return entry.sha256 is not None or entry.file.exists()


def _pull(entry: Entry, registry: Path, *, unverified: bool, timeout: float) -> None:
    """Brings an entry's file, and prints where it is. Raises InputError, or OSError."""
    from evaluator.errors import InputError
    from zoo.entries.download import Packed, download
    from zoo.entries.part import part_path

    if entry.url is None:
        raise InputError(f"entry {entry.name!r} states no url; its source: {entry.source}")
    if not (unverified or _is_known(entry)):
        raise InputError(
            f"entry {entry.name!r}: no SHA-256 is known that would tell a changed file; "
            "--unverified takes what comes, and prints its SHA-256 for the entry"
        )
    packed = None if entry.member is None else Packed(entry.member, entry.archive_sha256)
    try:
        found = download(entry.url, entry.file, entry.sha256, packed=packed, timeout=timeout)
    except KeyboardInterrupt:
        if not (part := part_path(entry.file)).is_file():
            raise
        raise Interrupted(
            f"{part} keeps the {part.stat().st_size:,} bytes that came; the same command goes on"
        ) from None
    print(entry.file, flush=True)
    if entry.sha256 is None:
        note(
            f"its SHA-256 was not known; to hold later downloads against it, add to entry "
            f"{entry.name!r} of {registry}:"
        )
        note(f"    sha256: {found}")
