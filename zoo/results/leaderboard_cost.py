"""The columns of what models cost in a leaderboard, where they were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from zoo.results.leaderboard import Leaderboard, Row


def with_costs(board: Leaderboard, folders: Sequence[Path]) -> Leaderboard:
    """The ranking with the costs that are stored of its rows in folders of results."""
    from zoo.results.costs import read_costs_of  # NumPy: errors do without

    models = [row.model for row in board.rows]
    places = [None if row.lacks else row.place for row in board.rows]
    return replace(board, costs=read_costs_of(folders, models, places, board.p_values))


def cost_headings(board: Leaderboard) -> tuple[str, ...]:
    """The headings of the columns; none where costs were not asked for."""
    return () if board.costs is None else ("parameters", "MACs", "ms/image")


def cost_cells(board: Leaderboard, row: Row | None) -> tuple[str, ...]:
    """A row's cells; of a published one, of which no cost is known, dashes."""
    if board.costs is None:
        return ()
    return ("-",) * 3 if row is None else tuple(board.costs.of(row.model).cells)


def exact_costs(board: Leaderboard, row: Row | None) -> dict[str, object]:
    """A row's costs at full precision, by their names in CSV and JSON; None for what is unknown."""
    if board.costs is None:
        return {}
    if row is None:
        return dict.fromkeys(("parameters", "macs", "image_seconds", "unbeaten"))
    return board.costs.of(row.model).to_dict()
