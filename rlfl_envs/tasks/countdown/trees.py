"""Every expression of a few numbers, as trees, and what is still missing of each after a prefix.

A text of numbers, operators and parentheses is one tree, and a tree is every text that has the parentheses it needs and
maybe more of them. A tree is a structure (a shape with its operators) and an order of the numbers. So whether a prefix
can become one of some trees is asked of structures and orders apart, and both are few.
"""

from __future__ import annotations

from functools import cached_property
from itertools import permutations, product
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST_NUMBERS", "NEVER", "NUMBER", "OPERATORS", "Prefix", "Trees"]

MOST_NUMBERS = 4  # of five there are 430,080 trees
NEVER = 2**14  # symbols that are missing where a prefix cannot become a tree
NUMBER, OPERATORS = "n", "+-*/"
_BINDING = np.array([1, 1, 2, 2])  # of each operator

Shape = int | tuple["Shape", "Shape"]  # a leaf's place, or two sides
Span = tuple[int, int]  # the places of the first and the last leaf


class Prefix(NamedTuple):
    """A beginning of an expression, but for which numbers it has.

    Attributes:
        operators: Those written.
        pairs: The places of the first and the last number in pairs of parentheses that are closed, each once.
        opened: Before the number of each place, how many parentheses are open.
        is_after: Whether a number or a parenthesis is complete, so that an operator may follow.
    """

    operators: str = ""
    pairs: frozenset[Span] = frozenset()
    opened: tuple[int, ...] = (0,) * MOST_NUMBERS
    is_after: bool = False

    def followed_by(self, symbol: str) -> Prefix | None:
        """The prefix after one more operator, parenthesis or NUMBER; None where no expression goes on so."""
        place = len(self.operators)
        if symbol in (NUMBER, "("):
            if self.is_after or place >= MOST_NUMBERS:
                return None
            return self._replace(is_after=True) if symbol == NUMBER else self._with_opened(place, 1)
        if not self.is_after or (symbol == ")" and not any(self.opened)):
            return None
        if symbol == ")":
            first = max(at for at, count in enumerate(self.opened) if count)
            return self._with_opened(first, -1)._replace(pairs=self.pairs | {(first, place)})
        return self._replace(operators=self.operators + symbol, is_after=False)

    def _with_opened(self, place: int, more: int) -> Prefix:
        opened = (*self.opened[:place], self.opened[place] + more, *self.opened[place + 1 :])
        return self._replace(opened=opened)


class Trees:
    """All trees of so many leaves.

    Attributes:
        size: How many leaves they have, 1..4.
        orders: int64 [p, size], which number each leaf is, in the order of the rows.
        structures: How many there are, s.
    """

    def __init__(self, size: int, numbers: int, around_one: bool = True) -> None:
        """Makes the trees.

        Args:
            size: How many leaves a tree has.
            numbers: Of how many numbers they are different ones.
            around_one: Whether there may be parentheses around a single number.
        """
        self.size = size
        self._around_one = around_one
        self.orders = np.array(list(permutations(range(numbers), size)), dtype=np.int64)
        self._shapes = _shapes(0, size - 1)
        self._operators = np.array(list(product(range(4), repeat=size - 1)), dtype=np.int64)  # [4^(size - 1), size - 1]
        self.structures = len(self._shapes) * len(self._operators)

    def solved(self, numbers: NDArray[np.int64], targets: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which trees have the target as their value, in exact fractions: bool [n, s, p].

        Args:
            numbers: int64 [n, N], 0 where there are fewer; a tree that has such a number solves nothing.
            targets: int64 [n].
        """
        chosen = numbers[:, self.orders]  # [n, p, size]
        is_given = chosen.min(axis=2, keepdims=True) > 0
        found = []
        for shape in self._shapes:
            above, below = _value(shape, chosen)  # [n, p, 4^(size - 1)]
            hits: NDArray[np.bool_] = (above == targets[:, None, None] * below) & (below != 0)
            found.append((hits & is_given).transpose(0, 2, 1))
        return np.concatenate(found, axis=1)

    def missing(self, prefix: Prefix) -> NDArray[np.int16]:
        """The fewest operators and parentheses that make a prefix each structure; NEVER where none do: int16 [s]."""
        written = len(prefix.operators)
        if written + prefix.is_after > self.size or written > self.size - 1:
            return np.full(self.structures, NEVER, dtype=np.int16)
        codes = [OPERATORS.index(operator) for operator in prefix.operators]
        agrees = (self._operators[:, :written] == codes).all(axis=1)
        left = self.size - 1 - written + sum(prefix.opened)
        found = [
            np.where(agrees, np.minimum(left + _parentheses(prefix, spans, needed), NEVER), NEVER)
            for spans, needed in self._needed
        ]
        return np.concatenate(found).astype(np.int16)

    @cached_property
    def _needed(self) -> list[tuple[list[Span], NDArray[np.bool_]]]:
        """Of each shape the nodes that may have parentheses, and which need them: bool [4^(size - 1), nodes]."""
        found = [_nodes(shape, self._operators) for shape in self._shapes]
        if self._around_one:
            return found
        inner = [np.array([first < last for first, last in spans], dtype=np.bool_) for spans, _ in found]
        return [
            ([span for span in spans if span[0] < span[1]], needed[:, kept])
            for (spans, needed), kept in zip(found, inner, strict=True)
        ]


def _parentheses(prefix: Prefix, spans: list[Span], needed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many parentheses have to be added to those of a prefix, and the ends of its open ones: int64 [m].

    Each pair is a node's. A node that began before the place reached has the pairs that are closed and some of those
    that are open; one that ended has no more of these.

    Args:
        prefix: What is written.
        spans: The leaves of each node that may have parentheses.
        needed: bool [m, nodes].
    """
    never = np.full(len(needed), NEVER)
    if not prefix.pairs <= {*spans}:
        return never
    place = len(prefix.operators)  # of the number that is due, or was the last
    has = np.array([span in prefix.pairs for span in spans], dtype=np.bool_)  # of a single number there may be none
    lacks = needed & ~has
    is_over = np.array([last < place for _, last in spans], dtype=np.bool_)
    is_wrong = lacks[:, is_over].any(axis=1)
    total = np.zeros(len(needed), dtype=np.int64)
    for first in range(place + 1):
        at = np.array([span[0] == first for span in spans], dtype=np.bool_) & ~is_over
        wanted, opened = lacks[:, at].sum(axis=1), prefix.opened[first]
        is_wrong |= opened > 0 and not at.any()
        if first == place and not prefix.is_after:
            total += 2 * np.maximum(wanted - opened, 0)
        else:
            is_wrong |= wanted > opened
    later = np.array([first > place for first, _ in spans], dtype=np.bool_)
    total += 2 * lacks[:, later].sum(axis=1)
    return np.where(is_wrong, never, total)


def _shapes(first: int, last: int) -> list[Shape]:
    """Every shape of a tree with these leaves."""
    if first == last:
        return [first]
    splits = range(first, last)
    return [(left, right) for at in splits for left in _shapes(first, at) for right in _shapes(at + 1, last)]


def _span(shape: Shape) -> Span:
    return (shape, shape) if isinstance(shape, int) else (_span(shape[0])[0], _span(shape[1])[1])


def _nodes(shape: Shape, operators: NDArray[np.int64]) -> tuple[list[Span], NDArray[np.bool_]]:
    """The nodes of a shape, and which of them need parentheses with these operators, [m, size - 1]: bool [m, nodes]."""
    spans, needed = [], []
    waiting: list[tuple[Shape, NDArray[np.int64]]] = [(shape, np.zeros(len(operators), dtype=np.int64))]
    while waiting:
        node, least = waiting.pop()  # least: how strongly it has to bind to need none
        spans.append(_span(node))
        if isinstance(node, int):
            needed.append(np.zeros(len(operators), dtype=np.bool_))
            continue
        binding = _BINDING[operators[:, _span(node[0])[1]]]
        needed.append(binding < least)
        waiting += [(node[0], binding), (node[1], binding + 1)]  # a-(b+c) is not a-b+c
    return spans, np.stack(needed, axis=1)


def _value(shape: Shape, chosen: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numerators and denominators of a shape's values, with all operators: int64 [n, p, 4^(leaves - 1)] each.

    Where something is divided by zero, the denominator is 0.

    Args:
        shape: Which leaves.
        chosen: int64 [n, p, size], the numbers of the leaves.
    """
    if isinstance(shape, int):
        leaf = chosen[:, :, shape, None]
        return leaf, np.ones_like(leaf)
    (a, b), (c, d) = _value(shape[0], chosen), _value(shape[1], chosen)
    a, b, c, d = a[..., None], b[..., None], c[:, :, None], d[:, :, None]
    above = np.stack([a * d + c * b, a * d - c * b, a * c, a * d], axis=3)
    below = np.stack([b * d, b * d, b * d, b * c * (d != 0)], axis=3)
    shape_out = (*above.shape[:2], prod(above.shape[2:]))  # -1 would be any number where there is no problem
    return above.reshape(shape_out), below.reshape(shape_out)
