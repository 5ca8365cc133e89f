"""The arguments of ReasoningGym, and what was measured of its datasets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rlfl_envs.arguments import check_value, check_workers
from rlfl_envs.errors import suggest
from rlfl_envs.task import TaskConfig

__all__ = ["Measured", "ReasoningGymConfig", "datasets"]


class Measured(NamedTuple):
    """What is known of a dataset before the library is imported, as `bench_reasoning_gym.py` measured it.

    Attributes:
        question: The most characters of a prompt; longer ones are drawn again.
        answer: The most characters of an answer.
        characters: Those of its texts that are not printable ASCII.
        references: Whether the library gives right answers.
        levels: The levels of its curriculum, 0 the easiest, whose prompts fit and can be drawn in time.
        constants: Answers that paid best when given to every prompt.
    """

    question: int
    answer: int
    characters: str
    references: bool
    levels: tuple[int, ...]
    constants: tuple[str, ...]


@cache
def datasets() -> Mapping[str, Measured]:
    """Every dataset by its name."""
    written = json.loads(Path(__file__).with_name("datasets.json").read_text(encoding="utf-8"))
    return {
        name: Measured(**{**facts, "levels": tuple(facts["levels"]), "constants": tuple(facts["constants"])})
        for name, facts in written.items()
    }


@dataclass(frozen=True)
class ReasoningGymConfig(TaskConfig):
    """The arguments of ReasoningGym.

    Attributes:
        dataset: Which puzzles, such as "chain_sum"; `rlfl list --all` names them all.
        difficulty: None for the dataset's own settings, or a level of its curriculum, 0 the easiest.
        reward: "plain" pays what the library's scorer pays, "strict" 1 for a success and 0 for all else.
        workers: How many processes draw prompts, and how many score answers.
    """

    dataset: str = "chain_sum"
    difficulty: int | None = None
    reward: Literal["plain", "strict"] = "strict"
    workers: int = 1

    def __post_init__(self) -> None:
        """Checks the arguments."""
        super().__post_init__()
        known = datasets()
        hint = "" if self.dataset in known else suggest(self.dataset, [*known])
        check_value("dataset", self.dataset, self.dataset in known, f"{', '.join(known)}{hint and '.' + hint}")
        levels = known[self.dataset].levels
        is_level = self.difficulty is None or self.difficulty in levels
        check_value("difficulty", self.difficulty, is_level, f"None{''.join(f', {level}' for level in levels)}")
        check_workers(self.workers)

    def levels(self) -> Sequence[Mapping[str, Any]]:
        """The levels of the dataset's curriculum that fit into the dataset's budgets."""
        return [{"difficulty": level} for level in datasets()[self.dataset].levels]
