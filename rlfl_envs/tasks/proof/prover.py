"""The known proof: what a search finds among the formulas that the premises and the goal consist of."""

from __future__ import annotations

import heapq
from collections.abc import Container, Iterator, Sequence
from typing import NamedTuple

from rlfl_envs.tasks.proof.formulas import is_axiom, sides

__all__ = ["Step", "distance", "find_proof"]

_STEP = 1 << 16  # what a step costs beside its length: fewer steps come first, then shorter ones


class Step(NamedTuple):
    """A step of a proof.

    Attributes:
        formula: What it says.
        reasons: The two formulas that it follows from by modus ponens; none for an axiom.
    """

    formula: str
    reasons: tuple[str, ...] = ()


def find_proof(premises: Sequence[str], goal: str, axioms: str) -> tuple[Step, ...] | None:
    """A proof of the goal, the same for premises in any order; None where none is found.

    Formulas are proved in order of what their proofs cost (Knuth 1977, "A generalization of Dijkstra's algorithm"),
    each by modus ponens, as an axiom, or through an axiom from others: `Cba` from a by K, `Cba` from `CNaNb` by N,
    `Cac` from `CaCbc` and `Cab` by S. Only parts of the premises and of the goal are proved so, which keeps the search
    small, and leaves some goals unproved. All that modus ponens alone proves is found.
    """
    return _Search(premises, goal, axioms).proof()


class _Search:
    """One search."""

    def __init__(self, premises: Sequence[str], goal: str, axioms: str) -> None:
        self._premises, self._goal, self._axioms = premises, goal, axioms
        self._parts = _parts([*premises, goal])
        self._best: dict[str, int] = {}  # the cost of the cheapest proof of each formula so far
        self._steps: dict[str, tuple[Step, ...]] = {}  # its last steps
        self._done: set[str] = set()
        self._waiting: list[tuple[int, str]] = []
        self._after: dict[str, list[str]] = {}  # of each formula, the proved implications that begin with it
        self._to: dict[str, list[str]] = {}  # of each formula, the implications among the parts that end with it
        for part in self._parts if axioms else ():
            split = sides(part)
            if split:
                self._to.setdefault(split[1], []).append(part)

    def proof(self) -> tuple[Step, ...] | None:
        """Proves formula after formula, until the goal is one of them."""
        for premise in self._premises:
            self._offer(premise, 0)
        if self._axioms:
            for part in self._parts:
                if is_axiom(part, self._axioms):
                    self._offer(part, 0, Step(part))
        while self._waiting:
            cost, formula = heapq.heappop(self._waiting)
            if formula == self._goal:
                return tuple(self._written())
            if formula not in self._done:
                self._done.add(formula)
                self._follow(formula, cost)
        return None

    def _offer(self, formula: str, cost: int, *steps: Step) -> None:
        cost += sum([_STEP + len(step.formula) for step in steps])
        known = self._best.get(formula)
        if known is None or cost < known:
            self._best[formula], self._steps[formula] = cost, steps
            heapq.heappush(self._waiting, (cost, formula))

    def _follow(self, formula: str, cost: int) -> None:
        """Offers what follows from a formula that is proved, and from those proved before."""
        best, done = self._best, self._done
        split = sides(formula)
        if split:
            first, second = split
            self._after.setdefault(first, []).append(formula)
            if first in done:
                self._offer(second, cost + best[first], Step(second, (formula, first)))
        for rule in self._after.get(formula, ()):
            conclusion = rule[1 + len(formula) :]
            self._offer(conclusion, cost + best[rule], Step(conclusion, (rule, formula)))
        if "K" in self._axioms:
            for longer in self._to.get(formula, ()):
                axiom = f"C{formula}{longer}"
                self._offer(longer, cost, Step(axiom), Step(longer, (axiom, formula)))
        if split and "N" in self._axioms and split[0][0] == split[1][0] == "N":
            self._by_axiom(f"C{split[1][1:]}{split[0][1:]}", cost, formula)
        if split and "S" in self._axioms:
            for rule in self._after[split[0]]:
                self._distribute(rule, formula)
                self._distribute(formula, rule)

    def _by_axiom(self, conclusion: str, cost: int, formula: str) -> None:
        if conclusion in self._parts:
            axiom = f"C{formula}{conclusion}"
            self._offer(conclusion, cost, Step(axiom), Step(conclusion, (axiom, formula)))

    def _distribute(self, rule: str, minor: str) -> None:
        """By S from `CaCbc` and `Cab`, if these are such."""
        (a, inner), (_, b) = sides(rule) or ("", ""), sides(minor) or ("", "")
        parts = sides(inner)
        conclusion = f"C{a}{parts[1]}" if parts and parts[0] == b else ""
        if conclusion in self._parts:
            second = f"C{minor}{conclusion}"
            axiom = f"C{rule}{second}"
            steps = Step(axiom), Step(second, (axiom, rule)), Step(conclusion, (second, minor))
            self._offer(conclusion, self._best[rule] + self._best[minor], *steps)

    def _written(self) -> Iterator[Step]:
        """The steps in order, reasons first, none twice."""
        written: set[str] = set()
        waiting = [self._goal]
        while waiting:
            formula = waiting[-1]
            steps = self._steps[formula]
            own = {step.formula for step in steps}
            open_reasons = [each for step in steps for each in step.reasons if each not in written and each not in own]
            if steps and open_reasons and formula not in written:
                waiting += open_reasons
                continue
            waiting.pop()
            for step in steps:
                if step.formula not in written:
                    written.add(step.formula)
                    yield step
            written.add(formula)


def _parts(formulas: Sequence[str]) -> set[str]:
    """The formulas and all that they consist of."""
    found: set[str] = set()
    waiting = [*formulas]
    while waiting:
        formula = waiting.pop()
        if formula not in found:
            found.add(formula)
            waiting += sides(formula) or ([formula[1:]] if formula[0] == "N" else [])
    return found


def distance(proof: Sequence[Step], derived: Container[str]) -> int:
    """How many steps of a proof are missing where these formulas are derived, premises among them."""
    steps = {step.formula: step for step in proof}
    waiting, missing = [proof[-1].formula], set()
    while waiting:
        formula = waiting.pop()
        if formula not in derived and formula not in missing:
            missing.add(formula)
            waiting += steps[formula].reasons
    return len(missing)
