"""Rewards for the tokens of whole texts: what an environment pays that writes the same tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlfl_envs import ConfigError, PromptError, TextRewards, TokenEnv, load_task

TASKS: list[tuple[str, dict[str, Any]]] = [
    ("rlfl/ArithmeticSteps-v0", {"reward": "worked_out"}),
    ("rlfl/ArithmeticSteps-v0", {"reward": "worked_out", "template": "{prompt}"}),
    ("rlfl/ArithmeticAnswer-v0", {"operators": "+-", "vocabulary": "characters"}),
    ("rlfl/Copy-v0", {"max_completion_tokens": 6}),
    ("rlfl/Brackets-v0", {"mask": "syntax"}),
    ("rlfl/Sat-v0", {"max_variables": 4}),
]


@pytest.mark.parametrize("task", TASKS, ids=str)
@settings(max_examples=10)
@given(seed=st.integers(0, 2**31))
def test_texts_earn_what_environments_pay(task: tuple[str, dict[str, Any]], seed: int) -> None:
    """Token by token what `TokenEnv` pays that writes them, for references, damaged ones and random tokens."""
    made = load_task(task[0], **task[1])
    rng, tokenizer = np.random.default_rng(seed), made.tokenizer
    prompts = made.sample_prompts(rng, 4)
    rows = [tokenizer.encode(made.reference_completion(prompt, rng) or "") for prompt in prompts]
    ordinary = np.flatnonzero(tokenizer.ordinary)
    rows[1][int(rng.integers(len(rows[1])))] = int(rng.choice(ordinary))
    rows[2] = rows[2][: int(rng.integers(len(rows[2])))]
    rows[3] = rng.choice(ordinary, int(rng.integers(2 * made.max_completion_tokens))).tolist()
    completions: list[Any] = [tokenizer.decode(row) for row in rows]
    for kind in ("tokens", "shaped", "end"):
        earned = TextRewards(made, kind)([prompt.text for prompt in prompts], completions)
        of_tokens = TextRewards(made, kind)([prompt.text for prompt in prompts], [*map(tokenizer.encode, completions)])
        for prompt, completion, rewards, same in zip(prompts, completions, earned, of_tokens, strict=True):
            env = TokenEnv(made, rewards=kind)
            env.reset(options={"prompt": prompt.text})
            paid, ended = [], False
            for token in [*tokenizer.encode(completion), tokenizer.eos_id]:
                _, reward, ended, _, info = env.step(token)
                paid.append(reward)
                if ended:
                    break
            assert ended
            assert rewards.tolist() == same.tolist() == paid
            if kind != "tokens":
                due = made.illegal_outcome() if info["finish_reason"] == "illegal" else None
                assert rewards.sum() == pytest.approx((due or made.evaluate([prompt], [env.completion])[0]).reward)
            elif info["is_success"]:
                assert rewards.sum() == pytest.approx(made.reward_range[1])


@pytest.mark.parametrize(
    ("completion", "right"),
    [("5+4=9", 10), ("5+4=8", 4), ("5+4=\ud800", 4), ("5+4=9!", 5), ("5+4123456", 2), ("", 0), ("\x00" * 10_000, 0)],
)
def test_what_cannot_be_written_is_wrong(completion: str, right: int) -> None:
    """A number is one token: of one that the vocabulary does not have, the beginning is not right."""
    task = load_task("rlfl/ArithmeticSteps-v0", reward="worked_out", max_completion_tokens=10)
    (rewards,) = TextRewards(task)(["2+3+4="], [completion])
    assert rewards.sum() == pytest.approx(right / 10)


def test_words_before_one_that_is_not_known() -> None:
    """Tokens that are words count up to the first that the vocabulary does not have."""
    task = load_task("rlfl/Planning-v0", max_size=3)
    rng = np.random.default_rng(0)
    (prompt,) = task.sample_prompts(rng, 1)
    reference = task.reference_completion(prompt, rng)
    assert reference is not None
    (rewards,) = TextRewards(task)([prompt.text], [reference[:-1] + " !"])
    assert rewards.sum() == pytest.approx((len(task.tokenizer.encode(reference)) - 1) / task.max_completion_tokens)


def test_one_object_takes_any_number() -> None:
    """None, some, and others after them."""
    rewards = TextRewards(load_task("rlfl/Copy-v0"))
    assert rewards([], []) == []
    for count in (1, 3, 2):
        assert [each.sum() for each in rewards(["abba"] * count, ["abba"] * count)] == [1.0] * count


def test_what_is_refused() -> None:
    """Tasks that cannot judge tokens, other kinds of rewards, foreign prompts, and another number of them."""
    with pytest.raises(ConfigError, match="cannot judge single tokens"):
        TextRewards(load_task("rlfl/Sql-v0"))
    with pytest.raises(ConfigError, match="rewards='all' is not allowed"):
        TextRewards(load_task("rlfl/Copy-v0"), "all")
    rewards = TextRewards(load_task("rlfl/Copy-v0"))
    with pytest.raises(PromptError):
        rewards(["ABBA"], ["abba"])
    with pytest.raises(ConfigError, match="allowed: 2 prompts, one for each completion"):
        rewards(["abba"], ["abba", "abba"])
    with pytest.raises(ConfigError, match=r"^task='rlfl/Copy-v0' is not allowed; allowed: a Task"):
        TextRewards("rlfl/Copy-v0")
    wrong: list[Any] = [[3.9], [99], [-1], None, 3, ["a"], [2**70], [[1], [2, 3]]]
    for completion in wrong:
        with pytest.raises(ConfigError, match=r"^completions="):
            rewards(["abba"], [completion])
