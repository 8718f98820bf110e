"""What was found in training data, as a list to look through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

from evaluator.errors import plain_name
from training.data.sources.faces import FaceSet
from zoo.terminal.blocks import Block, csv_rows

# Findings of a kind that are shown; a file has all of them.
_SHOWN = 20

#: The heading of a finding's kind, in the order in which they are told; those of a bin follow.
KINDS = {
    "unreadable": "images that cannot be read",
    "same image": "one image twice in a person",
    "same image, two people": "one image in two people",
    "near-duplicate": "nearly one image twice in a person",
    "near-duplicate, two people": "nearly one image in two people",
    "mislabelled": "images that are likelier another person's",
    "same person": "people who are likely one",
}


@dataclass(frozen=True)
class Finding:
    """One thing to look at: an image, or a person where ``image`` is empty, and what it is like.

    ``image`` and ``other`` say where images lie, of a bin by slot. ``cosine`` is that of the two,
    None where pixels are equal. ``finding`` is a key of ``KINDS``, or ends with the bin's name.
    """

    finding: str
    image: str
    person: str
    other: str
    other_person: str
    cosine: float | None = None


def of_two(kind: str, faces: FaceSet, i: int, j: int, cosine: float | None = None) -> Finding:
    """A finding on two images of a set."""
    person, other = (faces.names[int(faces.labels[each])] for each in (i, j))
    return Finding(kind, faces.origin(i), person, faces.origin(j), other, cosine)


#: The first line of the file.
HEADER = ",".join(each.name for each in fields(Finding))


def findings_csv(found: Sequence[Finding]) -> str:
    """All of them, a row each."""
    return csv_rows(
        HEADER.split(","), [["" if v is None else v for v in astuple(each)] for each in found]
    )


def findings_blocks(found: Sequence[Finding]) -> list[Block]:
    """A block a kind, the first ones of each."""
    kinds = [*KINDS, *dict.fromkeys(each.finding for each in found if each.finding not in KINDS)]
    blocks = []
    for kind in kinds:
        own = [each for each in found if each.finding == kind]
        if not own:
            continue
        rows = [
            (
                _side(each.image, each.person),
                _side(each.other, each.other_person),
                "" if each.cosine is None else f"{each.cosine:.4f}",
            )
            for each in own[:_SHOWN]
        ]
        more = len(own) - len(rows)
        notes = (f"and {more:,} more: -o FILE.csv has all",) if more else ()
        title = f"{KINDS.get(kind, kind)}: {len(own):,}"
        blocks.append(Block(title, ("", "like", "cosine"), tuple(rows), notes, words=2))
    return blocks


def _side(image: str, person: str) -> str:
    """An image by its last part, which follows its person where it does not say it."""
    parts = image.replace("\\", "/").rsplit("/", 2)
    if not image or len(parts) < 2:
        return plain_name(" ".join(part for part in (person, image) if part))
    return plain_name("/".join(parts[-2:]) if parts[-2] == person else f"{person}: {parts[-1]}")
