"""Verdicts on tokens, where patterns are short: which texts are prefixes of a pattern of the right language."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from rlfl_envs.episode import Prompt
from rlfl_envs.tasks.regex.automaton import PatternAutomaton
from rlfl_envs.tasks.regex.matcher import matches

__all__ = ["MOST_CHARACTERS", "OneLanguage"]

MOST_CHARACTERS = 5
"""Of longer patterns there are too many to match each with all words."""


class OneLanguage:
    """The prefixes of all patterns up to some length whose language is the one sought.

    A state is what may still be written: the rests of these patterns.
    """

    alphabet = PatternAutomaton.alphabet

    def __init__(self, longest: int) -> None:
        """Takes the patterns' length, up to MOST_CHARACTERS."""
        self._longest = longest

    def start(self, prompt: Prompt) -> Hashable:
        """All of the language's patterns; none where the shortest is too long."""
        found = matches(prompt.data.pattern)
        return _patterns(self._longest).get(found.tobytes(), ()) if found is not None else ()

    def advance(self, state: Any, character: str) -> tuple[str, ...] | None:
        """Reads one character; None where no pattern goes on so."""
        return tuple([rest[1:] for rest in state if rest[:1] == character]) or None

    def is_final(self, state: Any) -> bool:
        """Whether this is one of the patterns."""
        return "" in state

    def characters_left(self, state: Any) -> int:
        """What is left of the shortest."""
        return min(map(len, state), default=self._longest + 1)


@functools.cache
def _patterns(longest: int) -> Mapping[bytes, tuple[str, ...]]:
    """The patterns of every language, by which words it has."""
    found: defaultdict[bytes, list[str]] = defaultdict(list)
    for pattern in _written(longest):
        table = matches(pattern)
        if table is not None:
            found[table.tobytes()].append(pattern)
    return {table: tuple(patterns) for table, patterns in found.items()}


def _written(longest: int) -> Iterator[str]:
    """Every pattern of so many characters or fewer."""
    automaton = PatternAutomaton()
    waiting: list[tuple[str, Any]] = [("", automaton.start(Prompt("")))]
    while waiting:
        text, state = waiting.pop()
        if automaton.is_final(state):
            yield text
        for character in automaton.alphabet:
            following = automaton.advance(state, character)
            if following is not None and len(text) + 1 + automaton.characters_left(following) <= longest:
                waiting.append((text + character, following))
