"""Whether a model reads prompts of different lengths side by side, in groups, as it reads each alone.

Transformers has a hundred families of language models, whose caches and positions are their own. What is promised for
"any causal language model" is tried on the model itself, with two short prompts, before anything is learned.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlfl_agents.learn.losses import gather_log_probs
from rlfl_agents.model.policy import Policy, attended
from rlfl_envs import ConfigError, Tokenizer

__all__ = ["check_reading"]

_WIDTH, _GROUP, _LENGTH = 5, 2, 3  # tokens of the longer prompt, completions of each, and their tokens, at most
_WHAT_A_MODEL_MAY_RAISE = (
    *(AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError),
)


@torch.no_grad()
def check_reading(policy: Policy, vocabulary: Tokenizer, prompt_length: int, completion_length: int) -> None:
    """Compares sampling and re-evaluation, padded and in groups, with each text alone and unpadded.

    Args:
        policy: With positions of kind "text".
        vocabulary: Its tokens.
        prompt_length: P; prompts and completions are no longer than the environment's.
        completion_length: C.

    Raises:
        ConfigError: They differ, or the model cannot be read so at all; the message names its class.
    """
    name = type(policy.language_model).__name__
    device = next(policy.parameters()).device
    ordinary = [i for i in range(vocabulary.vocab_size) if vocabulary.ordinary[i]][:4]
    begin = [] if policy.bos_id is None else [policy.bos_id]
    width, length = min(_WIDTH, prompt_length), min(_LENGTH, completion_length)
    long = [*begin, *(ordinary * _WIDTH)][:width]
    short = long[: len(begin) + 1]
    prompts = torch.tensor([[policy.pad_id] * (len(long) - len(short)) + short, long], device=device)
    tolerance = 0.01 if next(policy.parameters()).dtype == torch.float32 else 0.25  # nats; bf16 has 8 bits
    try:
        differences = _differences(policy, prompts, length)
        if policy.reader.is_grouped and not max(differences.values()) <= tolerance:  # NaN is none either
            policy.reader.is_grouped = False
            differences = _differences(policy, prompts, length)
    except _WHAT_A_MODEL_MAY_RAISE as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"{name} cannot be a policy: reading padded prompts in groups ends in {type(error).__name__} ({reason})."
        ) from error
    for what, difference in differences.items():
        if not difference <= tolerance:
            raise ConfigError(
                f"{name} cannot be a policy: in {what}, a prompt that is padded beside a longer one gets other "
                f"log-probabilities than alone (by up to {difference:.2g} nats)."
            )


def _differences(policy: Policy, prompts: Tensor, length: int) -> dict[str, float]:
    """How far log-probabilities are, at most, from those of each text alone, in sampling and in re-evaluation."""
    sampled, completions, evaluated = _in_groups(policy, prompts, length)
    seen = attended(prompts, policy.pad_id, policy.bos_id)
    texts = [prompt[sees].tolist() for prompt, sees in zip(prompts, seen, strict=True) for _ in range(_GROUP)]
    alone = torch.cat([_alone(policy, *text) for text in zip(texts, completions, strict=True)])
    found = {"sampling": sampled, "re-evaluation": evaluated}
    return {what: float((log_probs - alone).abs().max()) for what, log_probs in found.items()}


def _in_groups(policy: Policy, prompts: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """The log-probabilities of completions as sampled, float [B, T], the completions, and the same re-evaluated."""
    rows = _GROUP * len(prompts)
    state = policy.start(prompts, rows)
    noise = torch.linspace(0.05, 0.95, rows * length, dtype=torch.float64, device=prompts.device).view(-1, rows)
    if prompts.device.type == "mps":
        noise = noise.float()
    columns = [policy.sample(state, noise[t]) for t in range(length)]
    tokens, log_probs, _ = (torch.stack(each, dim=1) for each in zip(*columns, strict=True))
    log_dist, _ = policy(prompts, tokens)
    return log_probs, tokens, gather_log_probs(log_dist, tokens)


def _alone(policy: Policy, prompt: list[int], completion: Tensor) -> Tensor:
    """The log-probabilities of one completion, float [1, T], from a plain forward pass over the text alone."""
    row = torch.cat([torch.tensor(prompt, device=completion.device), completion])[None]
    logits = policy.model(input_ids=row, use_cache=False).logits[:, len(prompt) - 1 : -1, : policy.vocab_size]
    return gather_log_probs(logits.float().log_softmax(dim=-1), completion[None])
