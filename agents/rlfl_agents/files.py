"""Writing files and folders so that a crash at any moment leaves what was there, or all of what is new.

Everything is written under a temporary name beside its place, flushed to the disk, and renamed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

__all__ = ["remove_half_written", "write_bytes", "write_folder", "write_text"]

_TEMPORARY = ".writing-"


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8, atomically."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file, atomically; its folder must be there.

    Raises:
        OSError: It could not be written; what was there is as it was.
    """
    temporary = _beside(path)
    try:
        temporary.write_bytes(content)
        _flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _flush(path.parent)


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
    temporary = _beside(folder)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        files = sorted(
            (path for path in temporary.rglob("*") if path.is_file()), key=lambda path: (path.name == last, path)
        )
        for file in files:
            _flush(file)
        if not folder.exists():
            _flush(temporary)
            temporary.rename(folder)
        else:
            for file in files:
                target = folder / file.relative_to(temporary)
                target.parent.mkdir(exist_ok=True)
                file.replace(target)
            _flush(folder)
        _flush(folder.parent)
    except (OSError, RuntimeError, SafetensorError) as error:  # so the disk, torch and safetensors report a full one
        raise OSError(f"{folder} could not be written; is the disk full? ({error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_half_written(folder: Path) -> None:
    """Removes the temporary files and folders that a killed process left in a folder."""
    for stale in folder.glob(_TEMPORARY + "*"):
        if stale.is_dir():
            shutil.rmtree(stale)
        else:
            stale.unlink()


def _beside(path: Path) -> Path:
    """A name of our own in the same folder, whoever else may be writing there."""
    return path.with_name(f"{_TEMPORARY}{path.name}-{uuid.uuid4().hex[:8]}")


def _flush(path: Path) -> None:
    """Asks the operating system to put a file, or a folder's list of names, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
