"""Supervised warm start: imitate a stated number of reference completions before reinforcement learning begins.

The paper trains its arithmetic policy so, on 256 (or 131,072) derivations. What comes out is a folder in Hugging
Face form that `rlfl train ID --model FOLDER` goes on from.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from rlfl_agents.allocator import keep_freed_memory
from rlfl_agents.config import SFTConfig
from rlfl_agents.environments import held_out_envs, make_envs
from rlfl_agents.evaluate import evaluate_policy, evaluation_row, novelty_hashes
from rlfl_agents.files import owned, write_text
from rlfl_agents.model.build import build_policy
from rlfl_agents.model.masks import masked_log_dist
from rlfl_agents.model.names import resolve, seen_keys
from rlfl_agents.model.policy import Policy
from rlfl_agents.model.products import matmul_precision
from rlfl_agents.rollout.processes import is_on_cpu
from rlfl_agents.run.checkpoint import write_keys
from rlfl_agents.run.export import export
from rlfl_agents.run.seen import SeenKeys
from rlfl_agents.terminal import say
from rlfl_envs import ConfigError, TokenVectorEnv

__all__ = ["SFTConfig", "warm_start"]


def warm_start(config: SFTConfig, folder: str | Path, *, quiet: bool = False) -> dict[str, float]:
    """Trains on reference completions and saves the model.

    Args:
        config: The settings.
        folder: Where the model goes; it must not hold one already.
        quiet: Print nothing.

    Returns:
        The last epoch's `loss` (nats per token), and the columns that an evaluation on held-out prompts fills (see
        EVAL_METRICS in metrics.py).

    Raises:
        ConfigError: A setting is wrong, the folder is taken, or the task has no reference completions.
    """
    target = Path(folder)
    with owned(target, "output"):
        if (target / "config.json").exists():
            raise ConfigError(f"output={str(target)!r} already holds a model; choose another folder.")
        return _warm_start(config, target, quiet)


def _warm_start(config: SFTConfig, target: Path, quiet: bool) -> dict[str, float]:
    """Trains a model and saves it in a folder that nobody else writes to."""
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.model is not None:
        model, env_kwargs = resolve(config.model, config.env_id, config.env_kwargs)
        config = dataclasses.replace(config, model=model, env_kwargs=env_kwargs)
    keep_freed_memory()
    accelerator = Accelerator(cpu=is_on_cpu(config.device))
    torch.manual_seed(config.seed)
    envs = make_envs(config.env_id, config.examples, **config.env_kwargs)
    tokens, counts = _examples(envs, config)
    policy = build_policy(
        envs.tokenizer,
        envs.prompt_length,
        envs.completion_length,
        model=config.model,
        layers=config.layers,
        width=config.width,
        heads=config.heads,
        position_ids=config.position_ids,
    ).to(accelerator.device)
    examples = tokens.to(accelerator.device), counts.to(accelerator.device)
    held_out = held_out_envs(config.env_id, min(config.eval_prompts, 512), **config.env_kwargs)
    with matmul_precision("auto", accelerator.device):
        loss = _imitate(policy, *examples, envs.prompt_length, config, quiet)
        greedy = evaluate_policy(policy, held_out, config.eval_prompts)
        sampled = evaluate_policy(policy, held_out, config.eval_prompts, greedy=False)
    row = {"loss": loss, **evaluation_row(greedy, sampled)}
    seen = SeenKeys(seen_keys(config.model, config.env_id) if config.model is not None else None)
    seen.update(novelty_hashes(envs.task, envs.prompts))
    write_keys(target / "seen_keys.npy", seen.array())
    write_text(target / "sft.json", json.dumps(config.to_json(), indent=2) + "\n")
    trained_by = f"supervised learning on {config.examples} reference completions"
    export(policy, envs, config, target, trained_by, row)
    if not quiet:
        say(f"held-out success {greedy.success}, sampled {sampled.success}\nsaved in {target}")
    return row


def _imitate(policy: Policy, tokens: Tensor, counts: Tensor, width: int, config: SFTConfig, quiet: bool) -> float:
    """Passes over the examples (see `_examples`), P = `width`; returns the last pass's loss, nats per token."""
    generator = torch.Generator().manual_seed(config.seed)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=config.learning_rate, weight_decay=0.0, fused=True)
    batches = -(-config.examples // config.batch_size)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=config.epochs * batches)
    mean = 0.0
    for epoch in range(config.epochs):
        loss_sum = weight_sum = 0.0
        for rows in torch.randperm(config.examples, generator=generator).split(config.batch_size):
            rows = rows.to(tokens.device)
            log_probs = _log_probs(policy, tokens[rows], width)
            weight = counts[rows, -log_probs.shape[1] :]
            loss = -(log_probs * weight).sum() / weight.sum()
            if not bool(loss.isfinite()):
                raise ConfigError(f"The loss is {float(loss)}; try a lower learning_rate than {config.learning_rate}.")
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            loss_sum += float(loss.detach() * weight.sum())
            weight_sum += float(weight.sum())
        mean = loss_sum / weight_sum
        if not quiet and (epoch + 1) % max(1, config.epochs // 10) == 0:
            say(f"epoch {epoch + 1}/{config.epochs}  loss {mean:.4f}")
    return mean


def _log_probs(policy: Policy, tokens: Tensor, width: int) -> Tensor:
    """Those of all tokens [n, P + C] but the first that is read in any row: float [n, L], the last L columns."""
    state = policy.start(tokens[:, :width], len(tokens), keep_cache=False)
    inputs, targets = tokens[:, state.cut : -1], tokens[:, state.cut + 1 :]
    logits, _ = policy.read(state, inputs, keep=inputs.shape[1])
    return masked_log_dist(logits, None, 1.0).gather(2, targets[:, :, None]).squeeze(2)


def _examples(envs: TokenVectorEnv, config: SFTConfig) -> tuple[Tensor, Tensor]:
    """Prompts with their references as the environment would show them.

    Returns:
        Token ids, int64 [examples, P + C], and which of them the loss counts, bool of the same shape.
    """
    observation, _ = envs.reset(seed=config.seed * 2**20)
    width, pad_id = envs.prompt_length, envs.tokenizer.pad_id
    tokens = np.array(observation)
    counts = np.zeros(tokens.shape, dtype=np.bool_)
    if config.prompt_loss:
        # From the second token of the text on: the first has nothing before it to be predicted from.
        counts[:, :width] = (tokens[:, :width] != pad_id).cumsum(axis=1) > 1
    rng = np.random.default_rng(config.seed)
    for row, prompt in enumerate(envs.prompts):
        reference = envs.task.reference_completion(prompt, rng)
        if reference is None:
            raise ConfigError(f"env_id={config.env_id!r} has no reference completions to imitate.")
        written = envs.tokenizer.encode(reference)
        if len(written) > envs.completion_length:
            raise ConfigError(
                f"max_completion_tokens={envs.completion_length} is not allowed; allowed: {len(written)} or more, "
                f"which the reference of {prompt.text!r} takes."
            )
        ids = [*written, envs.tokenizer.eos_id][: envs.completion_length]
        tokens[row, width : width + len(ids)] = ids
        counts[row, width : width + len(ids)] = True
    return torch.from_numpy(tokens), torch.from_numpy(counts)
