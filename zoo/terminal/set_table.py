"""What an evaluation of template sets shows: 1:1 and 1:N, a block a set, a row a model."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evaluator.metrics.all_figures import search_figures
from evaluator.metrics.figures.tar_at_far import FARS, far_key
from evaluator.metrics.text import cosine, percent
from evaluator.results.names import labels, labels_of, model_key
from evaluator.results.record import Result
from zoo.terminal.table import headed_table, print_fitting, spaceless
from zoo.terminal.words import rich_terminal

if TYPE_CHECKING:
    from rich.console import Console

Block = Mapping[str, Any]

_RANKS = ("1", "5", "10", "20")
_FPIRS = ("0.1", "0.01")
# What is left of 80 columns by six FARs, or by galleries, ranks and FPIRs.
_NAME_WIDTH = 13


def print_sets(results: Sequence[Result], *, intervals: bool = False, sizes: bool = False) -> None:
    """Prints results on template sets on stdout: tables on a terminal, plain columns in a pipe.
    ``intervals`` shows those of 95 %, too, and ``sizes`` what is known of smaller galleries.
    """
    from rich.markup import escape

    console = rich_terminal()
    if console is None:
        sys.stdout.write(plain_sets(results, intervals=intervals, sizes=sizes))
        return
    sets = labels([(each.bin.sha256, each.bin.name) for each in results])
    for own in _by_set(results):
        record = own[0].bin
        console.print(f"[bold]{escape(sets[record.sha256])}[/bold]", highlight=False)
        console.print(_holds(own[0]), style="dim", highlight=False, markup=False)
        usable = [each for each in own if each.figures is not None]
        names = labels_of(own)
        if record.pairs and usable:
            _print_pairs(usable, names, console, intervals=intervals)
        if record.galleries and usable:
            _print_searches(usable, names, console, intervals=intervals)
        if sizes:
            _print_sizes(usable, names, console)
        for each in own:
            for line in _remarks(each, names[model_key(each)]):
                console.print(line, style="yellow", highlight=False, markup=False)


def _by_set(results: Sequence[Result]) -> list[list[Result]]:
    found: dict[str, list[Result]] = {}
    for each in results:
        found.setdefault(f"{each.bin.sha256} {each.bin.name}", []).append(each)
    return list(found.values())


def _holds(result: Result) -> str:
    """What a set holds, and how its templates were made."""
    record, settings = result.bin, result.settings
    scores = {None: "none stated", "yes": "yes", "no": "no"}[settings.detector_score]
    return (
        f"{record.templates:,} templates of {record.images:,} images; people named: "
        f"{record.people:,}\nnorm {settings.norm}, detector scores {scores}, flip {settings.flip}"
    )


def _remarks(result: Result, name: str) -> list[str]:
    """What was left out of a result, or missed."""
    lost = result.non_finite
    if result.figures is None:
        return [f"{name}: not scored, {int(lost['count']):,} images of no use"]
    how = "missed" if "missed_pairs" in lost else "dropped"
    counts = {
        "images": int(lost["count"]),
        "pairs": int(lost[f"{how}_pairs"]),
        "probes": int(lost.get(f"{how}_probes", 0)),
    }
    said = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    return [f"{name}: {how} {said}"] if said else []


_KEYS = {far_key(far): f"{far:.0e}".replace("e-0", "e-") for far in FARS}


def _print_pairs(
    results: Sequence[Result], names: Mapping[str, str], console: Console, *, intervals: bool
) -> None:
    from rich.markup import escape

    console.print(f"\n1:1, {results[0].bin.pairs:,} pairs", highlight=False)
    table = headed_table()
    table.add_column("TAR %\nat FAR", max_width=_NAME_WIDTH, overflow="fold")
    for far in _KEYS.values():
        table.add_column(f"\n{far}", justify="right", no_wrap=True)
    for each in results:
        figures = each.figures or {}
        exact = [_exact_cell(figures["tar_at_far"][key], intervals=intervals) for key in _KEYS]
        ends = "\n[dim]95 %[/dim]" if intervals else ""
        table.add_row(f"[bold]{escape(names[model_key(each)])}[/bold]")
        table.add_row(f"exact\n[dim]cosine\nFAR[/dim]{ends}", *exact)
        nearest = figures.get("tar_nearest_far")
        if nearest is not None:
            at = [nearest[key] for key in _KEYS]
            cells = [f"{percent(found['tar'])}\n{_rate(found['far'])}" for found in at]
            table.add_row("nearest\nFAR", *cells, style="dim")
    print_fitting(table, console)
    console.print(
        "TAR at the largest FAR not above; nearest: as in published rows, maybe above",
        style="dim",
        highlight=False,
    )


def _exact_cell(found: Block | None, *, intervals: bool) -> str:
    if found is None:
        return "-"
    lines = [percent(found["tar"]), f"[dim]{cosine(found['threshold'])}[/dim]"]
    lines.append(f"[dim]{_rate(found['far'])}[/dim]")
    return "\n".join([*lines, *_ends(found.get("tar_ci95"), shown=intervals)])


def _ends(ends: Sequence[float] | None, *, shown: bool) -> list[str]:
    if not shown:
        return []
    if ends is None:
        return ["[dim]-[/dim]"]
    # Two lines: six intervals side by side do not fit into 80 columns.
    return [f"[not bold dim]{percent(end)}[/]" for end in ends]


def _rate(value: float) -> str:
    return f"{value:.2e}".replace("e-0", "e-") if 0 < value < 0.01 else f"{value:.4f}"


def _print_searches(
    results: Sequence[Result], names: Mapping[str, str], console: Console, *, intervals: bool
) -> None:
    from rich.markup import escape

    console.print(f"\n1:N, {results[0].bin.probes:,} probes", highlight=False)
    table = headed_table()
    table.add_column("gallery\ntemplates", max_width=_NAME_WIDTH, overflow="fold")
    for rank in _RANKS:
        table.add_column(f"rank\n{rank}", justify="right", no_wrap=True)
    for fpir in _FPIRS:
        table.add_column(f"TPIR %\nFPIR {fpir}", justify="right", no_wrap=True)
    for each in results:
        identified = (each.figures or {})["identification"]
        table.add_row(f"[bold]{escape(names[model_key(each)])}[/bold]")
        for gallery in identified["galleries"]:
            size = f"{gallery['size']:,}"
            place = f"{escape(gallery['name'])}\n[dim]{size}[/dim]" if gallery["name"] else size
            table.add_row(place, *_search_cells(gallery, intervals=intervals))
        if len(identified["galleries"]) > 1:
            cells = _search_cells(identified, intervals=intervals)
            table.add_row("all\n[dim]mean[/dim]", *cells, style="bold")
    print_fitting(table, console)
    console.print(
        "TPIR: found first and above the threshold; below it FPIR reached and threshold",
        style="dim",
        highlight=False,
    )


def _print_sizes(results: Sequence[Result], names: Mapping[str, str], console: Console) -> None:
    from rich.markup import escape

    table = headed_table()
    for title in ("smaller\ngalleries", "\ncosine", "\ntemplates", "\nFPIR", "TPIR\n%"):
        table.add_column(title, justify="left" if "galleries" in title else "right")
    for each in results:
        rows = _size_rows(each)
        for i, (gallery, *cells) in enumerate(rows):
            name = f"[bold]{escape(names[model_key(each)])}[/bold] {escape(gallery)}"
            first = i == 0 or rows[i - 1][0] != gallery
            table.add_row(name if first else "", cells[0] if first else "", *cells[1:])
    if table.row_count:
        console.print()
        print_fitting(table, console)
        console.print(
            "the mean of all smaller galleries, at a cosine of the whole one",
            style="dim",
            highlight=False,
        )


def _size_rows(result: Result) -> list[list[str]]:
    """Gallery, threshold, size, FPIR and TPIR of each size that a result states."""
    return [
        [
            gallery["name"],
            cosine(gallery["threshold"]),
            str(each["size"]),
            "-" if each["fpir"] is None else _rate(each["fpir"]),
            percent(each["tpir"]),
        ]
        for gallery in (result.figures or {}).get("gallery_sizes", [])
        for each in gallery["sizes"]
    ]


def _search_cells(block: Block, *, intervals: bool) -> list[str]:
    cells = []
    for rank in _RANKS:
        lines = [percent(block["rank"][rank])]
        lines += _ends(block.get("rank_ci95", {}).get(rank), shown=intervals)
        cells.append("\n".join(lines))
    for fpir in _FPIRS:
        found = block["tpir_at_fpir"][fpir]
        if found is None:
            cells.append("-")
            continue
        lines = [percent(found["tpir"]), f"[not bold dim]{_rate(found['fpir'])}[/]"]
        if found["threshold"] is not None:
            lines.append(f"[not bold dim]{cosine(found['threshold'])}[/]")
        lines += _ends(found.get("tpir_ci95"), shown=intervals)
        cells.append("\n".join(lines))
    return cells


def plain_sets(results: Sequence[Result], *, intervals: bool, sizes: bool = False) -> str:
    """Fixed columns, for grep, awk and files: 1:1 a line a rule, 1:N a line a gallery."""
    names = labels_of(results)
    sets = labels([(each.bin.sha256, each.bin.name) for each in results])
    tars = _with_ends([f"tar@{far}" for far in _KEYS.values()], intervals)
    pairs, searches = [["model", "set", "1:1", "pairs", *tars]], [_searches_header(intervals)]
    smaller = [["model", "set", "gallery", "threshold", "size", "fpir", "tpir"]]
    notes = []
    for each in results:
        start = [names[model_key(each)], sets[each.bin.sha256]]
        notes += [f"# {start[1]}: {line}" for line in _remarks(each, start[0])]
        if each.figures is None:
            continue
        if each.bin.pairs:
            pairs += _pair_rows(each.figures, start, each.bin.pairs, intervals=intervals)
        for block in _blocks(each.figures):
            searches.append([*start, *_search_row(block, intervals=intervals)])
        if sizes:
            smaller += [[*start, row[0] or "-", *row[1:]] for row in _size_rows(each)]
    tables = [spaceless(rows) for rows in (pairs, searches, smaller) if len(rows) > 1]
    text = "\n\n".join("\n".join(lines) for lines in tables)
    return "\n".join([*([text] if text else []), *notes]) + "\n"


def _with_ends(figures: Sequence[str], intervals: bool) -> list[str]:
    return [name for each in figures for name in ([each, "95%"] if intervals else [each])]


def _pair_rows(
    figures: Block, start: Sequence[str], pairs: int, *, intervals: bool
) -> list[list[str]]:
    rows = []
    for word, key in (("exact", "tar_at_far"), ("nearest", "tar_nearest_far")):
        if (block := figures.get(key)) is None:
            continue
        row = [*start, word, str(pairs)]
        for far in _KEYS:
            row.append(percent(block[far] and block[far]["tar"]))
            row += [_bracketed((block[far] or {}).get("tar_ci95"))] if intervals else []
        rows.append(row)
    return rows


def _bracketed(ends: Sequence[float] | None) -> str:
    return "-" if ends is None else f"[{percent(ends[0])},{percent(ends[1])}]"


def _searches_header(intervals: bool) -> list[str]:
    ranks = [name for name in search_figures() if name.startswith("rank")]
    tpirs = [name for name in search_figures() if name.startswith("tpir")]
    found = ["model", "set", "gallery", "size", "mated", "non_mated", *_with_ends(ranks, intervals)]
    for name in tpirs:
        found += [*_with_ends([name], intervals), "fpir", "threshold"]
    return found


def _blocks(figures: Block) -> list[Block]:
    """Each gallery's figures, then those of all where there are several."""
    identified = figures.get("identification")
    if identified is None:
        return []
    galleries = list(identified["galleries"])
    together = {**identified, "name": "all", "size": None, "mated": None, "non_mated": None}
    return [*galleries, together] if len(galleries) > 1 else galleries


def _search_row(block: Block, *, intervals: bool) -> list[str]:
    counts = [block[key] for key in ("size", "mated", "non_mated")]
    row = [block["name"] or "-", *("-" if each is None else str(each) for each in counts)]
    for rank in _RANKS:
        row.append(percent(block["rank"][rank]))
        row += [_bracketed(block.get("rank_ci95", {}).get(rank))] if intervals else []
    for fpir in _FPIRS:
        found = block["tpir_at_fpir"][fpir] or {}
        row.append(percent(found.get("tpir")))
        row += [_bracketed(found.get("tpir_ci95"))] if intervals else []
        row += ["-" if not found else f"{found['fpir']:.6g}", cosine(found.get("threshold"))]
    return row
