"""What bins have in common, and that no pair counts twice."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from evaluator.bins.pairs_file import Pair, numbered_people
from evaluator.results.overlap import Common, shared_images
from evaluator.results.record import Scores
from evaluator.statistics.differences import differences_of_decisions, mean_of

PAIRS = 400


def a_bin(first: int, *, known: bool = True, people: NDArray[np.int64] | None = None) -> Scores:
    """Pairs of photographs that are numbered from ``first`` on, each shown once."""
    digests = np.arange(first, first + 2 * PAIRS) * 97 + 5
    return Scores(
        np.zeros(PAIRS),
        np.zeros(PAIRS, bool),
        np.arange(2 * PAIRS),
        people,
        digests=digests if known else None,
    )


def named(names: list[str]) -> NDArray[np.int64] | None:
    ends = zip(names[0::2], names[1::2], strict=True)
    return numbered_people([Pair("l", "r", a == b, (a, b)) for a, b in ends])


def test_pairs_and_images_are_counted_and_numbered_alike() -> None:
    found = shared_images({"a": a_bin(0), "b": a_bin(2 * PAIRS - 10), "c": a_bin(10_000)})
    assert found.couples == (Common(("a", "b"), 5, 10, 0),)
    assert found.words == "a and b share 5 pairs"
    assert found.across is not None
    a, b, c = (np.stack(ends, axis=1).ravel() for ends in found.across)
    np.testing.assert_array_equal(a[-10:], b[:10])
    assert len(np.unique(np.concatenate([a, b, c]))) == 6 * PAIRS - 10


def test_a_swapped_pair_is_the_same_pair() -> None:
    one, other = a_bin(0), a_bin(0)
    assert other.digests is not None
    swapped = other.digests.reshape(-1, 2)[:, ::-1].ravel()
    other = Scores(other.scores, other.genuine, other.images, digests=swapped)
    assert shared_images({"a": one, "b": other}).couples[0].pairs == PAIRS


def test_nothing_is_said_of_bins_whose_images_nobody_noted() -> None:
    found = shared_images({"a": a_bin(0), "b": a_bin(0, known=False)})
    assert (found.across, found.couples, found.words) == (None, (), "")


def test_people_of_one_name_are_one_person_and_numbers_are_not() -> None:
    for names, shared in (("p{}", 2 * PAIRS), ("{}", 0)):
        people = named([names.format(i) for i in range(2 * PAIRS)])
        found = shared_images({"a": a_bin(0, people=people), "b": a_bin(9_000, people=people)})
        assert sum(each.people for each in found.couples) == shared
        assert (found.across is None) == (shared == 0)


def test_a_copy_without_a_pairs_file_shows_the_people_of_its_photographs() -> None:
    people = named([f"p{i // 4}" for i in range(2 * PAIRS)])
    found = shared_images({"a": a_bin(0, people=people), "b": a_bin(0)})
    assert found.across is not None
    for own, other in zip(*found.across, strict=True):
        np.testing.assert_array_equal(own, other)
    assert len(np.unique(np.concatenate(found.across[0]))) == PAIRS // 2


def test_a_copy_doubles_the_variance_of_a_mean_and_another_bin_does_not() -> None:
    generator = np.random.default_rng(0)
    one, other = (
        differences_of_decisions(generator.random((2, PAIRS)) < 0.9, None) for _ in range(2)
    )
    # The mean over a bin and its copy is the bin's: its variance is V, and V / 2 if independent.
    copies = shared_images({"a": a_bin(0), "b": a_bin(0)}).across
    few = PAIRS / (PAIRS - 1)  # clusters: G / (G - 1), as within a bin
    mean = mean_of([one, one], copies).variances[0, 1]
    # The sums of squares are about the means, as the mean differences are 0 for equal models.
    assert mean == pytest.approx(few * one.variances[0, 1], rel=0.02)
    apart = shared_images({"a": a_bin(0), "b": a_bin(0), "c": a_bin(9_000)}).across
    assert apart is not None
    together = mean_of([one, other], [apart[0], apart[2]]).variances[0, 1]
    assert together == mean_of([one, other]).variances[0, 1]
