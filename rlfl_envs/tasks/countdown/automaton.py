"""The syntax of answers, character by character: expressions of the numbers given, each used once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

from rlfl_envs.episode import Prompt

__all__ = ["CountdownAutomaton"]


class State(NamedTuple):
    """Where in an expression.

    Attributes:
        left: The numbers that are not yet used, sorted as text.
        opened: How many parentheses are open.
        fresh: How many of them were opened since the last number; what stands there has to go on with an operator.
        digits: The digits of a number that is being written; none where no number is.
        is_after: Whether a number or a parenthesis is complete, so that an operator may follow.
    """

    left: tuple[str, ...]
    opened: int = 0
    fresh: int = 0
    digits: str = ""
    is_after: bool = False


class CountdownAutomaton:
    """The prefixes of expressions that use the numbers given, each at most once, or all of them exactly once.

    A parenthesis is opened only where enough numbers are left for it to hold two values.
    """

    alphabet = "0123456789+-*/() "

    def __init__(self, use_all: bool, counts_numbers: bool) -> None:
        """Takes whether all numbers have to be used, and whether one counts as one character, being one token."""
        self._use_all = use_all
        self._counts_numbers = counts_numbers

    def start(self, prompt: Prompt) -> Hashable:
        """All numbers are left."""
        return self.start_of(prompt.data.numbers)

    def start_of(self, numbers: Sequence[str]) -> Hashable:
        """The state before an expression of these numbers."""
        return State(tuple(sorted(numbers)))

    def advance(self, state: Any, character: str) -> State | None:
        """Reads one character; None where nothing well-formed starts like this."""
        if character.isdigit():
            digits = state.digits + character
            fits = not state.is_after and any(number.startswith(digits) for number in state.left)
            return state._replace(digits=digits) if fits else None
        if character == "(":
            is_wanted = not (state.digits or state.is_after) and len(state.left) >= state.fresh + 2
            return state._replace(opened=state.opened + 1, fresh=state.fresh + 1) if is_wanted else None
        done = self._finished(state) if state.digits else state
        if done is None or not done.is_after:
            return None
        if character == " ":
            return done if state.digits else None
        if character == ")":
            closes = done.opened and not done.fresh
            return done._replace(opened=done.opened - 1) if closes else None
        return done._replace(fresh=0, is_after=False) if done.left else None

    def _finished(self, state: State) -> State | None:
        """The state once the number being written has ended; None where it is none of those left."""
        if state.digits not in state.left:
            return None
        place = state.left.index(state.digits)
        left = state.left[:place] + state.left[place + 1 :]
        return State(left, state.opened, state.fresh, is_after=True)

    def is_final(self, state: Any) -> bool:
        """Whether an expression may end here."""
        done = self._finished(state) if state.digits else state
        if done is None or not done.is_after or done.opened or done.fresh:
            return False
        return not (self._use_all and done.left)

    def characters_left(self, state: Any) -> int:
        """The least number of characters to a well-formed end."""
        costs = [1 if self._counts_numbers else len(number) for number in state.left]
        begun = min(len(state.digits), 1) if self._counts_numbers else len(state.digits)
        needed = int(state.opened)
        if self._use_all:
            return needed + sum(costs) + len(costs) - (not state.is_after) - begun
        if state.is_after:
            return needed + (1 + min(costs) if state.fresh else 0)
        endings = []
        for place, number in enumerate(state.left):
            if number.startswith(state.digits):
                others = costs[:place] + costs[place + 1 :]
                endings.append(costs[place] - begun + (1 + min(others) if state.fresh else 0))
        return needed + min(endings)
