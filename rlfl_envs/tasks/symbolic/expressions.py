"""Expressions as they are judged: read once from left to right, and worked out at some points in floating point."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["FUNCTIONS", "POINTS", "Item", "Numbers", "Program", "agree", "evaluate", "read", "terms_of"]

FUNCTIONS = ("sin", "cos", "exp", "log")
POINTS = np.random.default_rng(20).uniform(0.4, 2.6, size=12)
"""Where expressions are compared: all expressions that are drawn are defined there."""

Item = int | str
"""A number, `x`, an operator, `neg` or a function; in the order in which a stack machine works them out."""
Program = tuple[Item, ...]
Numbers = NDArray[np.float64]

_LEXEMES = re.compile(r"[0-9]{1,4}(?![0-9])|sin(?=\()|cos(?=\()|exp(?=\()|log(?=\()|[x+*/^()-]")
_PRECEDENCE = {"(": 0, "+": 1, "-": 1, "*": 2, "/": 2, "neg": 3, "^": 4, **dict.fromkeys(FUNCTIONS, 5)}
_TOLERANCE = 1e-7


@lru_cache(maxsize=8192)
def read(text: str) -> Program | None:
    """Reads an expression of integers of up to four digits, `x`, `+-*/^`, parentheses and functions, by precedence.

    A minus stands before an operand at the beginning, after a parenthesis and after `^`; it binds less than `^`, which
    joins from the right. Each character is looked at once.

    Returns:
        The program of a stack machine; None where the text is malformed.
    """
    program: list[Item] = []
    operators: list[str] = []
    expects, may_negate = True, True
    lexemes = _LEXEMES.findall(text)
    if sum(map(len, lexemes)) < len(text):
        return None
    for lexeme in lexemes:
        if expects:
            if lexeme == "-" and may_negate:
                operators.append("neg")
            elif lexeme == "(" or lexeme in FUNCTIONS:
                operators.append(lexeme)
            elif lexeme == "x" or lexeme == "0" or (lexeme.isdecimal() and lexeme[0] != "0"):
                program.append(lexeme if lexeme == "x" else int(lexeme))
                expects = False
            else:
                return None
            may_negate = lexeme == "("
            continue
        if lexeme == ")":
            _pop(operators, program, 1)
            if not operators:
                return None
            operators.pop()
            if operators and operators[-1] in FUNCTIONS:
                program.append(operators.pop())
            continue
        if lexeme not in "+-*/^":
            return None
        _pop(operators, program, _PRECEDENCE[lexeme] + (lexeme == "^"))
        operators.append(lexeme)
        expects, may_negate = True, lexeme == "^"
    if expects or "(" in operators:
        return None
    _pop(operators, program, 1)
    return tuple(program)


def _pop(operators: list[str], program: list[Item], least: int) -> None:
    """Moves the operators that bind at least so strongly to the program."""
    while operators and _PRECEDENCE[operators[-1]] >= least:
        program.append(operators.pop())


def terms_of(program: Sequence[Item]) -> list[Program]:
    """The programs of the terms of a sum, each with its sign."""
    starts: list[int] = []  # where each value on the stack begins
    first: dict[int, int] = {}  # of each place in the program, where what it works out begins
    for place, item in enumerate(program):
        if item in ("+", "-", "*", "/", "^"):
            starts.pop()
        elif isinstance(item, int) or item == "x":
            starts.append(place)
        first[place] = starts[-1]
    found: list[Program] = []
    waiting = [(len(program) - 1, False)]
    while waiting:
        last, is_negative = waiting.pop()
        if program[last] in ("+", "-"):
            middle = first[last - 1] - 1
            waiting += [(last - 1, is_negative != (program[last] == "-")), (middle, is_negative)]
        elif program[last] == "neg":
            waiting.append((last - 1, not is_negative))
        else:
            found.append((*program[first[last] : last + 1], *["neg"] * is_negative))
    return found


@lru_cache(maxsize=8192)
def evaluate(program: Program) -> tuple[Numbers, Numbers]:
    """The values of an expression and of its derivative at POINTS: float64 [12] each, not to be written to.

    What is undefined or too large anywhere, be it in a part whose value does not matter such as log(-1)^0, is NaN.
    """
    stack: list[tuple[Numbers, Numbers]] = []
    one, zero = np.ones_like(POINTS), np.zeros_like(POINTS)
    parts = [POINTS]  # what has to be finite: numbers and x are
    with np.errstate(all="ignore"):
        for item in program:
            if isinstance(item, int):
                stack.append((one * item, zero))
            elif item == "x":
                stack.append((POINTS, one))
            elif item == "neg":
                value, slope = stack.pop()
                stack.append((-value, -slope))
            elif item in FUNCTIONS:
                stack.append(_function(item, *stack.pop()))
                parts.append(stack[-1][0])
            else:
                second, first = stack.pop(), stack.pop()
                stack.append(_operation(item, *first, *second))
                parts.append(stack[-1][0])
        is_defined = np.isfinite(np.concatenate(parts)).reshape(len(parts), -1).all(axis=0)
    value, slope = stack[0]
    return np.where(is_defined, value, np.nan), np.where(is_defined, slope, np.nan)


def _function(name: str, value: Numbers, slope: Numbers) -> tuple[Numbers, Numbers]:
    if name == "sin":
        return np.sin(value), np.cos(value) * slope
    if name == "cos":
        return np.cos(value), -np.sin(value) * slope
    if name == "exp":
        return np.exp(value), np.exp(value) * slope
    return np.log(value), slope / value


def _operation(operator: str, a: Numbers, slope_a: Numbers, b: Numbers, slope_b: Numbers) -> tuple[Numbers, Numbers]:
    if operator == "+":
        return a + b, slope_a + slope_b
    if operator == "-":
        return a - b, slope_a - slope_b
    if operator == "*":
        return a * b, slope_a * b + a * slope_b
    if operator == "/":
        return a / b, (slope_a - a / b * slope_b) / b
    value = a**b
    if not slope_b.any():
        return value, b * a ** (b - 1) * slope_a
    return value, value * (slope_b * np.log(a) + b * slope_a / a)


def agree(found: Numbers, due: Numbers) -> NDArray[np.bool_]:
    """At which points two expressions are as good as equal, bool [..., 12]; nowhere where one is not finite."""
    with np.errstate(all="ignore"):
        near: NDArray[np.bool_] = np.abs(found - due) <= _TOLERANCE * (1e-3 + np.abs(due))
    return near & np.isfinite(due)
