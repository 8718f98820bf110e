"""What Landlock leaves open and a process with a model has no use for, refused by Linux itself.

A filter of system calls (seccomp(2)), and no capabilities (capabilities(7)) where the process has
some. Like the wall, both cannot be undone and hold for all that is started.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# linux/bpf_common.h: load a word, compare, return.
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
# linux/seccomp.h
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EACCES
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
# linux/prctl.h
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2

_AF_UNIX, _AF_NETLINK = 1, 16
_TYPE_INTO_TERMINAL = 0x5412  # TIOCSTI

# linux/capability.h: to read what its user may read, and nothing else.
_CAPABILITY_VERSION = 0x20080522
_READ_AND_SEARCH = 1 << 2


@dataclass(frozen=True)
class _Calls:
    """The numbers of system calls on an architecture; ``odd`` begins those of another ABI."""

    architecture: int
    socket: int
    prlimit: int
    ioctl: int
    capset: int
    # Groups that the caller could not end; shared memory and keys that stay; io_uring, which opens
    # sockets past this filter; the memory of other processes; new name spaces.
    refused: tuple[int, ...]
    odd: int | None = None


# asm/unistd_64.h and asm-generic/unistd.h: setsid, setpgid, shmget, semget, msgget, add_key,
# request_key, keyctl, io_uring_setup, process_vm_writev, ptrace, unshare, setns.
_KNOWN = {
    "x86_64": _Calls(
        0xC000003E, 41, 302, 16, 126,
        (112, 109, 29, 64, 68, 248, 249, 250, 425, 311, 101, 272, 308), odd=0x40000000,
    ),
    "aarch64": _Calls(
        0xC00000B7, 198, 261, 29, 91,
        (157, 154, 194, 190, 186, 217, 218, 219, 425, 271, 117, 97, 268),
    ),
}  # fmt: skip


def are_known() -> bool:
    """Whether the numbers of this machine's system calls are known, so that some can be refused."""
    return sys.platform == "linux" and platform.machine() in _KNOWN


def refuse_calls(*, local_sockets: bool) -> None:
    """From now on this thread, and all that it starts, opens no socket and leaves no group.

    Nor does it change the limits of other processes, type into terminals, or make shared memory and
    keys that stay. ``local_sockets`` leaves those that a GPU's driver speaks through. Capabilities
    are dropped, but for reading. Nothing changes where the calls are not known. Raises OSError.
    """
    calls = _KNOWN.get(platform.machine()) if sys.platform == "linux" else None
    if calls is None:
        return
    library = ctypes.CDLL(None, use_errno=True)
    _drop_capabilities(library, calls.capset)
    families = (_AF_UNIX, _AF_NETLINK) if local_sockets else ()
    program = b"".join(_instructions(calls, families))
    lines = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: a count, and after its padding the address of the instructions.
    whole = struct.pack("@HP", len(program) // 8, ctypes.addressof(lines))
    _check(library.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    _check(library.prctl(_SET_SECCOMP, _FILTER, whole, 0, 0))


def _instructions(calls: _Calls, families: Sequence[int]) -> Iterator[bytes]:
    """The filter: each comparison steps over what follows it where it does not hold."""
    refuse, allow = _line(_RETURN, _REFUSE), _line(_RETURN, _ALLOW)
    yield _line(_LOAD, _ARCHITECTURE_AT)
    yield _line(_EQUAL, calls.architecture, if_true=1)
    yield refuse
    yield _line(_LOAD, _NUMBER_AT)
    if calls.odd is not None:
        yield _line(_AT_LEAST, calls.odd, if_false=1)
        yield refuse
    for number in calls.refused:
        yield _line(_EQUAL, number, if_false=1)
        yield refuse
    # Those that depend on an argument: whether it is one of some values, and what follows then.
    for number, argument, values, found, other in (
        (calls.socket, 0, families, allow, refuse),
        (calls.prlimit, 0, (0,), allow, refuse),  # its own, which is process 0
        (calls.ioctl, 1, (_TYPE_INTO_TERMINAL,), refuse, allow),
    ):
        yield _line(_EQUAL, number, if_false=2 + 2 * len(values))
        yield _line(_LOAD, _ARGUMENTS_AT + 8 * argument)
        for value in values:
            yield _line(_EQUAL, value, if_false=1)
            yield found
        yield other
    yield allow


def _line(code: int, value: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    """One instruction, struct sock_filter."""
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _drop_capabilities(library: ctypes.CDLL, number: int) -> None:
    """Gives up all that root may do beyond reading; another user has nothing to give up."""
    if os.geteuid() != 0:
        return
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    kept = struct.pack("=6I", _READ_AND_SEARCH, _READ_AND_SEARCH, 0, 0, 0, 0)
    _check(int(library.syscall(number, header, kept)))


def _check(found: int) -> None:
    """Raises OSError for the result of a system call that failed."""
    if found:
        code = ctypes.get_errno()
        raise OSError(code, f"a filter of system calls: {os.strerror(code)}")
