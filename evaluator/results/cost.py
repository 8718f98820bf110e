"""What a model costs: parameters, MACs, size, and its times on machines, kept beside its results.

In a model's folder of results, ``costs.jsonl`` has a JSON object a line, one for each machine,
device, engine, precision, size of input, number of threads and size of batch. It is no ``.json``:
what lists results passes it over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from evaluator.errors import ResultError, cause_of
from evaluator.files import alone_in, read_bounded, write_whole
from evaluator.results.measured import model_folder

_NAME = "costs.jsonl"
# A line has some 700 bytes; this is room for some thousand machines.
_MOST_BYTES = 4 << 20


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A model's cost under stated conditions.

    ``name`` and ``sha256`` are the model's name and identity, ``size`` (height, width) its input.
    ``parameters`` and ``macs``, of one image, are None where they cannot be counted, and
    ``reasons`` say why. ``seconds`` are the median of ``repeats`` batches, ``low`` and ``high``
    their quartiles; ``load`` is the machine's load average then. ``peak_bytes`` is the most memory
    of the model's process, ``runtime`` what computed, ``measured`` when.
    """

    name: str
    sha256: str
    format: str
    size: tuple[int, int]
    parameters: int | None
    macs: int | None
    reasons: tuple[str, ...]
    file_bytes: int
    machine: str
    device: str
    engine: str
    precision: str
    threads: int
    batch: int
    repeats: int
    seconds: float
    low: float
    high: float
    least: float
    load: float | None
    peak_bytes: int | None
    runtime: str
    measured: str

    @property
    def conditions(self) -> tuple[str, str, str, str, int, int]:
        """Under which its times hold: those of two models compare where these are the same."""
        return self.machine, self.device, self.engine, self.precision, self.threads, self.batch

    @property
    def key(self) -> tuple[object, ...]:
        """What tells it from the model's other costs; the newer of two replaces the older."""
        return (*self.conditions, self.size)

    @property
    def where(self) -> dict[str, str | int]:
        """The conditions by their names, without what the model was asked to be."""
        return {
            "machine": self.machine,
            "device": self.device,
            "threads": self.threads,
            "batch": self.batch,
        }

    @property
    def image_seconds(self) -> float:
        """Seconds an image."""
        return self.seconds / self.batch

    @property
    def images_per_second(self) -> float:
        """Images a second."""
        return self.batch / self.seconds

    def to_dict(self) -> dict[str, object]:
        """Its JSON object, with what follows from it."""
        found = asdict(self)
        own = {
            "ms_per_image": 1e3 * self.image_seconds,
            "images_per_second": self.images_per_second,
        }
        return {**found, **own}


def save_costs(folder: Path, costs: Iterable[Cost]) -> Path:
    """Stores costs of one model in a folder of results, in place of those under the same
    conditions; the file. What is damaged in it goes. Raises OSError.
    """
    new = {each.key: each for each in costs}
    first = next(iter(new.values()))
    own = model_folder(folder, (first.name, first.sha256))
    own.mkdir(parents=True, exist_ok=True)
    path = own / _NAME
    with alone_in(own):
        kept = {each.key: each for each in read_costs(path)[0]}
        lines = [json.dumps(asdict(each), allow_nan=False) for each in {**kept, **new}.values()]
        write_whole(path, "\n".join(lines) + "\n")
    return path


def costs_of(folder: Path, model: tuple[str, str]) -> tuple[list[Cost], list[str]]:
    """The stored costs of a model (name, identity), and a line for each that cannot be read."""
    found, problems = read_costs(model_folder(folder, model) / _NAME)
    # The folder's name has eight digits of the identity.
    return [each for each in found if each.sha256 == model[1]], problems


def read_costs(path: Path) -> tuple[list[Cost], list[str]]:
    """The costs in a file, and a line for each that is none; a missing file has none of either."""
    try:
        data = read_bounded(path, _MOST_BYTES)
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [f"{path}: {error.strerror or error}"]
    found, problems = [], []
    for number, line in enumerate(data.splitlines(), 1):
        try:
            found.append(_decoded(line))
        except (ResultError, msgspec.MsgspecError, ValueError, RecursionError) as error:
            problems.append(f"{path}, line {number}: not a whole cost ({cause_of(error)[:80]})")
    return found, problems


def _decoded(line: bytes) -> Cost:
    cost = msgspec.json.decode(line, type=Cost)
    numbers = (cost.batch, cost.threads, cost.repeats, cost.file_bytes, *cost.size)
    counted = [each for each in (cost.parameters, cost.macs, cost.peak_bytes) if each is not None]
    times = (cost.least, cost.low, cost.seconds, cost.high)
    if min(numbers) < 1 or min(counted, default=0) < 0:
        raise ResultError("a number below what can be")
    if not 0 < times[0] <= times[1] <= times[2] <= times[3] < float("inf"):
        raise ResultError("times that cannot be")
    texts = (cost.name, cost.format, cost.machine, cost.device, cost.engine, cost.runtime)
    if not all(text.isprintable() for text in (*texts, *cost.reasons)):
        raise ResultError("a text that cannot be printed")
    return cost
