"""Reading what was written: a chain of statements, in bounded time and without `eval`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MAX_TEXT",
    "Problem",
    "additions",
    "distance_from_adding",
    "parse_statements",
    "sum_templates",
    "terms_of",
]

MAX_TEXT = 4096  # characters; anything longer is malformed, so that judging takes bounded time
_LEXEMES = re.compile(r"[0-9]+|[^ ]")


class Problem(NamedTuple):
    """What judging a completion needs.

    Attributes:
        value: v, the value of the expression.
        operators: How many operators the completion's first statement must have; every later one has one fewer, and
            the last none.
        terms: The expression's, with `reward="worked_out"`; none otherwise.
    """

    value: int
    operators: int
    terms: tuple[int, ...] = ()


def parse_statements(text: str, is_signed: bool) -> list[tuple[int, int]] | None:
    """Reads "statement=statement=..." in one pass: (value, operators) of each, or None if any is malformed."""
    if len(text) > MAX_TEXT:
        return None
    statements = []
    # Of the statement so far: finished terms, and the product under way with its sign.
    total, product, operators = 0, 1, 0
    expects_number, may_be_signed = True, is_signed
    for lexeme in _LEXEMES.findall(text):
        if expects_number:
            if lexeme == "-" and may_be_signed:
                product, may_be_signed = -product, False
            elif lexeme.isdecimal() and lexeme.isascii() and (lexeme == "0" or lexeme[0] != "0"):
                product *= int(lexeme)
                expects_number = False
            else:
                return None
            continue
        if lexeme == "*":
            operators += 1
        elif lexeme == "+" or (lexeme == "-" and is_signed):
            total, product, operators = total + product, 1 if lexeme == "+" else -1, operators + 1
        elif lexeme == "=":
            statements.append((total + product, operators))
            total, product, operators = 0, 1, 0
        else:
            return None
        expects_number, may_be_signed = True, is_signed
    if expects_number:
        return None
    statements.append((total + product, operators))
    return statements


def terms_of(statement: str) -> tuple[int, ...]:
    """The terms of a well-formed sum."""
    return tuple(map(int, statement.split("+")))


def additions(terms: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """The statements that adding two neighbours of a statement gives, one for each pair."""
    for i in range(len(terms) - 1):
        yield (*terms[:i], terms[i] + terms[i + 1], *terms[i + 2 :])


def distance_from_adding(before: Sequence[int], after: Sequence[int]) -> int:
    """The least sum of differences between a statement and what adding two neighbours of the one before would give."""
    return min(sum(abs(x - y) for x, y in zip(goal, after, strict=True)) for goal in additions(before))


def sum_templates(size: int, budget: int) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Where things stand in a well-formed unsigned completion of number tokens, by k, its first statement's operators.

    Args:
        size: K; k is below it.
        budget: C.

    Returns:
        How many statements are complete after each number of tokens (0 where it ends inside one), [K, C + 1];
        whether a position holds an integer, [K, C]; and which statement a position belongs to, [K, C].
    """
    ends, is_number = np.zeros((size, budget + 1), dtype=np.int64), np.zeros((size, budget), dtype=np.bool_)
    statement_of = np.full((size, budget), size, dtype=np.int64)
    for k in range(size):
        at = 0
        for statement in range(k + 1):
            stop = at + 2 * (k - statement) + 1
            is_number[k, at:stop:2] = True
            statement_of[k, at : stop + 1] = statement
            if stop <= budget:
                ends[k, stop] = statement + 1
            at = stop + 1
    return ends, is_number, statement_of
