"""What is known of a template set, once for all results on it, and its searches as a file has them.

In a folder of results, ``set-<SHA-256 of the set>.h5`` has the templates and labels of the 1:1
list, who is on each template, and the probes: of 15,658,489 pairs, that is said once and not for
every model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import ResultError
from evaluator.files import write_whole
from evaluator.results.record import BinRecord, SetFacts
from evaluator.results.scores_file import Layout, hdf5_arrays, hdf5_bytes, layout_of_scores
from evaluator.templates.evaluation import named_people
from evaluator.templates.searches import Searches
from evaluator.templates.template_set import TemplateSet

_FACTS = ("templates", "genuine", "person", "probes")
_ARRAYS = ("mated", "score", "rank", "rival", "rival_score")


def facts_of(held: TemplateSet) -> SetFacts:
    """The facts of a set that was read."""
    slots, genuine = np.zeros(0, np.int32), np.zeros(0, np.bool_)
    if held.pairs is not None:
        slots = np.column_stack([held.pairs.left, held.pairs.right]).ravel()
        genuine = held.pairs.genuine
    return _facts(slots, genuine, named_people(held.person), held.probes.copy())


def _facts(
    templates: NDArray[np.generic],
    genuine: NDArray[np.generic],
    person: NDArray[np.generic],
    probes: NDArray[np.generic],
) -> SetFacts:
    # Half the room of 64 bits, which a list of 15 million pairs needs; they are only compared.
    numbers = [each.astype(np.int32, copy=False) for each in (templates, person, probes)]
    labels = genuine.astype(np.bool_, copy=False)
    for each in (*numbers, labels):
        each.flags.writeable = False
    slots, people, probe = (cast(NDArray[np.int64], each) for each in numbers)
    return SetFacts(slots, labels, people, probe)


def set_facts_path(folder: Path, sha256: str) -> Path:
    """Where the facts of a set of that SHA-256 stand in a folder of results."""
    return folder / f"set-{sha256}.h5"


def keep_set_facts(folder: Path, record: BinRecord, facts: SetFacts) -> None:
    """Notes in a folder of results what all results on a set share. Raises OSError."""
    at = set_facts_path(folder, record.sha256)
    try:
        known_set(folder, record)
    except ResultError:  # not there, or damaged, which may be replaced
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {name: _small(getattr(facts, name)) for name in _FACTS}
        write_whole(at, hdf5_bytes(arrays))


def known_set(folder: Path, record: BinRecord) -> SetFacts:
    """The facts of the set that a result is on. Raises ResultError where they are not there."""
    at = set_facts_path(folder, record.sha256)
    try:
        status = at.stat()
    except OSError as error:
        raise ResultError(
            f"{at}: the facts of {record.name} are gone ({error.strerror}); use --fresh"
        ) from None
    stamp = status.st_size, status.st_mtime_ns, status.st_ino
    counts = record.pairs, record.templates or 0, record.probes or 0
    return _read(at, stamp, counts, record.genuine)


@lru_cache(maxsize=8)
def _read(
    at: Path, stamp: tuple[int, int, int], counts: tuple[int, int, int], genuine: int
) -> SetFacts:
    # The stamp is in the key: every result on the set asks, and the file is read once.
    del stamp
    pairs, templates, probes = counts
    lengths = {"templates": 2 * pairs, "genuine": pairs, "person": templates, "probes": probes}
    arrays = hdf5_arrays(at, Layout(lengths, (), "facts of a set", "remove it"))
    found = _facts(**arrays)
    for name, numbers in (("templates", found.templates), ("probes", found.probes)):
        if len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < templates:
            raise ResultError(f"{at}: {name!r} are not of its {templates:,} templates; remove it")
    if int(np.count_nonzero(found.genuine)) != genuine:
        raise ResultError(f"{at}: its labels are not those of the results on it; remove it")
    return found


# ---- Searches ------------------------------------------------------------------------------------


def search_arrays(searches: Sequence[Searches]) -> dict[str, NDArray[np.generic]]:
    """The datasets of a scores file that hold searches, one gallery after the other."""
    return {
        f"search{number}_{name}": _small(getattr(each, name))
        for number, each in enumerate(searches)
        for name in _ARRAYS
    }


def _small(values: NDArray[np.generic]) -> NDArray[np.generic]:
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    return values.astype(np.int32) if values.dtype.kind == "i" else values


def set_layout(record: BinRecord) -> Layout:
    """The datasets of the scores file of a result on a template set."""
    probes = record.probes or 0
    searched = {
        f"search{number}_{name}": probes
        for number in range(record.galleries or 0)
        for name in _ARRAYS
    }
    return layout_of_scores({"scores": record.pairs, **searched})


def searches_in(
    arrays: Mapping[str, NDArray[np.generic]], galleries: Sequence[Mapping[str, object]]
) -> tuple[Searches, ...]:
    """The searches out of a scores file's datasets, and the galleries that the figures name."""
    return tuple(
        Searches(
            gallery=str(each["name"]),
            size=int(str(each["size"])),
            mated=arrays[f"search{number}_mated"].astype(np.bool_),
            score=arrays[f"search{number}_score"].astype(np.float64),
            rank=arrays[f"search{number}_rank"].astype(np.int64),
            rival=arrays[f"search{number}_rival"].astype(np.int64),
            rival_score=arrays[f"search{number}_rival_score"].astype(np.float64),
        )
        for number, each in enumerate(galleries)
    )
