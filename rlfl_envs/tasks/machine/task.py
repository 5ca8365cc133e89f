"""The task: prompts that show cases, programs that are run on others, and timed."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import numpy as np

from rlfl_envs.answers import AnswerTask
from rlfl_envs.dice import first_drawn, pick
from rlfl_envs.episode import Outcome, Prompt
from rlfl_envs.errors import PromptError
from rlfl_envs.protocols import Accepted
from rlfl_envs.tasks.machine.config import MachineConfig
from rlfl_envs.tasks.machine.execution import check_installed, run, run_all
from rlfl_envs.tasks.machine.functions import FAMILIES
from rlfl_envs.tasks.machine.problems import (
    MOST_REFERENCE,
    Problem,
    draw_problem,
    header,
    most_prompt,
    read_problem,
)
from rlfl_envs.tasks.machine.syntax import LINES, NUMBER, MachineAutomaton, read
from rlfl_envs.tokenization import Tokenizer, word_tokenizer

__all__ = ["Machine"]

_LONGEST_LINE = max(len(line) for line in LINES) + 1
_MOST_NUMBERS = 5  # in a reference, each of up to two digits
_FOR_VALUES = 0.5  # of the reward; the rest is for speed


class Machine(AnswerTask):
    r"""Write a WebAssembly function that fits some examples and executes as few instructions as possible.

    Description:
        The completion is the body of a WebAssembly function, in the text format, an instruction a line. It is compiled
        and run by wasmtime on cases that the prompt does not show, and every instruction that is carried out is
        counted. Right values come first; of two right programs the faster one earns more: a power by squaring, a sum
        by its formula instead of a loop.

    Prompt:
        A line for each of `shown` cases, and the beginning of the function, such as

            f(3) = 6
            f(-1) = 2
            f(10) = 13
            f(0) = 3
            (func $f (param $x i64) (result i64) (local $a i64) (local $b i64)

        or with a second parameter `$y`. A family of functions is drawn uniformly: one operation with a number; two or
        three operations; a choice by a comparison; powers; sums from 1 to x; loops (digits in a base, the greatest
        common divisor); and recurrences. Arguments go from -9 to 20; in powers from -5 to 6, in sums and recurrences
        from 1 to 40, in loops from 1 to 200. The hash of the shown arguments is the seed of the function and of the
        hidden cases, so the text alone defines the problem. A function is drawn again if one constant, or a parameter
        as it is, is right in more than half of all cases, or of the hidden ones.

    Observation:
        `MultiDiscrete([V] * (P + C))` with V = 64, P = 78 and C = 36 by default.

    Action:
        `Discrete(V)`: PAD, BOS, EOS, then a token for each instruction with its line's end, for `i64.const `, the
        digits and signs of numbers, and the rest of a prompt; with vocabulary="characters" one per printable character
        and the newline; else a Hugging Face tokenizer's.

    Reward:
        In [0, 1]. With reward="strict": where a case is wrong, shown or hidden, (solved - given) / (hidden - given)
        / 2, or 0 where that is negative. Here `solved` is how many of the `hidden` cases are right, and `given` how
        many the best constant, or a parameter, gets right. Where all cases are right, 1/2 + speed / 2: speed is the
        reference's fuel on the hidden cases divided by the program's, at most 1. With reward="success" the same, but a
        quarter of it where a case is wrong; with reward="plain" solved / hidden. Fuel is wasmtime's:
        1 for each instruction that is carried out (0 for
        `drop`, `nop`, `block`, `loop`, `end`, `else`, `return`), and 1 for the call. Success is that all cases are
        right. Parts: `well_formed`, `compiles`, `shown` and `hidden` (the share of each that is right), `speed` (0
        until all are right), `fuel` (the mean of the hidden cases). Status: "ok"; "malformed" for a line that is no
        instruction (there are no calls, no memory, no imports, and no numbers of more than four digits), blocks more
        than 8 deep or more than 4,096 characters; "invalid" where instructions do not fit together;
        "trap" where a case divides by zero, "fuel" where
        one uses more than 10,000.

    Episode end:
        EOS, or the budget of C tokens.

    Arguments:
        `family`, `reward`, `shown`, `hidden`, and the common `split`, `vocabulary`, `mask`, `max_completion_tokens`,
        `min_completion_tokens`, `level`. Level k has the k-th family alone. Splits are by what functions do: two that
        agree in 16 fixed cases are in the same. With few shown cases prompts repeat: of family="one_step" with
        shown=4, a sixth are among 20,000 others.
        With `mask="syntax"` only instructions that fit together can be written. Needs the
        extra `machine`.

    Example:
        >>> import rlfl_envs
        >>> task = rlfl_envs.load_task("rlfl/Machine-v0")
        >>> header = "(func $f (param $x i64) (result i64) (local $a i64) (local $b i64)\n"
        >>> prompt = task.parse_prompt("f(2) = 10\nf(1) = -5\nf(-4) = 250\nf(-2) = 10\n" + header)  # x ** 4 - 6
        >>> print(", ".join(task.reference_completion(prompt, None).splitlines()))
        local.get $x, local.get $x, i64.mul, local.tee $a, local.get $a, i64.mul, i64.const 6, i64.sub
        >>> product = "local.get $x\n" * 4 + "i64.mul\n" * 3
        >>> answers = [task.reference_completion(prompt, None), product + "i64.const 6\ni64.sub\n", product]
        >>> [outcome.reward for outcome in task.evaluate([prompt] * 3, answers)]
        [1.0, 0.95, 0.0]

    Known exploits:
        All tried. A table of the shown cases, with the commonest result for all others, earns nothing. The best
        constant that we found, x + x, earns 0.08 where a choice is asked for, and at most 0.03 elsewhere. Speed cannot
        be had for values that are wrong, nor by what is free of fuel, since all that computes costs. Endless loops end
        at 10,000 units. There is nothing to reach: no memory, no table, no call, no import. Left: a reference is the
        fastest program that we know, not the fastest there is; what is faster still earns no more.

    Version history:
        v0: first version.
    """

    Config: ClassVar[type[MachineConfig]] = MachineConfig
    part_names: ClassVar[tuple[str, ...]] = ("well_formed", "compiles", "shown", "hidden", "speed", "fuel")
    accepted_findings: ClassVar[Mapping[str, Accepted]] = {
        "truncation": Accepted("The last line's end is not needed.", success=1.0),
        "padding": Accepted("Empty lines change nothing.", success=1.0),
        "mutation": Accepted("Spaces between words, empty lines and the last line's end change nothing.", success=0.1),
        "spaces": Accepted("Spaces and empty lines change nothing.", success=1.0),
    }
    packages: ClassVar[tuple[str, ...]] = ("wasmtime",)
    instruction = (
        "Write the body of the WebAssembly function that gives these results, in the text format, an instruction a "
        "line, in as few steps as you can. Write nothing else."
    )
    config: MachineConfig

    def __init__(self, **kwargs: object) -> None:
        """Takes the fields of MachineConfig by name; raises ConfigError, or MissingDependencyError without wasmtime."""
        super().__init__(**kwargs)
        check_installed()
        self._families = [*FAMILIES] if self.config.family == "all" else [self.config.family]
        self.syntax = MachineAutomaton(self.config.vocabulary == "instruction")

    def vocabularies(self) -> Mapping[str, Callable[[], Tokenizer]]:
        """An instruction a token, and characters."""
        return {"instruction": _instruction_tokenizer, **super().vocabularies()}

    def budgets(self) -> tuple[int, int]:
        """Those of the most instructions, or their characters."""
        if not self.tokenizer.closed:
            return super().budgets()
        if self.config.vocabulary == "instruction":
            return self.config.shown * 19 + 1, MOST_REFERENCE + 3 * _MOST_NUMBERS
        return most_prompt(self.config.shown), MOST_REFERENCE * _LONGEST_LINE

    # --- prompts ---------------------------------------------------------------------------------------------------

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws a family, then arguments until a function of the family comes of them."""
        dice = random.Random(int(rng.integers(2**63)))
        family = pick(dice, self._families)
        problem = first_drawn(
            lambda: draw_problem(dice, family, self.config.shown, self.config.hidden),
            f"shown={self.config.shown!r} leaves no function of {family=}; allowed: another number.",
        )
        return Prompt(problem.text, problem)

    def parse_prompt(self, text: str) -> Prompt:
        """Accepts the prompts that can be drawn with these numbers of cases, of any family."""
        problem = read_problem(text, self.config.shown, self.config.hidden)
        if problem is None:
            raise PromptError(
                f"prompt={text!r} is not allowed; allowed: what is drawn with shown={self.config.shown} and "
                f"hidden={self.config.hidden}."
            )
        return Prompt(text, problem)

    def problem_key(self, prompt: Prompt) -> str:
        """What the function does."""
        behaviour: str = prompt.data.behaviour
        return behaviour

    # --- rewards ---------------------------------------------------------------------------------------------------

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Runs all programs, then the references of those that are right, and grades each."""
        answers = [read(each) if len(each) <= self.max_answer_characters else None for each in completions]
        given = [(prompt.data, answer) for prompt, answer in zip(prompts, answers, strict=True) if answer is not None]
        runs = run_all((answer, problem.arguments) for problem, answer in given)
        solved = [problem for (problem, _), found in zip(given, runs, strict=True) if found.values == problem.results]
        run_all((_instructions(problem), problem.arguments) for problem in solved)
        return super().evaluate(prompts, completions)

    def read_answer(self, completion: str) -> str | None:
        """The instructions, if they are ours."""
        return read(completion)

    def grade(self, prompt: Prompt, answer: str) -> Outcome:
        """Runs the program on all cases, and counts."""
        problem: Problem = prompt.data
        count = len(problem.shown)
        found = run(answer, problem.arguments)
        right = [value == due for value, due in zip(found.values, problem.results, strict=True)]
        hidden = sum(right[count:]) / len(problem.hidden)
        used, speed = sum(found.fuel[count:]), 0.0
        if all(right):
            speed = min(1.0, sum(run(_instructions(problem), problem.arguments).fuel[count:]) / used)
        reward = hidden
        if self.config.reward != "plain":
            given = problem.given / len(problem.hidden)
            above = max(0.0, (hidden - given) / (1 - given))
            reward = _FOR_VALUES * above + (1 - _FOR_VALUES) * speed
        parts = {
            "well_formed": 1.0,
            "compiles": float(found.status != "invalid"),
            "shown": sum(right[:count]) / count,
            "hidden": hidden,
            "speed": speed,
            "fuel": used / len(problem.hidden),
        }
        outcome = Outcome(reward, all(right), parts, found.status)
        return outcome.paid_for_success() if self.config.reward == "success" else outcome

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str:
        """The instructions that were drawn."""
        reference: str = prompt.data.reference
        return reference

    def constant_completions(self) -> list[str]:
        """Parameters, numbers, and what is most often asked."""
        x, one = "local.get $x\n", "i64.const 1\n"
        pairs = [(x, x), (x, one), (one, x), (x, "i64.const 2\n"), (x, "local.get $y\n")]
        signs = ("add", "sub", "mul", "rem_s")
        return [x, "i64.const 0\n", one, *(f"{left}{right}i64.{sign}\n" for left, right in pairs for sign in signs)]


def _instructions(problem: Problem) -> str:
    """The reference, as completions are read."""
    instructions = read(problem.reference)
    assert instructions is not None
    return instructions


def _instruction_tokenizer() -> Tokenizer:
    """A token for each instruction with its line's end, and for what numbers and prompts are made of besides."""
    begins = [header(count) for count in (1, 2)]
    pieces = [*(f"{line}\n" for line in LINES), NUMBER, *"0123456789-\n", "f(", ", ", ") = ", *begins]
    longest_first = sorted(pieces, key=len, reverse=True)
    return word_tokenizer(pieces, "|".join(map(re.escape, longest_first)))
