"""Solutions: all there are for a few numbers, and one for up to six."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

__all__ = ["all_solutions", "solve"]

Numbers = tuple[int, ...]  # sorted
_TABLED = 3  # of so many numbers all values are listed; larger sets are searched from the target down


class _Text(NamedTuple):
    """An expression's text and how its last operator binds: 1 for sums, 2 for products, 3 for a number."""

    text: str
    binding: int


def all_solutions(numbers: Numbers, target: int) -> set[str]:
    """Every expression that uses all of the numbers and has the target as its value, in exact fractions.

    Expressions that differ in the order of a sum's or a product's two sides, or in parentheses that change nothing, are
    the same. Meant for up to four numbers, which take a few hundredths of a second.
    """
    return {each.text for each in _values(tuple(sorted(numbers))).get(Fraction(target), ())}


@lru_cache(maxsize=64)
def _values(numbers: Numbers) -> dict[Fraction, frozenset[_Text]]:
    """Every value of an expression that uses all of the numbers, with its expressions."""
    if len(numbers) == 1:
        return {Fraction(numbers[0]): frozenset([_Text(str(numbers[0]), 3)])}
    found: dict[Fraction, set[_Text]] = {}
    for first, second in _partitions(numbers):
        for x, ours in _values(first).items():
            for y, theirs in _values(second).items():
                for value, operator, is_swapped in _combined(x, y):
                    pairs = [(theirs, ours)] if is_swapped else [(ours, theirs)]
                    for lefts, rights in pairs:
                        texts = {_joined(left, operator, right) for left in lefts for right in rights}
                        found.setdefault(value, set()).update(texts)
    return {value: frozenset(texts) for value, texts in found.items()}


def _combined(x: Fraction, y: Fraction) -> Iterator[tuple[Fraction, str, bool]]:
    """What one operator makes of two values: the value, the operator, and whether y is on its left."""
    yield x + y, "+", False
    yield x - y, "-", False
    yield y - x, "-", True
    yield x * y, "*", False
    if y:
        yield x / y, "/", False
    if x:
        yield y / x, "/", True


def solve(numbers: Numbers, target: int, use_all: bool = True) -> str | None:
    """One solution, the same for the numbers in any order; None where none is found.

    Those in which every intermediate value is a positive integer are found for up to six numbers, in a millisecond or
    so; others for up to four.

    Args:
        numbers: 1..6 positive integers.
        target: A positive integer.
        use_all: Whether all of the numbers have to be used; if not, as many as possible are.
    """
    numbers = tuple(sorted(numbers))
    for count in range(len(numbers), 0 if not use_all else len(numbers) - 1, -1):
        for chosen in sorted(set(combinations(numbers, count))):
            search = _Search()
            found = search.find(chosen, target)
            if found is not None:
                return found.text
            if count <= _TABLED + 1 and (others := all_solutions(chosen, target)):
                return min(others, key=lambda text: (len(text), text))
    return None


class _Search:
    """A search among expressions whose values are positive integers, all the way."""

    def __init__(self) -> None:
        """Knows nothing yet."""
        self._tables: dict[Numbers, dict[int, _Text]] = {}
        self._without: set[tuple[Numbers, int]] = set()

    def _table(self, numbers: Numbers) -> dict[int, _Text]:
        """An expression for each value that up to three numbers can have."""
        if numbers in self._tables:
            return self._tables[numbers]
        table: dict[int, _Text] = {}
        if len(numbers) == 1:
            table[numbers[0]] = _Text(str(numbers[0]), 3)
        for first, second in _partitions(numbers):
            for x, ours in self._table(first).items():
                for y, theirs in self._table(second).items():
                    if x >= y:
                        high, upper, low, lower = x, ours, y, theirs
                    else:
                        high, upper, low, lower = y, theirs, x, ours
                    table.setdefault(high + low, _joined(upper, "+", lower))
                    table.setdefault(high * low, _joined(upper, "*", lower))
                    if high > low:
                        table.setdefault(high - low, _joined(upper, "-", lower))
                    if high % low == 0:
                        table.setdefault(high // low, _joined(upper, "/", lower))
        self._tables[numbers] = table
        return table

    def find(self, numbers: Numbers, goal: int) -> _Text | None:
        """An expression that uses all of the numbers and has this value."""
        if len(numbers) <= _TABLED:
            return self._table(numbers).get(goal)
        if (numbers, goal) in self._without:
            return None
        for first, second in sorted(_partitions(numbers), key=lambda pair: -len(pair[1])):
            for y, theirs in self._table(second).items():
                for x, operator, is_swapped in _undone(goal, y):
                    ours = self.find(first, x)
                    if ours is not None:
                        return _joined(theirs, operator, ours) if is_swapped else _joined(ours, operator, theirs)
        self._without.add((numbers, goal))
        return None


def _undone(goal: int, y: int) -> Iterator[tuple[int, str, bool]]:
    """Which positive x makes the goal with y: x, the operator, and whether y is on its left."""
    if goal > y:
        yield goal - y, "+", False
    yield goal + y, "-", False
    if y > goal:
        yield y - goal, "-", True
    if goal % y == 0:
        yield goal // y, "*", False
    yield goal * y, "/", False
    if y % goal == 0:
        yield y // goal, "/", True


@lru_cache(maxsize=4096)
def _partitions(numbers: Numbers) -> tuple[tuple[Numbers, Numbers], ...]:
    """The ways to part the numbers in two, the larger part first, each once."""
    found = set()
    places = range(len(numbers))
    for size in range(1, len(numbers) // 2 + 1):
        for chosen in combinations(places, size):
            second = tuple(numbers[place] for place in chosen)
            first = tuple(numbers[place] for place in places if place not in chosen)
            found.add((first, second) if size < len(first) else (max(first, second), min(first, second)))
    return tuple(sorted(found))


def _joined(left: _Text, operator: str, right: _Text) -> _Text:
    """The text of an operation: no needless parentheses, and the sides of sums and products in one order."""
    binding = 1 if operator in "+-" else 2
    if operator in "+*":
        left, right = max(left, right), min(left, right)
    needs_more = binding + (operator in "-/")  # a-(b+c) and a/(b*c), but a+(b-c) is a+b-c
    first = left.text if left.binding >= binding else f"({left.text})"
    second = right.text if right.binding >= needs_more else f"({right.text})"
    return _Text(f"{first}{operator}{second}", binding)
