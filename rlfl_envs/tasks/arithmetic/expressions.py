"""Arithmetic expressions and their derivations, drawn for many keys at once.

The distribution of Padula & Soemers (2024): integers and operators are appended until an expression has so many
characters, then it is cut; a derivation combines one random operator at a time, products before sums. Everything is an
array with one row a key, because that serves one environment and a thousand alike.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.errors import ConfigError
from rlfl_envs.keys import Keys, fingerprint, in_split, key_at, mix, uniform_integers

__all__ = ["SYMBOLS", "Expressions", "Statements", "read_expression"]

Integers = NDArray[np.int64]

SYMBOLS = "+-*"
_PLUS, _MINUS, _TIMES = range(3)
_HUGE = 2**62  # what an operand is cut to, that fits an int64
_MAX_ATTEMPTS = 10_000  # settings that reject this many expressions in a row are taken to reject all


class Statements(NamedTuple):
    """One statement a row.

    Attributes:
        operands: int64 [n, M + 1].
        operators: int64 [n, M], indices into SYMBOLS; operator i stands before operand i + 1.
        counts: int64 [n], how many operators count; -1 where the row has no statement.
    """

    operands: Integers
    operators: Integers
    counts: Integers

    def text(self, row: int) -> str:
        """Writes one row, such as "2+3"."""
        values, operators = self.operands[row], self.operators[row]
        return str(values[0]) + "".join(f"{SYMBOLS[operators[i]]}{values[i + 1]}" for i in range(self.counts[row]))


class Drawn(NamedTuple):
    """What `Expressions.draw` draws.

    Attributes:
        statements: The expressions.
        values: int64 [n], their values.
        keys: uint64 [n], from which `derive` draws their derivations.
    """

    statements: Statements
    values: Integers
    keys: Keys


@dataclass(frozen=True)
class Expressions:
    """A distribution of expressions.

    Attributes:
        operators: The symbols to draw from.
        max_operand: Operands are uniform over 0..max_operand.
        length: Expressions are cut to this many characters.
        max_value: Expressions of a larger absolute value are drawn again.
        largest_step: So are those whose derivation passes this absolute value.
        split: Only expressions of this split are drawn.
        split_by: What decides the split: the "expression", or the "final_statement" of its derivation.
    """

    operators: str
    max_operand: int
    length: int
    max_value: int
    largest_step: int
    split: str
    split_by: str

    @property
    def max_operators(self) -> int:
        """M, the most operators that fit: one-digit operands."""
        return (self.length + 1) // 2 - 1

    def draw(self, keys: Keys) -> Drawn:
        """Draws an expression for each key, attempt after attempt until one is accepted.

        Raises:
            ConfigError: These settings accept (nearly) nothing.
        """
        n, m = len(keys), self.max_operators
        chosen = Statements(*(np.zeros(shape, dtype=np.int64) for shape in ((n, m + 1), (n, m), (n,))))
        values, accepted = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.uint64)
        rows, attempt = np.arange(n), 0
        while len(rows) and attempt < _MAX_ATTEMPTS:
            # For few rows several attempts at once, which cost hardly more than one; the first that is accepted counts.
            block = max(1, 64 // len(rows))
            attempt_keys = key_at(keys[rows, None], attempt + np.arange(block)).ravel()
            drawn = self._attempt(attempt_keys)
            value = _values(drawn)
            keep = (drawn.counts >= 1) & (np.abs(value) <= self.max_value)
            if self.split_by == "expression":
                keep &= in_split(_hash(drawn), self.split)
            # The steps of a plain sum never exceed its value.
            if self.operators != "+" or self.split_by == "final_statement":
                kept = np.flatnonzero(keep)
                statements, fits = self.derive(attempt_keys[kept], Statements(*(part[kept] for part in drawn)))
                keep[kept] = fits
                if self.split_by == "final_statement":
                    keep[kept] &= in_split(_hash(_final_statements(statements)), self.split)
            accepted_here = keep.reshape(len(rows), block)
            is_done = accepted_here.any(axis=1)
            done = rows[is_done]
            first = (np.arange(len(rows)) * block + accepted_here.argmax(axis=1))[is_done]
            for target, source in zip(chosen, drawn, strict=True):
                target[done] = source[first]
            values[done], accepted[done] = value[first], attempt_keys[first]
            rows, attempt = rows[~is_done], attempt + block
        if not len(rows):
            return Drawn(chosen, values, accepted)
        raise ConfigError(
            f"max_value={self.max_value}, operators={self.operators!r}, max_operand={self.max_operand}, "
            f"expression_length={self.length} and split={self.split!r} together accept none of {_MAX_ATTEMPTS} "
            "expressions drawn."
        )

    def holds(self, derivation: Sequence[str]) -> bool:
        """Whether a problem belongs to the split: the statements of its prompt, as text."""
        by_expression = self.split_by == "expression"
        statement = read_expression(derivation[0 if by_expression else -1])
        decisive = statement if by_expression else _final_statements([statement])
        return bool(in_split(_hash(decisive), self.split)[0])

    def _attempt(self, keys: Keys) -> Statements:
        """Appends integers and operators, then cuts."""
        m = self.max_operators
        positions = np.arange(2 * m + 1)
        operands = uniform_integers(key_at(keys[:, None], positions[: m + 1]), self.max_operand + 1)
        codes = np.array([SYMBOLS.index(symbol) for symbol in self.operators])
        operators = codes[uniform_integers(key_at(keys[:, None], positions[m + 1 :]), len(codes))]
        powers = 10 ** np.arange(len(str(self.max_operand)) + 1)
        digits = 1 + (operands[:, :, None] >= powers[1:]).sum(axis=2)
        starts = np.cumsum(digits + 1, axis=1) - digits - 1
        # What starts beyond the length goes; what runs over it loses its last digits.
        operands //= powers[np.clip(starts + digits - self.length, 0, digits)]
        return Statements(operands, operators, (starts < self.length).sum(axis=1) - 1)

    def derive(self, keys: Keys, expressions: Statements) -> tuple[list[Statements], NDArray[np.bool_]]:
        """Works expressions out, one random operator at a time, products before sums.

        A difference adds a negative term, so that any order gives the same value; a term's sign is the operator before
        it.

        Returns:
            The statements, the expressions first, and whether no step passed `largest_step`, bool [n].
        """
        values, operators, left = (part.copy() for part in expressions)
        columns = np.arange(operators.shape[1])
        statements = [expressions]
        fits = np.ones(len(values), dtype=np.bool_)
        for step in range(int(left.max(initial=0))):
            live = columns < left[:, None]
            products = live & (operators == _TIMES)
            choices = np.where(products.any(axis=1, keepdims=True), products, live)
            # The operator to combine is the one with the largest random number among the choices.
            numbers = uniform_integers(key_at(mix(keys)[:, None], columns + step * len(columns)), 2**31 - 1)
            rows = np.flatnonzero(left > 0)
            at = np.argmax(np.where(choices, numbers, -1), axis=1)[rows]
            first, second, operator = values[rows, at], values[rows, at + 1], operators[rows, at]
            is_product = operator == _TIMES
            is_inner_sum = (at > 0) & ~is_product
            first = np.where(is_inner_sum & (operators[rows, at - 1] == _MINUS), -first, first)
            result = np.where(is_product, first * second, np.where(operator == _MINUS, first - second, first + second))
            fits[rows] &= np.abs(result) <= self.largest_step
            result[~fits[rows]] = 0  # given up; without this its products could overflow
            inner = np.flatnonzero(is_inner_sum)
            operators[rows[inner], at[inner] - 1] = np.where(result[inner] < 0, _MINUS, _PLUS)
            values[rows, at] = np.where(is_inner_sum, np.abs(result), result)
            # Close the gap: everything right of the operator moves one column left.
            is_right = columns >= at[:, None]
            following = np.pad(values[rows, 2:], ((0, 0), (0, 1)))
            values[rows, 1:] = np.where(is_right, following, values[rows, 1:])
            operators[rows] = np.where(is_right, np.roll(operators[rows], -1, axis=1), operators[rows])
            left = np.maximum(left - 1, -1)
            statements.append(Statements(values.copy(), operators.copy(), left))
        return statements, fits


def read_expression(text: str) -> Statements:
    """Reads a well-formed expression into one row; a sign is folded into its operand, and what is huge is cut."""
    text = text.replace(" ", "")
    operands = [max(-_HUGE, min(int(number), _HUGE)) for number in re.findall(r"(?:(?<![0-9])-)?[0-9]+", text)]
    operators = [SYMBOLS.index(symbol) for symbol in re.findall(r"(?<=[0-9])[-+*]", text)]
    return Statements(*(np.array(part, dtype=np.int64) for part in ([operands], [operators], [len(operators)])))


def _final_statements(derivations: Sequence[Statements]) -> Statements:
    """The statement of each row that has one operator left; of a sum or a product with the smaller operand first.

    So 34+9 and 9+34 fall into the same split.
    """
    found = Statements(*(np.zeros_like(part) for part in derivations[0]))
    for statements in derivations:
        for target, source in zip(found, statements, strict=True):
            target[statements.counts == 1] = source[statements.counts == 1]
    turned = (found.operators[:, 0] != _MINUS) & (found.operands[:, 0] > found.operands[:, 1])
    found.operands[turned, :2] = found.operands[turned, 1::-1]
    return found


def _hash(statements: Statements) -> Keys:
    """What decides the split of a statement."""
    codes = np.empty((len(statements.counts), 2 * statements.operators.shape[1] + 1), dtype=np.int64)
    codes[:, 0::2], codes[:, 1::2] = statements.operands, statements.operators
    return fingerprint(codes, 2 * statements.counts + 1)


def _values(statements: Statements) -> Integers:
    """The values, products before sums; in float64, so that what is far too large stays far too large."""
    operands, operators, counts = statements
    total, product = np.zeros(len(operands)), operands[:, 0].astype(np.float64)
    for column in range(operators.shape[1]):
        live, operator, operand = column < counts, operators[:, column], operands[:, column + 1]
        is_factor, is_term = live & (operator == _TIMES), live & (operator != _TIMES)
        total = np.where(is_term, total + product, total)
        signed = np.where(operator == _MINUS, -operand, operand)
        product = np.where(is_factor, product * operand, np.where(is_term, signed, product))
    return np.clip(total + product, -(2**62), 2**62).astype(np.int64)
