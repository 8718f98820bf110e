"""Results on bins of spoilt images, told from those on the bins that these were made of."""

from __future__ import annotations

from collections.abc import Sequence

from evaluator.results.stored import Stored


def split_spoilt(results: Sequence[Stored]) -> tuple[list[Stored], list[Stored]]:
    """Those that are ranked, and those on bins made of a bin that others of them are on.

    A ranking that took them in would count one bin's pairs forty times. Where nothing is known of
    the bin that one was made of, it is a bin like others.
    """
    bins = {each.result.bin.sha256: each.result.bin.derived for each in results}
    made = {
        sha256 for sha256, derived in bins.items()
        if derived is not None and derived["sha256"] in bins
    }  # fmt: skip
    return (
        [each for each in results if each.result.bin.sha256 not in made],
        [each for each in results if each.result.bin.sha256 in made],
    )
