"""Which rules a result's model was read by, and whether results of those rules still stand."""

from __future__ import annotations

#: The rules by which a model's file becomes embeddings: what of its outputs is the embedding, which
#: pixels an input takes, how rows are matched to images. One higher with each change after which
#: the same file can give other figures; a result measured by other rules is no answer any more.
#: Results from before there was the number are 0: classes could be scored as an embedding, integer
#: inputs could get pixels of 0 and 1, one row could be spread over a batch, and data beside an ONNX
#: file were not looked at.
READING = 1


def measured_by(reading: int) -> str:
    """What is said of a result that was measured by rules of another version than ``READING``."""
    if reading < READING:
        return f"measured by older rules of reading models (version {reading}; now {READING})"
    return (
        f"measured by a newer face-zoo's rules of reading models (version {reading}; this one's "
        f"are {READING})"
    )


def problem_of(reading: int) -> str:
    """The same, and what a user does about it."""
    update = "update face-zoo, or let zoo eval measure it again"
    cure = "zoo eval measures it again" if reading < READING else update
    return f"{measured_by(reading)}; {cure}"
