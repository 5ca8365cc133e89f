"""Layers that a GPU computes in one kernel where a model's own code starts many.

Transformers writes GPT-2's activation as eight steps and a normalisation as seven, each of which reads and writes all
numbers: on a GPU these take longer than the matrix products between them. PyTorch has both as one kernel. The results
differ in the last bits, so that on a CPU nothing changes: there, runs stay what they were.

An adapter beside a layer reads and writes all that the layer makes four times more, for products that are next to
nothing. Here its product is added while it is made, forwards and backwards.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear
from transformers.activations import ACT2FN

from rlfl_agents.model.adapters import is_plain

__all__ = ["fuse"]

_CLOSE = 1e-5
"""How far a replacement may be from what it replaces, on numbers of the size of 1."""
_TANH_GELU = type(ACT2FN["gelu_new"])


def fuse(model: nn.Module, autocast: bool = False) -> int:
    """Replaces what can be replaced, in place; weights and their names stay. Returns how many layers.

    Args:
        model: With its weights loaded: a normalisation is replaced where trying shows the same results.
        autocast: Whether it is always run under autocast. Only then are adapters replaced: they need not make float32
            of what they are given, as it would be cast back at once.
    """
    adapters: list[Any] = [layer for layer in model.modules() if hasattr(layer, "get_delta_weight")]
    for layer in adapters:
        layer.cast_input_dtype_enabled = not autocast
        plain, adapted = _adapted_layers()
        if autocast and type(layer) is plain:
            layer.__class__ = adapted
    found: list[tuple[nn.Module, str, nn.Module]] = []
    for parent in model.modules():
        for name, child in parent.named_children():
            fused = _fused(child)
            if fused is not None:
                found.append((parent, name, fused))
    for parent, name, fused in found:
        setattr(parent, name, fused)
    return len(found)


def _fused(layer: nn.Module) -> nn.Module | None:
    """The same function as one kernel; None where there is none."""
    if type(layer) is _TANH_GELU:
        return nn.GELU(approximate="tanh")
    weight, eps = getattr(layer, "weight", None), getattr(layer, "variance_epsilon", None)
    if isinstance(layer, nn.RMSNorm) or not isinstance(weight, nn.Parameter) or not isinstance(eps, float):
        return None
    fused = nn.RMSNorm(weight.shape[0], eps=eps, device="meta")
    fused.weight = weight
    fused.train(layer.training)
    return fused if _is_same(layer, fused, weight) else None


@torch.no_grad()
def _is_same(layer: nn.Module, fused: nn.Module, weight: Tensor) -> bool:
    """Whether both make the same of a few numbers, but for rounding."""
    numbers = torch.linspace(-2, 3, 4 * weight.shape[-1], device=weight.device, dtype=weight.dtype).view(4, -1)
    ours, theirs = fused(numbers), layer(numbers)
    room = max(_CLOSE, torch.finfo(weight.dtype).eps * 4)
    return ours.dtype == theirs.dtype and bool(torch.allclose(ours.float(), theirs.float(), rtol=room, atol=room))


@cache
def _adapted_layers() -> tuple[type[Any], type[Any]]:
    """The linear layer with an adapter that peft has, and one that adds the adapter's product while it is made."""
    from peft.tuners.lora import Linear

    class Adapted(Linear):
        """The same where anything is unusual about it."""

        def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            base, names = self.base_layer, self.active_adapters
            is_alone = len(names) == 1 and not self.disable_adapters and not self.merged
            if not is_alone or base.weight.requires_grad or not is_plain(self, names[0]):
                found: Tensor = super().forward(x, *args, **kwargs)
                return found
            down, up = self.lora_A[names[0]].weight, self.lora_B[names[0]].weight
            added: Tensor = _WithAdapter.apply(x, base.weight, base.bias, down, up, self.scaling[names[0]])  # type: ignore[no-untyped-call]
            return added

    return Linear, Adapted


class _WithAdapter(torch.autograd.Function):
    """x W' + b + s (x A') B' in autocast's precision, for a frozen W."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scaling: float
    ) -> Tensor:
        device = inputs.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        rows = inputs.to(dtype).flatten(0, -2)
        weight, down, up = (each.to(dtype) for each in (weight, down, up))
        low = (rows @ down.t()).mul_(scaling)
        found = linear(rows, weight, bias).addmm_(low, up.t())
        ctx.save_for_backward(rows, weight, down, up, low)
        ctx.settings = scaling, inputs.shape, inputs.dtype
        return found.view(*inputs.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, down, up, low = ctx.saved_tensors
        scaling, shape, dtype = ctx.settings
        gradient = gradient.flatten(0, -2)
        of_low = (gradient @ up).mul_(scaling)
        of_down, of_up = (of_low.t() @ rows).float(), (gradient.t() @ low).float()
        of_inputs = None
        if ctx.needs_input_grad[0]:
            of_inputs = (gradient @ weight).addmm_(of_low, down).view(shape).to(dtype)
        return of_inputs, None, None, of_down, of_up, None
