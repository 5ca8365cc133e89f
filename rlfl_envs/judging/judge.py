"""What a judge is: a module that turns a request into a judgement."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Protocol

from rlfl_envs.arguments import check_value
from rlfl_envs.errors import ConfigError

__all__ = ["FAILURES", "Judge", "Judgement", "Request", "Settings", "load_judge"]

Settings = tuple[tuple[str, int | float | str], ...]
# Statuses that may be the machine's fault: the first two are the pool's, the last says that a part of it may be.
FAILURES = ("timeout", "crash", "strained")


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be judged, with all that its judgement depends on.

    Attributes:
        text: What was written, such as a game or a program.
        settings: Sorted (name, value) pairs, such as ("max_turns", 200) and ("num_playouts", 100).
        seed: Of all that is random, 0 or more.
        context: What it is judged against, as a text, such as a program's test cases.
    """

    text: str
    settings: Settings = ()
    seed: int = 0
    context: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What came of a request.

    Attributes:
        status: A word of the judge's, such as "playable"; or the pool's "timeout" or "crash".
        parts: Measures by name, where there are any.
        data: What is more than numbers, such as a result for each test case: anything that JSON can write.
    """

    status: str
    parts: Mapping[str, float] = field(default_factory=dict)
    data: Any = None


class Judge(Protocol):
    """The functions of a judge's module. Only `judge` must be there; these are the defaults of the others.

    A module may also set `batch`: how many requests travel to a worker together. One is right where judging takes
    longer than a millisecond.
    """

    batch: int = 1

    def judge(self, request: Request) -> Judgement:
        """Judges, in a worker. An exception other than RLFLError is a "crash" of this one request."""
        raise NotImplementedError

    def screen(self, request: Request) -> Judgement | None:
        """Refuses cheaply, in the caller's process; None goes on to a worker.

        It sees every text first, however long or hostile: it must take linear time, and look at the length first.
        """
        return None

    def start(self, settings: Mapping[str, int | float | str]) -> None:
        """Prepares a new worker; no request's time runs yet.

        Args:
            settings: Those of the first request that waits; others may follow.
        """
        return

    def normalise(self, text: str) -> str:
        """Writes all texts alike that mean the same, in linear time, so that they are judged once."""
        return text

    def version(self, request: Request) -> str:
        """Says which version judges: another one makes those judgements obsolete that were kept."""
        return ""


class _Module(Judge):
    """A module as a judge, with defaults for what it does not define."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        names = ("batch", "screen", "start", "normalise", "version")
        vars(self).update({name: getattr(module, name) for name in names if hasattr(module, name)})

    def judge(self, request: Request) -> Judgement:
        judgement: Judgement = self._module.judge(request)
        return judgement


def load_judge(name: str) -> Judge:
    """Imports a judge.

    Args:
        name: A module's path, such as "rlfl_envs.tasks.games.ludax.judge".

    Raises:
        ConfigError: There is no such module, or it has no function `judge`.
        MissingDependencyError: The module says that it needs a package.
    """
    try:
        module = importlib.import_module(name)
    except (ModuleNotFoundError, ValueError, TypeError) as error:  # the last two for "" and "..module"
        raise ConfigError(f"judge={name!r} cannot be loaded ({error}); allowed: 'package.module'.") from error
    check_value("judge", name, hasattr(module, "judge"), "a module with a function `judge`")
    return _Module(module)
