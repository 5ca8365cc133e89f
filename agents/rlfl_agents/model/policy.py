"""A causal language model that chooses tokens, and a value head where the advantage needs one.

The columns are those of the environment's observation: P prompt columns, left-padded, then the completion. A prompt
is read once for all completions of its group: `sample` and `forward` keep its row of the cache single until the
rows part, which one-token completions never do.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from rlfl_agents.learn.head import Summary, aligned, padding, states_of, summarise, summary_of
from rlfl_agents.model.adapters import Merged
from rlfl_agents.model.choice import choose, draw
from rlfl_agents.model.groups import GroupCache, UngroupedError
from rlfl_agents.model.masks import Masks, masked_log_dist
from rlfl_agents.model.narrow import Narrowed
from rlfl_agents.model.packing import Packing
from rlfl_agents.model.products import rounded_up, same_kernels_again
from rlfl_agents.model.reading import Decoding, PositionKind, Reader, attended, unread
from rlfl_agents.model.recorded import RecordedPasses, RecordedSteps
from rlfl_agents.model.sharding import Shards
from rlfl_envs import ConfigError, Tokenizer

__all__ = ["Decoding", "Policy", "PositionKind", "ValueKind", "attended", "draw"]

ValueKind = Literal["none", "shared", "separate"]

_SMALL = 1024
"""Up to this hidden size, starting a layer's kernels takes longer than they do."""


class Policy(nn.Module):
    """A causal language model over the first V tokens of its vocabulary, with an optional value head.

    Attributes:
        model: Any `transformers` causal LM, or a `peft` model around one.
        value_head: Hidden state to value, or None.
        critic: The separate critic's own backbone, or None.
        vocab_size: V.
        reader: How its family is read.
        checkpoints_gradients: Whether `forward` keeps the layers' inputs alone for the gradient.
        recorded: Decode steps to replay; None where each is run.
        passes: Minibatches' passes to replay, likewise.
        shards: What gathers the weights, where they are spread over processes; None where all are here.
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
            position_ids: "columns" gives the end of every prompt the same position; so does "places", where
                each number of a prompt takes up as many positions as any other, so that units stand below units; "text"
                counts from the first real token, as pretrained models expect.
            first_position: The position of the first column, where `position_ids` is not "text".

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
        self.reader = Reader(
            self.language_model,
            position_ids=position_ids,
            first_position=first_position,
            pad_id=self.pad_id,
            bos_id=self.bos_id,
            digits=_digits(vocabulary) if position_ids == "places" else None,
        )
        self.checkpoints_gradients = False
        self.recorded: RecordedSteps | None = None
        self.passes: RecordedPasses | None = None
        self.shards: Shards | None = None
        self.drop_copies()
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

    def drop_copies(self) -> None:
        """Frees the weights that were made for sampling beside the model's own."""
        self._merged, self._narrowed = Merged(), Narrowed()

    @contextlib.contextmanager
    def whole(self) -> Iterator[Policy]:
        """Inside, there is a policy with all its weights: this one, unless they are spread over processes.

        All processes have to ask together.
        """
        with contextlib.nullcontext(self) if self.shards is None else self.shards.whole() as policy:
            yield policy

    @contextlib.contextmanager
    def sampling(self) -> Iterator[Policy]:
        """Inside, a policy samples: it has all weights, adapters are merged into them, and nothing has a gradient."""
        with (
            torch.inference_mode(mode=False),  # in a caller's, what is kept here could not be used again outside it
            torch.no_grad(),
            self.whole() as policy,
            contextlib.ExitStack() as inside,
        ):
            if policy.has_adapters:
                inside.enter_context(policy._merged.into(policy.model))
            if policy.recorded is not None:
                head = policy.reader.plain_head(policy.language_model)
                inside.enter_context(policy._narrowed.into(policy, head, only_frozen=policy.has_adapters))
            yield policy

    def start(self, prompts: Tensor, rows: int, keep_cache: bool = True, room: int = 32) -> Decoding:
        """Begins `rows` completions of prompts [G, P] int64; the rows of a group are adjacent.

        Args:
            prompts: Left-padded.
            rows: B; G divides it.
            keep_cache: Whether anything is read after the prompts.
            room: For how many tokens of each completion a cache is made at first; it grows if need be. 0 where they
                are read at once.
        """
        cut = unread(prompts, self.pad_id, self.bos_id)
        return Decoding(rows, prompts[:, cut:], keep_cache, room, cut=cut)

    def keep(self, state: Decoding, rows: Tensor) -> bool:
        """Goes on with some of the rows alone, where the cache can: those that have ended need not be read.

        Args:
            state: From `start`, with tokens pending in every row; it moves on in place.
            rows: Int64 [m], ascending: which of the present rows stay.

        Returns:
            Whether it could.
        """
        if not isinstance(state.cache, GroupCache) or self.recorded is not None:
            return False
        for cache in (state.cache, state.critic_cache if self.critic is not None else None):
            if cache is not None:
                cache.keep(rows)
        state.pending = state.pending[rows]
        if state.next_positions is not None and len(state.next_positions) > 1:
            state.next_positions = state.next_positions[rows]
        return True

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
        logits, values, masks = self._offered(state, masks)
        noise, how = uniforms.view(len(logits), -1), partial(choose, temperature=temperature, greedy=greedy)
        if self.recorded is not None:
            chosen, log_probs = self.recorded.choose(how, logits, noise, masks)
        else:
            chosen, log_probs = how(logits, noise, masks)
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
        logits, values, masks = self._offered(state, masks)
        return masked_log_dist(logits, masks, temperature), values

    def _offered(self, state: Decoding, masks: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Logits [N, V], values [N] and masks, [N, V] or [1, V], after what is pending."""
        logits, values = self._next(state) if state.ahead is None else state.ahead
        state.ahead = None
        n = logits.shape[0]
        if masks is not None and masks.shape[0] > n:
            masks = masks[:: state.rows // n]
        return logits, values, masks

    def read_ahead(self, state: Decoding) -> None:
        """Reads what is pending before anybody asks for it: the device works while the environments step."""
        state.ahead = self._next(state)

    def _next(self, state: Decoding) -> tuple[Tensor, Tensor]:
        """Logits [N, V] and values float32 [N] after what is pending."""
        if state.attention is None and state.cache is None:
            state.needs_mask = not bool(attended(state.pending, self.pad_id, self.bos_id).all())
            found = None if self.recorded is None else self.recorded.read_prompts(self, state)
            if found is not None:
                return found
        elif state.step is None and self.recorded is not None:
            state.step = self.recorded.step_for(self, state)
        if state.step is not None:
            return state.step(state.pending)
        logits, values = self.read(state, state.pending, keep=1)
        return logits[:, 0], values[:, 0]

    def forward(
        self,
        prompts: Tensor,
        completions: Tensor,
        masks: Masks | None = None,
        temperature: float = 1.0,
        active: Tensor | None = None,
    ) -> tuple[Tensor | Summary, Tensor]:
        """Re-evaluates completions.

        Args:
            prompts: Int64 [G, P].
            completions: Int64 [B, T]; G divides B, the rows of a group are adjacent.
            masks: Which tokens were legal, or None.
            temperature: As when sampling.
            active: Bool [B, T], True from each row's start to its end: only a summary is wanted, of these. Or None.

        Returns:
            Log-distributions float32 [N, T, V] and values float32 [N, T], where N = G for one-token completions and
            B otherwise. With `active`, a `Summary` in place of the distributions, and values that may be 0 where it is
            False.
        """
        rows, length = completions.shape
        if masks is not None and length == 1 and len(masks.rows) > 1:
            masks = masks._replace(rows=masks.rows[:: rows // len(prompts)])
        output, values = self._read_again(prompts, completions, active)
        if active is None:
            return masked_log_dist(self._logits(output), masks, temperature), values
        head = self.reader.plain_head(self.language_model)
        if head is None:
            return summary_of(masked_log_dist(self._logits(output), masks, temperature), completions, active), values
        if values.ndim == 1:
            where = states_of(active)
            values = values.new_zeros(active.numel()).index_copy(0, where, values).view(length, rows).t()
        weight = head.weight[: self.vocab_size]
        bias = None if head.bias is None else head.bias[: self.vocab_size]
        table, numbers = (None, None) if masks is None else masks
        return summarise(output, weight, bias, completions, active, table, numbers, temperature), values

    def _read_again(self, prompts: Tensor, completions: Tensor, active: Tensor | None) -> tuple[Tensor, Tensor]:
        """What the head is given (or makes) in every state, [N, T, ...], and values, [N, T].

        Where many tokens are not active and the others can be read alone: in the active states, [M, ...] and [M].
        """
        rows, length = completions.shape
        group_size = rows // len(prompts)
        # A device waits for its host, which has half as much to start where prompts and completions are one. So a small
        # model reads a short prompt for each completion of its group.
        is_small = self.reader.hidden_size <= _SMALL and prompts.shape[1] <= length
        is_alone = prompts.device.type != "cpu" and (group_size == 1 or is_small)
        is_alone |= self.shards is not None  # so that all processes call a layer as often as each other
        if length > 1 and (self.reader.is_recurrent or self.checkpoints_gradients or is_alone):
            tokens = torch.cat([prompts.repeat_interleave(group_size, dim=0), completions[:, :-1]], dim=1)
            width, found = prompts.shape[1], None
            if self.passes is not None and is_alone and not self.checkpoints_gradients:
                found = self.passes.of(self, tokens, width)
            with self._checkpointing():
                return found or self.read_whole(tokens, width)
        state = self.start(prompts, rows, keep_cache=length > 1, room=0)
        with self._checkpointing():
            first = self._read(state, state.pending, keep=1)
        if length == 1:
            return first
        can_be_packed = isinstance(state.cache, GroupCache) and self.reader.plain_head(self.language_model)
        if active is not None and can_be_packed:
            return self._read_packed(state, completions, active, first)
        later = self._read(state, completions[:, :-1], keep=length - 1)
        output, values = (
            torch.cat([a.repeat_interleave(group_size, dim=0), b], dim=1) for a, b in zip(first, later, strict=True)
        )
        return output, values

    def _read_packed(
        self, state: Decoding, completions: Tensor, active: Tensor, first: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Reads on after the prompts, of which `first` was read: the tokens alone that an active one follows."""
        group_size = len(completions) // len(first[0])
        output, values = (each[:, 0].repeat_interleave(group_size, dim=0) for each in first)
        packing, count = _packing(active)
        if count:  # not every completion ended with its first token
            tokens = completions[:, :-1].flatten()[packing.where][None]
            later = self._read(state, tokens, keep=tokens.shape[1], packing=packing)
            output, values = (torch.cat([a, b[0, :count]]) for a, b in zip((output, values), later, strict=True))
        return output, values

    def read_whole(self, tokens: Tensor, width: int) -> tuple[Tensor, Tensor]:
        """What the head is given after each token but the first `width` - 1 of [B, L], and values, [B, T]."""
        state = self.start(tokens[:, :width], len(tokens), keep_cache=False)
        return self._read(state, tokens[:, state.cut :], keep=tokens.shape[1] - width + 1)

    def read(self, state: Decoding, tokens: Tensor, keep: int) -> tuple[Tensor, Tensor]:
        """Reads tokens [N, L]; returns logits [N, keep, V] and values float32 [N, keep] of the last `keep` columns."""
        output, values = self._read(state, tokens, keep)
        return self._logits(output), values

    def _read(
        self, state: Decoding, tokens: Tensor, keep: int, packing: Packing | None = None
    ) -> tuple[Tensor, Tensor]:
        """What the head is given in the last `keep` columns (or makes, if not plain); values float32 [N, keep]."""
        reader, model = self.reader, self.language_model
        call = partial(
            reader.call,
            model,
            keep=keep,
            packing=packing,
            use_cache=state.keep_cache,
            wants_hidden=self.value_head is not None and self.critic is None,
        )
        inputs = reader.inputs(state, tokens, packing)
        try:
            output, hidden, state.cache = call(inputs, state.cache)
        except UngroupedError:  # nothing was read yet
            reader.is_grouped, state.cache, state.critic_cache = False, None, None
            inputs = reader.inputs(state, tokens)
            output, hidden, state.cache = call(inputs, state.cache)
        if self.value_head is None:
            return output, torch.zeros(output.shape[:2], device=tokens.device)
        if self.critic is not None:
            hidden, state.critic_cache = reader.call_backbone(
                self.critic, inputs, state.critic_cache, keep, packing=packing, use_cache=state.keep_cache
            )
        return output, self.value_head(hidden.to(self.value_head.weight.dtype)).squeeze(-1).float()

    def _logits(self, output: Tensor) -> Tensor:
        """Logits [N, keep, V] of what was read."""
        head = self.reader.plain_head(self.language_model)
        if head is None:
            return output[..., : self.vocab_size]
        matrix = self._narrowed.head
        if output.dtype != torch.float32:  # of what is strided, a CPU would copy the whole head for every row
            output = output.contiguous()
        if output.device.type == "cpu" and matrix is None and len(head.weight) > self.vocab_size:
            bias = None if head.bias is None else head.bias[: self.vocab_size]
            logits: Tensor = linear(output, head.weight[: self.vocab_size], bias)
        elif output.device.type == "cpu" and matrix is None:
            logits = head(output)
        else:  # of what is strided, PyTorch would read the whole head once for every row
            bias = None if head.bias is None else pad(head.bias, (0, padding(head.weight)))
            logits = linear(output.contiguous(), aligned(head.weight) if matrix is None else matrix, bias)
        return logits[..., : self.vocab_size]

    @contextlib.contextmanager
    def _checkpointing(self) -> Iterator[None]:
        """Inside, layers keep their inputs alone and are run again for the gradient, if that was asked for.

        Transformers' layers do so where they are in training; only they are, so that dropout stays off.
        """
        layers: list[Any] = [module for module in self.modules() if isinstance(module, GradientCheckpointingLayer)]
        for layer in layers if self.checkpoints_gradients and torch.is_grad_enabled() else []:
            layer.training = layer.gradient_checkpointing = True
            layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False, context_fn=same_kernels_again)
        try:
            yield
        finally:
            for layer in layers:
                layer.training = layer.gradient_checkpointing = False


def _digits(vocabulary: Tokenizer) -> Tensor:
    """Which tokens are digits alone, bool [V]."""
    is_digit = torch.zeros(vocabulary.vocab_size, dtype=torch.bool)
    for text, token in vocabulary.backend.get_vocab().items():
        if text.isascii() and text.isdigit() and token < len(is_digit):
            is_digit[token] = True
    return is_digit


def _packing(active: Tensor) -> tuple[Packing, int]:
    """Which of the tokens before the last, [B, T - 1], are followed by an active one, and how many.

    On a CPU a few others are read behind them (`rounded_up`).
    """
    rows, length = len(active), active.shape[1] - 1
    where = states_of(active[:, 1:])  # position by position, as the head reads them
    count = len(where)
    if active.device.type == "cpu":
        where = torch.cat([where, states_of(~active[:, 1:])[: rounded_up(count) - count]])
    return Packing.of(where % rows * length + where // rows, rows, length), count
