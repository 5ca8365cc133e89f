"""The syntax of proofs, and where modus ponens is the only rule, their successes."""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import Any, NamedTuple

from rlfl_envs.episode import Prompt
from rlfl_envs.tasks.proof.formulas import LETTERS, missing_after, sides

__all__ = ["ModusPonensAutomaton", "ProofAutomaton"]


class ProofAutomaton:
    """The prefixes of formulas with commas between them. A state is how many formulas are missing in this step."""

    alphabet = f"CN{LETTERS},"

    def start(self, prompt: Prompt) -> Hashable:
        """The first step is missing."""
        return 1

    def advance(self, state: Any, character: str) -> int | None:
        """Reads one character; None where nothing well-formed starts like this."""
        if character == ",":
            return None if state else 1
        return missing_after(state, character)

    def is_final(self, state: Any) -> bool:
        """Whether a step is complete."""
        return bool(state == 0)

    def characters_left(self, state: Any) -> int:
        """A variable for each missing formula."""
        return int(state)


class State(NamedTuple):
    """Where in a proof by modus ponens.

    Attributes:
        problem: What is to be proved.
        derived: The steps before this one.
        begun: What is written of this one.
    """

    problem: _Problem
    derived: frozenset[str] = frozenset()
    begun: str = ""


class ModusPonensAutomaton:
    """The prefixes of all proofs in which each step is new and follows by modus ponens, up to the goal."""

    alphabet = ProofAutomaton.alphabet

    def start(self, prompt: Prompt) -> Hashable:
        """Nothing is written."""
        return State(_problem(frozenset(prompt.data.premises), prompt.data.goal))

    def advance(self, state: Any, character: str) -> State | None:
        """Reads one character; None where no proof goes on so."""
        problem, derived, begun = state
        following = problem.following(derived)
        if character == "," and begun in following:
            return None if begun == problem.goal else State(problem, derived | {begun})
        begun += character
        return State(problem, derived, begun) if any(step.startswith(begun) for step in following) else None

    def is_final(self, state: Any) -> bool:
        """Whether the goal has been reached."""
        return bool(state.begun == state.problem.goal and state.begun in state.problem.following(state.derived))

    def characters_left(self, state: Any) -> int:
        """The least number of characters to the end of a proof."""
        problem: _Problem = state.problem
        derived, begun = state.derived, state.begun
        following = [step for step in problem.following(derived) if step.startswith(begun)]
        return min(len(step) - len(begun) + problem.left_after(derived, step) for step in following)


class _Problem:
    """What modus ponens makes of some premises.

    Attributes:
        goal: What is to be proved.
    """

    def __init__(self, premises: frozenset[str], goal: str) -> None:
        self.goal = goal
        self._premises = premises
        self._proofs = _least_proofs(premises).get(goal, set())
        self._following: dict[frozenset[str], frozenset[str]] = {}

    def following(self, derived: frozenset[str]) -> frozenset[str]:
        """What may be the next step: it is new, and the goal can still be reached."""
        found = self._following.get(derived)
        if found is None:
            known = self._premises | derived
            ends = {second for first, second in filter(None, map(sides, known)) if first in known}
            found = self._following[derived] = frozenset(ends - known) if self._proofs else frozenset()
        return found

    def left_after(self, derived: frozenset[str], step: str) -> int:
        """The least number of characters after this step, commas included."""
        known = derived | {step}
        return min(sum([1 + len(each) for each in proof - known]) for proof in self._proofs)


@lru_cache(maxsize=4096)
def _problem(premises: frozenset[str], goal: str) -> _Problem:
    return _Problem(premises, goal)


def _least_proofs(premises: frozenset[str]) -> dict[str, set[frozenset[str]]]:
    """Of each formula that modus ponens derives: the sets of steps that prove it and of which none can be left out."""
    proofs = {premise: {frozenset[str]()} for premise in premises}
    has_changed = True
    while has_changed:
        has_changed = False
        for rule in [*proofs]:
            first, second = sides(rule) or ("", "")
            if second and first in proofs and second not in premises:
                known = proofs.get(second, set())
                found = _least(known | {a | b | {second} for a in proofs[rule] for b in proofs[first]})
                has_changed |= found != known
                proofs[second] = found
    return proofs


def _least(sets: set[frozenset[str]]) -> set[frozenset[str]]:
    return {each for each in sets if not any(other < each for other in sets)}
