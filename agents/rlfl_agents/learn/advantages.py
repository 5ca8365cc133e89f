"""How much better than expected each token was. Pure functions on whole rollouts; nothing here has a gradient.

Shapes: B rows (episodes), T completion positions. `active` is bool [B, T], True where the row's episode was still
running when its token was chosen; every row's active positions are a prefix of the row. Rows of one group (same
prompt) are adjacent: rows k*g .. k*g + k-1.

Where several tokens were tried at each state, the functions named `tried_...` compare them: k tries, `is_right` bool
[B, T, k], and `weights` float [B, T, k], what each try counts for as a draw of the policy. The episode went on with one
right token, and every right token of the state is credited with what followed that one. The right tokens' share of the
weight estimates the chance with which the policy alone would have gone on.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["are_equal", "gae", "group_norm", "rloo", "tried_gae", "tried_group_norm", "tried_rloo", "whiten"]


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
    centred = centred * ~are_equal(returns, group_size)[:, None]  # whitening would make something of rounding
    return (centred / (groups.std(dim=1, keepdim=True) + eps)).flatten()


def are_equal(returns: Tensor, group_size: int) -> Tensor:
    """Which groups' returns, float [B], differ by the rounding of their sums at most: bool [B/k]."""
    groups = returns.view(-1, group_size)
    first = groups[:, :1]
    equal: Tensor = ((groups - first).abs() <= 1e-6 * (1 + first.abs())).all(dim=1)
    return equal


def tried_gae(
    rewards: Tensor, values: Tensor, is_right: Tensor, weights: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """`gae` of all that was tried: a right token earns its reward and what followed, a wrong one ends the episode.

    With one try at each state this is `gae`.

    Args:
        rewards: Float [B, T], the reward after the token that was taken.
        values: Float [B, T], the value of the state before it; 0 where not active.
        is_right: Bool [B, T, k]; False where not active.
        weights: Float [B, T, k]; likewise 0.
        gamma: Discount per token, in [0, 1].
        lam: The lambda of GAE, in [0, 1].

    Returns:
        Advantages, float [B, T, k], and returns, float [B, T], which the policy's own episodes would have had from each
        state; 0 where not active.
    """
    share = _weighted_mean(is_right.to(weights.dtype), weights)
    worth, returns = torch.zeros_like(rewards), torch.zeros_like(rewards)
    next_worth = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        worth[:, t] = rewards[:, t] + gamma * next_worth
        returns[:, t] = share[:, t] * worth[:, t]
        next_worth = (1 - lam) * values[:, t] + lam * returns[:, t]
    return (is_right * worth[..., None] - values[..., None]) * (weights > 0), returns


def tried_rloo(rewards: Tensor, is_right: Tensor, weights: Tensor) -> Tensor:
    """Each try's return against the weighted mean of the state's others: float [B, T, k].

    The others of a uniform try are not the same mixture as those of one of the policy's, which makes the gradient a
    little too long: by 14% with one try of each, by less than 1% with eight.

    Args:
        rewards: Float [B, T], the reward after the token that was taken.
        is_right: Bool [B, T, k], k >= 2; False where not active.
        weights: Float [B, T, k]; likewise 0.
    """
    returns, _ = tried_gae(rewards, torch.zeros_like(rewards), is_right, weights, 1.0, 1.0)
    weighed = returns * weights
    others = weighed.sum(dim=2, keepdim=True) - weighed
    return returns * (weights > 0) - others / _positive(weights.sum(dim=2, keepdim=True) - weights)


def tried_group_norm(is_right: Tensor, weights: Tensor) -> Tensor:
    """Each try's verdict in units of the standard deviation of the state's: float [B, T, k], -k to k.

    All right tokens are credited alike, so that what followed has no part in this. 1/k is added to the deviation: a
    uniform try may hardly weigh anything, and would be praised or blamed without limit where all others agree.

    Args:
        is_right: Bool [B, T, k]; False where not active.
        weights: Float [B, T, k]; likewise 0.
    """
    share = _weighted_mean(is_right.to(weights.dtype), weights)[..., None]
    deviation = (share * (1 - share)).sqrt() + 1 / weights.shape[2]
    return (is_right.to(share.dtype) - share) / deviation * (weights > 0)


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Over the last axis; 0 where nothing has a weight."""
    return (values * weights).sum(dim=-1) / _positive(weights.sum(dim=-1))


def _positive(weight: Tensor) -> Tensor:
    """A weight to divide by, well above the rounding errors of what is divided."""
    return weight.clamp(min=1e-4)


def whiten(advantages: Tensor, weights: Tensor, eps: float = 1e-8) -> Tensor:
    """Scales the advantages that have a weight to mean 0 and variance 1; the others become 0.

    Args:
        advantages: Float [B, T] or [B, T, k].
        weights: Bool or float of the same shape, at least one above 0: what each counts for in mean and variance.
        eps: Added to the (biased) variance.

    Returns:
        Float, of the same shape.
    """
    weight = weights.to(advantages.dtype)
    count = weight.sum()
    centred = (advantages - (advantages * weight).sum() / count) * (weights > 0)
    return centred * torch.rsqrt((centred * centred * weight).sum() / count + eps)
