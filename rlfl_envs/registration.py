"""The ids: one line each. Tasks are named by string, so that importing the registry imports none of them."""

from __future__ import annotations

from typing import Any

import gymnasium

from rlfl_envs.errors import ConfigError, UnknownIdError, suggest
from rlfl_envs.task import Task, make_task

__all__ = ["list_ids", "load_task", "register_task"]

_ENV_ARGUMENTS = ("render_mode", "autoreset_mode")  # what the environments take besides the task's own arguments


def register_task(id: str, task: str, **arguments: Any) -> None:
    """Registers a task's environment with Gymnasium, scalar and vectorised.

    Args:
        id: Such as "rlfl/Copy-v0".
        task: "module:Class" of a `Task`.
        **arguments: The task's arguments under this id, JSON-able.
    """
    gymnasium.register(
        id=id,
        entry_point="rlfl_envs.token_env:TokenEnv",
        vector_entry_point="rlfl_envs.vector:TokenVectorEnv",
        kwargs={"task": task, **arguments},
    )


def register_all() -> None:
    """Registers the suite; importing `rlfl_envs` does it."""
    register_task("rlfl/Arithmetic-v0", "rlfl_envs.tasks.arithmetic:Arithmetic", work="given")
    register_task("rlfl/ArithmeticSteps-v0", "rlfl_envs.tasks.arithmetic:Arithmetic", work="required")
    register_task("rlfl/ArithmeticAnswer-v0", "rlfl_envs.tasks.arithmetic:Arithmetic", work="skipped")
    register_task("rlfl/Brackets-v0", "rlfl_envs.tasks.brackets:Brackets")
    register_task("rlfl/Copy-v0", "rlfl_envs.tasks.copy:Copy")
    register_task("rlfl/LudaxGame-v0", "rlfl_envs.tasks.games:LudaxGame")
    register_task("rlfl/LudiiGame-v0", "rlfl_envs.tasks.games:LudiiGame")
    register_task("rlfl/Sentiment-v0", "rlfl_envs.tasks.sentiment:Sentiment")


def list_ids() -> list[str]:
    """Returns every id that `register_task` registered, sorted; third parties' included."""
    return sorted(id for id, spec in gymnasium.registry.items() if spec.entry_point == "rlfl_envs.token_env:TokenEnv")


def load_task(id: str, **arguments: Any) -> Task:
    """Constructs the task of an id, without an environment.

    Args:
        id: Such as "rlfl/Arithmetic-v0".
        **arguments: What `gymnasium.make(id, **arguments)` takes.

    Raises:
        UnknownIdError: No such id; the message suggests the nearest.
        ConfigError: An argument is unknown or has a value that is not allowed.
    """
    ids = list_ids()
    if id not in ids:
        raise UnknownIdError(f"id={id!r} is not registered.{suggest(id, ids)} Allowed: {', '.join(ids)}.")
    merged = {**gymnasium.spec(id).kwargs, **arguments}
    task = merged.pop("task")
    if not isinstance(task, str):
        raise ConfigError(f"task={task!r} is not allowed; allowed: the id's own.")
    return make_task(task, {name: value for name, value in merged.items() if name not in _ENV_ARGUMENTS})
