"""Checks of arguments: an error names the argument, its value and what is allowed."""

from __future__ import annotations

import math
import types
import typing
from typing import Any, Literal

from rlfl_envs.errors import ConfigError

__all__ = ["check_type", "check_value"]


def check_value(name: str, value: object, is_allowed: bool, allowed: str) -> None:
    """Raises a ConfigError that names the argument, its value and what is allowed, unless it is."""
    if not is_allowed:
        raise ConfigError(f"{name}={value!r} is not allowed; allowed: {allowed}.")


def check_type(name: str, value: object, hint: Any) -> None:
    """Raises a ConfigError where a value does not fit its field's annotation (a class, a Literal, a union)."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
    if not any(_fits(value, option) for option in options):
        allowed = [
            ", ".join(map(repr, typing.get_args(o)))
            if typing.get_origin(o) is Literal
            else getattr(o, "__name__", str(o))
            for o in options
        ]
        raise ConfigError(
            f"{name}={value!r} is not allowed; allowed: {' or '.join(allowed).replace('NoneType', 'None')}."
        )


def _fits(value: object, option: Any) -> bool:
    if typing.get_origin(option) is Literal:
        return any(type(value) is type(choice) and value == choice for choice in typing.get_args(option))
    if option is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if option is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, typing.get_origin(option) or option)  # dict[str, Any] is a dict
