"""Formulas as arrays: how they are drawn, and what they have in common with those that only look different."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.errors import ConfigError
from rlfl_envs.keys import Keys, in_split, key_at, mix, uniform_integers, weighted_integers
from rlfl_envs.tasks.sat.config import SatConfig

__all__ = ["Formulas", "draw_formulas", "formula_fingerprints"]

_MAX_ATTEMPTS = 10_000  # a split that rejects this many formulas in a row will reject them all
_MAX_REDRAWS = 10_000
_ROUNDS = 3  # of refining what tells one variable from another
# A clause is drawn with weight q^t for t literals that the hidden assignment makes true. With this q, (1-q)(1+q)^2 = 1,
# and a literal that it makes true occurs as often as one that it makes false.
_Q = (5**0.5 - 1) / 2
_PATTERN_WEIGHTS = np.array([0.0] + [_Q ** bin(pattern).count("1") for pattern in range(1, 8)])


class Formulas(NamedTuple):
    """Some formulas of three literals a clause, one a row.

    Attributes:
        literals: int64 [n, M, 3], a variable's number, negative where it is negated; 0 where there are fewer clauses.
        variables: int64 [n], how many variables there are.
        clauses: int64 [n], how many clauses.
    """

    literals: NDArray[np.int64]
    variables: NDArray[np.int64]
    clauses: NDArray[np.int64]


def draw_formulas(keys: Keys, config: SatConfig) -> Formulas:
    """Draws a formula of the split for each key, uint64 [n], attempt after attempt.

    Raises:
        ConfigError: The split holds (nearly) nothing.
    """
    n, most = len(keys), config.clauses_of(config.max_variables)
    found = Formulas(np.zeros((n, most, 3), np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64))
    rows = np.arange(n)
    for attempt in range(_MAX_ATTEMPTS):
        formulas = _plant(key_at(keys[rows], np.array([attempt])), config)
        for array, values in zip(found, formulas, strict=True):
            array[rows] = values
        if config.split == "all":
            return found
        rows = rows[~in_split(formula_fingerprints(formulas), config.split)]
        if not len(rows):
            return found
    raise ConfigError(f"split={config.split!r} holds none of {_MAX_ATTEMPTS} formulas drawn; allowed here: 'all'.")


def _plant(keys: Keys, config: SatConfig) -> Formulas:
    """Draws an assignment for each key, then clauses that it satisfies, none twice; whatever the split."""
    n = len(keys)
    spread = config.max_variables - config.min_variables + 1
    variables = config.min_variables + uniform_integers(mix(keys), spread)
    counts = np.array([config.clauses_of(number) for number in range(config.max_variables + 1)])
    clauses, most = counts[variables], int(counts[-1])
    bits = key_at(keys, np.array([0]))[:, None] >> np.arange(config.max_variables + 1).astype(np.uint64)
    hidden = np.where(bits & np.uint64(1), 1, -1)  # hidden[:, v]: whether variable v is true
    ways = variables * (variables - 1) * (variables - 2) // 6
    column = np.arange(most)
    waiting = column < clauses[:, None]
    codes = np.where(waiting, 0, -1 - column)  # as `_clauses` has them; what is not there differs from all else
    for redraw in range(_MAX_REDRAWS):
        row, place = np.nonzero(waiting)
        if not len(row):
            break
        random = key_at(keys[row], 1 + place + most * redraw)
        triple = (((random >> np.uint64(32)) * ways[row].astype(np.uint64)) >> np.uint64(32)).astype(np.int64)
        codes[row, place] = 8 * triple + weighted_integers(random, _PATTERN_WEIGHTS)
        again = np.flatnonzero(waiting.any(axis=1))
        waiting[:] = False
        waiting[again] = _is_repeated(codes[again])
    literals = _clauses(config.max_variables)[np.maximum(codes, -1)]
    literals *= hidden[np.arange(n)[:, None, None], np.abs(literals)]
    return Formulas(literals, variables, clauses)


def _is_repeated(codes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which codes stand in their row a second time, bool [n, M]."""
    most = codes.shape[1]
    ordered = np.sort(codes * most + np.arange(most), axis=1)  # equal ones stand side by side, the first one first
    row, place = np.nonzero(ordered[:, 1:] // most == ordered[:, :-1] // most)
    found = np.zeros(codes.shape, dtype=np.bool_)
    found[row, ordered[row, place + 1] % most] = True
    return found


@lru_cache(maxsize=8)
def _clauses(variables: int) -> NDArray[np.int64]:
    """The clause of each code where all variables are true, [codes + 1, 3], and a last one that is not there.

    A code is 8 * which three variables + which literals are true; the first variables' codes come first.
    """
    triples = sorted(combinations(range(1, variables + 1), 3), key=lambda triple: triple[::-1])
    signs = np.where((np.arange(8)[:, None] >> np.arange(3)) & 1, 1, -1)
    clauses = (np.array(triples)[:, None] * signs).reshape(-1, 3)
    return np.concatenate([clauses, np.zeros((1, 3), dtype=np.int64)])


def formula_fingerprints(formulas: Formulas) -> Keys:
    """A hash of each formula, uint64 [n], that does not depend on names, signs and order.

    Formulas that differ in which variable is called what, in which of a variable's two values is called true, or in the
    order of clauses and literals have the same one. Literals are told apart by the clauses they stand in, and clauses
    by their literals, three times over (colour refinement, after Weisfeiler and Leman 1968); a few formulas that differ
    in more have the same one as well.
    """
    literals, variables, clauses = formulas
    n, most = literals.shape[:2]
    width = int(variables.max(initial=0)) + 1
    is_there = np.arange(most) < clauses[:, None]
    first = np.arange(0, 2 * n * width, 2 * width)[:, None]  # the colour of each formula's literal 0, which none has
    places = [first + 2 * np.abs(literal) + (literal < 0) for literal in np.moveaxis(literals, 2, 0)]
    colours = np.ones(n * width * 2, dtype=np.uint64)
    for _ in range(_ROUNDS):
        counted = np.where(is_there, mix(_clause_colours(colours, places)), np.uint64(0)).reshape(-1)
        seen = np.zeros_like(colours)
        for place in places:
            np.add.at(seen, place.reshape(-1), counted)
        others = colours.reshape(-1, 2)[:, ::-1].reshape(-1)
        colours = mix(mix(colours + seen) ^ (mix(others) >> np.uint64(1)))
    counted = np.where(is_there, mix(_clause_colours(colours, places)), np.uint64(0))
    total = counted.sum(axis=1, dtype=np.uint64)
    return mix(mix(total + clauses.astype(np.uint64)) + variables.astype(np.uint64))


def _clause_colours(colours: Keys, places: Sequence[NDArray[np.int64]]) -> Keys:
    """What the literals of each clause say of it, uint64 [n, M], in whatever order."""
    scrambled = mix(colours)
    first, second, third = (scrambled[place] for place in places)
    return mix(first + second + third)
