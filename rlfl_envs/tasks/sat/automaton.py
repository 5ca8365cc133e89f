"""The syntax of answers: a literal of each variable, in order."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

from rlfl_envs.episode import Prompt

__all__ = ["SatAutomaton"]


class State(NamedTuple):
    """Where in an assignment.

    Attributes:
        variables: How many variables the formula has.
        done: How many literals are complete.
        begun: What is written of the next one, its space included.
    """

    variables: int
    done: int = 0
    begun: str = ""


class SatAutomaton:
    """The prefixes of ` 1 -2 3` and the like. Formulas of as many variables share their states."""

    alphabet = "0123456789- "

    def __init__(self, counts_literals: bool) -> None:
        """Takes whether a literal counts as one character, being one token."""
        self._counts_literals = counts_literals

    def start(self, prompt: Prompt) -> Hashable:
        """Nothing is written."""
        return State(prompt.data.variables)

    def advance(self, state: Any, character: str) -> State | None:
        """Reads one character; None where nothing well-formed starts like this."""
        begun = state.begun + character
        if state.done == state.variables:
            return None
        wanted = str(state.done + 1)
        if begun in (f" {wanted}", f" -{wanted}"):
            return State(state.variables, state.done + 1)
        fits = f" {wanted}".startswith(begun) or f" -{wanted}".startswith(begun)
        return State(state.variables, state.done, begun) if fits else None

    def is_final(self, state: Any) -> bool:
        """Whether every variable has its literal."""
        return bool(state.done == state.variables)

    def characters_left(self, state: Any) -> int:
        """The least number of characters to a well-formed end."""
        missing = range(state.done + 1, state.variables + 1)
        if self._counts_literals:
            return len(missing)
        return sum(1 + len(str(variable)) for variable in missing) - len(state.begun.replace("-", ""))
