"""Expressions as sums of terms with exact coefficients: how references are found.

A sum is a dict from terms to coefficients, which are integers, or fractions where they have to be: Python hashes and
multiplies integers many times as fast. A term is its factors in order, each with an integer exponent. A factor is
`x`, a function of a sum, or a sum that is raised to a power. Nothing here judges: answers are compared by their values.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache
from typing import Any

from rlfl_envs.tasks.symbolic.expressions import FUNCTIONS, Program

__all__ = [
    "Number",
    "Sum",
    "Term",
    "added",
    "derivative",
    "frozen",
    "integral",
    "multiplied",
    "raised",
    "sum_of",
    "text_of",
]

Factor = tuple[str, Any]  # a name, and the frozen sum that it is a function of; ("x", ()), and ("(", sum) for a sum
Term = tuple[tuple[Factor, int], ...]
Number = int | Fraction
Sum = dict[Term, Number]

_X: Factor = ("x", ())
_ONE: Term = ()
_MOST_TERMS = 64
_MOST_EXPANDED = 3  # the exponent of a sum that is multiplied out
_MOST_EXPONENT = 99
_MOST_BITS = 1024  # of a number that is raised


def frozen(total: Sum) -> tuple[tuple[Term, Number], ...]:
    """A sum that can be hashed and sorted; equal sums have equal ones."""
    return tuple(sorted(total.items()))


def constant(value: Number) -> Sum:
    """A number as a sum."""
    return {_ONE: value} if value else {}


def added(first: Sum, second: Sum, scale: Number = 1) -> Sum:
    """The first and so many times the second."""
    total = dict(first)
    for term, coefficient in second.items():
        _add(total, term, coefficient if scale == 1 else coefficient * scale)
    return total


def _add(total: Sum, term: Term, coefficient: Number) -> None:
    """Adds a term to a sum in place."""
    value = total.get(term, 0) + coefficient
    if value:
        total[term] = value
    else:
        total.pop(term, None)


def _joined(first: Term, second: Term) -> Term:
    """The product of two terms: exponents are added, and exponentials become one."""
    if not first or not second:
        return first or second
    exponents = dict(first)
    for factor, exponent in second:
        exponents[factor] = exponents.get(factor, 0) + exponent
    powers = [(factor, exponent) for factor, exponent in exponents.items() if factor[0] == "exp"]
    if len(powers) > 1:
        inner: Sum = {}
        for factor, exponent in powers:
            inner = added(inner, dict(factor[1]), exponent)
            del exponents[factor]
        if inner:
            exponents["exp", frozen(inner)] = 1
    return tuple(sorted([each for each in exponents.items() if each[1]]))


def multiplied(first: Sum, second: Sum) -> Sum | None:
    """Every term of the first times every one of the second; None where these are too many."""
    if len(first) * len(second) > _MOST_TERMS:
        return None
    total: Sum = {}
    for term, coefficient in first.items():
        for other, value in second.items():
            _add(total, _joined(term, other), coefficient * value)
    return total


def raised(base: Sum, exponent: int, expand: bool = False) -> Sum | None:
    """A sum to an integer power: as a factor of its own unless it is one term, or is to be multiplied out."""
    if abs(exponent) > _MOST_EXPONENT or not base:
        return None
    if exponent in (0, 1):
        return base if exponent else constant(1)
    if len(base) > 1:
        if not expand or not 0 < exponent <= _MOST_EXPANDED:
            return {((("(", frozen(base)), exponent),): 1}
        total: Sum | None = base
        for _ in range(exponent - 1):
            total = total and multiplied(total, base)
        return total
    ((term, coefficient),) = base.items()
    bits = max(coefficient.numerator.bit_length(), coefficient.denominator.bit_length())
    if bits * abs(exponent) > _MOST_BITS:
        return None
    power = coefficient**exponent if exponent > 0 else Fraction(coefficient) ** exponent
    return {_scaled(term, exponent): power}


def _scaled(term: Term, exponent: int) -> Term:
    """A term to a power; of an exponential the argument is multiplied."""
    found: Term = _ONE
    for factor, own in term:
        if factor[0] == "exp":
            found = _joined(found, ((("exp", frozen(added({}, dict(factor[1]), own * exponent))), 1),))
        else:
            found = _joined(found, ((factor, own * exponent),))
    return found


def applied(name: str, inner: Sum) -> Sum | None:
    """A function of a sum; `exp` and `log` undo each other."""
    if not inner:
        return {"sin": {}, "cos": constant(1), "exp": constant(1)}.get(name)
    if len(inner) == 1:
        ((term, coefficient),) = inner.items()
        other = {"exp": "log", "log": "exp"}.get(name)
        if coefficient == 1 and len(term) == 1 and term[0][0][0] == other and term[0][1] == 1:
            return dict(term[0][0][1])
        if name == "log" and inner == constant(1):
            return {}
    return {(((name, frozen(inner)), 1),): 1}


@lru_cache(maxsize=256)  # which is asked for the reference, and at once again for what makes the problem
def sum_of(program: Program, *, expand: bool) -> Sum | None:
    """Makes a sum of a program, not to be written to.

    None where it divides by 0, or has powers that are no integers or too large.
    """
    stack: list[Sum | None] = []
    for item in program:
        if isinstance(item, int):
            stack.append(constant(item))
        elif item == "x":
            stack.append({((_X, 1),): 1})
        else:
            inner = stack.pop()
            if inner is None:
                return None
            if item == "neg":
                stack.append(added({}, inner, -1))
            elif item in FUNCTIONS:
                stack.append(applied(item, inner))
            else:
                stack.append(_operation(item, stack.pop(), inner, expand))
    return stack[0]


def _operation(operator: str, first: Sum | None, second: Sum, expand: bool) -> Sum | None:
    if first is None:
        return None
    if operator in "+-":
        return added(first, second, 1 if operator == "+" else -1)
    if operator == "^":
        exponent = second.get(_ONE, 0)
        is_integer = second == constant(exponent) and exponent.denominator == 1
        return raised(first, exponent.numerator, expand) if is_integer else None
    other = second if operator == "*" else raised(second, -1)
    return None if other is None else multiplied(first, other)


# --- calculus ------------------------------------------------------------------------------------------------------


def derivative(total: Sum) -> Sum | None:
    """The derivative by x, term by term and factor by factor; None where it has too many terms."""
    found: Sum = {}
    for term, coefficient in total.items():
        for place, (factor, exponent) in enumerate(term):
            rest = _joined(term[:place], term[place + 1 :])
            lowered: Term = ((factor, exponent - 1),) if exponent != 1 else _ONE
            slope = _slope(factor)
            outer = slope and multiplied({_joined(rest, lowered): coefficient * exponent}, slope)
            if outer is None:
                return None
            found = added(found, outer)
    return found


def _slope(factor: Factor) -> Sum | None:
    name, inner = factor[0], dict(factor[1])
    if name == "x":
        return constant(1)
    slope = derivative(inner)
    if name == "(" or slope is None:
        return slope
    if name == "log":
        inverse = raised(inner, -1)
        return inverse and multiplied(slope, inverse)
    other = {"sin": "cos", "cos": "sin", "exp": "exp"}[name]
    return multiplied(slope, {(((other, factor[1]), 1),): -1 if name == "cos" else 1})


def integral(total: Sum) -> Sum | None:
    """An integral by x, term by term; None where a term is not of the kinds that are drawn."""
    found: Sum = {}
    for term, coefficient in total.items():
        integrated = _integral_of(term)
        if integrated is None:
            return None
        found = added(found, integrated, coefficient)
    return found


def _integral_of(term: Term) -> Sum | None:
    """Of powers of x, of functions and powers of a linear sum, and of these times x by parts."""
    factors = dict(term)
    power = factors.pop(_X, 0)
    if not factors:
        if power == -1:
            return applied("log", {((_X, 1),): 1})
        return {((_X, power + 1),): Fraction(1, power + 1)}
    ((factor, exponent),) = factors.items() if len(factors) == 1 else ((("", ()), 0),)
    name, inner = factor
    slope = derivative(dict(inner)) if name else None
    if not slope or set(slope) != {_ONE}:
        return None
    a = Fraction(slope[_ONE])
    if name == "(" and not power:
        if exponent == -1:
            return added({}, applied("log", dict(inner)) or {}, 1 / a)
        return {((factor, exponent + 1),): 1 / (a * (exponent + 1))}
    if exponent != 1:
        return None
    if name == "log":
        return _integral_of_log(factor, power)
    once = {"sin": ("cos", -1 / a), "cos": ("sin", 1 / a), "exp": ("exp", 1 / a)}.get(name)
    if once is None or power not in (0, 1):
        return None
    first: Term = (((once[0], inner), 1),)
    if not power:
        return {first: once[1]}
    twice = -1 / a**2 if name == "exp" else 1 / a**2
    return {_joined(((_X, 1),), first): once[1], ((factor, 1),): twice}


def _integral_of_log(factor: Factor, power: int) -> Sum | None:
    """Of log(x) times a power of x."""
    if dict(factor[1]) != {((_X, 1),): 1} or power < 0:
        return None
    up: Term = ((_X, power + 1),)
    return {_joined(up, ((factor, 1),)): Fraction(1, power + 1), up: Fraction(-1, (power + 1) ** 2)}


# --- as text -------------------------------------------------------------------------------------------------------


def text_of(total: Sum) -> str:
    """A short text of a sum, the same for equal ones; a positive term comes first where there is one."""
    terms = sorted(total.items(), key=lambda item: (item[1] < 0, _rank(item[0]), item[0]))
    text = "".join([_signed(term, coefficient) for term, coefficient in terms])
    return text.removeprefix("+") or "0"


def _rank(term: Term) -> tuple[int, int]:
    """Powers of x alone come first, the highest first."""
    exponent = dict(term).get(_X, 0)
    return (len(term) - (exponent != 0), -exponent)


def _signed(term: Term, coefficient: Number) -> str:
    above = [_power(factor, exponent) for factor, exponent in term if exponent > 0]
    below = [_power(factor, -exponent) for factor, exponent in term if exponent < 0]
    if abs(coefficient.numerator) != 1 or not above:
        above.insert(0, str(abs(coefficient.numerator)))
    if coefficient.denominator != 1:
        below.insert(0, str(coefficient.denominator))
    return f"{'-' if coefficient < 0 else '+'}{'*'.join(above)}{_over(below)}"


def _over(below: Iterable[str]) -> str:
    return "".join([f"/{each}" for each in below])


@lru_cache(maxsize=8192)
def _power(factor: Factor, exponent: int) -> str:
    name, inner = factor
    text = "x" if name == "x" else f"{name.removesuffix('(')}({text_of(dict(inner))})"
    return text if exponent == 1 else f"{text}^{exponent}"
