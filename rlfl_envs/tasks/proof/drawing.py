"""How problems are drawn: a goal is traced back to premises, some more are added, and the whole is proved again."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rlfl_envs.dice import Choices
from rlfl_envs.tasks.proof.formulas import LETTERS, sides
from rlfl_envs.tasks.proof.prover import Step, find_proof

__all__ = ["draw_problem"]

_LONGEST = 11  # characters of a formula that is drawn
_ROOM = 3  # of these, for what an implication to it begins with
_MOST_MORE = 4  # premises that no step needs
_NEGATED = 5  # one variable of so many
_RANDOM = 128  # numbers drawn at a time


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
        goal = draft.implication() if axioms and choices.below(3) else draft.literal()
        if not draft.trace(_Due(goal, steps, is_part=True)):
            continue
        premises = draft.with_more(goal)
        if goal in premises or sum(map(len, premises)) + len(premises) + len(goal) + 2 > longest_prompt:
            continue
        proof = find_proof(premises, goal, axioms)
        if proof and len(proof) == steps and sum([len(step.formula) + 1 for step in proof]) - 1 <= longest_proof:
            return premises, goal, proof


class _Due(NamedTuple):
    """What is to be proved.

    Attributes:
        formula: What it says.
        steps: In how many steps; 0 for a premise.
        is_part: Whether it is a part of the goal or of a premise; then it may be proved through an axiom.
    """

    formula: str
    steps: int
    is_part: bool


class _Draft:
    """A proof that is drawn from its goal backwards.

    Which of the variables are true is drawn first, and whatever is given or proved is true then. So premises can all be
    true at once, and no draft is lost because they cannot.
    """

    def __init__(self, choices: Choices, axioms: str) -> None:
        self._choices = choices
        self._axioms = axioms
        self._true = [letter if choices.below(_NEGATED) else f"N{letter}" for letter in LETTERS]
        self._premises: list[str] = []
        self._proved: list[str] = []
        self._unwanted: list[str] = []  # ends of implications that would be proved by K too soon

    def literal(self) -> str:
        """A variable that is true, or the negation of one that is not."""
        return self._choices.of(self._true)

    def implication(self) -> str:
        """From a variable or a negation to another that is true."""
        last = self.literal()
        while True:
            letter = self._choices.of(LETTERS)
            first = letter if self._choices.below(_NEGATED) else f"N{letter}"
            if first != last:
                return f"C{first}{last}"

    def trace(self, *due: _Due) -> bool:
        """Traces formulas back to premises, if it can be done."""
        # All are filed before the first is traced, so that it does not lead through the others.
        return all(map(self._file, due)) and all(map(self._trace, due))

    def _file(self, due: _Due) -> bool:
        """Files a formula with the premises or with what is proved; whether nothing stands against it."""
        formula = due.formula
        if len(formula) > _LONGEST or formula in self._proved or (due.steps and formula in self._premises):
            return False
        if due.steps or formula not in self._premises:
            (self._proved if due.steps else self._premises).append(formula)
        return True

    def _trace(self, due: _Due) -> bool:
        formula, steps, is_part = due
        if steps == 0:
            return True
        kind = ""
        if is_part and formula[0] == "C":
            axioms = [each for each in self._axioms if steps >= 2 + (each == "S")]
            kind = self._choices.of([*axioms, "", "", ""])
            if kind != "K":
                self._unwanted.append((sides(formula) or ("", ""))[1])
        if not kind:
            return self.trace(*self._by_modus_ponens(formula, steps - 1))
        first, second = sides(formula) or ("", "")
        if kind == "K":
            return self.trace(_Due(second, steps - 2, is_part=True))
        if kind == "N":
            return self.trace(_Due(f"CN{second}N{first}", steps - 2, is_part=False))
        middle, before = self.literal(), self._choices.below(steps - 2)
        return self.trace(
            _Due(f"C{first}C{middle}{second}", before, is_part=False),
            _Due(f"C{first}{middle}", steps - 3 - before, is_part=False),
        )

    def _by_modus_ponens(self, formula: str, steps: int) -> tuple[_Due, _Due]:
        """An implication to the formula and what it begins with, to be proved in so many steps together."""
        before = self._choices.below(steps + 1)
        minor = self._minor(steps - before)
        if before and len(minor) + len(formula) >= _LONGEST - _ROOM:  # then the implication has to be a premise
            before, minor = 0, self._minor(steps)
        return _Due(f"C{minor}{formula}", before, is_part=False), _Due(minor, steps - before, is_part=True)

    def _minor(self, steps: int) -> str:
        """What a step follows from beside an implication, in so many steps itself: something new, if it can be."""
        taken = [*self._unwanted, *self._proved, *(self._premises if steps else ())]
        free = [literal for literal in self._true if literal not in taken]
        is_literal = free and not (steps > 1 and self._choices.below(2))
        return self._choices.of(free) if is_literal else self.implication()

    def with_more(self, goal: str) -> list[str]:
        """The premises, and one to four more that look as if they were of use, in random order."""
        premises, choices = [*self._premises], self._choices
        for _ in range(1 + choices.below(_MOST_MORE)):
            known, kind = [*premises, *self._proved], choices.below(3)
            more = self.implication()
            if kind:
                first, last = sides(more) or ("", "")
                more = f"C{choices.of(known)}{last}" if kind == 1 else f"C{first}{choices.of(known)}"
            if more not in premises and len(more) <= _LONGEST:
                premises.append(more)
        for place in range(len(premises) - 1, 0, -1):
            other = choices.below(place + 1)
            premises[place], premises[other] = premises[other], premises[place]
        return premises
