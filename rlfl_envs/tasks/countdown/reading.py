"""Expressions as they are judged: read once from left to right, in exact fractions, without `eval`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Reading", "lexemes_of", "read_expression"]

_LEXEMES = re.compile(r"[0-9]+|[^ ]", re.DOTALL)
_PRECEDENCE = {"(": 0, "+": 1, "-": 1, "*": 2, "/": 2}

Fraction = tuple[int, int]  # numerator and denominator, which may be negative and need not be in lowest terms


class Reading(NamedTuple):
    """What a well-formed expression says.

    Attributes:
        value: Its value; None where it divides by zero or has a number that it may not use.
        written: How many numbers it has.
        matched: How many of these were given, each as often as it was given.
    """

    value: Fraction | None
    written: int
    matched: int


def lexemes_of(text: str) -> list[str]:
    """Splits a text into runs of digits and single characters; spaces between them say nothing."""
    return _LEXEMES.findall(text)


def read_expression(lexemes: Sequence[str], given: Sequence[str]) -> Reading | None:
    """Reads an expression of `+`, `-`, `*`, `/` and parentheses by operator precedence.

    Each lexeme is looked at once. A number counts only if it is one of those given, so values stay as small as their
    product, whatever the text says.

    Args:
        lexemes: As `lexemes_of` returns them.
        given: The numbers that may be used, each as often as it stands here.

    Returns:
        None where the text is malformed.
    """
    left = list(given)
    values: list[Fraction | None] = []
    operators: list[str] = []
    written = 0
    expects_number = True
    for lexeme in lexemes:
        if expects_number:
            if lexeme == "(":
                operators.append(lexeme)
                continue
            if not (lexeme.isdecimal() and lexeme.isascii()):
                return None
            written += 1
            if lexeme in left:
                left.remove(lexeme)
                values.append((int(lexeme), 1))
            else:
                values.append(None)
            expects_number = False
            continue
        precedence = 1 if lexeme == ")" else _PRECEDENCE.get(lexeme, 0)
        if precedence == 0:
            return None
        while operators and _PRECEDENCE[operators[-1]] >= precedence:
            _apply(operators.pop(), values)
        if lexeme != ")":
            operators.append(lexeme)
            expects_number = True
        elif operators:
            operators.pop()
        else:
            return None
    if expects_number or "(" in operators:
        return None
    while operators:
        _apply(operators.pop(), values)
    return Reading(values[0], written, len(given) - len(left))


def _apply(operator: str, values: list[Fraction | None]) -> None:
    """Replaces the last two values by what the operator makes of them."""
    second, first = values.pop(), values.pop()
    if first is None or second is None:
        values.append(None)
        return
    (a, b), (c, d) = first, second
    if operator == "+":
        values.append((a * d + c * b, b * d))
    elif operator == "-":
        values.append((a * d - c * b, b * d))
    elif operator == "*":
        values.append((a * c, b * d))
    else:
        values.append((a * d, b * c) if c else None)
