"""The `zoo` command as tests run it: in this process, or in one of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# In front of a program: TensorFlow as if it were not installed, which Keras would otherwise import
# under JAX too.
WITHOUT_TENSORFLOW = """
import importlib.abc, sys
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "tf_keras"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
"""
# In front of a program: what runs the tests may ignore these, as `&` and nohup do, and a child
# would go on doing so.
HEED_SIGNALS = """
import signal as s
s.signal(s.SIGINT, s.default_int_handler)
s.signal(s.SIGHUP, s.SIG_DFL)
s.signal(s.SIGTERM, s.SIG_DFL)
"""
ZOO = """
import sys
from zoo.cli import main
main()
"""


def zoo_after(code: str) -> list[str]:
    """The command as a process that runs some lines of Python first.

    In place of `preexec_fn`, which forks in Python: JAX warns of it where another test has
    imported it.
    """
    main = "import runpy\nrunpy.run_module('zoo', run_name='__main__', alter_sys=True)"
    return [sys.executable, "-c", f"{code}\n{main}"]


@dataclass(frozen=True)
class Outcome:
    """What one command left: exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def error_lines(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("zoo: error: ")]


Zoo = Callable[..., Outcome]


def without_processes(patch: pytest.MonkeyPatch) -> None:
    """Has models run in this process, as where systems have none that could stand behind a wall."""
    from evaluator.isolation.same_process import SameProcess

    # The room itself last: a module that is imported while that is changed would keep the change.
    takers = "evaluate.loading", "evaluate.export", "evaluate.cost"
    for module in (*(f"zoo.{each}" for each in takers), "evaluator.isolation.process"):
        patch.setattr(f"{module}.model_process", SameProcess)


def zoo_here(folder: Path, *arguments: object) -> Outcome:
    """What a command leaves that is run in a folder, in this process, where its models run too."""
    from zoo.cli import run

    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        without_processes(patch)
        patch.chdir(folder)
        code = run([*map(str, arguments)])
    return Outcome(code, out.getvalue(), err.getvalue())


def started(
    *arguments: object, cwd: Path, code: str = ZOO, path: Path | None = None, **environment: str
) -> subprocess.Popen[str]:
    """A program with this checkout's packages, in a process of its own: `zoo`, or ``code``.

    ``path`` is another folder that it imports from.
    """
    folders = [str(ROOT), *([str(path)] if path else [])]
    return subprocess.Popen(
        [sys.executable, "-c", HEED_SIGNALS + code, *map(str, arguments)],
        cwd=cwd,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(folders),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> Outcome:
    """What a program left that has been started."""
    out, err = process.communicate()
    return Outcome(process.returncode, out, err)
