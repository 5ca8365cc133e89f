"""How much better than expected each token was. Pure functions on whole rollouts; nothing here has a gradient.

Shapes: B rows (episodes), T completion positions. `active` is bool [B, T], True where the row's episode was still
running when its token was chosen; every row's active positions are a prefix of the row. Rows of one group (same
prompt) are adjacent: rows k*g .. k*g + k-1.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["gae", "group_norm", "rloo", "whiten"]


def gae(rewards: Tensor, values: Tensor, active: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation on terminated episodes (nothing bootstraps past the end of a text).

    Source: Schulman et al. 2016, arXiv 1506.02438, eq. 16.

    Args:
        rewards: Float [B, T], the reward after each token.
        values: Float [B, T], the value of the state before each token.
        active: Bool [B, T].
        gamma: Discount per token, in [0, 1].
        lam: The lambda of GAE, in [0, 1]; 1 gives the plain return minus the value.

    Returns:
        Advantages and returns (= advantages + values), float [B, T] each, 0 where not active.
    """
    running = active.to(values.dtype)
    advantages = torch.zeros_like(values)
    next_value = torch.zeros_like(values[:, 0])
    next_advantage = torch.zeros_like(next_value)
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        # Zeroed where not active, so that a row's last active token sees no future at all.
        next_advantage = running[:, t] * (delta + gamma * lam * next_advantage)
        next_value = running[:, t] * values[:, t]
        advantages[:, t] = next_advantage
    return advantages, running * (advantages + values)


def rloo(returns: Tensor, group_size: int) -> Tensor:
    """Leave-one-out baseline: each completion against the mean of its group's other completions.

    Source: Ahmadian et al. 2024, arXiv 2402.14740, eq. 8.

    Args:
        returns: Float [B], one undiscounted return per episode.
        group_size: k >= 2 completions of each prompt; divides B.

    Returns:
        Float [B]; sums to 0 in each group.
    """
    groups = returns.view(-1, group_size)
    others = (groups.sum(dim=1, keepdim=True) - groups) / (group_size - 1)
    return (groups - others).flatten()


def group_norm(returns: Tensor, group_size: int, eps: float = 1e-4) -> Tensor:
    """Group-normalised advantage (GRPO): the return's z-score in its group.

    Source: Shao et al. 2024, arXiv 2402.03300, section 4.1.2. A group whose returns are all equal teaches nothing: 0.

    Args:
        returns: Float [B], one undiscounted return per episode.
        group_size: k >= 2 completions of each prompt; divides B.
        eps: Added to the (unbiased) standard deviation.

    Returns:
        Float [B].
    """
    groups = returns.view(-1, group_size)
    centred = groups - groups.mean(dim=1, keepdim=True)
    return (centred / (groups.std(dim=1, keepdim=True) + eps)).flatten()


def whiten(advantages: Tensor, active: Tensor, eps: float = 1e-8) -> Tensor:
    """Scales the advantages of the active tokens to mean 0 and variance 1; the others become 0.

    Args:
        advantages: Float [B, T].
        active: Bool [B, T], at least one True.
        eps: Added to the (biased) variance.

    Returns:
        Float [B, T].
    """
    weight = active.to(advantages.dtype)
    count = weight.sum()
    centred = (advantages - (advantages * weight).sum() / count) * weight
    return centred * torch.rsqrt((centred * centred).sum() / count + eps)
