"""Which tokens may come next.

A mask is a small machine over numbered states: `start` gives an episode's first state, `next_state` follows a legal
token. Each state has a row, which says which tokens are legal, and rows that are alike are kept once, in a table. So
the environments keep two numbers per episode, and masks travel as numbers of rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.episode import Prompt
from rlfl_envs.tokenization import Tokenizer

__all__ = ["MaskTable", "OrdinaryTokenMask", "TokenMask", "ordinary_row"]


class MaskTable:
    """Rows of masks, each different one once. A number keeps its row until the table is cleared.

    Attributes:
        rows: int8 [R, V], 1 where a token is legal. Read-only; what was read from it never changes.
        columns: bool [V], which tokens are legal in some row.
        epoch: How often the table was cleared. Numbers of different epochs have nothing to do with each other.
    """

    _LARGE = 2**23  # bytes

    def __init__(self, vocab_size: int) -> None:
        """Makes an empty table."""
        self._vocab_size = vocab_size
        self.epoch = -1
        self.clear()

    def clear(self) -> None:
        """Begins the next epoch, without rows."""
        self.epoch += 1
        self.columns = np.zeros(self._vocab_size, dtype=np.bool_)
        self._numbers: dict[bytes, int] = {}
        self._storage = np.zeros((4, self._vocab_size), dtype=np.int8)
        self._show()

    def number(self, key: bytes, row: Callable[[], NDArray[np.int8]]) -> int:
        """The number of a row.

        Args:
            key: What tells it from all other rows.
            row: Makes it, int8 [V]; asked where the table does not have it yet.
        """
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._numbers)
            if number == len(self._storage):
                self._storage = np.concatenate([self._storage, np.zeros_like(self._storage)])
            self._storage[number] = row()
            self.columns |= self._storage[number].astype(np.bool_)
            self._show()
        return number

    def _show(self) -> None:
        self.rows = self._storage[: len(self._numbers)]
        self.rows.flags.writeable = False

    def __getstate__(self) -> dict[str, Any]:
        """Leaves the view of the storage out."""
        return {name: value for name, value in self.__dict__.items() if name != "rows"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Shows the copy's own storage."""
        self.__dict__.update(state)
        self._show()

    def is_large(self, states: int) -> bool:
        """Whether it takes more than 8 MiB, and so many states can have no more than half of its rows."""
        return self.rows.nbytes > self._LARGE and len(self.rows) > 2 * states


class TokenMask(ABC):
    """Legal next tokens by state. States are integers, 0 or more.

    Attributes:
        table: The rows of the states met so far.
        row_of: int32 [S], each state's row; -1 where it was not asked for yet.
        is_constant: Whether all states have the same row.
        reads_syntax: Whether the first state depends on the prompt, by the task's `syntax`. Else it is 0.
    """

    table: MaskTable
    row_of: NDArray[np.int32]
    is_constant: bool = False
    reads_syntax: ClassVar[bool] = True

    def row(self, state: int) -> NDArray[np.int8]:
        """Which tokens are legal in a state: int8 [V], read-only."""
        number = self.row_of[state]
        if number < 0:
            number = self._find_rows(np.array([state]))[0]
        row: NDArray[np.int8] = self.table.rows[number]
        return row

    def row_numbers(self, states: NDArray[np.int64]) -> NDArray[np.int32]:
        """The rows of states in the table, int32 [n]."""
        numbers: NDArray[np.int32] = self.row_of[states]
        unknown = numbers < 0
        if unknown.any():
            numbers[unknown] = self._find_rows(states[unknown])
        return numbers

    def _find_rows(self, states: NDArray[np.int64]) -> NDArray[np.int32]:
        """The rows of states whose rows are not known yet, [n]; notes them in `row_of`."""
        raise NotImplementedError  # of a mask that knows each state's row from the beginning

    @abstractmethod
    def start(self, prompt: Prompt) -> int:
        """The first state of a prompt's episode."""

    @abstractmethod
    def start_at(self, beginning: Hashable) -> int:
        """The first state of an episode that begins where `syntax.start(prompt)` says."""

    @abstractmethod
    def next_state(self, state: int, token: int) -> int:
        """The state after a legal token that does not end. The state given is used up: ask about the new one only."""

    @abstractmethod
    def next_states(self, states: NDArray[np.int64], tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """`next_state` for arrays of states and legal tokens, [n] each."""

    def keep(self, states: NDArray[np.int64]) -> NDArray[np.int64]:
        """May forget all states but these, and clears the table where it is large.

        Called when episodes begin, with the states of the episodes that go on.

        Returns:
            The same states by their numbers from now on, int64 [n]. Ask for their rows again.
        """
        if self.table.is_large(len(states)):
            self.table.clear()
            self.row_of.fill(-1)
        return states


def ordinary_row(tokenizer: Tokenizer) -> NDArray[np.int8]:
    """The tokens that write something, and those that end a completion, even where they double as PAD or BOS."""
    row = tokenizer.ordinary.astype(np.int8)
    row[list(tokenizer.eos_ids)] = 1
    return row


class OrdinaryTokenMask(TokenMask):
    """Every ordinary token, and EOS only after `min_tokens`. A state counts the tokens, up to `min_tokens`."""

    reads_syntax = False

    def __init__(self, tokenizer: Tokenizer, min_tokens: int) -> None:
        """Makes the rows: with EOS, and before it one without where there is a least."""
        row = ordinary_row(tokenizer)
        early = row.copy()
        early[list(tokenizer.eos_ids)] = 0
        self.table = MaskTable(tokenizer.vocab_size)
        for each in [row, early][: 1 + (min_tokens > 0)]:
            self.table.number(each.tobytes(), each.copy)
        self.row_of = np.array([1] * min_tokens + [0], dtype=np.int32)
        self.is_constant = min_tokens == 0

    def start(self, prompt: Prompt) -> int:
        """Always state 0: no token yet."""
        return 0

    def start_at(self, beginning: Hashable) -> int:
        """The same."""
        return 0

    def next_state(self, state: int, token: int) -> int:
        """One token more."""
        return min(state + 1, len(self.row_of) - 1)

    def next_states(self, states: NDArray[np.int64], tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """One token more in each."""
        return np.minimum(states + 1, len(self.row_of) - 1)

    def keep(self, states: NDArray[np.int64]) -> NDArray[np.int64]:
        """There is nothing to forget."""
        return states
