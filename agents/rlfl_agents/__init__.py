"""The LLM agent of `rlfl-envs`: PPO, RLOO and group-normalised policy gradients from a programmed reward.

Importing this package imports no torch: what needs it is loaded when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlfl_agents.config import PPOConfig, PretrainConfig, SFTConfig
    from rlfl_agents.evaluate import Evaluation, evaluate_policy
    from rlfl_agents.model.build import build_policy
    from rlfl_agents.model.policy import Policy
    from rlfl_agents.ppo import train
    from rlfl_agents.presets import preset
    from rlfl_agents.pretrain import pretrain_model
    from rlfl_agents.rollout.collect import collect
    from rlfl_agents.rollout.rollout import Rollout
    from rlfl_agents.sft import warm_start

_HOME = {
    "Evaluation": "evaluate",
    "PPOConfig": "config",
    "Policy": "model.policy",
    "PretrainConfig": "config",
    "Rollout": "rollout.rollout",
    "SFTConfig": "config",
    "build_policy": "model.build",
    "collect": "rollout.collect",
    "evaluate_policy": "evaluate",
    "preset": "presets",
    "pretrain_model": "pretrain",
    "train": "ppo",
    "warm_start": "sft",
}

__all__ = [
    "Evaluation",
    "PPOConfig",
    "Policy",
    "PretrainConfig",
    "Rollout",
    "SFTConfig",
    "build_policy",
    "collect",
    "evaluate_policy",
    "preset",
    "pretrain_model",
    "train",
    "warm_start",
]


def __getattr__(name: str) -> Any:
    """Loads a public name from its module on first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'rlfl_agents' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"rlfl_agents.{_HOME[name]}"), name)
    globals()[name] = value
    return value
