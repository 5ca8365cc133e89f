"""What all settings have in common: how they are checked, written and read, without torch, so that `--help` is quick.

A field's annotation says which values are allowed.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import tyro

from rlfl_envs import ConfigError, check_type, check_value, suggest

__all__ = [
    "SETTINGS_VERSION",
    "Allowed",
    "Count",
    "EnvId",
    "LearningRate",
    "NotNegative",
    "Positive",
    "Settings",
    "Share",
    "Weight",
    "check_env_kwargs",
]

SETTINGS_VERSION = 1
"""The format of written settings. It rises when a field is renamed or changes its meaning. A new field needs no new
version: its default is how runs behaved before. What rlfl-envs 0.1 wrote names no version and is of version 1."""


EnvId = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ID")]
"""An environment, "namespace/Name-v0" or "package.module:namespace/Name-v0"; on the command line it comes first."""


class Allowed(NamedTuple):
    """Which values a field may have, in words and as a test."""

    words: str
    test: Callable[[Any], bool]


Count = Annotated[int, Allowed("1 or more", lambda value: value >= 1)]
NotNegative = Annotated[int, Allowed("0 or more", lambda value: value >= 0)]
_Seed = Annotated[int, Allowed("0 or more, below 2**32", lambda value: 0 <= value < 2**32)]
Weight = Annotated[float, Allowed("0 or more", lambda value: value >= 0)]
Positive = Annotated[float, Allowed("above 0", lambda value: value > 0)]
LearningRate = Annotated[Weight, tyro.conf.arg(aliases=["--lr"])]
Share = Annotated[float, Allowed("0 to 1", lambda value: 0 <= value <= 1)]


@dataclass(frozen=True)
class Settings:
    """What pretraining, imitating and reinforcement learning share."""

    env_id: EnvId = "rlfl/Arithmetic-v0"
    """Which environment to learn; `rlfl list` shows them."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the environment, such as `operators=+* mask=syntax`."""
    seed: _Seed = 0
    """Seeds everything random. The same seed gives the same run on the same machine."""
    layers: Count = 2
    """Transformer blocks of a model from random weights, a GPT-2."""
    width: Count = 128
    """Its hidden size, a multiple of `heads`."""
    heads: Count = 4
    """Its attention heads."""
    learning_rate: LearningRate = 1e-3
    """AdamW's step size, after the warm-up where there is one."""
    device: Literal["auto", "cpu"] = "auto"
    """"auto" takes an accelerator where there is one."""
    threads: NotNegative = 0
    """CPU threads for torch; 0 leaves its default."""

    def __post_init__(self) -> None:
        """Checks every field by its annotation.

        Raises:
            ConfigError: With the field, its value and what is allowed.
        """
        for name, hint, allowed in _fields(type(self)):
            value = getattr(self, name)
            check_type(name, value, hint)
            if value is not None and allowed is not None:
                check_value(name, value, allowed.test(value), allowed.words)
        check_env_kwargs(self.env_kwargs)

    @property
    def short_id(self) -> str:
        """The id without module and namespace, such as "Copy-v0": the name of folders."""
        return self.env_id.rpartition(":")[2].rpartition("/")[2]

    def to_json(self) -> dict[str, Any]:
        """Returns all settings and the version of their format, JSON-able."""
        entries = dataclasses.asdict(self).items()
        listed = {name: list(value) if isinstance(value, tuple) else value for name, value in entries}
        return {"version": SETTINGS_VERSION, **listed}

    def changes(self) -> dict[str, Any]:
        """Returns the settings that are not defaults, and the version of their format, JSON-able."""
        default = type(self)().to_json()
        entries = self.to_json()
        return {name: value for name, value in entries.items() if name == "version" or value != default[name]}

    @classmethod
    def from_json(cls, entries: Mapping[str, Any]) -> Self:
        """Makes the settings again of what `to_json` or `changes` returned; what is not there has its default.

        Args:
            entries: As read from a JSON file.

        Raises:
            ConfigError: A newer version wrote them, a name is unknown, or a value is not allowed.
        """
        settings = dict(entries)
        version = settings.pop("version", 1)
        check_value("version", version, version in range(1, SETTINGS_VERSION + 1), f"1 to {SETTINGS_VERSION}")
        known = {each.name for each in dataclasses.fields(cls)}
        for name in settings.keys() - known:
            raise ConfigError(f"{name!r} is no setting of {cls.__name__}.{suggest(name, known)}")
        settings = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
        return cls(**settings)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a file that `to_json` was written to.

        Raises:
            ConfigError: It does not hold settings of this class; the message names the file and what is wrong.
        """
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:  # a ConfigError is a ValueError
            raise ConfigError(f"{str(path)!r} does not hold the settings of a run of this version ({error})") from error


def check_env_kwargs(env_kwargs: Mapping[str, Any]) -> None:
    """Refuses what is not an argument of a task: above all `task`, by which a file could choose which code runs.

    Raises:
        ConfigError: With the argument.
    """
    for name in {"num_envs", "autoreset_mode", "task"} & set(env_kwargs):
        raise ConfigError(f"env_kwargs={{{name!r}: ...}} is not allowed; allowed: the task's arguments.")


def _fields(cls: type[Settings]) -> list[tuple[str, Any, Allowed | None]]:
    """Each field's name, its plain annotation, and which values are allowed."""
    plain, annotated = typing.get_type_hints(cls), typing.get_type_hints(cls, include_extras=True)
    names = [each.name for each in dataclasses.fields(cls)]
    return [(name, plain[name], _allowed(annotated[name])) for name in names]


def _allowed(hint: Any) -> Allowed | None:
    """Finds `Allowed` in an annotation, such as in `Annotated[int, Allowed(...)] | None`."""
    found = (_allowed(part) for part in typing.get_args(hint))
    return next((part for part in typing.get_args(hint) if isinstance(part, Allowed)), next(filter(None, found), None))
