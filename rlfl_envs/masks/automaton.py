"""Masks by an automaton: for regular languages, and bracketed ones of bounded depth."""

from __future__ import annotations

import sys
from collections.abc import Hashable

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.episode import Prompt
from rlfl_envs.masks.base import MaskTable, TokenMask
from rlfl_envs.masks.reader import NEVER, Place, TokenReader
from rlfl_envs.protocols import Automaton
from rlfl_envs.tokenization import Tokenizer

__all__ = ["SyntaxMask"]


class SyntaxMask(TokenMask):
    """Only tokens that keep the completion a prefix of something well-formed that still fits the budget.

    Works for any vocabulary: a token is legal where the automaton can read the characters that it ends, and one that
    begins as it does. What is still needed is counted in characters, each as costly as the one that takes the most
    tokens alone. That is an upper bound of tokens, so the budget rule may be stricter than necessary for vocabularies
    with longer tokens, and it is dropped in a state where it would leave nothing. EOS is legal in final states once
    there are `min_tokens`, and wherever nothing else is.

    A state is a place in the text with the number of tokens used, so that what is legal depends on the completion
    alone, never on what was met before. Its number is that of the place, then as many bits as the budget takes for the
    tokens used. What may follow a place is found when it is first met.
    """

    _LARGE = 2**26  # bytes
    _PLACE = 160  # bytes that a place takes in a dict and a list, about

    def __init__(
        self, automaton: Automaton, tokenizer: Tokenizer, budget: int, min_tokens: int, *, never_empty: bool = True
    ) -> None:
        """Prepares the empty tables; states are added when they are met.

        Args:
            automaton: What is well-formed.
            tokenizer: The vocabulary.
            budget: The most tokens.
            min_tokens: The fewest tokens before EOS.
            never_empty: Whether something is legal in every state, if only EOS. Without it, nothing is where nothing
                well-formed can follow; and in vocabularies of pieces what is needed is counted closely, in the tokens
                of a shortest text, where the count in characters would exceed the budget.
        """
        self._automaton = automaton
        self._reader = TokenReader(automaton, tokenizer)
        self._budget = budget
        self._bits = budget.bit_length()
        self._min_tokens = min_tokens
        self._never_empty = never_empty
        self._counts_closely = not never_empty and not tokenizer.closed
        self._eos_ids = list(tokenizer.eos_ids)
        self._columns = np.zeros(tokenizer.vocab_size, dtype=np.int64)
        self._columns[self._reader.tokens] = np.arange(len(self._reader.tokens))
        self.table = MaskTable(tokenizer.vocab_size)
        self._clear()

    def _clear(self) -> None:
        self._numbers: dict[Place, int] = {}
        self._places: list[Place] = []
        self._held = 0  # bytes, of the places
        self.row_of = np.full(1 << self._bits, -1, dtype=np.int32)
        self._needed = np.zeros((1, len(self._reader.tokens)), dtype=np.int32)  # tokens, after each of the reader's
        self._moves = np.zeros(self._needed.shape, dtype=np.int64)  # what each adds to a state; 0 where not yet known
        self._close: dict[int, NDArray[np.int32]] = {}  # of some places, what is needed, counted closely
        self._reader.forget()

    def start(self, prompt: Prompt) -> int:
        """Starts the automaton."""
        return self.start_at(self._automaton.start(prompt))

    def start_at(self, beginning: Hashable) -> int:
        """The automaton's state with no token used."""
        return self._number((beginning, b"")) << self._bits

    def next_state(self, state: int, token: int) -> int:
        """Follows a legal token."""
        move = int(self._moves[state >> self._bits, self._columns[token]])
        return state + (move or self._find_move(state >> self._bits, token))

    def next_states(self, states: NDArray[np.int64], tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """Follows legal tokens."""
        moves = self._moves[states >> self._bits, self._columns[tokens]]
        for i in np.flatnonzero(moves == 0).tolist():
            moves[i] = self._find_move(int(states[i]) >> self._bits, int(tokens[i]))
        following: NDArray[np.int64] = states + moves
        return following

    def keep(self, states: NDArray[np.int64]) -> NDArray[np.int64]:
        """Begins anew with the places of these states where there are many others."""
        room = self.row_of.nbytes + self._needed.nbytes + self._moves.nbytes + self._held
        if room > self._LARGE and len(self._places) > 2 * len(states):
            places = [self._places[number] for number in (states >> self._bits).tolist()]
            self._clear()
            used = states & ((1 << self._bits) - 1)
            states = (np.array([*map(self._number, places)], dtype=np.int64) << self._bits) + used
        return super().keep(states)

    def _number(self, place: Place) -> int:
        number = self._numbers.get(place)
        if number is None:
            number = self._numbers[place] = len(self._places)
            if number == len(self._needed):
                self.row_of = np.concatenate([self.row_of, np.full_like(self.row_of, -1)])
                self._needed = np.concatenate([self._needed, np.zeros_like(self._needed)])
                self._moves = np.concatenate([self._moves, np.zeros_like(self._moves)])
            self._places.append(place)
            self._held += self._PLACE + _size(place)
            self._needed[number] = self._reader.needed(place)
        return number

    def _find_move(self, number: int, token: int) -> int:
        """What a legal token adds to a state of a place: the way to another place, and one token used."""
        target = self._number(self._reader.after(self._places[number], token))
        move = ((target - number) << self._bits) + 1
        self._moves[number, self._columns[token]] = move
        return move

    def _find_rows(self, states: NDArray[np.int64]) -> NDArray[np.int32]:
        return np.array([*map(self._find_row, states.tolist())], dtype=np.int32)

    def _find_row(self, state: int) -> int:
        if self.row_of[state] >= 0:  # states may be alike
            return int(self.row_of[state])
        number, used = state >> self._bits, state & ((1 << self._bits) - 1)
        needed, room = self._needed[number], self._budget - used - 1
        if self._counts_closely and ((needed > room) & (needed < NEVER)).any():
            needed = self._needed_closely(number)
        legal = needed <= room
        may_end = self._reader.is_final(self._places[number]) and used >= self._min_tokens
        if self._never_empty:
            if not may_end and not legal.any():  # an end comes before tokens that lead nowhere
                legal = needed < NEVER
            may_end = may_end or not legal.any()
        key = np.packbits(legal).tobytes() + bytes([may_end])
        self.row_of[state] = row_number = self.table.number(key, lambda: self._row(legal, may_end))
        return row_number

    def _needed_closely(self, number: int) -> NDArray[np.int32]:
        found = self._close.get(number)
        if found is None:
            found = self._close[number] = self._reader.needed(self._places[number], closely=True)
            self._held += found.nbytes
        return found

    def _row(self, legal: NDArray[np.bool_], may_end: bool) -> NDArray[np.int8]:
        row = np.zeros(len(self._columns), dtype=np.int8)
        row[self._reader.tokens[legal]] = 1
        row[self._eos_ids] = may_end
        return row


def _size(value: Hashable) -> int:
    """How many bytes a place takes, each of its parts once."""
    total, waiting, counted = 0, [value], set()
    while waiting:
        part = waiting.pop()
        if id(part) not in counted:
            counted.add(id(part))
            total += sys.getsizeof(part)
            if isinstance(part, tuple | frozenset):
                waiting += part
    return total
