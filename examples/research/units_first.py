"""Sums whose answer is written from its units up, for docs/research/from-nothing.md."""

from __future__ import annotations

from typing import Any

import numpy as np

from rlfl_envs import Outcome, Prompt, check_value, register_task
from rlfl_envs.tasks.arithmetic.task import Arithmetic


class UnitsFirst(Arithmetic):
    """ArithmeticAnswer with the digits of the answer turned around: `120+300=` is answered by `024`.

    There is no `mask="syntax"`: answers may begin with a zero here.
    """

    successes: UnitsFirstValue  # type: ignore[assignment]

    def __init__(self, **kwargs: Any) -> None:
        """Takes the fields of ArithmeticConfig by name; raises ConfigError."""
        super().__init__(**kwargs)
        check_value("mask", self.config.mask, self.config.mask == "none", "'none'")
        self.successes = UnitsFirstValue()

    def _judge(self, problem: Any, completion: str) -> Outcome:
        return super()._judge(problem, completion[::-1])

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str | None:
        """The value, turned around."""
        return str(prompt.data.value)[::-1]


class UnitsFirstValue:
    """Recognises the value's digits from its units up. A state is what is left to write."""

    alphabet = "0123456789"

    def start(self, prompt: Prompt) -> str:
        """All of it."""
        return str(prompt.data.value)[::-1]

    def advance(self, state: Any, character: str) -> str | None:
        """Takes the digit that is due."""
        return state[1:] if state[:1] == character else None

    def is_final(self, state: Any) -> bool:
        """Whether nothing is left."""
        return not state

    def characters_left(self, state: Any) -> int:
        """How many digits are left."""
        return len(state)


register_task("research/UnitsFirst-v0", UnitsFirst, work="skipped", vocabulary="characters")
