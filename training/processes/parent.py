"""A child process that goes on, and its parent, which says what the child was ended for.

JAX's coordination service ends a process by abort, with a stack trace of its own, where another
one is gone. The parent makes a line and exit code 2 of it.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import BinaryIO, NoReturn

from evaluator.isolation.wall import end_with

# What the child is ended by where JAX gives up; the third where its service cannot start.
_ABORTS = (signal.SIGABRT, signal.SIGSEGV)

_PASSED_ON = ("SIGINT", "SIGTERM", "SIGHUP")

# A library's last words have a few kilobytes.
_LARGEST = 1_000_000


def continue_in_child(seconds: float) -> Callable[[], None]:
    """Returns in a child process, a function that says to its parent that all processes have met;
    the parent waits for the child's end, and ends with its code. On systems without fork it
    returns in this process.

    What native code writes to file descriptor 2 is the parent's to look through: the child's
    ``sys.stderr`` writes to what the descriptor was before.
    """
    if not hasattr(os, "fork"):
        return lambda: None
    sys.stdout.flush()
    sys.stderr.flush()
    native = tempfile.TemporaryFile()  # noqa: SIM115 - for as long as both live
    ours, theirs = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child:
        os.close(theirs)
        _watch(child, ours, native, seconds)
    os.close(ours)
    os.setpgid(0, 0)  # Ctrl-C is the parent's to pass on
    sys.stderr = os.fdopen(os.dup(2), "w", encoding=sys.stderr.encoding, errors=sys.stderr.errors)
    os.dup2(native.fileno(), 2)
    end_with(parent)
    return lambda: os.close(theirs)


def _watch(child: int, met: int, native: BinaryIO, seconds: float) -> NoReturn:
    """In the parent: waits for the child, and ends as it did."""
    together = threading.Event()

    def wait_until_met() -> None:
        os.read(met, 1)
        together.set()

    threading.Thread(target=wait_until_met, daemon=True).start()

    def pass_on(number: int, _: object) -> None:
        # While the processes meet, the child's Python does not run.
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number if together.is_set() else signal.SIGKILL)
        stopped_by.append(number)

    stopped_by: list[int] = []
    for name in _PASSED_ON:
        number = getattr(signal, name)
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, pass_on)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        native.seek(0)
        words = native.read(_LARGEST).decode("utf-8", "replace")
        if -code in _ABORTS:
            print(f"zoo: error: {cause_of_abort(words, seconds)}", file=sys.stderr, flush=True)
            code = 2
        elif stopped_by and not together.is_set():
            code = 128 + stopped_by[-1]
        else:
            code = 128 - code
    os._exit(code)


def cause_of_abort(words: str, seconds: float) -> str:
    """What JAX's last words say, in a sentence for the user."""
    silent = re.search(r"unhealthy \(stopped sending heartbeats\):\s*([\d\s,]+)", words)
    if silent:
        names = ", ".join(silent[1].replace(",", " ").split())
        return f"process {names}: is gone, or stands still; this process ends too"
    unexpected = re.search(r"Unexpected task registered with task=(\d+)", words)
    if unexpected:
        return (
            f"process {unexpected[1]}: process 0 expects fewer processes; start all with the same "
            "--hosts and --processes"
        )
    if "RegisterTask" in words:
        return (
            f"--hosts: waited {seconds:g} s for the other processes; start every process with the "
            "same command and its own --process, and see whether process 0's address is right"
        )
    if re.search(r"Failed to send RPC to coordination service|Socket closed", words):
        return "process 0: is gone; this process ends too"
    last = [line for line in words.splitlines() if re.match(r"[FE]\d{4} ", line)] or [""]
    return f"JAX ended this process: {last[-1][:300] or 'it says nothing'}"
