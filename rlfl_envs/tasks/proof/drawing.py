"""How problems are drawn: a goal is traced back to premises, some more are added, and the whole is proved again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlfl_envs.dice import Choices
from rlfl_envs.tasks.proof.formulas import ALL_TRUE, LETTERS, sides, truth
from rlfl_envs.tasks.proof.prover import Step, find_proof

__all__ = ["draw_problem"]

_LONGEST = 11  # characters of a formula that is drawn
_MOST_MORE = 4  # premises that no step needs
_TRIES = 4
_RANDOM = 512  # numbers drawn at a time


def draw_problem(
    rng: np.random.Generator, steps: int, axioms: str, longest_prompt: int, longest_proof: int
) -> tuple[list[str], str, tuple[Step, ...]]:
    """Draws premises and a goal whose known proof has so many steps.

    The premises can all be true, the goal is not always true, and prompt and proof are no longer than they may be, in
    characters.

    Returns:
        The premises, the goal and the known proof.
    """
    choices = Choices(rng, _RANDOM)
    while True:
        draft = _Draft(choices, axioms)
        goal = draft.formula(choices.below(3) if axioms else 0)
        if not draft.trace(goal, steps, is_part=True):
            continue
        premises = draft.with_more(goal)
        if goal in premises or sum(map(len, premises)) + len(premises) + len(goal) + 2 > longest_prompt:
            continue
        if truth(goal) == ALL_TRUE or not _can_all_be_true(premises):  # most drafts, and quickly seen
            continue
        proof = find_proof(premises, goal, axioms)
        if proof and len(proof) == steps and sum([len(step.formula) + 1 for step in proof]) - 1 <= longest_proof:
            return premises, goal, proof


def _can_all_be_true(formulas: Sequence[str]) -> bool:
    together = ALL_TRUE
    for formula in formulas:
        together &= truth(formula)
    return bool(together)


class _Draft:
    """A proof that is drawn from its goal backwards."""

    def __init__(self, choices: Choices, axioms: str) -> None:
        self._choices = choices
        self._axioms = axioms
        names = [*LETTERS]
        for place in range(len(names) - 1, 0, -1):
            other = choices.below(place + 1)
            names[place], names[other] = names[other], names[place]
        self._letters = "".join(names)
        self._premises: list[str] = []
        self._proved: list[str] = []

    def formula(self, kind: int) -> str:
        """A variable, now and then negated; or for a kind of 1 or more an implication of two such."""
        if kind:
            return f"C{self.formula(0)}{self.formula(0)}"
        letter = self._choices.of(self._letters)
        return letter if self._choices.below(5) else f"N{letter}"

    def trace(self, formula: str, steps: int, is_part: bool) -> bool:
        """Traces a formula back to premises in so many steps, if it can be done.

        Args:
            formula: What is to be proved.
            steps: In how many steps.
            is_part: Whether it is a part of the goal or of a premise; then it may be proved through an axiom.
        """
        if len(formula) > _LONGEST:
            return False
        if steps == 0:
            if formula in self._proved:
                return False
            if formula not in self._premises:
                self._premises.append(formula)
            return True
        if formula in self._proved or formula in self._premises:
            return False
        self._proved.append(formula)
        kind = ""
        if is_part and formula[0] == "C":
            axioms = [each for each in self._axioms if steps >= 2 + (each == "S")]
            kind = self._choices.of([*axioms, "", "", ""])
        if not kind:
            before = self._choices.below(steps)
            minor = self._minor(steps - 1 - before)
            return self.trace(f"C{minor}{formula}", before, is_part=False) and self.trace(
                minor, steps - 1 - before, is_part=True
            )
        first, second = sides(formula) or ("", "")
        if kind == "K":
            return self.trace(second, steps - 2, is_part=True)
        if kind == "N":
            return self.trace(f"CN{second}N{first}", steps - 2, is_part=False)
        middle, before = self.formula(0), self._choices.below(steps - 2)
        return self.trace(f"C{first}C{middle}{second}", before, is_part=False) and self.trace(
            f"C{first}{middle}", steps - 3 - before, is_part=False
        )

    def _minor(self, steps: int) -> str:
        """What a step follows from beside an implication, to be proved in so many steps: rather something new."""
        kind = int(steps > 1 and self._choices.below(2))
        formula = self.formula(kind)
        for _ in range(_TRIES):
            if formula not in self._proved and not (steps and formula in self._premises):
                break
            formula = self.formula(kind)
        return formula

    def with_more(self, goal: str) -> list[str]:
        """The premises, and one to four more that look as if they were of use, in random order."""
        premises, choices = [*self._premises], self._choices
        for _ in range(1 + choices.below(_MOST_MORE)):
            known, kind = [*premises, *self._proved], choices.below(3)
            first = choices.of(known) if kind == 1 else self.formula(0)
            more = f"C{first}{choices.of(known) if kind == 2 else self.formula(0)}"
            if more not in premises and len(more) <= _LONGEST:
                premises.append(more)
        for place in range(len(premises) - 1, 0, -1):
            other = choices.below(place + 1)
            premises[place], premises[other] = premises[other], premises[place]
        return premises
