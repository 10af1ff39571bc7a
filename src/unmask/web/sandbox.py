"""Confine a process before it reads files from strangers: no network, no other files, bounded resources.

`confine` uses Landlock (Linux 5.13 or later) and seccomp through the C library. Both cannot be undone, and they also
apply to threads and processes that are started later. `bound` sets resource limits (POSIX). A measure that the platform
does not support is left out. Both functions return the measures that are in force.
"""

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

if sys.platform != "win32":
    import resource

OPEN_FILES = 128
NO_NEW_PRIVS, SET_SECCOMP, FILTER_MODE = 38, 22, 2  # numbers of prctl(2)
# Numbers of landlock(7); equal on all architectures.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
ACTIONS = {1: 13, 2: 14, 3: 15, 4: 15}  # ABI -> number of actions on files; 15 from ABI 3 (truncate), 16 from ABI 5
# For each architecture: its audit number, and the numbers of the system calls that are blocked.
CALLS = {
    "x86_64": (0xC000003E, {"socket": 41, "socketpair": 53, "ptrace": 101, "execve": 59, "execveat": 322, "fork": 57}),
    "aarch64": (0xC00000B7, {"socket": 198, "socketpair": 199, "ptrace": 117, "execve": 221, "execveat": 281}),
}
SYSTEM = (
    "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/etc/fonts", "/etc/passwd", "/etc/nsswitch.conf",
    "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/sys/devices/system", "/sys/fs/cgroup",
    "/dev/urandom",
)  # fmt: skip
MORE_CALLS = {"io_uring_setup": 425, "pidfd_getfd": 438}  # the same numbers on both architectures


def confine(readable: Iterable[Path]) -> list[str]:
    """Confine this process: it can read only these files and folders, write no file, and open no socket.

    Call this function before the process starts threads: threads that are already running are not confined. Writing to
    the null device stays possible.

    Returns:
        The measures in force, such as `["landlock", "seccomp"]`; empty if the platform supports neither.
    """
    if sys.platform != "linux":
        return []
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0):
        return []
    found = ["landlock"] if _landlock(libc, readable) else []
    return found + (["seccomp"] if _seccomp(libc) else [])


def _landlock(libc: ctypes.CDLL, readable: Iterable[Path]) -> bool:
    abi = libc.syscall(CREATE_RULESET, None, 0, 1)
    if abi < 1:
        return False
    files = (1 << ACTIONS.get(abi, 16)) - 1
    network = 3 if abi >= 4 else 0  # bind and connect, TCP
    scoped = 3 if abi >= 6 else 0  # abstract UNIX sockets and signals to other processes
    handled = struct.pack("QQQ", files, network, scoped)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    rules = libc.syscall(CREATE_RULESET, handled, len(handled), 0)
    if rules < 0:
        return False
    try:
        for path in readable:
            _allow(libc, rules, path, READ_FILE | (READ_DIR if path.is_dir() else 0))
        _allow(libc, rules, Path(os.devnull), READ_FILE | WRITE_FILE)
        return bool(libc.syscall(RESTRICT_SELF, rules, 0) == 0)
    finally:
        os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, path: Path, actions: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # no such path on this system
        return
    try:
        libc.syscall(ADD_RULE, rules, 1, struct.pack("=Qi", actions, place), 0)
    finally:
        os.close(place)


def _seccomp(libc: ctypes.CDLL) -> bool:
    """Install a BPF program that makes some system calls fail with EPERM, and all calls of x32 and i386 programs."""
    if platform.machine() not in CALLS:
        return False
    audit, calls = CALLS[platform.machine()]
    numbers = [*calls.values(), *MORE_CALLS.values()]
    load, equal, above, give = 0x20, 0x15, 0x35, 0x06  # BPF: load a word, jump if == or >=, return
    many = len(numbers)
    program = [(load, 0, 0, 4), (equal, 0, many + 3, audit), (load, 0, 0, 0), (above, many + 1, 0, 0x40000000)]
    program += [(equal, many - at, 0, number) for at, number in enumerate(numbers)]
    program += [(give, 0, 0, 0x7FFF0000), (give, 0, 0, 0x00050000 | 1)]  # allow; fail with EPERM
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in program))
    header = struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code))
    return bool(libc.prctl(SET_SECCOMP, FILTER_MODE, header, 0, 0) == 0)


def bound(memory: float) -> list[str]:
    """Limit open files, and the address space to `memory` GB more than now; forbid file writes and core dumps."""
    if sys.platform == "win32":
        return []
    wanted = {
        "open files": (resource.RLIMIT_NOFILE, OPEN_FILES),
        "no written file": (resource.RLIMIT_FSIZE, 0),
        "no core dump": (resource.RLIMIT_CORE, 0),
    }
    if (mapped := _mapped()) is not None:
        wanted["memory"] = (resource.RLIMIT_AS, mapped + int(memory * 1e9))
    for kind, value in wanted.values():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
    return list(wanted)


def _mapped() -> int | None:
    """Return the size of this process's address space, bytes; None without /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[0])
    except (OSError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def system_paths() -> list[Path]:
    """Return the paths that Python and its libraries read: their folders, and system libraries, fonts and settings."""
    ours = [Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[1], *map(Path, filter(None, sys.path))]
    return [path for path in (*ours, *map(Path, SYSTEM)) if path.exists()]
