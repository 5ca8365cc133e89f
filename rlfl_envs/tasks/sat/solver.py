"""A small solver: unit propagation, then a choice, until all clauses are satisfied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

__all__ = ["solve"]

Clause = tuple[int, ...]


def solve(clauses: Iterable[Clause], variables: int) -> list[int] | None:
    """A satisfying assignment, as one literal for each variable in order; None where there is none.

    It tries the literal that satisfies the most clauses first, after all that follow from one choice (Davis, Logemann &
    Loveland 1962). Thirty variables take a few milliseconds.
    """
    waiting: list[tuple[list[Clause], frozenset[int]]] = [(list(clauses), frozenset())]
    while waiting:
        open_clauses, true = waiting.pop()
        propagated = _propagate(open_clauses, true)
        if propagated is None:
            continue
        open_clauses, true = propagated
        if not open_clauses:
            return [-variable if -variable in true else variable for variable in range(1, variables + 1)]
        counts = Counter(literal for clause in open_clauses for literal in clause)
        chosen = max(counts, key=lambda literal: (counts[literal], literal))
        waiting += [(open_clauses, true | {literal}) for literal in (-chosen, chosen)]
    return None


def _propagate(clauses: list[Clause], true: frozenset[int]) -> tuple[list[Clause], frozenset[int]] | None:
    """Leaves out what is satisfied and what is false, and follows clauses of one literal; None at a contradiction."""
    while True:
        remaining = [
            tuple([literal for literal in clause if -literal not in true])
            for clause in clauses
            if true.isdisjoint(clause)
        ]
        units = {clause[0] for clause in remaining if len(clause) == 1}
        if () in remaining or any(-literal in units for literal in units):
            return None
        if not units:
            return remaining, true
        clauses, true = remaining, true | units
