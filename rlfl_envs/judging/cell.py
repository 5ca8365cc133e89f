"""A cell: a fork of this process that has given up its rights, and does one kind of work.

For judges in Python that may execute what a model wrote. In the cell nothing can be opened, no connection made and no
process started; memory is limited, the environment's variables are gone, and whoever asks sets a time, after which the
cell is killed. On Linux the kernel sees to all of this by a filter of system calls, which root cannot lift either.
Elsewhere there are the process's own limits, and Python's audit events, which native code can walk around.

What a cell still can do is to give a wrong answer: what is executed in it may say what it likes of itself.
"""

from __future__ import annotations

import os
import select
import signal
import struct
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

from rlfl_envs.errors import ConfigError
from rlfl_envs.judging.seccomp import allow_computing_only

__all__ = ["Cell", "can_fork"]

_LENGTH = struct.Struct("<I")
_MOST = 4096  # bytes of a reply
# Audit events, by their first word, that have no place in a computation.
_REFUSED = {
    *("ctypes", "fcntl", "glob", "mmap", "open", "os", "pathlib", "pty", "resource", "shutil", "signal", "socket"),
    *("sqlite3", "subprocess", "syslog", "tempfile", "urllib"),
}


def can_fork() -> bool:
    """Whether there can be cells here: not on Windows."""
    return hasattr(os, "fork")


class Cell:
    """One such process. What was imported and loaded when it was made is there; nothing else can be."""

    def __init__(self, work: Callable[[bytes], bytes], *, memory_mb: int) -> None:
        """Makes the cell.

        Args:
            work: What it does with a question; returns up to 4,096 bytes. An exception ends the cell.
            memory_mb: What the process may hold, all that it has from this one included, MiB.

        Raises:
            ConfigError: This system has no fork.
        """
        if not can_fork():
            raise ConfigError("cells need os.fork: Linux or macOS.")
        asked, self._question = os.pipe()
        self._reply, reply = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads: the cell uses none of them
            self._process = os.fork()
        if not self._process:
            _live(work, asked, reply, memory_mb)
        os.close(asked)
        os.close(reply)

    def ask(self, question: bytes, seconds: float) -> bytes:
        """Returns what the work makes of a question.

        Raises:
            TimeoutError: It takes longer. The cell must be ended.
            ChildProcessError: The cell has ended itself, or said something else than a reply.
        """
        ends = time.monotonic() + seconds
        try:
            _write(self._question, question)
        except BrokenPipeError as error:
            raise ChildProcessError("the cell has ended") from error
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size, ends))
        if length > _MOST:
            raise ChildProcessError(f"the cell replies {length} bytes")
        return self._read(length, ends)

    def _read(self, length: int, ends: float) -> bytes:
        found, ready = b"", select.poll()
        ready.register(self._reply, select.POLLIN)
        while len(found) < length:
            left = ends - time.monotonic()
            if left <= 0 or not ready.poll(1000 * left):
                raise TimeoutError
            piece = os.read(self._reply, length - len(found))
            if not piece:
                raise ChildProcessError("the cell has ended")
            found += piece
        return found

    def end(self) -> None:
        """Kills it; once."""
        os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._question)
        os.close(self._reply)


def _live(work: Callable[[bytes], bytes], asked: int, reply: int, memory_mb: int) -> NoReturn:
    """The cell's whole life."""
    try:
        _give_up_rights(asked, reply, memory_mb)
        while (head := _read_whole(asked, _LENGTH.size)) is not None:
            _write(reply, work(_read_whole(asked, _LENGTH.unpack(head)[0]) or b""))
    finally:
        os._exit(1)


def _give_up_rights(asked: int, reply: int, memory_mb: int) -> None:
    """Keeps two pipes, and the right to compute."""
    import resource

    os.environ.clear()
    silence = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(silence, standard)
    first, last = sorted((asked, reply))
    for begin, end in ((3, first), (first + 1, last), (last + 1, os.sysconf("SC_OPEN_MAX"))):
        os.closerange(begin, end)
    # Who asks watches the clock; an hour of computing is for a cell whose asker is gone.
    limits = {"CORE": 0, "CPU": 3600, "FSIZE": 0, "NOFILE": 0, "NPROC": 0, "DATA": memory_mb * 2**20}
    for name, limit in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        _, most = resource.getrlimit(kind)
        resource.setrlimit(kind, (limit, limit) if most == resource.RLIM_INFINITY else (min(limit, most),) * 2)
    allow_computing_only()
    sys.addaudithook(_refuse)


def _refuse(event: str, _: tuple[Any, ...]) -> None:
    if event.partition(".")[0] in _REFUSED:
        raise PermissionError(f"{event} is not allowed in a cell")


def _read_whole(source: int, length: int) -> bytes | None:
    found = b""
    while len(found) < length:
        piece = os.read(source, length - len(found))
        if not piece:
            return None
        found += piece
    return found


def _write(target: int, content: bytes) -> None:
    left = memoryview(_LENGTH.pack(len(content)) + content)
    while left:
        left = left[os.write(target, left) :]
