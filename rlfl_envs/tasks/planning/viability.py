"""Verdicts on tokens: which texts are prefixes of a plan that leads to the goal.

All states of a world are known. So of each it is worked out once for a goal how much has to be written at least to get
from there to the goal: nothing where it holds, and elsewhere what the best next action takes, and what is left after
it.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Hashable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from rlfl_envs.episode import Prompt
from rlfl_envs.tasks.planning.worlds import World

__all__ = ["GoalAutomaton"]

_Missing = Callable[[str, int], int]
_NEVER = 2**24  # what is left where no plan leads to the goal
_WORDS = re.compile(r"[()]|[^\s()]+")


class State(NamedTuple):
    """Where in a plan.

    Attributes:
        way: The world, and what is left to the goal.
        place: The number of the state that the actions before lead to.
        begun: What is written of an action, in lower case, with single spaces; the one before it where it has to be
            there.
    """

    way: _Way
    place: int = 0
    begun: str = ""


class GoalAutomaton:
    """The prefixes of all plans that can be done and after which the goal holds, detours included."""

    def __init__(self, worlds: Callable[[], Mapping[str, World]], counts_words: bool, is_strict: bool) -> None:
        """Takes what plans are made of.

        Args:
            worlds: Gives the worlds, which do not travel.
            counts_words: Whether words count, being tokens, or characters.
            is_strict: Whether an action has to be written as the mask wants it: in lower case, a space before it, and
                no blanks but those it needs. The space counts, or else it would be missing at the end of the budget.
        """
        self._worlds = worlds
        self._before = " " if is_strict else ""
        self._missing = _words_missing if counts_words else _characters_missing
        written = {character for world in worlds().values() for text in world.texts for character in text}
        free = {*map(str.upper, written), *string.whitespace}
        self.alphabet = "".join(sorted({*written, " "} if is_strict else {*written, *free}))

    def start(self, prompt: Prompt) -> Hashable:
        """Nothing is written."""
        world, goal = self._worlds()[prompt.data.world], prompt.data.goal
        return State(_way(world, *goal, self._missing, self._before), prompt.data.start)

    def advance(self, state: Any, character: str) -> State | None:
        """Reads one character; None where no plan goes on so."""
        way, place, begun = state
        if self._before:
            begun += character
        elif character.isspace():
            is_free = begun in ("", "(") or begun[-1] == " "
            begun += "" if is_free else " "
        else:
            begun += character.lower()
        options = way.following(place, begun)
        if character == ")":
            return State(way, options[0][1]) if options else None
        return State(way, place, begun) if options else None

    def is_final(self, state: Any) -> bool:
        """Whether the goal holds, and no action is begun."""
        return bool(not state.begun and state.way.left[state.place] == 0)

    def characters_left(self, state: Any) -> int:
        """The least that has to be written."""
        way: _Way = state.way
        if not state.begun:
            return int(way.left[state.place])
        options = way.following(state.place, state.begun)
        return min(way.missing(action, state.begun) + int(way.left[after]) for action, after in options)


class _Way:
    """What is left to a goal.

    Attributes:
        left: int32 [states], how much has to be written from each state on, `_NEVER` where no plan helps.
    """

    def __init__(self, world: World, wanted: int, unwanted: int, missing: _Missing, before: str) -> None:
        self._world = world
        self._missing = missing
        self._texts = [before + text for text in world.texts]
        self._is_strict = bool(before)
        self._options: dict[int, list[tuple[str, int]]] = {}
        sizes = np.array([missing(text, 0) for text in self._texts], dtype=np.int32)
        self.left = np.where(world.distances(wanted, unwanted) == 0, 0, _NEVER).astype(np.int32)
        has_changed = True
        while has_changed:
            padded = np.append(self.left, np.int32(_NEVER))  # -1 is the last
            least = np.minimum(self.left, (padded[world.after] + sizes).min(axis=1, initial=_NEVER))
            has_changed = bool((least < self.left).any())
            self.left = least

    def following(self, place: int, begun: str) -> list[tuple[str, int]]:
        """The actions that begin so, can be done and do not leave the goal out of reach, each with where it leads."""
        options = self._options.get(place)
        if options is None:
            every = zip(self._texts, self._world.after[place].tolist(), strict=True)
            options = [(action, after) for action, after in every if after >= 0 and self.left[after] < _NEVER]
            self._options[place] = options
        if self._is_strict:
            return [(action, after) for action, after in options if action.startswith(begun)]
        written = begun.replace(" )", ")")
        whole = f"{written[:-1]})" if written[-1:] == " " else ""  # a blank may stand before the last bracket
        return [(action, after) for action, after in options if action.startswith(written) or action == whole]

    def missing(self, action: str, begun: str) -> int:
        """How much is missing of an action that is begun and not complete."""
        return max(1, self._missing(action, len(begun)))


def _characters_missing(action: str, written: int) -> int:
    """How many characters follow so many that are written."""
    return len(action) - written


@lru_cache(maxsize=4096)
def _words_missing(action: str, written: int) -> int:
    """How many words and brackets do; `_NEVER` in the midst of a word, which no token goes on with."""
    words = [(match.start(), match.end()) for match in _WORDS.finditer(action)]
    is_midst = any(start < written < end for start, end in words)
    return _NEVER if is_midst else sum(start >= written for start, _ in words)


@lru_cache(maxsize=1024)
def _way(world: World, wanted: int, unwanted: int, missing: _Missing, before: str) -> _Way:
    return _Way(world, wanted, unwanted, missing, before)
