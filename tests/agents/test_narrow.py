"""Weights that are cast once for a rollout are those that autocast would cast each time they are read."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch

from rlfl_agents.model.narrow import Narrowed
from rlfl_agents.model.policy import Policy
from rlfl_agents.model.recorded import RecordedSteps
from rlfl_agents.rollout.collect import collect
from rlfl_agents.rollout.rollout import Rollout

from .conftest import small_policy
from .test_groups import ENVS, PEFT_ASKS, policies

ENV = ENVS["prompts of one length"]


def sampled(policy: Policy) -> Rollout:
    """The second of two rollouts, under autocast, with the weights changed between them."""
    policy.recorded, vector = RecordedSteps(), ENV()
    for seed in (4, 3):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rollout = collect(policy, vector, torch.Generator().manual_seed(seed), group_size=4, seed=seed)
        with torch.no_grad():
            for parameter in policy.parameters():
                parameter.mul_(1.1)
    return rollout


def adapted() -> Policy:
    """With adapters that do something on frozen weights in float32."""
    policy = small_policy(ENV(), scale=3.0, lora_rank=2)
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    return policy


@PEFT_ASKS
@pytest.mark.parametrize("name", ["shared", "separate", "llama", "adapted"])
def test_it_samples_what_autocast_would(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit, in the second rollout too, whose weights are others; and the policy has its own again."""
    make: Any = adapted if name == "adapted" else lambda: policies(name, ENV())
    policy = make()
    own = dict(policy.named_parameters())
    found = sampled(policy)
    assert {name: id(each) for name, each in policy.named_parameters()} == {name: id(own[name]) for name in own}
    assert all(each.dtype == torch.float32 for each in policy.parameters())
    monkeypatch.setattr(Narrowed, "into", lambda *_, **__: contextlib.nullcontext())
    expected = sampled(make())
    assert found.completions.equal(expected.completions)
    assert found.log_probs.equal(expected.log_probs)
    assert found.values.equal(expected.values)


def test_what_layers_have_inside() -> None:
    """Products have narrow weights, embeddings their own, a head that is both a copy; without autocast all own."""
    policy, narrowed = policies("shared", ENV()), Narrowed()
    model: Any = policy.language_model
    block = model.transformer.h[0]
    with torch.autocast("cpu", dtype=torch.bfloat16), narrowed.into(policy, model.lm_head):
        assert block.mlp.c_fc.weight.dtype == block.mlp.c_fc.bias.dtype == torch.bfloat16
        assert block.ln_1.weight.dtype == model.transformer.wte.weight.dtype == torch.float32
        assert narrowed.head is not None
        assert narrowed.head.equal(model.lm_head.weight.bfloat16())
        first = narrowed.head.data_ptr(), block.mlp.c_fc.weight.data_ptr()
    assert narrowed.head is None
    with torch.autocast("cpu", dtype=torch.bfloat16), narrowed.into(policy, model.lm_head):
        assert (narrowed.head.data_ptr(), block.mlp.c_fc.weight.data_ptr()) == first  # recorded steps read from there
    with narrowed.into(policy, model.lm_head):
        assert narrowed.head is None
        assert block.mlp.c_fc.weight.dtype == torch.float32
