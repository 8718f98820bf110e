"""A run as a whole: what is refused before it, its devices, folder and lock around the training."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from evaluator.bins.verification_set import VerificationSet
from training.data.batches.pipeline import prepare_data, spec_of
from training.data.sources.faces import FaceSet
from training.loop.fit import train
from training.loop.plan import check_disk
from training.loop.session import Reporter
from training.processes.devices import check_batch, opened_devices
from training.processes.team import ALONE, Team
from training.recipes.parts import Recipe
from training.run.loggers import check_loggers, opened_loggers
from training.run.position import Position
from training.run.runs import RunEntry, RunError, RunFolder, clear_leftovers, create_run, locked


@dataclass(frozen=True)
class RunJob:
    """What a run is given. ``resume``: the folder is there, and was held to recipe and faces.
    ``logs``: names of `loggers.LOGGERS` that get its log; None: TensorBoard if it is installed.

    Raises:
        RunError: what the recipe keeps, or ``logs`` name, this run cannot have.
    """

    recipe: Recipe
    faces: FaceSet
    folder: RunFolder
    entry: RunEntry
    sets: Sequence[VerificationSet]
    resume: bool = False
    logs: Sequence[str] | None = None
    devices: str = "auto"
    shard_head: bool = False
    team: Team = ALONE

    def __post_init__(self) -> None:
        """Refuses what there will not be."""
        check_loggers(self.logs)
        if self.recipe.keep == "improved" and self.team.lead and not self.sets:
            raise RunError("keep improved: nothing is verified that could improve; name bins")
        start = self.recipe.start_head if self.team.lead and not self.resume else None
        if start is not None and not RunFolder(Path(start)).last.is_file():
            raise RunError(f"start_head {start}: expected a run's folder with a checkpoint")
        if self.recipe.keep_whole and self.team.processes > 1:
            raise RunError("keep_whole: no process has the whole model; train in one, or leave it")


def carry_out(job: RunJob, report: Reporter) -> Position:
    """Trains in the run's folder to its end, which it returns; all processes of a team come here.

    Raises what `fit.train` raises, RunError for a folder that another process has, InputError for
    a disk too small.
    """
    recipe, folder, team = job.recipe, job.folder, job.team
    if team.lead:
        check_disk(recipe, len(job.faces.names), folder.path)
    spec = spec_of(recipe.preprocess)
    with opened_devices(job.devices, team=team, shard_head=job.shard_head) as opened:
        data = prepare_data(job.faces, recipe.data, spec, batch=recipe.batch, shard=opened.shard)
        check_batch(recipe.batch, opened)
        if team.lead and not job.resume:
            create_run(folder.path, job.entry, recipe, job.faces)
        with ExitStack() as stack:
            if team.lead:
                stack.enter_context(locked(folder))
                clear_leftovers(folder)
                logs = opened_loggers(job.logs, folder.path, recipe, report.say)
                report = replace(report, row=stack.enter_context(logs))
            return train(
                recipe,
                data,
                folder,
                entry=job.entry,
                sets=job.sets,
                report=report,
                team=team,
                head_parts=opened.head_parts,
            )
