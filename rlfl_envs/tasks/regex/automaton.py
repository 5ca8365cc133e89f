"""Which texts are patterns."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from rlfl_envs.episode import Prompt
from rlfl_envs.tasks.regex.languages import LETTERS

__all__ = ["PatternAutomaton", "is_pattern"]

_MOST_OPEN = 4  # brackets
_BEFORE, _AFTER, _REPEATED = range(3)  # where a piece has to begin; where one ended; where a sign followed it


class PatternAutomaton:
    """Patterns whose brackets are at most 4 deep. A state is how many are open, and what was read last."""

    alphabet = f"{LETTERS}.()|*+?"

    def start(self, prompt: Prompt) -> Hashable:
        """Whatever the prompt."""
        return 0, _BEFORE

    def advance(self, state: Any, character: str) -> Hashable | None:
        """One character more."""
        depth, last = state
        if character in LETTERS or character == ".":
            return depth, _AFTER
        if character == "(":
            return (depth + 1, _BEFORE) if depth < _MOST_OPEN else None
        if last == _BEFORE:
            return None
        if character == "|":
            return depth, _BEFORE
        if character == ")":
            return (depth - 1, _AFTER) if depth else None
        return (depth, _REPEATED) if character in "*+?" and last == _AFTER else None

    def is_final(self, state: Any) -> bool:
        """Whether all is closed, and a piece was read last."""
        return bool(state[0] == 0 and state[1] != _BEFORE)

    def characters_left(self, state: Any) -> int:
        """A letter where a piece has to begin, and the closing brackets."""
        return int(state[0] + (state[1] == _BEFORE))


def is_pattern(text: str) -> bool:
    """Whether a text is a pattern."""
    automaton = PatternAutomaton()
    state: Any = (0, _BEFORE)
    for character in text:
        state = automaton.advance(state, character)
        if state is None:
            return False
    return automaton.is_final(state)
