"""Results as tables: a row a model and bin, a column a figure, for pandas and without it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from evaluator.errors import InputError
from evaluator.metrics.all_figures import search_figures
from evaluator.metrics.standing import COLUMNS, column_values
from evaluator.results.choice import variant_of, variant_words
from evaluator.results.record import Result


def table(
    results: Sequence[tuple[Any, Result]], *, index: str | None = None
) -> tuple[list[str], list[list[Any]]]:
    """Columns, and a row for each result; ``index`` names the first column, of the values before
    them, which is left out without a name. The figures of searches are columns if one has some.
    """
    searches = search_figures() if any(_searched(each) for _, each in results) else {}
    columns = ["model", "bin", "pairs", *COLUMNS, *searches, "settings", "sha256"]
    rows = []
    for value, each in results:
        stored = each.figures or {}
        numbers = [*column_values(stored).values(), *(s.read(stored) for s in searches.values())]
        row = [
            each.model.name,
            each.bin.name,
            each.bin.pairs,
            *(math.nan if number is None else float(number) for number in numbers),
            variant_words(variant_of(each), each.model.format),
            each.model.identity,
        ]
        rows.append(row if index is None else [value, *row])
    return (columns if index is None else [index, *columns]), rows


def data_frame(results: Sequence[tuple[Any, Result]], *, index: str | None = None) -> Any:
    """The same as a pandas DataFrame. Raises InputError without pandas."""
    columns, rows = table(results, index=index)
    try:
        import pandas as pd
    except ImportError:
        raise InputError("data frames need pandas: pip install pandas") from None
    return pd.DataFrame(rows, columns=columns)


def _searched(result: Result) -> bool:
    return "identification" in (result.figures or {})
