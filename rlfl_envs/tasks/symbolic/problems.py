"""What is asked and what is right: prompts as they are read, and the references that follow from them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from rlfl_envs.tasks.symbolic.algebra import Sum, Term, derivative, integral, sum_of, text_of
from rlfl_envs.tasks.symbolic.expressions import Numbers, Program, agree, evaluate, read, terms_of

__all__ = ["Problem", "due_of", "is_work", "length_of", "read_problem", "share_of_terms", "solutions_of"]

_PROMPT = re.compile(r"(diff|int|solve|simp) ([^=:]{1,200})(?:=([^=:]{1,100}))?:")
_LARGEST = 1e8  # of a value that is due
_LARGEST_DENOMINATOR = 1000
_LARGEST_NUMBER = 9999
_MOST_TERMS = 16  # of an answer that are looked at one by one


class Problem(NamedTuple):
    """What judging a completion needs.

    Attributes:
        kind: "diff", "int", "solve" or "simp".
        given: The expression; of an equation both sides.
        reference: A right answer; None where none is known, which happens for prompts that were not drawn.
    """

    kind: str
    given: str
    reference: str | None


@lru_cache(maxsize=8192)
def read_problem(text: str) -> Problem | None:
    """Reads a prompt; None where it is not allowed."""
    match = _PROMPT.fullmatch(text)
    if not match:
        return None
    kind, left, right = match.groups()
    if (right is not None) != (kind == "solve") or read(left) is None or (right is not None and read(right) is None):
        return None
    given = left if right is None else f"{left}={right}"
    if kind == "solve":
        return Problem(kind, given, _written(solutions_of(given))) if solutions_of(given) else None
    due, _ = due_of(kind, given)
    values = evaluate(read(left) or ())[0]
    if not (np.isfinite([values, due]).all() and np.abs(due).max() <= _LARGEST):
        return None
    return Problem(kind, given, _reference(kind, given))


def _reference(kind: str, given: str) -> str | None:
    total = sum_of(read(given) or (), expand=kind == "simp")
    answer: Sum | None = total
    if total is not None and kind != "simp":
        answer = derivative(total) if kind == "diff" else integral(total)
    if answer is None:
        return given if kind == "simp" else None
    text = text_of(answer)
    program = read(text)
    if program is None:  # a number of too many digits
        return given if kind == "simp" else None
    if kind == "simp" and length_of(program) > length_of(read(given) or ()):
        return given
    due, place = due_of(kind, given)
    return text if agree(evaluate(program)[place], due).all() else None


def is_work(problem: Problem) -> bool:
    """Whether no constant and no copy is right, and a short form is much shorter."""
    if problem.kind == "solve":
        return True
    reference, given = problem.reference or "", problem.given
    if "x" not in reference.replace("exp", ""):
        return False
    if problem.kind == "simp":
        return 3 * len(reference) <= 2 * len(given)
    due, place = due_of(problem.kind, given)
    program = read(given) or ()
    return not agree(evaluate(program)[place], due).any() and share_of_terms(program, reference, place) == 0


def due_of(kind: str, given: str) -> tuple[Numbers, int]:
    """The values that are due, and of what: 0 for the answer's own, 1 for its derivative's."""
    values, slopes = evaluate(read(given) or ())
    return (slopes, 0) if kind == "diff" else (values, 1 if kind == "int" else 0)


def length_of(program: Program) -> int:
    """How many operands, operators and functions an expression has; numbers count their digits."""
    return sum([len(str(item)) if isinstance(item, int) else 1 for item in program])


def share_of_terms(answer: Program, reference: str | None, place: int) -> float:
    """The F1 of the terms that depend on x and agree, each with one of the reference; 0 where there are too many."""
    ours = terms_of(answer)
    program = read(reference) if reference else None
    if program is None or len(ours) > _MOST_TERMS:
        return 0.0
    due = np.array([evaluate(term)[place] for term in terms_of(program)])
    found = np.array([evaluate(term)[place] for term in ours])
    matches: list[list[bool]] = np.all(agree(found[:, None], due), axis=2).tolist()
    left, right = [*range(len(due))], 0
    for term, are_equal in zip(ours, matches, strict=True):
        match = next((other for other in left if are_equal[other]), None)
        if match is not None and "x" in term:
            left.remove(match)
            right += 1
    return 2 * right / (len(due) + len(ours))


@lru_cache(maxsize=8192)
def solutions_of(equation: str) -> tuple[float, ...]:
    """The one or two solutions of a linear or quadratic equation of integers, in order; else none.

    None either where they are huge, or so near to each other that no answer could be told from another.
    """
    left, _, right = equation.partition("=")
    sides = [sum_of(read(side) or (), expand=True) for side in (left, right)]
    if None in sides or not all(map(read, (left, right))):
        return ()
    first, second = (side or {} for side in sides)
    powers: dict[Term, int] = {(): 0, ((("x", ()), 1),): 1, ((("x", ()), 2),): 2}
    values = [Fraction(0)] * 3
    for total, sign in ((first, 1), (second, -1)):
        for term, coefficient in total.items():
            if term not in powers:
                return ()
            values[powers[term]] += sign * coefficient
    c, b, a = values
    under = b * b - 4 * a * c
    if (a == b == 0) or under < 0:
        return ()
    try:
        if a == 0:
            return (float(-c / b),)
        if under == 0:
            return (float(-b / (2 * a)),)
        half = -(float(b) + math.copysign(float(under) ** 0.5, b)) / 2  # of the two sums that in which nothing cancels
        found = sorted({half / float(a), float(c) / half})
    except (OverflowError, ZeroDivisionError):  # hundreds of digits, such as those of 9999^70
        return ()
    are_apart = len(found) == 2 and not agree(np.array(found[:1]), np.array(found[1:])).any()
    return tuple(found) if are_apart else ()


def _written(solutions: Sequence[float]) -> str | None:
    """As fractions with commas between them; None where they are none."""
    fractions = [Fraction(value).limit_denominator(_LARGEST_DENOMINATOR) for value in solutions]
    is_exact = all(abs(float(each) - value) < 1e-12 for each, value in zip(fractions, solutions, strict=True))
    is_small = all(abs(each.numerator) <= _LARGEST_NUMBER for each in fractions)
    return ",".join(map(str, fractions)) if is_exact and is_small else None
