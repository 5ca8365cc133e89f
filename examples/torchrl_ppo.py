"""TorchRL's PPO on an id of ours, with action masks: it learns to copy two letters, in about half a minute.

`GymWrapper` takes the native vector environment as it is (`GymEnv(ID)` makes the scalar one). The mask comes with the
infos, so a reader puts it where TorchRL looks for observations. Needs the extra `torchrl`.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import torch
from tensordict.nn import ProbabilisticTensorDictModule, ProbabilisticTensorDictSequential, TensorDictModule
from torch import Tensor, nn
from torchrl.collectors import Collector
from torchrl.data import Binary, Composite
from torchrl.envs import GymWrapper, default_info_dict_reader
from torchrl.modules import MaskedCategorical, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

import rlfl_envs  # noqa: F401 - registers the ids

ID = "rlfl/Copy-v0"
KWARGS: dict[str, Any] = {"alphabet": "ab", "length": 2}
NUM_ENVS, STEPS, EPOCHS = 64, 8, 4


class Network(nn.Module):
    """Embeds every column's token, then two layers; the policy's also turns the mask into a bool one."""

    def __init__(self, columns: int, vocab_size: int, outputs: int) -> None:
        """Takes P + C, V and the size of the output."""
        super().__init__()
        embed = nn.Sequential(nn.Embedding(vocab_size, 16), nn.Flatten(-2))
        self.layers = nn.Sequential(embed, nn.Linear(16 * columns, 64), nn.Tanh(), nn.Linear(64, outputs))

    def forward(self, observation: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor] | Tensor:
        """Reads int64 [..., P + C] and, for the policy, the mask [..., V]."""
        found = self.layers(observation)
        return found if mask is None else (found, mask.bool())


def main(total_steps: int = 100_000) -> float:
    """Trains and returns the share of solved episodes in the last batch."""
    torch.manual_seed(0)
    envs = gymnasium.make_vec(ID, num_envs=NUM_ENVS, autoreset_mode="Disabled", **KWARGS)  # TorchRL resets by itself
    assert isinstance(envs.single_observation_space, gymnasium.spaces.MultiDiscrete)
    assert isinstance(envs.single_action_space, gymnasium.spaces.Discrete)
    columns, vocab_size = envs.single_observation_space.shape[0], int(envs.single_action_space.n)
    mask = Composite(action_mask=Binary(vocab_size, shape=(NUM_ENVS, vocab_size), dtype=torch.int8), shape=(NUM_ENVS,))
    env = GymWrapper(envs, categorical_action_encoding=True)
    env.set_info_dict_reader(default_info_dict_reader(["action_mask"], spec=mask))

    policy = ProbabilisticTensorDictSequential(
        TensorDictModule(Network(columns, vocab_size, vocab_size), ["observation", "action_mask"], ["logits", "mask"]),
        ProbabilisticTensorDictModule(
            ["logits", "mask"],
            ["action"],
            distribution_class=MaskedCategorical,
            distribution_kwargs={"neg_inf": -1e9},  # finite, so that the entropy is too
            return_log_prob=True,
        ),
    )
    value = ValueOperator(Network(columns, vocab_size, 1))
    advantage = GAE(gamma=1.0, lmbda=0.95, value_network=value)
    loss = ClipPPOLoss(policy, value, entropy_coeff=0.01)
    optimizer = torch.optim.Adam(loss.parameters(), lr=3e-3)
    success = 0.0
    batches = total_steps // (NUM_ENVS * STEPS)
    collector = Collector(
        env,
        policy,
        frames_per_batch=NUM_ENVS * STEPS,
        total_frames=batches * NUM_ENVS * STEPS,
        auto_register_policy_transforms=True,  # what the next version does anyway
    )
    for i, batch in enumerate(collector):
        for _ in range(EPOCHS):
            advantage(batch)
            losses = loss(batch.reshape(-1))
            optimizer.zero_grad()
            (losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]).backward()
            optimizer.step()
        ended = batch["next", "done"]
        success = float((batch["next", "reward"][ended] == 1.0).float().mean())  # full reward is success here
        if i % 20 == 0:
            print(f"{(i + 1) * NUM_ENVS * STEPS:7,} steps  success {success:.3f}")
    collector.shutdown()
    return success


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"success {main():.3f}")
