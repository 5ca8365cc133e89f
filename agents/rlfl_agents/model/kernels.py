"""Layers that a GPU computes in one kernel where a model's own code starts many.

Transformers writes GPT-2's activation as eight steps and a normalisation as seven, each of which reads and writes all
numbers: on a GPU these take longer than the matrix products between them. PyTorch has both as one kernel. The results
differ in the last bits, so that on a CPU nothing changes: there, runs stay what they were.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN

__all__ = ["fuse"]

_CLOSE = 1e-5
"""How far a replacement may be from what it replaces, on numbers of the size of 1."""
_TANH_GELU = type(ACT2FN["gelu_new"])


def fuse(model: nn.Module, autocast: bool = False) -> int:
    """Replaces what can be replaced, in place; weights and their names stay. Returns how many layers.

    Args:
        model: With its weights loaded: a normalisation is replaced where trying shows the same results.
        autocast: Whether it is always run under autocast. Adapters need not make float32 then of what they are given:
            it would be cast back at once.
    """
    adapters: list[Any] = [layer for layer in model.modules() if hasattr(layer, "get_delta_weight")]
    for layer in adapters:
        layer.cast_input_dtype_enabled = not autocast
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
