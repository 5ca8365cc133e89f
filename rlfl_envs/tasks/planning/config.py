"""The arguments of Planning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from rlfl_envs.arguments import check_value
from rlfl_envs.task import TaskConfig
from rlfl_envs.tasks.planning.domains import DOMAINS

__all__ = ["PlanningConfig"]


@dataclass(frozen=True)
class PlanningConfig(TaskConfig):
    """The arguments of Planning.

    Attributes:
        vocabulary: "word" (a word of PDDL or a bracket a token), "characters", or a Hugging Face tokenizer by name or
            path.
        domain: "blocks", "gripper", "lights" or "logistics"; the path of a domain in PDDL; or "pddlgym:NAME", one that
            the package pddlgym brings.
        problems: Where the domain is a path: the folder of its problems, `*.pddl`.
        min_size: How many blocks, balls, rooms or packages there are at least; None for the domain's least.
        max_size: How many there are at most; None for the domain's most.
        min_steps: How long the shortest plan is at least, 1..100.
        max_steps: How long it is at most, min_steps..100.
        domain_shown: Whether the prompt shows the domain before the problem.
        reward: "plain" pays by the steps that are left, "strict" for the goal alone.
    """

    files: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "vocabulary": ("characters", "word"),
        "domain": (*DOMAINS,),
        "problems": (),
    }

    vocabulary: str = "word"
    domain: str = "blocks"
    problems: str = ""
    min_size: int | None = None
    max_size: int | None = None
    min_steps: int = 2
    max_steps: int = 16
    domain_shown: bool = True
    reward: Literal["plain", "strict"] = "plain"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        super().__post_init__()
        is_known = self.domain in DOMAINS or self.domain.startswith("pddlgym:")
        allowed = f"{', '.join(map(repr, DOMAINS))}, 'pddlgym:NAME', or a path with `problems` beside it"
        check_value("domain", self.domain, is_known or bool(self.problems), allowed)
        check_value("problems", self.problems, not (is_known and self.problems), "'' unless `domain` is a path")
        least, most = DOMAINS[self.domain].sizes if self.domain in DOMAINS else (1, 0)
        for name, size in (("min_size", self.min_size), ("max_size", self.max_size)):
            allowed = f"{least}..{most}, min_size <= max_size, or None" if most else "None: the files say how many"
            check_value(name, size, size is None or least <= size <= most, allowed)
        check_value("max_size", self.max_size, not most or self.sizes[0] <= self.sizes[1], f"min_size..{most}, or None")
        check_value("min_steps", self.min_steps, 1 <= self.min_steps <= 100, "1..100")
        is_range = self.min_steps <= self.max_steps <= 100
        check_value("max_steps", self.max_steps, is_range, f"{self.min_steps}..100, from min_steps on")

    @property
    def sizes(self) -> tuple[int, int]:
        """The least and the most of a built-in domain."""
        least, most = DOMAINS[self.domain].sizes
        return self.min_size or least, self.max_size or most

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """Worlds of `min_size`, of one more, and so on; none where the files say what there is."""
        if self.domain not in DOMAINS:
            return []
        least, most = self.sizes
        return [{"min_size": size, "max_size": size} for size in range(least, most + 1)]
