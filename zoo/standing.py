"""Who ranks where among stored results, remembered: asking again needs neither NumPy nor scores.

A ranking is remembered in the folder of results under a key of everything that decides it: the
figure, the models' means in their order, the bytes of every scores file, and the source of the
modules that rank. So a result that is changed, added, removed or measured again has another key,
and so has another version of the program.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluator.bounded_file import open_regular, read_bounded

if TYPE_CHECKING:
    from zoo.figure_choice import Figure
    from zoo.stored import Stored

#: The file in the folder of results; nothing else that reads the folder looks at files there.
NAME = ".standings.json"
_VERSION = 1
# The newest are kept: a few figures, a few choices of bins. Larger tables are ranked anew.
_KEPT = 16
_MOST_MODELS = 64
_MOST_BYTES = 8_000_000

# The modules whose source decides a ranking: all of ours that zoo.ranking imports.
_PACKAGES = Path(__file__).parents[1]
SOURCES = (
    "evaluator/__init__.py",
    "evaluator/bounded_file.py",
    "evaluator/containers.py",
    "evaluator/digests.py",
    "evaluator/errors.py",
    "evaluator/figure_text.py",
    "evaluator/leftovers.py",
    "evaluator/metrics.py",
    "evaluator/npz.py",
    "evaluator/protocols.py",
    "evaluator/reading_rules.py",
    "evaluator/resampling.py",
    "evaluator/result_check.py",
    "evaluator/results.py",
    "evaluator/scores_file.py",
    "evaluator/significance.py",
    "evaluator/statistics.py",
    "evaluator/student_t.py",
    "evaluator/threshold_luck.py",
    "evaluator/whole_file.py",
    "zoo/__init__.py",
    "zoo/figure_choice.py",
    "zoo/ranking.py",
    "zoo/separability.py",
    "zoo/standing.py",
    "zoo/stored.py",
)


@dataclass(frozen=True)
class Ranking:
    """Ranks, and Holm's p-values (models, models); ``notes`` name models that were not tested."""

    ranks: tuple[int, ...]
    p_values: tuple[tuple[float, ...], ...]
    notes: tuple[str, ...]


Models = Sequence[tuple[str, Sequence["Stored"]]]


def standing(folder: Path, means: Sequence[float], models: Models, figure: Figure) -> Ranking:
    """The ranking that `zoo.ranking.rank_means` gives, remembered in ``folder``.

    A file of another version, damaged or unreadable is ignored and written anew; where it cannot be
    written, nothing is remembered.
    """
    key = _key(means, models, figure) if 1 < len(means) <= _MOST_MODELS else None
    remembered = {} if key is None else _remembered(folder / NAME)
    found = None if key is None else _ranking(remembered.get(key), len(means))
    if found is not None:
        return found
    from zoo.ranking import rank_means

    ranking = rank_means(means, models, figure)
    # Scores that changed while they were ranked are not those of the key; and a model whose scores
    # could not be read may be mended without a change of any result.
    if key is not None and not ranking.notes and key == _key(means, models, figure):
        value = {"ranks": ranking.ranks, "p_values": ranking.p_values}
        _remember(folder / NAME, {**remembered, key: value})
    return ranking


def _key(means: Sequence[float], models: Models, figure: Figure) -> str | None:
    """SHA-256 of all that decides the ranking; None where scores or sources cannot be read."""
    try:
        sources = [_sha256(_PACKAGES / name) for name in SOURCES]
        scores = [
            [
                (
                    stored.result.bin.pairs,
                    _sha256_of_scores(stored),
                )
                for stored in results
            ]
            for _, results in models
        ]
    except (OSError, ValueError):  # a name that no file can have
        return None
    decides = [_VERSION, sources, figure.name, [float(mean).hex() for mean in means], scores]
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()


def _sha256_of_scores(stored: Stored) -> str:
    """SHA-256 of the scores of a result. OSError for what is no such file, or far too large."""
    from evaluator.results import scores_limit

    path = stored.path.with_name(stored.result.scores or "")
    if path.stat().st_size > scores_limit(stored.result):
        raise OSError(f"{path}: larger than scores can be")
    return _sha256(path)


def _sha256(path: Path) -> str:
    with os.fdopen(open_regular(path), "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _remembered(path: Path) -> dict[str, Any]:
    """Key -> what is remembered; nothing from a file that is not whole or not of this version."""
    try:
        stored = json.loads(read_bounded(path, _MOST_BYTES))
        if not isinstance(stored, dict) or stored.get("version") != _VERSION:
            return {}
        standings = stored.get("standings")
        whole = isinstance(standings, dict) and stored.get("sha256") == _digest(standings)
    except (OSError, ValueError, RecursionError):
        return {}
    return dict(standings) if whole and isinstance(standings, dict) else {}


def _ranking(value: object, models: int) -> Ranking | None:
    """The ranking of so many models that is remembered; None for anything else."""
    if not isinstance(value, dict):
        return None
    ranks, p_values = value.get("ranks"), value.get("p_values")
    if not isinstance(ranks, list) or not isinstance(p_values, list):
        return None
    whole = _are(ranks, int, (1, models), models) and len(p_values) == models
    if not whole or not all(_are(row, float, (0, 1), models) for row in p_values):
        return None
    return Ranking(tuple(ranks), tuple(map(tuple, p_values)), ())


def _are(values: Any, kind: type[int | float], limits: tuple[int, int], count: int) -> bool:
    """Whether values are a list of so many of that type, each within the limits."""
    low, high = limits
    return (
        isinstance(values, list)
        and len(values) == count
        and all(type(each) is kind and low <= each <= high for each in values)
    )


def _remember(path: Path, standings: Mapping[str, Any]) -> None:
    import re

    from evaluator.leftovers import remove_leftovers
    from evaluator.results import write_atomically

    newest = dict(list(standings.items())[-_KEPT:])
    try:
        # As it will be read: JSON knows no tuples.
        newest = json.loads(json.dumps(newest))
        value = {"version": _VERSION, "sha256": _digest(newest), "standings": newest}
        write_atomically(path, json.dumps(value).encode())
        written = path.stat().st_mtime
    except (OSError, RecursionError, ValueError):  # what was there before may be of any content
        return
    remove_leftovers(path.parent, re.compile(rf"\.{re.escape(NAME)}\.[a-z0-9_]{{8}}"), now=written)


def _digest(standings: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(standings, sort_keys=True).encode()).hexdigest()
