"""Statements, their values and what may follow them, worked out in other ways than the task's."""

from __future__ import annotations

import re

from hypothesis import strategies as st

NUMBERS = st.one_of(st.integers(0, 30), st.integers(0, 999), st.integers(0, 10**30))


def calculate(statement: str) -> int:
    """The value of a statement, by Python; only digits, operators and spaces ever get here."""
    assert re.fullmatch(r"[-+*0-9]+", statement)
    return int(eval(statement, {"__builtins__": {}}))  # noqa: S307 - the regular expression has allowed it


def combinations(statement: str) -> set[str]:
    """Every statement that combining one operator of this one gives, products before sums."""
    factors = re.split(r"(?<=\d)([-+*])", statement)
    numbers, symbols = factors[0::2], factors[1::2]
    results = set()
    for i, symbol in enumerate(symbols):
        if "*" in symbols:
            if symbol == "*":
                product = str(int(numbers[i]) * int(numbers[i + 1]))
                parts = [*numbers[:i], product, *numbers[i + 2 :]]
                rest = [*symbols[:i], *symbols[i + 1 :]]
                results.add(parts[0] + "".join(s + p for s, p in zip(rest, parts[1:], strict=True)))
            continue
        terms = [int(numbers[0]), *(int(s + n) for s, n in zip(symbols, numbers[1:], strict=True))]
        terms[i : i + 2] = [terms[i] + terms[i + 1]]
        signs = ["-" if s == "-" else "+" for s in symbols]
        signs[max(i - 1, 0) : i + 1] = ["-" if terms[i] < 0 else "+"] if i else []
        results.add(str(terms[0]) + "".join(s + str(abs(t)) for s, t in zip(signs, terms[1:], strict=True)))
    return results


@st.composite
def chains(draw: st.DrawFn, operators: int, is_signed: bool) -> str:
    """A text of the grammar: mostly the right number of operators in each statement, spaces here and there."""
    statements = []
    symbols = "+-*" if is_signed else "+*"
    for i in range(draw(st.integers(1, operators + 2))):
        count = max(operators - i, 0) if draw(st.integers(0, 9)) else draw(st.integers(0, 4))
        text = ""
        for j in range(count + 1):
            sign = "-" if is_signed and draw(st.integers(0, 5)) == 0 else ""
            gap = " " * draw(st.sampled_from([0, 0, 0, 1, 2]))
            text += (draw(st.sampled_from(symbols)) if j else "") + gap + sign + str(draw(NUMBERS))
        statements.append(text)
    return "=".join(statements)
