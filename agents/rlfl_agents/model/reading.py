"""How families of language models are read: prompts of different lengths side by side, and once for a group.

A model is read by its backbone, and its head is applied to what is wanted of that (`Reader.plain_head`). Where its
attention is plain, it is read with a `GroupCache`; otherwise with a cache of its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from rlfl_agents.model.groups import GroupCache, can_be_grouped
from rlfl_agents.model.packing import Packing
from rlfl_agents.model.products import short_attention
from rlfl_envs import ConfigError

__all__ = ["FIELD", "Decoding", "PositionKind", "Reader", "attended", "places", "unread"]

PositionKind = Literal["columns", "places", "text"]

FIELD = 5
"""How many columns "places" gives to a number and what stands before it: further digits share one. Saved models know
no other."""
_CACHES = ("past_key_values", "cache_params")  # what models call it: those with attention, those with states alone


@dataclass
class Decoding:
    """A half-written batch of completions.

    Attributes:
        rows: B, how many completions are written.
        pending: Int64 [N, L], tokens the model reads next; N = B / k until the rows of a group part.
        keep_cache: False where nothing is read after the prompts.
        room: How many tokens of a completion a cache has room for at first; 0 where they are read at once.
        attention: Bool [N, columns read so far]; None before the prompt is read. A group cache keeps its own.
        needs_mask: False where every column is attended and every token is a real one: the model is spared the mask.
        cache: The model's keys and values of what it has read.
        critic_cache: The separate critic's.
        next_positions: Int64 [B, 1] or [1, 1], with a group cache: where the completions begin.
        ahead: Logits and values that were read before they were asked for.
        step: What reads the next tokens, where that was recorded.
        cut: How many columns in front of the prompts are not read.
    """

    rows: int
    pending: Tensor
    keep_cache: bool
    room: int
    attention: Tensor | None = None
    needs_mask: bool = True
    cache: Any = None
    critic_cache: Any = None
    next_positions: Tensor | None = None
    ahead: tuple[Tensor, Tensor] | None = None
    step: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
    cut: int = 0


def attended(prompts: Tensor, pad_id: int, bos_id: int | None) -> Tensor:
    """Which prompt columns the model may look at: all but the leading run of PAD.

    Where PAD and BOS are one token, the last of that run is BOS and stays visible. The last column always does, so
    that no row is empty.

    Args:
        prompts: Int64 [G, P].
        pad_id: The padding token.
        bos_id: The first token of every prompt, or None.

    Returns:
        Bool [G, P].
    """
    leading = (prompts == pad_id).long().cumprod(dim=1).sum(dim=1, keepdim=True)
    if bos_id == pad_id:
        leading = leading - 1
    columns = torch.arange(prompts.shape[1], device=prompts.device)
    return columns >= leading.clamp(max=prompts.shape[1] - 1)


def unread(prompts: Tensor, pad_id: int, bos_id: int | None) -> int:
    """How many columns in front nobody may look at, in no row: they need not be read. Arguments as for `attended`.

    0 on a device: its host would have to wait for the answer, and shapes that change cannot be recorded.
    """
    if prompts.device.type != "cpu":
        return 0
    return int(attended(prompts, pad_id, bos_id).any(dim=0).int().argmax())


def places(is_digit: Tensor) -> Tensor:
    """How far tokens stand from the last one, where every number takes up as many columns as the longest may have.

    So units have the same distance whatever the numbers behind them are, and so have tens.

    Args:
        is_digit: Bool [N, P]; digits side by side are one number.

    Returns:
        Int64 [N, P], 0 in the last column, less than P * FIELD.
    """
    columns, others = torch.arange(is_digit.shape[1], device=is_digit.device), ~is_digit
    following = torch.where(others, columns, len(columns)).flip(1).cummin(dim=1).values.flip(1)
    place = (following - columns - 1).clamp(max=FIELD - 2)  # 0 for units, 1 for tens
    fields = others.flip(1).cumsum(dim=1).flip(1) - others.long()  # what is no digit ends one, to its right
    distances = FIELD * fields + torch.where(is_digit, place, FIELD - 1)
    return distances - distances[:, -1:]


class Reader:
    """What a family's forward pass takes, and how it is called.

    Attributes:
        hidden_size: How many numbers each of a token's hidden states has.
        is_recurrent: Its state is overwritten token by token: it can be read on from, but no gradient leads through it.
        is_grouped: Whether a prompt is read with a `GroupCache`; whoever finds that this does not work unsets it.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        position_ids: PositionKind,
        first_position: int,
        pad_id: int,
        bos_id: int | None,
        digits: Tensor | None = None,
    ) -> None:
        """Finds out what can be known without reading anything.

        Args:
            model: The language model itself, with its head.
            position_ids: How positions are counted; see `Policy`.
            first_position: That of the first column, where they are counted in columns.
            pad_id: PAD.
            bos_id: BOS, or None.
            digits: Bool [V], which tokens are digits alone, where numbers are to be aligned; or None.

        Raises:
            ConfigError: It cannot be told which columns to look at, or has no cache.
        """
        takes = inspect.signature(model.forward).parameters
        cache = next((name for name in _CACHES if name in takes), None)
        if cache is None or "attention_mask" not in takes:
            name = type(model).__name__
            raise ConfigError(
                f"{name} cannot be a policy: its forward pass takes no attention_mask, or no {' or '.join(_CACHES)}. "
                "Prompts of different lengths are read side by side, and once."
            )
        self._cache: str = cache
        self.hidden_size: int = model.config.get_text_config().hidden_size
        self._takes_positions = "position_ids" in takes
        self._takes_keep = "logits_to_keep" in takes
        self._counts_columns, self._first_position = position_ids != "text", first_position
        self._digits = digits
        self._pad_id, self._bos_id = pad_id, bos_id
        layers = DynamicCache(config=model.config).layers
        self.is_recurrent = cache == "cache_params" or any(hasattr(layer, "recurrent_states") for layer in layers)
        self.is_grouped = cache == "past_key_values" and self._takes_positions and can_be_grouped(model)
        self._plain_head: bool | None = None

    def plain_head(self, model: Any) -> nn.Linear | None:
        """The head, where logits are a linear function of the last hidden states and nothing else; found by trying."""
        head = model.get_output_embeddings()
        if self._plain_head is None:
            self._plain_head = type(head) is nn.Linear and model.base_model is not model and _is_all(head, model)
        return head if self._plain_head else None

    def call(
        self,
        model: Any,
        inputs: dict[str, Any],
        cache: Any,
        *,
        keep: int,
        packing: Packing | None,
        use_cache: bool,
        wants_hidden: bool,
    ) -> tuple[Tensor, Tensor, Any]:
        """Runs a language model, or its backbone alone where the head is plain.

        Args:
            model: The language model.
            inputs: From `inputs`.
            cache: What was read before.
            keep: How many of the last columns are wanted.
            packing: Where the tokens stand, if they are read as one row.
            use_cache: Whether anything will be read after this.
            wants_hidden: Whether the last hidden states are wanted in any case.

        Returns:
            What a plain head is given, or logits, [N, keep, ...]; the last hidden states, likewise (or the logits again
            if they are not wanted); and the cache.
        """
        if self.plain_head(model) is not None:
            hidden, cache = self.call_backbone(
                model.base_model, inputs, cache, keep, packing=packing, use_cache=use_cache
            )
            return hidden, hidden, cache
        extras: dict[str, Any] = {"logits_to_keep": keep} if self._takes_keep else {}
        output, cache = self._run(
            model, inputs | extras | {"output_hidden_states": wants_hidden}, cache, packing, use_cache
        )
        logits: Tensor = output.logits[:, -keep:]
        return logits, output.hidden_states[-1][:, -keep:] if wants_hidden else logits, cache

    def call_backbone(
        self, backbone: Any, inputs: dict[str, Any], cache: Any, keep: int, *, packing: Packing | None, use_cache: bool
    ) -> tuple[Tensor, Any]:
        """Runs a backbone, as `call`; returns the last hidden states [N, keep, H], and the cache."""
        output, cache = self._run(backbone, inputs, cache, packing, use_cache)
        return output.last_hidden_state[:, -keep:], cache

    def _run(
        self, model: Any, inputs: dict[str, Any], cache: Any, packing: Packing | None, use_cache: bool
    ) -> tuple[Any, Any]:
        if isinstance(cache, GroupCache):
            with cache.reading(model, packing), short_attention(inputs["input_ids"]):
                return model(**inputs, past_key_values=cache, use_cache=True), cache
        with short_attention(inputs["input_ids"]):
            output = model(**inputs, **{self._cache: cache}, use_cache=use_cache)
        return output, output[self._cache] if use_cache else None

    def inputs(self, state: Decoding, tokens: Tensor, packing: Packing | None = None) -> dict[str, Any]:
        """What a model is called with to read tokens [N, L] next; the state's attention and caches move on."""
        if isinstance(state.cache, GroupCache) or (state.cache is None and self.is_grouped and state.keep_cache):
            return self._group_inputs(state, tokens, packing)
        later = tokens
        is_first = state.attention is None
        if state.attention is None:
            width = state.pending.shape[1]
            state.attention, later = attended(tokens[:, :width], self._pad_id, self._bos_id), tokens[:, width:]
        repeats = len(tokens) // len(state.attention)
        if repeats > 1:  # the rows of a group part here
            members = torch.arange(len(state.attention), device=tokens.device).repeat_interleave(repeats)
            state.attention = state.attention[members]
            for cache in (state.cache, state.critic_cache):
                if cache is not None:
                    cache.reorder_cache(members)
        state.attention = torch.cat([state.attention, torch.ones_like(later, dtype=torch.bool)], dim=1)
        inputs: dict[str, Any] = {"input_ids": tokens}
        # Without a mask, Transformers takes positions that fall for the beginnings of other texts.
        needs_mask = state.needs_mask or self._digits is not None
        if needs_mask and (is_first or self._cache == "past_key_values"):
            inputs["attention_mask"] = state.attention
        columns, read = state.attention.shape[1], tokens.shape[1]
        if self._takes_positions and self._counts_columns:
            positions = self._columns(state.cut + columns - read, state.cut + columns, tokens.device)
            width = state.pending.shape[1]
            inputs["position_ids"] = self._of_prompts(tokens, positions, width) if is_first else positions
        elif self._takes_positions:
            inputs["position_ids"] = (state.attention.long().cumsum(dim=1) - 1).clamp(min=0)[:, columns - read :]
        return inputs

    def _columns(self, first: int, end: int, device: torch.device) -> Tensor:
        return torch.arange(first, end, device=device)[None] + self._first_position

    def _of_prompts(self, tokens: Tensor, columns: Tensor, width: int) -> Tensor:
        """Positions of tokens [N, L] that begin with a prompt of `width` columns: in it, numbers are aligned."""
        if self._digits is None:
            return columns
        self._digits = self._digits.to(tokens.device)
        aligned = columns[:, width - 1 : width] - places(self._digits[tokens[:, :width]])
        return torch.cat([aligned, columns[:, width:].expand(len(tokens), -1)], dim=1)

    def _group_inputs(self, state: Decoding, tokens: Tensor, packing: Packing | None) -> dict[str, Any]:
        # The attention looks at no mask; but without one, some models look at the tokens, and wait for the device.
        inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
        if state.cache is None:
            seen = attended(tokens, self._pad_id, self._bos_id)
            empty = partial(GroupCache, state.rows, state.room, seen if state.needs_mask else None)
            state.cache, state.critic_cache = empty(), empty()
            width = tokens.shape[1]
            if self._counts_columns:
                end = state.cut + width
                state.next_positions = self._columns(end, end + 1, tokens.device)
                positions = self._columns(state.cut, end, tokens.device)
                return inputs | {"position_ids": self._of_prompts(tokens, positions, width)}
            state.next_positions = seen.sum(dim=1).repeat_interleave(state.rows // len(tokens))[:, None]
            return inputs | {"position_ids": (seen.long().cumsum(dim=1) - 1).clamp(min=0)}
        assert state.next_positions is not None
        if packing is None:
            later = torch.arange(tokens.shape[1], device=tokens.device)
            return inputs | {"position_ids": state.next_positions + (later + state.cache.step)}
        rows, columns = packing.where // packing.length, packing.where % packing.length
        begin = state.next_positions[:, 0] if len(state.next_positions) == 1 else state.next_positions[rows, 0]
        return inputs | {"position_ids": (begin + columns)[None]}


@torch.no_grad()
def _is_all(head: nn.Linear, model: Any) -> bool:
    """Whether a head is given what the backbone returns, and what it makes of it are the logits, to the last bit."""
    seen: list[Tensor] = []
    hook = head.register_forward_hook(lambda _, inputs, output: seen.extend((inputs[0], output)))
    try:
        tokens = torch.ones(1, 2, dtype=torch.int64, device=head.weight.device)
        logits = model(input_ids=tokens, use_cache=False).logits
        hidden = model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
    finally:
        hook.remove()
    pairs = zip(seen, (hidden, logits), strict=True)
    return all(a.shape == b.shape and torch.equal(a.float(), b.float()) for a, b in pairs)
