"""Playing vector environments beside scalar ones, and telling whether all that they return is the same."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import rlfl_envs
from rlfl_envs import Task, TokenEnv, TokenVectorEnv
from tests.settings import (
    answer_to,
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
