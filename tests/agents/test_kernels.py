"""What a GPU computes in one kernel is what the model's own code computes, and only that is replaced."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from rlfl_agents.model import adapters
from rlfl_agents.model.kernels import fuse

from .test_groups import PEFT_ASKS

SHAPE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 8}
SHAPE |= {"num_key_value_heads": 2}
REPLACED = {"gpt2": 2, "llama": 5, "qwen2": 5, "gemma": 0}


def model_of(family: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A tiny one, with norms that do something."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"n_embd": 16, "n_layer": 2, "n_head": 2} if family == "gpt2" else SHAPE
    config = AutoConfig.for_model(family, vocab_size=50, bos_token_id=0, eos_token_id=1, pad_token_id=1, **sizes)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            nn.init.uniform_(parameter, 0.5, 2.0)
    return model.eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", REPLACED)
def test_a_fused_model_says_the_same(family: str, dtype: torch.dtype) -> None:
    """As many layers as there are; the same weights by the same names; logits and gradients up to rounding."""
    plain, fused = model_of(family, dtype), model_of(family, dtype)
    assert fuse(fused) == REPLACED[family]
    assert {name: each.shape for name, each in plain.state_dict().items()} == {
        name: each.shape for name, each in fused.state_dict().items()
    }
    found, expected = (model(input_ids=torch.arange(24).view(2, 12)).logits for model in (fused, plain))
    room = 1e-6 if dtype == torch.float32 else 0.02
    torch.testing.assert_close(found, expected, atol=room, rtol=room)
    for logits in (found, expected):
        logits.float().square().mean().backward()
    for ours, theirs in zip(fused.parameters(), plain.parameters(), strict=True):
        assert ours.grad is not None
        torch.testing.assert_close(ours.grad, theirs.grad, atol=room, rtol=10 * room)


def test_it_is_done_once() -> None:
    """What was replaced is not replaced again, and its weights are still those that learn."""
    model = model_of("llama")
    weight = model.model.norm.weight
    assert fuse(model) == 5
    assert fuse(model) == 0
    assert model.model.norm.weight is weight


def test_what_computes_something_else_stays() -> None:
    """A normalisation that adds 1 to its weights, or none of the kind, is left as it is."""

    class Other(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.rand(8))
            self.variance_epsilon = 1e-6

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return (1 + self.weight) * hidden * torch.rsqrt(hidden.square().mean(-1, keepdim=True) + 1e-6)

    model = nn.Sequential(Other(), nn.LayerNorm(8), nn.GELU())
    assert fuse(model) == 0


def adapted(dtype: torch.dtype) -> Any:
    """A Llama whose adapters do something."""
    model = adapters.with_adapters(model_of("llama", dtype), 2, 6)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.2)
    return model


@PEFT_ASKS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_adapter_in_its_layers_product_is_an_adapter(dtype: torch.dtype) -> None:
    """The same logits and gradients up to rounding, with adapters and without; what is frozen has no gradient."""
    plain, fused = adapted(dtype), adapted(dtype)
    fuse(fused, autocast=True)
    layer = fused.base_model.model.model.layers[0].self_attn.q_proj
    assert type(layer).__name__ == "Adapted"
    room, found = 1e-5 if dtype == torch.float32 else 0.3, []  # peft's own gradients are 0.1 from those of float32
    for model in (fused, plain):
        with torch.autocast("cpu", enabled=dtype != torch.float32):
            logits = model(input_ids=torch.arange(24).view(2, 12)).logits
        logits.float().square().mean().backward()
        with torch.no_grad(), model.disable_adapter():
            without = model(input_ids=torch.arange(24).view(2, 12)).logits
        found.append([logits.detach(), without, *(each.grad for each in model.parameters() if each.grad is not None)])
    assert len(found[0]) == 2 + 2 * 2 * 7
    assert not torch.allclose(found[0][0], found[0][1], atol=0.1)
    for ours, theirs in zip(*found, strict=True):
        assert ours.dtype == theirs.dtype
        assert float((ours - theirs).norm()) <= room * float(theirs.norm())


@PEFT_ASKS
def test_what_is_unusual_about_an_adapter_stays() -> None:
    """One with dropout, and one that is merged, compute what peft computes."""
    model = adapted(torch.float32)
    fuse(model, autocast=True)
    tokens = torch.arange(24).view(2, 12)
    expected = model(input_ids=tokens).logits.detach()
    layer = model.base_model.model.model.layers[0].self_attn.q_proj
    assert adapters.is_plain(layer, "default")
    layer.lora_dropout["default"] = nn.Dropout(0.5)
    assert not adapters.is_plain(layer, "default")
    torch.testing.assert_close(model.eval()(input_ids=tokens).logits, expected)
    model.merge_adapter()
    torch.testing.assert_close(model(input_ids=tokens).logits, expected, atol=1e-5, rtol=1e-5)


@PEFT_ASKS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_merged_weight_has_its_adapter_in_it(dtype: torch.dtype) -> None:
    """By one product, as by peft's own way up to rounding."""
    layer = adapted(dtype).base_model.model.model.layers[1].mlp.down_proj
    weight = layer.base_layer.weight
    found = torch.empty_like(weight)
    with torch.no_grad():
        adapters._merge(layer, "default", found)
        expected = weight + layer.get_delta_weight("default")
    assert float((found - weight).norm()) > 0.1 * float(weight.norm())
    torch.testing.assert_close(
        found.float(), expected.float(), atol=1e-6 if dtype == torch.float32 else 0.01, rtol=0.01
    )
