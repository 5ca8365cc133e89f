"""Environments called wrongly: an error of ours, in one environment and in many, and nothing has changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded

from rlfl_envs import (
    ActionError,
    ArgumentError,
    ConfigError,
    Outcome,
    Prompt,
    RLFLError,
    TokenEnv,
    TokenVectorEnv,
    load_task,
    task_class,
)
from tests.settings import COPY, IDS, LUDAX, PLANNING, Parentheses, missing

NUM_ENVS = 3


def make_both() -> tuple[Any, Any]:
    """One environment, and three."""
    return TokenEnv(load_task(COPY)), TokenVectorEnv(load_task(COPY), NUM_ENVS)


@pytest.mark.parametrize("options", [[], ["prompt"], "prompt", 5, 0, True, [("prompt", "abba")], np.zeros(2)])
def test_options_that_are_no_dictionary(options: Any) -> None:
    """An empty list is none either; the message says what is allowed."""
    for env in make_both():
        with pytest.raises(ConfigError) as error:
            env.reset(options=options)
        assert str(error.value) == f"options={options!r} is not allowed; allowed: None, or a dictionary."


@pytest.mark.parametrize("name", [5, None, ("prompt",), b"prompt"])
def test_option_names_that_are_no_texts(name: Any) -> None:
    """They are unknown, whatever they are."""
    for env in make_both():
        with pytest.raises(ConfigError) as error:
            env.reset(options={name: 1})
        assert str(error.value).startswith(f"options={name!r} is not allowed.")


@pytest.mark.parametrize(
    "seed", [1.0, 1.5, float("nan"), "1", b"1", True, -1, np.float64(2), np.int64(-3), {}, object()]
)
def test_seeds_that_are_none(seed: Any) -> None:
    """Neither alone nor in a list; the stream goes on as if nothing was asked."""
    for env in make_both():
        env.reset(seed=7)
        given = [seed] if isinstance(env, TokenEnv) else [seed, [1, seed, 3], (seed, seed, seed)]
        for each in given:
            with pytest.raises(ConfigError, match=r"seed=.* is not allowed; allowed: None, "):
                env.reset(seed=each)
        after, _ = env.reset()
        env.reset(seed=7)
        np.testing.assert_array_equal(env.reset()[0], after)


@pytest.mark.parametrize("seed", [[1, 2], [], [[1, 2, 3]], [[1], [2], [3, 4]], np.zeros((3, 1), dtype=int)])
def test_lists_of_seeds_of_the_wrong_shape(seed: Any) -> None:
    """One each, or an error; a scalar environment takes no list."""
    for env in make_both():
        with pytest.raises(ConfigError, match="seed="):
            env.reset(seed=seed)


def test_numpys_integers_are_seeds() -> None:
    """NumPy's integers, alone, in lists and as an array, seed as Python's do, in one environment and in many."""
    env, envs = make_both()
    expected, _ = envs.reset(seed=[4, 5, 6])
    for seed in (np.int64(4), [np.int64(4), np.uint8(5), 6], (4, 5, 6), np.array([4, 5, 6])):
        np.testing.assert_array_equal(envs.reset(seed=seed)[0], expected)
    np.testing.assert_array_equal(env.reset(seed=np.int32(5))[0], expected[1])
    assert envs.np_random_seed == (4, 5, 6)
    assert all(type(seed) is int for seed in envs.np_random_seed)


@pytest.mark.parametrize("action", [True, False, np.True_, 1.0, "1", None, [3], np.array([3]), -1, 11, 2**70, object()])
def test_actions_that_are_no_tokens(action: Any) -> None:
    """An ActionError, which is a ValueError and a TypeError; the episode goes on."""
    for env in make_both():
        before, _ = env.reset(seed=0)
        with pytest.raises(ActionError) as error:
            env.step(action if isinstance(env, TokenEnv) else [action] * NUM_ENVS)
        assert isinstance(error.value, ValueError)
        assert isinstance(error.value, TypeError)
        token = 3 if isinstance(env, TokenEnv) else np.full(NUM_ENVS, 3)
        after, *_ = env.step(token)
        assert (before != after).sum() == (1 if isinstance(env, TokenEnv) else NUM_ENVS)


@pytest.mark.parametrize("actions", [[[3], [3, 4], [3]], 3, [3, 3], [[3, 3, 3]], None, [None] * 3, {0: 3}, "333"])
def test_actions_of_the_wrong_shape(actions: Any) -> None:
    """Ragged ones, one for all, too few, and what is no array."""
    _, envs = make_both()
    envs.reset(seed=0)
    with pytest.raises(ActionError, match=r"not allowed; allowed: integers of shape \(3,\)\.$"):
        envs.step(actions)


@pytest.mark.parametrize("candidates", [[[3], [3, 4], [3]], [[3.0]] * 3, [[True]] * 3, None, 3, "333"])
def test_candidates_that_are_no_tokens(candidates: Any) -> None:
    """Ragged ones, floats, truth values, and what is no array; each environment says the shape that it takes."""
    for env, shape in zip(make_both(), (r"\(k\)", r"\(3, k\)"), strict=True):
        env.reset(seed=0)
        with pytest.raises(ActionError, match=rf"not allowed; allowed: integers of shape {shape}\.$"):
            env.judge_tokens(candidates)


@pytest.mark.parametrize("mask", ["none", "syntax"])
def test_before_the_first_reset(mask: str) -> None:
    """Nothing may come next yet."""
    env, envs = TokenEnv(load_task(COPY, mask=mask)), TokenVectorEnv(load_task(COPY, mask=mask), NUM_ENVS)
    one, many = np.array([3]), np.full((NUM_ENVS, 1), 3)
    for ask in (env.action_masks, envs.action_masks, lambda: env.judge_tokens(one), lambda: envs.judge_tokens(many)):
        with pytest.raises(ResetNeeded):
            ask()


@pytest.mark.parametrize("state", [None, {}, {"streams": 5, "episodes": [1] * 3, "is_seeded": [True] * 3}])
def test_states_that_are_none(state: Any) -> None:
    """What `rng_state` was never."""
    _, envs = make_both()
    with pytest.raises(
        ConfigError, match=r"^rng_state=.* is not allowed; allowed: \['episodes', 'is_seeded', 'streams'\]"
    ):
        envs.rng_state = state


@pytest.mark.parametrize("render_mode", ["rgb_array", "ANSI", 5, True, b"ansi", ["ansi"], {}, np.array(["ansi", ""])])
def test_render_modes(render_mode: Any) -> None:
    """None of ours, and of no known kind: the same error (in `make` Gymnasium's own check may come first)."""
    for make in (TokenEnv, TokenVectorEnv):
        with pytest.raises(ArgumentError) as error:
            make(load_task(COPY), render_mode=render_mode)
        assert str(error.value) == f"render_mode={render_mode!r} is not allowed; allowed: None, 'ansi' or 'human'."


@pytest.mark.parametrize("autoreset_mode", [5, None, ["NextStep"], "nextstep", np.zeros(2)])
def test_autoreset_modes(autoreset_mode: Any) -> None:
    """Whatever is no mode."""
    with pytest.raises(ConfigError, match=r"autoreset_mode=.* is not allowed; allowed: 'NextStep', 'SameStep', "):
        TokenVectorEnv(load_task(COPY), 2, autoreset_mode=autoreset_mode)


@pytest.mark.parametrize("rewards", [None, 5, "End", ["end"], np.array(["end", "tokens"])])
def test_rewards(rewards: Any) -> None:
    """Whatever is no way to pay."""
    for make in (TokenEnv, TokenVectorEnv):
        with pytest.raises(ConfigError, match=r"rewards=.* is not allowed; allowed: 'end', 'tokens', 'shaped'\."):
            make(load_task(COPY), rewards=rewards)


@pytest.mark.parametrize("text_infos", [None, 0, "no"])
def test_text_infos_is_a_bool(text_infos: Any) -> None:
    """Nothing else is taken for one."""
    for make in (gymnasium.make, gymnasium.make_vec):
        with pytest.raises(ConfigError, match=r"text_infos=.* is not allowed; allowed: bool\."):
            make(COPY, text_infos=text_infos)


@pytest.mark.parametrize(
    "options",
    [
        {"group_size": True},
        {"group_size": None},
        {"group_size": "3"},
        {"group_size": -3},
        {"group_size": [3]},
        {"reset_mask": [True] * 3},
        {"reset_mask": np.ones((3, 1), dtype=bool)},
        {"reset_mask": "all"},
        {"prompt": np.array(["abba"] * 3)},
        {"prompt": ["abba", None, "abba"]},
        {"prompt": b"abba"},
        {"judge_together": None},
        {"judge_together": "yes"},
    ],
)
def test_values_of_options(options: dict[str, Any]) -> None:
    """Each is refused by name."""
    _, envs = make_both()
    with pytest.raises(RLFLError, match=next(iter(options))):
        envs.reset(options=options)


@pytest.mark.parametrize(
    "options",
    [
        {"prompt": "zz"},
        {"prompt": 5},
        {"level": 9},
        {"level": [0, 0]},
        {"level_weights": [0, 0, 0, 0]},
        {"level_weights": [1e308] * 4},
        {"group_size": 2},
        {"judge_together": True},
        {"action_mask": 1},
    ],
)
def test_a_refused_reset_changes_nothing(options: dict[str, Any]) -> None:
    """Neither streams nor levels, groups or the episodes in play, although the seed with it was right."""
    for env, twin in zip(make_both(), make_both(), strict=True):
        for each in (env, twin):
            each.reset(seed=7, options={"level": 1})
        with pytest.raises(RLFLError):
            env.reset(seed=5, options=options)
        token = 3 if isinstance(env, TokenEnv) else np.full(NUM_ENVS, 3)
        for _ in range(7):  # through the end and, of many, an autoreset
            np.testing.assert_array_equal(env.step(token)[0], twin.step(token)[0])
            if isinstance(env, TokenEnv) and env.completion == "aaaa":
                break
        np.testing.assert_array_equal(env.reset()[0], twin.reset()[0])


def test_after_an_error_of_the_task() -> None:
    """An episode whose judging raised is over: the next step asks for a reset, and a reset brings the next one."""

    class Failing(Parentheses):
        def evaluate(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
            raise RLFLError("no judge")

    env = TokenEnv(Failing())
    env.reset(seed=0)
    with pytest.raises(RLFLError, match="no judge"):
        env.step(env.tokenizer.eos_id)
    with pytest.raises(ResetNeeded):
        env.step(env.tokenizer.eos_id)
    env.reset()
    assert env.completion == ""


@pytest.mark.parametrize("value", [10**400, -(10**400)])
def test_numbers_too_large_for_a_float(value: int) -> None:
    """Python's integers have no end; a float's do."""
    for make in (load_task, gymnasium.make, gymnasium.make_vec):
        with pytest.raises(ConfigError, match="reward_scale="):
            make("rlfl/ArithmeticSteps-v0", reward_scale=value)


@pytest.mark.parametrize("id", IDS)
def test_an_unknown_argument_is_pythons_type_error(id: str) -> None:
    """In Python's own words, by which TorchRL's GymEnv knows that it has to go without; and still a ConfigError."""
    for make in (load_task, gymnasium.make, gymnasium.make_vec):
        with pytest.raises(TypeError, match="got an unexpected keyword argument 'frameskip'") as error:
            make(id, frameskip=1)
        assert isinstance(error.value, ConfigError)


@pytest.mark.parametrize("id", IDS)
def test_names_that_no_file_may_have(id: str) -> None:
    """A null character or a lone surrogate in an argument that may be a path is refused before a file is looked for."""
    for name in task_class(gymnasium.spec(id).kwargs["task"]).Config.files:
        for value in ("a\0b", "\ud800"):
            with pytest.raises(ConfigError) as error:
                load_task(id, **{name: value})
            assert str(error.value) == f"{name}={value!r} is not allowed; allowed: what a file may be called."


@pytest.mark.parametrize(("id", "arguments"), [(PLANNING, {"domain": __file__, "problems": "x" * 5000}), (LUDAX, {})])
def test_names_that_are_too_long(id: str, arguments: dict[str, str]) -> None:
    """Where a folder is looked through, the system's own error becomes ours."""
    if missing(id):
        pytest.skip(f"needs {', '.join(missing(id))}")
    with pytest.raises(ConfigError, match=r"problems=|corpus="):
        load_task(id, **(arguments or {"corpus": "x" * 5000}))
