"""What the settings of training, imitating and pretraining are checked for alike."""

from __future__ import annotations

import typing
from typing import Any

from rlfl_envs import check_value

__all__ = ["check_settings"]


def check_settings(config: Any, **least: float) -> None:
    """Checks every field that is annotated with a Literal, and the least values of others.

    Args:
        config: A dataclass.
        **least: The smallest value allowed, by field.

    Raises:
        ConfigError: With the field, its value and what is allowed.
    """
    for name, hint in typing.get_type_hints(type(config)).items():
        if typing.get_origin(hint) is typing.Literal:
            choices, value = typing.get_args(hint), getattr(config, name)
            check_value(name, value, value in choices, ", ".join(map(repr, choices)))
    for name, minimum in least.items():
        value = getattr(config, name)
        check_value(name, value, value >= minimum, f"{minimum} or more")
