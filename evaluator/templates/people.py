"""Who the templates show, by what the lists of a set say of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import BinError
from evaluator.metrics.sharing import components
from evaluator.templates.template_set import NOBODY, TemplatePairs


def numbered_people(
    subjects: NDArray[np.int64], pairs: TemplatePairs | None, names: Sequence[str], path: Path
) -> NDArray[np.int64]:
    """Who each template shows, (templates,), numbered from 0; NOBODY for one that no list names.

    ``subjects`` (templates,) are a subject's id each, NOBODY where none is given. Genuine pairs
    tell too who is the same: templates that a chain of them joins are one person, who has the
    subject's id where one of them has it. A template that stands in impostor pairs alone is a
    person of its own. ``path`` is the file of the pairs, ``names`` the templates' as it has them.

    Raises BinError, with the line, for a pair whose label says otherwise.
    """
    count = len(subjects)
    ids, number = np.unique(subjects, return_inverse=True)
    known = np.flatnonzero(subjects != NOBODY)
    left, right = known, count + number[known]
    told = subjects != NOBODY
    if pairs is not None:
        _check_subjects(subjects, pairs, names, path)
        told[pairs.left] = told[pairs.right] = True
        left = np.concatenate([left, pairs.left[pairs.genuine]])
        right = np.concatenate([right, pairs.right[pairs.genuine]])
    group = components(left, right, count + len(ids))
    if pairs is not None:
        _check_groups(group, pairs, names, path)
    of_subject = group[count:][ids != NOBODY]
    if len(np.unique(of_subject)) < len(of_subject):
        order = np.argsort(of_subject, kind="stable")
        place = int(np.argmax(np.diff(of_subject[order]) == 0))
        one, other = ids[ids != NOBODY][order[place : place + 2]]
        raise BinError(
            f"{path}: its genuine pairs join templates of subject {one} and of subject {other};"
            " mend the labels, or the subjects in the 1:N files"
        )
    person = np.full(count, NOBODY, np.int64)
    person[told] = np.unique(group[:count][told], return_inverse=True)[1]
    return person


def _check_subjects(
    subjects: NDArray[np.int64], pairs: TemplatePairs, names: Sequence[str], path: Path
) -> None:
    """Raises BinError for a pair whose label is not what its two subjects say."""
    left, right = subjects[pairs.left], subjects[pairs.right]
    wrong = ((left == right) != pairs.genuine) & (left != NOBODY) & (right != NOBODY)
    if wrong.any():
        pair = int(np.argmax(wrong))
        raise BinError(
            f"{path}, line {pair + 1}: the label of templates {names[pairs.left[pair]]} and"
            f" {names[pairs.right[pair]]} is {int(pairs.genuine[pair])}, but their subjects in the"
            f" 1:N files are {left[pair]} and {right[pair]}; mend one of the two"
        )


def _check_groups(
    group: NDArray[np.int64], pairs: TemplatePairs, names: Sequence[str], path: Path
) -> None:
    """Raises BinError for an impostor pair of templates that genuine pairs join."""
    wrong = (group[pairs.left] == group[pairs.right]) & ~pairs.genuine
    if wrong.any():
        pair = int(np.argmax(wrong))
        raise BinError(
            f"{path}, line {pair + 1}: the label of templates {names[pairs.left[pair]]} and"
            f" {names[pairs.right[pair]]} is 0, but genuine pairs or the 1:N files join them to one"
            " person; mend one of the labels"
        )
