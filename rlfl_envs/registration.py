"""The ids: one line each. Tasks are named by string, so that importing the registry imports none of them."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import warnings
from collections.abc import Mapping
from typing import Any

import gymnasium

from rlfl_envs.arguments import check_value
from rlfl_envs.errors import ConfigError, UnknownIdError, suggest
from rlfl_envs.prompting import PROMPTING, make_prompted_task
from rlfl_envs.task import Task, task_class

__all__ = ["arguments_that_load", "list_ids", "load_task", "register_all", "register_task"]

ENTRY_POINTS = "rlfl_envs.tasks"
# What the environments take besides the task's own arguments.
_ENV_ARGUMENTS = ("render_mode", "autoreset_mode", "text_infos", "rewards")
_FUNCTION_TASK = "rlfl_envs.tasks.function"


def register_task(id: str, task: str | type[Task] | Any, **arguments: Any) -> None:
    """Registers a task's environment with Gymnasium, scalar and vectorised.

    Args:
        id: Such as "rlfl/Copy-v0".
        task: "module:Class" of a `Task`, the class itself, or a plain function `reward(prompt, completion) -> float`;
            a function takes `prompts=[...]` as well (see `rlfl_envs.tasks.function.FunctionTaskConfig`).
        **arguments: The task's arguments under this id, JSON-able.

    Raises:
        ConfigError: `task` is none of these.
    """
    if isinstance(task, type) and issubclass(task, Task):
        task = f"{task.__module__}:{task.__qualname__}"
    elif callable(task):
        arguments = {"reward": importlib.import_module(_FUNCTION_TASK).name_of(task), **arguments}
        task = f"{_FUNCTION_TASK}:FunctionTask"
    if not isinstance(task, str):
        raise ConfigError(f"task={task!r} is not allowed; allowed: 'module:Class', a Task's class, or a function.")
    gymnasium.register(
        id=id,
        entry_point="rlfl_envs.token_env:TokenEnv",
        vector_entry_point="rlfl_envs.vector:TokenVectorEnv",
        kwargs={"task": task, **arguments},
    )


def register_all() -> None:
    """Registers the suite, and what installed packages add to it; importing `rlfl_envs` does it."""
    register_task("rlfl/Arithmetic-v0", "rlfl_envs.tasks.arithmetic:Arithmetic", work="given")
    register_task("rlfl/ArithmeticSteps-v0", "rlfl_envs.tasks.arithmetic:Arithmetic", work="required")
    register_task("rlfl/ArithmeticAnswer-v0", "rlfl_envs.tasks.arithmetic:Arithmetic", work="skipped")
    register_task("rlfl/Brackets-v0", "rlfl_envs.tasks.brackets:Brackets")
    register_task("rlfl/Copy-v0", "rlfl_envs.tasks.copy:Copy")
    register_task("rlfl/Countdown-v0", "rlfl_envs.tasks.countdown:Countdown")
    register_task("rlfl/HumanEval-v0", "rlfl_envs.tasks.human_eval:HumanEval")
    register_task("rlfl/Json-v0", "rlfl_envs.tasks.json:Json")
    register_task("rlfl/LudaxGame-v0", "rlfl_envs.tasks.games:LudaxGame")
    register_task("rlfl/LudiiGame-v0", "rlfl_envs.tasks.games:LudiiGame")
    register_task("rlfl/Mixture-v0", "rlfl_envs.tasks.mixture:Mixture")
    register_task("rlfl/Program-v0", "rlfl_envs.tasks.program:Program")
    register_task("rlfl/Proof-v0", "rlfl_envs.tasks.proof:Proof")
    register_task("rlfl/Regex-v0", "rlfl_envs.tasks.regex:Regex")
    register_task("rlfl/Sat-v0", "rlfl_envs.tasks.sat:Sat")
    register_task("rlfl/Sentiment-v0", "rlfl_envs.tasks.sentiment:Sentiment")
    register_task("rlfl/Sql-v0", "rlfl_envs.tasks.sql:Sql")
    register_task("rlfl/Symbolic-v0", "rlfl_envs.tasks.symbolic:Symbolic")
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            entry.load()
        except (Exception, SystemExit) as error:  # noqa: BLE001 (a broken package must not take the suite along)
            warnings.warn(f"The tasks of {entry.value!r} cannot be loaded: {error!r}", stacklevel=2)


def list_ids() -> list[str]:
    """Returns every id that `register_task` registered, sorted; third parties' included."""
    return sorted(id for id, spec in gymnasium.registry.items() if spec.entry_point == "rlfl_envs.token_env:TokenEnv")


def find_id(id: str) -> str:
    """Finds an id as Gymnasium does: of "module:id" the module is imported first, which registers it.

    Returns:
        The id without its module.

    Raises:
        UnknownIdError: No such module or id; the message suggests the nearest.
    """
    check_value("id", id, isinstance(id, str), "a text such as 'rlfl/Copy-v0'")
    module, _, name = id.rpartition(":")
    if module.startswith("."):
        raise UnknownIdError(f"id={id!r} is not registered: {module!r} is a path, where a module's name is due.")
    if module:
        try:
            importlib.import_module(module)
        except ImportError as error:
            if error.name is not None and module != error.name and not module.startswith(f"{error.name}."):
                raise  # the module is there, and something else is missing
            raise UnknownIdError(f"id={id!r} is not registered: there is no module {module!r} here.") from error
    ids = list_ids()
    if name not in ids:
        raise UnknownIdError(f"id={name!r} is not registered.{suggest(name, ids)} Allowed: {', '.join(ids)}.")
    return name


def arguments_that_load(id: str, arguments: Mapping[str, Any]) -> list[str]:
    """Which arguments of an id would make code, a file or a download be loaded, to be asked of what others wrote down.

    Raises:
        ConfigError: The task has no such argument.
        UnknownIdError: No such id.
    """
    cls = task_class(gymnasium.spec(find_id(id)).kwargs["task"])
    known = [argument.name for argument in dataclasses.fields(cls.Config)]
    of_task = {name: value for name, value in arguments.items() if name not in (*_ENV_ARGUMENTS, *PROMPTING)}
    for name in of_task:
        if name not in known:
            raise ConfigError(f"{name!r} is no argument of {id}.{suggest(name, known)} Allowed: {', '.join(known)}.")
    return cls.arguments_that_load(of_task)


def load_task(id: str, **arguments: Any) -> Task:
    """Constructs the task of an id, without an environment.

    Args:
        id: Such as "rlfl/Arithmetic-v0", or "package.module:me/Mine-v0", whose module is imported first.
        **arguments: What `gymnasium.make(id, **arguments)` takes.

    Raises:
        UnknownIdError: No such id; the message suggests the nearest.
        ConfigError: An argument is unknown or has a value that is not allowed.
    """
    merged = {**gymnasium.spec(find_id(id)).kwargs, **arguments}
    task = merged.pop("task")
    if not isinstance(task, str):
        raise ConfigError(f"task={task!r} is not allowed; allowed: the id's own.")
    return make_prompted_task(task, {name: value for name, value in merged.items() if name not in _ENV_ARGUMENTS})
