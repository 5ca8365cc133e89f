"""Mixture: several tasks as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest

from rlfl_envs import ConfigError, Prompt, PromptError, Task, check_task, load_task, register_task
from rlfl_envs.tasks.copy import Copy
from tests.settings import BRACKETS, COPY, STEPS

MIXTURE = "rlfl/Mixture-v0"


class RarelyLong(Copy):
    """Measures its budgets, and seldom draws a long prompt."""

    def budgets(self) -> tuple[int, int]:
        """As of a task that says nothing about them."""
        return Task.budgets(self)

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Two letters, or once in 500 times 200."""
        return Prompt("ab" * (1 if rng.integers(500) else 100))

    def parse_prompt(self, text: str) -> Prompt:
        """Any."""
        return Prompt(text)


@pytest.fixture(autouse=True, scope="module")
def rarely_long() -> Iterator[None]:
    """An id that is gone after these tests."""
    register_task("test/RarelyLong-v0", RarelyLong)
    yield
    del gymnasium.registry["test/RarelyLong-v0"]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"mask": "syntax"},
        {"vocabulary": "gpt2", "mask": "syntax", "tasks": [COPY, STEPS]},
        {"tasks": [{"id": COPY, "length": 2}, {"id": COPY, "length": 6}], "weights": [1, 3], "split": "test"},
    ],
)
def test_contract(arguments: dict[str, Any]) -> None:
    """Whatever is mixed, in whatever vocabulary, keeps the contract."""
    check_task(load_task(MIXTURE, **arguments), num_prompts=24)


def test_parts_judge_their_own() -> None:
    """Rewards are the parts' own, and so are reward parts; P and C are the largest."""
    task, parts = load_task(MIXTURE), [load_task(COPY), load_task(BRACKETS)]
    assert task.max_completion_tokens == max(part.max_completion_tokens for part in parts)
    assert task.max_prompt_tokens == max(part.max_prompt_tokens for part in parts)
    for number, (part, text, completion) in enumerate(zip(parts, ["hdba", "([]{"], ["hdbb", "}"], strict=True)):
        (outcome,) = task.evaluate([task.parse_prompt(text)], [completion])
        (own,) = part.evaluate([part.parse_prompt(text)], [completion])
        assert (outcome.reward, outcome.is_success, outcome.status) == (own.reward, own.is_success, own.status)
        assert outcome.parts == dict.fromkeys(task.part_names, 0.0) | own.parts | {"part": float(number)}


def test_budgets_that_were_measured() -> None:
    """A prompt longer than a part's measured budgets is drawn again in the mixture, as it is alone."""
    task = load_task(MIXTURE, tasks=[{"id": "test/RarelyLong-v0"}, COPY], split="all")
    alone = load_task("test/RarelyLong-v0", split="all")
    assert task.max_prompt_tokens == max(alone.max_prompt_tokens, load_task(COPY).max_prompt_tokens)
    for prompt in task.sample_prompts(np.random.default_rng(0), 2000):
        task.encode_prompt(prompt)
    assert any(len(alone.draw(np.random.default_rng(seed)).text) > 100 for seed in range(2000))


def test_a_parts_own_budget() -> None:
    """Given with the part, or under its id, it counts for C."""
    assert load_task(MIXTURE, tasks=[{"id": COPY, "max_completion_tokens": 9}, BRACKETS]).max_completion_tokens == 9
    register_task("test/Long-v0", Copy, max_completion_tokens=12)
    try:
        assert load_task(MIXTURE, tasks=["test/Long-v0", BRACKETS]).max_completion_tokens == 12
    finally:
        del gymnasium.registry["test/Long-v0"]


def test_weights() -> None:
    """Parts are drawn as often as their weights say, and a level is one part alone."""
    task = load_task(MIXTURE, weights=[1, 3])
    drawn = Counter(prompt.data.part for prompt in task.sample_prompts(np.random.default_rng(0), 800))
    assert 2.4 < drawn[1] / drawn[0] < 3.6
    alone = load_task(MIXTURE, weights=[1, 3], level=0)
    assert {prompt.data.part for prompt in alone.sample_prompts(np.random.default_rng(0), 50)} == {0}


def test_weights_change_between_resets() -> None:
    """`level_weights` of a reset turn the mixture, without another environment."""
    envs = gymnasium.make_vec(MIXTURE, num_envs=64).unwrapped
    for weights, parts in (([1, 0], {0}), ([0, 1], {1}), ([1, 1], {0, 1})):
        envs.reset(seed=0, options={"level_weights": weights})
        assert {prompt.data.part for prompt in envs.prompts} == parts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tasks": ["rlfl/Copy-v9"]}, r"tasks: 'rlfl/Copy-v9' is not allowed"),
        ({"tasks": [{"length": 3}]}, r"tasks: \{'length': 3\} is not allowed; allowed: an id"),
        ({"tasks": []}, r"tasks=\[\] is not allowed"),
        ({"weights": [1]}, r"weights=\[1\] is not allowed; allowed: 2 numbers"),
        ({"weights": [0, 0]}, r"weights=\[0, 0\] is not allowed"),
        ({"weights": [1e308, 1e308]}, r"weights=\[1e\+308, 1e\+308\] is not allowed"),
        ({"tasks": ["CartPole-v1"]}, r"tasks: 'CartPole-v1' is not allowed; allowed: an id"),
        ({"tasks": [{"id": COPY, "min_completion_tokens": 2}]}, r"arguments but min_completion_tokens, which a part"),
        ({"tasks": [{"id": COPY, "vocabulary": "gpt2"}]}, r"arguments but vocabulary, which a part cannot have"),
        ({"tasks": [COPY, "rlfl/Sentiment-v0"]}, r"vocabulary='characters' is not allowed"),
        ({"mask": "syntax", "tasks": [{"id": "rlfl/Sentiment-v0"}], "vocabulary": "gpt2"}, r"mask='syntax' is not"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    """Each error names what is wrong and what is allowed."""
    with pytest.raises(ConfigError, match=message):
        gymnasium.make(MIXTURE, **arguments)


def test_wrong_prompt() -> None:
    """A text that no part accepts."""
    with pytest.raises(PromptError, match="a prompt of one of the mixture's tasks"):
        load_task(MIXTURE).parse_prompt("a]")


def test_verdicts_count_on_the_mixtures_budget() -> None:
    """Regex lists patterns as long as its budget: where a mixture has room for longer ones, there are no verdicts."""
    short = {"id": "rlfl/Regex-v0", "longest": 5}
    for length, are_there in ((4, True), (12, False)):
        task = load_task(MIXTURE, tasks=[short, {"id": COPY, "length": length}])
        assert hasattr(task, "successes") == are_there
