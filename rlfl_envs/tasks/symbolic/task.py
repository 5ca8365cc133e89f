"""Symbolic: from an expression to its derivative, integral, solutions or short form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from rlfl_envs.answers import AnswerTask
from rlfl_envs.episode import Outcome, Prompt
from rlfl_envs.errors import PromptError
from rlfl_envs.protocols import Accepted
from rlfl_envs.tasks.symbolic.algebra import sum_of, text_of
from rlfl_envs.tasks.symbolic.automaton import AnswerAutomaton
from rlfl_envs.tasks.symbolic.config import KINDS, SymbolicConfig
from rlfl_envs.tasks.symbolic.drawing import draw_text
from rlfl_envs.tasks.symbolic.expressions import Program, agree, evaluate, read
from rlfl_envs.tasks.symbolic.problems import (
    Problem,
    due_of,
    is_work,
    length_of,
    read_problem,
    share_of_terms,
    solutions_of,
)

__all__ = ["Symbolic"]

_PART_SHARE = 0.5  # of the reward, for all terms but the whole
_MOST_SOLUTIONS = 8

_FORM = "Use digits, x, +, -, *, /, ^, brackets, sin, cos, exp and log, no spaces. Write nothing else."
_INSTRUCTIONS = {
    "diff": f"Write the derivative of the expression by x. {_FORM}",
    "int": f"Write an integral of the expression by x, without a constant. {_FORM}",
    "solve": "Write all x that solve the equation, with commas between them, such as: -3,1/2. Write nothing else.",
    "simp": f"Write the expression as short as it can be. {_FORM}",
}


class Symbolic(AnswerTask):
    """Differentiate, integrate, solve or simplify an expression.

    Description:
        School mathematics for language models, after Lample & Charton (2020), "Deep learning for symbolic mathematics":
        an expression is given, another is written. The values of an answer are compared with the right ones, at points
        that no prompt shows. So every form of a right answer is right; `simp` alone asks for a short one.

    Prompt:
        The kind, the expression and `:`, such as `diff x^2*sin(x):`, `int 2*x+1:`, `solve 2*x^2-8=0:` or `simp x+3*x:`.
        Each of the four is as likely; how many terms there are is uniform over `min_terms`..`max_terms`. Terms of
        `diff` and `int` have a coefficient of -9..9, not 0; equal terms are added up. A term is a power of x, a power
        of a linear sum, a function (`sin`, `cos`, `exp` or `log`), or a function times x, each as likely. `solve` is
        linear for one term, has x on both sides for two, and for more terms is quadratic with rational solutions. For
        `simp` a short sum is made longer: a term is split, multiplied and divided by powers of x, given a number that
        is taken off again, or wrapped in `log(exp())` or `exp(log())`; terms that cancel are added. No answer is a
        number but for `solve`, and none is what was given.

    Observation:
        `MultiDiscrete([V] * (P + C))` with V = 39, P = 89 and C = 80 by default.

    Action:
        `Discrete(V)`: PAD, BOS, EOS, then one token per character; with `vocabulary` a Hugging Face tokenizer's name or
        path, its tokens.

    Reward:
        An answer has integers of up to four digits, `x`, `+`, `-`, `*`, `/`, `^`, parentheses, `sin`, `cos`, `exp` and
        `log`, without spaces; for `solve`, numbers with commas between them. A success earns 1: at 12 points between
        0.4 and 2.6 the answer's values (for `int` those of its derivative) are right to seven digits. For `simp` it is
        also no longer than the known short form, in digits, x, operators and functions. For `solve` a success is all
        solutions, and nothing else. Otherwise `reward="plain"` pays half of `terms`. For `diff` and `int` this is the
        F1 of the answer's terms, of which those are right that depend on x and agree with a term of the known answer;
        for `solve` the F1 of the solutions; for `simp`, of an equal answer, how much it is shorter than the given one,
        as a share of what can be saved. `reward="strict"` pays for successes alone. What is not finite, or has a part
        that is not, agrees with nothing: neither `log(0-x)` nor `1/(1/0)`. Parts: `well_formed`, `points` (the share of
        points that agree, or of solutions found) and `terms`, each 0..1. Status: "ok", "wrong", "undefined" (`diff`,
        `int`: not finite at some point), "long" (equal, but not short), "list" (several answers where one is due; for
        `solve` an x, or more than eight numbers) or "malformed" (also any text of more than 256 characters).

    Episode end:
        EOS, or the budget of C tokens: 8 and 24 for each of `max_terms`.

    Arguments:
        `kind`, `min_terms`, `max_terms`, `reward`, and the common `split`, `vocabulary`, `mask`,
        `max_completion_tokens`, `min_completion_tokens`, `level`. Level k has `min_terms` + k terms. The split goes by
        what is given, but for the order of terms and factors; for `solve` and `simp` by the answer. With
        `mask="syntax"` only expressions, or lists of numbers, can be written.

    Example:
        >>> import rlfl_envs
        >>> task = rlfl_envs.load_task("rlfl/Symbolic-v0")
        >>> texts = ["diff x^3+2*x^2:", "int 2*x:", "simp x+3*x:", "solve x^2=4:"]
        >>> prompts = [task.parse_prompt(text) for text in texts]
        >>> for outcome in task.evaluate(prompts, ["x*(3*x+4)", "(x+9)*(x-9)", "x+3*x", "2,2"]):
        ...     print(round(outcome.reward, 3), outcome.is_success, outcome.status)
        1.0 True ok
        1.0 True ok
        0.0 False long
        0.25 False wrong

    Known exploits:
        None that pays. Tried over 10,000 prompts of the default, with the mean reward and success: what is given, whole
        or to the `=` (0, 0), its first term (0.00, 0), its second half (0, 0), `log(exp())` taken off (0.01, 0.01); the
        best constant, `0` (0.01, 0.01); random legal tokens under `mask="syntax"` (0.00, 0.00). An answer that differs
        by less than a ten-millionth, such as by `1/9999^9`, is taken for the same.

    Version history:
        v0: first version.
    """

    Config: ClassVar[type[SymbolicConfig]] = SymbolicConfig
    part_names: ClassVar[tuple[str, ...]] = ("well_formed", "points", "terms")
    accepted_findings: ClassVar[Mapping[str, Accepted]] = {
        "padding": Accepted("Brackets around the whole are allowed.", success=1.0),
    }
    max_answer_characters: ClassVar[int] = 256
    syntax = AnswerAutomaton()
    config: SymbolicConfig

    def __init__(self, **kwargs: Any) -> None:
        """Takes the fields of SymbolicConfig by name; raises ConfigError."""
        super().__init__(**kwargs)
        kinds = KINDS if self.config.kind == "all" else (self.config.kind,)
        self.instruction = "\n".join([_INSTRUCTIONS[kind] for kind in kinds])

    def instruction_for(self, prompt: Prompt) -> str:
        """That of the prompt's kind."""
        return _INSTRUCTIONS[prompt.data.kind]

    # --- vocabulary and budgets ------------------------------------------------------------------------------------

    @property
    def characters(self) -> str:
        """Those of expressions, and the other ones of prompts."""
        return "0123456789x+-*/^(),sincoeplg=: dftvm"

    def _longest(self) -> tuple[int, int]:
        """The most characters of a prompt and of a reference."""
        return 16 + 24 * self.config.max_terms, 8 + 24 * self.config.max_terms

    def budgets(self) -> tuple[int, int]:
        """Those, in tokens."""
        prompt, answer = self._longest()
        return self.most_tokens(prompt, self.characters), self.most_tokens(answer, self.characters)

    # --- prompts ---------------------------------------------------------------------------------------------------

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws a kind, how many terms, and an expression, until the answer is one that has to be worked out."""
        config = self.config
        kind = KINDS[rng.integers(len(KINDS))] if config.kind == "all" else config.kind
        terms = int(rng.integers(config.min_terms, config.max_terms + 1))
        longest, longest_answer = self._longest()
        while True:
            text = draw_text(rng, kind, terms)
            problem = read_problem(text) if len(text) <= longest else None
            if problem and problem.reference and len(problem.reference) <= longest_answer and is_work(problem):
                return Prompt(text, problem)

    def parse_prompt(self, text: str) -> Prompt:
        """Accepts any expression that is defined at the points, and any linear or quadratic equation with solutions."""
        longest = self._longest()[0]
        problem = read_problem(text) if len(text) <= longest else None
        if problem is None or self.config.kind not in ("all", problem.kind):
            raise PromptError(
                f"prompt={text!r} is not allowed; allowed: at most {longest} characters, such as 'diff x^2:', "
                "'int sin(2*x):', 'solve x^2-4=0:' or 'simp x+x:', what is defined for x of 0.4 to 2.6, and linear or "
                "quadratic equations with one or two solutions"
                + ("." if self.config.kind == "all" else f"; here of kind {self.config.kind!r}.")
            )
        return Prompt(text, problem)

    def problem_key(self, prompt: Prompt) -> str:
        """The kind, with what is given but for the order of terms and factors, or else with the answer."""
        kind, given, reference = prompt.data
        if kind in ("solve", "simp"):
            return f"{kind} {reference or given}"
        total = sum_of(read(given) or (), expand=False)
        return f"{kind} {given if total is None else text_of(total)}"

    # --- rewards ---------------------------------------------------------------------------------------------------

    def read_answer(self, completion: str) -> list[Program] | None:
        """The programs of expressions with commas between them."""
        programs = [read(part) for part in completion.split(",")]
        return None if None in programs else [each for each in programs if each is not None]

    def grade(self, prompt: Prompt, answer: list[Program]) -> Outcome:
        """Compares values."""
        problem: Problem = prompt.data
        if problem.kind == "solve":
            return self._grade_solutions(problem, answer)
        if len(answer) != 1:
            return self._outcome(0, 0, status="list")
        return self._grade_expression(problem, answer[0])

    def _outcome(self, points: float, terms: float, *, is_success: bool = False, status: str = "wrong") -> Outcome:
        part = _PART_SHARE * terms if self.config.reward == "plain" else 0.0
        parts = {"well_formed": 1.0, "points": points, "terms": terms}
        return Outcome(1.0 if is_success else part, is_success, parts, "ok" if is_success else status)

    def _grade_solutions(self, problem: Problem, answer: list[Program]) -> Outcome:
        due = solutions_of(problem.given)
        assert due
        if len(answer) > _MOST_SOLUTIONS or any("x" in program for program in answer):
            return self._outcome(0, 0, status="list")
        values = [evaluate(program)[0][:1] for program in answer]
        found = [next((i for i, each in enumerate(due) if agree(value, np.array([each]))[0]), None) for value in values]
        right = len({*found} - {None})
        terms = 2 * right / (len(due) + len(answer))
        return self._outcome(right / len(due), terms, is_success=terms == 1)

    def _grade_expression(self, problem: Problem, answer: Program) -> Outcome:
        due, place = due_of(problem.kind, problem.given)
        found = evaluate(answer)[place]
        points = float(agree(found, due).mean())
        if problem.kind == "simp":
            length = length_of(answer)
            longest, shortest = length_of(read(problem.given) or ()), length_of(read(problem.reference or "") or ())
            if points < 1:
                return self._outcome(points, 0)
            saved = min(1.0, max(0.0, (longest - length) / max(1, longest - shortest)))
            return self._outcome(points, saved, is_success=length <= shortest, status="long")
        if points == 1:
            return self._outcome(1, 1, is_success=True)
        status = "wrong" if np.isfinite(found).all() else "undefined"
        return self._outcome(points, share_of_terms(answer, problem.reference, place), status=status)

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str | None:
        """A right answer; None where a prompt that was not drawn has none that is known."""
        reference: str | None = prompt.data.reference
        return reference

    def constant_completions(self) -> list[str]:
        """Small numbers and the commonest expressions."""
        numbers = [str(number) for number in range(-9, 10)]
        return [*numbers, "0,1", "-1,1", "x", "2*x", "x^2", "x^2/2", "sin(x)", "cos(x)", "exp(x)", "log(x)", "1/x"]
