"""Several tokens drawn at each state, all judged by the environment; the episode goes on with a right one."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rlfl_agents.model.policy import Decoding, Policy, draw
from rlfl_envs import TokenVectorEnv

__all__ = ["NONE_WRONG", "Candidates", "Chosen", "choose", "draw_candidates"]

NONE_WRONG = -1
"""Stands for the first wrong token where no token drawn was wrong."""


class Candidates(NamedTuple):
    """The tokens drawn at a state.

    Attributes:
        tokens: Int64 [B, k], those of the policy first, then the uniform ones.
        log_dist: Float32 [N, V], the policy's log-probabilities; N = B / group size until the rows of a group part.
        values: Float32 [B], of the states; 0 without a value head.
    """

    tokens: Tensor
    log_dist: Tensor
    values: Tensor


class Chosen(NamedTuple):
    """What was made of them.

    Attributes:
        tokens: Int64 [B], the first right token; the first of all where none is right.
        log_probs: Float32 [B], the policy's, of these tokens.
        is_right: Bool [B].
        is_first: Bool [B], whether the first of all was right.
        wrong: Int64 [B], the first wrong token, or `NONE_WRONG`.
    """

    tokens: Tensor
    log_probs: Tensor
    is_right: Tensor
    is_first: Tensor
    wrong: Tensor


def draw_candidates(
    policy: Policy, state: Decoding, noise: Tensor, masks: Tensor, temperature: float, random_tries: int
) -> Candidates:
    """Draws k tokens in every row, from one forward pass.

    Args:
        policy: The policy.
        state: Its place in the completions.
        noise: Float64 [B, k] in [0, 1).
        masks: Bool [B, V] or [1, V], True = legal.
        temperature: Divides the logits, > 0.
        random_tries: How many of the k are uniform over the legal tokens.
    """
    log_dist, values = policy.distribution(state, masks, temperature)
    rows, own = len(noise), noise.shape[1] - random_tries
    tokens = draw(log_dist, noise[:, :own].reshape(len(log_dist), -1)).view(rows, own)
    if random_tries:
        even = masks.to(torch.float32).log()  # up to a constant, which `draw` does not look at
        others = draw(even, noise[:, own:].reshape(len(even), -1)).view(rows, random_tries)
        tokens = torch.cat([tokens, others], dim=1)
    return Candidates(tokens, log_dist, values.repeat_interleave(rows // len(values)))


def choose(candidates: Candidates, envs: TokenVectorEnv) -> Chosen:
    """Has the tokens judged, and takes the first right one in each row."""
    tokens, log_dist, _ = candidates
    right = torch.as_tensor(envs.judge_tokens(tokens.cpu().numpy())).to(tokens.device)
    taken = tokens.gather(1, right.int().argmax(dim=1, keepdim=True))
    wrong = tokens.gather(1, (~right).int().argmax(dim=1, keepdim=True)).masked_fill(
        right.all(dim=1, keepdim=True), NONE_WRONG
    )
    log_probs = log_dist.gather(1, taken.view(len(log_dist), -1))
    return Chosen(taken[:, 0], log_probs.reshape(-1), right.any(dim=1), right[:, 0], wrong[:, 0])
