"""Reading what was written: a chain of statements, in bounded time and without `eval`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

__all__ = ["MAX_TEXT", "Problem", "additions", "distance_from_adding", "parse_statements", "terms_of"]

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
