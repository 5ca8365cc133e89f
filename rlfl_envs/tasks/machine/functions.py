"""Functions that are asked for: of each how it is computed here, and the fastest instructions for it that we know.

A function that is drawn is ours: no text is read back, and nothing of a completion comes here.
"""

from __future__ import annotations

import math
import operator
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rlfl_envs.dice import pick

__all__ = ["FAMILIES", "Family", "Function"]

Values = Mapping[str, int]

_SQUARE = ("local.tee $a", "local.get $a", "i64.mul")  # of what is on top of the stack


@dataclass(frozen=True, slots=True)
class Function:
    """A function of integers, or a part of one.

    Attributes:
        lines: Instructions that leave its value on the stack; `$a` and `$b` are 0 before and free after them.
        run: The value, of the parameters by name.
        reads: The parameters that it reads.
    """

    lines: tuple[str, ...]
    run: Callable[[Values], int]
    reads: frozenset[str]


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of functions.

    Attributes:
        counts: How many parameters they may have.
        least: The least argument.
        largest: The largest.
        draw: Draws one with these parameters.
    """

    counts: tuple[int, ...]
    least: int
    largest: int
    draw: Callable[[random.Random, Sequence[str]], Function]

    @property
    def arguments(self) -> int:
        """How many there are for a parameter."""
        return self.largest - self.least + 1


# --- expressions -----------------------------------------------------------------------------------------------------


def _quotient(one: int, other: int) -> int:
    """Towards zero, as the machine divides."""
    return abs(one) // abs(other) * (1 if (one < 0) == (other < 0) else -1)


_OPERATORS: Mapping[str, Callable[[int, int], int]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div_s": _quotient,
    "rem_s": lambda one, other: one - other * _quotient(one, other),
}
_COMPARISONS: Mapping[str, Callable[[int, int], bool]] = {
    "lt_s": operator.lt,
    "gt_s": operator.gt,
    "le_s": operator.le,
    "ge_s": operator.ge,
    "eq": operator.eq,
    "ne": operator.ne,
}


def _constant(value: int) -> Function:
    return Function((f"i64.const {value}",), lambda values: value, frozenset())


def _variable(name: str) -> Function:
    return Function((f"local.get ${name}",), operator.itemgetter(name), frozenset([name]))


def _infix(sign: str, one: Function, other: Function) -> Function:
    apply = _OPERATORS[sign]
    lines = (*one.lines, *other.lines, f"i64.{sign}")
    return Function(lines, lambda values: apply(one.run(values), other.run(values)), one.reads | other.reads)


def _select(sign: str, left: Function, right: Function, one: Function, other: Function) -> Function:
    """One where the comparison holds, else the other."""
    holds = _COMPARISONS[sign]
    return Function(
        (*one.lines, *other.lines, *left.lines, *right.lines, f"i64.{sign}", "select"),
        lambda values: (one if holds(left.run(values), right.run(values)) else other).run(values),
        one.reads | other.reads | left.reads | right.reads,
    )


def _one_step(dice: random.Random, names: Sequence[str]) -> Function:
    x, number = _variable(names[0]), _constant(1 + int(dice.random() * 20))
    sign = pick(dice, ("add", "sub", "mul", "from"))
    return _infix("sub", number, x) if sign == "from" else _infix(sign, x, number)


def _term(dice: random.Random, names: Sequence[str], operators: int) -> Function:
    """A term of so many operators; division is by a number alone."""
    if operators == 0:
        return _variable(pick(dice, names)) if dice.random() < 0.6 else _constant(1 + int(dice.random() * 9))
    sign = pick(dice, ("add", "sub", "mul", "add", "sub", "mul", "div_s", "rem_s"))
    if sign in ("div_s", "rem_s"):
        return _infix(sign, _term(dice, names, operators - 1), _constant(2 + int(dice.random() * 8)))
    left = int(dice.random() * operators)
    return _infix(sign, _term(dice, names, left), _term(dice, names, operators - 1 - left))


def _arithmetic(dice: random.Random, names: Sequence[str]) -> Function:
    return _term(dice, names, pick(dice, (2, 3)))


def _condition(dice: random.Random, names: Sequence[str]) -> Function:
    left = _variable(pick(dice, names))
    right = _term(dice, names, 0)
    one, other = (_term(dice, names, pick(dice, (0, 1))) for _ in range(2))
    return _select(pick(dice, tuple(_COMPARISONS)), left, right, one, other)


# --- where thinking saves time ---------------------------------------------------------------------------------------


def _power(dice: random.Random, names: Sequence[str]) -> Function:
    """A power by repeated squaring, with a factor and a summand."""
    (name,), exponent = names, 3 + int(dice.random() * 6)
    lines: tuple[str, ...] = (f"local.get ${name}",) * 2 + ("i64.mul",)
    for place, bit in enumerate(f"{exponent:b}"[1:]):
        lines += _SQUARE if place else ()
        lines += (f"local.get ${name}", "i64.mul") if bit == "1" else ()
    power = Function(lines, lambda values: values[name] ** exponent, frozenset(names))
    return _scaled(dice, power, _variable(name))


def _scaled(dice: random.Random, function: Function, summand: Function) -> Function:
    """Perhaps with a small factor, and with the summand or a number."""
    factor, more = 1 + int(dice.random() * 3), pick(dice, (None, summand, _constant(1 + int(dice.random() * 9))))
    if factor > 1:
        function = _infix("mul", function, _constant(factor))
    return function if more is None else _infix(pick(dice, ("add", "sub")), function, more)


def _sum(dice: random.Random, names: Sequence[str]) -> Function:
    """A sum from 1 to x, by its formula: of multiples, squares, cubes, or products of neighbours."""
    (name,), kind = names, pick(dice, ("multiples", "multiples", "squares", "cubes", "products"))
    x = _variable(name)

    def plus(number: int, times: int = 1) -> Function:
        term = x if times == 1 else _infix("mul", x, _constant(times))
        return _infix("add", term, _constant(number)) if number else term

    if kind == "multiples":  # of p * i + q
        p, q = 1 + int(dice.random() * 6), int(dice.random() * 10) - 3
        return _infix("div_s", _infix("mul", x, plus(p + 2 * q, p)), _constant(2))
    if kind == "squares":
        total = _infix("div_s", _infix("mul", _infix("mul", x, plus(1)), plus(1, 2)), _constant(6))
    elif kind == "products":
        total = _infix("div_s", _infix("mul", _infix("mul", x, plus(1)), plus(2)), _constant(3))
    else:
        half = _infix("div_s", _infix("mul", x, plus(1)), _constant(2))
        total = Function((*half.lines, *_SQUARE), lambda values: half.run(values) ** 2, half.reads)
    return _scaled(dice, total, x)


# --- loops -----------------------------------------------------------------------------------------------------------


def _loop(dice: random.Random, names: Sequence[str]) -> Function:
    return _divisor(dice, names) if len(names) == 2 else _digits(dice, names)


def _digits(dice: random.Random, names: Sequence[str]) -> Function:
    """The digits of x in some base: their sum, their number, the sum of squares, or x written backwards."""
    (name,), base, kind = names, 2 + int(dice.random() * 9), pick(dice, ("sum", "number", "squares", "backwards"))
    digit = (f"local.get ${name}", f"i64.const {base}", "i64.rem_s")
    added = {"number": ("i64.const 1",), "squares": (*digit, "local.tee $b", "local.get $b", "i64.mul")}
    before = (f"i64.const {base}", "i64.mul") if kind == "backwards" else ()
    lines = (
        *("loop $l", "local.get $a", *before, *added.get(kind, digit), "i64.add", "local.set $a"),
        *(f"local.get ${name}", f"i64.const {base}", "i64.div_s", f"local.tee ${name}"),
        *("i32.wrap_i64", "br_if $l", "end", "local.get $a"),
    )

    def run(values: Values) -> int:
        left, total = values[name], 0
        while left > 0:
            left, rest = divmod(left, base)
            total = total * base + rest if kind == "backwards" else total + _counted(kind, rest)
        return total

    return _scaled(dice, Function(lines, run, frozenset(names)), _constant(1))


def _counted(kind: str, digit: int) -> int:
    return {"sum": digit, "number": 1, "squares": digit * digit}[kind]


def _divisor(dice: random.Random, names: Sequence[str]) -> Function:
    """The greatest common divisor by Euclid's algorithm."""
    one, other = names
    lines = (
        *("loop $l", f"local.get ${one}", f"local.get ${other}", f"local.tee ${one}", "i64.rem_s"),
        *(f"local.tee ${other}", "i32.wrap_i64", "br_if $l", "end", f"local.get ${one}"),
    )
    divisor = Function(lines, lambda values: math.gcd(values[one], values[other]), frozenset(names))
    return _scaled(dice, divisor, _constant(1))


def _recurrence(dice: random.Random, names: Sequence[str]) -> Function:
    """What x steps of a -> (m * a + x * c + d) mod p make of 0, x counting down; or of a, b -> b, (m * a + b + d)."""
    (name,), modulus = names, pick(dice, (7, 11, 13, 17, 19, 97))
    m, c, d = 2 + int(dice.random() * 4), int(dice.random() * 3), 1 + int(dice.random() * 5)
    has_two = dice.random() < 0.5
    step: tuple[str, ...] = ("local.get $a", f"i64.const {m}", "i64.mul", f"i64.const {d}", "i64.add")
    if has_two:
        step += ("local.get $b", "local.tee $a", "i64.add", f"i64.const {modulus}", "i64.rem_s", "local.set $b")
    else:
        factor = {0: (), 1: (f"local.get ${name}", "i64.add")}
        step += factor.get(c, (f"local.get ${name}", f"i64.const {c}", "i64.mul", "i64.add"))
        step += (f"i64.const {modulus}", "i64.rem_s", "local.set $a")
    count = (f"local.get ${name}", "i64.const 1", "i64.sub", f"local.tee ${name}", "i32.wrap_i64", "br_if $l")

    def run(values: Values) -> int:
        a = b = 0
        for left in range(values[name], 0, -1):
            a, b = (b, (m * a + d + b) % modulus) if has_two else ((m * a + d + left * c) % modulus, b)
        return a

    return Function(("loop $l", *step, *count, "end", "local.get $a"), run, frozenset(names))


FAMILIES: Mapping[str, Family] = {
    "one_step": Family((1,), -9, 20, _one_step),
    "arithmetic": Family((1, 2), -9, 20, _arithmetic),
    "conditions": Family((1, 2), -9, 20, _condition),
    "powers": Family((1,), -5, 6, _power),
    "sums": Family((1,), 1, 40, _sum),
    "loops": Family((1, 2), 1, 200, _loop),
    "recurrences": Family((1,), 1, 40, _recurrence),
}
"""The kinds of functions, from easy to hard."""
