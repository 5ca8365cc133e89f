"""Tokens of many rows that are read as one: those that somebody asks for, and no others.

All layers but attention know no rows: to them N tokens are one long text. Attention gathers what they hold into rows
again, where the rows of a group lie side by side, so that a prompt's keys are multiplied with all of them at once. Its
gradient is written by hand: PyTorch would follow each copy backwards, which took as long as the products.

Shapes: G prompts of P tokens, B rows in groups of k, L columns each; r heads share one of s heads for keys and values,
of d numbers each.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["Packing", "attend", "causal"]


class Packing(NamedTuple):
    """Where N tokens of B rows stand.

    Attributes:
        where: Int64 [N], in [B * L]. Those of a row are its first.
        at: Int64 [B * L], which of the N stands where; any of them where none does.
        is_there: Bool [B * L], where one stands.
        length: L.
    """

    where: Tensor
    at: Tensor
    is_there: Tensor
    length: int

    @classmethod
    def of(cls, where: Tensor, rows: int, length: int) -> Packing:
        """Finds the way back from `where`."""
        at = where.new_zeros(rows * length)
        at[where] = torch.arange(len(where), device=where.device)
        return cls(where, at, torch.zeros_like(at, dtype=torch.bool).index_fill_(0, where, True), length)

    def spread(self, packed: Tensor) -> Tensor:
        """[s, N, ...] as [s, B * L, ...], with any numbers where no token stands."""
        return packed.index_select(1, self.at)

    def gathered(self, rows: Tensor) -> Tensor:
        """The other way round."""
        return rows.index_select(1, self.where)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    prompts: tuple[Tensor, Tensor],
    attended: Tensor | None,
    packing: Packing,
    scaling: float,
) -> Tensor:
    """Attention of packed tokens over the prompt of their group, and over what stands before them in their row.

    Args:
        query: Float [1, s * r, N, d].
        key: Float [1, s, N, d].
        value: Likewise; it may have other numbers a head.
        prompts: Keys and values of the prompts, [G, s, P, d].
        attended: Bool [G, P], which columns of the prompts may be looked at; None where all.
        packing: Where the tokens stand.
        scaling: What the products are multiplied with.

    Returns:
        Float [1, N, s * r, d].
    """
    device = query.device.type
    given: tuple[Tensor, ...] = query, key, value, *prompts
    if torch.is_autocast_enabled(device):
        given = tuple(each.to(torch.get_autocast_dtype(device)) for each in given)
    with torch.autocast(device, enabled=False):
        return cast("Tensor", _Attention.apply(*given, attended, packing, scaling))  # type: ignore[no-untyped-call]


def causal(length: int, device: torch.device) -> Tensor:
    """Bool [L, L]: each token sees itself and what came before."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


class _Attention(torch.autograd.Function):
    """What `attend` does. Heads come before rows here, so that what is gathered lies as products want it."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        prompt_key: Tensor,
        prompt_value: Tensor,
        attended: Tensor | None,
        packing: Packing,
        scaling: float,
    ) -> Tensor:
        shapes = _Shapes(len(prompt_key), prompt_key.shape[1], packing.length)
        query = packing.spread(query[0].unflatten(0, (shapes.heads, -1)).transpose(1, 2)).mul_(scaling)
        key, value = (shapes.by_row(packing.spread(each[0])) for each in (key, value))
        prompt_key, prompt_value = (each.transpose(0, 1).flatten(0, 1) for each in (prompt_key, prompt_value))
        width, repeats = prompt_key.shape[1], query.shape[2]
        over_prompt, over_own = shapes.by_group(query) @ prompt_key.mT, shapes.by_row(query) @ key.mT
        if attended is not None:
            over_prompt.unflatten(0, (-1, shapes.groups)).masked_fill_(~attended[:, None], -torch.inf)
        over_own.masked_fill_(~causal(shapes.length, key.device).repeat_interleave(repeats, dim=0), -torch.inf)
        weights = torch.cat([over_prompt.view(-1, width), over_own.view(-1, shapes.length)], dim=1)
        weights = weights.softmax(dim=1, dtype=torch.promote_types(key.dtype, torch.float32)).to(key.dtype)
        of_prompt = weights[:, :width].reshape(over_prompt.shape)
        of_own = weights[:, width:].reshape(over_own.shape)
        found = (of_prompt @ prompt_value).view(shapes.heads, -1, repeats, value.shape[2])
        found += (of_own @ value).view(found.shape)
        ctx.save_for_backward(query, key, value, prompt_key, prompt_value, of_prompt, of_own, found)
        ctx.settings = shapes, packing, scaling
        return packing.gathered(found).transpose(0, 1).flatten(1, 2)[None]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, prompt_key, prompt_value, of_prompt, of_own, found = ctx.saved_tensors
        shapes, packing, scaling = ctx.settings
        by_row, by_group = shapes.by_row, shapes.by_group
        gradient = packing.spread(gradient[0].unflatten(1, (shapes.heads, -1)).transpose(0, 1))
        gradient *= packing.is_there[:, None, None]
        mean = (gradient * found).sum(dim=3, keepdim=True)  # of the weights' gradients, by the weights
        to_prompt = (by_group(gradient) @ prompt_value.mT).sub_(by_group(mean)).mul_(of_prompt)
        to_own = (by_row(gradient) @ value.mT).sub_(by_row(mean)).mul_(of_own)
        to_query = (to_prompt @ prompt_key).view(query.shape)
        to_query += (to_own @ key).view(query.shape)
        return (
            packing.gathered(to_query.mul_(scaling)).transpose(1, 2).flatten(0, 1)[None],
            packing.gathered((to_own.mT @ by_row(query)).view(shapes.heads, -1, query.shape[3]))[None],
            packing.gathered((of_own.mT @ by_row(gradient)).view(shapes.heads, -1, value.shape[2]))[None],
            (to_prompt.mT @ by_group(query)).unflatten(0, (shapes.heads, -1)).transpose(0, 1),
            (of_prompt.mT @ by_group(gradient)).unflatten(0, (shapes.heads, -1)).transpose(0, 1),
            *[None] * 3,
        )


class _Shapes(NamedTuple):
    """How [s, B * L, ...] is seen.

    Attributes:
        groups: G.
        heads: s.
        length: L.
    """

    groups: int
    heads: int
    length: int

    def by_row(self, spread: Tensor) -> Tensor:
        """[s * B, L * r, d]."""
        rows: Tensor = spread.unflatten(1, (-1, self.length)).flatten(0, 1)
        return rows.flatten(1, -2)

    def by_group(self, spread: Tensor) -> Tensor:
        """[s * G, k * L * r, d]."""
        return spread.view(self.heads * self.groups, -1, spread.shape[-1])
