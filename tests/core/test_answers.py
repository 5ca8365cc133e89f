"""AnswerTask and what the base resolves: vocabularies, budgets, splits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rlfl_envs import AnswerTask, ConfigError, Outcome, Prompt, PromptError, check_task


class Double(AnswerTask):
    """Write twice the number: 21> to 42. Nothing is said of vocabularies or budgets."""

    def draw(self, rng: np.random.Generator) -> Prompt:
        """Draws a number."""
        return self.parse_prompt(f"{int(10 ** rng.uniform(0, 3))}>")

    def parse_prompt(self, text: str) -> Prompt:
        """A number and ">"."""
        number = text.removesuffix(">")
        if text == number or not (number.isdecimal() and number.isascii() and len(number) < 9):
            raise PromptError(f"prompt={text!r} is not allowed; allowed: a number, then '>'.")
        return Prompt(text, int(number))

    def read_answer(self, completion: str) -> int | None:
        """A whole number."""
        return int(completion) if completion.isdecimal() and completion.isascii() else None

    def grade(self, prompt: Prompt, answer: Any) -> float | Outcome:
        """One over the distance, so that the right answer alone gets 1."""
        return 1 / (1 + min(abs(answer - 2 * prompt.data), 10**6))

    def reference_completion(self, prompt: Prompt, rng: np.random.Generator) -> str:
        """Twice."""
        return str(2 * prompt.data)


@pytest.mark.parametrize("arguments", [{}, {"vocabulary": "gpt2"}, {"split": "test"}, {"max_completion_tokens": 9}])
def test_a_task_that_says_nothing_of_vocabularies(arguments: dict[str, Any]) -> None:
    """The base's contract holds in printable ASCII and in GPT-2's vocabulary."""
    check_task(Double(**arguments))


def test_grades_are_scaled_and_what_cannot_be_read_is_malformed() -> None:
    """To the task's range; a text over the limit is not looked at."""
    task = Double()
    task.reward_range = (-1.0, 1.0)
    prompt = task.parse_prompt("21>")
    outcomes = task.evaluate([prompt] * 4, ["42", "43", "forty", "4" * 5000])
    assert [outcome.reward for outcome in outcomes] == [1.0, 0.0, -1.0, -1.0]
    assert [outcome.is_success for outcome in outcomes] == [True, False, False, False]
    assert [outcome.status for outcome in outcomes] == ["ok", "ok", "malformed", "malformed"]
    assert outcomes[0].parts == {"well_formed": 1.0}


def test_budgets_are_measured() -> None:
    """Lengths differ, so that there is a quarter to spare; a longer prompt is drawn again and refused when given."""
    task = Double()
    assert (task.max_prompt_tokens, task.default_budget) == (1 + 5, 5)  # BOS and 4 characters, 4 characters, and more
    prompts = task.sample_prompts(np.random.default_rng(0), 300)
    assert {len(prompt.text) for prompt in prompts} == {2, 3, 4}
    with pytest.raises(PromptError, match="has 8 tokens; allowed: at most 6"):
        task.encode_prompt(task.parse_prompt("123456>"))


def test_in_split_is_what_decides() -> None:
    """Train and test are complementary, each draws within itself, and `draw` is whatever the split."""
    train, test, everything = (Double(split=split) for split in ("train", "test", "all"))
    prompts = everything.sample_prompts(np.random.default_rng(0), 500)
    assert (train.in_split(prompts) ^ test.in_split(prompts)).all()
    assert everything.in_split(prompts).all()
    for task in (train, test):
        assert task.in_split(task.sample_prompts(np.random.default_rng(1), 100)).all()
    rng = np.random.default_rng(2)
    drawn = [test.draw(rng) for _ in range(200)]
    assert 0 < test.in_split(drawn).sum() < 100


def test_a_changed_task_remembers_its_other_arguments() -> None:
    """`changed` replaces some and checks all."""
    task = Double(split="test", max_completion_tokens=7)
    assert task.changed(split="all").config == Double(split="all", max_completion_tokens=7).config
    with pytest.raises(ConfigError, match="unexpected keyword argument 'spilt'"):
        task.changed(spilt="all")
