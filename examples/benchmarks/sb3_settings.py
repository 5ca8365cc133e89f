"""Settings with which algorithms of Stable-Baselines3 and sb3-contrib solve our ids; run it to see one do so.

`python examples/benchmarks/sb3_settings.py DQN rlfl/Arithmetic-v0` trains with mask "none" at the default sizes, on one
thread, and prints how many held-out prompts are answered right (greedy), as it goes.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import sb3_contrib
import stable_baselines3
import torch
from sb3_contrib.common.maskable.utils import get_action_masks
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from rlfl_envs.integrations import sb3_features
from rlfl_envs.integrations.sb3 import make_sb3

# gamma is 1 throughout: the only reward comes at the end. The learning rate falls to 0, linearly.
_PPO: dict[str, Any] = {
    "num_envs": 256,
    "features": "TransformerFeatures",
    "features_kwargs": {"features_dim": 32},
    "net_arch": [64],
    "learning_rate": 2e-3,
    "arguments": {"n_steps": 16, "batch_size": 512, "n_epochs": 4, "ent_coef": 0.01, "gae_lambda": 1.0},
}
SETTINGS: dict[tuple[str, str], dict[str, Any]] = {
    ("MaskablePPO", "rlfl/Copy-v0"): _PPO | {"steps": 100_000},
    ("MaskablePPO", "rlfl/Brackets-v0"): _PPO | {"steps": 200_000},
    # An episode is one token, so Q-learning is regression of the reward on (prompt, answer): no noise, and each sample
    # is used again and again. That is what tells apart answers whose rewards differ by 0.05, one off from right.
    ("DQN", "rlfl/Arithmetic-v0"): {
        "num_envs": 128,
        "steps": 1_000_000,
        "features": "MeanFeatures",
        "features_kwargs": {"features_dim": 128},
        "net_arch": [256],
        "learning_rate": 3e-3,
        "arguments": {
            "train_freq": 1,
            "gradient_steps": 1,
            "batch_size": 512,
            "buffer_size": 500_000,
            "learning_starts": 2_000,
            "exploration_fraction": 0.2,
            "exploration_final_eps": 0.02,
        },
    },
}


def make_model(algorithm: str, id: str, seed: int = 0) -> BaseAlgorithm:
    """Makes the algorithm with its settings, on environments of its own."""
    settings = SETTINGS[algorithm, id]
    cls = getattr(stable_baselines3, algorithm, None) or getattr(sb3_contrib, algorithm)
    return cls(
        "MlpPolicy",
        make_sb3(id, settings["num_envs"], seed=seed),
        policy_kwargs={
            "features_extractor_class": getattr(sb3_features, settings["features"]),
            "features_extractor_kwargs": settings["features_kwargs"],
            "net_arch": settings["net_arch"],
        },
        learning_rate=lambda remaining: settings["learning_rate"] * remaining,
        gamma=1.0,
        seed=seed,
        device="cpu",
        **settings["arguments"],
    )


def success(model: BaseAlgorithm, held_out: VecEnv) -> float:
    """Plays one episode in each environment, greedy, always the same prompts; returns the share that succeeds."""
    held_out.seed(10**6)
    observations = held_out.reset()
    has_ended, succeeds = np.zeros((2, held_out.num_envs), dtype=bool)
    masks: dict[str, Any] = {}
    while not has_ended.all():
        if isinstance(model, sb3_contrib.MaskablePPO):
            masks["action_masks"] = get_action_masks(held_out)
        actions, _ = model.predict(observations, deterministic=True, **masks)
        observations, _, ended, infos = held_out.step(actions)
        for i in np.flatnonzero(ended & ~has_ended):
            succeeds[i] = infos[i]["is_success"]
        has_ended |= ended
    return float(succeeds.mean())


class Progress(BaseCallback):
    """Prints the success on held-out prompts ten times a run, with the processor time used so far."""

    def __init__(self, held_out: VecEnv, steps: int) -> None:
        """Takes the held-out environments and the length of the run."""
        super().__init__()
        self.held_out = held_out
        self.marks = [steps * tenth // 10 for tenth in range(1, 10)]
        self.begun = time.process_time()

    def _on_step(self) -> bool:
        if self.marks and self.num_timesteps >= self.marks[0]:
            self.marks.pop(0)
            self.report()
        return True

    def report(self) -> None:
        """Prints a line."""
        seconds = time.process_time() - self.begun
        print(f"{self.num_timesteps:>9,} tokens{seconds:>7.0f} s  {success(self.model, self.held_out):.3f}", flush=True)


def main() -> None:
    """Trains and reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("algorithm", choices=sorted({algorithm for algorithm, _ in SETTINGS}))
    parser.add_argument("id", choices=sorted({id for _, id in SETTINGS}))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    steps = SETTINGS[options.algorithm, options.id]["steps"]
    progress = Progress(make_sb3(options.id, 2000, split="test"), steps)
    make_model(options.algorithm, options.id, options.seed).learn(steps, callback=progress)
    progress.report()


if __name__ == "__main__":
    main()
