"""Settings for the algorithms of Stable-Baselines3 and sb3-contrib on our ids; run it to see one learn.

`python examples/benchmarks/sb3_settings.py DQN rlfl/Arithmetic-v0` trains with mask "none" at the default sizes, on one
thread, and prints how many held-out prompts are answered right (greedy), as it goes. An algorithm's settings are the
same on all ids; only the network goes by the id.

With `--env-kwargs '{"rewards": "tokens"}'` every token is rewarded at once. There are other settings for that, again
the same on all ids: `MaskablePPO rlfl/ArithmeticSteps-v0 --env-kwargs '{"rewards": "tokens", "mask": "syntax"}'`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import sb3_contrib
import stable_baselines3
import torch
from sb3_contrib.common.maskable.utils import get_action_masks
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from torch import nn

from rlfl_envs import load_task
from rlfl_envs.integrations import sb3_features
from rlfl_envs.integrations.sb3 import make_sb3

HELD_OUT_PROMPTS = 1000
HELD_OUT_SEED = 1_000_003  # our agent's
NOTHING: Mapping[str, Any] = MappingProxyType({})

# Where an answer is one token it is a sum, and the mean of the tokens' embeddings is all that it takes to see one: the
# policy is a wide one on top. Longer completions ask where things stand.
_MEAN: dict[str, Any] = {"features": "MeanFeatures", "features_dim": 128, "policy_kwargs": {"net_arch": [256]}}
_TRANSFORMER: dict[str, Any] = {
    "features": "TransformerFeatures",
    "features_dim": 32,
    "policy_kwargs": {"net_arch": [64]},
}
NETWORKS = {
    "rlfl/Copy-v0": _TRANSFORMER,
    "rlfl/Brackets-v0": _TRANSFORMER,
    "rlfl/Arithmetic-v0": _MEAN,
    "rlfl/ArithmeticAnswer-v0": _MEAN,
    "rlfl/ArithmeticSteps-v0": _TRANSFORMER,
}

_PPO: dict[str, Any] = {
    "num_envs": 256,
    "learning_rate": 2e-3,
    "arguments": {"n_steps": 16, "batch_size": 512, "n_epochs": 4, "ent_coef": 0.01, "gae_lambda": 1.0},
}
# Where an episode is one token Q-learning is regression of the reward on prompt and answer: no noise, and each sample
# is used again and again. That is what tells apart answers whose rewards differ by 0.05, one off from right.
_DQN: dict[str, Any] = {
    "num_envs": 128,
    "learning_rate": 3e-3,
    "arguments": {
        "train_freq": 1,
        "gradient_steps": 2,
        "batch_size": 512,
        "buffer_size": 500_000,
        "learning_starts": 2_000,
        "target_update_interval": 1_000,
        "exploration_fraction": 0.2,
        "exploration_final_eps": 0.02,
    },
}
ALGORITHMS: dict[str, dict[str, Any]] = {
    "PPO": _PPO,
    "MaskablePPO": _PPO,
    "RecurrentPPO": _PPO | {"policy": "MlpLstmPolicy", "policy_kwargs": {"lstm_hidden_size": 64}},
    "A2C": {"num_envs": 32, "learning_rate": 2e-3, "arguments": {"n_steps": 4, "ent_coef": 0.01, "gae_lambda": 1.0}},
    "TRPO": {
        "network": _MEAN,  # its second derivatives through a transformer take ten times as long as all the rest
        "num_envs": 256,
        "learning_rate": 2e-3,
        "arguments": {
            "n_steps": 8,
            "batch_size": 512,
            "n_critic_updates": 4,
            "sub_sampling_factor": 2,
            "cg_max_steps": 5,
            "gae_lambda": 1.0,
            "target_kl": 0.02,
        },
    },
    "DQN": _DQN,
    "QRDQN": _DQN | {"policy_kwargs": {"n_quantiles": 10}},
}

# Where every token is judged each is a decision of its own, right or wrong. An episode ends at the first wrong one, so
# that what comes late is seen when all before it is right: it takes many tokens, and a network that is quick. Rollouts
# have many episodes, and batches are large, since few of their tokens are the ones that are still to be learned.
_PARTS: dict[str, Any] = {
    "features": "PartFeatures",
    "features_dim": 192,
    "policy_kwargs": {"net_arch": {"pi": [256, 128], "vf": [64]}, "activation_fn": nn.ReLU},
}
# Most tokens are right sooner or later, and advantages are normalised over all of them: next to theirs the advantages
# of what is still guessed are large, and so has to be the entropy bonus that keeps a policy from dropping answers.
_PPO_JUDGED: dict[str, Any] = {
    "network": _PARTS,
    "num_envs": 1024,
    "learning_rate": 2e-3,
    "arguments": {
        "n_steps": 19,
        "batch_size": 2432,
        "n_epochs": 3,
        "ent_coef": 0.8,
        "clip_range": 0.3,
        "gae_lambda": 0.0,
    },
}
_DQN_JUDGED: dict[str, Any] = {
    "network": _PARTS | {"policy_kwargs": {"net_arch": [256], "activation_fn": nn.ReLU}},
    "num_envs": 512,
    "learning_rate": 3e-3,
    "arguments": _DQN["arguments"] | {"gradient_steps": 2, "batch_size": 1024, "exploration_fraction": 0.05},
}
BY_TOKEN: dict[str, dict[str, Any]] = {
    "PPO": _PPO_JUDGED,
    "MaskablePPO": _PPO_JUDGED,
    "RecurrentPPO": _PPO_JUDGED | {"policy": "MlpLstmPolicy", "policy_kwargs": {"lstm_hidden_size": 64}},
    "A2C": ALGORITHMS["A2C"] | {"network": _PARTS, "num_envs": 256},
    "TRPO": ALGORITHMS["TRPO"] | {"network": _PARTS, "num_envs": 1024},
    "DQN": _DQN_JUDGED,
    "QRDQN": _DQN_JUDGED | {"policy_kwargs": {"n_quantiles": 10}},
}


def make_model(
    algorithm: str,
    id: str,
    seed: int = 0,
    arguments: Mapping[str, Any] = NOTHING,
    device: str = "cpu",
    changes: Mapping[str, Any] = NOTHING,
) -> BaseAlgorithm:
    """Makes the algorithm with its settings but for these changes, on environments of its own with these arguments.

    gamma is 1 where the only reward comes at the end. Where every token is judged it is 0: that a success can still
    follow a token is all that the next one needs, so that each is a decision of its own. The learning rate falls to 0,
    linearly.
    """
    is_judged = arguments.get("rewards") == "tokens"
    settings = (BY_TOKEN if is_judged else ALGORITHMS)[algorithm]
    network = settings.get("network") or NETWORKS[id]
    envs: VecEnv = make_sb3(id, settings["num_envs"], seed=seed, **arguments)
    if is_judged:
        envs = VecNormalize(envs, norm_obs=False, gamma=0.0)  # a token's share is as small as completions are long
    cls = getattr(stable_baselines3, algorithm, None) or getattr(sb3_contrib, algorithm)
    model: BaseAlgorithm = cls(
        settings.get("policy", "MlpPolicy"),
        envs,
        policy_kwargs={
            "features_extractor_class": getattr(sb3_features, network["features"]),
            "features_extractor_kwargs": {"features_dim": network["features_dim"]},
            **network["policy_kwargs"],
            **settings.get("policy_kwargs", {}),
        },
        learning_rate=lambda remaining: settings["learning_rate"] * max(remaining, 0.0),
        gamma=0.0 if is_judged else 1.0,
        seed=seed,
        device=device,
        **settings["arguments"] | changes,
    )
    return model


def success(model: BaseAlgorithm, held_out: VecEnv) -> float:
    """Plays one episode in each environment, greedy, always the same prompts; returns the share that succeeds."""
    held_out.seed(HELD_OUT_SEED)
    observations: Any = held_out.reset()
    has_ended, succeeds = np.zeros((2, held_out.num_envs), dtype=bool)
    masks: dict[str, Any] = {}
    memory: Any = None  # of RecurrentPPO; each episode is the environment's first, so that it need not be cleared
    while not has_ended.all():
        if isinstance(model, sb3_contrib.MaskablePPO):
            masks["action_masks"] = get_action_masks(held_out)
        actions, memory = model.predict(observations, memory, deterministic=True, **masks)
        observations, _, ended, infos = held_out.step(actions)
        for i in np.flatnonzero(ended & ~has_ended):
            succeeds[i] = infos[i]["is_success"]
        has_ended |= ended
    return float(succeeds.mean())


class Progress(BaseCallback):
    """Notes the success on held-out prompts ten times a run, with the processor's seconds spent on training so far.

    Attributes:
        tokens: Tokens trained on, at each evaluation.
        seconds: Of the processor; evaluations do not count.
        successes: Shares of held-out prompts.
    """

    def __init__(self, held_out: VecEnv, tokens: int, *, quiet: bool = False) -> None:
        """Takes the held-out environments, the tokens of the whole run, and whether to be silent."""
        super().__init__()
        self.held_out = held_out
        self.quiet = quiet
        self.marks = [tokens * tenth // 10 for tenth in range(1, 10)]
        self.tokens: list[int] = []
        self.seconds: list[float] = []
        self.successes: list[float] = []
        self.begun = time.process_time()

    def _on_step(self) -> bool:
        if self.marks and self.num_timesteps >= self.marks[0]:
            self.marks.pop(0)
            self.note()
        return True

    def _on_training_end(self) -> None:
        self.note()

    def note(self) -> None:
        """Evaluates."""
        paused = time.process_time()
        self.tokens.append(self.num_timesteps)
        self.seconds.append(paused - self.begun)
        self.successes.append(success(self.model, self.held_out))
        self.begun += time.process_time() - paused
        if not self.quiet:
            print(f"{self.tokens[-1]:>9,} tokens{self.seconds[-1]:>7.0f} s  {self.successes[-1]:.3f}", flush=True)


def train_sb3(
    algorithm: str,
    id: str,
    tokens: int,
    seed: int = 0,
    arguments: Mapping[str, Any] = NOTHING,
    *,
    device: str = "cpu",
    changes: Mapping[str, Any] = NOTHING,
    mixes_levels: bool = False,
    quiet: bool = False,
) -> Progress:
    """Trains on one thread, and returns the curve.

    With `mixes_levels` each level of the task has as many environments; held-out prompts are those of the whole task.
    """
    torch.set_num_threads(1)
    held_out = make_sb3(id, HELD_OUT_PROMPTS, **{**arguments, "split": "test", "rewards": "end"})
    progress = Progress(held_out, tokens, quiet=quiet)
    model = make_model(algorithm, id, seed, arguments, device, changes)
    envs = model.get_env()
    if mixes_levels and envs is not None:
        count = len(load_task(id, **arguments).levels)
        envs.set_options([{"level": i % count} for i in range(envs.num_envs)])
    model.learn(tokens, callback=progress)
    return progress


def main() -> None:
    """Trains and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("algorithm", choices=sorted(ALGORITHMS))
    parser.add_argument("id")
    parser.add_argument("--env-kwargs", type=json.loads, default={}, help="the environment's arguments, as JSON")
    parser.add_argument("--tokens", type=int, default=200_000, help="how long to train")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="where the networks are, such as cuda")
    parser.add_argument("--changes", type=json.loads, default={}, help="of the algorithm's settings, as JSON")
    parser.add_argument("--mix-levels", action="store_true", help="train on prompts of all levels alike")
    options = parser.parse_args()
    train_sb3(
        options.algorithm,
        options.id,
        options.tokens,
        options.seed,
        options.env_kwargs,
        device=options.device,
        changes=options.changes,
        mixes_levels=options.mix_levels,
    )


if __name__ == "__main__":
    main()
