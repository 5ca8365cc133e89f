"""Several tokens drawn at each state, all judged by the environment; the episode goes on with a right one."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rlfl_agents.model.policy import Decoding, Policy, draw
from rlfl_envs import TokenVectorEnv

__all__ = ["NONE_WRONG", "Candidates", "Chosen", "choose", "draw_candidates", "try_tokens"]

NONE_WRONG = -1
"""Stands for the first wrong token where no token drawn was wrong."""


class Candidates(NamedTuple):
    """The tokens drawn at a state.

    Attributes:
        tokens: Int64 [B, k], those of the policy first, then the uniform ones.
        log_probs: Float32 [B, k], the policy's, of these tokens.
        weights: Float32 [B, k], their probability over the average chance of the k tries to draw them. A weighted mean
            over the tries estimates one over draws of the policy. 1 without uniform ones.
        values: Float32 [B], of the states; 0 without a value head.
    """

    tokens: Tensor
    log_probs: Tensor
    weights: Tensor
    values: Tensor


class Chosen(NamedTuple):
    """What was made of them.

    Attributes:
        tokens: Int64 [B], the first right token; the first of all where none is right.
        log_probs: Float32 [B], the policy's, of these tokens.
        right: Bool [B, k], the verdicts.
        wrong: Int64 [B], the first wrong token, or `NONE_WRONG`.
    """

    tokens: Tensor
    log_probs: Tensor
    right: Tensor
    wrong: Tensor


def try_tokens(
    policy: Policy,
    state: Decoding,
    envs: TokenVectorEnv,
    noise: Tensor,
    masks: Tensor,
    temperature: float,
    random_tries: int,
) -> tuple[Candidates, Chosen]:
    """Draws tokens, has them judged, and goes on with those chosen. See `draw_candidates` and `choose`."""
    candidates = draw_candidates(policy, state, noise, masks, temperature, random_tries)
    chosen = choose(candidates, envs)
    state.pending = chosen.tokens[:, None]
    return candidates, chosen


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
    log_probs = log_dist.gather(1, tokens.view(len(log_dist), -1)).view(tokens.shape)
    probs, chance = log_probs.exp(), masks.sum(dim=1, keepdim=True).reciprocal()
    # As if each try were of the policy or uniform by lot (the balance heuristic of Veach & Guibas 1995).
    weights = (own + random_tries) * probs / (own * probs + random_tries * chance)
    return Candidates(tokens, log_probs, weights, values.repeat_interleave(rows // len(values)))


def choose(candidates: Candidates, envs: TokenVectorEnv) -> Chosen:
    """Has the tokens judged, and takes the first right one in each row."""
    tokens = candidates.tokens
    right = torch.as_tensor(envs.judge_tokens(tokens.cpu().numpy())).to(tokens.device)
    taken = right.int().argmax(dim=1, keepdim=True)
    wrong = tokens.gather(1, (~right).int().argmax(dim=1, keepdim=True)).masked_fill(
        right.all(dim=1, keepdim=True), NONE_WRONG
    )
    log_probs = candidates.log_probs.gather(1, taken)
    return Chosen(tokens.gather(1, taken)[:, 0], log_probs[:, 0], right, wrong[:, 0])
