"""Which tokens may come next.

A mask is a small machine over numbered states: `start` gives an episode's first state, `next_state` follows a legal
token, `row(state)` says which tokens are legal. The environments keep one number per episode and index the rows, so
that a thousand episodes cost one gather.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.episode import Prompt
from rlfl_envs.tokenization import Tokenizer

__all__ = ["OrdinaryTokenMask", "TokenMask", "ordinary_row"]


class TokenMask(ABC):
    """Legal next tokens by state.

    Attributes:
        rows: int8 [R, V], 1 where a token is legal; R grows as states are met.
        row_of: int32 [S], each state's row; many states may share one.
        is_constant: Whether every state has the same row, so that a view of one will do.
        rows_change: Whether a row may be written over later, so that only a copy will do.
    """

    rows: NDArray[np.int8]
    row_of: NDArray[np.int32]
    is_constant: bool = False
    rows_change: bool = False

    def row(self, state: int) -> NDArray[np.int8]:
        """Which tokens are legal in a state: int8 [V], to be read only."""
        row: NDArray[np.int8] = self.rows[self.row_of[state]]
        return row

    @abstractmethod
    def start(self, prompt: Prompt) -> int:
        """The first state of a prompt's episode."""

    @abstractmethod
    def next_state(self, state: int, token: int) -> int:
        """The state after a legal token that is not EOS. The state given is used up: ask about the new one only."""

    @abstractmethod
    def next_states(self, states: NDArray[np.int32], tokens: NDArray[np.int64]) -> NDArray[np.int32]:
        """`next_state` for arrays of states and legal tokens, [n] each."""

    def forget(self, states: NDArray[np.int32]) -> None:  # noqa: B027 (most masks have nothing to forget)
        """Says that nobody will ask about these states again: their episodes are over."""


def ordinary_row(tokenizer: Tokenizer) -> NDArray[np.int8]:
    """All tokens but PAD and BOS; EOS stays legal even where it doubles as one of them."""
    row = np.ones(tokenizer.vocab_size, dtype=np.int8)
    row[list(tokenizer.special_ids)] = 0
    row[tokenizer.eos_id] = 1
    return row


class OrdinaryTokenMask(TokenMask):
    """Every token but PAD and BOS, and EOS only after `min_tokens`. A state counts the tokens, up to `min_tokens`."""

    def __init__(self, tokenizer: Tokenizer, min_tokens: int) -> None:
        """Makes the rows: with EOS, and before it one without where there is a least."""
        row = ordinary_row(tokenizer)
        early = row.copy()
        early[tokenizer.eos_id] = 0
        self.rows = np.stack([row, early][: 1 + (min_tokens > 0)])
        self.rows.flags.writeable = False
        self.row_of = np.array([1] * min_tokens + [0], dtype=np.int32)
        self.is_constant = min_tokens == 0

    def start(self, prompt: Prompt) -> int:
        """Always state 0: no token yet."""
        return 0

    def next_state(self, state: int, token: int) -> int:
        """One token more."""
        return min(state + 1, len(self.row_of) - 1)

    def next_states(self, states: NDArray[np.int32], tokens: NDArray[np.int64]) -> NDArray[np.int32]:
        """One token more in each."""
        return np.minimum(states + 1, len(self.row_of) - 1).astype(np.int32)
