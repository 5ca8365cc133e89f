"""Tokens as an automaton reads them: byte by byte, for a token may be several characters, or a part of one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.episode import Prompt
from rlfl_envs.masks.base import ordinary_row
from rlfl_envs.masks.shortest import ShortestTexts
from rlfl_envs.protocols import Automaton
from rlfl_envs.tokenization import Tokenizer

__all__ = ["NEVER", "Masked", "Place", "TokenReader"]

NEVER = int(np.iinfo(np.int32).max)
"""How many tokens are needed where no end can be reached."""

Place = tuple[Hashable, bytes]
"""Where in a text: the automaton's state, and the bytes of the next character that were read already."""


class Masked:
    """The successes that a syntax allows, which is what a mask in a vocabulary of pieces leaves of them."""

    def __init__(self, successes: Automaton, syntax: Automaton) -> None:
        """Takes the automata, which are read side by side."""
        self._both = successes, syntax
        self.alphabet = syntax.alphabet
        self._known = frozenset(successes.alphabet)

    def start(self, prompt: Prompt) -> Hashable:
        """Both."""
        return tuple(automaton.start(prompt) for automaton in self._both)

    def advance(self, state: Any, character: str) -> Hashable | None:
        """Both, or none."""
        if character not in self._known:
            return None
        after = tuple(each.advance(part, character) for each, part in zip(self._both, state, strict=True))
        return None if None in after else after

    def is_final(self, state: Any) -> bool:
        """Where both are."""
        return all(each.is_final(part) for each, part in zip(self._both, state, strict=True))

    def characters_left(self, state: Any) -> int:
        """To a success; the syntax asks for no more."""
        return max(each.characters_left(part) for each, part in zip(self._both, state, strict=True))

    def masked_left(self, state: Any) -> int:
        """What the mask counts."""
        return self._both[1].characters_left(state[1])


@dataclass(slots=True)
class _Node:
    """Tokens that begin with the same bytes.

    Attributes:
        columns: Those that have no more bytes, by their index in `TokenReader.tokens`.
        following: For the others, by their next byte, the number of the node that goes on.
    """

    columns: list[int] = field(default_factory=list)
    following: dict[int, int] = field(default_factory=dict)


class TokenReader:
    """Reads the tokens of a vocabulary with an automaton that reads characters.

    Attributes:
        tokens: int64 [L], the tokens that can stand in a text of the automaton's alphabet.
    """

    def __init__(self, automaton: Automaton, tokenizer: Tokenizer) -> None:
        """Sorts the vocabulary by its bytes."""
        self._automaton = automaton
        self._bytes = tokenizer.token_bytes
        self._characters = {character.encode(): character for character in automaton.alphabet}
        self._of_one_byte = {whole[0]: character for whole, character in self._characters.items() if len(whole) == 1}
        self._begun: dict[bytes, list[bytes]] = {}  # by their first bytes: the characters of which there are more
        for whole in self._characters:
            for length in range(1, len(whole)):
                self._begun.setdefault(whole[:length], []).append(whole)
        ordinary = ordinary_row(tokenizer)
        ordinary[list(tokenizer.eos_ids)] = 0
        letters = frozenset(b"".join(self._characters))  # few of a large vocabulary's tokens have no other bytes
        likely = [token for token in np.flatnonzero(ordinary).tolist() if letters.issuperset(self._bytes[token])]
        readable = self._readable({self._bytes[token] for token in likely})
        self.tokens = np.array([token for token in likely if self._bytes[token] in readable], dtype=np.int64)
        self._nodes = [_Node()]  # one list, for nodes within nodes would be too deep to copy
        for column, token in enumerate(self.tokens.tolist()):
            node = self._nodes[0]
            for byte in self._bytes[token]:
                number = node.following.setdefault(byte, len(self._nodes))
                if number == len(self._nodes):
                    self._nodes.append(_Node())
                node = self._nodes[number]
            node.columns.append(column)
        self._costs = {whole: _fewest(whole, readable) for whole in self._characters}
        self._per_character = max([costs[0] for costs in self._costs.values() if costs[0] < NEVER], default=1)
        texts = {text for token in readable if (text := _text(token)) is not None}
        costs_alone = {character: self._costs[each][0] for each, character in self._characters.items()}
        self._shortest = ShortestTexts(automaton, frozenset(texts), costs_alone, self._bound, self._least)

    def _readable(self, tokens: set[bytes]) -> set[bytes]:
        """Those that can stand in a text of the alphabet: within a character, or from one into others."""
        continued: dict[int, set[bytes]] = {}  # how far a character is read after a byte that is not its first
        for begun in self._begun:
            for byte in range(256):
                continued.setdefault(byte, set()).update(self._read_on({begun}, byte))
        found = set()
        for token in tokens:
            ends = self._read_on({b""}, token[0]) | continued.get(token[0], set()) if token else set()
            for byte in token[1:]:
                ends = self._read_on(ends, byte)
            if ends:
                found.add(token)
        return found

    def _read_on(self, begun: set[bytes], byte: int) -> set[bytes]:
        """What is read of a character after one more byte, for each that was read before; nothing where none is."""
        read = {each + bytes([byte]) for each in begun}
        return (read & self._begun.keys()) | ({b""} if read & self._characters.keys() else set())

    def after(self, place: Place, token: int) -> Place:
        """The place after a token that may be read there."""
        for byte in self._bytes[token]:
            following = self._after(place, byte)
            assert following is not None, f"token={token} may not be read here"
            place = following
        return place

    def _after(self, place: Place, byte: int) -> Place | None:
        """The place after a byte; None where no character that the automaton can read begins like this."""
        state, begun = place
        character = None if begun else self._of_one_byte.get(byte)
        if character is None:
            begun += bytes([byte])
            character = self._characters.get(begun)
        if character is not None:
            target = self._automaton.advance(state, character)
            return None if target is None else (target, b"")
        return (state, begun) if next(self._goals(state, begun), None) else None

    def _goals(self, state: Hashable, begun: bytes) -> Iterator[tuple[bytes, Hashable]]:
        """The characters that begin so and that the automaton can read, each with the state that it leads to."""
        for whole in self._begun.get(begun, ()):
            target = self._automaton.advance(state, self._characters[whole])
            if target is not None:
                yield whole, target

    def is_final(self, place: Place) -> bool:
        """Whether the text so far is a well-formed completion."""
        state, begun = place
        return not begun and self._automaton.is_final(state)

    def _bound(self, state: Hashable) -> int:
        """How many tokens make the text well-formed, at most: as many as the costliest characters would take."""
        return self._per_character * self._automaton.characters_left(state)

    def _least(self, state: Hashable) -> int:
        """How many tokens a mask leaves room for where the automaton goes on beneath one."""
        automaton = self._automaton
        return self._per_character * automaton.masked_left(state) if isinstance(automaton, Masked) else 0

    def _tokens_left(self, place: Place, bound: Callable[[Hashable], int]) -> int:
        """The same of a place, by some bound of states."""
        state, begun = place
        if not begun:
            return bound(state)
        costs = [
            self._costs[whole][len(begun)] + bound(target)
            for whole, target in self._goals(state, begun)
            if self._costs[whole][len(begun)] < NEVER
        ]
        return min(costs, default=NEVER)

    def needed(self, place: Place, *, closely: bool = False) -> NDArray[np.int32]:
        """How many tokens are still needed after each of `tokens`, int32 [L]; NEVER for those that cannot be read.

        Args:
            place: Where in the text.
            closely: Whether to find a shortest text after each and count its tokens, instead of its characters.
        """
        bound = self._shortest.fewest if closely else self._bound
        found = np.full(len(self.tokens), NEVER, dtype=np.int32)
        waiting = [(0, place)]
        while waiting:
            number, reached = waiting.pop()
            node = self._nodes[number]
            if node.columns:
                found[node.columns] = self._tokens_left(reached, bound)
            for byte, following in node.following.items():
                after = self._after(reached, byte)
                if after is not None:
                    waiting.append((following, after))
        return found

    def forget(self) -> None:
        """Gives the memory of shortest texts back."""
        self._shortest.forget()


def _text(token: bytes) -> str | None:
    """The characters of a token; None where one of them is not whole."""
    try:
        return token.decode()
    except UnicodeDecodeError:
        return None


def _fewest(whole: bytes, tokens: set[bytes]) -> list[int]:
    """In how few tokens a character can be written from each of its bytes on; NEVER where it cannot."""
    fewest = [NEVER] * len(whole) + [0]
    for start in reversed(range(len(whole))):
        for end in range(start + 1, len(whole) + 1):
            if whole[start:end] in tokens:
                fewest[start] = min(fewest[start], fewest[end] + (fewest[end] < NEVER))
    return fewest[:-1]
