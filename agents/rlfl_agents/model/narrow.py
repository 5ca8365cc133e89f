"""Weights in the precision that autocast reads them in, made once for a rollout.

Autocast casts a weight whenever it is read. What it may keep between calls is freed at the end, which would leave a
recorded step without (see recorded.py). For one token of every row that takes as long as the products themselves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from rlfl_agents.learn.head import padding

__all__ = ["Narrowed"]

_PRODUCTS = (nn.Linear, Conv1D)
"""The layers that do nothing with their weights but what autocast casts them for."""


class Narrowed:
    """Copies of a model's weights in autocast's precision, beside its own.

    Attributes:
        head: The language model's head in it, as `aligned` makes it; None outside `into`.
    """

    def __init__(self) -> None:
        """Begins with none; they are made when first wanted, and stay where they are (see recorded.py)."""
        self.head: Tensor | None = None
        self._copies: dict[nn.Parameter, Tensor] = {}

    @contextlib.contextmanager
    def into(self, model: nn.Module, head: nn.Linear | None) -> Iterator[None]:
        """Inside, under autocast, layers have their copies. What they compute is the same; no gradient leads through.

        Args:
            model: All of it. What is used as an embedding too stays as it is.
            head: The language model's, where its logits are a product and nothing else.
        """
        device = next(model.parameters()).device.type
        if not torch.is_autocast_enabled(device):
            yield
            return
        dtype = torch.get_autocast_dtype(device)
        places = _places(model, dtype, head)
        own = list(dict.fromkeys(weight for _, _, weight in places))
        copies = [self._copy(weight, dtype, len(weight)) for weight in own]
        with torch.no_grad():
            torch._foreach_copy_(copies, own)
            if head is not None:
                self.head = self._narrow_head(head.weight, dtype)
        try:
            for module, name, weight in places:
                module._parameters[name] = self._copies[weight]  # type: ignore[assignment]
            yield
        finally:
            self.head = None
            for module, name, weight in places:
                module._parameters[name] = weight

    def _narrow_head(self, weight: nn.Parameter, dtype: torch.dtype) -> Tensor:
        rows = len(weight) + padding(weight)
        if weight.dtype == dtype and rows == len(weight):
            return weight.data
        copied = self._copy(weight, dtype, rows)
        copied[: len(weight)].copy_(weight)
        return copied

    def _copy(self, weight: nn.Parameter, dtype: torch.dtype, rows: int) -> Tensor:
        """Where a weight's copy lies, with so many rows."""
        copied = self._copies.get(weight)
        if copied is None or copied.dtype != dtype or copied.device != weight.device:
            copied = self._copies[weight] = weight.new_zeros(rows, *weight.shape[1:], dtype=dtype)
        return copied


def _places(
    model: nn.Module, dtype: torch.dtype, head: nn.Linear | None
) -> list[tuple[nn.Module, str, nn.Parameter]]:
    """The weights that only products read and that are not in this precision, with where they are."""
    kept = set() if head is None else {head.weight}
    found: list[tuple[nn.Module, str, nn.Parameter]] = []
    for module in model.modules():
        weights = module.named_parameters(recurse=False)
        if type(module) in _PRODUCTS:
            found += [(module, name, weight) for name, weight in weights if weight.dtype != dtype]
        else:
            kept |= {weight for _, weight in weights}
    return [place for place in found if place[2] not in kept]
