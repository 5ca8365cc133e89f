"""Masks by an automaton: for regular languages, and bracketed ones of bounded depth."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.episode import Prompt
from rlfl_envs.masks.base import TokenMask, ordinary_row
from rlfl_envs.protocols import Automaton
from rlfl_envs.tokenization import Tokenizer

__all__ = ["SyntaxMask"]


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
        ordinary = ordinary_row(tokenizer)
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

    def start(self, prompt: Prompt) -> int:
        """Starts the automaton."""
        return self.start_at(self._automaton.start(prompt))

    def start_at(self, state: Hashable) -> int:
        """The number of an automaton's state with no token used."""
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
