"""Train sb3-contrib's MaskablePPO on one of our ids (`pip install ".[sb3]"`).

`python examples/sb3_maskable_ppo.py` solves Copy, `--id rlfl/Brackets-v0` Brackets; each takes a few minutes on one
core. What matters for tokens: the policy embeds them (here with a small transformer), gamma is 1, as the only reward
comes at the end, and many environments play at once.
"""

from __future__ import annotations

import argparse
from typing import Any

from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.callbacks import MaskableEvalCallback
from sb3_contrib.common.maskable.utils import get_action_masks

from rlfl_envs import printable
from rlfl_envs.integrations.sb3 import make_sb3
from rlfl_envs.integrations.sb3_features import TransformerFeatures


def main() -> None:
    """Trains, measures on held-out prompts, and shows some completions."""
    parser = argparse.ArgumentParser(description="Train MaskablePPO on an environment of rlfl_envs.")
    parser.add_argument("--id", default="rlfl/Copy-v0", help="which environment")
    parser.add_argument("--steps", type=int, default=150_000, help="how many tokens to train on")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    held_out = make_sb3(options.id, 100, seed=1, split="test")
    model = MaskablePPO(
        "MlpPolicy",
        make_sb3(options.id, 256, seed=options.seed),
        policy_kwargs={
            "features_extractor_class": TransformerFeatures,
            "features_extractor_kwargs": {"features_dim": 32},
            "net_arch": [64],
        },
        n_steps=16,
        batch_size=512,
        n_epochs=4,
        learning_rate=lambda remaining: 2e-3 * remaining,
        ent_coef=0.01,
        gamma=1.0,
        gae_lambda=1.0,
        seed=options.seed,
        device="cpu",
    )
    # Prints the success rate on held-out prompts, greedy, now and then.
    model.learn(options.steps, callback=MaskableEvalCallback(held_out, n_eval_episodes=500, eval_freq=100))

    few = make_sb3(options.id, 5, seed=2, split="test")
    observations: Any = few.reset()
    unfinished = {i: prompt.text for i, prompt in enumerate(few.get_attr("prompt"))}
    while unfinished:
        actions, _ = model.predict(observations, deterministic=True, action_masks=get_action_masks(few))
        observations, rewards, ended, infos = few.step(actions)
        for i in [i for i in unfinished if ended[i]]:
            print(printable(f"{unfinished.pop(i)} -> {infos[i]['completion']}  {rewards[i]:.2f}"))


if __name__ == "__main__":
    main()
