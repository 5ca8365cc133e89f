"""A causal language model that chooses tokens, and a value head where the advantage needs one.

The columns are those of the environment's observation: P prompt columns, left-padded, then the completion. A prompt
is read once for all completions of its group: `sample` and `forward` keep its row of the cache single until the
rows part, which one-token completions never do.
"""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from rlfl_agents.model.masks import Masks, masked_log_dist
from rlfl_envs import ConfigError, Tokenizer

__all__ = ["Decoding", "Policy", "PositionKind", "ValueKind", "attended", "draw"]

ValueKind = Literal["none", "shared", "separate"]
PositionKind = Literal["columns", "text"]

_CACHES = ("past_key_values", "cache_params")  # what models call it: those with attention, those with states alone


@dataclass
class Decoding:
    """A half-written batch of completions.

    Attributes:
        rows: B, how many completions are written.
        pending: Int64 [N, L], tokens the model reads next; N = B / k until the rows of a group part.
        keep_cache: False where completions have one token, so that nothing is read after the prompt.
        attention: Bool [N, columns read so far]; None before the prompt is read.
        needs_mask: False where every column is attended and every token is a real one: the model is spared the mask.
        cache: The model's keys and values of what it has read.
        critic_cache: The separate critic's.
    """

    rows: int
    pending: Tensor
    keep_cache: bool
    attention: Tensor | None = None
    needs_mask: bool = True
    cache: Any = None
    critic_cache: Any = None


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


def draw(log_dist: Tensor, uniforms: Tensor) -> Tensor:
    """Samples by inverting the cumulative distribution: a row's noise does not depend on the batch around it.

    Args:
        log_dist: Float [N, V].
        uniforms: Float64 [N, k] in [0, 1), one number per sample.

    Returns:
        Int64 [N, k]; a token of probability 0 is never drawn.
    """
    wide = torch.float32 if log_dist.device.type == "mps" else torch.float64
    cumulative = log_dist.to(wide).exp().cumsum(dim=-1)
    total = cumulative[:, -1:]
    # Strictly below the total, where rounding might reach it: past it there is no token.
    targets = torch.minimum(uniforms.to(wide) * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, targets.contiguous(), right=True)


class Policy(nn.Module):
    """A causal language model over the first V tokens of its vocabulary, with an optional value head.

    Attributes:
        model: Any `transformers` causal LM, or a `peft` model around one.
        value_head: Hidden state to value, or None.
        critic: The separate critic's own backbone, or None.
        vocab_size: V.
    """

    model: Any

    def __init__(
        self,
        model: PreTrainedModel,
        vocabulary: Tokenizer,
        *,
        value: ValueKind = "none",
        position_ids: PositionKind = "text",
        first_position: int = 0,
    ) -> None:
        """Wraps a model.

        Args:
            model: The language model (or a `peft` model around one); it is put into evaluation mode (no dropout).
            vocabulary: V and the special tokens.
            value: "none", "shared" (a linear head on the model's last hidden state) or "separate" (on a copy of the
                backbone).
            position_ids: "columns" gives the end of every prompt the same position; "text" counts from the first
                real token, as pretrained models expect.
            first_position: The position of the first column, where `position_ids` is "columns".

        Raises:
            ConfigError: The model has fewer tokens than the vocabulary.
        """
        super().__init__()
        known = model.get_output_embeddings().weight.shape[0]
        if known < vocabulary.vocab_size:
            raise ConfigError(
                f"The model writes {known} tokens and the environment has {vocabulary.vocab_size}. Give the "
                "environment the model's vocabulary (vocabulary=NAME_OR_PATH) or take another model."
            )
        self.model = model
        self.vocab_size = vocabulary.vocab_size
        self.pad_id = vocabulary.pad_id
        self.bos_id = vocabulary.bos_id
        self.position_ids = position_ids
        self.first_position = first_position
        self.critic = copy.deepcopy(self.language_model.base_model) if value == "separate" else None
        self.value_head: nn.Linear | None = None
        if value != "none":
            self.value_head = nn.Linear(model.config.get_text_config().hidden_size, 1)
            nn.init.zeros_(self.value_head.weight)
            nn.init.zeros_(self.value_head.bias)
        takes = inspect.signature(self.language_model.forward).parameters
        cache = next((name for name in _CACHES if name in takes), None)
        if cache is None or "attention_mask" not in takes:
            name = type(self.language_model).__name__
            raise ConfigError(
                f"{name} cannot be a policy: its forward pass takes no attention_mask, or no {' or '.join(_CACHES)}. "
                "Prompts of different lengths are read side by side, and once."
            )
        self._cache: str = cache
        self._takes_positions = "position_ids" in takes
        self._takes_keep = "logits_to_keep" in takes
        layers = DynamicCache(config=self.language_model.config).layers
        # A state that is overwritten, token by token, can be read on from, but no gradient leads through it.
        self._is_recurrent = cache == "cache_params" or any(hasattr(layer, "recurrent_states") for layer in layers)
        # For good: with dropout the policy that learns would not be the one that sampled, and the ratio no ratio.
        self.eval()

    @property
    def language_model(self) -> PreTrainedModel:
        """The language model itself, without the LoRA wrapper around it."""
        base: PreTrainedModel = self.model.get_base_model() if self.has_adapters else self.model
        return base

    @property
    def has_adapters(self) -> bool:
        """Whether LoRA adapters are trained instead of the model's own weights."""
        return hasattr(self.model, "disable_adapter")

    def start(self, prompts: Tensor, rows: int, keep_cache: bool = True) -> Decoding:
        """Begins `rows` completions of prompts [G, P] int64; the rows of a group are adjacent."""
        return Decoding(rows, prompts, keep_cache)

    def sample(
        self,
        state: Decoding,
        uniforms: Tensor,
        masks: Tensor | None = None,
        temperature: float = 1.0,
        greedy: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Writes one more token in every row.

        Args:
            state: From `start`; it moves on in place.
            uniforms: Float64 [B] in [0, 1): the noise.
            masks: Bool [B, V] or [1, V], True = legal, or None.
            temperature: Divides the logits, > 0.
            greedy: Take the likeliest token instead.

        Returns:
            Tokens int64 [B], their log-probabilities float32 [B], and values float32 [B] of the states they were
            chosen in (0 without a value head).
        """
        log_dist, values = self.distribution(state, masks, temperature)
        noise = uniforms.view(len(log_dist), -1)
        chosen = log_dist.argmax(dim=-1, keepdim=True).expand(noise.shape) if greedy else draw(log_dist, noise)
        log_probs = log_dist.gather(1, chosen)
        tokens = chosen.reshape(-1)
        state.pending = tokens[:, None]
        return tokens, log_probs.reshape(-1), values[:, None].expand(noise.shape).reshape(-1)

    def distribution(
        self, state: Decoding, masks: Tensor | None = None, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Reads what is pending; whoever asks chooses the next tokens, and makes them pending.

        Args:
            state: From `start`; it moves on in place.
            masks: Bool [B, V] or [1, V], True = legal, or None.
            temperature: Divides the logits, > 0.

        Returns:
            Log-probabilities float32 [N, V], and values float32 [N] of the states (0 without a value head), where N =
            B / k until the rows of a group part.
        """
        if state.attention is None:
            state.needs_mask = not bool(attended(state.pending, self.pad_id, self.bos_id).all())
        logits, values = self.read(state, state.pending, keep=1)
        n = logits.shape[0]
        if masks is not None and masks.shape[0] > n:
            masks = masks[:: state.rows // n]
        return masked_log_dist(logits[:, 0], masks, temperature), values[:, 0]

    def forward(
        self, prompts: Tensor, completions: Tensor, masks: Masks | None = None, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Re-evaluates completions.

        Args:
            prompts: Int64 [G, P].
            completions: Int64 [B, T]; G divides B, the rows of a group are adjacent.
            masks: Which tokens were legal, or None.
            temperature: As when sampling.

        Returns:
            Log-distributions float32 [N, T, V] and values float32 [N, T], where N = G for one-token completions and
            B otherwise.
        """
        rows, length = completions.shape
        repeats = rows // len(prompts)
        at_once = self._is_recurrent and length > 1
        state = self.start(prompts, rows, keep_cache=length > 1 and not at_once)
        if at_once:
            tokens = torch.cat([prompts.repeat_interleave(repeats, dim=0), completions[:, :-1]], dim=1)
            logits, values = self.read(state, tokens, keep=length)
            return masked_log_dist(logits, masks, temperature), values
        logits, values = self.read(state, prompts, keep=1)
        if length > 1:
            later_logits, later_values = self.read(state, completions[:, :-1], keep=length - 1)
            logits = torch.cat([logits.repeat_interleave(repeats, dim=0), later_logits], dim=1)
            values = torch.cat([values.repeat_interleave(repeats, dim=0), later_values], dim=1)
        elif masks is not None and len(masks.rows) > 1:
            masks = masks._replace(rows=masks.rows[::repeats])
        return masked_log_dist(logits, masks, temperature), values

    def read(self, state: Decoding, tokens: Tensor, keep: int) -> tuple[Tensor, Tensor]:
        """Reads tokens [N, L]; returns logits [N, keep, V] and values float32 [N, keep] of the last `keep` columns."""
        later = tokens
        is_first = state.attention is None
        if state.attention is None:
            width = state.pending.shape[1]
            state.attention, later = attended(tokens[:, :width], self.pad_id, self.bos_id), tokens[:, width:]
        repeats = len(tokens) // len(state.attention)
        if repeats > 1:  # the rows of a group part here
            members = torch.arange(len(state.attention), device=tokens.device).repeat_interleave(repeats)
            state.attention = state.attention[members]
            for cache in (state.cache, state.critic_cache):
                if cache is not None:
                    cache.reorder_cache(members)
        state.attention = torch.cat([state.attention, torch.ones_like(later, dtype=torch.bool)], dim=1)
        inputs: dict[str, Any] = {"input_ids": tokens, "use_cache": state.keep_cache}
        if state.needs_mask and (is_first or self._cache == "past_key_values"):
            inputs["attention_mask"] = state.attention
        columns, read = state.attention.shape[1], tokens.shape[1]
        if self._takes_positions and self.position_ids == "columns":
            inputs["position_ids"] = (
                torch.arange(columns - read, columns, device=tokens.device)[None] + self.first_position
            )
        elif self._takes_positions:
            inputs["position_ids"] = (state.attention.long().cumsum(dim=1) - 1).clamp(min=0)[:, columns - read :]
        extras: dict[str, Any] = {"logits_to_keep": keep} if self._takes_keep else {}
        shares_trunk = self.value_head is not None and self.critic is None
        output = self.model(**inputs, **extras, **{self._cache: state.cache}, output_hidden_states=shares_trunk)
        state.cache = output[self._cache] if state.keep_cache else None
        logits = output.logits[:, -keep:, : self.vocab_size]
        if self.value_head is None:
            return logits, logits.new_zeros(logits.shape[:2], dtype=torch.float32)
        if self.critic is None:
            hidden = output.hidden_states[-1]
        else:
            read_by_critic = self.critic(**inputs, **{self._cache: state.critic_cache})
            state.critic_cache = read_by_critic[self._cache] if state.keep_cache else None
            hidden = read_by_critic.last_hidden_state
        return logits, self.value_head(hidden[:, -keep:]).squeeze(-1).float()
