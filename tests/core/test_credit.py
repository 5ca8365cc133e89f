"""Rewards for tokens: what they add up to, when they end an episode, and that one environment is as many are."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

from rlfl_envs import ConfigError, TokenEnv, TokenVectorEnv, load_task
from tests.settings import missing

STEPS = ("rlfl/ArithmeticSteps-v0", {"reward": "worked_out"})
TASKS: list[tuple[str, dict[str, Any]]] = [
    STEPS,
    ("rlfl/ArithmeticSteps-v0", {"mask": "syntax", "vocabulary": "characters"}),
    ("rlfl/Arithmetic-v0", {}),
    ("rlfl/ArithmeticAnswer-v0", {"operators": "+-"}),
    ("rlfl/Copy-v0", {"max_completion_tokens": 6}),
    ("rlfl/Brackets-v0", {"min_completion_tokens": 2}),
    ("rlfl/Countdown-v0", {}),
    ("rlfl/Countdown-v0", {"mask": "syntax", "vocabulary": "characters"}),
    ("rlfl/Sat-v0", {}),
    ("rlfl/Proof-v0", {"axioms": ""}),
    ("rlfl/Json-v0", {"most": 1}),
    ("rlfl/Planning-v0", {}),
    ("rlfl/Regex-v0", {"longest": 4}),
]


def envs_of(task: tuple[str, dict[str, Any]], num_envs: int, rewards: str, mode: str = "Disabled") -> TokenVectorEnv:
    """Environments of a task; the test is skipped where what the task needs is not installed."""
    if missing(task[0]):
        pytest.skip(f"{task[0]} needs {', '.join(missing(task[0]))}")
    return TokenVectorEnv(load_task(task[0], **task[1]), num_envs, rewards=rewards, autoreset_mode=mode)


def mostly_right(envs: TokenVectorEnv, rng: np.random.Generator, share: float) -> NDArray[np.int64]:
    """Actions that are right in this share of cases, where any is, and anything at all otherwise."""
    every = np.arange(envs.tokenizer.vocab_size)
    verdicts = envs.judge_tokens(np.tile(every, (envs.num_envs, 1)))
    return np.array([rng.choice(every[row] if row.any() and rng.random() < share else every) for row in verdicts])


@pytest.mark.parametrize("rewards", ["tokens", "shaped"])
@pytest.mark.parametrize("task", TASKS, ids=str)
def test_one_environment_is_as_many_are(task: tuple[str, dict[str, Any]], rewards: str) -> None:
    """The same rewards to the last bit, endings, and what infos say, over several episodes."""
    envs = envs_of(task, 4, rewards, "NextStep")
    alone = [TokenEnv(load_task(task[0], **task[1]), rewards=rewards) for _ in range(4)]
    envs.reset(seed=7)
    for i, env in enumerate(alone):
        env.reset(seed=7 + i)
    rng, resting = np.random.default_rng(0), np.zeros(4, dtype=np.bool_)
    for _ in range(80):
        actions = mostly_right(envs, rng, 0.85)
        _, earned, terminated, _, infos = envs.step(actions)
        for i, env in enumerate(alone):
            if resting[i]:
                env.reset()
                assert earned[i] == 0
                continue
            _, reward, ended, _, info = env.step(int(actions[i]))
            assert (reward, ended) == (earned[i], terminated[i])
            if ended:
                assert info["finish_reason"] == infos["finish_reason"][i]
                assert info["status"] == infos["status"][i]
                assert info["completion"] == infos["completion"][i]
                assert info["is_success"] == infos["is_success"][i]
        resting = terminated


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_what_tokens_earn(task: tuple[str, dict[str, Any]]) -> None:
    """A share each, the largest reward in all for a success; the first wrong token earns nothing and is the last."""
    envs = envs_of(task, 32, "tokens")
    envs.reset(seed=0)
    rng, share = np.random.default_rng(1), envs.task.reward_range[1] / envs.completion_length
    total, playing, wrong = np.zeros(32), np.ones(32, dtype=np.bool_), 0
    while playing.any():
        actions = mostly_right(envs, rng, max(0.9, 1 - 1.5 / envs.completion_length))  # long ones have to succeed, too
        right = envs.judge_tokens(actions[:, None])[:, 0]
        _, earned, terminated, _, infos = envs.step(actions)
        total += earned
        ended = playing & terminated
        assert (terminated >= ~right).all()
        np.testing.assert_array_equal(earned[playing & ~terminated], share)
        np.testing.assert_array_equal(earned[~right], 0)
        for i in np.flatnonzero(ended):
            assert infos["is_success"][i] == right[i]
            assert (infos["finish_reason"][i] in {"wrong", "illegal"}) == (not right[i])
            assert total[i] == pytest.approx(envs.task.reward_range[1]) if right[i] else total[i] < 1
            wrong += not right[i]
        playing &= ~terminated
    assert 0 < wrong < 32


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("task", TASKS, ids=str)
def test_shaped_rewards_add_up_to_the_end_reward(task: tuple[str, dict[str, Any]], together: bool) -> None:
    """Episodes are those of "end", and so are their sums, when episodes are judged together too."""
    shaped, plain = envs_of(task, 16, "shaped"), envs_of(task, 16, "end")
    for envs in (shaped, plain):
        envs.reset(seed=3, options={"judge_together": together})
    rng, total, due = np.random.default_rng(2), np.zeros(16), np.zeros(16)
    playing, seen = np.ones(16, dtype=np.bool_), set()
    while playing.any():
        actions = mostly_right(shaped, rng, 0.8)
        observed, earned, terminated, _, infos = shaped.step(actions)
        expected, reward, ended, _, plain_infos = plain.step(actions)
        np.testing.assert_equal(observed, expected)
        np.testing.assert_equal(terminated, ended)
        np.testing.assert_equal(infos, plain_infos)
        total, due, playing = total + earned, due + reward, playing & ~terminated
        seen |= set((earned > 0)[playing].tolist())
    np.testing.assert_allclose(total, due, atol=1e-12)
    assert True in seen or envs.completion_length == 1


def test_the_end_is_the_default() -> None:
    """Rewards at the end are what an environment gives without a word about it, through Gymnasium too."""
    told = gymnasium.make_vec("rlfl/Copy-v0", num_envs=8, rewards="end")
    plain = gymnasium.make_vec("rlfl/Copy-v0", num_envs=8)
    told.reset(seed=0)
    plain.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(30):
        actions = rng.integers(2, 11, 8)
        for left, right in zip(told.step(actions), plain.step(actions), strict=True):
            np.testing.assert_equal(left, right)


@pytest.mark.parametrize(
    ("env_id", "rewards", "words"),
    [
        ("rlfl/Copy-v0", "token", "rewards='token' is not allowed; allowed: 'end', 'tokens', 'shaped'"),
        ("rlfl/Copy-v0", None, "rewards=None is not allowed"),
        ("rlfl/Sentiment-v0", "tokens", "allowed for Sentiment, which cannot judge single tokens: 'end'"),
    ],
)
def test_what_is_refused(env_id: str, rewards: Any, words: str) -> None:
    """Scalar and vector environments refuse it alike."""
    for make in (gymnasium.make, gymnasium.make_vec):
        with pytest.raises(ConfigError, match=words):
            make(env_id, rewards=rewards)


@pytest.mark.parametrize("rewards", ["tokens", "shaped"])
def test_a_largest_reward_below_0(rewards: str) -> None:
    """A right token would be punished."""
    task = load_task("rlfl/Copy-v0")
    task.reward_range = (-2.0, -1.0)
    for make in (TokenEnv, TokenVectorEnv):
        with pytest.raises(ConfigError, match=r"allowed: 'end' where the largest reward, -1\.0, leaves tokens nothing"):
            make(task, rewards=rewards)
