"""TrainState: two runs whose states are equal go on alike, and settings that came later break no older run."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from rlfl_agents.environments import make_envs
from rlfl_agents.learn.schedules import Coefficient, KLController
from rlfl_agents.ppo import train
from rlfl_agents.rollout.batch import compare
from rlfl_agents.rollout.collect import collect
from rlfl_agents.rollout.sampler import Sampler
from rlfl_agents.run import checkpoint
from rlfl_agents.run.metrics import read_metrics
from rlfl_agents.run.state import TrainState
from rlfl_agents.update import improve
from rlfl_envs import ConfigError

from .conftest import small_config, small_policy

CONFIG = small_config(
    env_kwargs={"mask": "syntax"},
    advantage="gae",
    kl="adaptive",
    entropy_coef=0.1,
    entropy_target=0.2,
    batch_entropy_coef=0.2,
    batch_entropy_target=0.3,
)


def fresh(seed: int) -> TrainState:
    """A state that has not learned anything yet; each seed has other weights, prompts and noise."""
    envs = make_envs(CONFIG.env_id, CONFIG.rows, **CONFIG.env_kwargs)
    accelerator = Accelerator(cpu=True)
    policy = small_policy(envs, seed)
    model, optimizer = accelerator.prepare(policy, torch.optim.AdamW(policy.parameters(), lr=0.01))
    envs.reset(seed=seed * 1000)
    return TrainState(
        accelerator,
        model,
        optimizer,
        envs,
        Sampler(CONFIG, envs.task),
        torch.Generator().manual_seed(seed),
        KLController(0.1, 6.0, 100),
        Coefficient(0.1, target=0.2),
        Coefficient(0.2, target=0.3),
    )


def go_on(state: TrainState) -> dict[str, Any]:
    """One update, with a draw from each of the global generators."""
    rollout = collect(state.policy, state.envs, state.generator, group_size=CONFIG.group_size)
    batch = compare(rollout, rollout.log_probs, 0.0, CONFIG)
    rates = state.rates(CONFIG)
    learned = improve(CONFIG, state, batch, rates)
    row = {"update": state.update + 1, "clock/minutes": state.minutes + 1.0, "ref_kl": 7.0, **learned}
    state.observe(row, CONFIG.rows)
    state.seen.update(np.array([state.update]))
    draws = {"python": random.random(), "numpy": np.random.random(), "torch": torch.rand(1).item()}  # noqa: NPY002
    return learned | rates._asdict() | draws | {"rewards": rollout.episode_rewards.tolist()}


def test_a_restored_state_goes_on_as_the_one_that_was_kept(tmp_path: Path) -> None:
    """Through a file: weights, optimiser, prompts, noise, steered weights and counts, all bit by bit."""
    kept = fresh(0)
    go_on(kept)
    assert kept.is_best({"eval/success": 0.5, "eval/reward": 0.25})
    folder = checkpoint.save(tmp_path, kept.state_dict(), keep=1)
    expected = [go_on(kept) for _ in range(2)]

    restored = fresh(1)
    go_on(restored)
    restored.load_state_dict(checkpoint.load(folder))
    assert (restored.update, restored.minutes, restored.best) == (1, 1.0, (0.5, 0.25))
    assert restored.seen.array().tolist() == [1]
    assert [go_on(restored) for _ in range(2)] == expected
    ends = kept.state_dict(), restored.state_dict()
    for name in ("update", "minutes", "best", "kl_coef", "entropy_coef", "batch_entropy_coef"):
        assert ends[0][name] == ends[1][name], name
    for name, weight in ends[0]["model"].items():
        assert torch.equal(weight, ends[1]["model"][name]), name


def test_the_best_so_far_is_remembered() -> None:
    """Success first, then reward; of equals the later."""
    state = fresh(0)
    assert state.best == (-1.0, -math.inf)
    scores = [(0.0, -1.0), (0.0, -1.0), (0.0, 0.5), (0.5, 0.1), (0.4, 0.9)]
    rows = [{"eval/success": success, "eval/reward": reward} for success, reward in scores]
    assert [state.is_best(row) for row in rows] == [True, True, True, True, False]
    assert state.best == (0.5, 0.1)


def test_another_number_of_processes_is_refused() -> None:
    """Each has its own prompt streams in the checkpoint."""
    state = fresh(0)
    kept = state.state_dict()
    with pytest.raises(ConfigError, match="begun with 2 processes and cannot go on with 1"):
        state.load_state_dict(kept | {"envs": kept["envs"] * 2})


def rewrite(run: Path, drop: tuple[str, ...] = (), **entries: Any) -> None:
    """Changes what a run's config.json says."""
    path = run / "config.json"
    settings = {name: value for name, value in json.loads(path.read_text()).items() if name not in drop}
    path.write_text(json.dumps(settings | entries))


def test_a_run_goes_on_that_was_begun_before_a_setting_existed(tmp_path: Path) -> None:
    """It counts as begun with the default; a value of one's own is another run."""
    run = tmp_path / "run"
    train(small_config(total_samples=3 * 32), run, quiet=True)
    rewrite(run, drop=("version", "ratio_threshold", "batch_entropy_positions"))
    with pytest.raises(ConfigError, match=r"ratio_threshold=3\.0, but the run .* was begun with 10\.0"):
        train(small_config(ratio_threshold=3.0), run, resume=True, quiet=True)
    assert train(small_config(), run, resume=True, quiet=True)["update"] == 6
    whole = tmp_path / "whole"
    train(small_config(), whole, quiet=True)
    columns = [read_metrics(folder)["loss"] for folder in (run, whole)]
    assert repr(columns[0]) == repr(columns[1])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"attention": "flash"}, "'attention' is no setting of PPOConfig"),
        ({"version": 99}, "version=99 is not allowed"),
    ],
)
def test_a_run_of_a_newer_version_is_refused_in_one_sentence(
    tmp_path: Path, entries: dict[str, Any], message: str
) -> None:
    """With the file's name and what is not known in it."""
    run = tmp_path / "run"
    train(small_config(total_samples=32), run, quiet=True)
    rewrite(run, **entries)
    with pytest.raises(ConfigError, match=rf"config\.json' does not hold the settings .*{message}") as raised:
        train(small_config(), run, resume=True, quiet=True)
    assert "\n" not in str(raised.value)
