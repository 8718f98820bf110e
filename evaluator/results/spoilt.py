"""Results on bins of spoilt images, told from those on the bins that these were made of."""

from __future__ import annotations

from collections.abc import Sequence

from evaluator.results.stored import Stored


def split_spoilt(results: Sequence[Stored]) -> tuple[list[Stored], list[Stored]]:
    """Those that are ranked, and those on bins made of a bin that others of them are on.

    A ranking that took them in would count one bin's pairs forty times. Where nothing is known of
    the bin that one was made of, it is a bin like others.
    """
    bins: dict[str, str | None] = {}
    for each in results:
        of, derived = each.result.bin.sha256, each.result.bin.derived
        # A strength too low for tiny images leaves the very bin.
        bins[of] = derived["sha256"] if derived and derived["sha256"] != of else bins.get(of)
    # Not one that is itself made of another: then somebody has to be left.
    made = {of for of, source in bins.items() if source in bins and bins[source] is None}
    return (
        [each for each in results if each.result.bin.sha256 not in made],
        [each for each in results if each.result.bin.sha256 in made],
    )
