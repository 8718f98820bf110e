"""A bin of any layout into a clean one, or into a container without pickle, and back."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluator.bins.pairs_file import sidecar_path, write_sidecar
from evaluator.bins.verification_set import StoredBin, distinct_images, read_stored, write_bin
from evaluator.errors import BinError
from evaluator.images.decode import DecodeError, decode_image
from training.data.convert.convert import in_order
from zoo.bins.build import check_new, named_pairs


@dataclass(frozen=True)
class Converted:
    """What was written; ``dropped`` are pairs left out and why, ``backup`` the former file."""

    path: Path
    pairs: int
    dropped: dict[int, str]
    backup: Path | None


def convert_bin(
    source: Path,
    out: Path,
    *,
    drop_bad: bool = False,
    in_place: bool = False,
    force: bool = False,
) -> Converted:
    """Writes the bin ``source`` to ``out``: image bytes, labels and order as they are.

    Its pairs file goes along. Pairs with an image that does not decode are an error, or with
    ``drop_bad`` left out. ``out`` may be ``source`` with ``in_place`` only, and then the former
    file is kept beside it as ``.bak``.

    Raises BinError for what is no bin or asks for code, InputError for an output in the way.
    """
    stored = read_stored(source)
    same = out.exists() and out.samefile(source)
    if same and not in_place:
        raise BinError(
            f"{out}: is the input itself; name another output, or pass --in-place, which keeps the"
            " former file as a .bak beside it"
        )
    check_new(out, force=force or same)
    bad = _bad_pairs(stored)
    if bad and not drop_bad:
        pair, cause = next(iter(bad.items()))
        raise BinError(
            f"{source}: pair {pair}: {cause}; {len(bad)} of {len(stored.genuine)} pairs are like"
            " that; --drop-bad leaves them out"
        )
    kept = [pair for pair in range(len(stored.genuine)) if pair not in bad]
    if not kept:
        raise BinError(f"{source}: no pair is left: all have an image that does not decode")
    pairs = named_pairs(source, stored.genuine)
    backup = _backed_up(source) if same else None
    if same and pairs and bad:
        _backed_up(sidecar_path(source))
    images = [stored.images[2 * pair + side] for pair in kept for side in (0, 1)]
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bin(out, images, stored.genuine[np.array(kept)])
    if pairs:
        write_sidecar(sidecar_path(out), [pairs[pair] for pair in kept])
    return Converted(out, len(kept), bad, backup)


def _bad_pairs(stored: StoredBin) -> dict[int, str]:
    """Pairs with an image that is none or does not decode, and the cause."""
    distinct, slots = distinct_images(stored.images)

    def cause(image: bytes) -> str | None:
        try:
            decode_image(image)
        except DecodeError as error:
            return str(error)
        return None

    causes = list(in_order(cause, distinct))
    bad: dict[int, str] = {}
    for slot, image in enumerate(slots.tolist()):
        if (found := stored.faults.get(slot, causes[image])) is not None:
            bad.setdefault(slot // 2, f"image {slot} {found}")
    return bad


def _backed_up(path: Path) -> Path:
    """A copy of the file under the first free of .bak, .bak2, ..."""
    numbers = itertools.count(1)
    names = (path.with_name(f"{path.name}.bak{n if n > 1 else ''}") for n in numbers)
    backup = next(name for name in names if not name.exists())
    shutil.copy2(path, backup)
    return backup
