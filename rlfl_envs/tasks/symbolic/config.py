"""The arguments of Symbolic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rlfl_envs.arguments import check_value
from rlfl_envs.task import TaskConfig

__all__ = ["KINDS", "SymbolicConfig"]

KINDS = ("diff", "int", "solve", "simp")
_MOST_TERMS = 4


@dataclass(frozen=True)
class SymbolicConfig(TaskConfig):
    """The arguments of Symbolic.

    Attributes:
        kind: What is asked for: "diff", "int", "solve" or "simp", or "all", each as often.
        min_terms: How many terms an expression has at least, 1..4.
        max_terms: How many it has at most, min_terms..4; how many is uniform between them.
        reward: "plain" pays for right terms as well, "strict" for whole answers alone.
    """

    kind: Literal["all", "diff", "int", "solve", "simp"] = "all"
    min_terms: int = 1
    max_terms: int = 3
    reward: Literal["plain", "strict"] = "plain"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        super().__post_init__()
        least, most = self.min_terms, self.max_terms
        check_value("min_terms", least, 1 <= least <= _MOST_TERMS, f"1..{_MOST_TERMS}")
        is_range = least <= most <= _MOST_TERMS
        check_value("max_terms", most, is_range, f"{least}..{_MOST_TERMS}, from min_terms on")

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Expressions of `min_terms` terms, of one more, and so on."""
        counts = range(self.min_terms, self.max_terms + 1)
        return [{"min_terms": count, "max_terms": count} for count in counts]
