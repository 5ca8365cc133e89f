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
        self._copies: dict[Tensor, Tensor] = {}
        self._places: dict[torch.dtype, list[tuple[nn.Module, str, nn.Parameter]]] = {}

    @contextlib.contextmanager
    def into(self, model: nn.Module, head: nn.Linear | None, only_frozen: bool = False) -> Iterator[None]:
        """Inside, under autocast, layers have their copies. What they compute is the same; no gradient leads through.

        Args:
            model: All of it, the same one each time. What is used as an embedding too stays as it is.
            head: The language model's, where its logits are a product and nothing else.
            only_frozen: Whether what learns is not read: adapters that are merged.
        """
        device = next(model.parameters()).device.type
        if not torch.is_autocast_enabled(device):
            yield
            return
        dtype = torch.get_autocast_dtype(device)
        if dtype not in self._places:
            self._places[dtype] = _places(model, dtype, head, only_frozen)
        places = self._places[dtype]
        own: list[Tensor] = list(dict.fromkeys(weight for _, _, weight in places))
        copies = [self._copy(weight, dtype, len(weight)) for weight in own]
        with torch.no_grad():
            if own:
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

    def _narrow_head(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        rows = len(weight) + padding(weight)
        if weight.dtype == dtype and rows == len(weight):
            return weight.data
        copied = self._copy(weight, dtype, rows)
        copied[: len(weight)].copy_(weight)
        return copied

    def _copy(self, weight: Tensor, dtype: torch.dtype, rows: int) -> Tensor:
        """Where a weight's copy lies, with so many rows."""
        copied = self._copies.get(weight)
        if copied is None or copied.dtype != dtype or copied.device != weight.device:
            copied = self._copies[weight] = weight.new_zeros(rows, *weight.shape[1:], dtype=dtype)
        return copied


def _places(
    model: nn.Module, dtype: torch.dtype, head: nn.Linear | None, only_frozen: bool
) -> list[tuple[nn.Module, str, nn.Parameter]]:
    """The weights that only products read and that are not in this precision, with where they are."""
    kept = set() if head is None else {head.weight}
    found: list[tuple[nn.Module, str, nn.Parameter]] = []
    for module in model.modules():
        weights = dict(module.named_parameters(recurse=False))
        if type(module) not in _PRODUCTS:
            kept |= {*weights.values()}
            continue
        for name, weight in weights.items():
            if weight.dtype != dtype and not (only_frozen and weight.requires_grad):
                found.append((module, name, weight))
    return [place for place in found if place[2] not in kept]
