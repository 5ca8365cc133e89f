"""The task: prompts that show cases, programs that are run on others."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from rlfl_envs.dice import first_drawn, pick
from rlfl_envs.episode import Outcome, Prompt
from rlfl_envs.errors import PromptError
from rlfl_envs.judging.plain import same
from rlfl_envs.judging.sandbox import Limits, Run, Sandbox
from rlfl_envs.judging.sandbox import Program as Submission
from rlfl_envs.protocols import Accepted
from rlfl_envs.task import Task
from rlfl_envs.tasks.program.config import ProgramConfig
from rlfl_envs.tasks.program.problems import FORMS, MAX_LINE, MAX_SIGNATURE, Problem, draw_problem, read_problem
from rlfl_envs.tasks.program.syntax import ProgramAutomaton

__all__ = ["Program"]

_LIMITS = Limits(seconds=0.5, total_seconds=0.5, memory_mb=32, recursion=200, output=0)
_LINE_ENDS = re.compile(r"[\n\r\f\v\x1c-\x1e\x85\u2028\u2029]")
_CONSTANTS = (
    *(
        "x",
        "-x",
        "x + 1",
        "x * 2",
        "x * x",
        "abs(x)",
        "x + y",
        "max(x, y)",
        "s",
        "s[0]",
        "s[::-1]",
        "s.upper()",
        "s + t",
    ),
    *("a", "a[0]", "a[::-1]", "sorted(a)", "a + a", "len(a)", "len(s)", "sum(a)", "max(a)", "0", "1", "''", "[]"),
)

_INSTRUCTIONS = {
    "expression": "The lines show what a Python function gives in some cases. Write the expression that it returns, on "
    "one line, and nothing else.",
    "function": "The lines show what a Python function gives in some cases. Write its body, the first line without "
    "indentation and the others with four spaces or more. Write Python alone, without Markdown.",
}


class Program(Task):
    """Write the function that some examples show.

    Description:
        Programming by example: a function is drawn from a typed grammar of Python, the prompt shows its types and what
        it gives in some cases, and the completion is judged by other cases, which the prompt does not show. Programs
        are run in a sandbox, Monty, in a process of its own. What is asked goes from `x + 3` to slices, conditions,
        comprehensions, loops, recursion and functions of ten lines.

    Prompt:
        A line for each of `shown` cases, the signature, and the beginning of the body, such as

            f(3) == 6
            f(-1) == 2
            f(10) == 13
            f(0) == 3
            def f(x: int) -> int:
                return

        and a blank; with form="function" the last line has four blanks alone. A family of programs is drawn uniformly,
        then types of the family and arguments: integers from -9 to 20, texts of one to five of the letters a to e,
        lists of one to five integers from -9 to 9. The hash of types and arguments is the seed of
        the program and of the hidden cases, so the text alone defines the problem. A program is drawn again in four
        cases: it raises an error; a smaller program does the same (with a part in place of the whole or of another
        part, such as `len(s)` for `len(list(s))`, or without a statement); one constant, or a parameter as it is, is
        right in more than half of all cases, or of the hidden ones; or it does not read every parameter.

    Observation:
        `MultiDiscrete([V] * (P + C))` with V = 99, P = 275 and C = 60 by default; C = 240 with form="function".

    Action:
        `Discrete(V)`: PAD, BOS, EOS, then one token per printable character and the newline; with `vocabulary` a
        Hugging Face tokenizer's name or path, its tokens.

    Reward:
        In [0, 1]. With reward="strict" (solved - given) / (hidden - given), or 0 where that is negative. Here `solved`
        is how many of the `hidden` cases are right, and `given` how many the best constant, or a parameter returned as
        it is, gets right. With reward="success" a quarter of that without success; with reward="plain" solved / hidden.
        A case is
        right if the value is equal and of the same types throughout: `True` is not 1, `3.0` is not 3, a tuple is no
        list, NaN is equal to no integer. Success asks for all cases, the shown ones included. Parts: `parses`, `runs`
        (the share of all cases that give a value), `shown`, `hidden` (the share of each that is right), `length`
        (characters), `gap` (`shown` less `hidden`: large where cases were copied). Status: "ok" where every case gave a
        value; else "no_parse", "unsupported" (Python that Monty does not know), "too_long", or what came of the first
        case without one: "error", "timeout" (a case takes more than 0.5 s, or would begin after 0.5 s), "memory" (32
        MiB), "output" (it printed, or returned too much), "type" (the value is no plain data), "crash".

    Episode end:
        EOS, or the budget of C tokens: by default what the longest reference may take.

    Arguments:
        `form`, `family`, `reward`, `shown`, `hidden`, `workers`, and the common `split`, `vocabulary`, `mask`,
        `max_completion_tokens`, `min_completion_tokens`, `level`. Level k has the k-th family of the form alone. Any
        Python that Monty knows may be written; with form="expression" on one line, with form="function" in lines of
        which all but the first begin with a blank. With `mask="syntax"` only a part of it: the grammar of the
        references, lists, more methods, `elif`; indentation is kept, and blocks are at most three deep. Splits are by
        what programs do: two that agree in 16 fixed cases are in the same. With `shown` at 1 or 2 there are few
        prompts, so most come again. Needs the extra `programs`.

    Example:
        >>> import numpy
        >>> import rlfl_envs
        >>> task = rlfl_envs.load_task("rlfl/Program-v0", level=0)
        >>> (prompt,) = task.sample_prompts(numpy.random.default_rng(5), 1)
        >>> print(prompt.text + "6 - x")
        f(7) == -1
        f(17) == -11
        f(-3) == 9
        f(10) == -4
        def f(x: int) -> int:
            return 6 - x
        >>> [outcome.reward for outcome in task.evaluate([prompt] * 3, ["6 - x", "-1 if x == 7 else -11", "x - 6"])]
        [1.0, 0.0, 0.0]

    Known exploits:
        All tried. Cases copied from the prompt (a table of them, with the commonest result for all others) earn nothing
        but where a hidden result is the same, and the strict reward takes that away; `gap` shows it. A constant, or a
        parameter returned as it is, earns nothing strictly. What earns most by saying the same to every prompt is in
        the baselines. A program can find the arguments of the case it is called on, but no results; what it leaves in
        global variables tells nothing of cases to come. A text after the function, an object with an `__eq__` of its
        own, `True` for 1, NaN, and output all earn nothing. What is right in the hidden cases alone, by chance, can
        earn full reward; success asks for the shown ones, too.

    Version history:
        v0: first version.
    """

    Config: ClassVar[type[ProgramConfig]] = ProgramConfig
    part_names: ClassVar[tuple[str, ...]] = ("parses", "runs", "shown", "hidden", "length", "gap")
    accepted_findings: ClassVar[Mapping[str, Accepted]] = {
        "padding": Accepted("Brackets, comments and spaces change nothing.", success=1.0),
        "spaces": Accepted("Brackets, comments and spaces change nothing.", success=1.0),
        "mutation": Accepted("Spaces, and the order of a sum, change nothing.", success=0.4),
        "truncation": Accepted("An expression may begin with what changes nothing.", success=0.1),
        "two answers": Accepted("`right or wrong` is right but where the value is falsy.", 0.3, 0.8),
        "look-alikes": Accepted("Monty reads digits of other scripts, as Python does not.", success=0.2),
    }
    packages: ClassVar[tuple[str, ...]] = ("pydantic_monty", "pebble")
    config: ProgramConfig

    def __init__(self, **kwargs: Any) -> None:
        """Takes the fields of ProgramConfig by name; raises ConfigError and MissingDependencyError."""
        super().__init__(**kwargs)
        self._form = FORMS[self.config.form]
        self._families = self._form.families if self.config.family == "all" else (self.config.family,)
        self.instruction = _INSTRUCTIONS[self.config.form]
        self._sandbox = Sandbox(limits=_LIMITS, workers=self.config.workers)
        self.syntax = ProgramAutomaton(self.config.form)

    def budgets(self) -> tuple[int, int]:
        """As many tokens as characters; in a vocabulary of pieces, what prompts drawn at random take."""
        if not self.tokenizer.closed:
            return super().budgets()
        form = FORMS[self.config.form]
        return self.config.shown * (MAX_LINE + 1) + MAX_SIGNATURE + len(form.opening), form.most

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws a family, then arguments until a program of the family comes of them."""
        dice = random.Random(int(rng.integers(2**63)))
        family = pick(dice, self._families)
        problem = first_drawn(
            lambda: draw_problem(dice, self._form, family, self.config.shown, self.config.hidden),
            f"shown={self.config.shown!r} leaves no program of {family=}; allowed: another number.",
        )
        return Prompt(problem.text(self._form), problem)

    def parse_prompt(self, text: str) -> Prompt:
        """Accepts the prompts that can be drawn with these numbers of cases, of any family of the form."""
        problem = read_problem(text, self._form, self.config.shown, self.config.hidden)
        if problem is None:
            raise PromptError(
                f"prompt={text!r} is not allowed; allowed: what is drawn with form={self.config.form!r}, "
                f"shown={self.config.shown} and hidden={self.config.hidden}."
            )
        return Prompt(text, problem)

    def problem_key(self, prompt: Prompt) -> str:
        """What the program does."""
        behaviour: str = prompt.data.behaviour
        return behaviour

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Runs all programs in one batch."""
        rows = [row for row, completion in enumerate(completions) if self._may_run(completion)]
        runs = self._sandbox.run([self._submission(prompts[row].data, completions[row]) for row in rows])
        found = dict(zip(rows, runs, strict=True))
        refused = Run("no_parse", ())
        return [
            self._outcome(prompt.data, completion, found.get(row, refused))
            for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
        ]

    def _may_run(self, completion: str) -> bool:
        """Whether it goes on with the function's body: nothing after it, and something in it."""
        first, *lines = _LINE_ENDS.split(completion)
        if self.config.form == "expression":
            return not lines and first.strip() != ""
        return all(line == "" or line[0] in " \t" for line in lines)

    def _submission(self, problem: Problem, completion: str) -> Submission:
        cases = tuple(arguments for arguments, _ in (*problem.shown, *problem.hidden))
        return Submission(f"{problem.signature}{self._form.opening}{completion}", "f", cases)

    def _outcome(self, problem: Problem, completion: str, run: Run) -> Outcome:
        results = run.results
        cases = (*problem.shown, *problem.hidden)
        right = [r.kind == "value" and same(r.value, due) for r, (_, due) in zip(results, cases, strict=False)]
        count = len(problem.shown)
        shown, hidden = sum(right[:count]) / count, sum(right[count:]) / len(problem.hidden)
        parts = {
            "parses": float(run.status not in ("no_parse", "unsupported", "too_long")),
            "runs": sum(result.kind == "value" for result in results) / len(cases),
            "shown": shown,
            "hidden": hidden,
            "length": float(len(completion)),
            "gap": shown - hidden,
        }
        given = problem.given / len(problem.hidden) if self.config.reward != "plain" else 0.0
        reward = max(0.0, (hidden - given) / (1.0 - given))
        status = next((result.kind for result in results if result.kind != "value"), "ok")
        outcome = Outcome(reward, shown == hidden == 1.0, parts, status if run.status == "ran" else run.status)
        return outcome.paid_for_success() if self.config.reward == "success" else outcome

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str:
        """The program that was drawn."""
        reference: str = prompt.data.reference
        return reference

    def constant_completions(self) -> list[str]:
        """Constants, parameters, and what is most often asked of them."""
        begins = "" if self.config.form == "expression" else "return "
        return [begins + text for text in _CONSTANTS]
