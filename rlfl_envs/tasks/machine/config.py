"""The arguments of Machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from rlfl_envs.arguments import check_value
from rlfl_envs.task import TaskConfig
from rlfl_envs.tasks.machine.functions import FAMILIES

__all__ = ["MachineConfig"]


@dataclass(frozen=True)
class MachineConfig(TaskConfig):
    """The arguments of Machine.

    Attributes:
        vocabulary: "instruction" (an instruction a token, numbers by their digits), "characters", or a Hugging Face
            tokenizer by name or path.
        family: "all", or one of "one_step", "arithmetic", "conditions", "powers", "sums", "loops", "recurrences".
        reward: "strict": half for the hidden cases solved above the best constant, half for speed once all are;
            "success": a quarter of that until all are; "plain": the share of hidden cases solved.
        shown: How many cases the prompt shows, 1..6.
        hidden: How many others judge, 2..16; with family "all" or "powers" (12 arguments) at most 12 - shown.
    """

    files: ClassVar[Mapping[str, tuple[str, ...]]] = {"vocabulary": ("characters", "instruction")}

    vocabulary: str = "instruction"
    family: Literal["all", "one_step", "arithmetic", "conditions", "powers", "sums", "loops", "recurrences"] = "all"
    reward: Literal["strict", "plain", "success"] = "strict"
    shown: int = 4
    hidden: int = 6

    def __post_init__(self) -> None:
        """Checks the arguments."""
        super().__post_init__()
        check_value("shown", self.shown, 1 <= self.shown <= 6, "1..6")
        families = FAMILIES.values() if self.family == "all" else [FAMILIES[self.family]]
        most = min(16, *(family.arguments - self.shown for family in families))
        check_value("hidden", self.hidden, 2 <= self.hidden <= most, f"2..{most}")

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """The families, from easy to hard; none where one is chosen."""
        return [{"family": family} for family in FAMILIES] if self.family == "all" else ()
