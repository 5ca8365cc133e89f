"""The syntax of answers, character by character: expressions, or numbers with commas between them."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

from rlfl_envs.episode import Prompt
from rlfl_envs.tasks.symbolic.expressions import FUNCTIONS

__all__ = ["AnswerAutomaton"]

_MOST_DIGITS = 4
_BEGINNINGS = {name[:length] for name in FUNCTIONS for length in range(1, len(name) + 1)}


class State(NamedTuple):
    """Where in an answer.

    Attributes:
        is_list: Whether numbers are asked for, not an expression of x.
        opened: How many parentheses are open.
        read: What an operand has so far: "" where one is due, "-" where it may not begin with a minus, digits, the
            beginning of a function's name, or "x" where it is complete.
    """

    is_list: bool
    opened: int = 0
    read: str = ""


class AnswerAutomaton:
    """The prefixes of expressions, as `read` reads them, and of lists of numbers, such as `-3,1/2`."""

    alphabet = "0123456789x+-*/^(),sincoeplg"

    def start(self, prompt: Prompt) -> Hashable:
        """An operand is due."""
        return State(prompt.data.kind == "solve")

    def advance(self, state: Any, character: str) -> State | None:
        """Reads one character; None where nothing well-formed starts like this."""
        is_list, opened, read = state
        if read in ("", "-"):
            return self._begun(state, character)
        if read in _BEGINNINGS:
            if read in FUNCTIONS:
                return State(is_list, opened + 1) if character == "(" else None
            return State(is_list, opened, read + character) if read + character in _BEGINNINGS else None
        if character.isdigit() and character.isascii():
            is_longer = read.isdigit() and read != "0" and len(read) < _MOST_DIGITS
            return State(is_list, opened, read + "0") if is_longer else None  # which digit is of no matter
        if character == ")":
            return State(is_list, opened - 1, "x") if opened else None
        if character == ",":
            return State(is_list) if is_list and not opened else None
        if character in ("+", "-", "*", "/"):
            return State(is_list, opened, "-")
        return State(is_list, opened) if character == "^" else None

    @staticmethod
    def _begun(state: State, character: str) -> State | None:
        """An operand begins."""
        if character == "-" and not state.read:
            return state._replace(read="-")
        if character == "(":
            return State(state.is_list, state.opened + 1)
        if character.isdigit() and character.isascii():
            return state._replace(read="0" if character == "0" else "1")
        is_name = character in _BEGINNINGS or character == "x"
        return state._replace(read=character) if is_name and not state.is_list else None

    def is_final(self, state: Any) -> bool:
        """Whether an answer may end here."""
        return bool(not state.opened and (state.read == "x" or state.read.isdigit()))

    def characters_left(self, state: Any) -> int:
        """The least number of characters to a well-formed end."""
        if state.read in ("", "-"):
            return int(state.opened) + 1
        if state.read in _BEGINNINGS:
            return int(state.opened) + 6 - len(state.read)  # three letters, two parentheses, an operand
        return int(state.opened)
