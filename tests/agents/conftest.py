"""What the agent's tests share: small runs that take a second or two."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

from rlfl_agents.config import PPOConfig
from rlfl_agents.model.build import build_policy
from rlfl_agents.model.policy import Policy
from rlfl_envs import TokenVectorEnv

# Before anything imports Triton, which reads it once: without a GPU its kernels are interpreted.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small models are slower on several threads, and the suite runs on several processes."""
    torch.set_num_threads(1)


def small_config(**changes: Any) -> PPOConfig:
    """Copy with two letters and two positions: all four prompts are in training."""
    settings: dict[str, Any] = {
        "env_id": "rlfl/Copy-v0",
        "env_kwargs": {"alphabet": "ab", "length": 2, "split": "all"},
        "layers": 1,
        "width": 16,
        "heads": 2,
        "advantage": "rloo",
        "group_size": 4,
        "prompts": 8,
        "epochs": 1,
        "total_samples": 4 * 8 * 6,
        "learning_rate": 3e-3,
        "eval_every": 2,
        "eval_prompts": 32,
        "save_every": 2,
        "device": "cpu",
    }
    return PPOConfig(**(settings | changes))


def small_policy(envs: TokenVectorEnv, seed: int = 0, scale: float = 5.0, **changes: Any) -> Policy:
    """A policy from random weights, sharpened so that its distributions are far from uniform."""
    torch.manual_seed(seed)
    settings: dict[str, Any] = {"layers": 2, "width": 16, "heads": 2, "value": "shared"}
    policy = build_policy(envs.tokenizer, envs.prompt_length, envs.completion_length, **(settings | changes))
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.ndim == 2:
                parameter.mul_(scale)
        if policy.value_head is not None:
            policy.value_head.weight.normal_()
    return policy
