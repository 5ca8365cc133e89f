"""What a loss asks of the distributions over V tokens, without ever holding them all.

A model's last layer makes V numbers of every hidden state: at 512 completions of 16 tokens of GPT-2's 50,257 these are
1.6 GB in float32, and what autograd keeps of their softmax, entropy and mean is six times that. But the loss asks for
little: the chosen tokens' log-probabilities, each state's entropy, and the sum of the distributions at each position.
So the states are read in pieces, and their distributions are made again when the gradient asks for them.

Shapes: B rows (episodes), N states' rows (N divides B: the members of a group may share their state), T positions, H
hidden numbers, V tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["NEVER", "Summary", "summarise"]

NEVER = -1e9
"""The logit of an illegal token: finite, so that 0 * log 0 is 0 in an entropy and not NaN; exp() of it is exactly 0."""

_AT_ONCE = {"cpu": 2**22}
"""How many logits are held at a time: few on a CPU, whose caches they should fit into."""
_AT_ONCE_ELSEWHERE = 2**24


class Summary(NamedTuple):
    """What is known of the distributions; all have gradients.

    Attributes:
        log_probs: Float [B, T], of the chosen tokens.
        entropy: Float [N, T], of each state's distribution, nats.
        probs: Float [T, V], the distributions of a position added up over its active rows.
        counts: Float [N, T], how many active rows each state stands for.
    """

    log_probs: Tensor
    entropy: Tensor
    probs: Tensor
    counts: Tensor


def summarise(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    completions: Tensor,
    active: Tensor,
    table: Tensor | None = None,
    rows: Tensor | None = None,
    temperature: float = 1.0,
) -> Summary:
    """Reads the distributions softmax((weight · hidden + bias) / temperature) over the legal tokens.

    Under autocast the products are made in its precision; everything else is float32 (float64 where `hidden` is).

    Args:
        hidden: Float [N, T, H].
        weight: Float [V, H].
        bias: Float [V], or None.
        completions: Int64 [B, T], the chosen tokens; the rows that share a state are adjacent.
        active: Bool [B, T], which of them count in `probs`.
        table: Bool [R, V], True = legal, or None where all are.
        rows: Int [N, T], or broadcasting to it: each state's row of the table.
        temperature: Above 0.

    Returns:
        The summary. Its memory is that of its results and of a few million logits at a time.
    """
    n, length, _ = hidden.shape
    chosen = completions.view(n, -1, length).permute(2, 0, 1)  # [T, N, k]
    counts = active.view(n, -1, length).sum(dim=1)
    numbers = None if rows is None else rows.expand(n, length).t().flatten()
    if rows is not None and rows.numel() == 1:
        numbers = rows.flatten()
    illegal = None if table is None else ~table
    log_probs, entropy, probs = cast(
        "tuple[Tensor, Tensor, Tensor]",
        _Summary.apply(  # type: ignore[no-untyped-call]
            hidden, weight, bias, chosen.flatten(0, 1), counts.t().flatten(), illegal, numbers, temperature, length
        ),
    )
    log_probs = log_probs.view(length, n, -1).permute(1, 2, 0).reshape(completions.shape)
    return Summary(log_probs, entropy.view(length, n).t(), probs, counts.to(entropy.dtype))


class _Summary(torch.autograd.Function):
    """The states in the order of their positions, [T * N, ...], a piece at a time."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        chosen: Tensor,
        counts: Tensor,
        illegal: Tensor | None,
        numbers: Tensor | None,
        temperature: float,
        length: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        device = hidden.device.type
        wide = torch.promote_types(hidden.dtype, torch.float32)
        narrow = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        n, vocab_size = hidden.shape[0], weight.shape[0]
        states = hidden.transpose(0, 1).flatten(0, 1).to(narrow)
        matrix = weight.to(narrow)
        counts = counts.to(wide)
        log_probs, entropy = states.new_empty(chosen.shape, dtype=wide), states.new_empty(len(states), dtype=wide)
        probs = states.new_zeros(length, vocab_size, dtype=wide)
        pieces = list(_pieces(length, n, vocab_size, device))
        log_dist = None
        with torch.autocast(device, enabled=False):
            for rows, columns in pieces:
                log_dist = _log_dist(states[rows], matrix, bias, illegal, _part(numbers, rows), temperature, wide)
                torch.gather(log_dist, 1, chosen[rows], out=log_probs[rows])
                dist = log_dist.exp()
                weights = counts[rows].view(columns.stop - columns.start, 1, -1)
                probs[columns] += (weights @ dist.view(*weights.shape[::2], vocab_size)).squeeze(1)
                entropy[rows] = -dist.mul_(log_dist).sum(dim=-1)
        kept = log_dist if len(pieces) == 1 else None
        ctx.save_for_backward(states, weight, bias, chosen, counts, illegal, numbers, entropy, kept)
        ctx.settings = (temperature, pieces, narrow, wide, n, hidden.dtype)
        ctx.set_materialize_grads(False)
        return log_probs, entropy, probs

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(
        ctx: Any, of_log_probs: Tensor | None, of_entropy: Tensor | None, of_probs: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        states, weight, bias, chosen, counts, illegal, numbers, entropy, kept = ctx.saved_tensors
        temperature, pieces, narrow, wide, n, dtype = ctx.settings
        matrix = weight.to(narrow)
        learns_weight, learns_bias = ctx.needs_input_grad[1:3]
        to_states = torch.empty_like(states)
        to_weight = torch.zeros_like(weight) if learns_weight else None
        to_bias = torch.zeros_like(bias) if learns_bias and bias is not None else None
        with torch.autocast(states.device.type, enabled=False):
            for rows, columns in pieces:
                log_dist = kept
                if kept is None:
                    log_dist = _log_dist(states[rows], matrix, bias, illegal, _part(numbers, rows), temperature, wide)
                slope = _slope(
                    cast("Tensor", log_dist),
                    None if of_entropy is None else (of_entropy[rows], entropy[rows]),
                    None if of_probs is None else (of_probs[columns], counts[rows]),
                    None if of_log_probs is None else (of_log_probs[rows], chosen[rows]),
                )
                if temperature != 1:
                    slope /= temperature
                if to_bias is not None:
                    to_bias += slope.sum(dim=0)
                slope = slope.to(narrow)
                torch.mm(slope, matrix, out=to_states[rows])
                if to_weight is not None and to_weight.dtype == slope.dtype:
                    to_weight.addmm_(slope.t(), states[rows])
                elif to_weight is not None:
                    to_weight += slope.t() @ states[rows]
        to_hidden = to_states.view(-1, n, states.shape[1]).transpose(0, 1)
        return to_hidden.to(dtype), to_weight, to_bias, *[None] * 6


def _pieces(length: int, n: int, vocab_size: int, device: str) -> Iterator[tuple[slice, slice]]:
    """Cuts T positions of N states: slices of the T * N states, and of the positions that they are at.

    A piece is several whole positions, or a part of one.
    """
    at_once = max(1, _AT_ONCE.get(device, _AT_ONCE_ELSEWHERE) // vocab_size)
    if n <= at_once:
        for first in range(0, length, at_once // n):
            last = min(first + at_once // n, length)
            yield slice(first * n, last * n), slice(first, last)
        return
    for column in range(length):
        for row in range(column * n, (column + 1) * n, at_once):
            yield slice(row, min(row + at_once, (column + 1) * n)), slice(column, column + 1)


def _part(numbers: Tensor | None, rows: slice) -> Tensor | None:
    return numbers if numbers is None or len(numbers) == 1 else numbers[rows]


def _log_dist(
    states: Tensor,
    matrix: Tensor,
    bias: Tensor | None,
    illegal: Tensor | None,
    numbers: Tensor | None,
    temperature: float,
    wide: torch.dtype,
) -> Tensor:
    """The log-probabilities of every token, [m, V], about -1e9 for what is illegal."""
    logits = (states @ matrix.t()).to(wide)
    if bias is not None:
        logits += bias
    if temperature != 1:
        logits /= temperature
    if illegal is not None and numbers is not None:
        logits.masked_fill_(illegal[numbers], NEVER)
    return logits.log_softmax(dim=-1)


def _slope(
    log_dist: Tensor,
    entropy: tuple[Tensor, Tensor] | None,
    probs: tuple[Tensor, Tensor] | None,
    log_probs: tuple[Tensor, Tensor] | None,
) -> Tensor:
    """The gradient with respect to the logits over the temperature, [m, V].

    With p = exp(log_dist): an entropy's is -p (log p + entropy); that of a sum of distributions, w p (G - <p, G>); that
    of a chosen token's log-probability, [v is chosen] - p.

    Args:
        log_dist: Float [m, V].
        entropy: The gradient with respect to the entropies and the entropies, [m] each.
        probs: The gradient with respect to the sums, [columns, V], and how often each state counts in them, [m].
        log_probs: The gradient with respect to the chosen tokens' log-probabilities, and these tokens, [m, k] each.
    """
    dist = log_dist.exp()
    factor = torch.zeros_like(log_dist[:, :1])
    if entropy is not None:
        factor = (log_dist + entropy[1][:, None]).mul_(-entropy[0][:, None])
    if probs is not None:
        slopes, counts = probs
        wanted = slopes[:, None].expand(-1, len(counts) // len(slopes), -1).flatten(0, 1)
        factor = factor + counts[:, None] * (wanted - (dist * wanted).sum(dim=1, keepdim=True))
    if log_probs is not None:
        factor = factor - log_probs[0].sum(dim=1, keepdim=True)
    slope = dist * factor
    if log_probs is not None:
        slope.scatter_add_(1, log_probs[1], log_probs[0].to(slope.dtype))
    return slope
