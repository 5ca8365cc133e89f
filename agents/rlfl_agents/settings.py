"""What the settings of training, imitating and pretraining are checked for alike."""

from __future__ import annotations

import typing
from typing import Any

from rlfl_envs import ConfigError, check_value

__all__ = ["check_settings"]


def check_settings(config: Any, **least: float) -> None:
    """Checks every field that is annotated with a Literal, the least values of others, and `env_kwargs`.

    Args:
        config: A dataclass.
        **least: The smallest value allowed, by field; None is always allowed.

    Raises:
        ConfigError: With the field, its value and what is allowed.
    """
    for name, hint in typing.get_type_hints(type(config)).items():
        if typing.get_origin(hint) is typing.Literal:
            choices, value = typing.get_args(hint), getattr(config, name)
            check_value(name, value, value in choices, ", ".join(map(repr, choices)))
    for name, minimum in least.items():
        value = getattr(config, name)
        check_value(name, value, value is None or value >= minimum, f"{minimum} or more")
    for name in {"num_envs", "autoreset_mode"} & set(config.env_kwargs):
        raise ConfigError(f"env_kwargs={{{name!r}: ...}} is not allowed; allowed: the task's arguments.")
