"""The bins that published figures are of, and what is known of a bin here beside them.

Nobody publishes the SHA-256 of these bins. What tells them from others of their names is how many
pairs they have, where a file was fetched from, and what an entry states of its own figures.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from evaluator.errors import InputError, cause_of
from evaluator.files import read_bounded, write_whole
from evaluator.results.record import BinRecord
from zoo.entries.registry import Entry, Published


@dataclass(frozen=True)
class PublicBin:
    """A bin of insightface's training sets: its pairs, half of them genuine, and where a copy is to
    be had.
    """

    pairs: int
    url: str | None = None


PUBLIC = {
    "lfw": PublicBin(
        6_000, "https://github.com/leondgarse/Keras_insightface/releases/download/v1.0.0/lfw.bin"
    ),
    "cfp_fp": PublicBin(7_000),
    "agedb_30": PublicBin(6_000),
    "calfw": PublicBin(6_000),
    "cplfw": PublicBin(6_000),
}
#: Other bins, whose bytes were hashed here: they score differently.
OTHERS = {
    "1ca73282b165bae35fe85d1c1009bfff3a931969b591e36390de4ef7cbf4c6be": (
        "insightface's test data small_lfw.bin"
    ),
    "075744cfaf3f649e676544015a2852916c2cadf8c5897df358d91209e7b1e124": (
        "lfw_devtest.bin: LFW's pairsDevTest.txt, funneled, MTCNN, dlib's template"
    ),
}
#: What another bin of the same pairs can move, measured: docs/bins.md.
MOVES = (
    "other photographs (LFW's funneled ones) or another alignment moved LFW by 0.2 to 1.3 points "
    "on three real networks"
)
#: How the origin of a bin begins that `zoo bins fetch` made itself.
MADE_HERE = "made here:"
_ORIGIN_BYTES = 10_000


@dataclass(frozen=True)
class Likeness:
    """Whether a bin is the one that a published figure is of, None where nobody can tell; ``why``
    in words.
    """

    same: bool | None
    why: str


#: Nothing is said of a bin.
UNTOLD = Likeness(None, "")


def likeness(name: str, row: Published, images: str | None, record: BinRecord) -> Likeness:
    """What the bin of a result is beside the one of that name that a figure was published on.

    ``images`` is what the entry says of the images of its figures, None for the public bins'.
    """
    if row.sha256 is not None:
        same = row.sha256 == record.sha256
        return Likeness(same, "" if same else f"the published one has SHA-256 {row.sha256[:8]}")
    if record.derived is not None:
        return Likeness(False, f"spoilt images of {record.derived['name']}")
    public = PUBLIC.get(name)
    if public is not None and (record.pairs, record.genuine) != (public.pairs, public.pairs // 2):
        found = f"{record.pairs:,} pairs, {record.genuine:,} genuine"
        return Likeness(False, f"{found}; the published one has {public.pairs:,}, half genuine")
    if record.sha256 in OTHERS:
        return Likeness(False, OTHERS[record.sha256])
    if images is not None:
        return Likeness(False, f"the published figure is on other images: {images}")
    origin = origin_of(Path(record.path), record.sha256)
    if public is not None and public.url is not None and origin == public.url:
        return Likeness(True, f"fetched from {origin}")
    if origin is not None and origin.startswith(MADE_HERE):
        return Likeness(False, origin)
    return Likeness(None, "nobody stated the SHA-256 of the published one")


def other_bins(entry: Entry, records: Iterable[BinRecord]) -> list[str]:
    """The names of those bins that cannot be the ones that an entry's figures are of."""
    rows, images = entry.published, entry.published_images
    return [
        each.name
        for each in records
        if each.name in rows and likeness(each.name, rows[each.name], images, each).same is False
    ]


# ---- Where a bin came from -----------------------------------------------------------------------


def origin_path(bin_path: Path) -> Path:
    """The file that says where a bin came from: of the form that ``sha256sum -c`` reads."""
    return bin_path.with_name(f"{bin_path.name}.sha256")


def keep_origin(bin_path: Path, sha256: str, origin: str) -> None:
    """Notes beside a bin where it came from. Raises OSError."""
    write_whole(origin_path(bin_path), f"# {origin}\n{sha256}  {bin_path.name}\n")


def pinned(bin_path: Path, origin: str) -> str | None:
    """The SHA-256 of what came from there the first time, whether it is still there or not.

    Raises InputError for a note that is damaged, OSError.
    """
    path = origin_path(bin_path)
    try:
        lines = read_bounded(path, _ORIGIN_BYTES).decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return None
    if not lines or lines[0] != f"# {origin}":
        return None
    digest = lines[1].partition(" ")[0] if len(lines) > 1 else ""
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise InputError(
            f"{path}: expected a SHA-256 in its second line, found {cause_of(digest)[:80]!r}; "
            "remove it"
        )
    return digest


def origin_of(bin_path: Path, sha256: str) -> str | None:
    """Where the bin of that hash came from, as is noted beside it; None where nothing is."""
    try:
        data = read_bounded(origin_path(bin_path), _ORIGIN_BYTES)
    except (OSError, ValueError):  # no path that a file can have, too
        return None
    first, _, rest = data.decode("utf-8", "replace").partition("\n")
    known = first.startswith("# ") and rest.partition(" ")[0] == sha256
    return cause_of(first[2:]) if known else None
