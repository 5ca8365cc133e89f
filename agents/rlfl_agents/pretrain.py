"""A small language model of a task's own texts, from random weights: something to align where no model can be had.

A GPT-2 learns to continue the texts of the training split (for Sentiment, movie reviews). It is kept in the user's
cache folder, where `model="pretrained"` finds it.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from rlfl_agents.allocator import keep_freed_memory
from rlfl_agents.config import PretrainConfig
from rlfl_agents.environments import held_out_envs
from rlfl_agents.evaluate import evaluate_policy
from rlfl_agents.files import owned, write_text
from rlfl_agents.learn.schedules import scheduled
from rlfl_agents.model.build import build_policy
from rlfl_agents.model.masks import masked_log_dist
from rlfl_agents.model.names import pretrained_folder
from rlfl_agents.model.policy import Policy
from rlfl_agents.model.products import matmul_precision
from rlfl_agents.rollout.processes import is_on_cpu
from rlfl_agents.run.export import export
from rlfl_agents.terminal import say
from rlfl_envs import ConfigError, Task, Tokenizer, check_value, load_task

__all__ = ["PretrainConfig", "pretrain_model"]

_EVAL_WINDOWS = 512


def pretrain_model(config: PretrainConfig, folder: str | Path | None = None, *, quiet: bool = False) -> Path:
    """Trains a model on a task's texts and saves it.

    Args:
        config: The settings.
        folder: Where the model goes; the cache by default. A model that is there already is left as it is.
        quiet: Print nothing.

    Returns:
        The model's folder.

    Raises:
        ConfigError: A setting is wrong, or the task has no texts.
    """
    target = Path(folder) if folder is not None else pretrained_folder(config)
    if not (target / "config.json").exists():
        with owned(target, "output", wait=True):
            if not (target / "config.json").exists():  # another process may have made it meanwhile
                _pretrain(config, target, quiet)
    return target


def _pretrain(config: PretrainConfig, target: Path, quiet: bool) -> None:
    """Trains a model and saves it in a folder that nobody else writes to."""
    if config.threads:
        torch.set_num_threads(config.threads)
    keep_freed_memory()
    accelerator = Accelerator(cpu=is_on_cpu(config.device), mixed_precision=config.mixed_precision)
    torch.manual_seed(config.seed)
    task = load_task(config.env_id, **config.env_kwargs)
    windows = _windows(task, config)
    needed = task.max_prompt_tokens + task.max_completion_tokens
    check_value("context", config.context, config.context >= needed, f"{needed} or more, a prompt and its completion")
    policy = build_policy(
        task.tokenizer,
        config.context,
        0,
        layers=config.layers,
        width=config.width,
        heads=config.heads,
        position_ids="text",
    ).to(accelerator.device)
    with matmul_precision("auto", accelerator.device):
        _learn(policy, windows, config, accelerator, quiet)
    held_out = held_out_envs(config.env_id, 64, **config.env_kwargs)
    with torch.no_grad(), accelerator.autocast(), matmul_precision("auto", accelerator.device):
        unread = _windows(held_out.task, config)[:_EVAL_WINDOWS]
        eval_loss = float(_loss(policy, unread.to(accelerator.device)))
        sampled = evaluate_policy(policy, held_out, 64, greedy=False)
    write_text(target / "pretrain.json", json.dumps(config.to_json(), indent=2) + "\n")
    trained_by = f"supervised learning on {config.tokens} tokens of its texts (held-out loss {eval_loss:.3f})"
    export(policy, held_out, config, target, trained_by, {})
    if not quiet:
        say(f"held-out loss {eval_loss:.3f} nats per token; it continues held-out prompts like this:")
        for sample in sampled.samples[:5]:
            say(f"    {sample.prompt} ->{sample.completion}")
        say(f"saved in {target}")


def _learn(policy: Policy, windows: Tensor, config: PretrainConfig, accelerator: Accelerator, quiet: bool) -> None:
    """Reads `config.tokens` tokens of the windows, int64 [n, context]."""
    optimizer = torch.optim.AdamW(
        policy.parameters(), lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=config.weight_decay, fused=True
    )
    steps = math.ceil(config.tokens / (config.batch_size * config.context))
    rows = _endless_rows(len(windows), steps * config.batch_size, config.seed).view(steps, -1)
    begun = said = time.monotonic()
    for step, chosen in enumerate(rows):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * scheduled("linear", step / steps, warmup=0.05)
        with accelerator.autocast():
            loss = _loss(policy, windows[chosen].to(accelerator.device))
        if not bool(loss.isfinite()):
            raise ConfigError(f"The loss is {float(loss)}; try a lower learning_rate than {config.learning_rate}.")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        if not quiet and (time.monotonic() - said > 10 or step + 1 == steps):
            said = time.monotonic()
            minutes = (said - begun) / 60
            say(f"step {step + 1}/{steps}  loss {float(loss.detach()):.3f}  minutes {minutes:.1f}")


def _windows(task: Task, config: PretrainConfig) -> Tensor:
    """Cuts the task's texts, each with BOS and EOS around it, into pieces: int64 [n, context], right-padded."""
    tokenizer: Tokenizer = task.tokenizer
    bos = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    pieces = []
    for encoding in tokenizer.backend.encode_batch(list(task.corpus()), add_special_tokens=False):
        ids = [*bos, *encoding.ids, tokenizer.eos_id]
        # The last token of a piece is the first of the next: it is predicted in the one, and read in the other.
        pieces += [ids[i : i + config.context] for i in range(0, len(ids) - 1, config.context - 1)]
    if not pieces:
        raise ConfigError(f"env_id={config.env_id!r} has no texts to learn from.")
    windows = np.full((len(pieces), config.context), _PADDING, dtype=np.int64)
    for row, piece in enumerate(pieces):
        windows[row, : len(piece)] = piece
    return torch.from_numpy(windows)


_PADDING = -100  # no token id: PAD may be EOS, which has to be learned


def _endless_rows(count: int, needed: int, seed: int) -> Tensor:
    """Which rows to read, int64 [needed]: all in random order, then all again in another."""
    generator = torch.Generator().manual_seed(seed)
    passes = math.ceil(needed / count)
    return torch.cat([torch.randperm(count, generator=generator) for _ in range(passes)])[:needed]


def _loss(policy: Policy, windows: Tensor) -> Tensor:
    """Mean negative log-likelihood of the next token, nats."""
    inputs, targets = windows[:, :-1].clamp(min=0), windows[:, 1:]
    counts = targets != _PADDING
    logits, _ = policy.read(policy.start(inputs, len(inputs), keep_cache=False), inputs, keep=inputs.shape[1])
    log_probs = masked_log_dist(logits, None, 1.0).gather(2, targets.clamp(min=0)[:, :, None]).squeeze(2)
    return -(log_probs * counts).sum() / counts.sum()
