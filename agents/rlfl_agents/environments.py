"""The environments that the agent plays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import gymnasium

from rlfl_envs import TokenVectorEnv, find_id, task_class

__all__ = ["held_out_envs", "held_out_split", "make_envs"]


def make_envs(env_id: str, num_envs: int, **env_kwargs: Any) -> TokenVectorEnv:
    """Makes the vector environment that `collect` plays.

    Raises:
        UnknownIdError: No such id; the message suggests the nearest.
        ConfigError: An argument of the environment is wrong.
    """
    find_id(env_id)  # says which id may have been meant
    envs = gymnasium.make_vec(env_id, num_envs=num_envs, autoreset_mode="Disabled", **env_kwargs)
    return cast("TokenVectorEnv", envs)


def held_out_envs(env_id: str, num_envs: int, **env_kwargs: Any) -> TokenVectorEnv:
    """The same with held-out prompts."""
    return make_envs(env_id, num_envs, **{**env_kwargs, "split": held_out_split(env_id, env_kwargs)})


def held_out_split(env_id: str, env_kwargs: Mapping[str, Any]) -> str:
    """Which prompts are held out: "test", but whoever trains on "all" is evaluated on all."""
    arguments = {**gymnasium.spec(find_id(env_id)).kwargs, **env_kwargs}
    split = arguments.get("split", task_class(arguments["task"]).Config.split)
    return "all" if split == "all" else "test"
