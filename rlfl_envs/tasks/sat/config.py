"""The arguments of Sat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rlfl_envs.arguments import check_value
from rlfl_envs.task import TaskConfig

__all__ = ["SatConfig"]

MOST_VARIABLES = 30


@dataclass(frozen=True)
class SatConfig(TaskConfig):
    """The arguments of Sat.

    Attributes:
        vocabulary: "literal" (a literal a token), "characters", or a Hugging Face tokenizer by name or path.
        min_variables: How many variables a formula has at least, 4..30.
        max_variables: How many it has at most, min_variables..30; how many is uniform between them.
        clauses_per_variable: How many clauses there are for each variable, 1 to 5; rounded to whole clauses.
        reward: "plain" pays by the clauses that are satisfied, "strict" for all of them alone.
    """

    vocabulary: str = "literal"
    min_variables: int = 4
    max_variables: int = 8
    clauses_per_variable: float = 4.26
    reward: Literal["plain", "strict"] = "plain"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        super().__post_init__()
        least, most = self.min_variables, self.max_variables
        check_value("min_variables", least, 4 <= least <= MOST_VARIABLES, f"4..{MOST_VARIABLES}")
        is_range = least <= most <= MOST_VARIABLES
        check_value("max_variables", most, is_range, f"{least}..{MOST_VARIABLES}, from min_variables on")
        ratio = self.clauses_per_variable
        check_value("clauses_per_variable", ratio, 1 <= ratio <= 5, "1 to 5")

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Formulas of `min_variables` variables, of one more, and so on."""
        counts = range(self.min_variables, self.max_variables + 1)
        return [{"min_variables": count, "max_variables": count} for count in counts]

    def clauses_of(self, variables: int) -> int:
        """How many clauses a formula of so many variables has."""
        return round(self.clauses_per_variable * variables)
