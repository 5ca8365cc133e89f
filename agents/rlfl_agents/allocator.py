"""Memory that is freed and asked for again.

An update frees what it needed, and the next one asks for as much. In between, Linux's C library gives it back to the
system, which hands it out again page by page, each of them wiped: a seventh to a fifth of a small model's update.
"""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # as malloc.h names them, M_ before
_KEPT = 2**29
_LARGEST = 2**25  # what is larger than 32 MiB goes back in any case


def keep_freed_memory() -> None:
    """Lets this process keep up to 512 MiB of what it frees, for good. Other C libraries stay as they are."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, _KEPT)
