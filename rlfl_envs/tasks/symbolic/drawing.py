"""How prompts are drawn: expressions that can be differentiated, integrated, solved or simplified."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from rlfl_envs.dice import Choices
from rlfl_envs.tasks.symbolic.algebra import Number, Sum, Term, added, multiplied, raised, text_of

__all__ = ["draw_text"]

_RANDOM = 128  # numbers drawn at a time
_X: Sum = {((("x", ()), 1),): 1}


class _Choices(Choices):
    """Random choices."""

    def between(self, low: int, high: int) -> int:
        """A number low..high."""
        return low + self.below(high - low + 1)

    def coefficient(self) -> int:
        """A number of 1..9, one in three with a minus."""
        return self.between(1, 9) * (1 if self.between(0, 2) else -1)


def draw_text(rng: np.random.Generator, kind: str, terms: int) -> str:
    """Draws the text of a prompt of a kind whose expression, or whose short form, has about so many terms."""
    choices = _Choices(rng, _RANDOM)
    if kind == "solve":
        return f"solve {_equation(choices, terms)}:"
    if kind == "simp":
        return f"simp {_long_form(choices, terms)}:"
    total: Sum = {}
    while len(total) < terms:
        total = added(total, _term(choices), choices.coefficient())
    return f"{kind} {text_of(total)}:"


def _linear(choices: _Choices) -> Sum:
    """Such as 2*x+1; positive where x is."""
    shift = choices.between(0, 3) * choices.between(0, 1)
    return added(_number(shift), _X, choices.between(1, 4))


def _number(value: Number) -> Sum:
    return added({}, {(): 1}, value)


def _function(name: str, inner: Sum) -> Sum:
    return {(((name, tuple(sorted(inner.items()))), 1),): 1}


def _term(choices: _Choices) -> Sum:
    """A power of x, a function or a power of a linear sum, or a function times x; each as likely."""
    form = choices.of(["power", "function", "sum", "product"])
    if form == "power":
        exponent = choices.between(1, 6)
        return raised(_X, exponent if exponent <= 4 else 4 - exponent) or {}
    if form == "sum":
        shift = choices.between(1, 4)
        linear = added(_number(shift), _X, choices.between(1, 4))
        return raised(linear, [-2, -1, 2, 3, 4][choices.between(0, 4)]) or {}
    name = choices.of(["sin", "cos", "exp", "log"])
    inner = _X if name == "log" else _linear(choices)
    function = _function(name, inner)
    return function if form == "function" else multiplied(_X, function) or {}


def _equation(choices: _Choices, terms: int) -> str:
    """A linear equation, one with x on both sides, or from three terms on a quadratic one with two solutions."""
    a = choices.between(1, 9)
    if terms <= 2:
        root = Fraction(choices.between(-20, 20), choices.between(1, 3))
        a *= root.denominator
        c = choices.between(1, 9) if terms == 2 else 0
        shift = choices.between(-20, 20)
        left = added(_number(shift), _X, a + c)
        value = a * root + shift
        right = added(_number(value), _X, c)
        return f"{text_of(left)}={text_of(right)}"
    first, second = (Fraction(choices.between(-9, 9), choices.between(1, 2)) for _ in range(2))
    scale = first.denominator * second.denominator
    total = added(added(raised(_X, 2) or {}, _X, -first - second), _number(first * second))
    total = added({}, total, scale)
    if terms == 3:
        return f"{text_of(total)}=0"
    moved = choices.coefficient()
    right = added(_number(choices.between(1, 9)), _X, moved)
    return f"{text_of(added(total, right))}={text_of(right)}"


def _long_form(choices: _Choices, terms: int) -> str:
    """A sum in more words: its terms are split, raised and lowered, or wrapped, and some that cancel are added."""
    total: Sum = {}
    while len(total) < terms:
        total = added(total, _simple_term(choices), choices.coefficient())
    pieces: list[str] = []
    for term, coefficient in total.items():
        pieces += _in_other_words(choices, term, coefficient)
    if choices.between(0, 1):
        extra, times = _simple_term(choices), choices.between(1, 9)
        pieces += [_signed(added({}, extra, times)), _signed(added({}, extra, -times))]
    for place in range(len(pieces) - 1, 0, -1):
        other = choices.between(0, place)
        pieces[place], pieces[other] = pieces[other], pieces[place]
    return "".join(pieces).removeprefix("+")


def _simple_term(choices: _Choices) -> Sum:
    if choices.between(0, 1):
        return raised(_X, choices.between(1, 4)) or {}
    name = choices.of(["sin", "cos", "exp", "log"])
    return _function(name, _X if name == "log" else _linear(choices))


def _in_other_words(choices: _Choices, term: Term, coefficient: Number) -> list[str]:
    """The same as one or two signed texts."""
    whole: Sum = {term: coefficient}
    size = -coefficient if coefficient < 0 else coefficient
    form = choices.of(["split", "raised", "wrapped", "factored"])
    if form == "raised":
        higher, exponent = multiplied(whole, raised(_X, 2) or {}) or {}, choices.between(1, 2)
        lower = multiplied(higher, raised(_X, exponent - 2) or {}) or {}
        return [f"{_signed(lower)}/{'x' if exponent == 1 else 'x^2'}"]
    if form == "wrapped":
        outer, inner = choices.of(["exp(log(", "log(exp("]), text_of({term: 1})
        if outer == "log(exp(" or not inner.startswith(("sin", "cos", "log")):
            return [f"{'-' if coefficient < 0 else '+'}{size}*{outer}{inner}))"]
    if form == "factored":
        shift, inner = choices.between(1, 9), text_of({term: 1})
        sign, other = ("-", "+") if coefficient < 0 else ("+", "-")
        return [f"{sign}{size}*({inner}+{shift})", f"{other}{size * shift}"]
    part = choices.coefficient()
    pieces = [added({}, whole, Fraction(part) / coefficient), added({}, whole, 1 - Fraction(part) / coefficient)]
    return [_signed(piece) for piece in pieces if piece]


def _signed(total: Sum) -> str:
    text = text_of(total)
    return text if text.startswith("-") else f"+{text}"
