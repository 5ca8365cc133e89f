"""Refilling: flat groups are found, replaced by others as far as there are any, and counted; a run resumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rlfl_agents.environments import make_envs
from rlfl_agents.learn.losses import gather_log_probs
from rlfl_agents.ppo import train
from rlfl_agents.rollout.collect import collect
from rlfl_agents.rollout.refill import refilled
from rlfl_agents.rollout.rollout import Rollout
from rlfl_agents.rollout.sampler import Sampler
from rlfl_agents.run.checkpoint import latest, load
from rlfl_agents.run.metrics import read_metrics
from rlfl_envs import ConfigError

from .conftest import small_config, small_policy


def with_rewards(rollout: Rollout, rewards: list[list[float]]) -> Rollout:
    """The rollout with these returns, a row for each group."""
    last = torch.zeros_like(rollout.rewards)
    last[:, 0] = torch.tensor(rewards).flatten()
    return replace(rollout, rewards=last)


def test_flat_groups_make_room_for_others() -> None:
    """The first useful groups take the places of the flat ones; masks and log-probabilities are theirs."""
    envs = make_envs("rlfl/ArithmeticSteps-v0", 8, mask="syntax")
    policy = small_policy(envs, value="none")
    first, second = (
        collect(policy, envs, torch.Generator().manual_seed(seed), group_size=2, seed=seed) for seed in (0, 9)
    )
    first = with_rewards(first, [[0, 1], [1, 1], [0, 0], [0.5, 0.5]])
    second = with_rewards(second, [[1, 1], [0, 1], [0, 0], [1, 0]])
    assert first.is_flat.tolist() == [False, True, True, True]
    rounded = with_rewards(first, [[0, 1e-5], [1, 1.0000001], [0, 0], [0.1, 0.30000001 - 0.2]])
    assert rounded.is_flat.tolist() == [False, True, True, True]
    found = refilled(first, second)
    prompts = [first.prompts[0], second.prompts[1], second.prompts[3], first.prompts[3]]
    assert found.prompts.equal(torch.stack(prompts))
    assert second.after(first).seconds_model == pytest.approx(first.seconds_model + second.seconds_model)
    assert second.after(first).seconds_env == pytest.approx(first.seconds_env + second.seconds_env)
    assert found.is_flat.tolist() == [False, False, False, True]
    assert found.episode_rewards.tolist() == [0, 1, 0, 1, 1, 0, 0.5, 0.5]
    assert found.parts["error"].tolist() == [
        *(first.parts["error"][:2].tolist() + second.parts["error"][2:4].tolist()),
        *(second.parts["error"][6:].tolist() + first.parts["error"][6:].tolist()),
    ]
    with torch.no_grad():
        dist, _ = policy(found.prompts, found.completions, found.masks)
    again = gather_log_probs(dist, found.completions)
    torch.testing.assert_close(again[found.active], found.log_probs[found.active], atol=2e-5, rtol=1e-4)


def test_a_group_of_one_is_never_flat() -> None:
    """There is nothing to compare it with."""
    envs = make_envs("rlfl/Copy-v0", 4)
    rollout = collect(small_policy(envs), envs, torch.Generator().manual_seed(0), seed=0)
    assert rollout.is_flat.tolist() == [False] * 4


def test_a_refilled_run_counts_what_it_sampled_and_goes_on(tmp_path: Path) -> None:
    """Fewer groups are flat than without, more completions are sampled, and a resumed run ends like a whole one."""
    settings: dict[str, Any] = {"env_kwargs": {"alphabet": "abc", "length": 2, "split": "all"}}
    train(small_config(**settings, total_samples=32 * 4), tmp_path / "plain", quiet=True)
    settings["refill"] = 2
    train(small_config(**settings, total_samples=32 * 4), tmp_path / "whole", quiet=True)
    train(small_config(**settings, total_samples=32 * 2), tmp_path / "broken", quiet=True)
    train(small_config(**settings, total_samples=32 * 4), tmp_path / "broken", resume=True, quiet=True)
    plain, whole, broken = (read_metrics(tmp_path / name) for name in ("plain", "whole", "broken"))
    assert whole["flat_groups"][1] < plain["flat_groups"][1]
    extra = [samples - 32 * update for samples, update in zip(whole["samples"], whole["update"], strict=True)]
    assert 0 < extra[1] <= 64
    assert extra[1] <= extra[-1] <= 64 * 4
    assert whole["samples"] == broken["samples"]
    one, two = (load(latest(tmp_path / name) or tmp_path) for name in ("whole", "broken"))
    assert all(torch.equal(one["model"][name], two["model"][name]) for name in one["model"])


def test_success_by_level_is_of_all_that_was_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All prompts are of one level: in every update its success is the mean over what came first and what refilled."""
    observed: list[list[float]] = []
    real = Sampler.observe

    def noting(sampler: Sampler, solved: torch.Tensor, kinds: torch.Tensor, *, is_more: bool = False) -> None:
        observed[len(observed) - is_more :] = [(observed[-1] if is_more else []) + solved.tolist()]
        real(sampler, solved, kinds, is_more=is_more)

    monkeypatch.setattr(Sampler, "observe", noting)
    settings = {"env_kwargs": {"alphabet": "abc", "length": 2, "split": "all"}, "level_weights": (1.0, 0.0)}
    train(small_config(**settings, refill=2, total_samples=32 * 3), tmp_path, quiet=True)
    assert max(map(len, observed)) > 8  # something was refilled
    means = [sum(shares) / len(shares) for shares in observed]
    assert read_metrics(tmp_path)["level/0"][1:] == pytest.approx(means)


@pytest.mark.parametrize("changes", [{"advantage": "gae"}, {"kl": "fixed"}])
def test_what_cannot_be_refilled_is_refused(changes: dict[str, Any]) -> None:
    """Where groups are not what is compared, and where a reference would have to be asked again."""
    with pytest.raises(ConfigError, match="refill=1 replaces groups: advantage="):
        small_config(**changes, refill=1)
