"""What models cost, as a table, markdown, LaTeX, CSV and JSON; and its numbers as words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from evaluator.results.cost import Cost
from zoo.terminal.blocks import Block, csv_rows, plain_blocks, print_as
from zoo.terminal.table import headed_table, print_fitting
from zoo.terminal.words import rich_terminal

_NAME_WIDTH = 24
_HEADINGS = (
    "model", "input", "parameters", "MACs", "file", "batch", "ms/image", "quartiles", "images/s",
    "memory",
)  # fmt: skip


def amount(value: int | None) -> str:
    """A count in three digits, as "271 M"; "-" for None."""
    return "-" if value is None else _scaled(value, ("", " k", " M", " G", " T", " P"))


def size(value: int | None) -> str:
    """Bytes in three digits, as "22.5 MB" of a million; "-" for None."""
    return "-" if value is None else _scaled(value, (" B", " kB", " MB", " GB", " TB", " PB"))


def milliseconds(seconds: float) -> str:
    """Milliseconds in three digits."""
    return digits3(1e3 * seconds)


def digits3(value: float) -> str:
    """A number in three digits, or more where they stand before the point."""
    return f"{value:.0f}" if value >= 99.95 else f"{value:#.3g}"


def _scaled(value: int, units: Sequence[str]) -> str:
    scaled, step = float(value), 0
    while scaled >= 999.5 and step < len(units) - 1:
        scaled, step = scaled / 1000, step + 1
    return f"{digits3(scaled) if step else value}{units[step]}"


def print_costs(costs: Sequence[Cost], form: str) -> None:
    """Prints costs on stdout by --format: a Rich table on a terminal, plain columns in a pipe."""
    if form != "table":
        print_as(form, costs, blocks_of, csv=csv_costs, json=json_costs)
        return
    console = rich_terminal()
    if console is None:
        print(_plain(*blocks_of(costs)), end="")
        return
    from rich.markup import escape

    table = headed_table()
    table.add_column("model", overflow="fold", max_width=_NAME_WIDTH)
    for name in ("parameters", "MACs", "batch", "ms/image", "images/s", "memory"):
        table.add_column(name, justify="right", no_wrap=True)
    shown = None
    for cost in costs:
        name, given, parameters, macs, file, batch, ms, quartiles, rate, memory = _cells(cost)
        again = shown == (cost.name, cost.sha256)
        own = ["", "", ""] if again else [f"{escape(name)}\n{given}, {file}", parameters, macs]
        shown = cost.name, cost.sha256
        table.add_row(*own, batch, f"{ms}\n{quartiles}", rate, memory)
    print_fitting(table, console)
    for line in captions(costs):
        console.print(line, style="dim", highlight=False, markup=False)


def blocks_of(costs: Sequence[Cost]) -> list[Block]:
    """A table under its conditions, as other commands write theirs."""
    conditions, *notes = captions(costs)
    rows = tuple(tuple(_cells(cost)) for cost in costs)
    return [Block(conditions, _HEADINGS, rows, tuple(notes), words=2)]


def _plain(block: Block) -> str:
    """Columns for grep and awk: a number and its unit are one word."""
    short = [tuple(cell.replace(" ", "") for cell in row) for row in block.rows]
    return plain_blocks([replace(block, rows=tuple(short))])


def _cells(cost: Cost) -> list[str]:
    low, high = (milliseconds(each / cost.batch) for each in (cost.low, cost.high))
    return [
        cost.name,
        f"{cost.size[0]}x{cost.size[1]}",
        amount(cost.parameters),
        amount(cost.macs),
        size(cost.file_bytes),
        f"{cost.batch:,}",
        milliseconds(cost.image_seconds),
        f"{low}-{high}",
        digits3(cost.images_per_second),
        size(cost.peak_bytes),
    ]


def captions(costs: Sequence[Cost]) -> list[str]:
    """Under which conditions costs hold, and what the columns are; a line each."""
    lines = [f"{where_words(c)}, engine {c.engine}, {c.precision}, {c.runtime}" for c in costs]
    lines = list(dict.fromkeys(lines))
    loads = [cost.load for cost in costs if cost.load is not None]
    said = f"; load average {min(loads):.3g} to {max(loads):.3g} meanwhile" if loads else ""
    lines.append(
        f"ms/image: the median of up to {max(c.repeats for c in costs)} batches, and their "
        f"quartiles{said}. MACs: of an image; FLOPs are twice as many. Memory: the most that the "
        "process had, its libraries included."
    )
    lines += dict.fromkeys(f"note: {cost.name}: {why}" for cost in costs for why in cost.reasons)
    return lines


def where_words(cost: Cost) -> str:
    """As "8 threads on cpu (AMD EPYC 9R14, 8 processors, Linux)"."""
    threads = f"{cost.threads:,} thread{'s' if cost.threads != 1 else ''}"
    return f"{threads} on {cost.device} ({cost.machine})"


def csv_costs(costs: Sequence[Cost]) -> str:
    """One line a model and size of batch, at full precision, with all conditions."""
    rows = []
    for cost in costs:
        own = {"size": f"{cost.size[0]}x{cost.size[1]}", "reasons": "; ".join(cost.reasons)}
        rows.append([*{**cost.to_dict(), **own}.values()])
    return csv_rows([*costs[0].to_dict()], rows)


def json_costs(costs: Sequence[Cost]) -> str:
    """Everything at full precision, as one JSON object."""
    return json.dumps({"schema": 1, "costs": [cost.to_dict() for cost in costs]}, indent=2) + "\n"
