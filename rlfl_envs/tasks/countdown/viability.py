"""The successes of Countdown: which characters, and which tokens, a solution can still follow."""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.episode import Prompt
from rlfl_envs.tasks.countdown.trees import NEVER, NUMBER, OPERATORS, Prefix, Trees
from rlfl_envs.tokenization import Tokenizer

__all__ = ["NumberTokens", "SolutionAutomaton", "Solutions"]

_SYMBOLS = (*OPERATORS, "(", ")", NUMBER)
_STRUCTURES_AT_ONCE = 2**12  # structures that are tried together, so that their values stay in the processor's cache
_DEAD = 0  # the row of a prefix that no expression begins with


class Solutions:
    """The trees that may solve a prompt, and the prefixes met so far.

    Attributes:
        slots: How many numbers a prompt has at most, N.
        sizes: int64 [S], how many leaves each structure has.
        orders: Of each size its orders, as `Trees` has them; [P] at most.
        slots_of: Of each order of numbers that may be written so far, L of them, which numbers.
        lengths: int64 [L], how many these are.
        next_order: int64 [L, N], from the numbers written so far to those with one more; -1 where it is used already.
        fitting: uint32 [L, S], which of its orders each structure can still have, a bit each.
    """

    def __init__(self, least: int, slots: int, use_all: bool, around_one: bool) -> None:
        """Works out the trees.

        Args:
            least: How many numbers prompts have at least.
            slots: How many they have at most.
            use_all: Whether all of them have to be used.
            around_one: Whether there may be parentheses around a single number.
        """
        self.slots = slots
        self._use_all = use_all
        self._trees = [Trees(size, slots, around_one) for size in range(least if use_all else 1, slots + 1)]
        self.sizes = np.repeat([each.size for each in self._trees], [each.structures for each in self._trees])
        self.orders = {each.size: each.orders for each in self._trees}
        self._most_orders = max(map(len, self.orders.values()))
        self._number_orders()
        self._rows: dict[Prefix, int] = {}
        self._prefixes: list[Prefix] = []
        self.missing = np.full((1, len(self.sizes)), NEVER, dtype=np.int16)  # of each prefix and structure
        self.whole = self.missing.copy()  # the same with all numbers of a structure, written or not
        self._moves = np.full((1, len(_SYMBOLS)), _DEAD, dtype=np.int64)
        self.start = self._row(Prefix())

    def _number_orders(self) -> None:
        """Numbers the orders that may be written so far, the shorter ones first: 0 is that of no number."""
        begun: list[tuple[int, ...]] = [()]
        self.next_order = np.zeros((0, self.slots), dtype=np.int64)
        for order in begun:
            others = [(*order, slot) for slot in range(self.slots) if slot not in order]
            places = np.full((1, self.slots), -1)
            places[0, [other[-1] for other in others]] = len(begun) + np.arange(len(others))
            begun += others
            self.next_order = np.concatenate([self.next_order, places])
        self.slots_of, self.lengths = begun, np.array([*map(len, begun)])
        self.fitting = np.zeros((len(begun), len(self.sizes)), dtype=np.uint32)
        for number, order in enumerate(begun):
            for size, orders in self.orders.items():
                if len(order) <= size:
                    fits = (orders[:, : len(order)] == np.array(order, dtype=np.int64)).all(axis=1)
                    self.fitting[number, self.sizes == size] = _bits(fits)

    def solved(self, numbers: NDArray[np.int64], targets: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which trees solve some problems: bool [n, S, P].

        Args:
            numbers: int64 [n, N], 0 where there are fewer.
            targets: int64 [n].
        """
        counts, found = (numbers > 0).sum(axis=1), []
        for trees in self._trees:
            solved = trees.solved(numbers, targets)
            if self._use_all:
                solved &= (counts == trees.size)[:, None, None]
            found.append(np.pad(solved, ((0, 0), (0, 0), (0, self._most_orders - len(trees.orders)))))
        return np.concatenate(found, axis=1)

    def _row(self, prefix: Prefix) -> int:
        row = self._rows.get(prefix)
        if row is None:
            row = self._rows[prefix] = len(self._prefixes) + 1
            self._prefixes.append(prefix)
            if row == len(self.missing):
                self.missing = np.concatenate([self.missing, np.zeros_like(self.missing)])
                self.whole = np.concatenate([self.whole, np.zeros_like(self.whole)])
                self._moves = np.concatenate([self._moves, np.zeros_like(self._moves)])
            self.missing[row] = np.concatenate([trees.missing(prefix) for trees in self._trees])
            self.whole[row] = self.missing[row] + self.sizes
            self._moves[row] = -1
        return row

    def moves(self, row: int) -> list[int]:
        """The row of a prefix after each of the operators, the two parentheses, and a number; 0 where none goes on."""
        moves: list[int] = self.moves_of(np.array([row]))[0].tolist()
        return moves

    def moves_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The same for many rows, [n]: int64 [n, 7]."""
        for row in set(rows[self._moves[rows, 0] < 0].tolist()):
            following = [self._prefixes[row - 1].followed_by(symbol) for symbol in _SYMBOLS]
            self._moves[row] = [_DEAD if each is None else self._row(each) for each in following]
        return self._moves[rows]


def _bits(flags: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """Flags as the bits of a number, the first as the lowest: from bool [..., P] to uint32 [...]. P is at most 32."""
    padded = np.pad(flags, [(0, 0)] * (flags.ndim - 1) + [(0, 32 - flags.shape[-1])])
    packed = np.ascontiguousarray(np.packbits(padded, axis=-1, bitorder="little"))
    bits: NDArray[np.uint32] = packed.view("<u4")[..., 0]
    return bits


class State(NamedTuple):
    """Where in a solution.

    Attributes:
        problem: Numbers and target.
        row: The prefix, but for which numbers it has.
        order: Which numbers it has.
        digits: The digits of a number that is being written; none where no number is.
    """

    problem: _Problem
    row: int
    order: int = 0
    digits: str = ""


class _Problem:
    """Numbers and a target, with what solves them.

    Attributes:
        numbers: As texts.
    """

    def __init__(self, solutions: Solutions, numbers: tuple[str, ...], target: int) -> None:
        self.numbers = numbers
        self._solutions = solutions
        given = np.zeros((1, solutions.slots), dtype=np.int64)
        given[0, : len(numbers)] = [*map(int, numbers)]
        self._solved = solutions.solved(given, np.array([target]))[0]
        self._digits = np.zeros(self._solved.shape, dtype=np.int64)  # of the numbers of each tree
        lengths = np.zeros(solutions.slots, dtype=np.int64)
        lengths[: len(numbers)] = [*map(len, numbers)]
        for size, orders in solutions.orders.items():
            self._digits[solutions.sizes == size, : len(orders)] = lengths[orders].sum(axis=1)
        self._left: dict[tuple[int, int], int] = {}

    def left(self, row: int, order: int) -> int:
        """The fewest characters from a prefix to a solution, those of the numbers written included; or NEVER."""
        found = self._left.get((row, order))
        if found is None:
            missing, fitting = self._solutions.missing[row], self._solutions.fitting[order]
            fits = self._solved & (fitting[:, None] >> np.arange(self._solved.shape[1], dtype=np.uint32) & 1 != 0)
            found = int(np.where(fits, missing[:, None] + self._digits, NEVER).min())
            self._left[row, order] = found = min(found, NEVER)
        return found


@lru_cache(maxsize=4096)
def _problem(solutions: Solutions, numbers: tuple[str, ...], target: int) -> _Problem:
    return _Problem(solutions, numbers, target)


class SolutionAutomaton:
    """The prefixes of all solutions: each number once, spaces between, and as many parentheses as one likes."""

    alphabet = "0123456789+-*/() "

    def __init__(self, solutions: Solutions) -> None:
        """Takes the trees."""
        self._solutions = solutions

    def start(self, prompt: Prompt) -> Hashable:
        """Nothing is written."""
        numbers, target = prompt.data
        return State(_problem(self._solutions, numbers, target), self._solutions.start)

    def advance(self, state: Any, character: str) -> State | None:
        """Reads one character; None where no solution goes on so."""
        if character.isdigit():
            begun: State = state._replace(digits=state.digits + character)
            return begun if self._ways(begun) else None
        done = self._finished(state) if state.digits else state
        if done is None or character == " ":
            return done if done is not None and self._left(done) < NEVER else None
        if character not in _SYMBOLS:
            return None
        row = self._solutions.moves(done.row)[_SYMBOLS.index(character)]
        following: State = done._replace(row=row)
        return following if row != _DEAD and self._left(following) < NEVER else None

    def _finished(self, state: State) -> State | None:
        """The state once the number being written has ended; None where it is none of those left."""
        return next((way for way, number in self._ways(state) if number == state.digits), None)

    def _ways(self, state: State) -> list[tuple[State, str]]:
        """The states after each number that the digits may become, with the number."""
        problem, row, order, digits = state
        following, found = self._solutions.moves(row)[-1], []
        for number, place in zip(problem.numbers, self._solutions.next_order[order].tolist(), strict=False):
            if following != _DEAD and place >= 0 and number.startswith(digits):
                way = State(problem, following, place)
                if self._left(way) < NEVER:
                    found.append((way, number))
        return found

    def _left(self, state: State) -> int:
        """The fewest characters to a solution after a number that has ended, or NEVER."""
        total = state.problem.left(state.row, state.order)
        return total if total == NEVER else total - self._digits_of(state.problem, state.order)

    def _digits_of(self, problem: _Problem, order: int) -> int:
        return sum([len(problem.numbers[slot]) for slot in self._solutions.slots_of[order]])

    def is_final(self, state: Any) -> bool:
        """Whether a solution is whole."""
        done = self._finished(state) if state.digits else state
        return done is not None and self._left(done) == 0

    def characters_left(self, state: Any) -> int:
        """The fewest characters to a solution."""
        if not state.digits:
            return self._left(state)
        return min(len(number) - len(state.digits) + self._left(way) for way, number in self._ways(state))


class NumberTokens:
    """The same in the number vocabulary, for many episodes at once."""

    def __init__(self, solutions: Solutions, tokenizer: Tokenizer, budget: int) -> None:
        """Takes the trees, the vocabulary, and the budget C."""
        self._solutions = solutions
        self._budget = budget
        self._eos_ids = list(tokenizer.eos_ids)
        (self._zero,) = tokenizer.encode("0")
        self._symbols = [tokenizer.encode(symbol)[0] for symbol in _SYMBOLS[:-1]]
        self._type = np.dtype(
            [
                ("numbers", np.int64, (solutions.slots,)),  # of those left, 0 for the others
                ("solved", np.uint32, (len(solutions.sizes),)),  # a bit for each order in which a structure solves it
                ("row", np.int64),
                ("order", np.int64),
                ("used", np.int64),
                # What may come next, worked out once for all that will be asked of a state:
                ("is_end", np.bool_),
                ("fits_symbol", np.bool_, (len(self._symbols),)),
                ("fits_number", np.bool_, (solutions.slots,)),
            ]
        )

    def start(self, data: NDArray[np.void]) -> NDArray[Any]:
        """Nothing is written."""
        states = np.zeros(len(data), dtype=self._type)
        states["numbers"] = data["numbers"]
        given = np.column_stack([data["numbers"], data["target"]])
        problems, which = np.unique(given, axis=0, return_inverse=True)  # a group's prompts are one
        at_once = max(1, _STRUCTURES_AT_ONCE // len(self._solutions.sizes))
        solved = np.zeros((len(problems), len(self._solutions.sizes)), dtype=np.uint32)
        for first in range(0, len(problems), at_once):
            some = problems[first : first + at_once]
            solved[first : first + at_once] = _bits(self._solutions.solved(some[:, :-1], some[:, -1]))
        states["solved"] = solved[which.ravel()]
        states["row"] = self._solutions.start
        self._look_ahead(states)
        return states

    def _look_ahead(self, states: NDArray[Any]) -> None:
        """Notes in each state what a solution that fits the budget can go on with."""
        solutions, rows, order = self._solutions, states["row"], states["order"]
        moves = solutions.moves_of(rows)
        room = np.minimum(self._budget - states["used"] - 1, NEVER - 1 - solutions.slots)[:, None]
        here, following = order[:, None], solutions.next_order[order]
        states["is_end"] = self._left(states, rows[:, None], here)[:, 0] == 0
        states["fits_symbol"] = (moves[:, :-1] != _DEAD) & (self._left(states, moves[:, :-1], here) <= room)
        fits_number = (moves[:, -1:] != _DEAD) & (following >= 0) & (states["numbers"] > 0)
        states["fits_number"] = fits_number & (self._left(states, moves[:, -1:], following) <= room)

    def judge(self, states: NDArray[Any], candidates: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether a solution that fits the budget can follow each of k tokens: bool [n, k]."""
        right: NDArray[np.bool_] = np.isin(candidates, self._eos_ids) & states["is_end"][:, None]
        for token, fits in zip(self._symbols, states["fits_symbol"].T, strict=True):
            right |= (candidates == token) & fits[:, None]
        for number, fits in zip(states["numbers"].T, states["fits_number"].T, strict=True):
            right |= (candidates == (self._zero + number)[:, None]) & fits[:, None]
        return right

    def _left(self, states: NDArray[Any], rows: NDArray[np.int64], orders: NDArray[np.int64]) -> NDArray[np.int64]:
        """The fewest tokens from prefixes to a solution, or nearly NEVER and more: int64 [n, m].

        Args:
            states: [n].
            rows: int64 [n, m] or [n, 1], of the prefixes.
            orders: int64 [n, m] or [n, 1], of the numbers written.
        """
        is_possible = states["solved"][:, None] & self._solutions.fitting[orders] != 0  # [n, m, S]
        least = np.where(is_possible, self._solutions.whole[rows], NEVER).min(axis=2)
        left: NDArray[np.int64] = least - self._solutions.lengths[orders]
        return left

    def advance(self, states: NDArray[Any], tokens: NDArray[np.int64]) -> NDArray[Any]:
        """Reads one token that was judged right in each state."""
        after = states.copy()
        after["used"] += 1
        moves = self._solutions.moves_of(states["row"])
        symbol = np.full(len(states), len(_SYMBOLS) - 1)
        for place, token in enumerate(self._symbols):
            symbol[tokens == token] = place
        after["row"] = np.take_along_axis(moves, symbol[:, None], axis=1)[:, 0]
        rows = np.flatnonzero(symbol == len(_SYMBOLS) - 1)
        slot = (states["numbers"][rows] == (tokens[rows] - self._zero)[:, None]).argmax(axis=1)
        after["order"][rows] = self._solutions.next_order[states["order"][rows], slot]
        after["numbers"][rows, slot] = 0
        self._look_ahead(after)
        return after
