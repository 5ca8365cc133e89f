"""What the words after a command may be: `NAME=VALUE` pairs, ids, flags that decide the defaults of others."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

import rlfl_envs
from rlfl_envs import ConfigError, MissingDependencyError, how_to_install

__all__ = [
    "ARGUMENT_RULES",
    "AS_THEY_ARE",
    "NONE",
    "EnvKwargs",
    "Prompting",
    "argument_rules",
    "find",
    "leading_id",
    "named_folder",
    "need_agent",
]

EnvKwargs = dict[str, Any]
NONE: EnvKwargs = {}


@dataclass(frozen=True)
class Prompting:
    """How prompts are put to a model: short for three of the environment's arguments."""

    chat: bool = False
    """Put the id's instruction and the prompt into the chat template of the model's vocabulary."""
    template: str | None = None
    """Put prompts as this text says, with {prompt} where the prompt stands, and {instruction} where the id's
    instruction does."""
    answer: str | None = None
    """Let the model talk, and judge what stands where this says, such as "Answer: {answer}"."""

    def arguments(self) -> EnvKwargs:
        """The environment's arguments that were given."""
        return {name: value for name, value in asdict(self).items() if value not in (None, False)}


AS_THEY_ARE = Prompting()


def argument_rules(added_to: EnvKwargs = NONE) -> ConstructorRegistry:
    """Teaches tyro `--env-kwargs operators=+* length=8`.

    Args:
        added_to: The arguments that are there without the flag; what it names is added or changed.
    """
    rules = ConstructorRegistry()

    @rules.primitive_rule
    def env_kwargs(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[EnvKwargs] | None:
        if info.type_origin is not dict:
            return None
        return PrimitiveConstructorSpec(
            nargs="*",
            metavar="NAME=VALUE [NAME=VALUE ...]",
            instance_from_str=lambda words: added_to | dict(map(_name_and_value, words)),
            is_instance=lambda value: isinstance(value, dict),
            str_from_instance=lambda value: [f"{name}={_written(each)}" for name, each in value.items()],
        )

    return rules


ARGUMENT_RULES = argument_rules()


def _name_and_value(word: str) -> tuple[str, Any]:
    """Reads `length=8` (JSON where it is JSON) or `operators=+*` (else text)."""
    name, equals, value = word.partition("=")
    if not equals or not name:
        raise ValueError(f"{word!r} is not of the form NAME=VALUE")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def find(env_id: str) -> str:
    """Makes sure that an id is registered, and imports the module of "package.module:namespace/Name-v0" for that.

    Modules in the current directory are found too, as by `python -m`. Call it for what the user has typed alone: what a
    file says must import nothing.

    Args:
        env_id: Such as "rlfl/Copy-v0".

    Returns:
        The id as it was given.

    Raises:
        ConfigError: A file is named instead of a module.
        UnknownIdError: There is no such module or id.
    """
    module, _, name = env_id.rpartition(":")
    if module.endswith(".py"):
        raise ConfigError(f"id={env_id!r} names a file; name its module: {module.removesuffix('.py')}:{name}.")
    folder = str(Path.cwd())
    if module and folder not in sys.path:
        sys.path.insert(0, folder)
    rlfl_envs.find_id(env_id)
    return env_id


def leading_id(words: Sequence[str], default: str) -> str:
    """Returns the id that comes first, by which the defaults of all flags are chosen.

    Args:
        words: What follows the command.
        default: The id whose defaults are shown by `--help` without an id.

    Raises:
        ConfigError: None comes first, or it names a file.
        UnknownIdError: There is no such id or module.
    """
    if words and not words[0].startswith("-"):
        return find(words[0])
    if any(word in ("-h", "--help") for word in words):
        return default
    raise ConfigError("an id must come first, such as `rlfl train rlfl/Arithmetic-v0`; `rlfl list` shows them all.")


def named_folder(name: str, resume: bool = False) -> Path:
    """Returns the first of runs/NAME, runs/NAME-2, runs/NAME-3, ... that holds no run or model yet.

    Args:
        name: Of the folder, in runs/.
        resume: Return the last that holds one instead, if any does.
    """
    folders = [Path("runs") / name]
    while (folders[-1] / "config.json").exists():
        folders.append(Path("runs") / f"{name}-{len(folders) + 1}")
    return folders[-2] if resume and len(folders) > 1 else folders[-1]


def need_agent(command: str) -> None:
    """Quietens Transformers.

    Raises:
        MissingDependencyError: The agent extra is not installed.
    """
    missing = [name for name in ("torch", "transformers", "accelerate") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(f"`rlfl {command}` needs {', '.join(missing)}: {how_to_install('agent')}")
    import transformers

    transformers.utils.logging.disable_progress_bar()  # it would draw over ours at every checkpoint
