"""Worlds: all states of a problem's objects, numbered, and what each action makes of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.tasks.planning.pddl import OBJECT, Action, Atom, Domain, Literal, PDDLError, Problem

__all__ = ["TooLargeError", "World"]

MOST_ACTIONS, MOST_CELLS = 2000, 500_000
MOST_CHOICES = 100_000  # of objects for some of an action's variables
FAR = 2**15 - 1  # steps to where no plan leads


class TooLargeError(PDDLError):
    """A problem has more actions or states than are counted here."""


class _Ground(NamedTuple):
    """An action with objects for its variables; facts are bits."""

    text: str
    needs: int
    forbids: int
    adds: int
    deletes: int


class World:
    """The states that can be reached from a problem's first.

    Attributes:
        objects: With their types, the domain's constants left out.
        fixed: Facts that no action changes.
        facts: Those that change; fact i is bit i of a state.
        texts: What each action is called, such as "(stack a b)".
        states: Of each state its bits; the first is the problem's.
        after: int32 [states, actions], the state that an action leads to, -1 where it cannot be done.
    """

    def __init__(self, domain: Domain, problem: Problem) -> None:
        """Finds them all.

        Raises:
            PDDLError: The problem is not of the domain; `TooLargeError` where it is too large.
        """
        if problem.domain != domain.name:
            raise PDDLError(f"the problem is of the domain {problem.domain!r}, not of {domain.name!r}.")
        for name, kind in problem.objects.items():
            if kind not in domain.types and kind not in {OBJECT, *domain.types.values()}:
                raise PDDLError(f"the object {name!r} has the type {kind!r}, which the domain has not.")
        self.objects = problem.objects
        changing = {atom[0] for action in domain.actions for _, atom in action.makes}
        self.fixed = frozenset(atom for atom in problem.init if atom[0] not in changing)
        self._bits: dict[Atom, int] = {}
        first = self.bits(atom for atom in problem.init if atom[0] in changing)
        everything = {**domain.constants, **problem.objects}
        grounded = [g for action in domain.actions for g in self._ground(domain, action, everything, changing)]
        self.states, rows = _explore(first, grounded)
        after = np.array(rows, dtype=np.int32).reshape(len(self.states), len(grounded))
        useful = np.flatnonzero((after >= 0).any(axis=0))
        self.after: NDArray[np.int32] = after[:, useful]
        self.texts = [grounded[action].text for action in useful.tolist()]
        self.facts = [*self._bits]
        self.number = {state: number for number, state in enumerate(self.states)}
        self.action = {text: number for number, text in enumerate(self.texts)}
        degree = int((self.after >= 0).sum(axis=1).max(initial=0))
        self._following = -np.sort(-self.after, axis=1)[:, :degree]  # all that follow each state, then -1
        self.distances = lru_cache(maxsize=4096)(self._distances)

    def bits(self, atoms: Iterable[Atom]) -> int:
        """A set of facts as bits; those that were not met before get new ones."""
        total = 0
        for atom in atoms:
            total |= 1 << self._bits.setdefault(atom, len(self._bits))
        return total

    def atoms(self, state: int) -> list[Atom]:
        """The facts that change and hold in a state, given by its bits."""
        return [atom for atom, bit in self._bits.items() if state >> bit & 1]

    def has(self, problem: Problem) -> bool:
        """Whether a problem has the same objects and fixed facts, and starts in one of the states."""
        if dict(problem.objects) != dict(self.objects) or not self.fixed <= {*problem.init}:
            return False
        return {*problem.init} <= self.fixed | {*self.facts} and self.state(problem.init) in self.number

    def state(self, atoms: Iterable[Atom]) -> int:
        """The facts of a state that change, as bits."""
        return self.bits(atom for atom in atoms if atom not in self.fixed)

    def _ground(self, domain: Domain, action: Action, objects: Mapping[str, str], changing: set[str]) -> list[_Ground]:
        found = []
        for named in self._choices(domain, action, objects, changing):
            needs, makes = (_named(literals, named) for literals in (action.needs, action.makes))
            made, unmade = ({atom for is_true, atom in makes if is_true is wanted} for wanted in (True, False))
            found.append(
                _Ground(
                    f"({' '.join((action.name, *named.values()))})",
                    self.bits(atom for is_true, atom in needs if is_true and atom[0] in changing),
                    self.bits(atom for is_true, atom in needs if not is_true and atom[0] in changing),
                    self.bits(sorted(made)),
                    self.bits(sorted(unmade - made)),
                )
            )
        return found

    def _choices(
        self, domain: Domain, action: Action, objects: Mapping[str, str], changing: set[str]
    ) -> list[dict[str, str]]:
        """The objects that an action's variables may stand for, by what it needs of facts that never change.

        A variable is added at a time, so that what is impossible already is not gone through.
        """
        fixed = [literal for literal in action.needs if literal[1][0] not in changing]
        found: list[dict[str, str]] = [{}]
        for place, (variable, wanted) in enumerate(action.parameters):
            open_ones = {other for other, _ in action.parameters[place + 1 :]}
            known = [literal for literal in fixed if variable in literal[1] and open_ones.isdisjoint(literal[1])]
            names = [name for name, kind in objects.items() if domain.is_a(kind, wanted)]
            most = MOST_CHOICES if open_ones else MOST_ACTIONS
            begun, found = found, []
            for named in ({**before, variable: name} for before in begun for name in names):
                if all(map(self._holds, _named(known, named))):
                    found.append(named)
                if len(found) > most:
                    raise TooLargeError(f"the action {action.name!r} has more than {most} choices of objects.")
        is_possible = all(self._holds(literal) for literal in fixed if not any(w.startswith("?") for w in literal[1]))
        return found if is_possible else []

    def _holds(self, literal: Literal) -> bool:
        """Whether a literal on a fact that no action changes is true."""
        is_true, atom = literal
        holds = atom[1] == atom[2] if atom[0] == "=" and len(atom) == 3 else atom in self.fixed
        return holds is is_true

    def goal(self, literals: Sequence[Literal]) -> tuple[int, int]:
        """A goal as the facts that must hold and those that must not; what never changes is left out where it is so.

        Raises:
            PDDLError: A fact is unknown, or is never as the goal asks.
        """
        masks = [0, 0]
        for is_true, atom in literals:
            if atom in self._bits:
                masks[not is_true] |= 1 << self._bits[atom]
            elif not self._holds((is_true, atom)):
                raise PDDLError(f"the goal asks for {atom}, which never is so.")
        return masks[0], masks[1]

    def _distances(self, wanted: int, unwanted: int) -> NDArray[np.int16]:
        """The least number of actions from each state to a goal, FAR where no plan leads there."""
        reached = [state & wanted == wanted and not state & unwanted for state in self.states]
        distances = np.where(reached, 0, FAR).astype(np.int16)
        while True:
            padded = np.append(distances, FAR)  # -1 is the last
            closer = np.minimum(padded[self._following].min(axis=1, initial=FAR), FAR - 1) + 1
            closer = np.minimum(distances, closer.astype(np.int16))
            if (closer == distances).all():
                return distances
            distances = closer


def _named(literals: Sequence[Literal], named: Mapping[str, str]) -> list[Literal]:
    return [(is_true, (atom[0], *[named.get(word, word) for word in atom[1:]])) for is_true, atom in literals]


def _explore(first: int, actions: Sequence[_Ground]) -> tuple[list[int], list[list[int]]]:
    """All states that follow, breadth first, and where each action leads from each."""
    states, number, rows = [first], {first: 0}, []
    for state in states:  # grows
        row = []
        for action in actions:
            if state & action.needs != action.needs or state & action.forbids:
                row.append(-1)
                continue
            after = state & ~action.deletes | action.adds
            if after not in number:
                number[after] = len(states)
                states.append(after)
            row.append(number[after])
        rows.append(row)
        if len(states) * len(actions) > MOST_CELLS:
            raise TooLargeError(f"the problem has more than {len(states)} states.")
    return states, rows
