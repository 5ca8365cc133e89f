"""The arguments of Proof."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rlfl_envs.arguments import check_value
from rlfl_envs.task import TaskConfig
from rlfl_envs.tasks.proof.formulas import AXIOMS

__all__ = ["ProofConfig"]

_MOST_STEPS = 8


@dataclass(frozen=True)
class ProofConfig(TaskConfig):
    """The arguments of Proof.

    Attributes:
        min_steps: How many steps the known proof has at least, 2..8.
        max_steps: How many it has at most, min_steps..8; how many is uniform between them.
        axioms: Which axioms a step may be an instance of: some of the letters of "KSN", or "" for modus ponens alone.
        reward: "plain" pays for a part of the known proof as well, "strict" for whole proofs alone.
    """

    min_steps: int = 2
    max_steps: int = 6
    axioms: str = AXIOMS
    reward: Literal["plain", "strict"] = "plain"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        super().__post_init__()
        least, most = self.min_steps, self.max_steps
        check_value("min_steps", least, 2 <= least <= _MOST_STEPS, f"2..{_MOST_STEPS}")
        is_range = least <= most <= _MOST_STEPS
        check_value("max_steps", most, is_range, f"{least}..{_MOST_STEPS}, from min_steps on")
        is_known = set(self.axioms) <= set(AXIOMS) and len(set(self.axioms)) == len(self.axioms)
        check_value("axioms", self.axioms, is_known, f"some of the letters of '{AXIOMS}', each once, or ''")

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Proofs of `min_steps` steps, of one more, and so on."""
        counts = range(self.min_steps, self.max_steps + 1)
        return [{"min_steps": count, "max_steps": count} for count in counts]
