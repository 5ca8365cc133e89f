"""What holds for every id: the contract tests, specs, pickling, seeds, rendering, and completions of any kind."""

from __future__ import annotations

import pickle
import time
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

import rlfl_envs
from rlfl_envs import Outcome, Task, TokenEnv, TokenVectorEnv, check_task, load_task
from rlfl_envs.token_env import stops
from tests.settings import (
    ALL_IDS,
    IDS,
    LONG,
    LUDAX,
    LUDII,
    MANY,
    QUICK,
    SETTINGS,
    answer_to,
    has_references,
    missing,
    name_of,
    sweep,
)

HOSTILE = [
    "",
    " " * 100_000,
    "9" * 100_000,
    "1" * 4096,
    "=" * 100_000,
    "1+" * 50_000 + "1",
    "9*" * 2048,
    "9*" * 2047 + "9",
    "1=" * 2047 + "1",
    "-" * 4095 + "1",
    "(" * 100_000,
    "a" * 100_000,
    "9**9**9**9**9",
    "2**3",
    "٣",
    "²",
    "１２",
    "1_000",
    "0x10",
    "1e9",
    "1.0",
    "inf",
    "nan",
    "9\n",
    "\n9",
    "9\x00",
    "\x00" * 4096,
    "\ud800",
    "é漢🙂" * 1000,
    "<eos>",
    "<pad><bos>",
    "__import__('os').system('true')",
    "{}%s%n" * 100,
]


def assert_outcomes(task: Task, outcomes: list[Outcome]) -> None:
    """Rewards in range, and the declared parts, all finite."""
    low, high = task.reward_range
    for outcome in outcomes:
        assert low <= outcome.reward <= high
        assert tuple(outcome.parts) == task.part_names
        assert np.isfinite([*outcome.parts.values()]).all()
        assert isinstance(outcome.is_success, bool)
        assert outcome.status


def play(env: gymnasium.Env, seed: int | None, episodes: int = 6, **options: Any) -> list[tuple[Any, ...]]:
    """Plays legal tokens drawn from a generator of its own, and returns all that came out of it."""
    rng = np.random.default_rng(0)
    seen: list[tuple[Any, ...]] = []
    for episode in range(episodes):
        observation, info = env.reset(seed=seed if episode == 0 else None, **options)
        seen.append((observation.tolist(), info["action_mask"].tolist()))
        terminated = False
        while not terminated:
            action = rng.choice(np.flatnonzero(info["action_mask"]))
            observation, reward, terminated, truncated, info = env.step(action)
            rest = {key: value for key, value in info.items() if key != "action_mask"}
            seen.append((observation.tolist(), reward, terminated, truncated, info["action_mask"].tolist(), rest))
    return seen


# --- other people's checkers ---------------------------------------------------------------------------------------


@sweep()
def test_gymnasium_checker(id: str, arguments: dict[str, Any]) -> None:
    """Gymnasium's check_env passes; a warning would be an error."""
    check_env(gymnasium.make(id, **arguments).unwrapped)


@pytest.mark.parametrize("id", IDS)
def test_stable_baselines_checker(id: str) -> None:
    """Stable-Baselines3's check_env passes without a warning."""
    pytest.importorskip("stable_baselines3", reason="needs the extra sb3")
    from stable_baselines3.common.env_checker import check_env as check

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(gymnasium.make(id))


@sweep()
def test_check_task(id: str, arguments: dict[str, Any]) -> None:
    """Our own contract test passes; it complains of a budget too small for the references, and of nothing else."""
    task = load_task(id, **arguments)
    draws_what_fits = id in (LUDAX, LUDII)
    if task.max_completion_tokens < task.default_budget and has_references(task) and not draws_what_fits:
        with pytest.raises(AssertionError, match=f"tokens; C is {task.max_completion_tokens}"):
            check_task(task, num_prompts=32)
    else:
        check_task(task, num_prompts=32)


@pytest.mark.parametrize("id", IDS)
def test_check_task_with_and_without_mask(id: str) -> None:
    """The contract holds under "none" and, where there is a syntax, under "syntax"."""
    check_task(load_task(id, mask="none", **QUICK.get(id, {})))
    if load_task(id).syntax is not None:
        check_task(load_task(id, mask="syntax", **QUICK.get(id, {})))


# --- making, specs, pickles ----------------------------------------------------------------------------------------


@sweep()
def test_specs_round_trip_through_json(id: str, arguments: dict[str, Any]) -> None:
    """A spec written as JSON and read back makes the same environment, scalar and vectorised."""
    env = gymnasium.make(id, **arguments)
    assert env.spec is not None
    again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.task.config == env.unwrapped.task.config
    assert play(again, 3, 2) == play(env, 3, 2)

    envs = gymnasium.make_vec(id, num_envs=3, autoreset_mode="SameStep", **arguments)
    assert envs.spec is not None
    copies = gymnasium.make_vec(EnvSpec.from_json(envs.spec.to_json()), num_envs=3)
    assert copies.unwrapped.autoreset_mode is envs.unwrapped.autoreset_mode
    np.testing.assert_array_equal(copies.reset(seed=1)[0], envs.reset(seed=1)[0])


@pytest.mark.parametrize("id", IDS)
def test_make(id: str) -> None:
    """`make` gives a TokenEnv, `make_vec` a TokenVectorEnv, and the module prefix imports by itself."""
    assert isinstance(gymnasium.make(id).unwrapped, TokenEnv)
    assert isinstance(gymnasium.make_vec(id, num_envs=2), TokenVectorEnv)
    assert isinstance(gymnasium.make(f"rlfl_envs:{id}").unwrapped, TokenEnv)
    by_sync = gymnasium.make_vec(id, num_envs=2, vectorization_mode="sync")
    assert isinstance(by_sync, gymnasium.vector.SyncVectorEnv)


@sweep()
def test_a_pickled_environment_goes_on_identically(id: str, arguments: dict[str, Any]) -> None:
    """A copy made in the middle of an episode plays on as the original does, episode after episode."""
    env = gymnasium.make(id, **arguments)
    _, info = env.reset(seed=5)
    env.step(np.flatnonzero(info["action_mask"])[-1])
    copy = pickle.loads(pickle.dumps(env))
    assert copy.unwrapped.prompt == env.unwrapped.prompt
    assert copy.unwrapped.completion == env.unwrapped.completion
    if env.unwrapped.completion_length > 1:
        action = env.unwrapped.tokenizer.eos_id
        ours, theirs = env.step(action), copy.step(action)
        assert ours[0].tolist() == theirs[0].tolist()
        assert ours[1:4] == theirs[1:4]
    assert play(copy, None) == play(env, None)


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
@sweep()
def test_pickled_vector_environments_go_on_identically(id: str, arguments: dict[str, Any], mode: str) -> None:
    """The same for the vector environment, its groups included."""
    envs = gymnasium.make_vec(id, num_envs=4, autoreset_mode=mode, **arguments)
    _, infos = envs.reset(seed=5, options={"group_size": 2})
    rng = np.random.default_rng(1)
    copy = envs
    for step in range(30):
        if step == 7:
            copy = pickle.loads(pickle.dumps(envs))
        actions = np.array([rng.choice(np.flatnonzero(mask)) for mask in infos["action_mask"]])
        observations, rewards, ended, _, infos = envs.step(actions)
        if step >= 7:
            ours = copy.step(actions)
            np.testing.assert_array_equal(ours[0], observations)
            np.testing.assert_array_equal(ours[1], rewards)
            np.testing.assert_array_equal(ours[2], ended)
            np.testing.assert_array_equal(ours[-1]["action_mask"], infos["action_mask"])
    assert copy.unwrapped.prompts == envs.unwrapped.prompts


@pytest.mark.parametrize("id", ALL_IDS)
def test_is_available(id: str) -> None:
    """What an id needs is installed; where it is not, the sweeps leave the id out and this says why."""
    if missing(id):
        pytest.skip(f"{id} needs {', '.join(missing(id))}")
    load_task(id)


def test_ids_are_listed_in_order() -> None:
    """list_ids is sorted and has the suite."""
    assert rlfl_envs.list_ids() == sorted(rlfl_envs.list_ids())
    assert set(IDS) >= {"rlfl/Arithmetic-v0", "rlfl/ArithmeticAnswer-v0", "rlfl/ArithmeticSteps-v0", "rlfl/Copy-v0"}


# --- one environment -----------------------------------------------------------------------------------------------


@sweep()
def test_same_seed_same_episodes(id: str, arguments: dict[str, Any]) -> None:
    """A seed fixes everything, whatever was played before."""
    env = gymnasium.make(id, **arguments)
    first = play(env, 3, 4)
    assert play(env, 3, 4) == first == play(gymnasium.make(id, **arguments), 3, 4)


@pytest.mark.parametrize("id", IDS)
def test_other_seed_other_episodes(id: str) -> None:
    """Another seed plays something else, and so do the episodes that follow under one seed."""
    env = gymnasium.make(id)
    assert play(env, 4, 4) != play(env, 3, 4) != play(env, None, 4)


@sweep()
def test_layout(id: str, arguments: dict[str, Any]) -> None:
    """Prompt left-padded to P columns, BOS first; completion from column P on, its EOS included; then PAD."""
    env = gymnasium.make(id, **arguments).unwrapped
    tokenizer, rng = env.tokenizer, np.random.default_rng(0)
    for _ in range(20):
        observation, info = env.reset(seed=None if env.prompt else 0)
        prompt = tokenizer.encode(env.prompt.text)
        blank = env.prompt_length - len(prompt) - 1
        expected = [tokenizer.pad_id] * blank + [tokenizer.bos_id, *prompt]
        assert blank >= 0
        written: list[int] = []
        terminated = False
        while True:
            rest = [tokenizer.pad_id] * (env.completion_length - len(written))
            assert observation.tolist() == [*expected, *written, *rest]
            assert env.observation_space.contains(observation)
            np.testing.assert_array_equal(env.action_masks(), info["action_mask"] == 1)
            assert (info["action_mask"].dtype, env.action_masks().dtype) == (np.int8, np.bool_)
            assert env.completion == tokenizer.decode([token for token in written if token != tokenizer.eos_id])
            if terminated:
                break
            action = rng.choice(np.flatnonzero(info["action_mask"]))
            observation, reward, terminated, truncated, info = env.step(action)
            written.append(int(action))
            assert truncated is False
            assert type(reward) is float
            assert terminated or (reward == 0 and set(info) == {"action_mask"})
        is_over = stops(env.task, env.prompt, info["completion"])
        ended_by = "eos" if written[-1] == tokenizer.eos_id else "stop" if is_over else "length"
        assert info["finish_reason"] == ended_by
        assert ended_by != "length" or len(written) == env.completion_length
        least = env.task.config.min_completion_tokens
        assert ended_by != "eos" or len(written) > least or arguments.get("mask") == "syntax"
        assert env.task.evaluate([env.prompt], [info["completion"]]) == [
            Outcome(reward, info["is_success"], info["reward_parts"], info["status"])
        ]


@pytest.mark.parametrize("id", IDS)
def test_illegal_tokens_end_the_episode(id: str) -> None:
    """PAD and BOS do not raise: the lowest reward, nothing written; a step after the end raises."""
    env = gymnasium.make(id).unwrapped
    for token in (env.tokenizer.pad_id, env.tokenizer.bos_id):
        before, _ = env.reset(seed=0)
        observation, reward, terminated, truncated, info = env.step(token)
        np.testing.assert_array_equal(observation, before)
        assert (reward, terminated, truncated) == (env.task.reward_range[0], True, False)
        assert (info["finish_reason"], info["status"], info["is_success"]) == ("illegal", "illegal", False)
        assert set(info["reward_parts"]) == set(env.task.part_names)
        with pytest.raises(gymnasium.error.ResetNeeded):
            env.step(env.tokenizer.eos_id)


@pytest.mark.parametrize("id", IDS)
def test_rendering(id: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With "ansi": prompt, completion and at the end the reward and its parts; "human" prints them."""
    env = gymnasium.make(id, render_mode="ansi", **QUICK.get(id, {}))
    task = env.unwrapped.task
    env.reset(seed=0)
    text = env.unwrapped.prompt.text
    assert env.render() == f"{text}["
    answer = answer_to(task, env.unwrapped.prompt, np.random.default_rng(0))
    outcome = task.evaluate([env.unwrapped.prompt], [answer])[0]
    assert outcome.is_success or not task.references_succeed
    tokens = task.tokenizer.encode(answer)
    env.step(tokens[0])
    for token in tokens[1:]:
        assert env.render() == f"{text}[{env.unwrapped.completion}"
        env.step(token)
    if len(tokens) < task.max_completion_tokens and not stops(task, env.unwrapped.prompt, answer):
        env.step(task.tokenizer.eos_id)
    frame = env.render()
    mark = "success" if outcome.is_success else "no success"
    assert frame.startswith(f"{text}[{answer}]  reward={outcome.reward:.4g} ({mark}, {outcome.status}, ended by ")
    assert all(name in frame for name in task.part_names)
    assert capsys.readouterr().out == ""
    human = gymnasium.make(id, render_mode="human", **QUICK.get(id, {}))
    human.reset(seed=0)
    human.step(task.tokenizer.pad_id)
    assert human.render() is None
    assert capsys.readouterr().out == f"{text}[\n{human.unwrapped._description()}\n"
    assert gymnasium.make(id).unwrapped.render() is None


# --- completions of any kind ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", IDS)
def test_random_tokens(id: str) -> None:
    """Thousands of episodes of uniformly random tokens: no exception, rewards in range."""
    envs = gymnasium.make_vec(id, num_envs=1000, autoreset_mode="SameStep", **LONG.get(id, {})).unwrapped
    low, high = envs.task.reward_range
    rng = np.random.default_rng(0)
    envs.reset(seed=0)
    episodes = 0
    while episodes < MANY[id]:
        _, rewards, ended, _, _ = envs.step(rng.integers(envs.tokenizer.vocab_size, size=1000))
        assert (rewards[ended] >= low).all()
        assert (rewards[ended] <= high).all()
        assert not rewards[~ended].any()
        episodes += int(ended.sum())


@pytest.mark.parametrize("kind", ["of the alphabet", "of anything"])
@pytest.mark.parametrize("id", IDS)
def test_random_texts(id: str, kind: str) -> None:
    """Thousands of random completions, up to 60 characters, judged in one batch."""
    task = load_task(id, **LONG.get(id, {}))
    rng = np.random.default_rng(1)
    alphabet = sorted({character for text in task.tokenizer.token_texts for character in text})
    others = ["**", "٣", "\n", "\x00", "é", "🙂", "-", "(", "_", ".", "e", "\t", "<eos>"]
    symbols = alphabet if kind == "of the alphabet" else [*alphabet, *others]
    completions = ["".join(rng.choice(symbols, size=rng.integers(60))) for _ in range(MANY[id])]
    prompts = task.sample_prompts(rng, MANY[id])
    outcomes = task.evaluate(prompts, completions)
    assert_outcomes(task, outcomes)
    assert outcomes[:500] == task.evaluate(prompts[:500], completions[:500])


TASKS = {name_of(setting): load_task(setting[0], **setting[1]) for setting in SETTINGS}


@pytest.mark.parametrize("name", TASKS)
@given(text=st.one_of(st.text(max_size=200), st.text("0123456789+-*= ", max_size=60)), seed=st.integers(0, 2**32))
@settings(max_examples=60)
def test_any_text_is_judged(name: str, text: str, seed: int) -> None:
    """Whatever a completion says, it gets an outcome, the same twice."""
    task = TASKS[name]
    prompts = task.sample_prompts(np.random.default_rng(seed), 1)
    outcomes = task.evaluate(prompts, [text])
    assert_outcomes(task, outcomes)
    assert task.evaluate(prompts, [text]) == outcomes


@pytest.mark.timing
@pytest.mark.parametrize("id", IDS)
def test_hostile_completions_are_quick(id: str) -> None:
    """Huge, deep, foreign or executable: each is judged within a fraction of a second, and none succeeds."""
    task = load_task(id)
    (prompt,) = task.sample_prompts(np.random.default_rng(0), 1)
    for completion in HOSTILE:
        begun = time.process_time()
        outcomes = task.evaluate([prompt], [completion])
        assert time.process_time() - begun < 0.25, completion[:40]
        assert_outcomes(task, outcomes)
        assert not outcomes[0].is_success
