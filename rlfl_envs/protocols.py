"""What a task may have besides the base class: a syntax, verdicts on tokens, arrays, kinds of prompts and more."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.episode import OutcomeArrays, Prompt
from rlfl_envs.keys import Keys

__all__ = [
    "Accepted",
    "ArrayAutomaton",
    "ArrayStarts",
    "ArrayTask",
    "ArrayViableTask",
    "AuditedTask",
    "Automaton",
    "FiniteTask",
    "Grammar",
    "IllustratedTask",
    "KindTask",
    "SlowTask",
    "StoppingTask",
    "ViableTask",
]


class Automaton(Protocol):
    """Recognises the prefixes of well-formed completions, character by character; `mask="syntax"` is made from it.

    States are hashable values of the automaton's own choice, and few.
    """

    alphabet: str
    """Every character that a well-formed completion can have."""

    def start(self, prompt: Prompt) -> Hashable:
        """The state before the first character."""

    def advance(self, state: Hashable, character: str) -> Hashable | None:
        """The state after one more character, or None where nothing well-formed starts like this."""

    def is_final(self, state: Hashable) -> bool:
        """Whether the text so far is a well-formed completion."""

    def characters_left(self, state: Hashable) -> int:
        """The least number of characters that makes the text well-formed; 0 in a final state."""


class Grammar(ABC):
    """The well-formed completions as a context-free grammar; `mask="syntax"` is made from it by llguidance."""

    @abstractmethod
    def start(self, prompt: Prompt) -> str:
        """A grammar in llguidance's dialect of Lark, whose `start` derives the well-formed completions of a prompt."""


@runtime_checkable
class ViableTask(Protocol):
    """A task that can tell, token by token, whether a success can still follow.

    `judge_tokens` of the environments asks it, and so do rewards for tokens.
    """

    successes: Automaton
    """Recognises the prefixes of a prompt's successes, and nothing else.

    With `mask="syntax"` it must not count on a success that the mask forbids: where a token is right by this automaton
    and allowed by the mask, another such token follows, up to a success. What the mask forbids and no success needs,
    such as blanks, may stay.
    """


class ArrayAutomaton(Protocol):
    """An automaton over token ids, for n episodes at once. What a state is, is its own business."""

    def start(self, data: NDArray[np.void]) -> NDArray[Any]:
        """The states before the first token, [n], of the prompts in a structured array [n]."""

    def judge(self, states: NDArray[Any], candidates: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether a success that fits the budget can follow each of k tokens, EOS among them: bool [n, k].

        Args:
            states: [n], each reached by tokens that were judged so.
            candidates: int64 [n, k].
        """

    def advance(self, states: NDArray[Any], tokens: NDArray[np.int64]) -> NDArray[Any]:
        """The states after one more token each, [n], which was judged so and is no EOS."""


@runtime_checkable
class ArrayViableTask(Protocol):
    """What a `ViableTask` may add where prompts differ so much that an automaton would meet ever new states."""

    array_successes: ArrayAutomaton | None
    """Says what `successes` says; None in a vocabulary for which it has no arrays."""


@runtime_checkable
class ArrayTask(Protocol):
    """The array fast path that a task may add for the vector environment; outcome for outcome the text path."""

    def arrays_from_keys(self, keys: Keys) -> tuple[NDArray[np.int64], NDArray[np.void]]:
        """Returns the prompts' columns, int64 [n, P], and a structured array [n] of what judging them needs."""

    def arrays_from_prompts(self, prompts: Sequence[Prompt]) -> tuple[NDArray[np.int64], NDArray[np.void]]:
        """The same for prompts that exist already."""

    def evaluate_arrays(
        self, data: NDArray[np.void], completions: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> OutcomeArrays:
        """Judges completions given as token ids.

        Args:
            data: structured array [n].
            completions: int64 [n, C]; columns from `lengths` on are to be ignored.
            lengths: int64 [n], tokens without EOS.
        """


@runtime_checkable
class ArrayStarts(Protocol):
    """What an `ArrayTask` with a syntax may add, so that its prompts need not be read back to start their masks."""

    def start_states(self, data: NDArray[np.void]) -> Sequence[Hashable]:
        """`syntax.start` of the prompt of each row of the structured array."""


@runtime_checkable
class StoppingTask(Protocol):
    """A task whose completions may be over without EOS."""

    stop_characters: str
    """`stops` is asked after a token that has one of these; after every token where this is empty."""

    def stops(self, prompt: Prompt, completion: str) -> bool:
        """Whether a completion is over."""


@runtime_checkable
class FiniteTask(Protocol):
    """A task of so few prompts that an evaluation asks each of them once, instead of drawing."""

    def every_prompt(self) -> Sequence[Prompt]:
        """All prompts of the split, always in the same order."""


@runtime_checkable
class KindTask(Protocol):
    """A task whose prompts are of different kinds, some of them rare.

    Kinds say what to look at and what to draw more often; levels go from easy to hard.
    """

    kinds: Sequence[str]
    """The name of each kind."""

    def kinds_of(self, prompts: Sequence[Prompt]) -> NDArray[np.int64]:
        """The kind of each prompt, int64 [n], as a place in `kinds`."""


@runtime_checkable
class IllustratedTask(Protocol):
    """A task that people would rather look at."""

    def illustrate(self, path: Path, text: str | None = None, seed: int = 0) -> str:
        """Draws a picture of one of the task's texts.

        Args:
            path: The picture's file (PNG).
            text: The text; one of the task's own by default.
            seed: Of all choices.

        Returns:
            What there is to say about it, in lines.

        Raises:
            ConfigError: This text has no picture.
        """


@runtime_checkable
class SlowTask(Protocol):
    """A task whose judging takes so long that its baselines are averaged over fewer prompts."""

    baseline_prompts: int
    """Over how many prompts `baselines` averages unless told otherwise."""


class Accepted(NamedTuple):
    """A finding of an audit that a task's author knows, and leaves as it is.

    Attributes:
        why: Why it is acceptable, and what to do about it where there is something.
        unearned: The most that such answers may earn without success, as a share of the highest reward.
        success: How often they may be a success, 0..1.
    """

    why: str
    unearned: float = 0.0
    success: float = 0.0


@runtime_checkable
class AuditedTask(Protocol):
    """A task that says which findings of `rlfl_envs.audit` are known. What goes beyond them is new, and fails tests."""

    accepted_findings: Mapping[str, Accepted]
    """By the name of the attack."""
