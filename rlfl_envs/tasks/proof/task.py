"""Proof: write the steps from premises to a goal."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import numpy as np

from rlfl_envs.episode import Outcome, Prompt
from rlfl_envs.errors import PromptError
from rlfl_envs.protocols import Accepted
from rlfl_envs.task import Task
from rlfl_envs.tasks.proof.automaton import ModusPonensAutomaton, ProofAutomaton
from rlfl_envs.tasks.proof.config import ProofConfig
from rlfl_envs.tasks.proof.drawing import draw_problem
from rlfl_envs.tasks.proof.formulas import LETTERS, canonical, is_axiom, is_formula, sides
from rlfl_envs.tasks.proof.prover import Step, distance, find_proof

__all__ = ["Proof"]

MAX_TEXT = 2048  # characters; anything longer is malformed, so that judging takes bounded time
_PART_SHARE = 0.5  # of the reward, for all of a known proof but its end
_PROMPT = re.compile(rf"((?:[CN{LETTERS}]+,)*[CN{LETTERS}]+)?\|-([CN{LETTERS}]+):")
_SCHEMES = {"K": "CaCba", "S": "CCaCbcCCabCac", "N": "CCNaNbCba"}


class Problem(NamedTuple):
    """What judging a completion needs.

    Attributes:
        premises: What may be used.
        goal: What is to be proved.
        proof: The known proof; None where none was found, which happens for prompts that were not drawn.
    """

    premises: tuple[str, ...]
    goal: str
    proof: tuple[Step, ...] | None


class Proof(Task):
    """Prove a formula from others, step by step.

    Description:
        Proofs in Hilbert's style, in propositional logic. Each step is a formula that is an instance of an axiom, or
        follows from two others by modus ponens: from "if a, then b" and a follows b. Every step is checked. Whatever
        holds may be written, but few steps lead to the goal.

    Prompt:
        Premises, `|-`, the goal and `:`, such as `p,Cpq,Cqr|-r:`. Formulas are in Polish notation: `Cpq` is "if p, then
        q", `Np` is "not p", and p to u are variables. A goal is drawn and traced back to premises: by modus ponens, or
        through an axiom. Up to four more premises are added that look useful. The whole is proved again by
        a search, whose result is the known proof; it has `min_steps` to `max_steps` steps, each number equally often.
        The premises can all be true at once, and the goal is no tautology.

    Observation:
        `MultiDiscrete([V] * (P + C))` with V = 15, P = 61 and C = 72 by default.

    Action:
        `Discrete(V)`: PAD, BOS, EOS, then one token per character: `C`, `N`, the variables p to u, `,`, `|`, `-` and
        `:`; with `vocabulary` a Hugging Face tokenizer's name or path, its tokens.

    Reward:
        The completion is steps with commas between them, such as `q,r`. A step holds if it is new, that is no premise
        and no earlier step, and is an instance of an axiom or follows by modus ponens from premises and earlier steps.
        The axioms are K: `CaCba`, S: `CCaCbcCCabCac` and N: `CCNaNbCba`, where the small letters stand for any
        formulas; with modus ponens they prove every tautology (Lukasiewicz & Tarski 1930). Success, which earns 1: all
        steps hold, and the last is the goal. Otherwise `reward="plain"` pays half of `progress`. This is 1 - d / n: n
        is how many steps the known proof has, d how many of them are still missing to derive the goal. Only steps
        before the first that does not hold count. So a step that the known proof does not use earns nothing, even if it
        holds. `reward="strict"` pays for successes alone. Parts: `progress` (0..1),
        `steps` (how many hold), `well_formed` (0 or 1). Status: "ok"; "false", "repeated" or "malformed" for what is
        wrong with the first step that does not hold; "incomplete" where all hold, but the last is not the goal. A text
        of more than 2048 characters is malformed.

    Episode end:
        EOS, or the budget of C tokens: 12 for each of `max_steps`, or 6 without axioms.

    Arguments:
        `min_steps`, `max_steps`, `axioms`, `reward`, and the common `split`, `vocabulary`, `mask`,
        `max_completion_tokens`, `min_completion_tokens`, `level`. Level k has known proofs of `min_steps` + k steps.
        With `axioms=""` modus ponens is the only rule; then `rewards="tokens"` and `judge_tokens` are there, too. The
        split goes by the problem but for the names of variables and the order of premises. With `mask="syntax"` only
        formulas with commas between them can be written.

    Example:
        >>> import rlfl_envs
        >>> task = rlfl_envs.load_task("rlfl/Proof-v0")
        >>> prompt = task.parse_prompt("p,Cpq,Cqr|-Csr:")
        >>> for completion in ["q,r,CrCsr,Csr", "q,CrCsr", "CpCqp,Cqp", "r", "q,q"]:
        ...     (outcome,) = task.evaluate([prompt], [completion])
        ...     print(round(outcome.reward, 3), outcome.is_success, outcome.status)
        1.0 True ok
        0.25 False incomplete
        0.0 False incomplete
        0.0 False false
        0.125 False repeated

    Known exploits:
        None that pays much. Tried over 10,000 prompts of the default, with the mean reward and success: the goal alone
        (0, 0); the premises, the prompt's own text (0, 0); every formula that a premise ends with, the longest first,
        then the goal (0.21, 0.12; with `axioms=""` 0.40, 0.34), which are the very steps of some known proofs; an
        instance of K for the goal, then the goal (0.04, 0.03); the best constant, two variables (0.01, 0.00); random
        legal tokens under `mask="syntax"` (0.01, 0.00). Axioms that nothing needs, repeated steps and steps that go in
        circles earn nothing.

    Version history:
        v0: first version.
    """

    Config: ClassVar[type[ProofConfig]] = ProofConfig
    part_names: ClassVar[tuple[str, ...]] = ("progress", "steps", "well_formed")
    accepted_findings: ClassVar[Mapping[str, Accepted]] = {
        "two answers": Accepted("Steps that hold may stand in a proof that does not need them.", success=0.05),
    }
    config: ProofConfig
    syntax: ProofAutomaton

    def __init__(self, **kwargs: object) -> None:
        """Takes the fields of ProofConfig by name; raises ConfigError."""
        super().__init__(**kwargs)
        self.syntax = ProofAutomaton()
        self.instruction = _instruction(self.config.axioms)
        if not self.config.axioms:  # with axioms there are too many steps to try
            self.successes = ModusPonensAutomaton()

    # --- vocabulary and budgets ------------------------------------------------------------------------------------

    @property
    def characters(self) -> str:
        """Operators, variables, and what parts a prompt."""
        return f"CN{LETTERS},|-:"

    def _longest(self) -> tuple[int, int]:
        """The most characters of a prompt and of a known proof."""
        most = self.config.max_steps
        return 24 + 6 * most, (12 if self.config.axioms else 6) * most

    def budgets(self) -> tuple[int, int]:
        """Those, in tokens."""
        prompt, proof = self._longest()
        return self.most_tokens(prompt, self.characters), self.most_tokens(proof, self.characters)

    # --- prompts ---------------------------------------------------------------------------------------------------

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws how many steps, then a problem with such a proof."""
        config = self.config
        steps = int(rng.integers(config.min_steps, config.max_steps + 1))
        premises, goal, proof = draw_problem(rng, steps, config.axioms, *self._longest())
        return Prompt(f"{','.join(premises)}|-{goal}:", Problem(tuple(premises), goal, proof))

    def parse_prompt(self, text: str) -> Prompt:
        """Accepts any premises, none twice, and any goal but one of them; provable or not."""
        longest = self._longest()[0]
        match = _PROMPT.fullmatch(text) if len(text) <= longest else None
        premises, goal = ((match[1] or "").split(",") if match[1] else [], match[2]) if match else ([], "")
        is_allowed = match and all(map(is_formula, [*premises, goal])) and goal not in premises
        if not is_allowed or len(set(premises)) < len(premises):
            raise PromptError(
                f"prompt={text!r} is not allowed; allowed: at most {longest} characters, different formulas and a goal "
                "that is none of them, such as 'p,Cpq,Cqr|-r:'."
            )
        return Prompt(text, Problem(tuple(premises), goal, find_proof(premises, goal, self.config.axioms)))

    def problem_key(self, prompt: Prompt) -> str:
        """Premises and goal but for the names of variables and the order of premises."""
        return canonical(prompt.data.premises, prompt.data.goal)

    # --- rewards ---------------------------------------------------------------------------------------------------

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Checks each step, up to the first that does not hold."""
        return [self._judge(prompt.data, completion) for prompt, completion in zip(prompts, completions, strict=True)]

    def _judge(self, problem: Problem, completion: str) -> Outcome:
        steps = completion.split(",") if len(completion) <= MAX_TEXT else [""]
        checker = _Checker(problem.premises, self.config.axioms)
        held = 0
        for step in steps:
            status = checker.check(step)
            if status != "ok":
                break
            held += 1
        else:
            status = "ok" if steps[-1] == problem.goal else "incomplete"
        progress = 0.0
        if problem.proof and held:
            progress = 1 - distance(problem.proof, checker.derived) / len(problem.proof)
        is_success = status == "ok"
        reward = 1.0 if is_success else _PART_SHARE * progress if self.config.reward == "plain" else 0.0
        parts = {"progress": progress, "steps": float(held), "well_formed": float(status != "malformed")}
        return Outcome(reward, is_success, parts, status)

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str | None:
        """The known proof; None where a prompt that was not drawn has none."""
        proof: tuple[Step, ...] | None = prompt.data.proof
        return None if proof is None else ",".join([step.formula for step in proof])

    def constant_completions(self) -> list[str]:
        """Each variable, two after one another, and the least instances of the axioms."""
        pairs = [f"{first},{second}" for first in LETTERS for second in LETTERS if first != second]
        return [*LETTERS, *pairs, "CpCqp", "CpCpp", "CpCpp,CpCCppp"]


def _instruction(axioms: str) -> str:
    schemes = ", ".join([_SCHEMES[name] for name in axioms])
    rules = f"modus ponens and the axioms {schemes}" if axioms else "modus ponens"
    return (
        f"Prove the formula after |- from those before it by {rules}. Cpq means if p then q, Np means not p. Write the "
        "steps with commas between them, each a new formula, the last one the goal. Write nothing else."
    )


class _Checker:
    """Checks steps one after another.

    Attributes:
        derived: The premises, and the steps that hold.
    """

    def __init__(self, premises: Sequence[str], axioms: str) -> None:
        self.derived: set[str] = set()
        self._axioms = axioms
        self._reasons: dict[str, list[str]] = {}  # what each formula follows from, by an implication that is derived
        for premise in premises:
            self._add(premise)

    def _add(self, formula: str) -> None:
        self.derived.add(formula)
        split = sides(formula)
        if split:
            self._reasons.setdefault(split[1], []).append(split[0])

    def check(self, step: str) -> str:
        """Says what a step is, and adds it if it is "ok"."""
        if not is_formula(step):
            return "malformed"
        if step in self.derived:
            return "repeated"
        follows = not self.derived.isdisjoint(self._reasons.get(step, ()))
        if not follows and not is_axiom(step, self._axioms):
            return "false"
        self._add(step)
        return "ok"
