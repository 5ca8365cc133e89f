"""The environments that the agent plays."""

from __future__ import annotations

from typing import Any, cast

import gymnasium

from rlfl_envs import TokenVectorEnv, find_id

__all__ = ["held_out_envs", "make_envs"]


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
    """The same with held-out prompts: `split="test"`, but whoever trains on everything is evaluated on everything."""
    split = "all" if env_kwargs.get("split") == "all" else "test"
    return make_envs(env_id, num_envs, **{**env_kwargs, "split": split})
