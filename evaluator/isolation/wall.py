"""The wall around a process: Linux's Landlock, which needs no privileges and cannot be undone.

Landlock (landlock(7), Linux 5.13 and newer) binds the calling thread and what it starts from then
on. It belongs before the first import that begins a thread. Reading stays free, and so does
starting programs: what is started stands behind the same wall. What Landlock leaves open and a
process with a model has no use for, a filter of system calls (seccomp(2)) refuses, and root gives
up its capabilities (capabilities(7)).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import stat
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

# linux/landlock.h and asm-generic/unistd.h: the same numbers on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH = 1
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG, linux/prctl.h
_NO_NEW_PRIVILEGES = 38  # linux/prctl.h

_WRITE_FILE = 1 << 1
# Remove folders and files; make devices, folders, files, sockets, pipes and links.
_MAKE_AND_REMOVE = sum(1 << bit for bit in range(4, 13))
_REFER, _TRUNCATE, _IOCTL_DEVICE = 1 << 13, 1 << 14, 1 << 15
_SINCE = {_REFER: 2, _TRUNCATE: 3, _IOCTL_DEVICE: 5}  # right: version
_TCP = 0b11  # bind and connect, since version 4
_SCOPES = 0b11  # abstract sockets and signals of processes outside, since version 6

#: The first version that can refuse TCP.
_WITH_TCP = 4

# What CUDA and ROCm write to; /dev/shm is how their processes share memory.
_GPU_DEVICES = ("nvidia*", "dri", "kfd", "nvidia-caps")

# linux/bpf_common.h: load a word, compare, return.
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
# linux/seccomp.h
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EACCES
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_SET_SECCOMP, _FILTER = 22, 2  # linux/prctl.h

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


def landlock_version() -> int:
    """The version of Landlock that this system has; 0 for none, or one that is switched off."""
    if sys.platform != "linux":
        return 0
    version = _library().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _ASK_VERSION)
    return max(0, int(version))


def missing_part() -> str | None:
    """What a wall would not stop on this system, in words; None where it stands whole."""
    if sys.platform != "linux":
        return f"no wall around models: {sys.platform} has no Landlock"
    version = landlock_version()
    if version == 0:
        return "no wall around models: this Linux has no Landlock (5.13 and newer have it)"
    if version < 3:
        return f"a wall around models that does not stop truncation (Landlock {version})"
    if platform.machine() not in _KNOWN:
        return f"a wall around models that leaves sockets open ({platform.machine()})"
    return None


def put_up_wall(writable: Sequence[Path]) -> int:
    """From now on this thread, and all that it starts, can write below ``writable`` only.

    Nor can it make, remove, rename or truncate anything elsewhere, nor bind or connect TCP, nor
    signal processes outside, nor do what ``_refuse_calls`` refuses. /dev/null, and the devices of a
    GPU where there is one, stay writable. Returns the version of Landlock; 0 where there is none,
    and then nothing changes. Raises OSError where the system has it and refuses.
    """
    version = landlock_version()
    if version == 0:
        return 0
    handled = _WRITE_FILE | _MAKE_AND_REMOVE
    handled |= sum(right for right, since in _SINCE.items() if version >= since)
    tcp = _TCP if version >= _WITH_TCP else 0
    scopes = _SCOPES if version >= 6 else 0
    # struct landlock_ruleset_attr, as long as this version knows it.
    length = 8 if version < _WITH_TCP else 16 if version < 6 else 24
    attributes = struct.pack("=QQQ", handled, tcp, scopes)[:length]
    library = _library()
    size = ctypes.c_size_t(length)
    ruleset = _checked(library.syscall(_CREATE_RULESET, attributes, size, 0), "Landlock")
    try:
        for path in (*writable, Path("/dev/null"), *gpu_devices()):
            _allow(ruleset, path, handled)
        _checked(library.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")
        _checked(library.syscall(_RESTRICT_SELF, ruleset, 0), "Landlock")
    finally:
        os.close(ruleset)
    if platform.machine() in _KNOWN:
        _refuse_calls(_KNOWN[platform.machine()])
    return version


def gpu_devices() -> list[Path]:
    """What a GPU's driver writes to, where there is a GPU."""
    found = [path for name in _GPU_DEVICES for path in sorted(Path("/dev").glob(name))]
    return [*found, Path("/dev/shm")] if found else []  # nosec B108 - no file of ours


def _allow(ruleset: int, path: Path, handled: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        # Of a file only these are rights; the others are of what a folder holds.
        of_file = handled & (_WRITE_FILE | _TRUNCATE | _IOCTL_DEVICE)
        rights = handled if stat.S_ISDIR(os.fstat(descriptor).st_mode) else of_file
        # struct landlock_path_beneath_attr is packed.
        rule = struct.pack("=Qi", rights, descriptor)
        _checked(_library().syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0), "Landlock")
    finally:
        os.close(descriptor)


def _refuse_calls(calls: _Calls) -> None:
    """From now on this thread, and all that it starts, opens no socket and leaves no group.

    Nor does it change the limits of other processes, type into terminals, or make shared memory and
    keys that stay. Local sockets stay where there is a GPU, whose driver speaks through them.
    Capabilities are dropped, but for reading. Raises OSError.
    """
    library, what = _library(), "a filter of system calls"
    if os.geteuid() == 0:  # another user has nothing to give up
        header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
        kept = struct.pack("=6I", _READ_AND_SEARCH, _READ_AND_SEARCH, 0, 0, 0, 0)
        _checked(library.syscall(calls.capset, header, kept), what)
    families = (_AF_UNIX, _AF_NETLINK) if gpu_devices() else ()
    program = b"".join(_instructions(calls, families))
    lines = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: a count, and after its padding the address of the instructions.
    whole = struct.pack("@HP", len(program) // 8, ctypes.addressof(lines))
    _checked(library.prctl(_SET_SECCOMP, _FILTER, whole, 0, 0), what)


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


def _checked(found: int, what: str) -> int:
    """A system call's result. Raises OSError where it failed."""
    if found < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return found


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def end_with(parent: int) -> None:
    """Has the system end this process when its caller is gone, however that came about."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            sys.exit()
