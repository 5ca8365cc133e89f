"""The recipe of each id: what `rlfl train ID` does without further flags, on a 2-core CPU."""

from __future__ import annotations

import dataclasses
from typing import Any

from rlfl_agents.ppo import PPOConfig

__all__ = ["PRESETS", "preset"]

# A small model, learning from groups of completions. One thread: at this size a second one gains little, and loses much
# where the machine is busy.
_SMALL: dict[str, Any] = {
    "epochs": 1,
    "layers": 2,
    "width": 64,
    "heads": 4,
    "lr_schedule": "linear",
    "threads": 1,
}

# One-token answers: 64 to a prompt share its forward pass. In units of the group's standard deviation even an error of
# 1 counts (its reward is 0.95); batch entropy stays on to the end, so that the rarer sums are answered too.
_ONE_TOKEN: dict[str, Any] = _SMALL | {
    "advantage": "group_norm",
    "group_size": 64,
    "prompts": 64,
    "learning_rate": 3e-3,
    "warmup": 0.02,
    "entropy_coef": 0.05,
    "entropy_coef_final": 0.0,
    "batch_entropy_coef": 0.5,
    "batch_entropy_coef_final": 0.1,
    "total_samples": 3000 * 64 * 64,
    "eval_every": 100,
    "save_every": 500,
}

PRESETS: dict[str, dict[str, Any]] = {
    "rlfl/Arithmetic-v0": _ONE_TOKEN,
    "rlfl/ArithmeticAnswer-v0": _ONE_TOKEN | {"width": 128},
    # Whole derivations are far harder to stumble upon: under the syntax mask this learns, slowly (mean strict reward
    # 0.002 to 0.5 in three minutes). A warm start helps most: `rlfl sft`, then `rlfl train --model`.
    "rlfl/ArithmeticSteps-v0": _SMALL
    | {
        "env_kwargs": {"mask": "syntax", "reward": "strict"},
        "advantage": "group_norm",
        "group_size": 16,
        "prompts": 32,
        "learning_rate": 2e-3,
        "entropy_coef": 0.02,
        "entropy_coef_final": 0.0,
        "batch_entropy_coef": 0.1,
        "batch_entropy_coef_final": 0.02,
        "total_samples": 1_000_000,
    },
    "rlfl/Copy-v0": _SMALL
    | {
        "advantage": "rloo",
        "group_size": 16,
        "prompts": 64,
        "learning_rate": 3e-3,
        "batch_entropy_coef": 0.05,
        "total_samples": 200_000,
    },
}


def preset(env_id: str, **changes: Any) -> PPOConfig:
    """The settings that suit an id; the defaults of `PPOConfig` where nobody has tuned it.

    Args:
        env_id: Such as "rlfl/Arithmetic-v0".
        **changes: Settings of one's own on top.
    """
    return dataclasses.replace(PPOConfig(env_id=env_id, **PRESETS.get(env_id, {})), **changes)
