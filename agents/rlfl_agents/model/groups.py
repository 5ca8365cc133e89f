"""A cache that holds a prompt once for all the completions of its group.

Transformers' own caches hold a row's prompt and completion in one tensor: a group's prompt has to be copied for every
member, and a new token copies all that was read before. Here the prompt's keys and values stay where they are, one row
for each group; the completions' have a place of their own, made once. The attention over both is this module's, plugged
in through Transformers' `AttentionInterface` for as long as a model is read (`GroupCache.reading`), so that models and
their saved settings know nothing of it.

Shapes: G prompts of P tokens, B rows in groups of k, h heads (k of them share r keys and values), d numbers a head.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from rlfl_agents.model.packing import Packing, attend, causal
from rlfl_agents.model.products import products_of_views

__all__ = ["GroupCache", "UngroupedError", "can_be_grouped"]

_NAME = "rlfl_groups"
_READING: ContextVar[GroupCache] = ContextVar("_READING")
_SMALL_HEAD = 32
"""Up to this size, thousands of products of a vector with a small matrix take a CPU longer than adding up does."""
_MANY = 2**13
"""From so many numbers of a token on, they are added up token by token: together they would not fit into caches."""
_ALIGNED = 8
"""A GPU's products want as many places as a multiple of this."""
_OTHER_ATTENTION = ("position_bias", "s_aux", "sliding_window", "softcap")  # what a plain softmax does not do


class UngroupedError(Exception):
    """A model turns out to do something that a group cache knows nothing of. It does so when the prompts are read."""


def can_be_grouped(model: PreTrainedModel) -> bool:
    """Whether every layer of a model is plain attention over all that came before, through the interface."""
    layers = DynamicCache(config=model.config).layers
    return bool(model._supports_attention_backend) and all(type(layer) is DynamicLayer for layer in layers)


class GroupCache(Cache):
    """What a model has read: prompts in the first call, then completions, one token of every row or several at a time.

    Attributes:
        keys: Of the prompts, [G, heads, P, d] for each layer.
        values: Likewise.
        own_keys: Of the completions, [room, B, heads, d] for each layer; empty where they are read at once. Tokens come
            first, so that those that were read lie together.
        own_values: Likewise.
        step: How many tokens of the completions have been read; an int64 tensor [1] where the steps are captured.
    """

    def __init__(self, rows: int, room: int, attended: Tensor | None) -> None:
        """Begins with nothing read.

        Args:
            rows: B.
            room: For how many tokens of each completion a place is made at first; 0 where they are read at once.
            attended: Bool [G, P], which columns of the prompts may be looked at; None where all.
        """
        super().__init__(layers=[])
        self.rows = rows
        self.room = room
        self.attended = attended
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self.own_keys: list[Tensor] = []
        self.own_values: list[Tensor] = []
        self.step: int | Tensor = 0
        self.packing: Packing | None = None
        self._has_read_prompts = False
        self._left: Tensor | None = None  # which of the B rows are left; None where all are
        self._slots: Tensor | None = None  # where they stand among `_members` places for each group that is left
        self._members = 0
        self._group_size = 0

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Hands the keys and values on: the attention files them."""
        return key_states, value_states

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Positions are told to the model: nobody has to count."""
        raise UngroupedError("A group cache is for models that are told their positions.")

    @contextlib.contextmanager
    def reading(self, model: nn.Module, packing: Packing | None = None) -> Iterator[None]:
        """Inside, the model reads with this cache, and its attention is this module's.

        Args:
            model: The language model or its backbone.
            packing: Where the tokens stand if they are read as one row, without those that nobody needs.
        """
        config: Any = model.config
        before, self.packing = config._attn_implementation, packing
        config._attn_implementation = _NAME
        token = _READING.set(self)
        try:
            yield
        finally:
            _READING.reset(token)
            config._attn_implementation = before
        if self._has_read_prompts:
            self.step += 1
        self._has_read_prompts = True

    def keep(self, rows: Tensor) -> None:
        """Goes on with some of the present rows alone, int64 [m], ascending."""
        group_size = self.rows // len(self.keys[0]) if self._left is None else self._group_size
        before = torch.arange(self.rows, device=rows.device) if self._left is None else self._left
        self._group_size, self._left = group_size, before[rows]
        groups, of_rows, counts = (self._left // group_size).unique_consecutive(return_inverse=True, return_counts=True)
        self._members = int(counts.max())
        first = counts.cumsum(dim=0) - counts
        self._slots = of_rows * self._members + torch.arange(len(rows), device=rows.device) - first[of_rows]
        self.own_keys = [keys[:, rows] for keys in self.own_keys]
        self.own_values = [values[:, rows] for values in self.own_values]
        present = (before // group_size).unique_consecutive()
        if len(groups) < len(present):
            stay = torch.searchsorted(present, groups)
            self.keys = [keys[stay] for keys in self.keys]
            self.values = [values[stay] for values in self.values]
            self.attended = None if self.attended is None else self.attended[stay]

    def again(self) -> GroupCache:
        """Another after the same prompts, whose keys and values both share, to go on with."""
        fresh = GroupCache(self.rows, self.room, self.attended)
        fresh.keys, fresh.values = [*self.keys], [*self.values]
        fresh._has_read_prompts = True
        return fresh

    def in_place(self) -> GroupCache:
        """The same after the prompts were read, in memory of its own that stays where it is; it counts its steps there.

        It reads one token of every row at a time, as often as there is room for. Where a prompt is short or a group has
        one row, it holds the prompt for each row, so that prompts and completions are read by the same products.
        """
        if len(self.keys[0]) == self.rows or self.keys[0].shape[2] <= self.room:
            return _JoinedCache(self)
        places = GroupCache(self.rows, self.room, None if self.attended is None else self.attended.clone())
        places.keys, places.values = [keys.clone() for keys in self.keys], [values.clone() for values in self.values]
        places.own_keys, places.own_values = (
            [_places(each, self.rows, self.room) for each in prompts] for prompts in (self.keys, self.values)
        )
        places.step = torch.zeros(1, dtype=torch.int64, device=self.keys[0].device)
        places._has_read_prompts = True
        return places

    def take(self, other: GroupCache) -> None:
        """Begins anew after the prompts that another cache has read, of the same shapes."""
        for mine, theirs in zip((*self.keys, *self.values), (*other.keys, *other.values), strict=True):
            mine.copy_(theirs)
        if self.attended is not None and other.attended is not None:
            self.attended.copy_(other.attended)
        assert isinstance(self.step, Tensor)
        self.step.zero_()

    def attend(self, module: Any, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """Attention of what is read now, [rows, heads, L, d], over the prompts and what was read before.

        Args:
            module: The model's attention, which knows its layer.
            query: Float [rows, heads, L, d].
            key: Likewise, with as many heads as the model has for keys.
            value: Likewise.
            scaling: What the products are multiplied with.

        Returns:
            Float [rows, L, heads, d].
        """
        layer = module.layer_idx
        if not self._has_read_prompts:
            self.keys.append(key.contiguous())
            self.values.append(value.contiguous())
            return self._over_prompts(module, query, key, value, scaling)
        if self.packing is not None:
            prompts = self.keys[layer], self.values[layer]
            return attend(query, key, value, prompts, self.attended, self.packing, scaling)
        visible = None
        if self.room:
            key, value, visible = self._filed(layer, key, value)
        elif query.shape[2] > 1:
            visible = causal(query.shape[2], query.device)
        return self._over_both(layer, query, key, value, scaling, visible)

    def _over_prompts(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        mask, length = None, query.shape[2]
        if self.attended is not None:
            own = torch.eye(length, dtype=torch.bool, device=query.device)  # so that padding looks at something
            mask = ((self.attended[:, None] & causal(length, query.device)) | own)[:, None]
        found: Tensor = sdpa_attention_forward(module, query, key, value, mask, scaling=scaling, is_causal=True)[0]
        return found

    def _filed(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Files one token's keys and values with those of the tokens before; which of the room is in use."""
        if layer == len(self.own_keys):
            self.own_keys.append(_places(key, len(key), self.room))
            self.own_values.append(_places(value, len(value), self.room))
        keys, values = self.own_keys[layer], self.own_values[layer]
        if isinstance(self.step, Tensor):
            keys.index_copy_(0, self.step, key.permute(2, 0, 1, 3))
            values.index_copy_(0, self.step, value.permute(2, 0, 1, 3))
            return _by_row(keys), _by_row(values), torch.arange(len(keys), device=key.device) <= self.step
        if self.step == len(keys):
            keys = self.own_keys[layer] = torch.cat([keys, torch.zeros_like(keys)])
            values = self.own_values[layer] = torch.cat([values, torch.zeros_like(values)])
        keys[self.step], values[self.step] = key[:, :, 0], value[:, :, 0]
        return _by_row(keys[: self.step + 1]), _by_row(values[: self.step + 1]), None

    def _over_both(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, visible: Tensor | None
    ) -> Tensor:
        """Softmax over the prompt's tokens, read once for its group, and the row's own."""
        rows, heads, length, size = query.shape
        prompt_keys, prompt_values = self.keys[layer], self.values[layer]
        groups, shared, width, _ = prompt_keys.shape
        query = query.reshape(rows, shared, -1, size) * scaling  # [B, k, r * L, d]
        with self._products_with_prompts():
            over_prompt = self._apart(self._together(query, groups) @ prompt_keys.mT, rows)
        if self.attended is not None:
            seen = self._members_of(self.attended, rows)[:, None, None]
            over_prompt = over_prompt.masked_fill_(~seen, -torch.inf)
        with products_of_views(query.device):
            over_own = query @ key.mT
        if visible is not None:
            over_own.unflatten(2, (-1, length)).masked_fill_(~visible, -torch.inf)
        weights = torch.cat([over_prompt, over_own], dim=3)
        weights = weights.softmax(dim=3, dtype=torch.float32).to(query.dtype)
        with self._products_with_prompts():
            found = self._apart(self._together(weights[..., :width], groups) @ prompt_values, rows)
        with products_of_views(query.device):
            found = found + _weighted(weights[..., width:], value)
        return found.reshape(rows, heads, length, -1).transpose(1, 2)

    def _products_with_prompts(self) -> AbstractContextManager[None]:
        """Once rows have left, their shape is another after each time: none is worth compiling."""
        return nullcontext() if self._slots is None else products_of_views(self._slots.device)

    def _together(self, per_row: Tensor, groups: int) -> Tensor:
        """[B, heads, m, n] as [G, heads, k * m, n]."""
        if self._slots is not None:
            places = per_row.new_zeros(groups * self._members, *per_row.shape[1:])
            per_row = places.index_copy(0, self._slots, per_row)
        return per_row.view(groups, -1, *per_row.shape[1:]).transpose(1, 2).flatten(2, 3)

    def _apart(self, per_group: Tensor, rows: int) -> Tensor:
        """The other way round."""
        members = self._members if self._slots is not None else rows // len(per_group)
        groups, heads, _, size = per_group.shape
        per_row = per_group.view(groups, heads, members, -1, size).transpose(1, 2).flatten(0, 1)
        return per_row if self._slots is None else per_row[self._slots]

    def _members_of(self, per_group: Tensor, rows: int) -> Tensor:
        """[G, P] for each of the rows."""
        if self._slots is None:
            return per_group if rows == len(per_group) else per_group.repeat_interleave(rows // len(per_group), dim=0)
        return per_group[self._slots // self._members]


class _JoinedCache(GroupCache):
    """Prompts and completions side by side, in memory that stays where it is.

    `keys` and `values` are [B, heads, places, d], of which the first P are the prompt's.
    """

    def __init__(self, like: GroupCache) -> None:
        """Makes room for what is of this cache's shapes and lies on its device."""
        super().__init__(like.rows, like.room, None)
        self._width = like.keys[0].shape[2]
        places = self._width + like.room
        places += -places % _ALIGNED
        self.keys, self.values = (
            [each.new_zeros(like.rows, each.shape[1], places, each.shape[3]) for each in prompts]
            for prompts in (like.keys, like.values)
        )
        self.step = torch.zeros(1, dtype=torch.int64, device=self.keys[0].device)
        self._of_prompts: list[Tensor] = []  # where a prompt's keys and values lie, [G, k, heads, P, d]
        self._visible = self.values[0].new_empty(like.rows, 1, 1, places)  # 0 or -inf, added before the softmax
        self._has_read_prompts = True

    def take(self, other: GroupCache) -> None:
        """Begins anew after the prompts that another cache has read, of the same shapes."""
        groups = len(other.keys[0])
        if not self._of_prompts:
            of_groups = [each.unflatten(0, (groups, -1)) for each in (*self.keys, *self.values)]
            self._of_prompts = [each[:, :, :, : self._width] for each in of_groups]
        torch._foreach_copy_(self._of_prompts, [each[:, None] for each in (*other.keys, *other.values)])
        self._visible.fill_(-torch.inf)
        seen = self._visible.unflatten(0, (groups, -1))[..., : self._width]
        if other.attended is None:
            seen.zero_()
        else:
            seen.masked_fill_(other.attended[:, None, None, None], 0.0)
        assert isinstance(self.step, Tensor)
        self.step.zero_()

    def attend(self, module: Any, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """Attention of one token of every row."""
        layer = module.layer_idx
        rows, heads, _, size = query.shape
        assert isinstance(self.step, Tensor)
        place = self._width + self.step
        if layer == 0:
            self._visible.index_fill_(3, place, 0.0)
        keys, values = self.keys[layer].index_copy_(2, place, key), self.values[layer].index_copy_(2, place, value)
        query = query.reshape(rows, keys.shape[1], -1, size) * scaling  # heads that share keys, as if they were tokens
        weights = (query @ keys.mT + self._visible).softmax(dim=3, dtype=torch.float32)
        found: Tensor = weights.to(query.dtype) @ values
        return found.reshape(rows, heads, 1, -1).transpose(1, 2)


def _places(like: Tensor, rows: int, room: int) -> Tensor:
    """Zeros [room, rows, heads, d] for what is [..., heads, L, d]."""
    return like.new_zeros(room, rows, like.shape[1], like.shape[3])


def _by_row(by_token: Tensor) -> Tensor:
    """[L, B, heads, d] seen as [B, heads, L, d]."""
    return by_token.permute(1, 2, 0, 3)


def _weighted(weights: Tensor, values: Tensor) -> Tensor:
    """The product of [B, heads, 1 or more, L] and [B, heads, L, d]."""
    if weights.shape[2] > 1 or values.shape[3] > _SMALL_HEAD or values.device.type != "cpu":
        return weights @ values
    if values[:, :, 0].numel() < _MANY:
        return (weights.mT * values).sum(dim=2, keepdim=True)
    of_tokens = zip(weights.unbind(dim=3), values.unbind(dim=2), strict=True)
    weight, value = next(of_tokens)
    found = (weight * value)[:, :, None]
    for weight, value in of_tokens:
        found[:, :, 0].addcmul_(weight, value)
    return found


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What a model calls."""
    for name in _OTHER_ATTENTION:
        if kwargs.get(name) is not None:
            raise UngroupedError(f"Attention with {name} is not read in groups.")
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    return _READING.get().attend(module, query, key, value, scaling), None


AttentionInterface.register(_NAME, _attention)
