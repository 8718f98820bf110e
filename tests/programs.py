"""Programs of tests in processes of their own that begin with what they import in common."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.command import ROOT, Outcome

#: For what runs once: LLVM's optimizations cost more than they give.
COMPILES_QUICKLY = {"XLA_FLAGS": "--xla_backend_optimization_level=0"}

# Programs come in as lines; what they find goes out as lines. What is printed goes to stderr. A
# program is a fork of the process that has imported, and of no thread: neither JAX nor TensorFlow
# has any before its first operation. It ends as others do, so that coverage notes what it ran.
_SERVE = """
import json, os, sys, traceback
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
for line in sys.stdin:
    there, here = os.pipe()
    child = os.fork()
    if not child:
        os.close(there)
        code, names = json.loads(line)
        try:
            exec(code, names)
            answer = {"found": names["found"]}
        except BaseException:
            answer = {"failed": traceback.format_exc()}
        with open(here, "w") as file:
            json.dump(answer, file)
        break
    os.close(here)
    with open(there) as file:
        answer = file.read()
    os.waitpid(child, 0)
    print(answer or "{}", file=answers, flush=True)
"""
_ZOO = """
import contextlib, io, os
from zoo.cli import run
os.chdir(folder)
with contextlib.redirect_stdout(io.StringIO()) as out:
    with contextlib.redirect_stderr(io.StringIO()) as err:
        code = run(words)
found = code, out.getvalue(), err.getvalue()
"""


class Server:
    """A process that imports once and forks for each program; it begins with the first.

    Programs can import what tests of training do. ``environment`` is what the process has beside
    this one's.
    """

    def __init__(self, imports: str, **environment: str) -> None:
        self._code = imports + _SERVE
        folders = [str(ROOT), str(ROOT / "tests" / "training")]
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(folders),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            **COMPILES_QUICKLY,
            **environment,
        }
        self._process: subprocess.Popen[str] | None = None
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process

    def answer(self, line: str) -> dict[str, Any]:
        """What a program's line comes to."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-c", self._code],
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                text=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline() or "{}")
        if not found:
            self._said.seek(0)
            found["failed"] = f"it died; it had said:\n{self._said.read()[-3000:]}"
        return found

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.communicate()
        self._said.close()


class Programs:
    """Runs programs by a server, each after the lines ``before``."""

    def __init__(self, server: Server, before: str = "") -> None:
        self.server, self._before = server, before

    def found(self, code: str, **names: Any) -> Any:
        """What a program has put into ``found``, as JSON carries it; it finds ``names`` set."""
        answer = self.server.answer(json.dumps([self._before + code, names]))
        assert "found" in answer, answer["failed"]
        return answer["found"]

    def zoo(self, folder: Path, *words: object) -> Outcome:
        """What a command leaves that is run in that folder."""
        return Outcome(*self.found(_ZOO, folder=str(folder), words=[*map(str, words)]))
