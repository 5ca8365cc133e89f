"""Every expression of a few numbers, as trees, and what is still missing of each after a prefix.

A text of numbers, operators and parentheses is one tree, and a tree is every text that has the parentheses it needs and
maybe more of them. A tree is a structure (a shape with its operators) and an order of the numbers. So whether a prefix
can become one of some trees is asked of structures and orders apart, and both are few.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
            hits = _hits(shape, chosen, targets[:, None])
            found.append((hits & is_given).transpose(0, 2, 1))
        return np.concatenate(found, axis=1)

    def missing(self, prefix: Prefix) -> NDArray[np.int16]:
        """The fewest operators and parentheses that make a prefix each structure; NEVER where none do: int16 [s]."""
        missing = np.full((len(self._shapes), len(self._operators)), NEVER, dtype=np.int16)
        written = len(prefix.operators)
        if written + prefix.is_after <= self.size and written < self.size:
            code = 0
            for operator in prefix.operators:
                code = len(OPERATORS) * code + OPERATORS.index(operator)
            each = len(OPERATORS) ** (self.size - 1 - written)  # so many structures of a shape begin with the same ones
            agree = slice(code * each, (code + 1) * each)
            left = self.size - 1 - written + sum(prefix.opened)
            nodes, needed = self._nodes
            missing[:, agree] = np.minimum(left + _parentheses(prefix, nodes, needed[:, agree]), NEVER)
        return missing.ravel()

    @cached_property
    def _nodes(self) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
        """The nodes of each shape that may have parentheses, and those that need them with some operators.

        Returns:
            uint16 [shapes, 1] and [shapes, 4^(size - 1)], a bit for each span.
        """
        nodes = np.zeros((len(self._shapes), 1), dtype=np.uint16)
        needed = np.zeros((len(self._shapes), len(self._operators)), dtype=np.uint16)
        for row, shape in enumerate(self._shapes):
            for span, needs in _nodes(shape, self._operators):
                if self._around_one or span[0] < span[1]:
                    nodes[row] |= _set([span])
                    needed[row] |= _set([span]) * needs.astype(np.uint16)
        return nodes, needed


def _set(spans: Iterable[Span]) -> np.uint16:
    """A set of spans: a bit for each."""
    bits = 0
    for first, last in spans:
        bits |= 1 << (MOST_NUMBERS * first + last)
    return np.uint16(bits)


_SPANS = [(first, last) for first in range(MOST_NUMBERS) for last in range(first, MOST_NUMBERS)]
# The spans that begin with each leaf; that are over before it; that begin after it.
_BEGUN = [_set(span for span in _SPANS if span[0] == place) for place in range(MOST_NUMBERS)]
_OVER = [_set(span for span in _SPANS if span[1] < place) for place in range(MOST_NUMBERS)]
_LATER = [_set(span for span in _SPANS if span[0] > place) for place in range(MOST_NUMBERS)]


def _parentheses(prefix: Prefix, nodes: NDArray[np.uint16], needed: NDArray[np.uint16]) -> NDArray[np.int64]:
    """How many parentheses have to be added to those of a prefix, and the ends of its open ones: int64 [shapes, m].

    Each pair is a node's. A node that began before the place reached has the pairs that are closed and some of those
    that are open; one that ended has no more of these.

    Args:
        prefix: What is written.
        nodes: uint16 [shapes, 1], a bit for each span of a node that may have parentheses.
        needed: uint16 [shapes, m], those that need them.
    """
    place = len(prefix.operators)  # of the number that is due, or was the last
    closed, over = _set(prefix.pairs), _OVER[place]
    lacks = needed & ~closed
    is_wrong = (nodes & closed != closed) | (lacks & over != 0)
    total = 2 * np.bitwise_count(lacks & _LATER[place]).astype(np.int64)
    for first, opened in enumerate(prefix.opened[: place + 1]):
        here = _BEGUN[first] & ~over
        wanted = np.bitwise_count(lacks & here).astype(np.int64)
        if opened:
            is_wrong |= nodes & here == 0
        if first == place and not prefix.is_after:
            total += 2 * np.maximum(wanted - opened, 0)
        else:
            is_wrong |= wanted > opened
    return np.where(is_wrong, NEVER, total)


def _shapes(first: int, last: int) -> list[Shape]:
    """Every shape of a tree with these leaves."""
    if first == last:
        return [first]
    splits = range(first, last)
    return [(left, right) for at in splits for left in _shapes(first, at) for right in _shapes(at + 1, last)]


def _span(shape: Shape) -> Span:
    return (shape, shape) if isinstance(shape, int) else (_span(shape[0])[0], _span(shape[1])[1])


def _nodes(shape: Shape, operators: NDArray[np.int64]) -> Iterator[tuple[Span, NDArray[np.bool_]]]:
    """The nodes of a shape, and with which operators, [m, size - 1], each needs parentheses: bool [m]."""
    waiting: list[tuple[Shape, NDArray[np.int64]]] = [(shape, np.zeros(len(operators), dtype=np.int64))]
    while waiting:
        node, least = waiting.pop()  # least: how strongly it has to bind to need none
        if isinstance(node, int):
            yield _span(node), np.zeros(len(operators), dtype=np.bool_)
            continue
        binding = _BINDING[operators[:, _span(node[0])[1]]]
        yield _span(node), binding < least
        waiting += [(node[0], binding), (node[1], binding + 1)]  # a-(b+c) is not a-b+c


def _hits(shape: Shape, chosen: NDArray[np.int64], targets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a shape's value is the target, with all operators: bool [n, p, 4^(leaves - 1)].

    As `_value`, but that of the operator at the top no fraction is made: most of the work would be there.

    Args:
        shape: Which leaves.
        chosen: int64 [n, p, size], the numbers of the leaves.
        targets: int64 [n, 1].
    """
    if isinstance(shape, int):
        alone: NDArray[np.bool_] = chosen[:, :, shape] == targets
        return alone[:, :, None]
    (a, b), (c, d) = _value(shape[0], chosen), _value(shape[1], chosen)
    a, b, c, d = a[..., None], b[..., None], c[:, :, None], d[:, :, None]
    ad, cb, bd = a * d, c * b, b * d
    is_defined, wanted = bd != 0, targets[:, :, None, None] * bd
    hits = np.stack(
        [ad + cb == wanted, ad - cb == wanted, a * c == wanted, ad == targets[:, :, None, None] * cb], axis=3
    )
    hits &= is_defined[:, :, :, None]
    hits[:, :, :, 3] &= c != 0
    return hits.reshape(*hits.shape[:2], prod(hits.shape[2:]))


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
