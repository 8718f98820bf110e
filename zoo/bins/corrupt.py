"""Bins of spoilt images: each corruption at each strength of a bin, with the recipe beside it."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from evaluator.bins.pairs_file import sidecar_path, write_sidecar
from evaluator.bins.recipe import Recipe, Source, recipe_path, write_recipe
from evaluator.bins.verification_set import distinct_images, read_bin, write_bin
from evaluator.errors import InputError
from evaluator.files import file_sha256
from evaluator.images.decode import DecodeError, decode_image
from evaluator.images.png import png_bytes
from training.data.convert.convert import in_order
from zoo.bins.build import check_new, named_pairs
from zoo.bins.corruptions import CORRUPTIONS


def corrupt_bin(
    source: Path,
    out: Path,
    *,
    kinds: Sequence[str],
    strengths: Sequence[int],
    seed: int = 0,
    force: bool = False,
    progress: Callable[[int], None] | None = None,
) -> list[Path]:
    """Writes ``NAME-KIND-STRENGTH.bin`` into ``out`` for each kind and strength, in that order.

    Labels and order are the source's; its pairs file goes along. Images are PNGs, but where JPEG is
    the corruption. What is drawn for an image follows from its bytes, the kind and the seed: equal
    images stay equal, strengths share their draw, and the same call gives the same bytes.

    Raises InputError for an output in the way, a source that is itself corrupted, and an image that
    does not decode; OSError.
    """
    found = read_bin(source)
    if found.derived is not None:
        raise InputError(
            f"{source}: is itself made of {found.derived.source.name} by"
            f" {found.derived.corruption}; corrupt that one"
        )
    targets = {
        (kind, strength): out / f"{source.stem}-{kind}-{strength}.bin"
        for kind in kinds
        for strength in strengths
    }
    for path in targets.values():
        check_new(path, force=force)
    pairs = named_pairs(source, found.genuine)
    distinct, slots = distinct_images(found.images)
    decoded = list(in_order(lambda each: _pixels(source, *each), list(enumerate(distinct))))
    keys = [int.from_bytes(hashlib.sha256(image).digest()[:8], "big") for image in distinct]
    versions = {name: importlib.metadata.version(name) for name in ("numpy", "pillow", "scipy")}
    out.mkdir(parents=True, exist_ok=True)
    for (kind, strength), path in targets.items():
        corruption = CORRUPTIONS[kind]
        level = corruption.levels[strength - 1]
        number = list(CORRUPTIONS).index(kind)

        def spoilt(
            place: int, number: int = number, kind: str = kind, level: float = level
        ) -> bytes:
            draw = np.random.default_rng([seed, number, keys[place]])
            made = CORRUPTIONS[kind].spoil(decoded[place], level, draw)
            return made if isinstance(made, bytes) else png_bytes(made)

        images = list(in_order(spoilt, range(len(distinct)), progress))
        recipe_path(path).unlink(missing_ok=True)  # of a file that was there
        write_bin(path, [images[slot] for slot in slots.tolist()], found.genuine)
        if pairs:
            write_sidecar(sidecar_path(path), pairs)
        recipe = Recipe(
            Source(found.name, found.sha256), kind, strength, corruption.parameter, level, seed,
            file_sha256(path), versions,
        )  # fmt: skip
        write_recipe(path, recipe)
    return list(targets.values())


def _pixels(source: Path, number: int, image: bytes) -> np.ndarray:
    try:
        return decode_image(image)
    except DecodeError as error:
        raise InputError(
            f"{source}: an image (the {number + 1}. distinct one) {error}; `zoo bins convert"
            " --drop-bad` leaves its pairs out"
        ) from None
