"""Which tokens may come next.

A mask is a small machine over numbered states: `start` gives an episode's first state, `next_state` follows a legal
token, `row(state)` says which tokens are legal. The environments keep one number per episode and index the rows, so
that a thousand episodes cost one gather.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.errors import ConfigError
from rlfl_envs.task import Automaton, Task
from rlfl_envs.tokenization import Tokenizer

__all__ = ["OrdinaryTokenMask", "SyntaxMask", "TokenMask", "make_mask"]


class TokenMask(ABC):
    """Legal next tokens by state.

    Attributes:
        rows: int8 [R, V], 1 where a token is legal; R grows as states are met.
        row_of: int32 [S], each state's row; many states may share one.
        is_constant: Whether every state has the same row, so that a view of one will do.
    """

    rows: NDArray[np.int8]
    row_of: NDArray[np.int32]
    is_constant: bool = False

    def row(self, state: int) -> NDArray[np.int8]:
        """Which tokens are legal in a state: int8 [V], to be read only."""
        row: NDArray[np.int8] = self.rows[self.row_of[state]]
        return row

    @abstractmethod
    def start(self, state: Hashable) -> int:
        """The first state of an episode whose prompt starts the task's automaton in `state`."""

    @abstractmethod
    def next_state(self, state: int, token: int) -> int:
        """The state after a legal token that is not EOS."""

    @abstractmethod
    def next_states(self, states: NDArray[np.int32], tokens: NDArray[np.int64]) -> NDArray[np.int32]:
        """`next_state` for arrays of states and legal tokens, [n] each."""


def make_mask(task: Task) -> TokenMask:
    """Builds the mask that the task's config asks for.

    Raises:
        ConfigError: mask="syntax" for a task without a syntax.
    """
    config = task.config
    if config.mask == "none":
        return OrdinaryTokenMask(task.tokenizer, config.min_completion_tokens)
    if task.automaton is None:
        raise ConfigError(
            f"mask={config.mask!r} is not allowed; allowed for {type(task).__name__}, which has no syntax: 'none'."
        )
    return SyntaxMask(task.automaton, task.tokenizer, task.max_completion_tokens, config.min_completion_tokens)


def _ordinary_row(tokenizer: Tokenizer) -> NDArray[np.int8]:
    """All tokens but PAD and BOS; EOS stays legal even where it doubles as one of them."""
    row = np.ones(tokenizer.vocab_size, dtype=np.int8)
    row[list(tokenizer.special_ids)] = 0
    row[tokenizer.eos_id] = 1
    return row


class OrdinaryTokenMask(TokenMask):
    """Every token but PAD and BOS, and EOS only after `min_tokens`. A state counts the tokens, up to `min_tokens`."""

    def __init__(self, tokenizer: Tokenizer, min_tokens: int) -> None:
        """Makes the rows: one, or one for each count of tokens up to the least."""
        row = _ordinary_row(tokenizer)
        early = row.copy()
        early[tokenizer.eos_id] = 0
        self.rows = np.stack([early] * min_tokens + [row])
        self.rows.flags.writeable = False
        self.row_of = np.arange(min_tokens + 1, dtype=np.int32)
        self.is_constant = min_tokens == 0

    def start(self, state: Hashable) -> int:
        """Always state 0: no token yet."""
        return 0

    def next_state(self, state: int, token: int) -> int:
        """One token more."""
        return min(state + 1, len(self.row_of) - 1)

    def next_states(self, states: NDArray[np.int32], tokens: NDArray[np.int64]) -> NDArray[np.int32]:
        """One token more in each."""
        return np.minimum(states + 1, len(self.row_of) - 1).astype(np.int32)


@dataclass(frozen=True, slots=True)
class _Moves:
    """What may follow a state, budget aside: tokens [m], where they lead, and what is then still needed [m]."""

    tokens: NDArray[np.int64]
    targets: dict[int, Hashable]
    needed: NDArray[np.int64]


class SyntaxMask(TokenMask):
    """Only tokens that keep the completion a prefix of something well-formed that still fits the budget.

    Works for any vocabulary: a token is legal where the automaton can read its whole text. What is still needed is
    counted in characters, an upper bound of tokens, so the budget rule may be stricter than necessary for vocabularies
    with longer tokens, and it is dropped in a state where it would leave nothing. EOS is legal in final states once
    there are `min_tokens`, and wherever nothing else is. A state is one of the automaton's with the number of tokens
    used, so that what is legal depends on the completion alone, never on what was met before; few of them differ in
    their row.
    """

    _MAX_TABLE = 4096  # vocabularies up to this size keep their transitions in an array, larger ones in a dictionary

    def __init__(self, automaton: Automaton, tokenizer: Tokenizer, budget: int, min_tokens: int) -> None:
        """Prepares the empty tables; states are added when they are met."""
        self._automaton = automaton
        self._budget = budget
        self._min_tokens = min_tokens
        self._eos_id = tokenizer.eos_id
        self._vocab_size = tokenizer.vocab_size
        ordinary = _ordinary_row(tokenizer)
        alphabet = set(automaton.alphabet)
        self._texts = {
            token: text
            for token, text in enumerate(tokenizer.token_texts)
            if text and ordinary[token] and token != tokenizer.eos_id and alphabet.issuperset(text)
        }
        self._moves: dict[Hashable, _Moves] = {}
        self._numbers: dict[tuple[Hashable, int], int] = {}
        self._states: list[tuple[Hashable, int]] = []  # by number: the automaton's state and the tokens used
        self._row_numbers: dict[tuple[Hashable, int, bool], int] = {}
        self.row_of = np.zeros(16, dtype=np.int32)
        self._storage = np.zeros((16, self._vocab_size), dtype=np.int8)
        self._has_table = self._vocab_size <= self._MAX_TABLE
        self._table = np.full((16, self._vocab_size if self._has_table else 0), -1, dtype=np.int32)
        self._followers: list[dict[int, int]] = []

    @property
    def rows(self) -> NDArray[np.int8]:  # type: ignore[override]
        """int8 [R, V], the rows of the states met so far."""
        return self._storage[: len(self._row_numbers)]

    def start(self, state: Hashable) -> int:
        """The number of an automaton state with no token used."""
        return self._number(state, 0)

    def next_state(self, state: int, token: int) -> int:
        """Follows a legal token."""
        follower = self._followers[state].get(token)
        if follower is None:
            origin, used = self._states[state]
            follower = self._number(self._moves[origin].targets[token], used + 1)
            self._followers[state][token] = follower
            if self._has_table:
                self._table[state, token] = follower
        return follower

    def next_states(self, states: NDArray[np.int32], tokens: NDArray[np.int64]) -> NDArray[np.int32]:
        """Follows legal tokens, by table where it has them already."""
        if not self._has_table:
            return np.array(
                [self.next_state(s, t) for s, t in zip(states.tolist(), tokens.tolist(), strict=True)], dtype=np.int32
            )
        followers = self._table[states, tokens]
        for i in np.flatnonzero(followers < 0).tolist():
            followers[i] = self.next_state(int(states[i]), int(tokens[i]))
        return followers

    def _number(self, state: Hashable, used: int) -> int:
        number = self._numbers.get((state, used))
        if number is None:
            number = self._numbers[state, used] = len(self._states)
            if number == len(self.row_of):
                self.row_of = np.concatenate([self.row_of, np.zeros_like(self.row_of)])
                self._table = np.concatenate([self._table, np.full_like(self._table, -1)])
            self._states.append((state, used))
            self._followers.append({})
            self.row_of[number] = self._row_number(state, used)
        return number

    def _row_number(self, state: Hashable, used: int) -> int:
        moves = self._moves.get(state)
        if moves is None:
            moves = self._moves[state] = self._find_moves(state)
        fits = moves.needed <= self._budget - used - 1
        may_end = used >= self._min_tokens
        key = (state, int(fits.sum()), may_end)  # how many fit says which
        number = self._row_numbers.get(key)
        if number is None:
            number = self._row_numbers[key] = len(self._row_numbers)
            if number == len(self._storage):
                self._storage = np.concatenate([self._storage, np.zeros_like(self._storage)])
            self._storage[number] = self._row(state, moves, fits, may_end)
        return number

    def _find_moves(self, state: Hashable) -> _Moves:
        targets = {}
        for token, text in self._texts.items():
            target: Hashable | None = state
            for character in text:
                target = self._automaton.advance(target, character)
                if target is None:
                    break
            if target is not None:
                targets[token] = target
        needed = np.array([self._automaton.characters_left(target) for target in targets.values()], dtype=np.int64)
        return _Moves(np.array([*targets], dtype=np.int64), targets, needed)

    def _row(self, state: Hashable, moves: _Moves, fits: NDArray[np.bool_], may_end: bool) -> NDArray[np.int8]:
        row = np.zeros(self._vocab_size, dtype=np.int8)
        row[moves.tokens[fits] if fits.any() else moves.tokens] = 1
        if self._automaton.is_final(state) and may_end:
            # A final state that only dead ends could follow is an end.
            if not fits.any():
                row[:] = 0
            row[self._eos_id] = 1
        if not row.any():
            row[self._eos_id] = 1
        return row
