"""Linux's filter of system calls (seccomp): what a process may still ask of the kernel, for good."""

from __future__ import annotations

import ctypes
import errno
import platform
import signal
import struct
import sys
from collections.abc import Sequence

__all__ = ["allow_computing_only"]

# What Python needs to compute, and to read and write what is open already; by the machine's numbers.
_CALLS: dict[str, tuple[int, dict[str, int]]] = {
    "x86_64": (
        0xC000003E,
        {
            "read": 0,
            "write": 1,
            "close": 3,
            "mmap": 9,
            "mprotect": 10,
            "munmap": 11,
            "brk": 12,
            "rt_sigaction": 13,
            "rt_sigprocmask": 14,
            "rt_sigreturn": 15,
            "sched_yield": 24,
            "mremap": 25,
            "madvise": 28,
            "getpid": 39,
            "exit": 60,
            "gettimeofday": 96,
            "getrusage": 98,
            "sigaltstack": 131,
            "gettid": 186,
            "futex": 202,
            "clock_gettime": 228,
            "clock_getres": 229,
            "exit_group": 231,
            "getrandom": 318,
            "rseq": 334,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "close": 57,
            "read": 63,
            "write": 64,
            "exit": 93,
            "exit_group": 94,
            "futex": 98,
            "clock_gettime": 113,
            "clock_getres": 114,
            "sched_yield": 124,
            "sigaltstack": 132,
            "rt_sigaction": 134,
            "rt_sigprocmask": 135,
            "rt_sigreturn": 139,
            "getrusage": 165,
            "gettimeofday": 169,
            "getpid": 172,
            "gettid": 178,
            "brk": 214,
            "munmap": 215,
            "mremap": 216,
            "mmap": 222,
            "mprotect": 226,
            "madvise": 233,
            "getrandom": 278,
            "rseq": 293,
        },
    ),
}

# From linux/prctl.h, linux/seccomp.h and linux/bpf_common.h.
_END_WITH_PARENT, _NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 1, 38, 22, 2
_KILL, _REFUSE, _ALLOW = 0x80000000, 0x00050000 | errno.EPERM, 0x7FFF0000
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER, _MACHINE = 0, 4  # where the call's number and the machine stand in what the filter is shown


def allow_computing_only() -> bool:
    """Lets this process's one thread compute, and read and write what is open: every other call fails with EPERM.

    It holds for root as well, and cannot be taken back. The process ends with its parent.

    Returns:
        Whether it holds: not outside Linux on x86-64 and ARM64, nor on a kernel without these filters.
    """
    if sys.platform != "linux" or platform.machine() not in _CALLS:
        return False
    machine, calls = _CALLS[platform.machine()]
    program = ctypes.create_string_buffer(_program(machine, sorted(calls.values())))
    packed = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program.raw) // 8, ctypes.addressof(program)))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(_END_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    is_bound = prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
    return bool(is_bound and prctl(_SET_SECCOMP, _FILTER, ctypes.c_void_p(ctypes.addressof(packed)), 0, 0) == 0)


def _program(machine: int, calls: Sequence[int]) -> bytes:
    """The filter: instructions of 8 bytes; a jump goes as many instructions ahead as it says."""
    steps = [
        (_LOAD, 0, 0, _MACHINE),
        (_IF_EQUAL, 1, 0, machine),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        *((_IF_EQUAL, len(calls) - place, 0, call) for place, call in enumerate(calls)),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("HBBI", *step) for step in steps)
