"""What an episode is made of, in text: a prompt, and what its completion earned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["UNEARNED", "Outcome", "OutcomeArrays", "Prompt"]

UNEARNED = 0.25
"""The most that a completion without success earns, of what a success may, where a task's reward is "success"."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """Given text.

    Attributes:
        text: What the model reads, unless it is put in a template or a chat; may be empty.
        data: What the task needs to judge a completion; its own business.
    """

    text: str
    data: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a completion earned.

    Attributes:
        reward: Within the task's `reward_range`.
        is_success: Whether the task counts as solved.
        parts: Named quantities behind the reward, one float for each of the task's `part_names`.
        status: One word for what happened, "ok" unless the task says otherwise.
    """

    reward: float
    is_success: bool
    parts: Mapping[str, float]
    status: str = "ok"

    def paid_for_success(self) -> Outcome:
        """The same, but without success a quarter of its reward, which is 0..1."""
        return self if self.is_success else replace(self, reward=UNEARNED * self.reward)


@dataclass(frozen=True, slots=True)
class OutcomeArrays:
    """The outcomes of n completions as arrays: what `ArrayTask.evaluate_arrays` returns.

    Attributes:
        reward: float64 [n].
        is_success: bool [n].
        parts: float64 [n] for each of the task's `part_names`.
        status: object [n] of str.
    """

    reward: NDArray[np.float64]
    is_success: NDArray[np.bool_]
    parts: Mapping[str, NDArray[np.float64]]
    status: NDArray[np.object_]

    @classmethod
    def of(cls, outcomes: Sequence[Outcome], part_names: Sequence[str]) -> OutcomeArrays:
        """Turns outcomes into arrays."""
        return cls(
            reward=np.array([outcome.reward for outcome in outcomes], dtype=np.float64),
            is_success=np.array([outcome.is_success for outcome in outcomes], dtype=np.bool_),
            parts={name: np.array([o.parts[name] for o in outcomes], dtype=np.float64) for name in part_names},
            status=np.array([outcome.status for outcome in outcomes], dtype=object),
        )

    def row(self, row: int) -> Outcome:
        """Turns one row back into an outcome."""
        parts = {name: float(values[row]) for name, values in self.parts.items()}
        return Outcome(float(self.reward[row]), bool(self.is_success[row]), parts, self.status[row])

    def put(self, rows: NDArray[np.bool_], others: OutcomeArrays) -> None:
        """Replaces the outcomes of some rows, bool [n], by others: one each, or one for all."""
        self.reward[rows], self.is_success[rows], self.status[rows] = others.reward, others.is_success, others.status
        for name, values in self.parts.items():
            values[rows] = others.parts[name]
