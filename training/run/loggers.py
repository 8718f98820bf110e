"""Where the rows of a run's log go besides log.csv: TensorBoard, Weights & Biases, MLflow.

Each is its own library's work, and imported when a run has it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from evaluator.files import write_whole
from training.recipes.recipe import Recipe, to_plain
from training.run.runs import COUNTS, RunError, flat

# A step and the figures of a row, by the names of log.csv.
Log = Callable[[int, Mapping[str, float]], None]

_PROJECT = "face-zoo"


def check_loggers(names: Sequence[str] | None) -> None:
    """Raises RunError for a name that is none of ``LOGGERS``, or whose library is not there."""
    for name in names or ():
        if name == "csv":
            continue
        if name not in LOGGERS:
            raise RunError(f"--log {name}: expected csv, {', '.join(LOGGERS)}")
        module, install, _ = LOGGERS[name]
        if find_spec(module) is None:
            raise RunError(f"--log {name}: {module} is not installed; pip install {install}")


@contextmanager
def opened_loggers(
    names: Sequence[str] | None, folder: Path, recipe: Recipe, say: Callable[[str], None]
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """What takes each row of the log for the block. ``names`` None is TensorBoard where its writer
    is installed, else a line that says what would have it.
    """
    module, install, _ = LOGGERS["tensorboard"]
    if names is None and find_spec(module) is None:
        say(f"no TensorBoard events: pip install {install} has them written")
        names = ()
    chosen = [name for name in ("tensorboard",) if names is None] + list(names or ())
    with ExitStack() as stack:
        openers = [LOGGERS[name][2] for name in dict.fromkeys(chosen) if name != "csv"]
        logs = [stack.enter_context(opener(folder, recipe)) for opener in openers]

        def log(row: Mapping[str, Any]) -> None:
            measured = {
                name: float(value)
                for name, value in row.items()
                if name not in COUNTS and isinstance(value, int | float)
            }
            for each in logs:
                each(row["step"], measured)

        yield log


@contextmanager
def _tensorboard(folder: Path, recipe: Recipe) -> Iterator[Log]:
    del recipe
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(folder)) as writer:

        def log(step: int, figures: Mapping[str, float]) -> None:
            for name, value in figures.items():
                writer.add_scalar(name, value, step)
            writer.flush()

        yield log


@contextmanager
def _wandb(folder: Path, recipe: Recipe) -> Iterator[Log]:
    import wandb

    # A resumed run goes on in the same one: the folder tells which.
    path = folder.absolute()
    own = hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    with wandb.init(
        project=_PROJECT, name=path.name, id=own, resume="allow", dir=path, config=to_plain(recipe)
    ) as run:
        yield lambda step, figures: run.log(dict(figures), step=step)


@contextmanager
def _mlflow(folder: Path, recipe: Recipe) -> Iterator[Log]:
    import mlflow

    mlflow.set_experiment(_PROJECT)
    known = folder / "mlflow.txt"
    before = known.read_text().strip() if known.is_file() else None
    with mlflow.start_run(before, run_name=folder.absolute().name) as run:
        if before is None:
            mlflow.log_params(flat(to_plain(recipe)))
            write_whole(known, run.info.run_id + "\n")
        yield lambda step, figures: mlflow.log_metrics(dict(figures), step=step)


Opener = Callable[[Path, Recipe], AbstractContextManager[Log]]

# Name -> the module it takes, what installs that, and how it is opened.
LOGGERS: Mapping[str, tuple[str, str, Opener]] = {
    "tensorboard": ("tensorboardX", "face-zoo[tensorboard]", _tensorboard),
    "wandb": ("wandb", "wandb", _wandb),
    "mlflow": ("mlflow", "mlflow", _mlflow),
}
