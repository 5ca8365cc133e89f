"""Checks of arguments: an error names the argument, its value and what is allowed."""

from __future__ import annotations

import os
import sys
import types
import typing
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from rlfl_envs.errors import ConfigError

__all__ = ["check_path", "check_type", "check_value", "check_workers", "is_integer"]

_WORKERS = 256  # more processes than that are a slip


def check_value(name: str, value: object, is_allowed: bool, allowed: str) -> None:
    """Raises a ConfigError that names the argument, its value and what is allowed, unless it is."""
    if not is_allowed:
        raise ConfigError(f"{name}={value!r} is not allowed; allowed: {allowed}.")


def check_type(name: str, value: object, hint: Any) -> None:
    """Raises a ConfigError where a value does not fit its field's annotation (a class, a Literal, a tuple, a union)."""
    if not _fits(value, hint):
        words = " or ".join(_words(option) for option in _options(hint)).replace("NoneType", "None")
        raise ConfigError(f"{name}={value!r} is not allowed; allowed: {words}.")


def check_path(name: str, value: str | os.PathLike[str]) -> None:
    """Raises a ConfigError where no file could have this name: for a null character or a lone surrogate in it."""
    try:
        is_path = b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        is_path = False
    check_value(name, value, is_path, "what a file may be called")


def check_workers(workers: Any, least: int = 1) -> None:
    """Raises a ConfigError where these are not so many worker processes as may be started."""
    check_value(
        "workers", workers, is_integer(workers) and least <= workers <= _WORKERS, f"an integer, {least}..{_WORKERS}"
    )


def is_integer(value: object) -> bool:
    """Whether a value is Python's integer or NumPy's; a bool is none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _options(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)


def _words(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return ", ".join(map(repr, typing.get_args(hint)))
    return str(hint) if typing.get_args(hint) else getattr(hint, "__name__", str(hint))


def _fits(value: object, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, option) for option in _options(hint))
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in typing.get_args(hint))
    if origin is tuple:
        return isinstance(value, (tuple, list)) and _all_fit(value, typing.get_args(hint))  # JSON has no tuples
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return isinstance(value, origin or hint)


def _all_fit(values: Sequence[object], hints: tuple[Any, ...]) -> bool:
    if hints[1:] == (...,):
        hints = hints[:1] * len(values)
    return len(values) == len(hints) and all(map(_fits, values, hints))
