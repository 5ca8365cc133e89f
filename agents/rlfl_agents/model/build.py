"""Making policies: from random weights, from a folder, or from a Hugging Face name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel, PreTrainedModel
from transformers.utils import logging as hf_logging

from rlfl_agents.model.adapters import with_adapters
from rlfl_agents.model.policy import Policy, PositionKind, ValueKind
from rlfl_agents.model.probe import check_reading
from rlfl_agents.model.reading import FIELD
from rlfl_agents.model.weights import check_weights
from rlfl_envs import ConfigError, Tokenizer

__all__ = ["build_policy", "no_progress_bar"]


def build_policy(
    vocabulary: Tokenizer,
    prompt_length: int,
    completion_length: int,
    *,
    model: str | None = None,
    layers: int = 2,
    width: int = 64,
    heads: int = 4,
    position_ids: Literal["auto", "columns", "places", "text"] = "auto",
    value: ValueKind = "none",
    lora_rank: int = 0,
    lora_alpha: int = 16,
    frozen_dtype: Literal["float32", "bfloat16"] = "float32",
    gradient_checkpointing: bool = False,
) -> Policy:
    """Makes a policy, from random weights or from a saved model.

    Args:
        vocabulary: The environment's tokenizer.
        prompt_length: P.
        completion_length: C.
        model: A Hugging Face name or a folder; None builds a GPT-2 of the given size from random weights.
        layers: Transformer blocks, from scratch only.
        width: Hidden size, from scratch only; a multiple of `heads`.
        heads: Attention heads, from scratch only.
        position_ids: See `Policy`; "auto" is "columns" from scratch, what the model was trained with where this
            library saved it, and "text" for other models.
        value: See `Policy`.
        lora_rank: Trains LoRA adapters of this rank instead of all weights; 0 for none.
        lora_alpha: The adapters' scale is lora_alpha / lora_rank.
        frozen_dtype: Of weights that are not trained; adapters are float32 always.
        gradient_checkpointing: Keep the layers' inputs alone for the gradient, and run them again.

    Raises:
        ConfigError: The model cannot be loaded, has another vocabulary, too short a context, or is of a family that
            cannot be read in groups of padded prompts.
    """
    if model is None:
        positions = (FIELD if position_ids == "places" else 1) * prompt_length + completion_length
        language_model = _from_scratch(vocabulary, positions, layers, width, heads)
    else:
        language_model = _load(model, vocabulary, getattr(torch, frozen_dtype))
    config: Any = language_model.config.get_text_config()
    kind: PositionKind
    if position_ids == "auto":
        kind = getattr(config, "rlfl_position_ids", "text" if model else "columns")
    else:
        kind = position_ids
    trained_length = getattr(config, "rlfl_prompt_length", None) or prompt_length
    end_of_prompt = {"text": prompt_length, "columns": trained_length, "places": FIELD * trained_length}[kind]
    first_position = end_of_prompt - prompt_length
    context = getattr(config, "max_position_embeddings", None)
    is_too_long = kind != "text" and prompt_length > trained_length
    if is_too_long or (context is not None and first_position + prompt_length + completion_length > context):
        raise ConfigError(
            f"model={model!r} has a context of {context} tokens, {trained_length} of them for the prompt; the "
            f"environment needs {prompt_length} for the prompt and {completion_length} for the completion."
        )
    config.rlfl_position_ids, config.rlfl_prompt_length = kind, trained_length  # saved with the model
    if frozen_dtype == "bfloat16":
        language_model.bfloat16()
    if lora_rank:
        language_model = with_adapters(language_model, lora_rank, lora_alpha)
    policy = Policy(language_model, vocabulary, value=value, position_ids=kind, first_position=first_position)
    policy.checkpoints_gradients = gradient_checkpointing
    if model is not None and kind == "text":
        check_reading(policy, vocabulary, prompt_length, completion_length)
    return policy


def _from_scratch(vocabulary: Tokenizer, context: int, layers: int, width: int, heads: int) -> PreTrainedModel:
    """A GPT-2 with random weights."""
    if width % heads:
        raise ConfigError(f"width={width} must be a multiple of heads={heads}.")
    config = GPT2Config(
        vocab_size=vocabulary.vocab_size,
        n_positions=context,
        n_embd=width,
        n_layer=layers,
        n_head=heads,
        activation_function="relu",  # GPT-2's own costs a third of a small model's time on a CPU
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=vocabulary.bos_id,
        eos_token_id=vocabulary.eos_id,
        pad_token_id=vocabulary.pad_id,
    )
    return GPT2LMHeadModel(config)


@contextlib.contextmanager
def no_progress_bar() -> Iterator[None]:
    """Transformers draws a bar for every model that it reads or writes, over whatever the terminal shows."""
    was_enabled = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            hf_logging.enable_progress_bar()


def _load(name: str, vocabulary: Tokenizer, dtype: torch.dtype) -> PreTrainedModel:
    if Path(name).is_dir():
        check_weights(Path(name))
    try:
        with no_progress_bar():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                name, dtype=dtype, trust_remote_code=False, use_safetensors=True, output_loading_info=True
            )
    except Exception as error:
        reason = " ".join(str(error).split())[:500]
        raise ConfigError(f"model={name!r} holds no causal language model that can be read ({reason}).") from error
    model: PreTrainedModel = loaded[0]
    info: dict[str, Any] = loaded[1]
    if info["missing_keys"]:
        raise ConfigError(f"model={name!r} lacks weights, such as {min(info['missing_keys'])}: they would be random.")
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, KeyError):
        return model  # a model saved without a tokenizer: nothing to compare
    if len(tokenizer) == len(tokenizer.all_special_ids):
        return model  # likewise: Transformers has made one up
    theirs = tokenizer.get_vocab()
    differing = [token for token, i in vocabulary.backend.get_vocab().items() if theirs.get(token) != i]
    if differing:
        raise ConfigError(
            f"model={name!r} was trained with another vocabulary than the environment's (they differ in the token "
            f"{differing[0]!r}). Give the environment the model's: --env-kwargs vocabulary={name}"
        )
    return model
