"""Tianshou's PPO on an id of ours, with action masks: it learns to copy two letters, in about half a minute.

Tianshou steps a list of scalar environments. Its PPO knows no masks, so a wrapper puts the mask next to the observation
(under the names that its DQN looks for), and the policy's network uses it. Needs the extra `tianshou`.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from tianshou.algorithm import PPO
from tianshou.algorithm.modelfree.reinforce import DiscreteActorPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, CollectStats, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.trainer import OnPolicyTrainerParams
from torch import Tensor, nn

import rlfl_envs  # noqa: F401 - registers the ids

ID = "rlfl/Copy-v0"
KWARGS: dict[str, Any] = {"alphabet": "ab", "length": 2}
NUM_ENVS = 16


class MaskInObservation(gymnasium.Wrapper[dict[str, Any], int, np.ndarray, int]):
    """Observations become {"obs": tokens, "mask": legal next tokens}."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        """Takes an environment whose infos have an `action_mask`."""
        super().__init__(env)
        assert isinstance(env.action_space, spaces.Discrete)
        mask = spaces.MultiBinary(int(env.action_space.n))
        self.observation_space = spaces.Dict({"obs": env.observation_space, "mask": mask})

    def reset(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """As in the environment."""
        observation, info = self.env.reset(**kwargs)
        return {"obs": observation, "mask": info["action_mask"].astype(bool)}, info

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """As in the environment, without the texts, for which Tianshou's buffer has no place."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return {"obs": observation, "mask": info["action_mask"].astype(bool)}, float(reward), terminated, truncated, {}


class Network(nn.Module):
    """Embeds every column's token, then two layers."""

    def __init__(self, columns: int, vocab_size: int, outputs: int) -> None:
        """Takes P + C, V and the size of the output."""
        super().__init__()
        embed = nn.Sequential(nn.Embedding(vocab_size, 16), nn.Flatten())
        self.layers = nn.Sequential(embed, nn.Linear(16 * columns, 64), nn.Tanh(), nn.Linear(64, outputs))

    def forward(self, obs: Any) -> Tensor:
        """Reads the tokens of a batch of observations."""
        values: Tensor = self.layers(torch.as_tensor(obs.obs))
        return values


class Actor(nn.Module):
    """The policy's: logits, of which the illegal ones are as good as minus infinity."""

    def __init__(self, columns: int, vocab_size: int) -> None:
        """Takes P + C and V."""
        super().__init__()
        self.network = Network(columns, vocab_size, vocab_size)

    def forward(self, obs: Any, state: Any = None, info: Any = None) -> tuple[Tensor, Any]:
        """Tianshou's signature: the state is for recurrent networks."""
        return self.network(obs).masked_fill(~torch.as_tensor(obs.mask), -1e9), state


def make() -> gymnasium.Env[Any, Any]:
    """One environment."""
    return MaskInObservation(gymnasium.make(ID, **KWARGS))


def main(epochs: int = 10) -> float:
    """Trains and returns the mean reward of the best test, which here is 1 only if all is right."""
    torch.manual_seed(0)
    env = make()
    assert isinstance(env.observation_space, spaces.Dict)
    assert isinstance(env.observation_space["obs"], spaces.MultiDiscrete)
    assert isinstance(env.action_space, spaces.Discrete)
    columns, vocab_size = env.observation_space["obs"].shape[0], int(env.action_space.n)
    actor = Actor(columns, vocab_size)
    algorithm = PPO(
        policy=DiscreteActorPolicy(
            actor=actor,
            action_space=env.action_space,
            observation_space=env.observation_space,
            deterministic_eval=True,
        ),
        critic=Network(columns, vocab_size, 1),
        optim=AdamOptimizerFactory(lr=3e-3),
        gamma=1.0,
    )
    train_envs, test_envs = (DummyVectorEnv([make for _ in range(NUM_ENVS)]) for _ in range(2))
    train_envs.seed(0)
    test_envs.seed(NUM_ENVS)
    result = algorithm.run_training(
        OnPolicyTrainerParams(
            training_collector=Collector[CollectStats](algorithm, train_envs, VectorReplayBuffer(1024, NUM_ENVS)),
            test_collector=Collector[CollectStats](algorithm, test_envs),
            max_epochs=epochs,
            epoch_num_steps=4096,
            collection_step_num_env_steps=512,
            update_step_num_repetitions=4,
            batch_size=256,
            test_step_num_episodes=64,
            training_fn=None,
            stop_fn=lambda mean_reward: mean_reward == 1.0,
            verbose=False,
            show_progress=False,
        )
    )
    return float(result.best_reward)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"mean test reward {main():.3f}")
