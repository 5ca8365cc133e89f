"""Which level each environment's next prompt is of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.arguments import check_value, is_integer
from rlfl_envs.episode import Prompt
from rlfl_envs.keys import Keys, weighted_integers
from rlfl_envs.task import Task

__all__ = ["WHOLE", "Levels"]

WHOLE = -1  # the whole task, whatever its levels
_SALT = np.uint64(0x1E7E15)  # so that a key's level says nothing about what else is drawn from it


class Levels:
    """The levels that a reset asked for: one for all environments, one each, or weights by which keys choose."""

    def __init__(self, task: Task) -> None:
        """Begins with the whole task."""
        self._task = task
        self._given = np.zeros(0, dtype=np.int64)  # a level for each environment, of which its leader's counts
        self._of_environment: NDArray[np.int64] | None = None
        self._weights: NDArray[np.float64] | None = None

    @property
    def are_whole(self) -> bool:
        """Whether every prompt is of the whole task."""
        return self._weights is None and self._of_environment is None

    def choose(self, level: Any, weights: Any, leaders: NDArray[np.int64]) -> bool:
        """Takes the options of a reset; returns whether prompts drawn ahead may now be others.

        Args:
            level: None, a level, or a list of one (or None) for each environment.
            weights: None, or a weight of 0 or more for each of the task's levels.
            leaders: int64 [N], whose prompts each environment plays.

        Raises:
            ConfigError: There is no such level, or the weights are not as many or all 0.
        """
        were_whole = self.are_whole
        if level is None and weights is None:
            self._of_environment = self._weights = None
            return not were_whole
        count = len(self._task.levels)
        num_envs = len(leaders)
        levels = level.tolist() if isinstance(level, np.ndarray) else level
        levels = [levels] * num_envs if levels is None or is_integer(levels) else levels
        is_list = isinstance(levels, Sequence) and len(levels) == num_envs
        is_known = is_list and all(each is None or (is_integer(each) and 0 <= each < count) for each in levels)
        some = f"None, 0..{count - 1}, or a list of {num_envs} of these"
        check_value("level", level, is_known, some if count else "None: this task has no levels")
        check_value("level_weights", weights, weights is None or level is None, "None where a level is given")
        self._weights = None if weights is None else _weights(weights, count)
        self._given = np.array([WHOLE if each is None else each for each in levels], dtype=np.int64)
        self._of_environment = self._given[leaders]
        return True

    def follow(self, leaders: NDArray[np.int64]) -> bool:
        """Keeps the levels for other leaders, int64 [N]; returns whether prompts drawn ahead may now be others."""
        if self._of_environment is not None:
            self._of_environment = self._given[leaders]
        return not self.are_whole

    def of(self, keys: Keys, environments: NDArray[np.int64]) -> NDArray[np.int64]:
        """The level of each key's prompt, int64 [n], WHOLE for the whole task.

        Args:
            keys: uint64 [n].
            environments: int64 [n], which environment plays it.
        """
        if self._weights is not None:
            return weighted_integers(keys ^ _SALT, self._weights)
        if self._of_environment is not None:
            return self._of_environment[environments]
        return np.full(len(keys), WHOLE)

    def prompts(self, keys: Keys, environments: NDArray[np.int64]) -> list[Prompt]:
        """The prompt of each key, at its level."""
        if self.are_whole:
            return self._task.prompts_from_keys(keys)
        return self._task.prompts_at(keys, self.of(keys, environments))


def _weights(weights: Any, count: int) -> NDArray[np.float64]:
    try:
        array = np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.zeros(0)
    is_allowed = array.shape == (count,) and bool((array >= 0).all()) and 0 < sum(array.tolist()) < math.inf
    allowed = f"{count} numbers of 0 or more, not all 0" if count else "None: this task has no levels"
    check_value("level_weights", weights, is_allowed, allowed)
    return array
