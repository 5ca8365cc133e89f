"""Sums whose answer is written from its units up, for docs/research/from-nothing.md."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from rlfl_envs import Outcome, Prompt, check_value, register_task
from rlfl_envs.tasks.arithmetic.task import Arithmetic
from rlfl_envs.tasks.copy import SameAutomaton


class UnitsFirst(Arithmetic):
    """ArithmeticAnswer with the digits of the answer turned around: `120+300=` is answered by `024`.

    There is no `mask="syntax"`: answers may begin with a zero here.
    """

    successes: UnitsFirstValue  # type: ignore[assignment]

    def __init__(self, **kwargs: Any) -> None:
        """Takes the fields of ArithmeticConfig by name; raises ConfigError."""
        super().__init__(**kwargs)
        check_value("mask", self.config.mask, self.config.mask == "none", "'none'")
        self.successes = UnitsFirstValue("0123456789")

    def _judge(self, problem: Any, completion: str) -> Outcome:
        return super()._judge(problem, completion[::-1])

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str | None:
        """The value, turned around."""
        return str(prompt.data.value)[::-1]


class UnitsFirstValue(SameAutomaton):
    """Recognises the value's digits from its units up, as Copy's recognises the prompt."""

    def start(self, prompt: Prompt) -> Hashable:
        """All of them."""
        return str(prompt.data.value)[::-1]


register_task("research/UnitsFirst-v0", UnitsFirst, work="skipped", vocabulary="characters")
