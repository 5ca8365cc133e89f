"""Every family of causal language models answers alike however it is read, or says that it cannot be a policy.

Tiny shapes from random weights. The truth is a plain forward pass over one text without padding.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from rlfl_agents.learn.losses import gather_log_probs
from rlfl_agents.model.policy import Policy
from rlfl_agents.model.probe import check_reading
from rlfl_envs import ConfigError, Tokenizer, character_tokenizer

VOCABULARY = character_tokenizer("abcdefghij")

_MAMBA: dict[str, Any] = {
    "mamba_n_heads": 4,
    "mamba_d_head": 8,
    "mamba_d_state": 4,
    "mamba_chunk_size": 8,
    "mamba_n_groups": 1,
}
_HEADS = {"linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
_MIXED: dict[str, Any] = {"layer_types": ["linear_attention", "full_attention"]}
_DELTA = _HEADS | _MIXED
_GPT2: dict[str, Any] = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}

# What a family's configuration needs beside SHAPE to be tiny.
FAMILIES: dict[str, dict[str, Any]] = {
    "bamba": _MAMBA | {"attn_layer_indices": [1]},
    "bloom": {"n_layer": 2, "n_head": 2},
    "cohere2": {},
    "deepseek_v3": {"head_dim": 4, "kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4}
    | {"v_head_dim": 8, "n_routed_experts": 2, "n_group": 1, "topk_group": 1, "num_key_value_heads": 2},
    "falcon": {"head_dim": None, "num_kv_heads": 1},
    "falcon_h1": _MAMBA | {"mamba_d_ssm": 32},
    "falcon_mamba": {"state_size": 4},
    "gemma2": {"sliding_window": 4},
    "gemma3_text": {"sliding_window": 4},
    "gpt2": _GPT2,
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "num_layers": 2, "num_heads": 2, "window_size": 4},
    "gpt_neox": {},
    "gpt_oss": {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 4, "rope_parameters": None},
    "gptj": _GPT2 | {"rotary_dim": 4},
    "granite": {},
    "granitemoehybrid": _MAMBA | {"shared_intermediate_size": 16, "layer_types": ["mamba", "attention"]},
    "jamba": {"mamba_d_state": 4, "mamba_dt_rank": 4, "attn_layer_period": 2, "attn_layer_offset": 1}
    | {"expert_layer_period": 2, "expert_layer_offset": 1},
    "lfm2": {"full_attn_idxs": [1]},
    "llama": {},
    "mamba": {"state_size": 4},
    "mamba2": {"state_size": 4, "num_heads": 4, "n_groups": 1, "chunk_size": 8},
    "mistral": {"sliding_window": 4},
    "mixtral": {},
    "mpt": {"d_model": 16, "n_layers": 2, "n_heads": 2, "max_seq_len": 64},
    "olmo2": {},
    "olmo_hybrid": _DELTA,
    "opt": {"ffn_dim": 32, "word_embed_proj_dim": 16},
    "phi": {},
    "phi3": {},
    "qwen2": {},
    "qwen3": {},
    "qwen3_5_text": _DELTA,
    "qwen3_moe": {},
    "qwen3_next": _DELTA,
    "smollm3": {},
    "stablelm": {},
    "starcoder2": {},
    "zamba2": {"mamba_d_state": 4, "n_mamba_heads": 4, "mamba_headdim": 8, "mamba_ngroups": 1, "chunk_size": 8}
    | {"num_key_value_heads": 2, "layers_block_type": ["mamba", "hybrid"], "attention_head_dim": 16},
}

SHAPE: dict[str, Any] = (
    {"vocab_size": 16, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    | {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 64}
    | {"num_experts": 2, "num_local_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16}
    | {"shared_expert_intermediate_size": 16, "first_k_dense_replace": 1}
    | {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
)


def tiny(family: str, **changes: Any) -> PreTrainedModel:
    """A model of a family, with weights large enough that its answers depend on what it has read."""
    torch.manual_seed(0)
    shape = {name: value for name, value in (SHAPE | changes).items() if value is not None}
    model: PreTrainedModel = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **shape)).float()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(5)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_answers_alike_however_it_is_read(family: str) -> None:
    """Sampled in groups beside a longer prompt, re-evaluated, and alone: the same log-probabilities and gradients."""
    model = tiny(family, **FAMILIES[family])
    policy = Policy(model, VOCABULARY)
    check_reading(policy, VOCABULARY, 5, 4)
    prompts = torch.tensor([[0, 0, 0, 1, 5], [1, 5, 7, 6, 9]])
    with torch.no_grad():
        state = policy.start(prompts, 6)
        noise = torch.rand(4, 6, dtype=torch.float64)
        columns = [policy.sample(state, noise[t]) for t in range(4)]
        tokens, sampled, _ = (torch.stack(each, dim=1) for each in zip(*columns, strict=True))
    log_dist, _ = policy(prompts, tokens)
    evaluated = gather_log_probs(log_dist, tokens)
    alone = torch.stack([log_probs_alone(model, prompts[row // 3], tokens[row]) for row in range(6)])
    torch.testing.assert_close(sampled, alone.detach(), atol=1e-5, rtol=0)
    torch.testing.assert_close(evaluated, alone, atol=1e-5, rtol=0)
    assert len({round(float(each), 3) for each in alone.detach().flatten()}) > 12  # they do depend on what was read
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    found, expected = (
        torch.autograd.grad(log_probs.square().sum(), weights, allow_unused=True) for log_probs in (evaluated, alone)
    )
    largest = max(float(each.abs().max()) for each in expected if each is not None)
    for ours, theirs in zip(found, expected, strict=True):
        if theirs is not None:
            torch.testing.assert_close(ours, theirs, atol=1e-5 * largest, rtol=1e-3)


def log_probs_alone(model: PreTrainedModel, prompt: torch.Tensor, completion: torch.Tensor) -> torch.Tensor:
    """Float [T]: one text, without padding, cache or group."""
    prompt = prompt[prompt != VOCABULARY.pad_id]
    logits = model(input_ids=torch.cat([prompt, completion])[None], use_cache=False).logits[0]
    dist = logits[len(prompt) - 1 : -1, : VOCABULARY.vocab_size].float().log_softmax(dim=-1)
    return dist.gather(1, completion[:, None])[:, 0]


@pytest.mark.parametrize(
    ("family", "changes", "reason"),
    [
        ("rwkv", {"attention_hidden_size": 16}, r"RwkvForCausalLM cannot be a policy: its forward pass takes no"),
        ("recurrent_gemma", {"lru_width": 16, "num_hidden_layers": 3}, r"reading padded prompts in groups ends in"),
        ("minimax", _MIXED | {"block_size": 8}, r"MiniMaxForCausalLM cannot be a policy: reading padded prompts"),
    ],
)
def test_what_cannot_be_a_policy_says_why(family: str, changes: dict[str, Any], reason: str) -> None:
    """A state that no cache holds, or none that groups could part."""
    with pytest.raises(ConfigError, match=reason):
        check_reading(Policy(tiny(family, **changes), VOCABULARY), VOCABULARY, 5, 4)


def test_a_model_that_looks_at_padding_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its family: what counts is that the padded prompt is answered otherwise."""
    policy = Policy(tiny("llama"), VOCABULARY)
    policy.reader.is_grouped = False  # a group cache leaves padding out by itself
    backbone = policy.model.base_model
    forward = backbone.forward
    monkeypatch.setattr(backbone, "forward", lambda attention_mask=None, **inputs: forward(**inputs))
    with pytest.raises(ConfigError, match=r"LlamaForCausalLM cannot be a policy: in sampling, a prompt that is padded"):
        check_reading(policy, VOCABULARY, 5, 4)


@pytest.mark.parametrize("vocabulary", [VOCABULARY, character_tokenizer("a")])
@pytest.mark.parametrize("lengths", [(2, 1), (3, 2), (9, 9)])
def test_the_probe_keeps_to_the_environments_columns(vocabulary: Tokenizer, lengths: tuple[int, int]) -> None:
    """A model that has no more positions than the environment asks for, and a vocabulary of one letter."""
    policy = Policy(tiny("gpt2", **_GPT2 | {"n_positions": sum(lengths), "max_position_embeddings": None}), vocabulary)
    check_reading(policy, vocabulary, *lengths)
