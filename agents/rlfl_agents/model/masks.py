"""Which tokens were legal in a rollout: a table of rows, and for every position the number of its row.

A vocabulary may have 50,000 tokens and an episode hundreds of positions, but a task has a few dozen different masks. So
no mask [B, T, V] is ever made.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from rlfl_agents.learn.head import NEVER

__all__ = ["Masks", "masked_log_dist"]

# How many entries of a mask are spread out at a time.
_AT_ONCE = 2**24


class Masks(NamedTuple):
    """The masks of B completions of T tokens.

    Attributes:
        table: Bool [R, V], True = legal.
        rows: Int32 [B, T]: which row each position has. [1, T] where all completions have the same, [1, 1] where all
            positions have.
    """

    table: Tensor
    rows: Tensor


def masked_log_dist(logits: Tensor, masks: Tensor | Masks | None, temperature: float) -> Tensor:
    """Log-probabilities in float32, about -1e9 for what is illegal.

    Args:
        logits: Float [N, V], or [N, T, V] where masks are a table.
        masks: Bool, broadcasts to the logits, True = legal; or a table, whose rows are [N, T] or broadcast to it.
        temperature: Divides the logits, > 0.
    """
    is_wide = temperature != 1 or isinstance(masks, Masks) or logits.device.type == "cpu"
    if logits.dtype in (torch.bfloat16, torch.float16) and not is_wide:  # one kernel widens, and takes the softmax
        never = max(NEVER, torch.finfo(logits.dtype).min)
        masked = logits if masks is None else logits.masked_fill(~cast("Tensor", masks), never)
        return masked.log_softmax(dim=-1, dtype=torch.float32)
    logits = logits.float()
    if temperature != 1 or isinstance(masks, Masks):  # a table is written over them
        logits = logits / temperature
    if isinstance(masks, Masks):
        logits = cast("Tensor", _Illegal.apply(logits, ~masks.table, masks.rows))  # type: ignore[no-untyped-call]
    elif masks is not None:
        logits = logits.masked_fill(~masks, NEVER)
    return logits.log_softmax(dim=-1)


class _Illegal(torch.autograd.Function):
    """Writes `NEVER` over what is illegal, in place; its gradient is 0. Autograd's own would keep a mask [N, T, V]."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, illegal: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(illegal, rows)
        ctx.mark_dirty(logits)
        return _fill(logits, illegal, rows, NEVER)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        illegal, rows = ctx.saved_tensors
        return _fill(gradient.clone(), illegal, rows, 0.0), None, None


def _fill(tensor: Tensor, illegal: Tensor, rows: Tensor, value: float) -> Tensor:
    """Fills [N, T, V] in place where `illegal[rows]` is True, as many positions at a time as fit into `_AT_ONCE`."""
    at_once = max(1, _AT_ONCE // tensor[:, 0].numel())
    numbers = rows.expand(-1, tensor.shape[1])
    for part, row in zip(tensor.split(at_once, dim=1), numbers.split(at_once, dim=1), strict=True):
        part.masked_fill_(illegal[row], value)
    return tensor
