"""The user's cache folder: what takes minutes to make is made once.

A cached file is named by everything that it depends on, so that none is ever out of date; deleting the folder loses
nothing but time. Beside it lies a checksum: a file that is damaged is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
import warnings
from collections.abc import Iterable
from pathlib import Path

import platformdirs

__all__ = ["cache_folder", "digest", "is_whole", "keep", "write"]


def cache_folder() -> Path:
    """Where the cache is: the environment variable RLFL_CACHE, else the operating system's usual place."""
    named = os.environ.get("RLFL_CACHE")
    return Path(named).expanduser() if named else platformdirs.user_cache_path("rlfl-envs")


def digest(texts: Iterable[str]) -> str:
    """Twelve hexadecimal digits for a sequence of texts; lone surrogates count as "?"."""
    total = hashlib.blake2b(digest_size=6)
    for text in texts:
        total.update(text.encode(errors="replace") + b"\0")
    return total.hexdigest()


def write(path: Path, content: bytes) -> None:
    """Writes a file atomically, whoever else, in whatever container, may be writing it.

    Raises:
        OSError: It cannot be written; nothing is left of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def keep(path: Path, content: bytes) -> None:
    """`write`, with a checksum beside it; where that fails (a full disk, say), it warns."""
    try:
        write(_sum_of(path), hashlib.sha256(content).hexdigest().encode())
        write(path, content)
    except OSError as error:
        warnings.warn(f"{path.name} could not be cached, and will have to be made again: {error}", stacklevel=2)


def is_whole(path: Path) -> bool:
    """Whether a file that `keep` wrote is there and undamaged; version 0.1 wrote no checksum, and counts."""
    try:
        content = path.read_bytes()
        with contextlib.suppress(FileNotFoundError):
            return _sum_of(path).read_bytes() == hashlib.sha256(content).hexdigest().encode()
    except OSError:
        return False
    return len(content) > 0


def _sum_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
