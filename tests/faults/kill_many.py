"""Kills `zoo eval`, `zoo train` or `zoo report` at random moments, and looks at what is left.

    python tests/faults/kill_many.py eval --times 50
    python tests/faults/kill_many.py train --times 50
    python tests/faults/kill_many.py report --times 50
    python tests/faults/kill_many.py eval --times 20 --signal TERM

Each run goes on where the killed one stopped. After each kill every file that a reader would open
must be whole, and what was finished before must still be there, unchanged. When a run ends before
its kill, its outcome is held against that of one that was left alone, and all starts anew; so is
that of the last run, which nothing kills.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from inputs import make_inputs, run_zoo, start_zoo

from evaluator.results.store import load_result, load_scores, stored_results

#: Runs `zoo` in a folder to its end; what is not killed may as well run in the script's process.
Runner = Callable[..., object]


@dataclass
class Counts:
    """What happened in a series of kills; ``faults`` is what must stay empty."""

    kills: int = 0
    while_working: int = 0
    finished: int = 0
    kept: int = 0
    leftovers: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Scene:
    """A command to kill: how it is started, what is looked at after each kill and each end.

    ``working`` tells that the command is past its start-up, ``early`` that it has none to speak
    of; ``check`` returns faults after a kill, ``check_end`` faults of an outcome;
    ``finished_now`` counts what is finished and must stay.
    """

    arguments: Callable[[], list[str]]
    working: Callable[[], bool]
    check: Callable[[], list[str]]
    check_end: Callable[[], list[str]]
    finished_now: Callable[[], int]
    restart: Callable[[], None]
    stray: Callable[[], int]
    early: bool = False


def eval_scene(folder: Path, size: int, run_whole: Runner = run_zoo) -> Scene:
    """`zoo eval` of many tiny models on two bins, whose results are stored one by one."""
    models, bins = make_inputs(folder, models=size)
    store = folder / "results"
    arguments = ["eval", *models, "--input", "unit", "--bins", *bins]
    run_whole(folder, *arguments, "--results", "reference")
    reference = {
        _key(path): load_result(path).figures for path in stored_results(folder / "reference")
    }
    if len(reference) != 2 * size:
        raise SystemExit(f"the reference has {len(reference)} results, expected {2 * size}")
    known: dict[Path, bytes] = {}

    def check() -> list[str]:
        faults = [f"{path.name}: lost" for path in known if not path.exists()]
        for path in stored_results(store):
            data = path.read_bytes()
            if known.setdefault(path, data) != data:
                faults.append(f"{path.name}: was finished, and changed")
            result = load_result(path)
            load_scores(path, result)
            if result.figures != reference[_key(path)]:
                faults.append(f"{path.name}: other figures than without a kill")
        return faults

    def check_end() -> list[str]:
        found = len(list(stored_results(store)))
        return check() + ([] if found == len(reference) else [f"ended with {found} results"])

    def restart() -> None:
        known.clear()
        shutil.rmtree(store, ignore_errors=True)

    return Scene(
        arguments=lambda: arguments,
        working=lambda: len(list(store.glob("*/*.json"))) > len(known),
        check=check,
        check_end=check_end,
        finished_now=lambda: len(known),
        restart=restart,
        stray=lambda: len(list(store.glob("*/.*"))),
    )


def _key(path: Path) -> tuple[str, str]:
    return path.parent.name, path.name


def train_scene(folder: Path, size: int, run_whole: Runner = run_zoo) -> Scene:
    """`zoo train` of the digits, ``size`` epochs of 154 steps, with a checkpoint every 20."""
    from training.run.checkpoints import read_state

    settings = ["--set", f"stages.0.epochs={size}", "checkpoint_steps=20"]
    run = folder / "run"
    run_whole(folder, "train", "digits_triplet", "--run", "reference", *settings)
    reference = _losses(folder / "reference" / "log.csv")
    if len(reference) != size:
        raise SystemExit(f"the reference has {len(reference)} epochs, expected {size}")
    state = {"steps": 0}
    last = run / "checkpoints" / "last.npz"

    def arguments() -> list[str]:
        begun = (run / "models.yaml").exists()
        tail = ["--resume"] if begun else settings
        return ["train", "digits_triplet", "--run", "run", *tail]

    def check() -> list[str]:
        if not last.exists():
            return [] if not state["steps"] else ["the checkpoint is gone"]
        steps = read_state(last)["steps_done"]
        faults = [] if steps >= state["steps"] else [f"went back to step {steps}"]
        state["steps"] = steps
        rows = _losses(run / "log.csv") if (run / "log.csv").exists() else []
        # A row of the epoch that the next run does again may stand at the end, whole or cut short.
        whole = rows[: steps // 154]
        if whole != reference[: len(whole)]:
            faults.append("the log has other losses than without a kill")
        return faults

    def check_end() -> list[str]:
        faults = check()
        if _losses(run / "log.csv") != reference:
            faults.append("ended with other losses than without a kill")
        if not (run / "basic_model.keras").is_file():
            faults.append("ended without a model")
        return faults

    def restart() -> None:
        state["steps"] = 0
        shutil.rmtree(run, ignore_errors=True)

    return Scene(
        arguments=arguments,
        working=lambda: last.exists() and read_state(last)["steps_done"] > state["steps"],
        check=check,
        check_end=check_end,
        finished_now=lambda: state["steps"],
        restart=restart,
        stray=lambda: len([*run.glob(".*"), *run.glob("checkpoints/.*")]),
    )


def _losses(path: Path) -> list[str]:
    """The column of losses, which the seed decides; times and rates differ from run to run."""
    with path.open(encoding="utf-8", newline="") as file:
        return [row["loss"] for row in csv.DictReader(file)]


def report_scene(folder: Path, size: int, run_whole: Runner = run_zoo) -> Scene:
    """`zoo report` over a report that is there already, of ``size`` models' results."""
    models, bins = make_inputs(folder, models=size)
    run_whole(folder, "eval", *models, "--input", "unit", "--bins", *bins)
    run_whole(folder, "report", "-o", "reference.html")
    length = (folder / "reference.html").stat().st_size
    report = folder / "report.html"

    def check() -> list[str]:
        if not report.exists():
            return ["the report is gone"] if counted["reports"] else []
        counted["reports"] = 1
        text = report.read_text(encoding="utf-8")
        whole = text.rstrip().endswith("</html>") and abs(len(text.encode()) - length) < 200
        return [] if whole else [f"half a report of {len(text)} characters"]

    counted = {"reports": 0}
    return Scene(
        arguments=lambda: ["report", "-o", "report.html"],
        working=lambda: any(folder.glob(".report.html.*")),
        check=check,
        check_end=check,
        finished_now=lambda: counted["reports"],
        restart=lambda: None,
        stray=lambda: len(list(folder.glob(".report.html.*"))),
        early=True,
    )


SCENES = {"eval": eval_scene, "train": train_scene, "report": report_scene}
SIZES = {"eval": 16, "train": 12, "report": 4}


def kill_many(
    scene: Scene, folder: Path, *, times: int, seed: int, number: int = signal.SIGKILL
) -> Counts:
    """Kills the scene's command that many times, anywhere in its run, and then lets it end."""
    chance = random.Random(seed)
    counts = Counts()
    seconds = {"start": 1.0, "whole": 8.0}
    while counts.kills < times:
        early = scene.early or chance.random() < 0.3
        process = start_zoo(
            folder, scene.arguments(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        begin = time.monotonic()
        ended = _wait(process, scene, early, chance, seconds)
        if not ended:
            counts.while_working += scene.working()
            process.send_signal(number)
        said = process.communicate()[1]
        before = scene.finished_now()
        if ended or process.returncode == 0:
            seconds["whole"] = time.monotonic() - begin
            faults = [] if process.returncode == 0 else [f"ended with {said[-300:]!r}"]
            faults += scene.check_end()
            counts.finished += 1
            counts.leftovers += scene.stray()
            scene.restart()
        else:
            counts.kills += 1
            faults = scene.check() + _misbehaved(number, process.returncode, said)
            counts.kept += before
        _say(counts, faults)
    last = start_zoo(folder, scene.arguments(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = last.communicate()[1]
    ended_well = [] if last.returncode == 0 else [f"ended with {said[-300:]!r}"]
    counts.finished += 1
    _say(counts, ended_well + scene.check_end())
    return counts


def _say(counts: Counts, faults: list[str]) -> None:
    counts.faults += faults
    for fault in faults:
        print(f"after kill {counts.kills}: {fault}", file=sys.stderr)


def _wait(
    process: subprocess.Popen[str],
    scene: Scene,
    early: bool,
    chance: random.Random,
    seconds: dict[str, float],
) -> bool:
    """Waits for the moment of the kill; True if the command ended before it.

    An early one falls anywhere in the whole run, the imports included; the others are drawn from
    the time in which files are written.
    """
    begin = time.monotonic()
    until = begin + chance.uniform(0, seconds["whole"]) if early else None
    while process.poll() is None:
        now = time.monotonic()
        if until is not None and now >= until:
            return False
        if until is None and scene.working():
            seconds["start"] = now - begin
            until = now + chance.uniform(0, max(0.2, seconds["whole"] - seconds["start"]))
        time.sleep(0.002)
    return True


def _misbehaved(number: int, code: int, said: str) -> list[str]:
    """What is wrong with how a command ended after a signal; nothing can be after kill -9."""
    if number == signal.SIGKILL:
        return []
    if (number, code, said) == (signal.SIGTERM, -signal.SIGTERM, ""):
        return []  # while Python was still starting: nothing had been begun
    faults = [] if code == 128 + number else [f"exit code {code}"]
    last = (said.splitlines() or [""])[-1]
    if not last.startswith("zoo: interrupted; ") or "Traceback" in said:
        faults.append(f"said {said[-300:]!r}")
    return faults


def main() -> None:
    """Prints a JSON line of what was counted; exit 1 where anything was lost or half written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=sorted(SCENES))
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, help="models, or epochs of training")
    parser.add_argument("--signal", choices=("KILL", "INT", "TERM"), default="KILL")
    given = parser.parse_args()
    number = signal.Signals[f"SIG{given.signal}"]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        scene = SCENES[given.command](folder, given.size or SIZES[given.command])
        counts = kill_many(scene, folder, times=given.times, seed=given.seed, number=number)
    print(json.dumps({"command": given.command, "signal": given.signal, **vars(counts)}))
    raise SystemExit(1 if counts.faults else 0)


if __name__ == "__main__":
    main()
