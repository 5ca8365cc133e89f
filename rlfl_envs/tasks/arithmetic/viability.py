"""The successes of Arithmetic: which characters, and which tokens, one can still follow."""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.episode import Prompt
from rlfl_envs.tasks.arithmetic.automaton import ArithmeticAutomaton
from rlfl_envs.tasks.arithmetic.statements import additions
from rlfl_envs.tokenization import Tokenizer

__all__ = ["NumberTokens", "ValueAutomaton", "WorkedOutAutomaton"]

_SEARCHED = 8  # terms; of longer statements one derivation is tried, the shortest step first
_START, _SIGN, _NUMBER = range(3)  # what was read last: nothing yet of an integer, its minus, an integer


class ValueAutomaton:
    """The chains whose last statement is the value due: what the rewards "paper" and "strict" call a success.

    A state is (the syntax's state, the value, what was read of the last integer).
    """

    def __init__(self, is_signed: bool) -> None:
        """Takes whether integers are signed."""
        self._syntax = ArithmeticAutomaton(is_signed, may_stop_early=False, may_multiply=True)
        self._is_signed = is_signed
        self.alphabet = self._syntax.alphabet

    def start(self, prompt: Prompt) -> Hashable:
        """Nothing is read."""
        return (self._syntax.start(prompt), prompt.data.value, "")

    def advance(self, state: Any, character: str) -> Hashable | None:
        """Reads one character; the last integer has to become the value."""
        place, value, read = state
        following = self._syntax.advance(place, character)
        if following is None or not self._is_last(place):
            return None if following is None else (following, value, "")
        if character == " ":
            return None if read not in ("", "-", *self._due(value)) else (following, value, read)
        read += character
        return (following, value, read) if any(due.startswith(read) for due in self._due(value)) else None

    def is_final(self, state: Any) -> bool:
        """Whether the last integer is the value."""
        place, value, read = state
        return self._is_last(place) and read in self._due(value)

    def characters_left(self, state: Any) -> int:
        """The least number of characters to a success."""
        place, value, read = state
        if self._is_last(place):
            return min(len(due) - len(read) for due in self._due(value) if due.startswith(read))
        return self._syntax.characters_left(place) + len(str(value)) - 1

    @staticmethod
    def _is_last(place: Any) -> bool:
        return bool(place[1] < 0)

    def _due(self, value: int) -> tuple[str, ...]:
        return ("0", "-0") if value == 0 and self._is_signed else (str(value),)


class WorkedOutAutomaton:
    """The derivations in which every statement adds two neighbours of the one before.

    A state is (the terms of the statement before, the terms read of this one, what was read of the next term, whether
    that was closed by a space).
    """

    alphabet = "0123456789+= "

    def start(self, prompt: Prompt) -> Hashable:
        """The expression, and nothing of what follows."""
        return (prompt.data.terms, (), "", False)

    def advance(self, state: Any, character: str) -> Hashable | None:
        """Reads one character, if a statement that is one addition away goes on so."""
        before, read, digits, is_closed = state
        due = _due(before, read)
        if character.isdigit():
            longer = digits + character
            fits = not is_closed and any(term.startswith(longer) for term in due)
            return (before, read, longer, False) if fits else None
        if character == " " and digits == "":
            return (before, read, "", False)
        if digits not in due:
            return None
        if character == " ":
            return (before, read, digits, True)
        read = (*read, int(digits))
        is_whole = len(read) == len(before) - 1
        if character == "+" and not is_whole:
            return (before, read, "", False)
        return (read, (), "", False) if character == "=" and is_whole and len(read) > 1 else None

    def is_final(self, state: Any) -> bool:
        """Whether the sum of the last two terms is read."""
        before, _, digits, _ = state
        return len(before) == 2 and digits == str(sum(before))

    def characters_left(self, state: Any) -> int:
        """The least number of characters to a success (of more than 8 terms, to one success)."""
        before, read, digits, is_closed = state
        written = len("+".join(map(str, read))) + (len(read) > 0) + len(digits)
        return min(
            len("+".join(map(str, goal))) - written + _fewest_after(goal)
            for goal in _goals(before, read)
            if (str(goal[len(read)]) == digits if is_closed else str(goal[len(read)]).startswith(digits))
        )


@lru_cache(maxsize=2**15)  # asked once for each token of a vocabulary
def _goals(before: tuple[int, ...], read: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """The statements that may follow and begin with what is read."""
    return tuple([goal for goal in additions(before) if goal[: len(read)] == read])


@lru_cache(maxsize=2**15)
def _due(before: tuple[int, ...], read: tuple[int, ...]) -> frozenset[str]:
    """The terms that may follow what is read."""
    return frozenset([str(goal[len(read)]) for goal in _goals(before, read)])


@lru_cache(maxsize=2**15)
def _fewest_after(terms: tuple[int, ...]) -> int:
    """The fewest characters of the rest of a derivation after one of its statements, "=" included."""
    if len(terms) == 1:
        return 0
    goals = [("+".join(map(str, goal)), goal) for goal in additions(terms)]
    if len(terms) > _SEARCHED:
        goals = [min(goals, key=lambda each: len(each[0]))]
    return min(1 + len(text) + _fewest_after(goal) for text, goal in goals)


class NumberTokens:
    """The same two automata in the number vocabulary, for many episodes at once.

    There every integer is one token, so that how many tokens are missing follows from the operators still due.
    """

    def __init__(
        self, tokenizer: Tokenizer, largest: int, symbols: str, budget: int, max_operators: int | None
    ) -> None:
        """Takes the vocabulary and the task's arguments.

        Args:
            tokenizer: The number vocabulary: after its special tokens those of the integers, then of the symbols.
            largest: The largest integer.
            symbols: In their order.
            budget: C.
            max_operators: Of an expression, where derivations have to be worked out; else None.
        """
        self._zero = zero = len(tokenizer.special_ids)
        self._largest, self._eos_ids = largest, list(tokenizer.eos_ids)
        tokens = {symbol: zero + largest + 1 + i for i, symbol in enumerate(symbols)}
        self._equals, self._minus = tokens["="], tokens.get("-", -1)
        self._works_out = max_operators is not None
        self._operators = [tokens[symbol] for symbol in ("+" if self._works_out else "+*-") if symbol in tokens]
        self._budget = budget
        fields: list[Any] = [(name, np.int64) for name in ("value", "left", "following", "phase", "used")]
        if max_operators is not None:
            terms = ("terms", np.int64, (max_operators + 1,))
            fields += [terms, ("possible", np.bool_, (max_operators,)), ("place", np.int64)]
        self._type = np.dtype(fields)

    def start(self, data: NDArray[np.void]) -> NDArray[Any]:
        """Nothing is read."""
        states = np.zeros(len(data), dtype=self._type)
        states["value"], states["left"] = data["value"], data["operators"]
        states["following"], states["phase"] = data["operators"] - 1, _START
        if self._works_out:
            states["terms"] = data["terms"]
            self._begin_statement(states)
        return states

    @staticmethod
    def _begin_statement(states: NDArray[Any]) -> None:
        """Any two neighbours may be added: of the operators before, one more than this statement has."""
        pairs = np.arange(states["possible"].shape[1])
        states["possible"], states["place"] = pairs <= states["left"][:, None], 0

    @staticmethod
    def _due(states: NDArray[Any]) -> NDArray[np.int64]:
        """The next term, for each pair of neighbours that may be added: int64 [n, M]."""
        pairs = np.arange(states["possible"].shape[1])
        rows, place = np.arange(len(states)), states["place"]
        here, next_one = states["terms"][rows, place], states["terms"][rows, place + 1]
        place, here, next_one = place[:, None], here[:, None], next_one[:, None]
        due: NDArray[np.int64] = np.where(place < pairs, here, np.where(place == pairs, here + next_one, next_one))
        return due

    def judge(self, states: NDArray[Any], candidates: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether a success that fits the budget can follow each of k tokens: bool [n, k]."""
        value, left, following, phase = (states[name][:, None] for name in ("value", "left", "following", "phase"))
        numbers = candidates - self._zero
        is_last, is_number = following < 0, (numbers >= 0) & (numbers <= self._largest)
        if self._works_out:
            possible = (self._due(states)[:, None] == numbers[:, :, None]) & states["possible"][:, None]
            number_fits = possible.any(axis=2)
        else:
            is_signed_well = (value == 0) | ((phase == _SIGN) == (value < 0))
            number_fits = ~is_last | ((numbers == np.abs(value)) & is_signed_well)
        is_sign = (candidates == self._minus) & (phase == _START) & (~is_last | (value <= 0))
        is_operator = np.isin(candidates, self._operators) & (phase == _NUMBER) & (left > 0)
        is_equals = (candidates == self._equals) & (phase == _NUMBER) & (left == 0) & ~is_last
        is_end = np.isin(candidates, self._eos_ids) & (phase == _NUMBER) & (left == 0) & is_last
        fits = (is_number & number_fits & (phase != _NUMBER)) | is_sign | is_operator | is_equals
        # A sign that is not due takes a token more than what is missing.
        missing, is_due = self._missing(states)[:, None], is_last & (value < 0)
        fits_budget = missing + (is_sign & ~is_due) <= self._budget - states["used"][:, None]
        right: NDArray[np.bool_] = is_end | (fits & fits_budget)
        return right

    @staticmethod
    def _missing(states: NDArray[Any]) -> NDArray[np.int64]:
        """The fewest tokens to a success, EOS left out: int64 [n]."""
        phase, following = states["phase"], states["following"]
        needs_sign = (states["value"] < 0) & ((following >= 0) | (phase == _START))
        later = (following + 1) * (following + 2)  # statements with their "="
        missing: NDArray[np.int64] = 2 * states["left"] + (phase != _NUMBER) + later + needs_sign
        return missing

    def advance(self, states: NDArray[Any], tokens: NDArray[np.int64]) -> NDArray[Any]:
        """Reads one token that was judged right in each state."""
        after = states.copy()
        after["used"] += 1
        numbers = tokens - self._zero
        is_number = (numbers >= 0) & (numbers <= self._largest)
        is_sign = (tokens == self._minus) & (states["phase"] == _START)
        is_equals = tokens == self._equals
        is_operator = ~(is_number | is_sign | is_equals)
        after["phase"] = np.where(is_number, _NUMBER, np.where(is_sign, _SIGN, _START))
        after["left"] -= is_operator
        if self._works_out:
            after["possible"] &= (self._due(states) == numbers[:, None]) | ~is_number[:, None]
            after["place"] += is_operator
        ended = np.flatnonzero(is_equals)
        after["left"][ended] = states["following"][ended]
        after["following"][ended] -= 1
        if self._works_out and len(ended):
            after[ended] = self._with_added(after[ended])
        return after

    def _with_added(self, states: NDArray[Any]) -> NDArray[Any]:
        """The states at the beginning of a statement: the terms before are those that were read."""
        pair = states["possible"].argmax(axis=1)[:, None]
        rows, columns = np.arange(len(states))[:, None], np.arange(states["terms"].shape[1])
        terms = states["terms"]
        added = np.where(columns == pair, terms + np.roll(terms, -1, axis=1), terms)
        shifted = terms[rows, np.minimum(columns + 1, columns[-1])]
        states["terms"] = np.where(columns > pair, shifted, added)
        self._begin_statement(states)
        return states
