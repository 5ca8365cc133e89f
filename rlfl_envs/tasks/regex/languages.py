"""The languages over two letters that short patterns describe, each with its shortest pattern.

A language is its truth table: which of the words of up to 7 letters it has. The table of a whole follows from the
tables of its parts, so that no pattern has to be matched to find out.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

__all__ = ["LETTERS", "LONGEST_WORD", "WORDS", "Languages", "languages"]

LETTERS = "ab"
LONGEST_WORD = 7
WORDS = ["".join(word) for length in range(LONGEST_WORD + 1) for word in product(LETTERS, repeat=length)]
_NUMBER = {word: number for number, word in enumerate(WORDS)}
_SPLITS = [[(_NUMBER[word[:cut]], _NUMBER[word[cut:]]) for cut in range(len(word) + 1)] for word in WORDS]
_FIRST, _SECOND = np.array([split for splits in _SPLITS for split in splits]).T
_BEGINNINGS = np.cumsum([0, *map(len, _SPLITS[:-1])])  # where each word's splits begin
_SWAPPED = [_NUMBER[word.translate(str.maketrans("ab", "ba"))] for word in WORDS]
_BATCH = 2048  # tables that are joined at a time, in 4 MB

_Found = dict[bytes, str]  # the pattern of each language, by its table


@dataclass(frozen=True, slots=True)
class Languages:
    """Languages in the order of their patterns: by length, then as they were found.

    Attributes:
        patterns: The shortest pattern of each.
        numbers: Where each pattern stands.
        lengths: int64 [L], of the patterns.
        tables: bool [W, L], which languages have each of the words.
    """

    patterns: list[str]
    numbers: Mapping[str, int]
    lengths: NDArray[np.int64]
    tables: NDArray[np.bool_]

    def agreeing(self, words: Mapping[str, bool]) -> NDArray[np.int64]:
        """The numbers, in order, of the languages that have the words that are true and none of the others."""
        rows = self.tables[[_NUMBER[word] for word in words]]
        return np.flatnonzero((rows == np.array([*words.values()])[:, None]).all(axis=0))

    def problem(self, pattern: str) -> str:
        """A name that the language of a pattern shares with the one in which all letters are swapped."""
        table = self.tables[:, self.numbers[pattern]]
        return min(np.packbits(each).tobytes().hex() for each in (table, table[_SWAPPED]))


@functools.cache
def languages(longest: int) -> Languages:
    """All languages with a pattern of at most `longest` characters.

    A pattern is one branch or several with `|` between them, a branch is one piece or more, and a piece is a letter,
    `.` or a pattern in brackets, with one of `*+?` after it or none.
    """
    atoms, pieces, branches, patterns = _Kind(), _Kind(), _Kind(), _Kind()
    for length in range(1, longest + 1):
        atoms.add(_letters() if length == 1 else _bracketed(patterns.of(length - 2)))
        pieces.add(atoms.of(length), _repeated(atoms.of(length - 1)))
        branches.add(pieces.of(length), *(_joined(branches.of(i), pieces.of(length - i)) for i in range(1, length)))
        unions = (_united(patterns.of(i), branches.of(length - 1 - i)) for i in range(1, length - 1))
        patterns.add(branches.of(length), *unions)
    found = [pair for length in range(1, longest + 1) for pair in patterns.of(length).items()]
    names = [name for _, name in found]
    numbers = {name: number for number, name in enumerate(names)}
    tables = np.ascontiguousarray(_tables(table for table, _ in found).T)
    return Languages(names, numbers, np.array([*map(len, names)]), tables)


class _Kind:
    """The patterns of one kind by length. Of those of one language only the first is kept, the shortest."""

    def __init__(self) -> None:
        self._by_length: list[_Found] = [{}]
        self._seen: set[bytes] = set()

    def of(self, length: int) -> _Found:
        return self._by_length[length] if length > 0 else {}

    def add(self, *sources: _Found) -> None:
        """The next length's."""
        found: _Found = {}
        for source in sources:
            for table, pattern in source.items():
                if table not in self._seen:
                    self._seen.add(table)
                    found[table] = pattern
        self._by_length.append(found)


def _tables(packed: Iterable[bytes]) -> NDArray[np.bool_]:
    rows = np.frombuffer(b"".join(packed), dtype=np.uint8).reshape(-1, -(-len(WORDS) // 8))
    return np.unpackbits(rows, axis=1, count=len(WORDS)).view(np.bool_)


def _packed(tables: NDArray[np.bool_]) -> list[bytes]:
    return [row.tobytes() for row in np.packbits(tables, axis=1)]


def _letters() -> _Found:
    tables = np.array([[word == "a" for word in WORDS], [word == "b" for word in WORDS]])
    return dict(zip(_packed(np.vstack([tables, tables.any(axis=0)])), [*LETTERS, "."], strict=True))


def _bracketed(patterns: _Found) -> _Found:
    return {table: f"({pattern})" for table, pattern in patterns.items()}


def _repeated(atoms: _Found) -> _Found:
    if not atoms:
        return {}
    once = _tables(atoms)
    with_empty = once.copy()
    with_empty[:, 0] = True
    star = with_empty
    for _ in range(LONGEST_WORD.bit_length()):  # twice as many each time
        star = _concatenated(star, star)
    plus = _concatenated(once, star)
    found: _Found = {}
    for sign, tables in (("*", star), ("+", plus), ("?", with_empty)):
        for table, atom in zip(_packed(tables), atoms.values(), strict=True):
            found.setdefault(table, atom + sign)
    return found


def _joined(firsts: _Found, seconds: _Found) -> _Found:
    found: _Found = {}
    if not firsts or not seconds:
        return found
    after = _tables(seconds)
    step = max(1, _BATCH // len(after))
    heads, before = [*firsts.values()], _tables(firsts)
    for begin in range(0, len(heads), step):
        some = before[begin : begin + step]
        both = _concatenated(np.repeat(some, len(after), axis=0), np.tile(after, (len(some), 1)))
        names = (head + tail for head in heads[begin : begin + step] for tail in seconds.values())
        for table, name in zip(_packed(both), names, strict=True):
            found.setdefault(table, name)
    return found


def _concatenated(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The tables, [n, W], of one language of each pair after the other."""
    both: NDArray[np.bool_] = np.logical_or.reduceat(first[:, _FIRST] & second[:, _SECOND], _BEGINNINGS, axis=1)
    return both


def _united(firsts: _Found, seconds: _Found) -> _Found:
    found: _Found = {}
    numbers = [(int.from_bytes(table), name) for table, name in seconds.items()]
    size = -(-len(WORDS) // 8)
    for table, name in firsts.items():
        number = int.from_bytes(table)
        for other, tail in numbers:
            found.setdefault((number | other).to_bytes(size), f"{name}|{tail}")
    return found
