"""TokenVectorEnv: equal to scalar environments step for step; masks and rendering."""

from __future__ import annotations

import tracemalloc
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from rlfl_envs import ActionError, TokenEnv, TokenVectorEnv, load_task
from tests.core.playing import NUM_ENVS, Player, assert_steps_equal, both, play_both
from tests.settings import (
    ANSWER,
    COPY,
    GIVEN,
    IDS,
    SETTINGS,
    SHORT,
    STEPS,
    Parentheses,
    save_vocabulary,
    sweep,
)


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
@sweep()
def test_equals_scalars(id: str, arguments: dict[str, Any], mode: str) -> None:
    """Seeded with s it is SyncVectorEnv seeded with s: all that a step returns, and the prompts, across autoresets."""
    reasons: dict[str, int] = {}
    for seed in (0, 11):
        native, sync = both(partial(load_task, id, **(SHORT.get(id, {}) | arguments)), mode)
        for reason, count in play_both(native, sync, 60, seed).items():
            reasons[reason] = reasons.get(reason, 0) + count
    assert sum(reasons.values()) > 20
    assert reasons["illegal"] > 0
    assert reasons.get("length", 0) + reasons.get("eos", 0) > 5


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
@pytest.mark.parametrize("mask", ["none", "syntax"])
@pytest.mark.parametrize("id", [STEPS, ANSWER, COPY])
def test_equals_scalars_in_a_hugging_face_vocabulary(id: str, mask: str, mode: str, gpt2_like_folder: Path) -> None:
    """The same where tokens are of many lengths and PAD, BOS and EOS are one token."""
    make = partial(load_task, id, vocabulary=str(gpt2_like_folder), mask=mask)
    reasons = play_both(*both(make, mode), 60, 3)
    assert sum(reasons.values()) > 10
    assert ("illegal" in reasons) == (mask == "syntax")  # there is no token that is never legal


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_equals_scalars_with_a_stopping_rule(mode: str) -> None:
    """The same for a task in text alone whose episodes end by a rule of its own."""
    reasons = play_both(*both(Parentheses, mode), 150, 0)
    assert min(reasons[reason] for reason in ("stop", "eos", "illegal")) > 5


@sweep()
def test_disabled_equals_scalars_up_to_their_ends(id: str, arguments: dict[str, Any]) -> None:
    """Under "Disabled" each plays as its scalar up to its first end; then it rests until a reset_mask names it."""
    native = TokenVectorEnv(load_task(id, **arguments), NUM_ENVS, autoreset_mode="Disabled")
    scalars = [TokenEnv(load_task(id, **arguments)) for _ in range(NUM_ENVS)]
    player = Player(native.task, NUM_ENVS, 0)
    observations, infos = native.reset(seed=4)
    finished = np.zeros(NUM_ENVS, dtype=bool)
    for row, env in enumerate(scalars):
        assert env.reset(seed=4 + row)[0].tolist() == observations[row].tolist()
        player.begin(row, native.prompt(row))
    for step in range(80):
        actions = player.act(native.action_masks())
        before, was_finished = observations, finished
        observations, rewards, finished, truncated, infos = native.step(actions)
        assert not truncated.any()
        for row, env in enumerate(scalars):
            if was_finished[row]:
                assert (rewards[row], finished[row]) == (0, True)
                assert observations[row].tolist() == before[row].tolist()
                assert "is_success" not in infos or not infos["_is_success"][row]
                continue
            observation, reward, terminated, _, info = env.step(actions[row])
            assert observations[row].tolist() == observation.tolist()
            assert (rewards[row], finished[row]) == (reward, terminated)
            assert infos["action_mask"][row].tolist() == info.pop("action_mask").tolist()
            assert terminated == bool(info) == ("is_success" in infos and infos["_is_success"][row])
            parts = info.pop("reward_parts", {})
            assert all(infos[key][row] == value and infos[f"_{key}"][row] for key, value in info.items())
            assert all(infos["reward_parts"][key][row] == value for key, value in parts.items())
        if step % 7 == 6 and finished.any():
            others = observations
            observations, infos = native.reset(options={"reset_mask": finished})
            np.testing.assert_array_equal(infos["_action_mask"], finished)
            np.testing.assert_array_equal(observations[~finished], others[~finished])
            for row in np.flatnonzero(finished).tolist():
                assert scalars[row].reset()[0].tolist() == observations[row].tolist()
                player.begin(row, native.prompt(row))
            finished = np.zeros(NUM_ENVS, dtype=bool)
    assert rewards.dtype == np.float64


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_reset_with_a_mask_equals_scalars(mode: str) -> None:
    """A reset of some, with seeds of their own, is Gymnasium's, and the others go on."""
    native, sync = both(partial(load_task, STEPS), mode, 4)
    native.reset(seed=1), sync.reset(seed=1)
    actions = native.tokenizer.encode("1+2+")
    chosen = np.array([True, False, False, True])
    native.step(np.array(actions)), sync.step(np.array(actions))
    ours = native.reset(seed=[5, None, None, None], options={"reset_mask": chosen})
    assert_steps_equal(ours, sync.reset(seed=[5, None, None, None], options={"reset_mask": chosen}))
    eos = np.full(4, native.tokenizer.eos_id)
    assert_steps_equal(native.step(eos), sync.step(eos))


@pytest.mark.parametrize("seed", [7, [3, 1, 4, 1, 5], [3, None, 4, None, 5]])
def test_seeds(seed: Any) -> None:
    """An integer, a list, or a list with gaps, as in SyncVectorEnv; later resets go on without a seed."""
    native, sync = both(partial(load_task, GIVEN), "NextStep")
    native.reset(seed=100), sync.reset(seed=100)
    for ours, theirs in ((native.reset(seed=seed), sync.reset(seed=seed)), (native.reset(), sync.reset())):
        assert_steps_equal(ours, theirs)


def test_equal_seeds_do_not_follow_each_other() -> None:
    """Environments seeded s and s + 1 play unrelated prompts, whenever each is reset."""
    native = TokenVectorEnv(load_task(STEPS), 50)
    texts = []
    for episode in range(20):
        native.reset(seed=0 if episode == 0 else None)
        texts += [prompt.text for prompt in native.prompts]
    assert len(set(texts)) > 980


# --- masks ---------------------------------------------------------------------------------------------------------


def test_a_constant_mask_is_a_view() -> None:
    """Where all rows are alike the mask is one read-only row, seen N times; it is the same row at every step."""
    envs = TokenVectorEnv(load_task(STEPS), 8)
    _, infos = envs.reset(seed=0)
    _, _, _, _, later = envs.step(np.full(8, 5))
    for masks in (infos["action_mask"], later["action_mask"]):
        assert masks.shape == (8, envs.tokenizer.vocab_size)
        assert masks.strides[0] == 0
        assert not masks.flags.writeable
    assert np.shares_memory(infos["action_mask"], later["action_mask"])


def test_masks_that_differ_are_copies() -> None:
    """A mask that is kept never changes, and may be written to without harm."""
    envs = TokenVectorEnv(load_task(STEPS, mask="syntax", operators="+-*"), 16)
    _, infos = envs.reset(seed=0)
    rng = np.random.default_rng(0)
    kept = []
    for _ in range(60):
        masks = infos["action_mask"]
        kept.append((masks, masks.copy()))
        _, _, _, _, infos = envs.step(np.array([rng.choice(np.flatnonzero(mask)) for mask in masks]))
    assert any(masks.flags.writeable for masks, _ in kept)
    assert all((masks == copy).all() for masks, copy in kept)
    legal = envs.action_masks()
    infos["action_mask"] = np.array(infos["action_mask"])
    infos["action_mask"][:] = 0
    np.testing.assert_array_equal(envs.action_masks(), legal)


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_a_large_vocabulary_costs_nothing_per_step(mode: str, tmp_path: Path) -> None:
    """With 50,000 tokens and 16 environments a step allocates less than one row of the mask."""
    path = save_vocabulary(tmp_path, [*"abcdefgh", *(f"<{i}>" for i in range(50_000))])
    envs = TokenVectorEnv(load_task(COPY, vocabulary=path, max_completion_tokens=6), 16, autoreset_mode=mode)
    envs.reset(seed=0)
    letters = np.random.default_rng(0).integers(3, 11, size=(40, 16))
    for actions in letters[:20]:
        envs.step(actions)
    tracemalloc.start()
    for actions in letters[20:]:
        _, _, _, _, infos = envs.step(actions)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert infos["action_mask"].shape == (16, 50_011)
    assert peak < 50_000


# --- the rest of the surface ---------------------------------------------------------------------------------------


@sweep([(STEPS, {}), (GIVEN, {}), (COPY, {})])
@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_rendering_equals_scalars(id: str, arguments: dict[str, Any], mode: str) -> None:
    """Every frame is the scalar's: nothing before a reset, the reward at an end, the new prompt after a reset."""
    native = TokenVectorEnv(load_task(id, **arguments), 3, autoreset_mode=mode, render_mode="ansi")
    sync = SyncVectorEnv(
        [lambda: TokenEnv(load_task(id, **arguments), render_mode="ansi")] * 3, autoreset_mode=AutoresetMode(mode)
    )
    assert native.render() == tuple(env.render() for env in sync.envs) == ("", "", "")
    player = Player(native.task, 3, 0)
    _, infos = native.reset(seed=0)
    sync.reset(seed=0)
    for _ in range(40):
        assert native.render() == tuple(env.render() for env in sync.envs)
        actions = player.act(infos["action_mask"])
        infos = native.step(actions)[-1]
        sync.step(actions)


def test_rendering_under_disabled_keeps_the_end() -> None:
    """A finished environment goes on showing how it ended."""
    envs = TokenVectorEnv(load_task(COPY), 2, autoreset_mode="Disabled", render_mode="ansi")
    envs.reset(options={"prompt": ["abba", "hdba"]})
    a, eos = envs.tokenizer.encode("a")[0], envs.tokenizer.eos_id
    envs.step(np.array([a, a]))
    envs.step(np.array([eos, a]))
    envs.step(np.array([a, a]))
    ended = "abba[a]  reward=0.25 (no success, ok, ended by eos; right_characters=1)"
    assert envs.render() == (ended, "hdba[aaa")


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_human_rendering_prints_each_end(mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With render_mode "human" every step prints; rewards too under "SameStep", which resets at once."""
    envs = TokenVectorEnv(load_task(COPY), 2, autoreset_mode=mode, render_mode="human")
    envs.reset(options={"prompt": "abba"})
    envs.step(np.full(2, envs.tokenizer.eos_id))
    assert envs.render() is None
    printed = capsys.readouterr().out
    assert printed.startswith("abba[\nabba[\nabba[]  reward=0 (no success")


def test_step_before_reset() -> None:
    """As for scalars it is an error, also where only some were reset."""
    envs = TokenVectorEnv(load_task(COPY), 2)
    with pytest.raises(ResetNeeded):
        envs.step(np.array([3, 3]))
    envs.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(ResetNeeded):
        envs.step(np.array([3, 3]))


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([3, 11], r"actions[1]=11 is not allowed; allowed: an integer 0..10."),
        ([-1, 3], r"actions[0]=-1 is not allowed; allowed: an integer 0..10."),
        ([3.0, 3.0], "actions of shape (2,) and type float64 are not allowed; allowed: integers of shape (2,)."),
        ([3], "actions of shape (1,) and type int64 are not allowed; allowed: integers of shape (2,)."),
    ],
)
def test_impossible_actions(actions: list[Any], message: str) -> None:
    """What is no token id raises, and says what is allowed; nothing has changed then."""
    envs = TokenVectorEnv(load_task(COPY), 2)
    observations, _ = envs.reset(seed=0)
    with pytest.raises(ActionError) as error:
        envs.step(np.array(actions))
    assert str(error.value) == message
    after, *_ = envs.step(np.array([3, 4], dtype=np.uint8))
    np.testing.assert_array_equal(after[:, : envs.prompt_length], observations[:, : envs.prompt_length])


def test_returned_arrays_are_the_callers() -> None:
    """Observations and rewards that are kept, or written to, are independent of the environment."""
    envs = TokenVectorEnv(load_task(COPY), 3)
    observations, _ = envs.reset(seed=0)
    kept = observations.copy()
    observations[:] = 0
    after, rewards, ended, truncated, _ = envs.step(np.array([3, 4, 5]))
    np.testing.assert_array_equal(after[:, : envs.prompt_length], kept[:, : envs.prompt_length])
    for array in (after, rewards, ended, truncated):
        array[:] = 1
    later, *_ = envs.step(np.array([3, 4, 5]))
    assert later[:, envs.prompt_length].tolist() == [3, 4, 5]


def test_metadata_and_spaces() -> None:
    """The instance says its autoreset mode as Gymnasium's enum; the spaces hold what comes out of it."""
    for mode in AutoresetMode:
        for name in (mode, mode.value, mode.name):
            envs = gymnasium.make_vec(COPY, num_envs=3, autoreset_mode=name)
            assert isinstance(envs, TokenVectorEnv)
            assert envs.metadata["autoreset_mode"] is mode
    assert TokenVectorEnv.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    observations, _ = envs.reset(seed=0)
    assert envs.observation_space.contains(observations)
    assert envs.single_observation_space.contains(observations[0])
    assert envs.action_space.contains(np.array([0, 5, 10]))


def test_every_setting_is_swept() -> None:
    """No id is left out of the comparison."""
    assert {id for id, _ in SETTINGS} == set(IDS)
