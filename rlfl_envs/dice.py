"""Random choices for tasks that draw by many small steps: quick, and the same in every version of Python and NumPy."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from rlfl_envs.errors import ConfigError

__all__ = ["Choices", "first_drawn", "pick"]

T = TypeVar("T")
_MAX_DRAWS = 10_000  # what so many draws in a row do not give, no draw will


def pick(dice: random.Random, options: Sequence[T]) -> T:
    """One of them; `random.choice` may change with Python."""
    return options[int(dice.random() * len(options))]


def first_drawn(draw: Callable[[], T | None], refusal: str) -> T:
    """The first thing that is drawn.

    Args:
        draw: Draws once, from a generator of its own; None where nothing came of it.
        refusal: Which arguments leave nothing to draw, and what is allowed.

    Raises:
        ConfigError: Nothing came of many draws: the refusal.
    """
    for _ in range(_MAX_DRAWS):
        drawn = draw()
        if drawn is not None:
            return drawn
    raise ConfigError(refusal)


class Choices:
    """Choices by numbers that are drawn in bulk, since NumPy's generator takes long for a single one."""

    def __init__(self, rng: np.random.Generator, at_once: int) -> None:
        """Takes a generator, and how many numbers are drawn at once: another number makes other choices."""
        self._rng = rng
        self._at_once = at_once
        self._numbers: list[float] = []

    def below(self, high: int) -> int:
        """A number 0..high-1."""
        if not self._numbers:
            self._numbers = self._rng.random(self._at_once).tolist()
        return int(self._numbers.pop() * high)

    def of(self, options: Sequence[T]) -> T:
        """One of them."""
        return options[self.below(len(options))]
