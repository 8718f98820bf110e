"""What a model that is loaded must not do, told by Python's own audit events.

An audit hook sees what Python code does: code made or run, modules imported, files opened, programs
started, sockets. What C++ does by itself it does not see: `fuzz.watch` sees files that anybody
opens, and the wall stops the rest. A few things honest loads do as well; they are allowed by the
name of the file of Python code that does them, and by nothing that a model says.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

_IMPORTERS = frozenset({"<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>"})
#: Modules that no library imports by itself; configs name them. One of them lies in the cell.
CANARY_MODULES = frozenset({"canary_module", "antigravity", "this", "turtledemo", "idlelib"})
# Events that no honest load raises, whoever does.
_NEVER = frozenset(
    """
    cpython.PyInterpreterState_New cpython.run_command cpython.run_file cpython.run_module
    cpython.run_startup ftplib.connect imaplib.open os.exec os.fork os.forkpty os.kill os.killpg
    os.posix_spawn os.spawn os.startfile os.system pickle.find_class pty.spawn smtplib.connect
    socket.bind socket.connect socket.getaddrinfo socket.sendto subprocess.Popen
    telnetlib.Telnet.open urllib.Request webbrowser.open
    """.split()
)
# Events that change files; the path is the first argument, of some the second too.
_CHANGES = frozenset(
    """
    os.chmod os.chown os.link os.mkdir os.remove os.rename os.rmdir os.setxattr os.symlink
    os.truncate os.utime shutil.chown shutil.copyfile shutil.copymode shutil.copystat
    shutil.copytree shutil.make_archive shutil.move shutil.rmtree shutil.unpack_archive
    """.split()
)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Code of the standard library and of packages that makes code from texts of its own. By the end of
# the file's name: where a new library does it, the self-test says so.
_MAKERS = (
    "/collections/__init__.py",  # namedtuple
    "/dataclasses.py",
    "/enum.py",
    "/typing.py",
    "/typing_extensions.py",
    "/inspect.py",  # signatures of C functions, from their doc
    "/ast.py",
    "/linecache.py",
    "/traceback.py",
    "/tokenize.py",
    "/gast/gast.py",
    "/wrapt/decorators.py",
    "/tensorflow/python/autograph/pyct/loader.py",
    "/tensorflow/python/autograph/pyct/parser.py",
    "/tensorflow/python/autograph/pyct/transpiler.py",
    "/numpy/lib/_format_impl.py",  # the header of an array: literals only
    "/numpy/lib/format.py",
    "/numpy/core/numerictypes.py",
)


class Tripwire:
    """Collects what tripped since it was asked last. A hook stays as long as its process."""

    def __init__(self, writable: Path) -> None:
        self._writable = str(writable) + os.sep
        self._installed = _installed_folders()
        self._trips: dict[str, None] = {}
        self._armed = False
        self._inside = False

    def install(self) -> None:
        """Begins to listen. Nothing is collected until ``arm``."""
        sys.addaudithook(self._hear)

    def arm(self) -> None:
        """From now on what happens is collected."""
        self._trips.clear()
        self._armed = True

    def disarm(self) -> list[str]:
        """What tripped since ``arm``, each once; nothing is collected any more."""
        self._armed = False
        return list(self._trips)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._armed or self._inside:
            return
        self._inside = True
        try:
            told = self._trip(event, arguments, sys._getframe(1))
            if told is not None:
                self._trips[told] = None
        finally:
            self._inside = False

    def _trip(self, event: str, arguments: tuple[Any, ...], frame: FrameType) -> str | None:
        """What an event is, in words, if no honest load raises it."""
        caller = frame.f_code.co_filename
        if event in _NEVER:
            return f"{event} {_short(arguments)} by {_chain(frame)}"
        if event == "open":
            return self._opened(arguments, frame)
        if event in _CHANGES:
            paths = [each for each in arguments if isinstance(each, str | bytes | os.PathLike)]
            if not paths or not all(self._is_ours(each) for each in paths):
                return f"{event} {_short(arguments)} by {_chain(frame)}"
        elif event == "import":
            name = str(arguments[0])
            if name.partition(".")[0] in CANARY_MODULES:
                return f"import of {name} by {_chain(frame)}"
        elif event == "exec":
            return self._executed(arguments[0], frame)
        elif event in ("compile", "code.__new__", "marshal.loads", "marshal.load"):
            if caller not in _IMPORTERS and not caller.endswith(_MAKERS):
                return f"{event} by {_chain(frame)}"
        elif event == "ctypes.dlopen" and not self._is_installed(str(arguments[0])):
            return f"ctypes.dlopen {_short(arguments)} by {_chain(frame)}"
        return None

    def _opened(self, arguments: tuple[Any, ...], frame: FrameType) -> str | None:
        path, mode, flags = arguments
        writes = isinstance(flags, int) and flags & _WRITES
        if isinstance(path, int) or not writes or str(path) == os.devnull or self._is_ours(path):
            return None
        return f"open of {str(path)[:200]!r} to write ({mode}) by {_chain(frame)}"

    def _executed(self, code: object, frame: FrameType) -> str | None:
        caller = frame.f_code.co_filename
        if not isinstance(code, CodeType):
            return f"exec of a {type(code).__name__} by {_chain(frame)}"
        if caller in _IMPORTERS:
            name = code.co_filename
            if self._is_installed(name) or self._is_ours(name):  # autograph's are in our folder
                return None
            return f"exec of module {name[:200]!r}"
        if caller.endswith(_MAKERS):
            return None
        return f"exec of {code.co_name!r} of {code.co_filename[:100]!r} by {_chain(frame)}"

    def _is_ours(self, path: object) -> bool:
        """Whether a path lies in the folder for temporary files."""
        name = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        # The folder itself is opened for files without a name (O_TMPFILE).
        return (os.path.normpath(name) + os.sep).startswith(self._writable)

    def _is_installed(self, path: str) -> bool:
        if path.startswith("<frozen "):
            return True
        return os.path.normpath(path).startswith(self._installed)


def _installed_folders() -> tuple[str, ...]:
    """Where the standard library, the packages, the interpreter and this project lie."""
    here = Path(__file__).resolve().parents[1]
    folders = {str(here / name) for name in ("evaluator", "training", "zoo", "fuzz")}
    for path in (*sysconfig.get_paths().values(), sys.base_prefix, *sys.path):
        if path and Path(path).resolve() != here and Path(path).name != "cell":
            folders |= {str(path), str(Path(path).resolve())}
    return tuple(sorted(f"{folder}{os.sep}" for folder in folders))


def _short(arguments: tuple[Any, ...]) -> str:
    return ascii(arguments)[:160]


def _chain(frame: FrameType | None) -> str:
    """The innermost places that lead to an event: 'python_utils.py:105 lambda_layer.py:210'."""
    found = []
    while frame is not None and len(found) < 6:
        path = Path(frame.f_code.co_filename)
        found.append(f"{path.parent.name}/{path.name}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(found)
