"""Which levels are played how often: rules that follow how well each is solved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

__all__ = ["Curriculum", "FixedLevels", "ProgressCurriculum", "TargetCurriculum"]

_SPREAD = 0.2
"""The share of the prompts that is spread evenly over all levels, so that each goes on being measured and none is
forgotten."""


class Curriculum(Protocol):
    """Weights of levels that change with what is measured."""

    @property
    def weights(self) -> list[float]:
        """How often each level is played, summing to 1."""

    def observe(self, successes: Sequence[float | None]) -> None:
        """Learns which share of each level's prompts was solved in an update; None where none was played."""

    def state(self) -> list[float]:
        """The numbers that a checkpoint keeps."""

    def restore(self, state: Sequence[float]) -> None:
        """Continues from `state()`."""


class FixedLevels:
    """The weights that were given."""

    def __init__(self, weights: Sequence[float]) -> None:
        """Takes a weight of 0 or more for each level, not all 0."""
        self.weights = [weight / sum(weights) for weight in weights]

    def observe(self, successes: Sequence[float | None]) -> None:
        """Changes nothing."""

    def state(self) -> list[float]:
        """Nothing."""
        return []

    def restore(self, state: Sequence[float]) -> None:
        """Changes nothing."""


class TargetCurriculum:
    """The levels around a difficulty that rises while success is above a target, and falls while it is below.

    AdaRFT's rule (Shi et al. 2025, arXiv 2504.05520): d <- clip(d + eta tanh(2 (success - target))), from the easiest
    level on. Here d is a place between two levels, which are played in proportion, and success is that of these two.
    """

    _ETA = 0.03
    """How far d moves in an update at most, as a share of all levels."""

    def __init__(self, levels: int, target: float) -> None:
        """Takes how many levels there are, and the success to stay near."""
        self._hardest = levels - 1
        self._target = target
        self._difficulty = 0.0

    @property
    def weights(self) -> list[float]:
        """How often each level is played, summing to 1."""
        even = _SPREAD / (self._hardest + 1)
        return [even + (1 - _SPREAD) * near for near in self._near()]

    def _near(self) -> list[float]:
        """The two levels that the difficulty lies between, in proportion."""
        return [max(0.0, 1 - abs(level - self._difficulty)) for level in range(self._hardest + 1)]

    def observe(self, successes: Sequence[float | None]) -> None:
        """Moves the difficulty."""
        pairs = [(near, success) for near, success in zip(self._near(), successes, strict=True) if success is not None]
        total = sum(near for near, _ in pairs)
        if total > 0:
            success = sum(near * success for near, success in pairs) / total
            moved = self._difficulty + self._ETA * self._hardest * math.tanh(2 * (success - self._target))
            self._difficulty = min(float(self._hardest), max(0.0, moved))

    def state(self) -> list[float]:
        """The difficulty."""
        return [self._difficulty]

    def restore(self, state: Sequence[float]) -> None:
        """Continues from `state()`."""
        (self._difficulty,) = state


class ProgressCurriculum:
    """The levels whose success changes, up or down: what is learned now, and what is being forgotten.

    Progress is how far a fast mean of a level's success is from a slow one (Matiisen et al. 2017, arXiv 1707.00183).
    """

    _FAST, _SLOW = 0.2, 0.04

    def __init__(self, levels: int) -> None:
        """Takes how many levels there are."""
        self._fast = [0.0] * levels
        self._slow = [0.0] * levels

    @property
    def weights(self) -> list[float]:
        """How often each level is played, summing to 1: evenly while nothing changes."""
        progress = [abs(fast - slow) for fast, slow in zip(self._fast, self._slow, strict=True)]
        even, total = 1 / len(progress), sum(progress)
        return [_SPREAD * even + (1 - _SPREAD) * (each / total if total > 0 else even) for each in progress]

    def observe(self, successes: Sequence[float | None]) -> None:
        """Moves both means of what was played."""
        for level, success in enumerate(successes):
            if success is not None:
                self._fast[level] += self._FAST * (success - self._fast[level])
                self._slow[level] += self._SLOW * (success - self._slow[level])

    def state(self) -> list[float]:
        """Both means."""
        return self._fast + self._slow

    def restore(self, state: Sequence[float]) -> None:
        """Continues from `state()`."""
        self._fast, self._slow = list(state[: len(self._fast)]), list(state[len(self._fast) :])
