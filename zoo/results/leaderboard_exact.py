"""A leaderboard at full precision: CSV and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from evaluator.statistics.pair_tests import SIGNIFICANCE
from zoo.results.costs import exact_costs
from zoo.results.leaderboard import Column, Leaderboard, Row
from zoo.terminal.blocks import csv_rows
from zoo.terminal.escaped import no_formula

_SETTINGS = ("flip", "decoder", "precision", "range", "channels", "engine")


def csv_leaderboard(board: Leaderboard) -> str:
    """One line a row; figures as fractions at full precision, a bin's column NAME:SHA-256.

    A name that a spreadsheet would compute begins with a single quote.
    """
    ends = [(column, end) for column in board.columns for end in ("low95", "high95")]
    if not any(row.ci95 for row in board.rows):
        ends = []
    header = [
        *("rank", "kind", "model", "sha256", "format", *_SETTINGS, "protocol"),
        *("rank_worst", "dropped", "missed"),
        *(f"mean {board.figure.name}", *exact_costs(board.costs, None)),
        *(no_formula(f"{column.name}:{column.sha256}") for column in board.columns),
        *(f"{end} {column.name}:{column.sha256}" for column, end in ends),
    ]
    rows: list[list[object]] = []
    for row in board.rows:
        model = row.model
        own = [row.rank, row.kind, model.name, model.identity, model.record.format]
        own += [getattr(model.variant, key) for key in _SETTINGS]
        failed = [
            sum(row.pairs_failed(board.columns, how).values()) for how in ("dropped", "missed")
        ]
        costs = [
            " ".join(each) if isinstance(each, list) else each
            for each in exact_costs(board.costs, row.model).values()
        ]
        worst = None if row.rank is None else row.place.worst
        figures = [row.figures[column.sha256] for column in board.columns]
        known = [row.ci95.get(column.sha256, (None, None)) for column, _ in ends[::2]]
        rows.append(
            [*own, board.figure.protocol, worst, *failed, row.mean, *costs, *figures]
            + [end for both in known for end in both]
        )
    for entry in board.published:
        own = [None, "published", entry.name, None, None, *[None] * len(_SETTINGS), entry.protocol]
        further = [None, None, None, entry.mean, *exact_costs(board.costs, None).values()]
        figures = [entry.figures.get(column.sha256) for column in board.columns]
        rows.append([*own, *further, *figures, *[None] * len(ends)])
    return csv_rows(header, rows)


def json_leaderboard(board: Leaderboard) -> str:
    """Everything at full precision, with hashes, as one JSON object."""
    value = {
        "schema": 1,
        "metric": board.figure.name,
        "higher_is_better": board.figure.higher_is_better,
        "significance": SIGNIFICANCE,
        "bins": [
            {"name": each.name, "sha256": each.sha256, "pairs": each.pairs}
            for each in board.columns
        ],
        "models": board.complete,
        "rows": [
            _row_json(row, board.columns)
            | ({} if board.costs is None else {"cost": exact_costs(board.costs, row.model)})
            for row in board.rows
        ],
        "more_rows": board.more,
        "couples": _couples_json(board),
        "published": [
            {"name": row.name, "protocol": row.protocol, "mean": row.mean, "figures": row.figures}
            for row in board.published
        ],
        "invalid": [vars(each) for each in board.invalid],
        "outdated": [vars(each) for each in board.outdated],
        "unreadable": list(board.damaged),
        "notes": list(board.notes),
    }
    if board.costs is not None:
        conditions = board.costs.conditions
        value["cost_conditions"] = None if conditions is None else conditions.where
    return json.dumps(value, indent=2) + "\n"


def _row_json(row: Row, columns: Sequence[Column]) -> dict[str, Any]:
    place = row.place
    interval = [place.best, place.worst]
    return {
        "rank": row.rank,
        "rank_interval": None if row.lacks else interval,
        "label": row.model.label,
        "model": {
            "name": row.model.name,
            "sha256": row.model.identity,
            "format": row.model.record.format,
        },
        "settings": row.model.variant.json,
        "mean": row.mean,
        "figures": dict(row.figures),
        "ci95": {sha256: list(ends) for sha256, ends in row.ci95.items()},
        "dropped_pairs": row.pairs_failed(columns, "dropped"),
        "missed_pairs": row.pairs_failed(columns, "missed"),
        "lacks": dict(row.lacks),
        # What a row that lacks a bin is instead: one of those that have its bins.
        "on_its_bins": {
            "bins": list(place.bins),
            "models": place.models,
            "rank_interval": interval,
            "mean": place.mean,
        }
        if row.lacks
        else None,
    }


def _couples_json(board: Leaderboard) -> list[dict[str, Any]]:
    """Each couple of ranked and tested rows, by their index in ``rows``."""
    return [
        {
            "rows": [i, j],
            "p_holm": board.p_values[i][j],
            "separable": board.p_values[i][j] < SIGNIFICANCE,
        }
        for i, j in combinations(range(min(len(board.ranked), len(board.p_values))), 2)
    ]
