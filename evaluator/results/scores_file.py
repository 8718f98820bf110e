"""HDF5 files of scores and of a bin's facts: written, and read as what a stranger may have made.

HDF5 files can name data of other files, and a kilobyte of them can declare gigabytes. So links,
types, shapes and storage are looked at before anything is read.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from evaluator.bins.containers import BAD_HDF5
from evaluator.errors import ResultError, cause_of
from evaluator.files import read_bounded
from evaluator.npz import most_inflated

# The one filter that is written; through a chain of two, a kilobyte could unfold to a gigabyte.
_GZIP = h5py.h5z.FILTER_DEFLATE

# Below, memory is not asked after.
_NO_QUESTION = 1 << 26

# Of a value 8 bytes are stored at most, which packing cannot make more than a few per cent larger.
_BYTES_A_VALUE = 9
_BYTES = 1 << 20
# What is squared and added up must not overflow; scores from elsewhere have any scale.
LARGEST_SCORE = 1e100

# Kinds of NumPy type, by name of the dataset or its end, as in `np.dtype.kind`; whole numbers where
# not said.
_KINDS = {"scores": "f", "score": "f", "norms": "f", "genuine": "biu"}


@dataclass(frozen=True)
class Layout:
    """How many values each dataset of a kind of file has, and which may be missing; ``what`` the
    file is in messages, and what to do where it is damaged, or ``gone`` where that says more.
    """

    lengths: Mapping[str, int]
    optional: Collection[str]
    what: str
    cure: str
    gone: str = ""


def hdf5_bytes(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """The file's bytes for these datasets; the same bytes for the same values."""
    buffer = io.BytesIO()
    # libver and track_times: equal scores give equal bytes.
    with h5py.File(buffer, "w", libver="v110") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values, compression="gzip", track_times=False)
    return buffer.getvalue()


def check_values(
    path: Path,
    scores: NDArray[np.generic],
    labels: NDArray[np.generic],
    *,
    genuine: int,
    missed: bool = False,
) -> None:
    """Raises ResultError unless so many pairs are genuine, as the result says, and every score can
    be computed with; with ``missed``, -inf too.
    """
    found = int(np.count_nonzero(labels))
    if found != genuine:
        raise ResultError(
            f"{path}: the scores do not belong to the result beside them: {found:,} genuine pairs, "
            f"where it has {genuine:,}; use --fresh"
        )
    beyond = np.abs(scores) > LARGEST_SCORE
    if bool((beyond & (scores != -np.inf) if missed else beyond).any()):
        raise ResultError(f"{path}: scores beyond {LARGEST_SCORE:g}; scale them, and store again")


def scores_layout(pairs: int) -> Layout:
    """The datasets of a scores file; ``people`` are in those from before facts of bins, ``folds``
    where they are not contiguous, ``norms`` where embeddings were at hand.
    """
    lengths = {"scores": pairs, "genuine": pairs, "images": 2 * pairs, "people": 2 * pairs}
    lengths |= {"folds": pairs, "norms": 2 * pairs}
    return layout_of_scores(lengths, {"people", "folds", "norms"})


def layout_of_scores(lengths: Mapping[str, int], optional: Collection[str] = ()) -> Layout:
    """The layout of a scores file with these datasets."""
    gone = "the scores of a result are gone; if it was not just measured again elsewhere, "
    return Layout(lengths, optional, "scores", "use --fresh", f"{gone}use --fresh")


def hdf5_arrays(path: Path, layout: Layout) -> dict[str, NDArray[np.generic]]:
    """The datasets of a layout in the file at a path, without optional ones that are not there.

    Raises ResultError for a file that is missing or larger than these can be, and for datasets that
    are missing, damaged, of another shape, or not wholly in the file.
    """
    try:
        # Read at once: another writer may replace the file while this one is looked at.
        data = read_bounded(path, _BYTES_A_VALUE * sum(layout.lengths.values()) + _BYTES)
    except OSError as error:
        if layout.gone and isinstance(error, FileNotFoundError):
            raise ResultError(f"{path}: {layout.gone}") from None
        raise _damaged(path, layout, str(error.strerror)) from None
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            names = [
                name
                for name in layout.lengths
                if not (name in layout.optional and name not in file)
            ]
            return {name: _values(path, file, name, layout) for name in names}
    except ResultError:
        raise
    except BAD_HDF5 as error:
        raise _damaged(path, layout, cause_of(error)) from None


def _damaged(path: Path, layout: Layout, why: str) -> ResultError:
    return ResultError(f"{path}: damaged {layout.what} ({why}); {layout.cure}")


def _values(path: Path, file: h5py.File, name: str, layout: Layout) -> NDArray[np.generic]:
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise _damaged(path, layout, f"no {name!r} of its own")
    stored = file[name]
    if not isinstance(stored, h5py.Dataset) or stored.is_virtual or stored.external:
        raise _damaged(path, layout, f"{name!r} is no array of its own")
    if stored.shape != (layout.lengths[name],):
        raise ResultError(
            f"{path}: the {layout.what} do not belong to the result: {layout.lengths[name]} values"
            f" of {name!r} expected; {layout.cure}"
        )
    if (
        stored.dtype.kind not in _KINDS.get(name.rpartition("_")[2], "iu")
        or stored.dtype.itemsize > 8
    ):
        raise _damaged(path, layout, f"{name!r} has another type")
    if not _is_stored(stored):
        held = stored.id.get_storage_size()
        raise _damaged(path, layout, f"{name!r} declares {stored.nbytes} bytes and has {held}")
    _check_memory(path, name, stored.nbytes)
    values: NDArray[np.generic] = stored[:]
    return values


def _is_stored(stored: h5py.Dataset) -> bool:
    """Whether the stored bytes can hold the values: reading would allocate them all."""
    settings = stored.id.get_create_plist()
    filters = [settings.get_filter(i)[0] for i in range(settings.get_nfilters())]
    held = stored.id.get_storage_size()
    most = most_inflated(held) if filters else held
    chunk = int(np.prod(stored.chunks or (0,))) * stored.dtype.itemsize
    right = filters in ([], [_GZIP])
    return right and stored.nbytes <= most and chunk <= max(most, stored.nbytes)


def _check_memory(path: Path, name: str, size: int) -> None:
    """Raises ResultError for values that memory does not hold, twice over for a copy of them."""
    if size < _NO_QUESTION:
        return
    from evaluator.limits import available_bytes

    available = available_bytes()
    if available is not None and 2 * size > available:
        raise ResultError(
            f"{path}: {name!r} needs {2 * size:,} bytes of memory, and {available:,} are available"
        )
