"""Figures computed anew from stored scores, and what of the stored ones is not what they give."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from evaluator.metrics.all_figures import scored_figures, to_json
from evaluator.metrics.figure import MAY_LACK
from evaluator.results.check import shown
from evaluator.results.record import Result, Scores, SetFacts
from evaluator.results.set_result import set_figures
from evaluator.templates.evaluation import verified
from evaluator.templates.identification import identification

# Sums may round otherwise on another processor; what a figure is about ends long before.
_ROUNDING = 1e-12
# Found by searches in smaller galleries, which take embeddings.
_OF_EMBEDDINGS = ("gallery_sizes",)


def recomputed(result: Result, scores: Scores) -> dict[str, Any]:
    """The ``figures`` of a result as its scores give them, with intervals that allow for images
    that pairs share, of template sets for people; without what takes embeddings.
    """
    if scores.facts is not None:
        return _of_set(scores, scores.facts)
    images = scores.images if result.bin.unique_images else None
    return to_json(scored_figures(scores.scores, scores.genuine, images=images, folds=scores.folds))


def _of_set(scores: Scores, facts: SetFacts) -> dict[str, Any]:
    ends = facts.templates[0::2], facts.templates[1::2]
    block, nearest = verified(scores.scores, facts.genuine, facts.person, ends)
    kept = [~np.isnan(each.score) for each in scores.searches]
    found = None
    if kept:  # the same probes in each gallery
        found = identification(
            [each.only(kept[0]) for each in scores.searches],
            facts.person[facts.probes[kept[0]]],
            facts.person,
        )
    return set_figures(block, nearest, found)


def unlike(stored: Mapping[str, Any], found: Mapping[str, Any], place: str = "") -> str:
    """The first figure that is not what scores give, as "kfold.accuracy is 0.9, where its scores
    give 0.8"; "" where all are. Intervals are none: they change with what is known of people.
    """
    for key, value in stored.items():
        if key.endswith(MAY_LACK) or key in _OF_EMBEDDINGS:
            continue
        own = found.get(key)
        if isinstance(value, Mapping) and isinstance(own, Mapping):
            said = unlike(value, own, f"{place}{key}.")
        else:
            said = "" if _same(value, own) else f"{place}{key} is {_said(value)}, where its scores"
            said += f" give {_said(own)}" if said else ""
        if said:
            return said
    return ""


def _same(value: Any, own: Any) -> bool:
    if isinstance(value, list | tuple) and isinstance(own, list | tuple):
        return len(value) == len(own) and all(map(_same, value, own))
    if isinstance(value, Mapping) and isinstance(own, Mapping):
        return not unlike(value, own)
    if isinstance(value, int | float) and isinstance(own, int | float):
        return math.isclose(value, own, rel_tol=_ROUNDING, abs_tol=_ROUNDING)
    return bool(value == own)


def _said(value: Any) -> str:
    if isinstance(value, int | float):
        return repr(value)
    return "undefined" if value is None else shown(value)
