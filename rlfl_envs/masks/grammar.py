"""Masks by a context-free grammar, read by llguidance."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.episode import Prompt
from rlfl_envs.errors import ConfigError, MissingDependencyError, how_to_install
from rlfl_envs.masks.base import MaskTable, TokenMask, ordinary_row
from rlfl_envs.protocols import Grammar
from rlfl_envs.tokenization import Tokenizer

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

__all__ = ["GrammarMask", "llguidance_vocabulary"]


class GrammarMask(TokenMask):
    """Only tokens that keep the completion a prefix of a text that a context-free grammar derives, by llguidance.

    A state of an Earley parser is too large to be numbered and kept: each episode has a matcher, which is moved on, and
    a state is the matcher's place in a list. EOS is legal where the text is derived and there are `min_tokens`, and
    wherever nothing else is. The budget is not kept in mind, for llguidance does not say how much is still needed; a
    completion may be cut off.
    """

    _MOST_BEGINNINGS = 256  # a grammar may be made for each prompt

    def __init__(self, syntax: Grammar, tokenizer: Tokenizer, min_tokens: int) -> None:
        """Prepares the vocabulary for llguidance.

        Raises:
            MissingDependencyError: llguidance is not installed.
        """
        self._syntax = syntax
        self._tokenizer = tokenizer
        self._min_tokens = min_tokens
        self._eos_ids = list(tokenizer.eos_ids)
        ordinary = ordinary_row(tokenizer)
        ordinary[self._eos_ids] = 0
        self._ordinary = np.packbits(ordinary, bitorder="little")
        self._vocabulary = llguidance_vocabulary(tokenizer)
        self._beginnings: dict[str, LLMatcher] = {}  # by grammar
        self._matchers: list[LLMatcher] = []  # by place
        self._histories: list[tuple[str, list[int]]] = []  # the grammar and the tokens since: what matchers come from
        self._free: list[int] = []
        self.table = MaskTable(tokenizer.vocab_size)
        self.row_of = np.full(4, -1, dtype=np.int32)

    def start(self, prompt: Prompt) -> int:
        """Begins an episode with the prompt's grammar."""
        return self.start_at(self._syntax.start(prompt))

    def start_at(self, beginning: Hashable) -> int:
        """Begins an episode at a free place."""
        grammar = str(beginning)
        matcher = self._matcher(grammar)
        if self._free:
            place = self._free.pop()
            self._matchers[place], self._histories[place] = matcher, (grammar, [])
        else:
            place = len(self._matchers)
            self._matchers.append(matcher)
            self._histories.append((grammar, []))
            if place == len(self.row_of):
                self.row_of = np.concatenate([self.row_of, np.full_like(self.row_of, -1)])
        self.row_of[place] = -1
        return place

    def next_state(self, state: int, token: int) -> int:
        """Moves the episode's matcher on."""
        self._consume(state, token)
        self.row_of[state] = -1
        return state

    def next_states(self, states: NDArray[np.int64], tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """Moves matchers on."""
        for state, token in zip(states.tolist(), tokens.tolist(), strict=True):
            self._consume(state, token)
        self.row_of[states] = -1
        return states

    def _consume(self, state: int, token: int) -> None:
        self._matchers[state].consume_token(token)
        self._histories[state][1].append(token)

    def keep(self, states: NDArray[np.int64]) -> NDArray[np.int64]:
        """Frees the places of all others."""
        is_free = np.ones(len(self._matchers), dtype=np.bool_)
        is_free[states] = False
        self._free = np.flatnonzero(is_free).tolist()
        return super().keep(states)

    def _find_rows(self, states: NDArray[np.int64]) -> NDArray[np.int32]:
        places = states.tolist()
        words = np.zeros((len(places), -(-self._tokenizer.vocab_size // 32)), dtype=np.int32)
        address, stride = words.ctypes.data, words.strides[0]
        for i, place in enumerate(places):
            if not self._matchers[place].is_stopped():
                self._matchers[place].unsafe_compute_mask_ptr(address + i * stride, stride)
        bits = words.view(np.uint8)[:, : len(self._ordinary)] & self._ordinary
        may_end: NDArray[np.bool_] = (bits == 0).all(axis=1)
        for i, place in enumerate(places):
            if len(self._histories[place][1]) >= self._min_tokens and self._matchers[place].is_accepting():
                may_end[i] = True
        keys = np.column_stack([bits, may_end])
        self.row_of[states] = numbers = np.array(
            [self.table.number(key.tobytes(), partial(self._row, key)) for key in keys], dtype=np.int32
        )
        return numbers

    def _row(self, key: NDArray[np.uint8]) -> NDArray[np.int8]:
        row = np.unpackbits(key[:-1], count=self._tokenizer.vocab_size, bitorder="little").view(np.int8)
        row[self._eos_ids] = key[-1]
        return row

    def _matcher(self, grammar: str) -> LLMatcher:
        """A matcher at the beginning of what a grammar derives."""
        from llguidance import LLMatcher

        matcher = self._beginnings.get(grammar)
        if matcher is None:
            matcher = LLMatcher(self._vocabulary, grammar, log_level=0)
            if matcher.is_error():
                raise ConfigError(f"mask='syntax' cannot be had: the grammar is wrong ({matcher.get_error()}).")
            if len(self._beginnings) == self._MOST_BEGINNINGS:
                del self._beginnings[next(iter(self._beginnings))]  # the oldest
            self._beginnings[grammar] = matcher
        return matcher.deep_copy()

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out what cannot be pickled."""
        return {**self.__dict__, "_vocabulary": None, "_beginnings": {}, "_matchers": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Makes the matchers anew and moves them to where they were."""
        self.__dict__.update(state)
        self._vocabulary = llguidance_vocabulary(self._tokenizer)
        for grammar, tokens in self._histories:
            matcher = self._matcher(grammar)
            matcher.consume_tokens(tokens)
            self._matchers.append(matcher)


@dataclass(frozen=True, slots=True)
class _Tokens:
    """What llguidance's TokenizerWrapper wraps."""

    tokens: list[bytes]
    eos_token_id: int
    special_token_ids: list[int]
    encode: Callable[[str], list[int]]
    bos_token_id: int | None = None

    def __call__(self, text: str) -> list[int]:
        """The tokens of a text that a grammar forces; an error for bytes, which llguidance tries once."""
        return self.encode(text)


def llguidance_vocabulary(tokenizer: Tokenizer | Sequence[str]) -> LLTokenizer:
    """A vocabulary as llguidance reads it: a tokenizer's, or the 256 bytes (ids 0..255) and then some words.

    Raises:
        MissingDependencyError: llguidance is not installed.
    """
    if importlib.util.find_spec("llguidance") is None:
        raise MissingDependencyError(f"mask='syntax' needs the package llguidance here: {how_to_install('ludax')}")
    from llguidance import LLTokenizer, TokenizerWrapper

    if not isinstance(tokenizer, Tokenizer):
        tokens = [*(bytes([i]) for i in range(256)), *(word.encode() for word in tokenizer), _SPECIAL]
        eos_id = len(tokens) - 1
        wrapped = _Tokens(tokens, eos_id, [eos_id], lambda text: [*text.encode(errors="replace")])
        return LLTokenizer(TokenizerWrapper(wrapped))
    special = np.flatnonzero(~tokenizer.ordinary).tolist()
    tokens = [each or _SPECIAL for each in tokenizer.token_bytes]
    return LLTokenizer(TokenizerWrapper(_Tokens(tokens, tokenizer.eos_id, special, tokenizer.encode)))


_SPECIAL = b"\xff"  # in no text
