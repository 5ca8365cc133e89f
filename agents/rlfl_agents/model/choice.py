"""Tokens drawn from logits, by noise that is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rlfl_agents.learn.head import kernels
from rlfl_agents.model.masks import masked_log_dist

__all__ = ["choose", "draw"]

_LARGE, _BLOCK = 4096, 256
"""Above so many tokens, they are drawn in two levels, in blocks of so many."""


def choose(
    logits: Tensor, noise: Tensor, masks: Tensor | None, *, temperature: float, greedy: bool
) -> tuple[Tensor, Tensor]:
    """Chooses tokens.

    Args:
        logits: Float [N, V].
        noise: Float [N, k] in [0, 1), one number for each token that is drawn.
        masks: Bool [1 or N, V], True = legal, or None.
        temperature: Divides the logits, > 0.
        greedy: Take the likeliest token, k times.

    Returns:
        The tokens, int64 [N, k], and their log-probabilities, float32 [N, k].
    """
    fused = kernels(logits.device, torch.float32) if logits.shape[1] > _LARGE and not greedy else None
    if fused is not None:
        return _drawn_by(fused, logits, noise, masks, temperature)
    log_dist = masked_log_dist(logits, masks, temperature)
    chosen = log_dist.argmax(dim=-1, keepdim=True).expand(noise.shape) if greedy else draw(log_dist, noise)
    return chosen, log_dist.gather(1, chosen)


def draw(log_dist: Tensor, uniforms: Tensor) -> Tensor:
    """Samples by inverting the cumulative distribution: a row's noise does not depend on the batch around it.

    Args:
        log_dist: Float [N, V].
        uniforms: Float64 [N, k] in [0, 1), one number per sample.

    Returns:
        Int64 [N, k]; a token of probability 0 is never drawn.
    """
    wide = torch.float32 if log_dist.device.type == "mps" else torch.float64
    uniforms = uniforms.to(wide)
    if log_dist.shape[1] <= _LARGE:
        cumulative = log_dist.softmax(dim=-1, dtype=wide).cumsum(dim=-1)
        return _first_above(cumulative, uniforms * cumulative[:, -1:])
    # A block is drawn first, then a token in it: sums of a row are a fraction of the work of its cumulative sums.
    probs, vocab_size = log_dist.softmax(dim=-1), log_dist.shape[1]
    whole = vocab_size - vocab_size % _BLOCK
    sums = probs[:, :whole].unflatten(1, (-1, _BLOCK)).sum(dim=2, dtype=wide)
    sums = torch.cat([sums, probs[:, whole:].sum(dim=1, dtype=wide, keepdim=True)], dim=1)
    return _in_blocks(sums, uniforms, vocab_size, lambda tokens: probs.gather(1, tokens))


def _drawn_by(
    fused: Any, logits: Tensor, noise: Tensor, masks: Tensor | None, temperature: float
) -> tuple[Tensor, Tensor]:
    """What `choose` returns, by the kernels of fused.py, which never make the distribution."""
    vocab_size, table = logits.shape[1], None if masks is None else ~masks
    numbers = None if masks is None else torch.arange(len(masks), device=logits.device)
    log_sums, _ = fused.statistics(logits, table, numbers, temperature)
    sums = fused.block_sums(logits, table, numbers, temperature, log_sums, _BLOCK).double()

    def log_probs(tokens: Tensor) -> Tensor:
        found: Tensor = logits.gather(1, tokens).float() / temperature - log_sums[:, None]
        return found

    def probs(tokens: Tensor) -> Tensor:
        found = log_probs(tokens).exp()
        if masks is None:
            return found
        # Chosen, not multiplied: far above all legal tokens an illegal one has an infinite share.
        return found.where(masks.expand(len(logits), -1).gather(1, tokens), 0.0)

    chosen = _in_blocks(sums, noise.double(), vocab_size, probs)
    return chosen, log_probs(chosen)


def _in_blocks(sums: Tensor, uniforms: Tensor, vocab_size: int, probs_of: Callable[[Tensor], Tensor]) -> Tensor:
    """Draws a block, then a token in it.

    Args:
        sums: Float [N, blocks], the probability of each.
        uniforms: Likewise [N, k].
        vocab_size: V.
        probs_of: From tokens [N, m] to their probabilities.
    """
    cumulative = sums.cumsum(dim=1)
    targets = uniforms * cumulative[:, -1:]
    blocks = _first_above(cumulative, targets)
    before = cumulative.gather(1, blocks) - sums.gather(1, blocks)
    tokens = blocks[:, :, None] * _BLOCK + torch.arange(_BLOCK, device=sums.device)
    inside = probs_of(tokens.clamp(max=vocab_size - 1).flatten(1)).view(tokens.shape) * (tokens < vocab_size)
    within = _first_above(inside.to(sums.dtype).cumsum(dim=2), (targets - before).clamp(min=0)[:, :, None])
    return blocks * _BLOCK + within.squeeze(2)


def _first_above(cumulative: Tensor, targets: Tensor) -> Tensor:
    """Where a cumulative sum first exceeds each target; a target that rounding put at the total is put below it."""
    total = cumulative[..., -1:]
    below = torch.minimum(targets, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, below.contiguous(), right=True)
