"""Cells: processes that can compute, and nothing else."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlfl_envs.judging.cell import Cell, can_fork
from rlfl_envs.judging.seccomp import allow_computing_only

pytestmark = [
    pytest.mark.skipif(not can_fork(), reason="needs os.fork"),
    pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning"),  # of JAX, where another test has imported it
]


def _execute(question: bytes) -> bytes:
    """What no judge should do: runs what it is asked, whatever that is, and says what came of it."""
    try:
        return repr(eval(question)).encode()[:4000]  # noqa: S307
    except Exception as error:  # noqa: BLE001
        return type(error).__name__.encode()


@pytest.fixture
def cell() -> Iterator[Cell]:
    """A cell that executes what it is asked."""
    made = Cell(_execute, memory_mb=512)
    yield made
    made.end()


def test_a_cell_answers(cell: Cell) -> None:
    """One question after another, long ones too."""
    assert [cell.ask(b"1 + 1", 5.0), cell.ask(b"len('" + b"a" * 200_000 + b"')", 5.0)] == [b"2", b"200000"]


@pytest.mark.parametrize(
    "text",
    [
        "open('{path}', 'w')",
        "open('/etc/passwd').read()",
        "__import__('os').open('{path}', 65)",
        "__import__('os').mkdir('{path}')",
        "__import__('os').remove('{there}')",
        "__import__('os').system('touch {path}')",
        "__import__('os').fork()",
        "__import__('os').kill(__import__('os').getppid(), 9)",
        "__import__('subprocess').run(['touch', '{path}'])",
        "__import__('socket').socket()",
        "__import__('ctypes').CDLL(None).system(b'touch {path}')",
        "__import__('resource').setrlimit(7, (100, 100))",
        "__import__('os').environ['HOME']",
        "[0] * 10**9",
        "'a' * 10**10",
    ],
)
def test_a_cell_has_no_rights(cell: Cell, text: str, tmp_path: Path) -> None:
    """No file, process, connection or variable of the environment is to be had, nor any amount of memory."""
    there = tmp_path / "there"
    there.touch()
    reply = cell.ask(text.format(path=tmp_path / "new", there=there).encode(), 5.0)
    assert reply in {
        b"PermissionError",
        b"OSError",
        b"MemoryError",
        b"KeyError",
        b"ModuleNotFoundError",
        b"ImportError",
    }
    assert [*tmp_path.iterdir()] == [there]


def test_the_kernel_refuses_by_itself() -> None:
    """The filter of system calls holds without Python's audit events: nothing opens, and the process computes on."""
    reader, writer = os.pipe()
    process = os.fork()
    if not process:
        code = 1
        try:
            holds = allow_computing_only()
            try:
                os.open("/dev/null", os.O_RDONLY)
                code = 3 if holds else 2
            except PermissionError:
                code = 0
            os.write(writer, str(sum(range(10**5))).encode())
        finally:
            os._exit(code)
    os.close(writer)
    assert os.read(reader, 100) == str(sum(range(10**5))).encode()
    os.close(reader)
    _, status = os.waitpid(process, 0)
    if os.waitstatus_to_exitcode(status) == 2:
        pytest.skip("no filter of system calls here")
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.timing
def test_a_loop_ends_at_its_time() -> None:
    """Whoever asks gets a TimeoutError at the time they set, and can end the cell."""
    cell, begun = Cell(_execute, memory_mb=4096), time.monotonic()
    with pytest.raises(TimeoutError):
        cell.ask(b"[x for x in iter(int, 1)]", 0.5)
    cell.end()
    assert time.monotonic() - begun < 5


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it ends after an hour of computing")
def test_a_cell_ends_with_who_made_it() -> None:
    """A worker that is killed while its cell computes leaves no process that goes on."""
    reader, writer = os.pipe()
    process = os.fork()
    if not process:
        try:
            cell = Cell(_execute, memory_mb=512)
            cell.ask(b"1", 5.0)
            os.write(writer, str(cell._process).encode())
            cell.ask(b"[x for x in iter(int, 1)]", 60.0)
        finally:
            os._exit(0)
    stat = Path(f"/proc/{os.read(reader, 20).decode()}/stat")
    assert stat.exists()
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    until = time.monotonic() + 10
    while time.monotonic() < until and stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.05)
    assert time.monotonic() < until
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("text", ["__import__('os')._exit(0)", "(lambda f: f(f))(lambda f: f(f))", "exit()"])
def test_what_ends_its_cell_is_told(text: str) -> None:
    """An exit is a ChildProcessError; a recursion is an exception like others."""
    cell = Cell(_execute, memory_mb=4096)  # other tests may have filled this process
    try:
        assert cell.ask(text.encode(), 5.0) == b"RecursionError"
    except ChildProcessError:
        assert "exit" in text
    finally:
        cell.end()


def test_a_reply_that_is_none_is_refused() -> None:
    """What is executed may write to the pipe itself: no more than 4,096 bytes are ever read of it."""
    write = b"[__import__('os').write(d, b'\\xff' * 100) for d in range(3, 64)]"
    cell = Cell(lambda question: bytes(eval(question) or []), memory_mb=512)  # noqa: S307
    with pytest.raises((ChildProcessError, TimeoutError)):
        cell.ask(write, 2.0)
    cell.end()
