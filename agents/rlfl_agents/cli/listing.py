"""`rlfl list`."""

from __future__ import annotations

import importlib.util
import reprlib
import shutil
import sys
import textwrap

import gymnasium

import rlfl_envs
from rlfl_envs import ConfigError

__all__ = ["list_all"]

_INDENT = 28


def list_all(all: bool = False) -> None:
    """Show every id and what it is.

    Args:
        all: Lists the members of families too, such as rlfl/ReasoningGym.chain_sum-v0.
    """
    for env_id in rlfl_envs.list_ids(members=all):
        line = f"{env_id:{_INDENT}} {_summary(env_id)}"
        if sys.stdout.isatty():  # elsewhere a line each: for `grep`
            width = max(shutil.get_terminal_size().columns, _INDENT + 20)
            line = textwrap.fill(
                line, width, subsequent_indent=" " * (_INDENT + 1), break_long_words=False, break_on_hyphens=False
            )
        print(line)


def _summary(env_id: str) -> str:
    """The first line of a task's card, the arguments of this id, and what is missing to play it."""
    arguments = dict(gymnasium.spec(env_id).kwargs)
    try:
        cls = rlfl_envs.task_class(arguments.pop("task"))
    except ConfigError as error:  # another package's, which may be broken
        return f"({error})"
    words = [(cls.__doc__ or cls.__name__).strip().splitlines()[0]]
    words += [f"{name}={_brief(value)}" for name, value in arguments.items()]
    missing = [package for package in cls.packages if importlib.util.find_spec(package) is None]
    words += [f"(not installed: {', '.join(missing)})"] if missing else []
    return " ".join(words)


def _brief(value: object) -> str:
    """Text as it is, a long list or text by its beginning."""
    brief = reprlib.repr(value)
    return value if isinstance(value, str) and repr(value) == brief else brief
