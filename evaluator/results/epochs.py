"""Which models are epochs of one run, told by the names of their files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from evaluator.errors import plain_name

# A word, a number at once behind it, and no other word of this kind.
_EPOCH = re.compile(
    r"(?<![A-Za-z])(epoch|ep|e|step|iteration|iter|checkpoint|ckpt|cp|weights|model)"
    r"[-_. ]?0*(\d{1,9})(?!\d)",
    re.IGNORECASE,
)
#: Fewer models make no curve.
FEWEST = 3


@dataclass(frozen=True)
class Epochs:
    """Models of one run: ``places`` (n,) are their indices in the order of ``numbers`` (n,), their
    epochs (or steps), ascending; ``run`` is their folder, ``word`` what is counted.
    """

    run: str
    word: str
    numbers: tuple[int, ...]
    places: tuple[int, ...]


def epochs_in(paths: Sequence[str]) -> list[Epochs]:
    """The runs of which there are `FEWEST` files or more, by the order of their first; of two files
    of one epoch the later in the list stands.

    Files are of one run where they lie in one folder and their names are equal before the epoch's
    number; what follows it (a loss, as Keras's own names have it) may differ. Behind the word
    "model" numbers are epochs only where few are left out.
    """
    found: dict[tuple[str, str, str], dict[int, int]] = {}
    for place, path in enumerate(paths):
        stem = PurePath(path).stem if path else ""
        matches = list(_EPOCH.finditer(stem))
        if len(matches) == 1:
            word, number = matches[0].groups()
            key = (str(PurePath(path).parent), stem[: matches[0].start()], word.lower())
            found.setdefault(key, {})[int(number)] = place
    return [
        Epochs(
            _run_name(folder), _word(word), tuple(sorted(own)), tuple(own[n] for n in sorted(own))
        )
        for (folder, _, word), own in found.items()
        if len(own) >= FEWEST and (word != "model" or _runs_on(sorted(own)))
    ]


def _runs_on(numbers: Sequence[int]) -> bool:
    """Whether numbers are counted, as epochs are, and no sizes: model_18, model_34 and model_50."""
    return numbers[-1] - numbers[0] < 3 * len(numbers)


def _run_name(folder: str) -> str:
    """The run's name: of the checkpoints in a run's folder that folder's."""
    path = PurePath(folder)
    return plain_name((path.parent if path.name == "checkpoints" else path).name or "run")


def _word(word: str) -> str:
    return word if word in ("step", "iteration") else "iteration" if word == "iter" else "epoch"
