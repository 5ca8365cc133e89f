"""The arguments of Program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rlfl_envs.arguments import check_value, check_workers
from rlfl_envs.task import TaskConfig
from rlfl_envs.tasks.program.problems import FORMS

__all__ = ["ProgramConfig"]


@dataclass(frozen=True)
class ProgramConfig(TaskConfig):
    """The arguments of Program.

    Attributes:
        form: "expression": what follows `return`, on one line; "function": the lines of a function.
        family: "all" of the form, or one of "one_step", "arithmetic", "texts_and_lists", "conditions",
            "comprehensions", "mixed"; with form="function" also "loops", "recursion", "long".
        reward: "strict": the share of hidden cases solved above the best constant or parameter; "success": a quarter
            of that where a case is wrong; "plain": the share solved.
        shown: How many cases the prompt shows, 1..8.
        hidden: How many others judge, 2..32.
        workers: How many processes run programs, 1..256.
    """

    form: Literal["expression", "function"] = "expression"
    family: Literal[
        "all",
        "one_step",
        "arithmetic",
        "texts_and_lists",
        "conditions",
        "comprehensions",
        "mixed",
        "loops",
        "recursion",
        "long",
    ] = "all"
    reward: Literal["strict", "plain", "success"] = "strict"
    shown: int = 4
    hidden: int = 6
    workers: int = 1

    def __post_init__(self) -> None:
        """Checks the arguments."""
        super().__post_init__()
        families = ("all", *FORMS[self.form].families)
        allowed = f"{', '.join(map(repr, families))} with form={self.form!r}"
        check_value("family", self.family, self.family in families, allowed)
        check_value("shown", self.shown, 1 <= self.shown <= 8, "1..8")
        check_value("hidden", self.hidden, 2 <= self.hidden <= 32, "2..32")
        check_workers(self.workers)

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """The families, from easy to hard; none where one is chosen."""
        return [{"family": family} for family in FORMS[self.form].families] if self.family == "all" else ()
