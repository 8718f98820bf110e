"""`zoo train`: an entry's recipe, from names to a run's folder and its evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from zoo.terminal import options


def train_entry(
    name: options.EntryName,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Training faces: a folder per person, a .rec file, or the folder that holds one. "
            "--resume knows it.",
        ),
    ] = None,
    set: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE...",
            help="Change the recipe: model.backbone=iresnet50 stages.0.epochs=2 batch=64.",
        ),
    ] = None,
    bins: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME...",
            help="Bins to verify on during training; takes every value up to the next option. "
            "Default: the recipe's, where they are found.",
        ),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The run's folder. Default: runs/ENTRY.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")
    ] = False,
    keep: Annotated[
        Literal["last", "improved", "epochs"] | None,
        typer.Option(
            metavar="WHAT",
            help="Models kept besides the run's own: of all epochs, or of those that improved in "
            "verification. The recipe's key keep; default last.",
        ),
    ] = None,
    custom: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE",
            help="Import this before the recipe is read: a module that registers optimizers for "
            "it. Its code runs.",
        ),
    ] = None,
    log: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME,...",
            help="What gets the log besides log.csv: tensorboard, wandb, mlflow. Default: "
            "tensorboard, where tensorboardX is installed.",
        ),
    ] = None,
    plan: Annotated[
        bool,
        typer.Option("--plan", help="Print steps, memory, disk and expected time; train nothing."),
    ] = False,
    devices: Annotated[
        str, typer.Option(help="auto, cpu, gpu, or a number of them: gpu:2.")
    ] = "auto",
    shard_head: Annotated[
        bool,
        typer.Option(
            "--shard-head", help="Split head and centers over the devices by class (JAX)."
        ),
    ] = False,
    hosts: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT[,HOST...]",
            help="Train in several processes (JAX): where process 0 listens, or all of them, or "
            "auto, where Slurm or Open MPI starts them.",
        ),
    ] = None,
    process: Annotated[
        int | None, typer.Option(metavar="I", help="With --hosts: this process's number, from 0.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(metavar="N", help="With --hosts: how many there are.")
    ] = None,
    wait: Annotated[
        int,
        typer.Option(min=1, metavar="SECONDS", help="With --hosts: how long for the others."),
    ] = 300,
    registry: options.Registry = None,
) -> None:
    """Train an entry's recipe into a run's folder, which is an entry itself.

    zoo train centsoft --data faces_emore --bins lfw agedb_30 cfp_fp
    """
    from training.processes.hosts import parse_hosts
    from training.processes.team import joined
    from zoo.train.run import Asked, trained

    together = parse_hosts(hosts, process, processes)
    asked = Asked(
        name=name,
        data=data,
        settings=[*(set or []), *([f"keep={keep}"] if keep else [])],
        bins=bins or [],
        folder=run if run is not None else Path("runs") / name,
        resume=resume,
        custom=custom or [],
        log=None if log is None else options.listed(log),
        plan=plan,
        devices=devices,
        shard_head=shard_head,
        registry=registry,
    )
    with joined(together, wait) as team:
        code, bins_left = trained(asked, team)
    if code == 0 and bins_left:
        code = _evaluated(asked.folder, bins_left)
    raise typer.Exit(code)


def _evaluated(folder: Path, bins: list[Path]) -> int:
    """Evaluates the exported file itself, as `zoo eval` does, and stores the results in the run."""
    from training.run.runs import RunFolder
    from zoo.entries.lookup import resolve_models
    from zoo.evaluate.evaluation import run_request
    from zoo.evaluate.outcome import finished
    from zoo.evaluate.request import Request

    models = resolve_models([str(folder)], {})
    request = Request(models=models, bins=bins, results=RunFolder(folder).results)
    return finished(run_request(request), request, None)
