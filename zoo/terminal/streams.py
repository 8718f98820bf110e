"""Standard streams that take whatever is printed, and signals that end a command as Ctrl-C does."""

from __future__ import annotations

import _thread
import codecs
import io
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

# How an old terminal's alphabet has the signs that our tables and sentences are written with.
_PLAIN = {"±": "+-", "×": "x", "–": "-", "—": "-", "…": "...", "→": "->", "─": "-", "│": "|"}

_stopped_by = {"signal": int(signal.SIGINT)}


def prepare_streams() -> None:
    """Opens standard streams that the caller closed, on nothing, and lets all take every sign.

    A sign that the stream's encoding lacks is spelled: "±" as "+-", others as ``\\xe9``.
    """
    _open_closed()
    codecs.register_error("zoo.spelled", _spelled)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="zoo.spelled")


def _open_closed() -> None:
    # Else the next file that is opened is number 1 or 2, and gets what a library prints.
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    # Python has None for a stream that was closed, which print takes for stdout.
    for number, (name, mode) in enumerate({"stdin": "r", "stdout": "w", "stderr": "w"}.items()):
        if getattr(sys, name) is None:
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115 - for good
            setattr(sys, name, stream)


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(_PLAIN.get(sign, ascii(sign)[1:-1]) for sign in signs), error.end


def stop_on_signals() -> None:
    """From now on SIGTERM, and SIGHUP unless ``nohup`` ignores it, end a command as Ctrl-C does.

    Batch systems send the first before a job's time is over, a terminal the second as it closes:
    what is finished is kept, temporary files go, and what is left is said.
    """
    for name in ("SIGTERM", "SIGHUP"):  # the second is not everywhere
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _stop)
    told = sys.unraisablehook

    # Python drops what is raised where nobody could catch it, as in what it calls after a fork or
    # as an object ends: there the command would go on. The signal comes again, a moment later.
    def again(problem: Any) -> None:
        if problem.exc_type is KeyboardInterrupt:
            # Not from here, where it would be dropped as well.
            late = threading.Timer(0.05, _thread.interrupt_main, [_stopped_by["signal"]])
            late.daemon = True
            late.start()
        else:
            told(problem)

    sys.unraisablehook = again


def _stop(number: int, _: FrameType | None) -> None:
    _stopped_by["signal"] = number
    raise KeyboardInterrupt


def stopped_code() -> int:
    """The exit code of a command that was stopped: 128 + the signal's number, as shells have it."""
    return 128 + _stopped_by["signal"]
