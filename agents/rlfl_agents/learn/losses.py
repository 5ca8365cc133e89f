"""The terms of the loss and what is logged beside them. Pure functions.

Shapes: B rows (episodes) in groups of k that share a prompt, T completion positions, V tokens. `active` is bool [B,
T]: the tokens that count. `log_dist` is float [N, T, V], the log-probabilities of every token, with N = B, or N =
B/k where the rows of a group have one distribution in common (one-token completions); the row of a group stands for
its k members.

Every sum over rows passes through `sum_across`, the identity by default. With several processes it adds up the
processes' shares, its gradient that of the own share alone: then each process computes the value of the whole
batch, and the sum of the processes' gradients is the gradient of the whole batch, in batch entropy too, which is
not a mean over rows. (DistributedDataParallel averages gradients, so the caller multiplies its loss by the number
of processes.)

What a small batch does to batch entropy: it is the entropy of a mean over the rows that are seen together, so it is
biased low when these are few: at most log(number of prompts) once every answer is sure. These rows are the minibatch's:
micro-batches (`Share`) and processes are averaged over before the entropy is taken and change nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from rlfl_agents.learn.head import Summary

__all__ = [
    "Entropies",
    "PolicyLoss",
    "Share",
    "clipped_policy_loss",
    "clipped_value_loss",
    "entropies",
    "gather_log_probs",
    "kl_cov_penalty",
    "leading_tokens",
    "masked_mean",
    "sequence_kl",
    "tried_log_probs",
    "tries_loss",
]

SumAcross = Callable[[Tensor], Tensor]
Positions = Literal["all", "last"]

WRONG_WEIGHT = 0.3
"""What leaving the first wrong token counts for, beside taking the right one."""


_LARGEST_LOG_RATIO = 40.0
"""Far beyond this a ratio is infinite, and its gradient no number. A uniform try may have been next to impossible for
the policy that sampled."""


def _identity(tensor: Tensor) -> Tensor:
    return tensor


class PolicyLoss(NamedTuple):
    """The clipped policy loss and its diagnostics, all float scalars; only `loss` has a gradient."""

    loss: Tensor
    ratio_mean: Tensor
    clip_fraction: Tensor
    approx_kl: Tensor


class Entropies(NamedTuple):
    """Float scalars.

    Attributes:
        token: Token entropy, nats.
        batch: Batch entropy, nats.
        batch_max_action: The largest entry of p̄, in (0, 1], of the same mean over positions; no gradient.
        information: Float [T], the mutual information of prompt and token at each position, nats: the entropy of p̄
            there, less the mean entropy of the distributions that it averages; 0 where none is active; no gradient.
    """

    token: Tensor
    batch: Tensor
    batch_max_action: Tensor
    information: Tensor


def masked_mean(values: Tensor, active: Tensor, sum_across: SumAcross = _identity) -> Tensor:
    """Mean of the active entries; 0 if there are none. Values and active: [B, T] each. Returns a scalar."""
    weight = active.to(values.dtype)
    return sum_across((values * weight).sum()) / sum_across(weight.sum()).clamp(min=1)


def gather_log_probs(log_dist: Tensor, completions: Tensor) -> Tensor:
    """Picks the chosen tokens' log-probabilities.

    Args:
        log_dist: Float [N, T, V]; N divides B.
        completions: Int64 [B, T], token ids.

    Returns:
        Float [B, T].
    """
    n, length, _ = log_dist.shape
    # The members of a group side by side in the last axis: one gather, and no copy of log_dist for each member.
    chosen = completions.view(n, -1, length).transpose(1, 2)
    return log_dist.gather(2, chosen).transpose(1, 2).reshape(completions.shape)


def clipped_policy_loss(
    log_probs: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    active: Tensor,
    clip_range: float,
    sum_across: SumAcross = _identity,
    *,
    clip_range_high: float | None = None,
    dual_clip: float | None = None,
    weights: Tensor | None = None,
) -> PolicyLoss:
    """PPO's clipped surrogate: mean of max(-A r, -A clip(r, 1 - c, 1 + c)), r = exp(log_probs - old_log_probs).

    Source: Schulman et al. 2017, arXiv 1707.06347, eq. 7. `approx_kl` is the mean of (r - 1) - log r, which estimates
    KL(old || new) without bias and is never negative (http://joschu.net/blog/kl-approx.html, k3).

    Two changes are on request. Clip-higher (DAPO, Yu et al. 2025, arXiv 2503.14476) gives the upper bound a c of its
    own, so that unlikely tokens may rise further. Dual-clip (Ye et al. 2020, arXiv 1912.09729) bounds the loss of a
    token with A < 0 by -A d: else a ratio far above 1 would weigh without limit.

    Args:
        log_probs: Float [B, T], of the chosen tokens under the present policy; [B, T, k] of all that were tried.
        old_log_probs: Float, of the same shape, under the policy that sampled them.
        advantages: Float, likewise.
        active: Bool, likewise.
        clip_range: c > 0.
        sum_across: See the module's docstring.
        clip_range_high: The c of the upper bound, > 0; `clip_range` where None.
        dual_clip: d > 1; no bound where None.
        weights: Float, of the same shape: what each token counts for in the sums of all these means; 1 where None. Over
            draws it is 1 on average, and so is the mean ratio of a policy that has not moved.
    """

    def mean(values: Tensor) -> Tensor:
        return masked_mean(values if weights is None else values * weights, active, sum_across)

    low, high = 1 - clip_range, 1 + (clip_range if clip_range_high is None else clip_range_high)
    log_ratio = torch.where(active, log_probs - old_log_probs, 0.0).clamp(max=_LARGEST_LOG_RATIO)
    ratio = log_ratio.exp()
    terms = torch.maximum(-advantages * ratio, -advantages * ratio.clamp(low, high))
    if dual_clip is not None:
        terms = torch.where(advantages < 0, torch.minimum(terms, -advantages * dual_clip), terms)
    loss = mean(terms)
    with torch.no_grad():
        return PolicyLoss(
            loss,
            mean(ratio),
            mean(((ratio < low) | (ratio > high)).to(ratio.dtype)),
            mean(torch.expm1(log_ratio) - log_ratio),
        )


def leading_tokens(log_probs: Tensor, advantages: Tensor, active: Tensor, share: float) -> Tensor:
    """The tokens that make the policy surer fastest: bool [B, T], True for the `share` of highest covariance.

    A token's covariance is (log p - mean log p) (A - mean A). Where it is high, a likely token is about to become
    likelier: few tokens take most of the entropy away.
    Source: KL-Cov, Cui et al. 2025, arXiv 2505.22617. There it is that of a minibatch; here of a rollout, with
    the log-probabilities that it was sampled with.

    Args:
        log_probs: Float [B, T], of the chosen tokens.
        advantages: Float [B, T].
        active: Bool [B, T], at least one True.
        share: Of the active tokens, in (0, 1]; rounded up.
    """
    chosen = [values[active] - values[active].mean() for values in (log_probs, advantages)]
    covariance = chosen[0] * chosen[1]
    count = math.ceil(share * len(covariance))
    found = torch.zeros_like(active)
    found[active] = torch.zeros_like(covariance, dtype=torch.bool).index_fill(0, covariance.topk(count).indices, True)
    return found


def kl_cov_penalty(
    log_probs: Tensor, old_log_probs: Tensor, leading: Tensor, active: Tensor, sum_across: SumAcross = _identity
) -> Tensor:
    """KL-Cov's penalty: |log r| of the leading tokens, summed, over the number of all active ones.

    All tensors [B, T], `leading` from `leading_tokens`; returns a scalar.
    """
    moved = torch.where(leading & active, (log_probs - old_log_probs).abs(), 0.0)
    return masked_mean(moved, active, sum_across)


def clipped_value_loss(
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    active: Tensor,
    clip_range: float,
    sum_across: SumAcross = _identity,
) -> Tensor:
    """Half the mean of max((v - R)^2, (v_clipped - R)^2), where v_clipped stays within `clip_range` of the old value.

    Source: the paper's TRL 0.9, `PPOTrainer.loss`. All tensors [B, T]; returns a scalar.
    """
    clipped = old_values + (values - old_values).clamp(-clip_range, clip_range)
    return 0.5 * masked_mean(torch.maximum((values - returns) ** 2, (clipped - returns) ** 2), active, sum_across)


def tried_log_probs(log_dist: Tensor, tokens: Tensor) -> Tensor:
    """Log-probabilities of all that was tried, float [B, T, k].

    Args:
        log_dist: Float [N, T, V]; N divides B.
        tokens: Int64 [B, T, k].
    """
    n, (rows, length, tries) = len(log_dist), tokens.shape
    of_groups = tokens.view(n, -1, length, tries).transpose(1, 2)
    found = log_dist.gather(2, of_groups.reshape(n, length, -1)).view(of_groups.shape)
    return found.transpose(1, 2).reshape(rows, length, tries)


def tries_loss(
    log_dist: Tensor,
    completions: Tensor,
    is_right: Tensor,
    wrong: Tensor,
    active: Tensor,
    sum_across: SumAcross = _identity,
) -> Tensor:
    """Mean over the visited states of -log p(right token found) - 0.3 log(1 - p(first wrong token)).

    A term is missing where no token drawn was right, or none was wrong. log(1 - p) is the logsumexp of the other
    tokens: so its gradient stays whole where the policy is sure and wrong, and 1 - p has no digits left.

    Args:
        log_dist: Float [N, T, V]; N divides B.
        completions: Int64 [B, T], the right tokens, where there is one.
        is_right: Bool [B, T], where there is.
        wrong: Int64 [B, T], the first wrong tokens; negative where there is none.
        active: Bool [B, T], the states that were visited.
        sum_across: See the module's docstring.
    """
    taken = gather_log_probs(log_dist, completions)
    rows = log_dist.repeat_interleave(len(completions) // len(log_dist), dim=0)
    left = rows.scatter(2, wrong.clamp(min=0)[:, :, None], -torch.inf).logsumexp(dim=2)
    terms = torch.where(is_right, -taken, 0.0) - WRONG_WEIGHT * torch.where(wrong >= 0, left, 0.0)
    return masked_mean(terms, active, sum_across)


class Share(NamedTuple):
    """What a micro-batch is a part of.

    Attributes:
        whole: The summary of the whole minibatch's own rows; its log-probabilities are not read.
        weight: The micro-batch's share of the minibatch, in (0, 1]: what its loss is multiplied with.
    """

    whole: Summary
    weight: float


def entropies(
    summary: Summary, positions: Positions = "all", sum_across: SumAcross = _identity, share: Share | None = None
) -> Entropies:
    """Token entropy and batch entropy, of distributions that are known in summary.

    Token entropy is the mean over active tokens of -sum_a p(a) log p(a). Batch entropy averages the distributions
    of the rows that are active at a position, p̄(a) = mean_b p(a | s_b), and takes -sum_a p̄(a) log(p̄(a) + 1e-9);
    the positions are averaged, weighted by their active rows ("all"), or only the last position that has any is
    read ("last", as in the paper); rows that have ended before do not count there.
    Source: Padula & Soemers 2024, arXiv 2410.17126; the generalisation to several positions is ours.

    Args:
        summary: Of the rows.
        positions: "all" or "last".
        sum_across: See the module's docstring.
        share: If given, batch entropy is that of the whole minibatch, with the gradient of the rows' own share, over
            their weight: the weighted sum of the micro-batches' gradients is then exactly that of the minibatch.
    """
    count, probs = sum_across(summary.counts.sum(dim=0)), sum_across(summary.probs)  # [T], [T, V]
    tokens = sum_across((summary.entropy * summary.counts).sum(dim=0))  # [T], each row's entropy, summed
    token = tokens.sum() / count.sum().clamp(min=1)
    if share is not None:
        whole = share.whole
        count = sum_across(whole.counts.sum(dim=0))
        tokens = sum_across((whole.entropy * whole.counts).sum(dim=0))
        probs = sum_across(whole.probs) + (probs - probs.detach()) / share.weight
    batch_dist = probs / count.clamp(min=1)[:, None]  # p̄, [T, V]
    per_position = -(batch_dist * (batch_dist + 1e-9).log()).sum(dim=-1)
    weights = count / count.sum().clamp(min=1)
    if positions == "last":
        last = int(count.detach().nonzero().max()) if bool(count.any()) else 0
        weights = torch.nn.functional.one_hot(torch.tensor(last, device=count.device), len(count)).to(count.dtype)
    largest = batch_dist.detach().amax(dim=-1)
    information = (per_position - tokens / count.clamp(min=1)).detach()
    batch = (per_position * weights).sum()
    return Entropies(token, batch, (largest * weights.detach()).sum(), information)


def sequence_kl(log_probs: Tensor, ref_log_probs: Tensor, active: Tensor) -> Tensor:
    """`ref_kl` of each episode: the sum of log p - log p_ref over its tokens, nats.

    Its mean over episodes estimates KL(policy || reference) without bias.

    Args:
        log_probs: Float [B, T], of the chosen tokens under the policy that sampled them.
        ref_log_probs: Float [B, T], under the frozen reference.
        active: Bool [B, T].

    Returns:
        Float [B].
    """
    return torch.where(active, log_probs - ref_log_probs, 0.0).sum(dim=1)
