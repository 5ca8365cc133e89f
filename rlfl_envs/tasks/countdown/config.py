"""The arguments of Countdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rlfl_envs.arguments import check_value
from rlfl_envs.task import TaskConfig

__all__ = ["CountdownConfig"]

MOST_NUMBERS = 6


@dataclass(frozen=True)
class CountdownConfig(TaskConfig):
    """The arguments of Countdown.

    Attributes:
        vocabulary: "number" (an integer a token), "characters", or a Hugging Face tokenizer by name or path.
        min_numbers: How many numbers a prompt has at least, 2..6.
        max_numbers: How many it has at most, min_numbers..6; how many is uniform between them.
        largest: Numbers are 1..largest, 10..999.
        min_target: The least target, 1..1000.
        max_target: The largest target, min_target..1000.
        use_all: Whether a solution has to use every number, or may leave some out.
        reward: "plain" pays for coming near as well, "strict" for solutions alone.
    """

    vocabulary: str = "number"
    min_numbers: int = 3
    max_numbers: int = 4
    largest: int = 99
    min_target: int = 10
    max_target: int = 100
    use_all: bool = True
    reward: Literal["plain", "strict"] = "plain"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        super().__post_init__()
        least, most = self.min_numbers, self.max_numbers
        check_value("min_numbers", least, 2 <= least <= MOST_NUMBERS, f"2..{MOST_NUMBERS}")
        check_value("max_numbers", most, least <= most <= MOST_NUMBERS, f"{least}..{MOST_NUMBERS}, from min_numbers on")
        check_value("largest", self.largest, 10 <= self.largest <= 999, "10..999")
        check_value("min_target", self.min_target, 1 <= self.min_target <= 1000, "1..1000")
        is_range = self.min_target <= self.max_target <= 1000
        check_value("max_target", self.max_target, is_range, f"{self.min_target}..1000, from min_target on")

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Prompts of `min_numbers` numbers, of one more, and so on."""
        counts = range(self.min_numbers, self.max_numbers + 1)
        return [{"min_numbers": count, "max_numbers": count} for count in counts]
