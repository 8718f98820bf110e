"""Cosines of embeddings with all others, a block at a time, and each one's hardest negatives.

Memory is a bound that the caller sets; no array of images x images is ever made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import InputError

# Rows of a block: more make the product no faster, and what follows it falls out of the cache.
_BLOCK_ROWS = 512

# Columns of a tile are looked at in groups, by their largest cosine; so many for each place asked.
_GROUPS_A_PLACE = 16

# From so many embeddings on, faiss searches cells of an inverted file and not all of them.
_FAISS_CELLS_FROM = 200_000

Floats = NDArray[np.float32]
Rows = NDArray[np.intp]
Product = Callable[[Rows, Floats], object]


@dataclass(frozen=True)
class People:
    """Which rows belong together: ``order`` lists the rows person by person, rising within one;
    those of the person of row i stand at ``start[i]`` to ``stop[i]`` of it.
    """

    order: Rows
    start: Rows
    stop: Rows

    def each(self) -> list[Rows]:
        """The rows of each person."""
        return np.split(self.order, np.unique(self.start)[1:])

    def members(self, rows: Rows) -> tuple[Rows, Rows]:
        """All rows of each row's person, as (place in ``rows``, row) pairs."""
        counts = self.stop[rows] - self.start[rows]
        places = np.repeat(np.arange(len(rows)), counts)
        within = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
        return places, self.order[np.repeat(self.start[rows], counts) + within]


def people_of(labels: NDArray[Any]) -> People:
    """The rows of each person, from one label a row."""
    _, person, counts = np.unique(labels, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return People(np.argsort(person, kind="stable"), (ends - counts)[person], ends[person])


def unit_rows(embeddings: NDArray[np.floating[Any]]) -> Floats:
    """A float32 copy with rows of length 1. No row may be zero or hold a non-finite number."""
    units = np.array(embeddings, np.float32, order="C")
    units /= np.sqrt(np.einsum("ij,ij->i", units, units))[:, None]
    return units


def cosine_blocks(units: Floats, rows: Rows, *, memory: int) -> Iterator[tuple[Rows, Floats]]:
    """(part of ``rows``, its cosines with every row) in order; at most ``memory`` bytes a block.

    The cosines are a buffer that the next block overwrites; the caller may write into it. On a GPU
    that the Keras backend sees, the products are made there.

    Raises:
        InputError: ``memory`` holds not one row of cosines.
    """
    height = min(_BLOCK_ROWS, memory // (4 * len(units)), len(rows))
    if len(rows) and height < 1:
        raise InputError(
            f"memory: one row of {len(units):,} cosines takes {4 * len(units):,} bytes; found a "
            f"bound of {memory:,}"
        )
    product = fastest_product(units)
    buffer = np.empty((max(height, 0), len(units)), np.float32)
    for at in range(0, len(rows), max(height, 1)):
        part = rows[at : at + height]
        block = buffer[: len(part)]
        product(part, block)
        yield part, block


def fastest_product(units: Floats) -> Product:
    """Writes the cosines of some rows with all rows: on a GPU if Keras's backend has one.

    On JAX the product is asked for in full float32; TensorFlow rounds to TF32 where the hardware
    has it, unless ``tf.config.experimental.enable_tensor_float_32_execution(False)`` was called.
    """
    import keras

    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        if jax.default_backend() == "gpu":
            held = jax.device_put(units)
            times = jax.jit(lambda a, all_: jax.numpy.matmul(a, all_.T, precision="highest"))
            return lambda rows, out: np.copyto(out, np.asarray(times(held[rows], held)))
    if backend == "tensorflow":
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            held = tf.constant(units)
            return lambda rows, out: np.copyto(
                out, tf.matmul(tf.gather(held, rows), held, transpose_b=True).numpy()
            )
    return lambda rows, out: np.matmul(units[rows], units.T, out=out)


def hardest_negatives(
    units: Floats,
    people: People,
    rows: Rows,
    *,
    count: int,
    memory: int,
    index: str = "exact",
) -> tuple[Rows, Floats]:
    """Each row's ``count`` most alike rows of other people: (rows, count) indices and cosines.

    The cosines fall along a row; where there are fewer negatives, -1 and -inf fill it up. Which of
    several equal cosines takes the last place is open. ``index`` is ``exact``, every product in
    tiles, or ``faiss`` (extra ``faiss``), which above 200,000 embeddings searches the nearest cells
    only and may miss some.

    Raises:
        InputError: faiss not installed.
    """
    return INDEXES[index](units, people, rows, count, memory)


def _exact(
    units: Floats, people: People, rows: Rows, count: int, memory: int
) -> tuple[Rows, Floats]:
    """Tile after tile, each looked at once: by the largest cosine of each group of columns."""
    groups = _GROUPS_A_PLACE * count
    height = min(_BLOCK_ROWS, max(1, len(rows)))
    # A tile and, beside it, the columns' embeddings are what is held.
    depth = max(1, memory // (4 * height * groups))
    depth = min(depth, -(-len(units) // groups), 64)
    width = depth * groups
    found = np.full((len(rows), count), -1, np.intp)
    cosines = np.full((len(rows), count), -np.inf, np.float32)
    buffer = np.empty((height, width), np.float32)
    for at in range(0, len(rows), height):
        part = rows[at : at + height]
        chosen = units[part]
        own_place, own_row = people.members(part)
        best, best_cosines = found[at : at + height], cosines[at : at + height]
        for left in range(0, len(units), width):
            columns = units[left : left + width]
            tile = buffer[: len(part)]
            np.matmul(chosen, columns.T, out=tile[:, : len(columns)])
            tile[:, len(columns) :] = -np.inf
            inside = (own_row >= left) & (own_row < left + width)
            tile[own_place[inside], own_row[inside] - left] = -np.inf
            _merge(tile.reshape(len(part), depth, groups), left, best, best_cosines)
    return found, cosines


def _merge(tile: Floats, left: int, best: Rows, best_cosines: Floats) -> None:
    """Puts a tile's larger cosines into the best so far; column j of group g is j * groups + g."""
    count = best.shape[1]
    largest = tile.max(axis=1)
    # The count-th largest of the groups' maxima is not above the count-th largest cosine.
    floor = np.partition(largest, -count, axis=1)[:, -count]
    floor = np.maximum(floor, best_cosines[:, -1])
    row, group = np.nonzero((largest >= floor[:, None]) & (largest > -np.inf))
    values = tile[row, :, group]
    picked, depth = np.nonzero((values >= floor[row, None]) & (values > -np.inf))
    if not len(picked):
        return
    new_rows = row[picked]
    columns = left + depth * tile.shape[2] + group[picked]
    touched = np.unique(new_rows)
    all_rows = np.concatenate([np.repeat(touched, count), new_rows])
    all_columns = np.concatenate([best[touched].ravel(), columns])
    all_values = np.concatenate([best_cosines[touched].ravel(), values[picked, depth]])
    by_row = np.lexsort((-all_values, all_rows))
    firsts = np.searchsorted(all_rows[by_row], touched)
    kept = by_row[firsts[:, None] + np.arange(count)]
    best[touched], best_cosines[touched] = all_columns[kept], all_values[kept]


def _faiss(
    units: Floats, people: People, rows: Rows, count: int, memory: int
) -> tuple[Rows, Floats]:
    try:
        import faiss
    except ImportError:
        raise InputError(
            "index faiss needs the extra of this name: pip install 'face-zoo[faiss]'"
        ) from None
    size = units.shape[1]
    flat = faiss.IndexFlatIP(size)
    # Two classes, with types where faiss is installed and without where it is not.
    searched: Any = flat
    if len(units) >= _FAISS_CELLS_FROM:
        cells = 4 * int(np.sqrt(len(units)))
        searched = faiss.IndexIVFFlat(flat, size, cells, faiss.METRIC_INNER_PRODUCT)
        searched.nprobe = max(8, cells // 64)
        searched.train(units[:: max(1, len(units) // (40 * cells))])
    searched.add(units)
    # Their own person's images are found too, and dropped: so many more are asked for.
    own = int((people.stop[rows] - people.start[rows]).max(initial=0))
    asked = min(count + own, len(units))
    found = np.full((len(rows), count), -1, np.intp)
    cosines = np.full((len(rows), count), -np.inf, np.float32)
    step = max(1, min(4096, memory // (16 * asked)))
    for at in range(0, len(rows), step):
        part = rows[at : at + step]
        values, columns = searched.search(units[part], asked)
        same = people.start[columns] == people.start[part][:, None]
        values = np.where(same | (columns < 0), -np.inf, values)
        order = np.argsort(-values, axis=1, kind="stable")[:, :count]
        values = np.take_along_axis(values, order, axis=1)
        columns = np.take_along_axis(columns, order, axis=1)
        found[at : at + step, : columns.shape[1]] = np.where(values > -np.inf, columns, -1)
        cosines[at : at + step, : values.shape[1]] = values
    return found, cosines


INDEXES: Mapping[str, Callable[..., tuple[Rows, Floats]]] = MappingProxyType(
    {"exact": _exact, "faiss": _faiss}
)
