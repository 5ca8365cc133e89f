"""Reading prompts once for a group, leaving out what has ended, replaying a step: all say what plain reading says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import LlamaConfig, LlamaForCausalLM

from rlfl_agents.environments import make_envs
from rlfl_agents.learn.losses import entropies
from rlfl_agents.model import policy as module
from rlfl_agents.model.build import build_policy
from rlfl_agents.model.policy import Policy
from rlfl_agents.model.products import matmul_precision
from rlfl_agents.model.recorded import RecordedSteps
from rlfl_agents.rollout.collect import collect
from rlfl_agents.rollout.rollout import Rollout
from rlfl_envs import TokenVectorEnv

from .conftest import small_policy

ENVS: dict[str, Callable[[], TokenVectorEnv]] = {
    "different lengths": lambda: make_envs("rlfl/ArithmeticSteps-v0", 24, mask="syntax"),
    "prompts of one length": lambda: make_envs("rlfl/Copy-v0", 24, length=3, max_completion_tokens=8),
}
LONGER: dict[str, Callable[[], TokenVectorEnv]] = {
    "prompts longer than completions": lambda: make_envs("rlfl/Copy-v0", 24, length=9, max_completion_tokens=6),
    "columns in front that no prompt has": lambda: make_envs("rlfl/ArithmeticSteps-v0", 24, mask="syntax", level=1),
}


PEFT_ASKS = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def policies(name: str, envs: TokenVectorEnv) -> Policy:
    """A GPT-2 with columns for positions and both kinds of critic, or a Llama with text positions and shared heads."""
    if name != "llama":
        return small_policy(envs, scale=3.0, value=name)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=envs.tokenizer.vocab_size, num_key_value_heads=2, initializer_range=0.3, **sizes)
    return Policy(LlamaForCausalLM(config), envs.tokenizer, value="shared")


def plainly(policy: Policy) -> Policy:
    """The policy without a group cache."""
    policy.reader.is_grouped = False
    return policy


def sampled(policy: Policy, envs: TokenVectorEnv, **changes: Any) -> Rollout:
    """A rollout of groups of four."""
    return collect(policy, envs, torch.Generator().manual_seed(3), group_size=4, temperature=0.8, seed=5, **changes)


@pytest.mark.parametrize("envs", ENVS)
@pytest.mark.parametrize("name", ["shared", "separate", "llama"])
def test_the_same_completions_are_sampled(name: str, envs: str) -> None:
    """Tokens are the same, their log-probabilities and values equal up to rounding, though rows leave when they end."""
    found = sampled(policies(name, ENVS[envs]()), ENVS[envs]())
    expected = sampled(plainly(policies(name, ENVS[envs]())), ENVS[envs]())
    assert found.completions.equal(expected.completions)
    assert float(found.active.float().mean()) < 0.8  # rows have left
    torch.testing.assert_close(found.log_probs, expected.log_probs, atol=5e-6, rtol=5e-6)
    torch.testing.assert_close(found.values, expected.values, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("group_size", [1, 4])
@pytest.mark.parametrize("envs", (ENVS | LONGER).values(), ids=ENVS | LONGER)
@pytest.mark.parametrize("name", ["shared", "separate", "llama"])
def test_a_replayed_step_reads_what_a_step_reads(
    name: str, envs: Callable[[], TokenVectorEnv], group_size: int
) -> None:
    """Twice from the same recorded step, so that nothing is left over from the rollout before; joined and not."""
    policy, asked = policies(name, envs()), {"group_size": group_size, "temperature": 0.8}
    expected = collect(policy, envs(), torch.Generator().manual_seed(3), seed=5, **asked)
    policy.recorded = RecordedSteps()
    vector = envs()
    for seed in (4, 5, 3):
        found = collect(policy, vector, torch.Generator().manual_seed(seed), seed=seed + 2, **asked)
    assert found.completions.equal(expected.completions)
    torch.testing.assert_close(found.log_probs, expected.log_probs, atol=5e-6, rtol=5e-6)
    torch.testing.assert_close(found.values, expected.values, atol=1e-5, rtol=1e-5)


def gradients(policy: Policy, rollout: Rollout) -> list[Tensor]:
    """Of a number that every active token has a part in."""
    summary, values = policy(rollout.prompts, rollout.completions, rollout.masks, 0.8, rollout.active)
    slopes = torch.linspace(-1, 1, rollout.active.numel()).view_as(rollout.log_probs)
    entropy = entropies(summary)
    loss = ((summary.log_probs + values) * slopes * rollout.active).mean() + entropy.token + entropy.batch
    loss.backward()
    found = [parameter.grad.clone() for parameter in policy.parameters() if parameter.grad is not None]
    policy.zero_grad()
    return found


@pytest.mark.parametrize("envs", ENVS)
@pytest.mark.parametrize("name", ["shared", "separate", "llama"])
@pytest.mark.parametrize("precision", ["highest", "auto"])
def test_the_same_gradients_are_learned_from(precision: Literal["highest", "auto"], name: str, envs: str) -> None:
    """Packed to the active tokens, with prompts read once, recomputed layer by layer, and plainly.

    In float64, as float32's error goes by the processor; but values are float32 in any case, and where layers are
    recomputed a group's are added up elsewhere. oneDNN has float32 alone, and adds up in another order.
    """
    policy = policies(name, ENVS[envs]())
    if precision == "highest":
        policy.double()
    rollout = sampled(policy, ENVS[envs]())
    with matmul_precision(precision, torch.device("cpu")):
        found = gradients(policy, rollout)
        policy.checkpoints_gradients = True
        recomputed = gradients(policy, rollout)
    policy.checkpoints_gradients = False
    expected = gradients(plainly(policy), rollout)
    largest = max(1.0, *(float(each.abs().max()) for each in expected))
    room, again_room = (1e-12, 1e-6) if precision == "highest" else (2e-6, 2e-6)
    for ours, again, theirs in zip(found, recomputed, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=room * largest, rtol=room)
        torch.testing.assert_close(again, theirs, atol=again_room * largest, rtol=again_room)


def test_completions_that_all_end_with_their_first_token_are_learned_from() -> None:
    """Nothing is left to pack: the prompts alone are read."""
    envs = ENVS["different lengths"]()
    policy = policies("shared", envs)
    rollout = sampled(policy, envs)
    first = torch.zeros_like(rollout.active)
    first[:, 0] = True
    rollout = dataclasses.replace(rollout, active=first)
    found = gradients(policy, rollout)
    for ours, theirs in zip(found, gradients(plainly(policy), rollout), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


@PEFT_ASKS
def test_merged_adapters_sample_what_adapters_would_and_leave_the_weights_alone() -> None:
    """Log-probabilities agree with a re-evaluation by the adapters; weights are the same to the bit, and trainable."""
    envs = ENVS["different lengths"]()
    policy = small_policy(envs, scale=2.0, lora_rank=2)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    rollout = sampled(policy, envs)
    after = policy.state_dict()
    assert before.keys() == after.keys()
    assert all(tensor.equal(after[name]) for name, tensor in before.items())
    with torch.no_grad():
        summary, _ = policy(rollout.prompts, rollout.completions, rollout.masks, 0.8, rollout.active)
    torch.testing.assert_close(summary.log_probs * rollout.active, rollout.log_probs, atol=2e-5, rtol=0)
    with policy.model.disable_adapter(), torch.no_grad():
        other, _ = policy(rollout.prompts, rollout.completions, rollout.masks, 0.8, rollout.active)
    assert float((other.log_probs - summary.log_probs).abs().max()) > 0.01
    assert len(gradients(policy, rollout)) > 2


@PEFT_ASKS
def test_a_callers_inference_mode_leaves_nothing_behind() -> None:
    """Merged weights that were made inside it are used again outside."""
    envs = ENVS["prompts of one length"]()
    policy = small_policy(envs, lora_rank=2)
    with torch.inference_mode():
        rollout = sampled(policy, envs)
    again = sampled(policy, envs)
    assert again.completions.equal(rollout.completions)
    assert gradients(policy, again)


@pytest.mark.parametrize("id", ["rlfl/Arithmetic-v0", "rlfl/Copy-v0"])
def test_every_layer_is_recomputed_when_asked(id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a completion is one token, too, of which the prompt alone is read."""
    envs = make_envs(id, 24)
    layers: list[Any] = []
    policy = policies("shared", envs)
    rollout = collect(policy, envs, torch.Generator().manual_seed(3), seed=5)

    def noting(run: Any, *inputs: Any, **_: Any) -> Any:
        layers.append(run)
        return checkpoint(run, *inputs, use_reentrant=False)

    monkeypatch.setattr(module, "checkpoint", noting)
    gradients(policy, rollout)
    assert not layers
    policy.checkpoints_gradients = True
    gradients(policy, rollout)
    assert len(layers) == 2


@PEFT_ASKS
def test_frozen_weights_in_bf16_are_learned_around() -> None:
    """Adapters and the value head stay float32 and have gradients; the model's own weights are bf16 and have none."""
    envs = ENVS["different lengths"]()
    sizes = {"layers": 2, "width": 16, "heads": 2}
    lengths = (envs.prompt_length, envs.completion_length)
    policy = build_policy(envs.tokenizer, *lengths, lora_rank=2, frozen_dtype="bfloat16", value="shared", **sizes)
    rollout = sampled(policy, envs)
    assert gradients(policy, rollout)
    for name, parameter in policy.named_parameters():
        is_trained = "lora" in name or "value_head" in name
        assert parameter.dtype == (torch.float32 if is_trained else torch.bfloat16), name
        assert parameter.requires_grad == is_trained
