"""TorchRL's PPO on an id whose tokens are rewarded one by one, under the syntax mask; run it to see it learn.

Its settings are those of sb3_settings.py for MaskablePPO, on the same features (`PartFeatures`). The mask comes with
the infos and goes into TorchRL's `MaskedCategorical`. Trains on one thread, and prints how many held-out prompts are
answered right (greedy), as it goes.

    python examples/benchmarks/torchrl_settings.py rlfl/ArithmeticSteps-v0 --tokens 14000000 [--seed N]
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import gymnasium
import numpy as np
import torch
from tensordict import TensorDictBase
from tensordict.nn import ProbabilisticTensorDictModule, ProbabilisticTensorDictSequential, TensorDictModule
from torch import Tensor, nn
from torchrl.collectors import Collector
from torchrl.data import Binary, Composite
from torchrl.envs import GymWrapper, RewardScaling, TransformedEnv, default_info_dict_reader
from torchrl.modules import MLP, MaskedCategorical, ValueOperator
from torchrl.objectives import ClipPPOLoss

import rlfl_envs  # noqa: F401 - registers the ids
from rlfl_envs.integrations.sb3 import TokenSpace, make_sb3
from rlfl_envs.integrations.sb3_features import PartFeatures
from sb3_settings import HELD_OUT_PROMPTS, HELD_OUT_SEED

NUM_ENVS, STEPS, MINIBATCH, EPOCHS = 1024, 19, 2432, 3
LEARNING_RATE, MAX_GRAD_NORM = 2e-3, 0.5
LOSS: dict[str, Any] = {
    "clip_epsilon": 0.3,
    "entropy_coeff": 0.8,
    "critic_coeff": 0.5,
    "loss_critic_type": "l2",
    "normalize_advantage": True,
}


class Network(nn.Module):
    """The features of a text, then layers; the policy's also turns the mask into a bool one."""

    def __init__(self, features: PartFeatures, *widths: int) -> None:
        """Takes what reads a text, and the widths of the layers, the output's last."""
        super().__init__()
        *hidden, outputs = widths
        self.layers = nn.Sequential(
            features, MLP(features.features_dim, outputs, num_cells=hidden, activation_class=nn.ReLU)
        )

    def forward(self, observation: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor] | Tensor:
        """Reads int64 [B, P + C] and, for the policy, the mask [B, V]."""
        found = self.layers(observation)
        return found if mask is None else (found, mask.bool())


def make_env(id: str, seed: int, arguments: dict[str, Any]) -> tuple[TransformedEnv, int]:
    """The native vector environment as TorchRL sees it, and V. A right token is rewarded by about 1."""
    envs = gymnasium.make_vec(id, num_envs=NUM_ENVS, autoreset_mode="Disabled", **arguments)  # TorchRL resets by itself
    vocab_size = int(envs.single_action_space.n)  # type: ignore[attr-defined]
    mask = Composite(action_mask=Binary(vocab_size, shape=(NUM_ENVS, vocab_size), dtype=torch.int8), shape=(NUM_ENVS,))
    env = GymWrapper(envs, categorical_action_encoding=True)
    env.set_info_dict_reader(default_info_dict_reader(["action_mask"], spec=mask))
    env.set_seed(seed)
    completion_tokens = envs.task.max_completion_tokens  # type: ignore[attr-defined]
    return TransformedEnv(env, RewardScaling(loc=0.0, scale=float(completion_tokens))), vocab_size


@torch.no_grad()
def success(policy: Network, envs: gymnasium.vector.VectorEnv[Any, Any, Any]) -> float:
    """Plays one episode in each environment, greedy, always the same prompts; returns the share that succeeds."""
    observations, infos = envs.reset(seed=HELD_OUT_SEED)
    has_ended, succeeds = np.zeros((2, envs.num_envs), dtype=bool)
    while not has_ended.all():
        logits, mask = policy(torch.tensor(observations), torch.tensor(infos["action_mask"]))
        actions = logits.masked_fill(~mask, -torch.inf).argmax(dim=-1).numpy()
        observations, _, terminated, truncated, infos = envs.step(actions)
        has_ended = terminated | truncated
        succeeds |= infos.get("is_success", False)  # True in the step in which an episode ends
    return float(succeeds.mean())


def train_torchrl(
    id: str, tokens: int, seed: int = 0, arguments: dict[str, Any] | None = None, *, quiet: bool = False
) -> dict[str, list[float]]:
    """Trains on one thread, and returns the curve: tokens, seconds of the processor and success, ten times a run.

    Each token is a decision of its own (gamma 0): its advantage is its reward less the value of the text before it. The
    learning rate falls to 0, linearly.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    arguments = {"rewards": "tokens", "mask": "syntax"} | (arguments or {})
    held_out = gymnasium.make_vec(
        id, num_envs=HELD_OUT_PROMPTS, autoreset_mode="Disabled", **{**arguments, "split": "test", "rewards": "end"}
    )
    env, vocab_size = make_env(id, seed, arguments)
    space = make_sb3(id, 1, **arguments).observation_space
    assert isinstance(space, TokenSpace)
    features = PartFeatures(space, 192)  # the value's, too
    network = Network(features, 256, 128, vocab_size)
    policy = ProbabilisticTensorDictSequential(
        TensorDictModule(network, ["observation", "action_mask"], ["logits", "mask"]),
        ProbabilisticTensorDictModule(
            ["logits", "mask"],
            ["action"],
            distribution_class=MaskedCategorical,
            distribution_kwargs={"neg_inf": -1e9},  # finite, so that the entropy is too
            return_log_prob=True,
        ),
    )
    value = ValueOperator(Network(features, 64, 1))
    loss = ClipPPOLoss(policy, value, **LOSS)
    optimizer = torch.optim.Adam(loss.parameters(), lr=LEARNING_RATE, eps=1e-5)
    batch_size = NUM_ENVS * STEPS
    batches = -(-tokens // batch_size)
    collector = Collector(
        env,
        policy,
        frames_per_batch=batch_size,
        total_frames=batches * batch_size,
        auto_register_policy_transforms=True,  # what the next version does anyway
    )
    curve: dict[str, list[float]] = {"tokens": [], "seconds": [], "success": []}
    marks = [batches * tenth // 10 for tenth in range(1, 11)]
    begun = time.process_time()
    for i, batch in enumerate(collector, start=1):
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - (i - 1) / batches)
        learn(loss, value, optimizer, batch.reshape(-1))
        if i in marks:
            paused = time.process_time()
            curve["tokens"].append(i * batch_size)
            curve["seconds"].append(paused - begun)
            curve["success"].append(success(network, held_out))
            begun += time.process_time() - paused
            if not quiet:
                print("{:>10,} tokens{:>7.0f} s  {:.3f}".format(*(row[-1] for row in curve.values())), flush=True)
    collector.shutdown()
    return curve


def learn(loss: ClipPPOLoss, value: ValueOperator, optimizer: torch.optim.Optimizer, batch: TensorDictBase) -> None:
    """Makes some passes over a rollout, in minibatches."""
    with torch.no_grad():
        value(batch)
    batch["value_target"] = batch["next", "reward"]
    batch["advantage"] = batch["value_target"] - batch["state_value"]
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(batch)).split(MINIBATCH):
            losses = loss(batch[rows])
            optimizer.zero_grad()
            (losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]).backward()
            nn.utils.clip_grad_norm_(loss.parameters(), MAX_GRAD_NORM)
            optimizer.step()


def main() -> None:
    """Trains and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("id")
    parser.add_argument("--env-kwargs", type=json.loads, default={}, help="the environment's arguments, as JSON")
    parser.add_argument("--tokens", type=int, default=200_000, help="how long to train")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    train_torchrl(options.id, options.tokens, options.seed, options.env_kwargs)


if __name__ == "__main__":
    main()
