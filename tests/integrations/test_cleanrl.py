"""Algorithms in one file: our PPO in the manner of CleanRL, a DQN that reads one-hot observations, CleanRL's own."""

import os
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from rlfl_envs.wrappers import OneHot


def test_example_learns(example: Callable[[str], Any]) -> None:
    """Copying two letters to 0.99 on held-out prompts takes seconds."""
    pytest.importorskip("torch", reason="needs the extra agent")
    script = example("benchmarks/cleanrl_ppo.py")
    settings = {"total_steps": 100_000, "stop_at_success": 0.999, "width": 64, "quiet": True}
    assert script.train(script.Args(env_kwargs='{"alphabet": "ab", "length": 2}', **settings)) >= 0.99


@pytest.mark.parametrize("ended", [False, True])
def test_advantages(example: Callable[[str], Any], ended: bool) -> None:
    """With lambda 1 an advantage is the return less the value; nothing crosses the end of an episode."""
    torch = pytest.importorskip("torch", reason="needs the extra agent")
    script = example("benchmarks/cleanrl_ppo.py")
    rewards, values = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.25], [0.5]])
    ends = torch.tensor([[False], [ended]])
    found = script.generalised_advantages(rewards, values, ends, torch.tensor([4.0]), gamma=1.0, gae_lambda=1.0)
    after = 0.0 if ended else 4.0
    assert found.flatten().tolist() == [1.0 + after - 0.25, 1.0 + after - 0.5]


def test_dqn_reads_one_hot_observations() -> None:
    """A plain DQN of linear layers, which knows neither tokens nor masks, learns to copy one letter."""
    torch = pytest.importorskip("torch", reason="needs the extra agent")
    torch.manual_seed(0)
    rng = np.random.default_rng(0)

    def make() -> gymnasium.Env[Any, Any]:
        env = gymnasium.make("rlfl/Copy-v0", alphabet="abc", length=1, split="all")
        return gymnasium.wrappers.RecordEpisodeStatistics(OneHot(env))

    envs = gymnasium.vector.SyncVectorEnv([make])
    size, actions = envs.single_observation_space.shape[0], int(envs.single_action_space.n)
    network = torch.nn.Sequential(torch.nn.Linear(size, 64), torch.nn.ReLU(), torch.nn.Linear(64, actions))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    replay: list[tuple[Any, ...]] = []
    returns: list[float] = []
    observation, _ = envs.reset(seed=0)
    resets = False  # a step that begins an episode has no action of its own
    for step in range(4000):
        greedy = int(network(torch.as_tensor(observation)).argmax())
        action = int(rng.integers(actions)) if rng.random() < max(0.02, 1 - step / 2000) else greedy
        following, reward, ended, _, infos = envs.step(np.array([action]))
        if not resets:
            replay.append((observation[0], action, reward[0], following[0], ended[0]))
        returns += infos["episode"]["r"].tolist() if "episode" in infos else []
        observation, resets = following, bool(ended[0])
        if step >= 500 and step % 4 == 0:
            batch = [replay[i] for i in rng.integers(len(replay), size=64)]
            seen, chosen, earned, after, over = (
                torch.as_tensor(np.array(column)) for column in zip(*batch, strict=True)
            )
            with torch.no_grad():
                target = earned.float() + network(after).amax(dim=1) * ~over
            value = network(seen).gather(1, chosen[:, None])[:, 0]
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(value, target).backward()
            optimizer.step()
    assert np.mean(returns[-200:]) > 0.9


@pytest.mark.filterwarnings("ignore")  # it is not our program
def test_cleanrls_own_dqn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """CleanRL's `dqn.py`, unchanged, learns to copy two letters by the module and the command of the docs."""
    torch = pytest.importorskip("torch", reason="needs the extra agent")
    root = Path(__file__).parents[2]
    checkout = Path(os.environ.get("CLEANRL") or root / ".venv" / "cleanrl").absolute()
    if not (checkout / "cleanrl" / "dqn.py").exists():
        pytest.skip("needs CleanRL's files: make test-libraries fetches them, or CLEANRL names a checkout")
    page = (root / "docs" / "libraries.md").read_text(encoding="utf-8")
    command, module = re.search(
        r"`python dqn.py (.*?)`, where `my_module.py` .*?```python\n(.*?)```", page, re.S
    ).groups()
    (tmp_path / "my_module.py").write_text(module, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(checkout))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["dqn.py", *command.split(), "--total-timesteps", "40000", "--no-cuda"])
    network = runpy.run_path(str(checkout / "cleanrl" / "dqn.py"), run_name="__main__")["q_network"]
    env, successes = gymnasium.make("OneHotCopy-v0"), 0
    for seed in range(1000, 1100):
        ended, (observation, info) = False, env.reset(seed=seed)
        while not ended:
            action = network(torch.as_tensor(observation)[None]).argmax()
            observation, _, ended, _, info = env.step(int(action))
        successes += info["is_success"]
    del gymnasium.registry["OneHotCopy-v0"]
    assert successes >= 95
