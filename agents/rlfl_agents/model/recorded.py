"""What is done again and again, recorded once and replayed: prompts are read, a token is read and the next chosen.

Reading prompts, or one token of every row, starts hundreds of kernels, each of a few microseconds, and choosing a token
starts dozens; a CUDA graph starts them all at once. A minibatch's pass has its gradient recorded with it. What is read
and written has to lie where it lay when it was recorded: a cache with a place for every token, and a count of tokens on
the device.

On a CPU there is nothing to record, and a replay runs the step: so that tests can compare.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from rlfl_agents.model.groups import GroupCache
from rlfl_agents.model.reading import Decoding

if TYPE_CHECKING:
    from rlfl_agents.model.policy import Policy

__all__ = ["RecordedPasses", "RecordedSteps"]

Choose = partial[tuple[Tensor, Tensor]]
"""From logits, noise and masks to tokens and their log-probabilities."""

_KEPT = 2
"""How many recorded steps are kept: a training run samples and evaluates, in batches of two shapes."""
_KEPT_CHOICES = 12
"""Likewise: of a group's first token and of the others, under one mask and under one for each row, greedily or not."""
_FEW = 2**15
"""Up to so many tokens of prompts, a device waits for its host; with more, the host waits."""


class RecordedSteps:
    """What a policy has recorded, for each shape of batch.

    Attributes:
        works: False once recording a step has failed: then every token is read as without.
    """

    def __init__(self) -> None:
        """Begins with none."""
        self.works = True
        self._steps: dict[tuple[Any, ...], _Step] = {}
        self._prompts: dict[tuple[Any, ...], _Prompts | None] = {}  # None where they came once
        self._can_read_prompts = True
        self._choices: dict[tuple[Any, ...], _Choice] = {}
        self._can_choose = True
        self._memory: Any = None

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
        autocast = _precision(state.pending.device)
        key = (state.rows, cache.room, cache.keys[0].shape, cache.attended is None, autocast)
        if key not in self._steps:
            try:
                step = _Step(policy, state)
            except RuntimeError as error:
                self.works = False
                _warn("The decode step", error)
                return None
            self._steps = dict([*self._steps.items(), (key, step)][-_KEPT:])
        self._steps[key].begin(state)
        return self._steps[key].read

    def read_prompts(self, policy: Policy, state: Decoding) -> tuple[Tensor, Tensor] | None:
        """Reads the prompts, [G, P], that are pending; recorded when such a shape comes for the second time.

        Args:
            policy: The policy.
            state: With nothing read; its caches and positions move on.

        Returns:
            Logits [G, V] and values [G], overwritten by the next call; None where it cannot be.
        """
        tokens = state.pending
        can = self._can_read_prompts and policy.reader.is_grouped and state.keep_cache and state.room > 0
        if not can or tokens.numel() > _FEW:
            return None
        key = (state.rows, tokens.shape, state.room, state.needs_mask, state.cut, _precision(tokens.device))
        if key not in self._prompts:
            self._prompts = dict([*self._prompts.items(), (key, None)][-_KEPT:])
            return None
        found = self._prompts[key]
        if found is None:
            try:
                found = self._prompts[key] = _Prompts(policy, state)
            except RuntimeError as error:
                self._can_read_prompts = False
                _warn("Reading prompts", error)
                return None
        return found.read(state)

    def choose(self, function: Choose, logits: Tensor, noise: Tensor, masks: Tensor | None) -> tuple[Tensor, Tensor]:
        """What a function chooses, recorded when it is first called with such shapes.

        The results are overwritten by the next call.

        Args:
            function: Without effects; partials of one function with the same arguments are the same.
            logits: Float [N, V].
            noise: Float [N, k].
            masks: Bool [1 or N, V], or None.
        """
        if not self._can_choose:
            return function(logits, noise, masks)
        given = function.func, *function.keywords.items()
        key = (*given, logits.dtype, logits.shape, noise.shape, None if masks is None else masks.shape)
        if key not in self._choices:
            try:
                choice = _Choice(function, logits, noise, masks, self._shared_memory(logits.device))
            except RuntimeError as error:
                self._can_choose = False
                _warn("Choosing a token", error)
                return function(logits, noise, masks)
            self._choices = dict([*self._choices.items(), (key, choice)][-_KEPT_CHOICES:])
        return self._choices[key].of(logits, noise, masks)

    def _shared_memory(self, device: torch.device) -> Any:
        """One for all choices: none needs anything but its results after its end."""
        if self._memory is None and device.type == "cuda":
            self._memory = torch.cuda.graph_pool_handle()
        return self._memory


class RecordedPasses:
    """A policy's reading of whole minibatches, and the way back of its gradient, recorded for one shape at a time.

    What was read has the recorded gradient once: whoever adds up gradients of several minibatches runs each.

    Attributes:
        works: False once recording has failed.
    """

    def __init__(self) -> None:
        """Begins with none."""
        self.works = True
        self._last: tuple[Any, ...] = ()
        self._times = 0  # how often it came, without another between
        self._patience = 2  # how often it has to
        self._key: tuple[Any, ...] = ()
        self._pass: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None

    def of(self, policy: Policy, tokens: Tensor, width: int) -> tuple[Tensor, Tensor] | None:
        """What `Policy.read_whole` returns; None where it is not recorded.

        It is where a shape comes twice in a row; another shape has to come more often.

        Args:
            policy: The policy.
            tokens: Int64 [B, P + T - 1].
            width: P.
        """
        learned = [parameter for parameter in policy.parameters() if parameter.requires_grad]
        if not self.works or not torch.is_grad_enabled() or any(parameter.grad is not None for parameter in learned):
            return None
        key = (tokens.shape, width, _precision(tokens.device))
        self._times, self._last = self._times * (key == self._last) + 1, key
        if self._pass is None or key != self._key:
            if self._times < self._patience or not _has_room(tokens.device):
                return None
            self._pass, self._key, self._patience = None, key, 4 * self._patience
            try:
                self._pass = _recorded_pass(policy, tokens, width)
            except RuntimeError as error:
                self.works = False
                _warn("An update", error)
                return None
        return self._pass(tokens)


class _Pass(nn.Module):
    """Reads minibatches of one shape."""

    def __init__(self, policy: Policy, width: int) -> None:
        super().__init__()
        self._read = partial(policy.read_whole, width=width)
        self._learned = [parameter for parameter in policy.parameters() if parameter.requires_grad]

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        return iter(self._learned)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return self._read(tokens)


def _recorded_pass(policy: Policy, tokens: Tensor, width: int) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """A pass and its gradient; on a CPU it is run."""
    module, device = _Pass(policy, width), tokens.device.type
    if device != "cuda":
        return module
    with _autocast(device):
        found: Any = torch.cuda.make_graphed_callables(module, (tokens.clone(),), allow_unused_input=True)
    return cast("Callable[[Tensor], tuple[Tensor, Tensor]]", found)


def _has_room(device: torch.device) -> bool:
    """Whether as much memory is free as was ever taken: what is recorded keeps all that it needs."""
    return device.type != "cuda" or torch.cuda.mem_get_info(device)[0] > torch.cuda.max_memory_allocated(device)


def _precision(device: torch.device) -> torch.dtype | None:
    """Autocast's; None where it is off."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None


def _autocast(device: str) -> contextlib.AbstractContextManager[Any]:
    """As it is, but that no weights are kept between calls: they would be gone when a graph is replayed."""
    return torch.autocast(
        device, dtype=torch.get_autocast_dtype(device), enabled=torch.is_autocast_enabled(device), cache_enabled=False
    )


def _warn(what: str, error: RuntimeError) -> None:
    reason = " ".join(str(error).split())[:200]
    warnings.warn(f"{what} cannot be recorded and runs kernel by kernel ({reason}).", stacklevel=3)


class _Prompts:
    """The prompts of a batch, one for each group."""

    def __init__(self, policy: Policy, state: Decoding) -> None:
        self._policy = policy
        self._tokens = state.pending.clone()
        self._begin = partial(
            Decoding, state.rows, self._tokens, True, state.room, needs_mask=state.needs_mask, cut=state.cut
        )
        self._state: Decoding
        self._found: tuple[Tensor, Tensor]
        self._replay = _recorded(self._run, lambda: None, self._tokens.device)

    def read(self, state: Decoding) -> tuple[Tensor, Tensor]:
        """Reads those that are pending; the state goes on from there."""
        self._tokens.copy_(state.pending)
        self._replay()
        state.cache, state.critic_cache = self._state.cache.again(), self._state.critic_cache.again()
        state.next_positions = self._state.next_positions
        return self._found

    def _run(self) -> None:
        self._state = self._begin()
        with _autocast(self._tokens.device.type):
            logits, values = self._policy.read(self._state, self._tokens, keep=1)
        self._found = logits[:, 0], values[:, 0]


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
        self._replay = _recorded(self._run, self._rewind, self._tokens.device)

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
        with _autocast(self._tokens.device.type):
            logits, values = self._policy.read(self._state, self._tokens, keep=1)
        self._found = logits[:, 0], values[:, 0]


class _Choice:
    """One choice of a token for every row."""

    def __init__(self, function: Choose, logits: Tensor, noise: Tensor, masks: Tensor | None, memory: Any) -> None:
        self._function = function
        self._logits, self._noise = logits.clone(), noise.clone()
        self._masks = None if masks is None else masks.clone()
        self._found: tuple[Tensor, Tensor]
        self._replay = _recorded(self._run, lambda: None, logits.device, memory)

    def of(self, logits: Tensor, noise: Tensor, masks: Tensor | None) -> tuple[Tensor, Tensor]:
        self._logits.copy_(logits)
        self._noise.copy_(noise)
        if self._masks is not None and masks is not None:
            self._masks.copy_(masks)
        self._replay()
        return self._found

    def _run(self) -> None:
        self._found = self._function(self._logits, self._noise, self._masks)


def _recorded(
    run: Callable[[], None], rewind: Callable[[], None], device: torch.device, memory: Any = None
) -> Callable[[], None]:
    """What replays what `run` does, and `rewind` takes back; on a CPU that is `run`."""
    if device.type != "cuda":
        return run
    # Libraries make their workspaces when first called, which must not be recorded.
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            run()
            rewind()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=memory, capture_error_mode="thread_local"):
        run()
    replay: Callable[[], None] = graph.replay
    return replay
