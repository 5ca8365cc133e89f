"""The syntax of derivations, character by character."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from rlfl_envs.episode import Prompt

__all__ = ["ArithmeticAutomaton"]


class ArithmeticAutomaton:
    """The prefixes of well-formed completions.

    A state is (operators still to come in this statement, operators of the next statement or -1, phase). Phases:
    "start" (an integer follows), "sign" (a minus was read), "zero" (the integer 0), "digits" (more digits may follow),
    "closed" (a space ended the integer).
    """

    def __init__(self, is_signed: bool, may_stop_early: bool, may_multiply: bool) -> None:
        """Takes whether integers are signed, a chain may end after any statement, and "*" may stand in it."""
        self._is_signed = is_signed
        self._may_stop_early = may_stop_early
        self.alphabet = "0123456789+= " + "*" * may_multiply + "-" * is_signed

    def start(self, prompt: Prompt) -> Hashable:
        """The state before the completion of a prompt."""
        return self.start_of(prompt.data.operators)

    def start_of(self, operators: int) -> Hashable:
        """The state before a completion whose first statement has so many operators."""
        return (operators, operators - 1, "start")

    def advance(self, state: Any, character: str) -> Hashable | None:
        """Reads one character; None where nothing well-formed starts like this."""
        left, following, phase = state
        if character not in self.alphabet:
            return None
        if character == " ":
            return state if phase in ("start", "sign", "closed") else (left, following, "closed")
        if character.isdigit():
            if phase in ("zero", "closed"):
                return None
            return (left, following, "zero" if character == "0" and phase != "digits" else "digits")
        if phase in ("start", "sign"):
            return (left, following, "sign") if character == "-" and self._is_signed and phase == "start" else None
        if character == "=":
            return (following, following - 1, "start") if left == 0 and following >= 0 else None
        return (left - 1, following, "start") if left > 0 else None

    def is_final(self, state: Any) -> bool:
        """Whether a completion may end here."""
        left, following, phase = state
        is_end = left == 0 and (following < 0 or self._may_stop_early)
        return bool(is_end and phase not in ("start", "sign"))

    def characters_left(self, state: Any) -> int:
        """The least number of characters to a well-formed end."""
        left, following, phase = state
        needed = 2 * int(left) + (phase in ("start", "sign"))
        return needed if self._may_stop_early else needed + sum(2 * k + 2 for k in range(int(following) + 1))
