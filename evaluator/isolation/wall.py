"""The wall around a process: Linux's Landlock, which needs no privileges and cannot be undone.

Landlock (landlock(7), Linux 5.13 and newer) binds the calling thread and what it starts from then
on. It belongs before the first import that begins a thread. Reading stays free, and so does
starting programs: what is started stands behind the same wall.
"""

from __future__ import annotations

import ctypes
import os
import platform
import stat
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluator.isolation.system_calls import are_known, refuse_calls

# linux/landlock.h and asm-generic/unistd.h: the same numbers on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH = 1
_NO_NEW_PRIVILEGES = 38  # linux/prctl.h

_WRITE_FILE = 1 << 1
# Remove folders and files; make devices, folders, files, sockets, pipes and links.
_MAKE_AND_REMOVE = sum(1 << bit for bit in range(4, 13))
_REFER, _TRUNCATE, _IOCTL_DEVICE = 1 << 13, 1 << 14, 1 << 15  # since versions 2, 3 and 5
_TCP = 0b11  # bind and connect, since version 4
_SCOPES = 0b11  # abstract sockets and signals of processes outside, since version 6

#: The first version that can refuse TCP.
_WITH_TCP = 4

# What CUDA and ROCm write to; /dev/shm is how their processes share memory.
_GPU_DEVICES = ("nvidia*", "dri", "kfd", "nvidia-caps")


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
    if not are_known():
        return f"a wall around models that leaves sockets open ({platform.machine()})"
    return None


def put_up_wall(writable: Sequence[Path]) -> int:
    """From now on this thread, and all that it starts, can write below ``writable`` only.

    Nor can it make, remove, rename or truncate anything elsewhere, nor bind or connect TCP, nor
    signal processes outside, nor do what `refuse_calls` refuses. /dev/null, and the devices of a
    GPU where there is one, stay writable. Returns the version of Landlock; 0 where there is none,
    and then nothing changes. Raises OSError where the system has it and refuses.
    """
    version = landlock_version()
    if version == 0:
        return 0
    handled = _WRITE_FILE | _MAKE_AND_REMOVE
    handled |= _REFER if version >= 2 else 0
    handled |= _TRUNCATE if version >= 3 else 0
    handled |= _IOCTL_DEVICE if version >= 5 else 0
    tcp = _TCP if version >= _WITH_TCP else 0
    scopes = _SCOPES if version >= 6 else 0
    # struct landlock_ruleset_attr, as long as this version knows it.
    length = 8 if version < _WITH_TCP else 16 if version < 6 else 24
    attributes = struct.pack("=QQQ", handled, tcp, scopes)[:length]
    ruleset = _checked(_CREATE_RULESET, attributes, ctypes.c_size_t(length), 0)
    try:
        for path in (*writable, Path("/dev/null"), *_gpu_devices()):
            _allow(ruleset, path, handled)
        if _library().prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
        _checked(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    refuse_calls(local_sockets=has_gpu_devices())
    return version


def has_gpu_devices() -> bool:
    """Whether a GPU's devices are there."""
    return bool(_gpu_devices())


def _gpu_devices() -> list[Path]:
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
        _checked(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(descriptor)


def _checked(number: int, *arguments: object) -> int:
    """A system call's result. Raises OSError."""
    found = int(_library().syscall(number, *arguments))
    if found < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"Landlock: {os.strerror(code)}")
    return found


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
