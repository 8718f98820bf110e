"""A result, and the folder of results: JSON for figures, HDF5 for the scores beside it.

What reads and lists results imports neither NumPy nor h5py; what touches scores does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from evaluator.errors import ResultError
from evaluator.files import (
    alone_in,
    remove_leftovers,
    remove_own,
    temporaries_of,
    write_whole,
)
from evaluator.results.check import read_result
from evaluator.results.record import Result, Scores, to_dict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ends = tuple[NDArray[np.int64], NDArray[np.int64]]


def check_writable(folder: Path) -> None:
    """Makes the folder of results if it is missing. Raises OSError if it cannot be written to."""
    import tempfile

    folder.mkdir(parents=True, exist_ok=True)
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from None


def save_result(path: Path, result: Result, scores: Scores | None) -> Result:
    """Stores a result and its scores; returns it with the name of its scores file.

    What the bin's images are, and who is on them, is stored once for all results on it
    (``bin_facts``). Each file is written under a temporary name and renamed, the JSON last. The
    scores file's name is new at every call: a reader never sees half a file, and of two writers
    one's result stands with that one's scores, never a mixture. What killed writers left in the
    folder is removed when it is an hour old. Raises OSError, which names the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = None
    if scores is not None:
        import secrets

        if scores.facts is not None:
            from evaluator.results.set_facts import keep_set_facts

            keep_set_facts(path.parent.parent, result.bin, scores.facts)
        elif scores.people is not None or scores.digests is not None:
            from evaluator.results.bin_facts import keep_facts

            keep_facts(path.parent.parent, result.bin, people=scores.people, images=scores.digests)
        # Never a name used before: another writer may be about to remove that one as outdated.
        name = f"{path.stem}.{secrets.token_hex(6)}.h5"
        write_whole(path.with_name(name), _scores_bytes(scores))
    stored = replace(result, scores=name)
    data = (json.dumps(to_dict(stored), indent=2, allow_nan=False) + "\n").encode()
    with alone_in(path.parent):
        before = _stored_scores_name(path)
        write_whole(path, data)
    if before is not None and before != name:
        remove_own(path.with_name(before), own_scores(path))
    remove_leftovers(path.parent, own_leftovers(path, name), now=path.stat().st_mtime)
    return stored


def _stored_scores_name(path: Path) -> str | None:
    """The scores that the result at a path has; None where what is there is no whole result."""
    try:
        return load_result(path).scores
    except (OSError, ResultError):
        return None


def _scores_bytes(scores: Scores) -> bytes:
    import numpy as np

    from evaluator.results.scores_file import hdf5_bytes

    if scores.facts is not None:
        from evaluator.results.set_facts import search_arrays

        return hdf5_bytes({"scores": scores.scores, **search_arrays(scores.searches)})
    arrays: dict[str, NDArray[np.generic]] = {
        "scores": scores.scores,
        "genuine": scores.genuine.astype(np.uint8),
        "images": scores.images.astype(np.int64),
    }
    if scores.folds is not None:
        arrays["folds"] = scores.folds.astype(np.uint8)
    if scores.norms is not None:
        arrays["norms"] = scores.norms.astype(np.float32)
    return hdf5_bytes(arrays)


def own_scores(path: Path) -> re.Pattern[str]:
    """What the scores files of the result stored at ``path`` are called, and no others."""
    return re.compile(re.escape(path.stem) + r"\.[0-9a-f]{12}\.h5")


def own_leftovers(path: Path, scores: str | None) -> re.Pattern[str]:
    """What the temporary files of the result stored at ``path`` are called, and its scores files
    but ``scores``, the one that it has now.
    """
    kept = "" if scores is None else f"(?!{re.escape(scores)}$)"
    json_name, stem = re.escape(path.name[:80]), re.escape(path.stem[:80])
    own = rf"{json_name}|{stem}(?:\.[0-9a-f]{{0,12}}(?:\.h?5?)?)?"
    # Those of earlier versions end in a dot and eight signs.
    temporary = rf"{temporaries_of(own)}|\.(?:{own})\.[a-z0-9_]{{8}}"
    return re.compile(f"{temporary}|{kept}{own_scores(path).pattern}")


def load_result(path: Path) -> Result:
    """The result stored at a path, measured by whatever rules (``reading_problem`` of it).

    Raises ResultError, in one line, for a file of any content that is not one; FileNotFoundError
    where there is none.
    """
    return read_result(path, own_scores(path))


def load_scores(path: Path, result: Result) -> Scores:
    """The scores beside the result stored at ``path``, with the people of its bin as they are
    known now, whenever it was measured (``bin_facts.known_people``).

    Raises ResultError, BinError for a pairs file beside the bin that is not of its pairs, OSError.
    """
    import numpy as np

    from evaluator.results.bin_facts import known_images, known_people
    from evaluator.results.scores_file import check_values, hdf5_arrays, scores_layout

    name = result.scores
    if name is None or own_scores(path).fullmatch(name) is None:
        raise ResultError(f"{path}: this result has no stored scores; evaluate it with --fresh")
    file_path = path.with_name(name)
    if result.bin.kind is not None:
        return _set_scores(path, file_path, result)
    arrays = hdf5_arrays(file_path, scores_layout(result.bin.pairs))
    check_values(
        file_path,
        arrays["scores"],
        arrays["genuine"],
        genuine=result.bin.genuine,
        missed=result.settings.nan == "miss",
    )
    genuine = arrays["genuine"].astype(np.bool_)
    people = known_people(path.parent.parent, result.bin, genuine)
    if people is None and "people" in arrays:
        people = arrays["people"].astype(np.int64)
    return Scores(
        scores=arrays["scores"].astype(np.float64),
        genuine=genuine,
        images=arrays["images"].astype(np.int64),
        people=people,
        folds=arrays["folds"].astype(np.uint8) if "folds" in arrays else None,
        digests=known_images(path.parent.parent, result.bin),
        norms=arrays["norms"].astype(np.float32) if "norms" in arrays else None,
    )


def _set_scores(path: Path, file_path: Path, result: Result) -> Scores:
    """The scores of a result on a template set, and its searches."""
    import numpy as np

    from evaluator.results.scores_file import check_values, hdf5_arrays
    from evaluator.results.set_facts import known_set, searches_in, set_layout

    arrays = hdf5_arrays(file_path, set_layout(result.bin))
    facts = known_set(path.parent.parent, result.bin)
    check_values(
        file_path,
        arrays["scores"],
        facts.genuine,
        genuine=result.bin.genuine,
        missed=result.settings.nan == "miss",
    )
    identified = (result.figures or {}).get("identification") or {}
    searches = searches_in(arrays, identified.get("galleries", []))
    if any(each.rival.max(initial=-1) >= len(facts.person) for each in searches):
        raise ResultError(f"{file_path}: damaged scores (a rival that is no template); use --fresh")
    return Scores(
        scores=arrays["scores"].astype(np.float64),
        genuine=facts.genuine,
        images=facts.templates,
        people=facts.people,
        folds=np.zeros(result.bin.pairs, np.uint8),
        facts=facts,
        searches=searches,
    )


def stored_results(folder: Path) -> Iterator[Path]:
    """The paths of all results under a folder, in name order; what is no file, or begins with a
    dot as files do that are being written, is none.
    """
    yield from sorted(path for path in folder.glob("*/[!.]*.json") if path.is_file())
