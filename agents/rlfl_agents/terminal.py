"""What is said on the terminal: nothing that it would obey, in whatever encoding it has."""

from __future__ import annotations

import io
import sys

from rlfl_envs import printable

__all__ = ["any_encoding", "say"]


def say(text: str) -> None:
    """Prints a text, with escapes for what a terminal would obey, and for what it cannot show."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(printable(text).encode(encoding, errors="backslashreplace").decode(encoding), flush=True)


def any_encoding() -> None:
    """Lets stdout write an escape for what its encoding lacks, from now on, whoever prints."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
