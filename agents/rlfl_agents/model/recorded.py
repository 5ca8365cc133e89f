"""A decode step that is recorded once and replayed for every token.

Reading one token of every row starts hundreds of kernels, each of a few microseconds; a CUDA graph starts them all at
once. What it reads and writes has to lie where it lay when it was recorded: a cache with a place for every token, and a
count of tokens on the device.

On a CPU there is nothing to record, and a replay runs the step: so that tests can compare.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rlfl_agents.model.groups import GroupCache
from rlfl_agents.model.reading import Decoding

if TYPE_CHECKING:
    from rlfl_agents.model.policy import Policy

__all__ = ["RecordedSteps"]

_KEPT = 2
"""How many recorded steps are kept: a training run samples and evaluates, in batches of two shapes."""


class RecordedSteps:
    """The recorded steps of a policy, one for each shape of batch.

    Attributes:
        works: False once recording has failed: then every token is read as without.
    """

    def __init__(self) -> None:
        """Begins with none."""
        self.works = True
        self._steps: dict[tuple[Any, ...], _Step] = {}

    def step_for(self, policy: Policy, state: Decoding) -> Callable[[Tensor], tuple[Tensor, Tensor]] | None:
        """What reads one token of every row from here on: from int64 [B, 1] to logits [B, V] and values [B].

        The results are overwritten by the next call. None where it cannot be.

        Args:
            policy: The policy.
            state: With its prompts read and nothing else.
        """
        cache = state.cache
        if not self.works or not isinstance(cache, GroupCache) or not cache.room or cache.step != 0:
            return None
        device = state.pending.device
        autocast = torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type)
        key = (state.rows, cache.room, cache.keys[0].shape, cache.attended is None, autocast)
        if key not in self._steps:
            try:
                step = _Step(policy, state)
            except RuntimeError as error:
                self.works = False
                reason = " ".join(str(error).split())[:200]
                warnings.warn(f"The decode step cannot be recorded and runs kernel by kernel ({reason}).", stacklevel=2)
                return None
            self._steps = dict([*self._steps.items(), (key, step)][-_KEPT:])
        self._steps[key].begin(state)
        return self._steps[key].read


class _Step:
    """One token of every row."""

    def __init__(self, policy: Policy, state: Decoding) -> None:
        assert state.next_positions is not None
        self._policy = policy
        self._tokens = state.pending.new_zeros(state.rows, 1)
        self._state = Decoding(
            state.rows,
            self._tokens,
            state.keep_cache,
            state.room,
            needs_mask=state.needs_mask,
            cache=state.cache.in_place(),
            critic_cache=None if policy.critic is None else state.critic_cache.in_place(),
            next_positions=state.next_positions.clone(),
        )
        self._found: tuple[Tensor, Tensor]
        self._replay = self._run if state.pending.device.type != "cuda" else self._record()

    def begin(self, state: Decoding) -> None:
        """Takes over what was read of the prompts."""
        assert self._state.next_positions is not None
        assert state.next_positions is not None
        self._state.cache.take(state.cache)
        if self._state.critic_cache is not None:
            self._state.critic_cache.take(state.critic_cache)
        self._state.next_positions.copy_(state.next_positions)

    def read(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        self._tokens.copy_(tokens)
        self._replay()
        return self._found

    def _rewind(self) -> None:
        for cache in (self._state.cache, self._state.critic_cache):
            if cache is not None:
                cache.step.zero_()

    def _run(self) -> None:
        device = self._tokens.device.type
        # Weights that autocast keeps between calls would be gone when a graph is replayed.
        with torch.autocast(
            device,
            dtype=torch.get_autocast_dtype(device),
            enabled=torch.is_autocast_enabled(device),
            cache_enabled=False,
        ):
            logits, values = self._policy.read(self._state, self._tokens, keep=1)
        self._found = logits[:, 0], values[:, 0]

    def _record(self) -> Callable[[], None]:
        # Libraries make their workspaces when first called, which must not be recorded.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                self._run()
                self._rewind()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._run()
        replay: Callable[[], None] = graph.replay
        return replay
