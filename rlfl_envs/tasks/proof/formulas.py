"""Formulas in Polish notation, as texts: how they are taken apart, which are axioms, and which are alike.

`Cpq` is "if p, then q" and `Np` is "not p" (Lukasiewicz 1929). An operator stands before its operands, so that there
are no parentheses, and a text is a formula in one way at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby, permutations, product

__all__ = ["AXIOMS", "LETTERS", "canonical", "is_axiom", "is_formula", "missing_after", "sides"]

LETTERS = "pqrstu"
AXIOMS = "KSN"
_MISSING = {"C": 1, "N": 0, **dict.fromkeys(LETTERS, -1)}


def missing_after(missing: int, character: str) -> int | None:
    """How many formulas are missing after one more character, where so many were before; None if it cannot follow."""
    change = _MISSING.get(character)
    return None if change is None or not missing else missing + change


def is_formula(text: str) -> bool:
    """Whether a text is one whole formula."""
    missing = 1
    for character in text:
        following = missing_after(missing, character)
        if following is None:
            return False
        missing = following
    return missing == 0


@lru_cache(maxsize=8192)
def sides(formula: str) -> tuple[str, str] | None:
    """What an implication says: if the first, then the second; None for any other formula."""
    if formula[0] != "C":
        return None
    missing, place = 1, 0
    while missing:
        place += 1
        missing += _MISSING[formula[place]]
    return formula[1 : place + 1], formula[place + 1 :]


def is_axiom(formula: str, axioms: str) -> bool:
    """Whether a formula is an instance of one of these axioms (Lukasiewicz & Tarski 1930).

    K: `CaCba`. S: `CCaCbcCCabCac`. N: `CCNaNbCba`. The small letters stand for any formulas.
    """
    outer = sides(formula)
    inner = outer and sides(outer[1])
    if not outer or not inner:
        return False
    first, (left, right) = outer[0], inner
    if "K" in axioms and first == right:
        return True
    if "N" in axioms and first == f"CN{right}N{left}":
        return True
    parts = sides(left)
    if "S" not in axioms or not parts:
        return False
    a, b = parts
    return right[: 1 + len(a)] == f"C{a}" and first == f"C{a}C{b}{right[1 + len(a) :]}"


def canonical(premises: Sequence[str], goal: str) -> str:
    """A text that problems share which differ in the names of variables or in the order of premises, and no others.

    Variables are sorted by where they stand; of the orders of those that stand alike, the one with the least text
    counts.
    """
    formulas = [*premises, f"|{goal}"]
    letters = sorted({*"".join(formulas)} & {*LETTERS})
    hidden = {ord(letter): "." for letter in letters}
    places = {
        letter: sorted([each.translate(hidden | {ord(letter): "*"}) for each in formulas if letter in each])
        for letter in letters
    }
    letters.sort(key=lambda letter: places[letter])
    alike = [[*group] for _, group in groupby(letters, key=lambda letter: places[letter])]
    return min(_renamed(formulas, "".join(map("".join, each))) for each in product(*map(permutations, alike)))


def _renamed(formulas: Sequence[str], order: str) -> str:
    names = str.maketrans(order, LETTERS[: len(order)])
    return ",".join(sorted([each.translate(names) for each in formulas]))
