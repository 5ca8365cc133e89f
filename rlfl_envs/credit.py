"""What single tokens earn: rewards="tokens" and "shaped"."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.arguments import check_value
from rlfl_envs.errors import ConfigError
from rlfl_envs.protocols import ViableTask
from rlfl_envs.task import Task

__all__ = ["REWARDS", "Credit", "make_credit"]

REWARDS = ("end", "tokens", "shaped")
"""When rewards are paid: at the end; token by token, up to the first wrong one; or at the end, and a potential's
differences on the way."""


class Credit:
    """Counts the right tokens of N episodes, those before the first wrong one, and says what they earn.

    A token is right if a success can still follow. Let R be the task's largest reward, and C the budget; then n right
    tokens are worth n R / C, which is what "shaped" calls their potential.

    Attributes:
        ends_at_wrong: Whether an episode ends at its first wrong token.
    """

    def __init__(self, kind: str, task: Task, num_envs: int) -> None:
        """Takes "tokens" or "shaped"."""
        self.ends_at_wrong = kind == "tokens"
        self._largest = task.reward_range[1]
        self._share = self._largest / task.max_completion_tokens
        self._right = np.zeros(num_envs, dtype=np.int64)

    def begin(self, rows: NDArray[np.intp]) -> None:
        """Other episodes begin in these rows, int64 [n]."""
        self._right[rows] = 0

    def of_tokens(self, right: NDArray[np.bool_]) -> NDArray[np.float64]:
        """What a token of each episode earns at once, float64 [N]: its share, if it is right, bool [N]."""
        self._right += right
        earned: NDArray[np.float64] = np.where(right, self._share, 0.0)
        return earned

    def at_end(self, rows: NDArray[np.intp], rewards: NDArray[Any], is_success: NDArray[Any]) -> NDArray[np.float64]:
        """What is added when episodes are over.

        Args:
            rows: int64 [n], which.
            rewards: float64 [n], the rewards at the end.
            is_success: bool [n].

        Returns:
            float64 [n]. With "tokens" a success adds up to R, and nothing is added to what is none. With "shaped" what
            the tokens earned is taken back, so that an episode adds up to its reward at the end.
        """
        paid = self._share * self._right[rows]
        if self.ends_at_wrong:
            return np.where(is_success, self._largest - paid, 0.0)
        left: NDArray[np.float64] = rewards - paid
        return left


def make_credit(rewards: Any, task: Task, num_envs: int) -> Credit | None:
    """Makes what `rewards` asks for; None for "end".

    Raises:
        ConfigError: It is none of `REWARDS`, or the task cannot judge single tokens or pays them nothing.
    """
    is_known = isinstance(rewards, str) and rewards in REWARDS
    check_value("rewards", rewards, is_known, ", ".join(map(repr, REWARDS)))
    if rewards == "end":
        return None
    if not isinstance(task, ViableTask):
        others = f" With other arguments it can. {task.on_verdicts}" if task.on_verdicts else ""
        raise ConfigError(
            f"rewards={rewards!r} is not allowed; allowed for {task.name}, which cannot judge single tokens: 'end'."
            f"{others}"
        )
    high = task.reward_range[1]
    check_value("rewards", rewards, high > 0, f"'end' where the largest reward, {high}, leaves tokens nothing to earn")
    return Credit(rewards, task, num_envs)
