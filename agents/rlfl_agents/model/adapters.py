"""LoRA adapters: made, and merged into the weights while a policy samples."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

__all__ = ["Merged", "is_plain", "with_adapters"]


def with_adapters(model: PreTrainedModel, rank: int, alpha: int) -> Any:
    """The model inside a `peft` model that trains low-rank adapters of all its linear layers, in float32.

    Args:
        model: Its own weights will be frozen.
        rank: Of the adapters, 1 or more.
        alpha: Their scale is alpha / rank.
    """
    from peft import LoraConfig, get_peft_model
    from transformers.pytorch_utils import Conv1D

    adapters = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
        # GPT-2 keeps its weights transposed; without this peft warns, then does it anyway.
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
    )
    return get_peft_model(model, adapters)


def is_plain(layer: Any, name: str) -> bool:
    """Whether an adapter adds two products to what a linear layer makes, and nothing else."""
    parts = layer.lora_A, layer.lora_B, layer.lora_dropout
    if type(layer.base_layer) is not nn.Linear or layer.fan_in_fan_out or not all(name in part for part in parts):
        return False
    kinds = *(type(part[name]) for part in parts), layer.lora_B[name].bias
    return kinds == (nn.Linear, nn.Linear, nn.Identity, None) and name not in layer.lora_variant


class Merged:
    """The weights with the adapters in them, beside the model's own.

    Three small products for every linear layer cost more than the layer itself where one token is read at a time. The
    model's own weights are put aside, not changed: taking the adapters out of them again would leave rounding behind.
    """

    def __init__(self) -> None:
        """Begins with none; they are made when first wanted, and stay where they are (see recorded.py)."""
        self._weights: dict[nn.Module, Tensor] = {}

    @contextlib.contextmanager
    def into(self, model: nn.Module) -> Iterator[None]:
        """Inside, the model's layers have merged weights. No gradient leads through them."""
        layers: list[Any] = [module for module in model.modules() if hasattr(module, "get_delta_weight")]
        own: list[tuple[Any, Tensor]] = []
        with torch.no_grad():
            for layer in layers:
                weight, name = layer.base_layer.weight, layer.active_adapters[0]
                if layer not in self._weights:
                    self._weights[layer] = torch.empty_like(weight)
                if weight.device.type == "cuda" and is_plain(layer, name):
                    _merge(layer, name, self._weights[layer])
                else:
                    self._weights[layer].copy_(weight + layer.get_delta_weight(name))
                own.append((layer, weight.data))
        try:
            for layer, _ in own:
                layer.base_layer.weight.data = self._weights[layer]
                layer.merged_adapters.append(layer.active_adapters[0])
            yield
        finally:
            for layer, weight in own:
                layer.base_layer.weight.data = weight
                layer.merged_adapters.clear()


def _merge(layer: Any, name: str, out: Tensor) -> None:
    """Writes a layer's weight with a plain adapter in it, by one kernel where peft starts ten."""
    weight = layer.base_layer.weight
    down, up = (each[name].weight.to(weight.dtype) for each in (layer.lora_A, layer.lora_B))
    torch.addmm(weight, up, down, alpha=layer.scaling[name], out=out)
