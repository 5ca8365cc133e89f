"""What is learned from: a rollout, and how much better than expected each of its tokens was."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rlfl_agents.config import PPOConfig
from rlfl_agents.learn import advantages, losses
from rlfl_agents.rollout.rollout import Rollout, Tried, rows_of

__all__ = ["Batch", "compare"]


@dataclass(frozen=True)
class Batch:
    """A rollout with its advantages.

    Attributes:
        rollout: What was sampled; B episodes, T positions.
        ref_log_probs: Float32 [B, T], of the chosen tokens under the frozen reference; the rollout's own without one.
        advantages: Float32 [B, T], or [B, T, k] where several tokens were tried; 0 where not active.
        returns: Float32 [B, T], what the values should have been; 0 without a value head.
        leading: Bool [B, T], the tokens that KL-Cov holds back.
    """

    rollout: Rollout
    ref_log_probs: Tensor
    advantages: Tensor
    returns: Tensor
    leading: Tensor

    @property
    def ref_kl(self) -> Tensor:
        """Float32 [B], each episode's log-probability under the policy less that under the reference, nats."""
        return losses.sequence_kl(self.rollout.log_probs, self.ref_log_probs, self.rollout.active)

    def take(self, groups: Tensor) -> Batch:
        """The part of the batch that belongs to these prompts, int64 [m] of 0..B/k-1."""
        rows = rows_of(groups, self.rollout.group_size)
        per_token = (self.ref_log_probs, self.advantages, self.returns, self.leading)
        return Batch(self.rollout.take(groups), *(values[rows] for values in per_token))


def compare(rollout: Rollout, ref_log_probs: Tensor, kl_coef: float, config: PPOConfig) -> Batch:
    """Compares each completion with what was expected, from the reward less the KL penalty.

    Args:
        rollout: Of all processes.
        ref_log_probs: Float32 [B, T], under the reference; the rollout's own without one.
        kl_coef: The penalty's weight.
        config: Which advantage, and whether to whiten it.
    """
    active = rollout.active
    rewards = rollout.rewards - kl_coef * torch.where(active, rollout.log_probs - ref_log_probs, 0.0)
    returns = torch.zeros_like(rollout.values)
    if config.advantage == "tries":  # compares nothing: each token was judged
        return Batch(rollout, ref_log_probs, torch.zeros_like(rewards), returns, torch.zeros_like(active))
    if rollout.tried is not None:
        return _compare_tries(rollout, rollout.tried, ref_log_probs, config)
    if config.advantage == "gae":
        found, returns = advantages.gae(rewards, rollout.values, active, config.gamma, config.gae_lambda)
    else:
        baseline = advantages.rloo if config.advantage == "rloo" else advantages.group_norm
        found = baseline(rewards.sum(dim=1), config.group_size)[:, None] * active
    if config.whiten:
        found = advantages.whiten(found, active)
    leading = torch.zeros_like(active)
    if config.kl_cov:
        leading = losses.leading_tokens(rollout.log_probs, found, active, config.kl_cov)
    return Batch(rollout, ref_log_probs, found, returns, leading)


def _compare_tries(rollout: Rollout, tried: Tried, ref_log_probs: Tensor, config: PPOConfig) -> Batch:
    """Compares each token that was tried with a learned value or with the others of its state."""
    verdicts = tried.is_right, tried.weights
    returns = torch.zeros_like(rollout.values)
    if config.advantage == "gae":
        found, returns = advantages.tried_gae(
            rollout.rewards, rollout.values, *verdicts, config.gamma, config.gae_lambda
        )
    elif config.advantage == "rloo":
        found = advantages.tried_rloo(rollout.rewards, *verdicts)
    else:
        found = advantages.tried_group_norm(*verdicts)
    if config.whiten:
        found = advantages.whiten(found, tried.weights)
    return Batch(rollout, ref_log_probs, found, returns, torch.zeros_like(rollout.active))
