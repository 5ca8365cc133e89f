"""A policy whose weights are spread over the processes: PyTorch's FSDP (`fully_shard`), a layer at a time.

Each process holds its share of every weight, of its gradient and of the optimiser's moments. While a minibatch is read,
a layer's weights are gathered right before it and dropped right after. Sampling reads a token at a time, and processes
end after different numbers of them: so for a rollout all weights are gathered once, in an ordinary policy beside the
sharded one, and dropped at its end.

Accelerate shards on accelerators alone; asking PyTorch itself works on CPUs too.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers.modeling_layers import GradientCheckpointingLayer

from rlfl_agents.learn.head import Summary

if TYPE_CHECKING:
    from rlfl_agents.model.policy import Policy

__all__ = ["Shards", "as_shards", "without_shards"]


class Shards:
    """What turns a sharded policy into one with all its weights, for a while."""

    def __init__(self, policy: Policy, device: torch.device) -> None:
        """Shards a policy in place. All processes have to do so together, with the same weights.

        Args:
            policy: With all its weights, on any device: shards are made layer by layer.
            device: Where the shards go.
        """
        policy.reader.plain_head(policy.language_model)  # found by trying, which takes whole weights
        empty = {id(weight): nn.Parameter(weight.new_empty(0), weight.requires_grad) for weight in policy.parameters()}
        self._whole: Policy = copy.deepcopy(policy, empty).to(device)
        self._depth = 0
        mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
        for layer in [module for module in policy.modules() if isinstance(module, GradientCheckpointingLayer)]:
            fully_shard(layer, mesh=mesh)
        policy.register_forward_hook(_without_views)
        fully_shard(policy, mesh=mesh, reshard_after_forward=True)
        self._weights = [*zip(self._whole.parameters(), policy.parameters(), strict=True)]

    @contextlib.contextmanager
    def whole(self) -> Iterator[Policy]:
        """Inside, there is a policy with all weights as they are now. All processes have to ask together."""
        self._depth += 1
        try:
            if self._depth == 1:
                for weight, sharded in self._weights:
                    assert isinstance(sharded, DTensor)
                    weight.data = sharded.full_tensor().detach()
            yield self._whole
        finally:
            self._depth -= 1
            if not self._depth:
                self._whole.drop_copies()
                for weight, _ in self._weights:
                    weight.data = weight.data.new_empty(0)


def _without_views(policy: nn.Module, inputs: Any, output: tuple[Tensor | Summary, Tensor]) -> Any:
    """FSDP hooks the outputs, and would lose a view as soon as anything is added to it in place: it warns of each."""
    del policy, inputs
    found, values = output
    own = Summary(*map(_own, found)) if isinstance(found, Summary) else _own(found)
    return own, _own(values)


def _own(tensor: Tensor) -> Tensor:
    return tensor if tensor._base is None else tensor.clone()


def without_shards(state: Any, keep: bool) -> Any:
    """A state (of tensors, in dictionaries and lists) with all of each sharded tensor, on the CPU.

    Args:
        state: From `state_dict` of a module or an optimiser. All processes have to ask together.
        keep: False on processes that need no copy: they get empty tensors.
    """
    if isinstance(state, DTensor):
        whole = state.full_tensor()
        return whole.cpu() if keep else whole.new_empty(0, device="cpu")
    if isinstance(state, Mapping):
        return {name: without_shards(value, keep) for name, value in state.items()}
    return [without_shards(value, keep) for value in state] if isinstance(state, list) else state


def as_shards(state: Any, like: Tensor) -> Any:
    """A tensor as a shard like another, or each tensor of a dictionary that has its shape; all else as it is."""
    if isinstance(state, dict):
        return {name: as_shards(value, like) for name, value in state.items()}
    if not isinstance(like, DTensor) or not isinstance(state, Tensor) or state.shape != like.shape:
        return state
    whole = state.to(like.device)
    return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)
