"""HumanEval: its own solutions pass in the sandbox, and what is not its function is left out."""

from __future__ import annotations

import numpy as np
import pytest

from rlfl_envs import ConfigError, FiniteTask, Task, check_task, load_task
from tests.settings import HUMAN_EVAL, missing

if missing(HUMAN_EVAL):
    pytest.skip(f"needs {', '.join(missing(HUMAN_EVAL))}", allow_module_level=True)


@pytest.fixture(scope="module")
def task() -> Task:
    """The 164 problems."""
    return load_task(HUMAN_EVAL)


def test_all_solutions_pass(task: Task) -> None:
    """Each of the 164 reference solutions passes its tests inside the sandbox; an empty body passes none."""
    rng = np.random.default_rng(0)
    prompts = {prompt.data: prompt for prompt in task.sample_prompts(rng, 3000)}
    assert len(prompts) == 164
    answers = [task.reference_completion(prompt, rng) for prompt in prompts.values()]
    outcomes = task.evaluate([*prompts.values()], [str(answer) for answer in answers])
    assert [name for name, outcome in zip(prompts, outcomes, strict=True) if not outcome.is_success] == []
    empty = task.evaluate([*prompts.values()], ["    pass\n"] * 164)
    assert sum(outcome.is_success for outcome in empty) == 0


def test_every_problem_once(task: Task) -> None:
    """An evaluation asks the 164 problems, in their order."""
    assert isinstance(task, FiniteTask)
    assert [prompt.data for prompt in task.every_prompt()] == [f"HumanEval/{number}" for number in range(164)]


def test_contract(task: Task) -> None:
    """The contract holds."""
    check_task(task, num_prompts=8)


@pytest.mark.parametrize(
    ("completion", "status"),
    [
        ("    return number % 1.0\n", "ok"),
        ("    return number - int(number)", "ok"),
        ("    return number % 1.0\n\ndef other(:", "ok"),  # not the function's any more
        ("    return number\n", "wrong"),
        ("    return number.digits\n", "error"),
        ("    return number %\n", "no_parse"),
        ("    while True:\n        pass\n", "timeout"),
        ("    yield number\n", "unsupported"),
        ("    exit()\n", "error"),
    ],
)
def test_outcomes(task: Task, completion: str, status: str) -> None:
    """All tests or nothing; the status says why."""
    prompts = task.sample_prompts(np.random.default_rng(0), 3000)
    (prompt,) = {prompt.text: prompt for prompt in prompts if prompt.data == "HumanEval/2"}.values()
    (outcome,) = task.evaluate([prompt], [completion])
    assert (outcome.reward, outcome.is_success, outcome.status) == (float(status == "ok"), status == "ok", status)


def test_is_not_trained_on() -> None:
    """There is no training split."""
    with pytest.raises(ConfigError, match="split='train'"):
        load_task(HUMAN_EVAL, split="train")
