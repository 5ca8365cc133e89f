"""TokenVectorEnv: equal to scalar environments step for step; groups, prompts, streams, masks and rendering."""

from __future__ import annotations

import pickle
import tracemalloc
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import rlfl_envs
from rlfl_envs import ActionError, ConfigError, PromptError, Task, TokenEnv, TokenVectorEnv, load_task
from tests.settings import (
    ANSWER,
    COPY,
    GIVEN,
    IDS,
    QUICK,
    SETTINGS,
    SHORT,
    STEPS,
    Parentheses,
    answer_to,
    read_prompt,
    save_vocabulary,
    sweep,
)

NUM_ENVS = 5


class Player:
    """Chooses actions: whole references, spoilt references, random legal tokens, and now and then an illegal one."""

    def __init__(self, task: Task, num_envs: int, seed: int) -> None:
        """Takes the task and a seed of its own."""
        self.task = task
        self.rng = np.random.default_rng(seed)
        self.plans: list[list[int]] = [[] for _ in range(num_envs)]

    def begin(self, row: int, prompt: rlfl_envs.Prompt) -> None:
        """Plans an episode."""
        tokenizer, plan = self.task.tokenizer, []
        kind = self.rng.choice(["reference", "spoilt", "early", "random", "illegal"], p=[0.35, 0.2, 0.1, 0.25, 0.1])
        if kind in ("reference", "spoilt", "early", "illegal"):
            plan = [*tokenizer.encode(answer_to(self.task, prompt, self.rng)), tokenizer.eos_id]
        if kind == "spoilt" and plan:
            plan[self.rng.integers(len(plan))] = int(self.rng.integers(tokenizer.vocab_size))
        if kind in ("early", "illegal") and plan:
            end = tokenizer.eos_id if kind == "early" else tokenizer.pad_id
            plan = [*plan[: self.rng.integers(len(plan))], end]
        self.plans[row] = plan

    def act(self, masks: np.ndarray) -> np.ndarray:
        """One action a row; where the plan is over a random legal one, or rarely any token at all."""
        actions = []
        for plan, mask in zip(self.plans, masks, strict=True):
            legal = np.flatnonzero(mask) if self.rng.random() < 0.97 else np.arange(len(mask))
            actions.append(plan.pop(0) if plan else self.rng.choice(legal))
        return np.array(actions)


def assert_infos_equal(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Same keys, presence masks, types and values; fillers too."""
    assert set(ours) == set(theirs)
    for key, value in ours.items():
        if isinstance(value, dict):
            assert_infos_equal(value, theirs[key])
            continue
        assert value.dtype == theirs[key].dtype, key
        assert value.shape == theirs[key].shape, key
        if key == "final_obs":
            assert [None if row is None else row.tolist() for row in value] == [
                None if row is None else row.tolist() for row in theirs[key]
            ]
        else:
            np.testing.assert_array_equal(value, theirs[key], err_msg=key)


def assert_steps_equal(ours: tuple[Any, ...], theirs: tuple[Any, ...]) -> None:
    """Observations, rewards and endings: same types, same values; then infos."""
    assert len(ours) == len(theirs)
    for one, other in zip(ours[:-1], theirs[:-1], strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    assert_infos_equal(ours[-1], theirs[-1])


def both(make: Any, mode: str, num_envs: int = NUM_ENVS) -> tuple[TokenVectorEnv, SyncVectorEnv]:
    """The native environments and Gymnasium's, of one task."""
    native = TokenVectorEnv(make(), num_envs, autoreset_mode=mode)
    sync = SyncVectorEnv([lambda: TokenEnv(make())] * num_envs, autoreset_mode=AutoresetMode(mode))
    return native, sync


def play_both(native: TokenVectorEnv, sync: SyncVectorEnv, steps: int, seed: int) -> dict[str, int]:
    """Plays both with the same actions and asserts that they are equal; counts the ways episodes ended."""
    mode, rows = native.autoreset_mode, range(native.num_envs)
    player = Player(native.task, native.num_envs, seed)
    first = native.reset(seed=seed)
    assert_steps_equal(first, sync.reset(seed=seed))
    starting, masks = np.ones(native.num_envs, dtype=bool), first[1]["action_mask"]
    finished = np.zeros(native.num_envs, dtype=bool)
    reasons: dict[str, int] = {}
    for _ in range(steps):
        for row in np.flatnonzero(starting).tolist():
            player.begin(row, native.prompt(row))
        assert [native.prompt(row) for row in rows] == [env.unwrapped.prompt for env in sync.envs]
        actions = player.act(masks)
        ours = native.step(actions)
        assert_steps_equal(ours, sync.step(actions))
        np.testing.assert_array_equal(native.action_masks(), ours[-1]["action_mask"] == 1)
        ended, infos, masks = ours[2], ours[-1], ours[-1]["action_mask"]
        ends = infos.get("final_info", infos)
        for row in np.flatnonzero(ended).tolist():
            reason = ends["finish_reason"][row]
            reasons[reason] = reasons.get(reason, 0) + 1
            if reason == "illegal":
                assert ours[1][row] == native.task.reward_range[0]
        starting = ended if mode is AutoresetMode.SAME_STEP else finished
        finished = ended
    return reasons


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
