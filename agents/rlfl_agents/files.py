"""Writing files and folders so that a crash at any moment leaves what was there, or all of what is new.

Everything is written under a temporary name beside its place, flushed to the disk, and renamed. A folder that is being
written has one owner: a lock in it keeps other processes out, and goes with the process that holds it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from rlfl_envs import ConfigError

__all__ = ["naming", "owned", "remove_half_written", "write_bytes", "write_file", "write_folder", "write_text"]

_TEMPORARY = ".writing-"
_LOCK = ".lock"


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8, atomically."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file, atomically; its folder must be there.

    Raises:
        OSError: It could not be written; what was there is as it was.
    """
    write_file(path, lambda file: file.write(content))


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Lets a function write a file, atomically; its folder must be there.

    Raises:
        OSError: It could not be written; what was there is as it was.
    """
    temporary = _beside(path)
    try:
        with naming(path):
            with temporary.open("wb") as file:
                write(file)
            _flush(temporary)
            temporary.replace(path)
            _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Says which file it was that could not be written, which the operating system leaves out of a full disk's error.

    Raises:
        OSError: With the path, and what was wrong.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # so the disk, torch and safetensors report a full one
        raise OSError(f"{path} could not be written; is the disk full? ({error})") from error


@contextlib.contextmanager
def write_folder(folder: Path, last: str | None = None) -> Iterator[Path]:
    """Gives a temporary folder to write into, whose files take their places when the block ends without an error.

    A new folder appears as a whole. In one that is there already, files are replaced one by one, each atomically.

    Args:
        folder: The folder to write; folders above it are made.
        last: The file that is replaced last: its presence says that the others are there.

    Yields:
        The temporary folder.

    Raises:
        OSError: It could not be written; what was there is as it was.
    """
    # Inside a folder that is there: what is above may be another disk, or somebody else's.
    temporary = folder / f"{_TEMPORARY}{uuid.uuid4().hex[:8]}" if folder.is_dir() else _beside(folder)
    try:
        with naming(folder):
            temporary.mkdir(parents=True)
            yield temporary
            for path in (*_files(temporary, last), *_folders(temporary)):
                _flush(path)
            if not _takes_name(temporary, folder):
                for file in _files(temporary, last):
                    target = folder / file.relative_to(temporary)
                    target.parent.mkdir(exist_ok=True)
                    file.replace(target)
                for path in _folders(folder):
                    _flush(path)
            _flush(folder.absolute().parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _files(folder: Path, last: str | None) -> list[Path]:
    """All files of a folder by name, one of them last."""
    return sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: (path.name == last, path))


def _folders(folder: Path) -> list[Path]:
    """A folder and all folders in it."""
    return [folder, *(path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink())]


def _takes_name(temporary: Path, folder: Path) -> bool:
    """Gives a folder its name, unless another has it, which somebody may have made meanwhile."""
    if folder.exists():
        return False
    try:
        temporary.rename(folder)
    except OSError:
        if folder.is_dir():
            return False
        raise
    return True


@contextlib.contextmanager
def owned(folder: Path, argument: str, wait: bool = False) -> Iterator[None]:
    """Keeps other processes out of a folder while the block runs; the folder is made, and goes again if it stays empty.

    The lock ends with the process that holds it, however that ends: what a killed one left behind keeps nobody out.

    Args:
        folder: The folder to write into.
        argument: What the user calls it.
        wait: Wait for another process that has it, instead of raising.

    Raises:
        ConfigError: Another process is writing there, or something else has this name.
        OSError: The folder cannot be written to.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    path = folder / _LOCK
    lock = FileLock(path)
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise ConfigError(f"{argument}={str(folder)!r} is no folder, and none can be made there.") from error
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            raise ConfigError(
                f"{argument}={str(folder)!r} is being written by another process, {_owner(path)}; wait until it has "
                "ended, or choose another folder."
            ) from None
        try:
            path.write_text(f"{os.getpid()}\n")
            remove_half_written(folder)
            yield
        finally:
            path.unlink(missing_ok=True)  # while it is held: whoever waits for it makes another
            lock.release()
    finally:
        with contextlib.suppress(OSError):  # the first that is not empty stays, and so do those above it
            for new in made:
                new.rmdir()


def _owner(lock: Path) -> str:
    """The number of the process that has a lock, as far as it has written it down."""
    try:
        return lock.read_text(encoding="utf-8").strip() or "just begun"
    except (OSError, UnicodeDecodeError):
        return "just ended"


def remove_half_written(folder: Path) -> None:
    """Removes the temporary files and folders that a killed process left in a folder."""
    for stale in folder.glob(_TEMPORARY + "*"):
        if stale.is_dir():
            shutil.rmtree(stale)
        else:
            stale.unlink()


def _beside(path: Path) -> Path:
    """A name of our own in the same folder, whoever else may be writing there."""
    path = path.absolute()  # "." has no name
    return path.with_name(f"{_TEMPORARY}{path.name}-{uuid.uuid4().hex[:8]}")


def _flush(path: Path) -> None:
    """Asks the operating system to put a file, or a folder's list of names, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
