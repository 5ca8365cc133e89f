"""Programs that a model wrote, run on test cases behind two walls.

The inner wall is Monty (https://github.com/pydantic/monty), an interpreter of a subset of Python that knows no files,
no network and no clock but what it is given. The outer one is the pool: Monty runs in a process of its own below a
worker, both limited, and what does not end is killed. Time, memory, recursion, output and size are always limited::

    with Sandbox(workers=2) as sandbox:
        (run,) = sandbox.run([Program("def f(x): return x + 3", "f", ((1,), (2,)))])
        assert [result.value for result in run.results] == [4, 5]
"""

from __future__ import annotations

import functools
import importlib.util
import json
import keyword
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from rlfl_envs.arguments import check_type, check_value, is_integer
from rlfl_envs.errors import ConfigError, MissingDependencyError, how_to_install
from rlfl_envs.judging.judge import Judgement, Request, Settings
from rlfl_envs.judging.plain import decode, encode
from rlfl_envs.judging.pool import shared_pool

__all__ = ["Kind", "Limits", "Program", "Result", "Run", "Sandbox"]

Kind = Literal["value", "error", "timeout", "memory", "output", "type", "crash"]
_JUDGE = "rlfl_envs.judging.monty"
# To replace a worker takes seconds, and it holds nothing of a program: Monty replaces its own process now and then.
_MAX_TASKS = 100_000


@dataclass(frozen=True)
class Limits:
    """What a program may take. There is no way to have none.

    Attributes:
        seconds: For loading the program, and for each case, 0.01..60.
        total_seconds: After so many, no further case of a program is begun, 0.01..600.
        memory_mb: What it may hold at once, MiB, 1..1024.
        recursion: How deep its calls may go, 1..1000.
        output: How many characters it may print in a case, 0..1,000,000.
        result: How many values and characters a result may hold, 1..1,000,000.
        source: How many characters the program may have, 1..1,000,000.
    """

    seconds: float = 0.2
    total_seconds: float = 1.0
    memory_mb: int = 64
    recursion: int = 500
    output: int = 1000
    result: int = 10_000
    source: int = 20_000

    def __post_init__(self) -> None:
        """Checks them."""
        allowed: dict[str, tuple[float, float]] = {
            "seconds": (0.01, 60),
            "total_seconds": (0.01, 600),
            "memory_mb": (1, 1024),
            "recursion": (1, 1000),
            "output": (0, 1_000_000),
            "result": (1, 1_000_000),
            "source": (1, 1_000_000),
        }
        for name, (least, most) in allowed.items():
            value = getattr(self, name)
            is_number = is_integer(value) or (isinstance(value, float) and isinstance(least, float))
            check_value(name, value, is_number and least <= value <= most, f"{least}..{most}")


@dataclass(frozen=True)
class Program:
    """A program, and what it is to be run on.

    Attributes:
        source: Python, as far as Monty knows it: no `yield`, `del`, or inheritance.
        function: The function that is called.
        cases: The arguments of each call, which must be plain (see `plain`). Calls are made in order, in one session:
            what one leaves in a global variable the next may find, unless a limit was met in between.
        seed: What `random` starts from in each session.
    """

    source: str
    function: str
    cases: Sequence[tuple[Any, ...]]
    seed: int = 0

    def request(self, limits: Limits) -> Request:
        """The request to the judge.

        Raises:
            ConfigError: The function has no name that Python allows, or a case is not plain.
        """
        check_type("source", self.source, str)
        check_type("function", self.function, str)
        is_name = self.function.isidentifier() and not keyword.iskeyword(self.function)
        check_value("function", self.function, is_name, "an identifier")
        try:
            context = json.dumps({"function": self.function, "cases": [encode([*case]) for case in self.cases]})
        except (TypeError, OverflowError) as error:
            raise ConfigError(f"A case of {self.function!r} is not allowed: {error}; allowed: plain data.") from error
        return Request(self.source, _settings(limits), self.seed, context)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a case.

    Attributes:
        kind: "value"; "error" (it raised an exception); "timeout"; "memory"; "output" (it printed too much, or its
            value is too large); "type" (its value is not plain, such as a function or an object of its own class);
            "crash" (the interpreter died).
        value: What the function returned, where the kind is "value".
        error: The exception's name, such as "ZeroDivisionError", where the kind is "error".
        printed: What it printed, up to the limit.
    """

    kind: Kind
    value: Any = None
    error: str = ""
    printed: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a program.

    Attributes:
        status: "ran"; or why its cases were not begun: "too_long", "no_parse", "unsupported" (Python that Monty does
            not know), or what went wrong while it was loaded: one of `Kind`.
        results: One for each case; where the program did not run all are alike.
    """

    status: str
    results: tuple[Result, ...]


class Sandbox:
    """Runs programs on the workers of a pool, several programs in each request to a worker."""

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        workers: int = 1,
        pool: Literal["processes", "ray"] = "processes",
        cache: str | Path | None = None,
    ) -> None:
        """Takes the settings; starts nothing. Sandboxes of the same settings share their workers.

        Args:
            limits: What each program may take.
            workers: How many processes run programs (see `Pool`).
            pool: "processes" of this machine, or "ray" for a cluster.
            cache: A folder in which results are kept from one run to the next.

        Raises:
            ConfigError: An argument is not allowed.
            MissingDependencyError: pydantic-monty or Pebble is not installed.
        """
        for package in ("pydantic_monty", "pebble"):
            if importlib.util.find_spec(package) is None:
                raise MissingDependencyError(
                    f"Programs need the package {package}, which has wheels for Linux, macOS and Windows; elsewhere "
                    f"programs cannot be run: {how_to_install('programs')}"
                )
        self.limits = limits or Limits()
        # Monty keeps the limits itself, and its process is killed where it cannot; a worker is only where both fail.
        a_program = self.limits.total_seconds + self.limits.seconds + 1.0
        self._pool = shared_pool(
            _JUDGE,
            workers=workers,
            timeout=10.0 + 16 * a_program,
            memory_mb=max(1024, 4 * self.limits.memory_mb),
            max_tasks=_MAX_TASKS,
            pool=pool,
            cache=None if cache is None else str(cache),
        )

    def run(self, programs: Sequence[Program]) -> list[Run]:
        """Runs a batch, in its order; equal programs on equal cases once.

        Raises:
            ConfigError: A program's function or cases are not allowed.
        """
        judgements = self._pool.evaluate([program.request(self.limits) for program in programs])
        return [_run(judgement, len(program.cases)) for program, judgement in zip(programs, judgements, strict=True)]

    def close(self) -> None:
        """Ends the workers; the next program starts others."""
        self._pool.close()

    def __enter__(self) -> Sandbox:
        """The sandbox itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes it."""
        self.close()


@functools.cache
def _settings(limits: Limits) -> Settings:
    return tuple(sorted(asdict(limits).items()))


def _run(judgement: Judgement, count: int) -> Run:
    if judgement.status in ("ran", "strained"):
        return Run("ran", tuple(_result(*written) for written in judgement.data))
    kind: Any = judgement.status if judgement.status in get_args(Kind) else "error"
    error = {"too_long": "SyntaxError", "no_parse": "SyntaxError", "unsupported": "NotImplementedError"}
    return Run(judgement.status, (Result(kind, error=judgement.data or error.get(judgement.status, "")),) * count)


def _result(kind: Kind, content: Any, printed: str) -> Result:
    if kind == "value":
        return Result(kind, value=decode(content), printed=printed)
    return Result(kind, error=content or "", printed=printed)
