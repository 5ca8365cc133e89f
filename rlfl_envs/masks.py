"""Which tokens may come next.

A mask is a small machine over numbered states: `start` gives an episode's first state, `next_state` follows a legal
token, `row(state)` says which tokens are legal. The environments keep one number per episode and index the rows, so
that a thousand episodes cost one gather.
"""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.errors import ConfigError, MissingDependencyError
from rlfl_envs.task import Automaton, Grammar, Task
from rlfl_envs.tokenization import Tokenizer

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

__all__ = ["GrammarMask", "OrdinaryTokenMask", "SyntaxMask", "TokenMask", "llguidance_vocabulary", "make_mask"]


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
    def start(self, state: Hashable) -> int:
        """The first state of an episode whose prompt starts the task's automaton in `state`."""

    @abstractmethod
    def next_state(self, state: int, token: int) -> int:
        """The state after a legal token that is not EOS. The state given is used up: ask about the new one only."""

    @abstractmethod
    def next_states(self, states: NDArray[np.int32], tokens: NDArray[np.int64]) -> NDArray[np.int32]:
        """`next_state` for arrays of states and legal tokens, [n] each."""

    def forget(self, states: NDArray[np.int32]) -> None:  # noqa: B027 (most masks have nothing to forget)
        """Says that nobody will ask about these states again: their episodes are over."""


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
    if isinstance(task.automaton, Grammar):
        return GrammarMask(task.tokenizer, config.min_completion_tokens)
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
        """Makes the rows: with EOS, and before it one without where there is a least."""
        row = _ordinary_row(tokenizer)
        early = row.copy()
        early[tokenizer.eos_id] = 0
        self.rows = np.stack([row, early][: 1 + (min_tokens > 0)])
        self.rows.flags.writeable = False
        self.row_of = np.array([1] * min_tokens + [0], dtype=np.int32)
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


class GrammarMask(TokenMask):
    """Only tokens that keep the completion a prefix of a text that a context-free grammar derives, by llguidance.

    A state of an Earley parser is too large to be numbered and kept: each episode has a matcher, which is moved on, and
    a state is the matcher's place in a list, with a row of its own. EOS is legal where the text is derived and there
    are `min_tokens`, and wherever nothing else is. The budget is not kept in mind, for llguidance does not say how much
    is still needed; a completion may be cut off.
    """

    rows_change = True

    def __init__(self, tokenizer: Tokenizer, min_tokens: int) -> None:
        """Prepares the vocabulary for llguidance.

        Raises:
            MissingDependencyError: llguidance is not installed.
        """
        self._tokenizer = tokenizer
        self._min_tokens = min_tokens
        self._ordinary = _ordinary_row(tokenizer)
        self._vocabulary = llguidance_vocabulary(tokenizer)
        self._beginnings: dict[str, LLMatcher] = {}  # by grammar
        self._matchers: list[LLMatcher] = []  # by place
        self._histories: list[tuple[str, list[int]]] = []  # the grammar and the tokens since: what matchers come from
        self._free: list[int] = []
        self.rows = np.zeros((4, tokenizer.vocab_size), dtype=np.int8)
        self.row_of = np.arange(4, dtype=np.int32)

    def start(self, state: Hashable) -> int:
        """Begins an episode at a free place; `state` is the text of a grammar."""
        grammar = str(state)
        matcher = self._matcher(grammar)
        if self._free:
            place = self._free.pop()
            self._matchers[place], self._histories[place] = matcher, (grammar, [])
        else:
            place = len(self._matchers)
            self._matchers.append(matcher)
            self._histories.append((grammar, []))
            if place == len(self.rows):
                self.rows = np.concatenate([self.rows, np.zeros_like(self.rows)])
                self.row_of = np.arange(len(self.rows), dtype=np.int32)
        self._fill([place])
        return place

    def next_state(self, state: int, token: int) -> int:
        """Moves the episode's matcher on."""
        self._consume(state, token)
        self._fill([state])
        return state

    def next_states(self, states: NDArray[np.int32], tokens: NDArray[np.int64]) -> NDArray[np.int32]:
        """Moves matchers on."""
        for state, token in zip(states.tolist(), tokens.tolist(), strict=True):
            self._consume(state, token)
        self._fill(states.tolist())
        return states

    def forget(self, states: NDArray[np.int32]) -> None:
        """Frees places for other episodes."""
        self._free += states.tolist()

    def _consume(self, place: int, token: int) -> None:
        self._matchers[place].consume_token(token)
        self._histories[place][1].append(token)

    def _fill(self, places: list[int]) -> None:
        """Writes the rows of these places anew."""
        words = np.zeros((len(places), -(-self._ordinary.size // 32)), dtype=np.int32)
        for words_of_one, place in zip(words, places, strict=True):
            if not self._matchers[place].is_stopped():
                self._matchers[place].unsafe_compute_mask_ptr(words_of_one.ctypes.data, words_of_one.nbytes)
        bits = np.unpackbits(words.view(np.uint8), axis=1, count=self._ordinary.size, bitorder="little")
        rows = bits.view(np.int8) & self._ordinary
        may_end = [
            self._matchers[place].is_accepting() and len(self._histories[place][1]) >= self._min_tokens
            for place in places
        ]
        rows[:, self._tokenizer.eos_id] = 0
        rows[:, self._tokenizer.eos_id] = np.logical_or(may_end, ~rows.any(axis=1))
        self.rows[places] = rows

    def _matcher(self, grammar: str) -> LLMatcher:
        """A matcher at the beginning of what a grammar derives."""
        from llguidance import LLMatcher

        if grammar not in self._beginnings:
            matcher = LLMatcher(self._vocabulary, grammar, log_level=0)
            if matcher.is_error():
                raise ConfigError(f"mask='syntax' cannot be had: the grammar is wrong ({matcher.get_error()}).")
            self._beginnings[grammar] = matcher
        return self._beginnings[grammar].deep_copy()

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
        raise MissingDependencyError(
            "mask='syntax' needs the package llguidance here: pip install \"rlfl-envs[ludax]\""
        )
    from llguidance import LLTokenizer, TokenizerWrapper

    if not isinstance(tokenizer, Tokenizer):
        tokens = [*(bytes([i]) for i in range(256)), *(word.encode() for word in tokenizer), _SPECIAL]
        eos_id = len(tokens) - 1
        wrapped = _Tokens(tokens, eos_id, [eos_id], lambda text: [*text.encode(errors="replace")])
        return LLTokenizer(TokenizerWrapper(wrapped))
    if not tokenizer.closed:
        return LLTokenizer(tokenizer.backend.to_str(), eos_token=tokenizer.eos_id)
    special = sorted(tokenizer.special_ids)
    tokens = [_SPECIAL if i in special else text.encode() for i, text in enumerate(tokenizer.token_texts)]
    return LLTokenizer(TokenizerWrapper(_Tokens(tokens, tokenizer.eos_id, special, tokenizer.encode)))


_SPECIAL = b"\xff"  # in no text
