"""In how few tokens an automaton's shortest texts can be written, where tokens are longer than a character."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

from rlfl_envs.protocols import Automaton

__all__ = ["ShortestTexts"]

_Step = tuple[str, Hashable]


class ShortestTexts:
    """Follows an automaton by its shortest way to an end, and covers that text with as few tokens as can be.

    The number found is one that can be kept to: where the first of these tokens is written, one less is left. Another
    text may be longer and take fewer tokens still.
    """

    def __init__(
        self,
        automaton: Automaton,
        tokens: frozenset[str],
        costs: Mapping[str, int],
        bound: Callable[[Hashable], int],
        least: Callable[[Hashable], int],
    ) -> None:
        """Takes the automaton and what is known of the vocabulary.

        Args:
            automaton: What is well-formed.
            tokens: The texts of those tokens that are whole characters.
            costs: How many tokens each character takes alone.
            bound: How many tokens a state takes at most.
            least: How many a mask leaves it at least, as it counts characters; 0 without a mask.
        """
        self._automaton, self._tokens, self._costs, self._bound = automaton, tokens, costs, bound
        self._least = least
        self._longest = max(map(len, tokens), default=1)
        self.forget()

    def forget(self) -> None:
        """Gives the memory of the states met so far back."""
        self._steps: dict[Hashable, _Step | None] = {}
        self._fewest: dict[Hashable, int] = {}

    def fewest(self, state: Hashable) -> int:
        """How many tokens it takes from a state to an end, at most."""
        way = [state]
        while way[-1] not in self._fewest and (step := self._step(way[-1])) is not None:
            way.append(step[1])
        for place in reversed(way):
            if place not in self._fewest:
                fewest = min(self._bound(place), self._along_the_way(place))
                self._fewest[place] = max(fewest, self._least(place))
        return self._fewest[state]

    def _along_the_way(self, state: Hashable) -> int:
        """The fewest by the way from a state; more than any bound where there is none."""
        step, text, found = self._step(state), "", self._bound(state)
        while step is not None and len(text) < self._longest:
            character, after = step
            text += character
            if len(text) == 1:
                found = min(found, self._costs[character] + self._fewest[after])
            elif text in self._tokens:
                found = min(found, 1 + self._fewest[after])
            step = self._step(after)
        return found

    def _step(self, state: Hashable) -> _Step | None:
        """The next character of the shortest text and the state after it; None at an end, and where none is nearer."""
        if state not in self._steps:
            self._steps[state] = self._find_step(state)
        return self._steps[state]

    def _find_step(self, state: Hashable) -> _Step | None:
        automaton = self._automaton
        least, found = automaton.characters_left(state), None
        for character in automaton.alphabet if least > 0 else "":
            after = automaton.advance(state, character)
            left = least if after is None else automaton.characters_left(after)
            if left < least:
                least, found = left, (character, after)
        return found
