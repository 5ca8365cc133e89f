"""Problems: a function that is drawn, cases that are shown and cases that are hidden.

A problem is a function of what its prompt shows: the arguments of the shown cases are drawn first, and their hash is
what the family, the function and the hidden cases are drawn by. So a prompt's text is enough to judge by.
"""

from __future__ import annotations

import hashlib
import operator
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rlfl_envs.dice import pick
from rlfl_envs.tasks.machine.functions import FAMILIES, Family, Function

__all__ = ["MOST_REFERENCE", "Problem", "draw_problem", "header", "most_prompt", "read_problem"]

Case = tuple[int, ...]
_NAMES = "xy"
_TRIES = 30  # how often a function is drawn for given arguments
_PROBES = 16  # cases by which two functions are told apart
_MOST_RESULT = 10**8
MOST_REFERENCE = 21
"""Instructions of the longest function that is drawn."""

_CASE = re.compile(r"f\((-?\d{1,3})(?:, (-?\d{1,3}))?\) = -?\d{1,9}\n")


def header(count: int) -> str:
    """The beginning of a function with so many parameters, which the prompt ends with."""
    parameters = "".join(f" (param ${name} i64)" for name in _NAMES[:count])
    return f"(func $f{parameters} (result i64) (local $a i64) (local $b i64)\n"


def most_prompt(shown: int) -> int:
    """Characters of the longest prompt with so many cases."""
    return shown * len("f(-99, 200) = -99999999\n") + len(header(2))


@dataclass(frozen=True, slots=True)
class Problem:
    """What a completion is judged by.

    Attributes:
        names: The parameters.
        shown: Arguments and result of each case that the prompt shows.
        hidden: The same of the cases that it does not show.
        reference: The instructions that were drawn, a line each.
        behaviour: A hash of what the function does on fixed arguments.
        given: In how many of the hidden cases one constant, or a parameter as it is, is right.
    """

    names: str
    shown: tuple[tuple[Case, int], ...]
    hidden: tuple[tuple[Case, int], ...]
    reference: str
    behaviour: str
    given: int

    @property
    def arguments(self) -> tuple[Case, ...]:
        """Those of all cases, the shown ones first."""
        return tuple([case for case, _ in (*self.shown, *self.hidden)])

    @property
    def results(self) -> tuple[int, ...]:
        """What is due for these."""
        return tuple([result for _, result in (*self.shown, *self.hidden)])

    @property
    def text(self) -> str:
        """The prompt."""
        cases = [f"f({', '.join(map(str, case))}) = {result}\n" for case, result in self.shown]
        return "".join(cases) + header(len(self.names))


def draw_problem(dice: random.Random, family: str, shown: int, hidden: int) -> Problem | None:
    """Draws a problem of a family; None where nothing comes of the arguments drawn."""
    kind = FAMILIES[family]
    names = _NAMES[: pick(dice, kind.counts)]
    cases = _distinct(dice, kind, len(names), shown)
    return _problem(names, cases, hidden, family)


def read_problem(text: str, shown: int, hidden: int) -> Problem | None:
    """The problem whose prompt this is; None where there is none."""
    lines = text.splitlines(keepends=True)
    matches = [_CASE.fullmatch(line) for line in lines[:-1]]
    cases = [tuple(int(group) for group in match.groups() if group is not None) for match in matches if match]
    if len(lines) - 1 != shown or len(cases) != shown:
        return None
    problem = _problem(_NAMES[: len(cases[0])], cases, hidden)
    return problem if problem is not None and problem.text == text else None


def _problem(names: str, shown: Sequence[Case], hidden: int, wanted: str | None = None) -> Problem | None:
    """Draws functions until one says something about these arguments and others; of no other family than wanted."""
    seed = int.from_bytes(hashlib.blake2b(repr((names, *shown)).encode(), digest_size=8).digest(), "little")
    family = [*FAMILIES][seed % len(FAMILIES)]
    if wanted not in (None, family):
        return None
    kind = FAMILIES[family]
    is_within = all(len(case) == len(names) and kind.least <= min(case) <= max(case) <= kind.largest for case in shown)
    if len(names) not in kind.counts or not is_within or len({*shown}) < len(shown):
        return None
    if len(shown) + hidden > kind.arguments:
        return None
    dice = random.Random(seed)
    cases = [*shown, *_distinct(dice, kind, len(names), hidden, shown)]
    for _ in range(_TRIES):
        function = kind.draw(dice, names)
        if function.reads != {*names} or len(function.lines) > MOST_REFERENCE:
            continue
        others = _results(function, names, cases[len(shown) :])
        given = _given(others, cases[len(shown) :])
        if 2 * given > hidden:  # which most draws end at
            continue
        results = [*_results(function, names, shown), *others]
        if 2 * _given(results, cases) > len(cases) or max(map(abs, results)) >= _MOST_RESULT:
            continue
        solved = tuple(zip(cases, results, strict=True))
        reference = "".join(f"{line}\n" for line in function.lines)
        behaviour = _behaviour(function, names)
        return Problem(names, solved[: len(shown)], solved[len(shown) :], reference, behaviour, given)
    return None


def _results(function: Function, names: str, cases: Sequence[Case]) -> list[int]:
    return [function.run(dict(zip(names, case, strict=True))) for case in cases]


def _distinct(
    dice: random.Random, kind: Family, parameters: int, count: int, others: Sequence[Case] = ()
) -> list[Case]:
    """So many cases' arguments, none twice, and none of the others."""
    found: list[Case] = []
    least, arguments = kind.least, kind.arguments
    while len(found) < count:
        case = tuple([least + int(dice.random() * arguments) for _ in range(parameters)])
        if case not in found and case not in others:
            found.append(case)
    return found


def _given(results: Sequence[int], cases: Sequence[Case]) -> int:
    """In how many cases one result, or a parameter as it is, is right at best."""
    by_result = [results.count(result) for result in {*results}]
    by_place: list[int] = [sum(map(operator.eq, column, results)) for column in zip(*cases, strict=True)]
    return max(by_result + by_place)


def _behaviour(function: Function, names: str) -> str:
    """By positive arguments, for which every family's functions are defined."""
    dice = random.Random(0)
    probes = [{name: 1 + int(dice.random() * 40) for name in names} for _ in range(_PROBES)]
    results = [function.run(probe) for probe in probes]
    return hashlib.blake2b(repr((names, results)).encode(), digest_size=8).hexdigest()
