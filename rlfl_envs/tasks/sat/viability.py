"""The successes of Sat: which characters, and which tokens, a satisfying assignment can still follow.

Each variable is left out, true or false, so that there are 3^V partial assignments. Of all of them at once it is worked
out how much has to be added until every clause is satisfied: those that satisfy all need nothing, and any other one
needs what the cheaper of its two extensions by a variable needs, and that variable.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.episode import Prompt
from rlfl_envs.tokenization import Tokenizer

__all__ = ["MOST_VARIABLES", "AssignmentAutomaton", "LiteralTokens", "missing_of"]

MOST_VARIABLES = 10  # 59,049 partial assignments
_AT_ONCE = 8  # formulas that are worked out together, so that they stay in the processor's cache
_NEVER = 2**12  # what is missing where no assignment satisfies all


def missing_of(literals: NDArray[np.int64], clauses: NDArray[np.int64], costs: NDArray[np.int64]) -> NDArray[np.int16]:
    """What has to be added to each partial assignment at least, 4096 and more where nothing helps: int16 [n, 3^V].

    Args:
        literals: int64 [n, M, 3], 0 where there are fewer clauses; M is at most 63.
        clauses: int64 [n], how many there are.
        costs: int64 [V, 2], of writing each variable's literal, and its negation.

    Returns:
        An assignment's place is a number in base 3. A variable's digit is 0 where it is left out, 1 where it is true,
        2 where it is false; the first variable has the highest one.
    """
    n, variables = len(literals), len(costs)
    bits = np.int64(1) << np.arange(literals.shape[1])
    satisfied = np.zeros((n, 1), dtype=np.int64)
    for variable in range(variables, 0, -1):
        by = np.zeros((n, 3), dtype=np.int64)  # the clauses that each value satisfies
        for digit, literal in ((1, variable), (2, -variable)):
            by[:, digit] = ((literals == literal).any(axis=2) * bits).sum(axis=1)
        satisfied = (by[:, :, None] | satisfied[:, None]).reshape(n, 3 * satisfied.shape[1])
    every = (np.int64(1) << clauses) - 1
    missing = np.where(satisfied == every[:, None], np.int16(0), np.int16(_NEVER))
    half = variables // 2
    for some in (costs[:half].astype(np.int16), costs[half:].astype(np.int16)):
        rest = 3 ** (variables - len(some))
        for place, (true, false) in enumerate(some):
            view = missing.reshape(n, 3**place, 3, 3 ** (len(some) - 1 - place) * rest)
            added = np.minimum(view[:, :, 1] + true, view[:, :, 2] + false)
            view[:, :, 0] = np.minimum(view[:, :, 0], added)
        # The other half's digits to the front, since the last ones would be gone through three by three.
        missing = missing.reshape(n, 3 ** len(some), rest).transpose(0, 2, 1).reshape(n, 3**variables)
    return missing


def _with_every_variable(
    literals: NDArray[np.int64], clauses: NDArray[np.int64], variables: NDArray[np.int64], most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The same formulas, with "it is true or false" of each variable before them, so that none may be left out.

    Args:
        literals: int64 [n, M, 3].
        clauses: int64 [n], how many there are.
        variables: int64 [n], how many each formula has.
        most: The most that one has.

    Returns:
        int64 [n, most + M, 3] and [n]. Formulas of fewer variables say so of their last one several times.
    """
    each = np.minimum(np.arange(1, most + 1), variables[:, None])
    either = np.stack([each, -each, each], axis=2)
    return np.concatenate([either, literals], axis=1), clauses + most


class State(NamedTuple):
    """Where in an assignment.

    Attributes:
        formula: What is to be satisfied.
        place: The literals that are complete, as `missing_of` numbers them.
        begun: What is written of the next one, its space included; it may be complete already.
    """

    formula: _Formula
    place: int = 0
    begun: str = ""


class _Formula:
    """A formula, with what is missing of each partial assignment in characters."""

    def __init__(self, variables: int, clauses: tuple[tuple[int, int, int], ...], in_order: bool) -> None:
        self._in_order = in_order
        literals = [sign * variable for variable in range(1, variables + 1) for sign in (1, -1)]
        self._texts = {literal: f" {literal}" for literal in literals}
        costs = np.array([*map(len, self._texts.values())], dtype=np.int64).reshape(-1, 2)
        formula = np.array([clauses]), np.array([len(clauses)])
        if in_order:
            formula = _with_every_variable(*formula, np.array([variables]), variables)
        self._missing = missing_of(*formula, costs)[0]
        self._weights = {literal: (1 + (literal < 0)) * 3 ** (variables - abs(literal)) for literal in literals}

    def missing(self, place: int) -> int:
        """How many characters have to be added at least."""
        return int(self._missing[place])

    def following(self, place: int, begun: str) -> list[tuple[str, int]]:
        """The literals that begin so and that a satisfying assignment can go on with: text and place after it."""
        found = []
        for literal, text in self._texts.items():
            if text.startswith(begun):
                weight = self._weights[literal]
                unit = weight // (1 + (literal < 0))
                # In order nothing is written of a variable and those after it, and something of the one before.
                is_next = place % (3 * unit) == 0 and (abs(literal) == 1 or place // (3 * unit) % 3 > 0)
                is_free = is_next if self._in_order else place // unit % 3 == 0
                if is_free and self._missing[place + weight] < _NEVER:
                    found.append((text, place + weight))
        return found


@lru_cache(maxsize=4096)
def _formula(variables: int, clauses: tuple[tuple[int, int, int], ...], in_order: bool) -> _Formula:
    return _Formula(variables, clauses, in_order)


class AssignmentAutomaton:
    """The prefixes of all satisfying assignments: literals in any order, of all variables or fewer."""

    alphabet = "0123456789- "

    def __init__(self, in_order: bool) -> None:
        """Takes whether a literal of every variable has to be written, in order, as the mask wants it."""
        self._in_order = in_order

    def start(self, prompt: Prompt) -> Hashable:
        """Nothing is written."""
        return State(_formula(*prompt.data, self._in_order))

    def advance(self, state: Any, character: str) -> State | None:
        """Reads one character; None where no satisfying assignment goes on so."""
        formula, place, begun = state
        if character == " " and begun:
            done = [after for text, after in formula.following(place, begun) if text == begun]
            if not done:
                return None
            place, begun = done[0], ""
        begun += character
        return State(formula, place, begun) if formula.following(place, begun) else None

    def is_final(self, state: Any) -> bool:
        """Whether every clause is satisfied."""
        return bool(self.characters_left(state) == 0)

    def characters_left(self, state: Any) -> int:
        """The least number of characters to a satisfying assignment."""
        formula, place, begun = state
        ways = formula.following(place, begun)
        return min(len(text) - len(begun) + formula.missing(after) for text, after in ways) if ways else _NEVER


class LiteralTokens:
    """The same where a literal is a token, for many episodes at once."""

    def __init__(
        self, tokenizer: Tokenizer, literals: NDArray[np.int64], variables: int, budget: int, in_order: bool
    ) -> None:
        """Takes the vocabulary and the task's arguments.

        Args:
            tokenizer: The vocabulary.
            literals: int64 [V], the literal of each token, 0 where it is none.
            variables: The most that a formula has.
            budget: C.
            in_order: Whether a literal of every variable has to be written, in order, as the mask wants it.
        """
        self._in_order = in_order
        self._eos_ids = list(tokenizer.eos_ids)
        self._literals = literals
        self._budget = budget
        self._powers = 3 ** np.arange(variables - 1, -1, -1)  # of each variable's digit
        # By reference: with ten variables, copies at every step would take longer than all else.
        missing = ("missing", np.object_)
        self._type = np.dtype([missing, ("variables", np.int64), ("place", np.int64), ("used", np.int64)])

    def start(self, data: NDArray[np.void]) -> NDArray[Any]:
        """Nothing is written."""
        states = np.zeros(len(data), dtype=self._type)
        costs = np.ones((len(self._powers), 2), dtype=np.int64)
        literals, clauses = data["literals"], data["clauses"]
        if self._in_order:
            literals, clauses = _with_every_variable(literals, clauses, data["variables"], len(self._powers))
        given = np.column_stack([literals.reshape(len(data), 3 * literals.shape[1]), clauses])
        _, formulas, which = np.unique(
            given, axis=0, return_index=True, return_inverse=True
        )  # a group has the same one
        tables: list[NDArray[np.int16]] = []
        for first in range(0, len(formulas), _AT_ONCE):
            some = formulas[first : first + _AT_ONCE]
            tables += [*missing_of(literals[some], clauses[some], costs)]
        for row, formula in enumerate(which.ravel().tolist()):
            states["missing"][row] = tables[formula]
        states["variables"] = data["variables"]
        return states

    def judge(self, states: NDArray[Any], candidates: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether a satisfying assignment that fits the budget can follow each of k tokens: bool [n, k]."""
        place, variable = states["place"][:, None], np.abs(self._literals[candidates])
        is_literal = (variable > 0) & (variable <= states["variables"][:, None])
        is_new = is_literal & (place // self._power(variable) % 3 == 0)
        if self._in_order:
            is_new &= variable == states["used"][:, None] + 1
        after = np.where(is_new, self._after(states, candidates), 0)
        missing = self._missing(states, np.concatenate([after, place], axis=1))
        fits = is_new & (missing[:, :-1] <= np.minimum(self._budget - states["used"][:, None], _NEVER) - 1)
        is_end = missing[:, -1:] == 0
        right: NDArray[np.bool_] = fits | (np.isin(candidates, self._eos_ids) & is_end)
        return right

    @staticmethod
    def _missing(states: NDArray[Any], places: NDArray[np.int64]) -> NDArray[np.int16]:
        """What has to be added at some places, int16 [n, k]."""
        missing = np.zeros(places.shape, dtype=np.int16)
        for row, table in enumerate(states["missing"]):
            table.take(places[row], out=missing[row], mode="clip")
        return missing

    def _after(self, states: NDArray[Any], tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """The places after some tokens, [n, k]; of no matter where they are no literals."""
        literal = self._literals[tokens]
        places: NDArray[np.int64] = states["place"][:, None] + self._power(np.abs(literal)) * (1 + (literal < 0))
        return places

    def _power(self, variable: NDArray[np.int64]) -> NDArray[np.int64]:
        """What the digit of a variable counts; that of another one where there is no such variable."""
        power: NDArray[np.int64] = self._powers[np.clip(variable, 1, len(self._powers)) - 1]
        return power

    def advance(self, states: NDArray[Any], tokens: NDArray[np.int64]) -> NDArray[Any]:
        """Reads one token that was judged right in each state."""
        after = states.copy()
        after["place"] = self._after(states, tokens[:, None])[:, 0]
        after["used"] += 1
        return after
