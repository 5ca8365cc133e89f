"""TokenVectorEnv: groups that share a prompt, given prompts, and the streams that prompts come from."""

from __future__ import annotations

import pickle
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from rlfl_envs import ConfigError, PromptError, TokenEnv, TokenVectorEnv, load_task
from tests.core.playing import NUM_ENVS, Player
from tests.settings import (
    COPY,
    GIVEN,
    IDS,
    QUICK,
    SHORT,
    STEPS,
    read_prompt,
)

# --- groups --------------------------------------------------------------------------------------------------------


def episodes(envs: TokenVectorEnv, steps: int, seed: int = 0) -> list[list[str]]:
    """Plays random tokens and returns each environment's prompts, in order."""
    rng = np.random.default_rng(seed)
    texts = [[prompt.text] for prompt in envs.prompts]
    resting = np.zeros(envs.num_envs, dtype=bool)
    for _ in range(steps):
        ended = envs.step(rng.integers(2, envs.tokenizer.vocab_size, size=envs.num_envs))[2]
        for row in np.flatnonzero(ended if envs.autoreset_mode is AutoresetMode.SAME_STEP else resting).tolist():
            texts[row].append(envs.prompt(row).text)
        resting = ended
    return texts


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
@pytest.mark.parametrize("id", IDS)
def test_groups_play_their_leaders_prompts(id: str, mode: str) -> None:
    """With group_size k, the m-th prompt of env i is the m-th of env k * (i // k) without groups; autoresets too."""
    arguments = SHORT.get(id, {}) | QUICK.get(id, {})
    alone = TokenVectorEnv(load_task(id, **arguments), 6, autoreset_mode=mode)
    alone.reset(seed=9)
    streams = episodes(alone, 60)
    grouped = TokenVectorEnv(load_task(id, **arguments), 6, autoreset_mode=mode)
    grouped.reset(seed=9, options={"group_size": 3})
    for row, texts in enumerate(episodes(grouped, 60, seed=1)):
        shared = min(len(texts), len(streams[row // 3 * 3]))
        assert shared > 2
        assert texts[:shared] == streams[row // 3 * 3][:shared]


@pytest.mark.parametrize("id", IDS)
def test_groups_leave_streams_as_they_were(id: str) -> None:
    """A later reset without group_size goes on where each environment's own stream would have been."""
    alone, grouped = (
        TokenVectorEnv(load_task(id, **QUICK.get(id, {})), 6, autoreset_mode="SameStep") for _ in range(2)
    )
    alone.reset(seed=9), grouped.reset(seed=9, options={"group_size": 2})
    assert [len(texts) for texts in episodes(alone, 40)] == [len(texts) for texts in episodes(grouped, 40)]
    alone.reset(), grouped.reset()
    assert grouped.prompts == alone.prompts


def test_groups_share_prompts_after_unequal_play() -> None:
    """Environments that played different numbers of episodes still get their leader's next prompt."""
    envs = TokenVectorEnv(load_task(COPY), 6, autoreset_mode="SameStep")
    alone = TokenVectorEnv(load_task(COPY), 6, autoreset_mode="SameStep")
    for each in (envs, alone):
        each.reset(seed=2)
        assert len({len(texts) for texts in episodes(each, 40)}) > 1
    envs.reset(options={"group_size": 3})
    alone.reset()
    texts, own = [prompt.text for prompt in envs.prompts], [prompt.text for prompt in alone.prompts]
    assert texts == [own[0]] * 3 + [own[3]] * 3


def test_groups_hold_under_reset_masks() -> None:
    """A reset of some keeps the grouping of the last full reset."""
    envs = TokenVectorEnv(load_task(COPY), 4, autoreset_mode="Disabled")
    envs.reset(seed=0, options={"group_size": 2})
    envs.reset(options={"reset_mask": np.array([False, False, True, True])})
    texts = [prompt.text for prompt in envs.prompts]
    assert texts[0] == texts[1] != texts[2] == texts[3]


def test_a_leader_that_was_never_reset() -> None:
    """Its stream begins with the first that read it: prompts follow the seed, and the leader plays them later."""
    others, leader = np.array([False, True, True, True]), np.array([True, False, False, False])
    played = []
    for seed in (0, 1):
        envs = TokenVectorEnv(load_task(COPY), 4, autoreset_mode="Disabled")
        envs.reset(seed=seed, options={"group_size": 4, "reset_mask": others})
        envs.reset(options={"reset_mask": leader})
        assert len({prompt.text for prompt in envs.prompts}) == 1
        alone = TokenEnv(load_task(COPY))
        alone.reset(seed=seed)
        assert envs.prompt(0) == alone.prompt
        played.append(envs.prompt(0).text)
    assert played[0] != played[1]


def test_a_new_seed_within_a_group() -> None:
    """A member that is seeded anew plays its leader's next prompt; after a new seed of the leader all play that one's.

    It had played more episodes than its leader, whose stream has no prompts before the first.
    """
    envs, leader = TokenVectorEnv(load_task(COPY), 2, autoreset_mode="Disabled"), TokenEnv(load_task(COPY))
    member, first = np.array([False, True]), np.array([True, False])
    envs.reset(seed=0)
    for _ in range(4):
        envs.reset(options={"reset_mask": member})
    envs.reset(options={"group_size": 2})
    envs.reset(seed=[None, 7], options={"reset_mask": member})
    leader.reset(seed=0), leader.reset(), leader.reset()
    assert envs.prompt(1) == leader.prompt
    envs.reset(seed=[3, None], options={"reset_mask": first})
    envs.reset(options={"reset_mask": member})
    leader.reset(seed=3)
    assert envs.prompts == [leader.prompt] * 2


# --- prompts and streams -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", IDS)
def test_judged_together_as_apart(id: str) -> None:
    """Judged at once, episodes earn what they earn one by one; the last to end brings the rewards of all."""
    apart, together = (
        gymnasium.make_vec(id, num_envs=NUM_ENVS, autoreset_mode="Disabled", **QUICK.get(id, {})) for _ in range(2)
    )
    apart.reset(seed=3)
    _, infos = together.reset(seed=3, options={"judge_together": True})
    player = Player(apart.task, NUM_ENVS, seed=3)
    for row in range(NUM_ENVS):
        player.begin(row, apart.prompt(row))
    earned, terminated = np.zeros(NUM_ENVS), np.zeros(NUM_ENVS, dtype=bool)
    completions = np.full(NUM_ENVS, None, dtype=object)
    while not terminated.all():
        assert "is_success" not in infos
        actions = player.act(infos["action_mask"])
        observation, rewards, terminated, _, infos = together.step(actions)
        one_by_one = apart.step(actions)
        np.testing.assert_array_equal(observation, one_by_one[0])
        np.testing.assert_array_equal(terminated, one_by_one[2])
        earned += one_by_one[1]
        ended = one_by_one[-1].get("_is_success", np.zeros(NUM_ENVS, dtype=bool))
        completions[ended] = one_by_one[-1].get("completion", completions)[ended]
    np.testing.assert_array_equal(rewards, earned)
    np.testing.assert_array_equal(infos["completion"], completions)
    assert infos["_is_success"].all()
    assert together.step(actions)[1].sum() == 0


def test_judged_together_after_a_reset_of_some() -> None:
    """An episode that ended goes on waiting while others begin anew, and is judged with them."""
    envs = gymnasium.make_vec(COPY, num_envs=2, autoreset_mode="Disabled")
    envs.reset(options={"judge_together": True, "prompt": "abba"})
    a, b = envs.unwrapped.tokenizer.encode("ab")
    eos = envs.unwrapped.tokenizer.eos_id
    envs.step(np.array([a, a]))
    _, rewards, _, _, infos = envs.step(np.array([eos, b]))
    assert "is_success" not in infos
    envs.reset(options={"reset_mask": np.array([False, True]), "prompt": "bbbb"})
    envs.step(np.array([a, b]))
    _, rewards, terminated, _, infos = envs.step(np.array([a, eos]))
    assert (rewards.tolist(), terminated.tolist()) == ([0.25, 0.25], [True, True])
    assert infos["completion"].tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("NextStep", {"judge_together": True}),
        ("Disabled", {"judge_together": 1}),
        ("Disabled", {"judge_together": True, "reset_mask": np.array([True, False])}),
    ],
)
def test_judged_together_is_for_whole_batches(mode: str, options: dict[str, Any]) -> None:
    """Where episodes begin at different times there is no last one to wait for."""
    envs = gymnasium.make_vec(COPY, num_envs=2, autoreset_mode=mode)
    with pytest.raises(ConfigError, match="judge_together"):
        envs.reset(options=options)


def test_given_prompts() -> None:
    """One prompt for all, or one each; the streams stay where they are, and those not reset keep theirs."""
    envs = TokenVectorEnv(load_task(GIVEN), 3, autoreset_mode="Disabled")
    envs.reset(seed=0)
    drawn = [prompt.text for prompt in envs.prompts]
    envs.reset(seed=0, options={"prompt": "2+3="})
    assert [prompt.text for prompt in envs.prompts] == ["2+3="] * 3
    envs.reset()
    assert [prompt.text for prompt in envs.prompts] == drawn
    envs.reset(options={"prompt": ["1+1=", "2+2=", "3+3+3=6+3="], "reset_mask": np.array([True, False, True])})
    assert [prompt.text for prompt in envs.prompts] == ["1+1=", drawn[1], "3+3+3=6+3="]
    assert envs.prompt(1).text == drawn[1]
    _, rewards, _, _, infos = envs.step(np.array(envs.tokenizer.encode("2") * 3))
    assert infos["is_success"].tolist() == [True, False, False]
    assert rewards[0] == 1
    with pytest.raises(PromptError):
        envs.reset(options={"prompt": "2+"})


def test_a_given_prompt_is_the_scalars() -> None:
    """A prompt with spaces is the same prompt in both, without them."""
    envs, env = TokenVectorEnv(load_task(STEPS), 1, render_mode="ansi"), TokenEnv(load_task(STEPS), render_mode="ansi")
    ours, _ = envs.reset(options={"prompt": "2 + 3="})
    theirs, _ = env.reset(options={"prompt": "2 + 3="})
    np.testing.assert_array_equal(ours[0], theirs)
    assert envs.prompts[0] == env.prompt
    assert read_prompt(env) == "2+3="
    assert envs.render() == (env.render(),)


@pytest.mark.parametrize("id", IDS)
def test_rng_state_round_trip(id: str) -> None:
    """From a saved state another environment, or the same one later, draws exactly the same prompts."""
    envs = TokenVectorEnv(load_task(id), 4, autoreset_mode="SameStep")
    envs.reset(seed=5)
    episodes(envs, 15)
    saved = pickle.loads(pickle.dumps(envs.rng_state))
    assert {name: values.dtype.name for name, values in saved.items()} == {
        "streams": "uint64",
        "episodes": "int64",
        "is_seeded": "bool",
    }
    other = TokenVectorEnv(load_task(id), 4, autoreset_mode="SameStep")
    runs = []
    for each in (envs, other, envs):
        each.rng_state = saved
        each.reset()
        runs.append([episodes(each, 20), [prompt.text for prompt in each.prompts]])
    assert runs[0] == runs[1] == runs[2]
    with pytest.raises(ConfigError, match="rng_state"):
        envs.rng_state = {"streams": saved["streams"]}


def test_unseeded_environments_differ() -> None:
    """Without a seed each environment draws its own."""
    first, second = (TokenVectorEnv(load_task(STEPS), 8) for _ in range(2))
    first.reset(), second.reset()
    assert len({prompt.text for prompt in [*first.prompts, *second.prompts]}) > 14


# --- ahead ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", IDS)
def test_drawing_ahead_changes_nothing(id: str) -> None:
    """The prompts of many resets are the same: alone, in groups, after a seed, of a level, and given ones between."""
    task = load_task(id, **(SHORT.get(id, {}) | QUICK.get(id, {})))
    resets: list[dict[str, Any]] = [{"seed": 4}, {}, {"options": {"group_size": 3}}, {"options": {"group_size": 3}}]
    resets += [{"seed": 7}, {}, {"options": {"level": 0} if task.levels else {}}, {}]
    plain, ahead = (TokenVectorEnv(task, 6, autoreset_mode="Disabled") for _ in range(2))
    for number, arguments in enumerate(resets):
        assert np.array_equal(plain.reset(**arguments)[0], ahead.reset(**arguments)[0]), number
        for _ in range(number % 3):
            ahead.draw_ahead()


@pytest.mark.parametrize("group_size", [1, 3])
def test_what_was_drawn_ahead_is_not_drawn_again(monkeypatch: pytest.MonkeyPatch, group_size: int) -> None:
    """A reset that goes on asks for no prompt; the one after it does."""
    envs = TokenVectorEnv(load_task(COPY), 6, autoreset_mode="Disabled")
    options = {"group_size": group_size}
    envs.reset(seed=4, options=options)
    envs.draw_ahead()
    asked: list[int] = []
    monkeypatch.setattr(envs._bank, "_fill", lambda rows, *_: asked.append(len(rows)))
    envs.reset(options=options)
    assert asked == []
    with pytest.raises(IndexError):
        envs.reset(options=options)
    assert asked == [6]
