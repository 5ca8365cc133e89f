"""PPO from a programmed reward, readable from top to bottom.

Follows Padula & Soemers 2024 (arXiv 2410.17126): clipped policy and value losses, GAE, whitening, a KL penalty to a
frozen reference in the reward, minibatches with a mean ratio above 10 skipped, and batch entropy. What differs:
batch entropy reads every completion position unless told otherwise; several completions per prompt with a group
baseline (RLOO, GRPO) may stand in for the learned value; the entropy coefficients may follow a line or be steered
to a target.

With several processes every rollout is gathered everywhere, all processes choose the same minibatches, and each
takes its share of a minibatch's prompts; the losses are means over the whole minibatch, whoever holds its rows. So
two processes learn what one would.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import math
import random
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from torch import Tensor

from rlfl_agents import advantages, checkpoint, losses
from rlfl_agents.config import PPOConfig
from rlfl_agents.evaluate import evaluate_policy, novelty_hashes
from rlfl_agents.metrics import RunLog, Sample, before_and_after, columns, read_metrics
from rlfl_agents.models import resolve, seen_keys
from rlfl_agents.policy import Policy, build_policy
from rlfl_agents.rollout import Rollout, collect, distinct, gathered, make_envs, reference_log_probs
from rlfl_agents.schedules import Coefficient, KLController, scheduled
from rlfl_envs import ConfigError, RLFLError, TokenVectorEnv

__all__ = ["DivergedError", "PPOConfig", "train"]


class DivergedError(RLFLError):
    """Training ran into a loss or gradient that is not finite or far too large."""


_LARGEST_LOSS = 1e6
_WHAT_TO_TRY = (
    "Training has diverged. Try a lower --learning-rate, a smaller --max-grad-norm, a --target-kl (0.02, say), more "
    "--prompts per update, or --mixed-precision no."
)

# What may change when a run is resumed: how long it goes on and how it is watched, not what is learned.
_MAY_CHANGE = (
    "total_samples",
    "minutes",
    "eval_every",
    "stop_at_success",
    "save_every",
    "keep_last",
    "device",
    "threads",
    "report_to",
)


def train(config: PPOConfig, run_dir: str | Path, *, resume: bool = False, quiet: bool = False) -> dict[str, float]:
    """Trains a policy and leaves a run directory (see metrics.py and checkpoint.py for what is in it).

    Args:
        config: The settings.
        run_dir: Where the run is written. It must not hold a run already, unless `resume` is given.
        resume: Go on from the run's newest checkpoint; from the start where it has none yet.
        quiet: Print nothing.

    Returns:
        The last row of metrics.

    Raises:
        ConfigError: A setting is wrong, or the directory holds another run.
        DivergedError: The loss stopped being finite; the message says what to try. The last checkpoint is left as
            it was.
    """
    run = Path(run_dir)
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.model is not None:
        model_path, env_kwargs = resolve(config.model, config.env_id, config.env_kwargs)
        config = dataclasses.replace(config, model=model_path, env_kwargs=env_kwargs)
    unknown = [name for name in config.report_to if name not in {str(known) for known in get_available_trackers()}]
    if unknown:
        raise ConfigError(f"report_to={unknown[0]!r} is not a tracker that Accelerate knows and finds installed.")
    try:
        accelerator = Accelerator(
            cpu=config.device == "cpu",
            mixed_precision=config.mixed_precision,
            log_with=list(config.report_to) or None,
            project_dir=run,
        )
    except ValueError as error:  # such as: this process has trained in another precision before
        raise ConfigError(f"mixed_precision={config.mixed_precision!r} is not possible here: {error}") from error
    rank, processes, device = accelerator.process_index, accelerator.num_processes, accelerator.device
    if config.prompts % (config.minibatches * config.accumulation * processes):
        raise ConfigError(
            f"prompts={config.prompts} must be a multiple of minibatches * accumulation * {processes} processes."
        )
    checkpoint.check_run(run, config, _MAY_CHANGE, resume)
    accelerator.wait_for_everyone()  # nobody writes before all have looked
    latest = checkpoint.latest(run)
    restored = checkpoint.load(latest) if latest is not None else None
    if restored is not None and len(restored["envs"]) != processes:
        raise ConfigError(
            f"The run was begun with {len(restored['envs'])} processes and cannot go on with {processes}."
        )

    # Everything random comes from here on from these seeds, or from the checkpoint.
    random.seed(config.seed)
    np.random.seed(config.seed)  # noqa: NPY002 -- a model or a task may draw from it
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    rows = config.rows // processes
    envs = make_envs(config.env_id, rows, **config.env_kwargs)
    # Streams are seeded seed, seed + 1, ...: a wide step keeps those of neighbouring seeds apart.
    env_seed: int | None = config.seed * 2**20 + rank * rows
    # Whoever trains on everything is evaluated on everything.
    split = "all" if config.env_kwargs.get("split") == "all" else "test"
    held_out = make_envs(config.env_id, min(config.eval_prompts, 512), **{**config.env_kwargs, "split": split})
    policy = build_policy(
        envs.tokenizer,
        envs.prompt_length,
        envs.completion_length,
        model=config.model,
        layers=config.layers,
        width=config.width,
        heads=config.heads,
        position_ids=config.position_ids,
        value=config.critic if config.advantage == "gae" else "none",
        lora_rank=config.lora_rank,
        lora_alpha=config.lora_alpha,
    )
    reference = None
    if config.kl != "off":  # with adapters, the reference is the same model with the adapters off
        reference = policy if policy.has_adapters else copy.deepcopy(policy).requires_grad_(False).to(device)
    optimizer = torch.optim.AdamW(
        [p for p in policy.parameters() if p.requires_grad],
        lr=config.learning_rate,
        eps=config.adam_eps,
        weight_decay=config.weight_decay,
    )
    model, optimizer = accelerator.prepare(policy, optimizer)
    policy = accelerator.unwrap_model(model)
    kl = KLController(config.kl_coef, config.kl_target if config.kl == "adaptive" else None, config.kl_horizon)
    entropy_coef = Coefficient(
        config.entropy_coef, config.entropy_coef_final, config.entropy_target, config.entropy_rate
    )
    batch_entropy_coef = Coefficient(
        config.batch_entropy_coef, config.batch_entropy_coef_final, config.batch_entropy_target, config.entropy_rate
    )
    done, minutes, best = 0, 0.0, (-1.0, -math.inf)
    seen = seen_keys(config.model, config.env_id) if config.model is not None else set[int]()
    if restored is not None:
        policy.load_state_dict(restored["model"])
        optimizer.load_state_dict(restored["optimizer"])
        if accelerator.scaler is not None:
            accelerator.scaler.load_state_dict(restored["scaler"])
        done, minutes, best = restored["update"], restored["minutes"], tuple(restored["best"])
        seen = set(restored["seen"].tolist())
        kl.coef = restored["kl_coef"]
        entropy_coef.restore(restored["entropy_coef"])
        batch_entropy_coef.restore(restored["batch_entropy_coef"])
        envs.reset(seed=env_seed)
        envs.rng_state, env_seed = checkpoint.to_arrays(restored["envs"][rank]), None
        generator.set_state(restored["generator"])
        checkpoint.restore_random_state(restored["random"])

    updates = range(done + 1, config.updates + 1)
    if restored is not None and (
        (config.minutes is not None and minutes >= config.minutes)
        or (config.stop_at_success is not None and best[0] >= config.stop_at_success)
    ):
        updates = range(0)  # it had come to its end

    log = None
    if accelerator.is_main_process:
        checkpoint.clean(run)
        checkpoint.write_text(run / "config.json", json.dumps(config.to_json(), indent=2) + "\n")
        from_update = done if restored is not None else -1
        log = RunLog(run, columns(envs.task.part_names), config.updates, from_update, quiet=quiet)
    if config.report_to:
        accelerator.init_trackers("rlfl", config={name: str(value) for name, value in config.to_json().items()})
    row: dict[str, float] = {}
    try:
        if done == 0:
            evaluation = _evaluate(policy, reference, held_out, config, seen, accelerator)
            if log is not None:
                log.row({"update": 0, "samples": 0, "prompts": 0, **evaluation.row})
                log.samples(0, "greedy", evaluation.samples)
        for update in updates:
            started = time.perf_counter()
            progress = (update - 1) / config.updates
            learning_rate = config.learning_rate * scheduled(
                config.lr_schedule, progress, config.warmup, config.lr_final
            )
            for group in optimizer.param_groups:
                group["lr"] = learning_rate

            # 1. Sample completions from the frozen policy.
            with accelerator.autocast():
                local = collect(
                    policy,
                    envs,
                    generator,
                    group_size=config.group_size,
                    temperature=config.temperature,
                    seed=env_seed,
                    process=(rank, processes),
                )
                env_seed = None
                if reference is not None:
                    parts = config.minibatches * config.accumulation
                    local.ref_log_probs = reference_log_probs(reference, local, config.temperature, parts)
            asked = [envs.prompt(row) for row in range(0, rows, config.group_size)]
            hashes = accelerator.gather(torch.from_numpy(novelty_hashes(envs.task, asked).copy()).to(device))
            seen.update(hashes.tolist())
            rollout = gathered(local, accelerator)

            # 2. Advantages, from the reward less the KL penalty.
            ref_kl = float(losses.sequence_kl(rollout.log_probs, rollout.ref_log_probs, rollout.active).mean())
            penalty = torch.where(rollout.active, rollout.log_probs - rollout.ref_log_probs, 0.0)
            rewards = rollout.rewards - (kl.coef if reference is not None else 0.0) * penalty
            if config.advantage == "gae":
                rollout.advantages, rollout.returns = advantages.gae(
                    rewards, rollout.values, rollout.active, config.gamma, config.gae_lambda
                )
            else:
                baseline = advantages.rloo if config.advantage == "rloo" else advantages.group_norm
                rollout.advantages = baseline(rewards.sum(dim=1), config.group_size)[:, None] * rollout.active
            if config.whiten:
                rollout.advantages = advantages.whiten(rollout.advantages, rollout.active)

            # 3. Learn from them.
            coefs = entropy_coef.value(progress), batch_entropy_coef.value(progress)
            learn_started = time.perf_counter()
            learned = _improve(model, optimizer, accelerator, config, rollout, generator, *coefs)
            now = time.perf_counter()
            minutes += (now - started) / 60

            # 4. Report.
            row = {
                "update": update,
                "samples": update * config.rows,
                "prompts": update * config.prompts,
                **_rollout_metrics(rollout),
                **learned,
                "ref_kl": ref_kl,
                "kl_coef": kl.coef if reference is not None else 0.0,
                "entropy_coef": coefs[0],
                "batch_entropy_coef": coefs[1],
                "learning_rate": learning_rate,
                "clock/minutes": minutes,
                "clock/sample": local.seconds_model,
                "clock/env": local.seconds_env,
                "clock/learn": now - learn_started,
                "clock/samples_per_second": config.rows / (now - started),
            }
            kl.observe(ref_kl, config.rows)
            entropy_coef.observe(learned["entropy"])
            batch_entropy_coef.observe(learned["batch_entropy"])
            out_of_time = config.minutes is not None and _on_any(minutes >= config.minutes, accelerator)
            is_last = update == config.updates or out_of_time
            samples = list(
                map(
                    Sample,
                    [prompt.text for prompt in asked[:6]],
                    local.completion_texts[:: config.group_size],
                    local.episode_rewards[:: config.group_size].tolist(),
                    local.is_success[:: config.group_size].tolist(),
                )
            )
            if is_last or (config.eval_every and update % config.eval_every == 0):
                evaluation = _evaluate(policy, reference, held_out, config, seen, accelerator)
                row |= evaluation.row
                is_last |= config.stop_at_success is not None and row["eval/success"] >= config.stop_at_success
                is_best = (row["eval/success"], row["eval/reward"]) > best
                best = max(best, (row["eval/success"], row["eval/reward"]))
                if log is not None:
                    log.samples(update, "train", samples)
                    log.samples(update, "greedy", evaluation.samples)
                    if is_best:
                        _export(policy, envs, config, run / "best", row)
            if log is not None:
                log.row(row, samples)
            accelerator.log(row, step=update)
            if is_last or update % config.save_every == 0:
                env_states = accelerator.gather_for_metrics(
                    [checkpoint.to_tensors(envs.rng_state)], use_gather_object=True
                )
                state = {
                    "model": policy.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "scaler": accelerator.scaler.state_dict() if accelerator.scaler is not None else None,
                    "minutes": minutes,
                    "best": list(best),
                    "seen": torch.tensor(sorted(seen), dtype=torch.int64),
                    "kl_coef": kl.coef,
                    "entropy_coef": entropy_coef.state(),
                    "batch_entropy_coef": batch_entropy_coef.state(),
                    "envs": env_states,
                    "generator": generator.get_state(),
                    "random": checkpoint.random_state(),
                }
                if accelerator.is_main_process:  # the checkpoint last: what a kill leaves undone is done on resuming
                    _export(policy, envs, config, run / "policy", row)
                    checkpoint.write_keys(run / "seen_keys.npy", seen)
                    checkpoint.save(run, update, state, config.keep_last)
                accelerator.wait_for_everyone()
            if is_last:
                break
    except DivergedError as error:
        kept = checkpoint.latest(run)
        raise DivergedError(f"{error} The last good checkpoint is kept: {kept or 'none was written yet'}.") from None
    finally:
        if log is not None:
            log.close()
        for tracker in accelerator.trackers:
            tracker.finish()
    if accelerator.is_main_process:
        from rlfl_agents.plot import plot_runs

        plot_runs([run], run / "curves.png")
        if not quiet:
            print(before_and_after(run))
    # A run that was complete already did nothing; its result is the last row it wrote.
    last = {name: column[-1] for name, column in read_metrics(run).items()}
    return row or {name: value for name, value in last.items() if not math.isnan(value)}


def _improve(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
    config: PPOConfig,
    rollout: Rollout,
    generator: torch.Generator,
    entropy_coef: float,
    batch_entropy_coef: float,
) -> dict[str, float]:
    """Takes the optimiser steps of one rollout; returns its metrics, averaged over the minibatches."""
    rank, processes = accelerator.process_index, accelerator.num_processes
    sum_across = _sum_across(accelerator)
    tokens = rollout.active.reshape(len(rollout.prompts), -1).sum(dim=1).cpu().double()  # active tokens of each group
    totals: dict[str, float] = defaultdict(float)
    steps, micro_batches, skipped, counted, grad_norms = 0, 0, 0, 0.0, 0.0
    stop = False
    for _ in range(config.epochs):
        order = torch.randperm(len(rollout.prompts), generator=generator)
        for minibatch in order.chunk(config.minibatches):
            micros = minibatch.chunk(config.accumulation)
            skipped_before, approx_kl = skipped, 0.0
            for i, micro in enumerate(micros):
                part = rollout.take(micro[rank::processes].to(accelerator.device))
                weight = float(tokens[micro].sum() / tokens[minibatch].sum())
                with contextlib.nullcontext() if i == len(micros) - 1 else accelerator.no_sync(model):
                    log_dist, values = model(part.prompts, part.completions, part.masks, config.temperature)
                    values = values.repeat_interleave(len(part.completions) // len(values), dim=0)
                    log_probs = losses.gather_log_probs(log_dist, part.completions)
                    policy = losses.clipped_policy_loss(
                        log_probs, part.log_probs, part.advantages, part.active, config.clip_range, sum_across
                    )
                    entropy = losses.entropies(log_dist, part.active, config.batch_entropy_positions, sum_across)
                    loss = policy.loss - entropy_coef * entropy.token - batch_entropy_coef * entropy.batch
                    value_loss = torch.zeros_like(loss)
                    if config.advantage == "gae":
                        value_loss = losses.clipped_value_loss(
                            values, part.values, part.returns, part.active, config.value_clip, sum_across
                        )
                        loss = loss + config.vf_coef * value_loss
                    measured = {
                        "loss": loss,
                        "policy_loss": policy.loss,
                        "value_loss": value_loss,
                        "entropy": entropy.token,
                        "batch_entropy": entropy.batch,
                        "batch_max_action": entropy.batch_max_action,
                        "approx_kl": policy.approx_kl,
                        "clip_fraction": policy.clip_fraction,
                        "ratio_mean": policy.ratio_mean,
                    }
                    numbers = dict(zip(measured, torch.stack([*measured.values()]).tolist(), strict=True))
                    micro_batches += 1
                    if numbers["ratio_mean"] > config.ratio_threshold:
                        skipped += 1
                        loss = 0.0 * (log_probs.sum() + values.sum())  # processes still have to meet in backward
                    elif not abs(numbers["loss"]) < _LARGEST_LOSS:
                        raise DivergedError(f"The loss is {numbers['loss']}. {_WHAT_TO_TRY}")
                    else:
                        counted += weight
                        for name, number in numbers.items():
                            totals[name] += weight * number
                    # DistributedDataParallel averages what has to be summed.
                    accelerator.backward(loss * weight * processes)
                approx_kl += weight * numbers["approx_kl"]
            stop = config.target_kl is not None and steps > 0 and approx_kl > 1.5 * config.target_kl
            if stop:
                optimizer.zero_grad()
                break
            if skipped - skipped_before == len(micros):
                optimizer.zero_grad()
                continue
            grad_norm = float(accelerator.clip_grad_norm_(model.parameters(), config.max_grad_norm))
            if (
                not math.isfinite(grad_norm) and accelerator.scaler is None
            ):  # in fp16 the scaler skips such steps by itself
                raise DivergedError(f"The gradient's norm is {grad_norm}. {_WHAT_TO_TRY}")
            grad_norms += grad_norm
            optimizer.step()
            optimizer.zero_grad()
            steps += 1
        if stop:
            break
    if not steps:
        raise DivergedError(f"Every minibatch had a mean ratio above {config.ratio_threshold}. {_WHAT_TO_TRY}")
    averages = {name: total / counted for name, total in totals.items()}
    return averages | {"grad_norm": grad_norms / steps, "skipped": skipped / micro_batches, "minibatches": steps}


class _Evaluated(NamedTuple):
    row: dict[str, float]
    samples: list[Sample]


def _evaluate(
    policy: Policy,
    reference: Policy | None,
    held_out: TokenVectorEnv,
    config: PPOConfig,
    seen: set[int],
    accelerator: Accelerator,
) -> _Evaluated:
    """Plays the held-out prompts, greedily and sampled; every process does the same."""
    keys = np.fromiter(seen, dtype=np.int64, count=len(seen))
    with accelerator.autocast():
        greedy = evaluate_policy(policy, held_out, config.eval_prompts, seen=keys)
        sampled = evaluate_policy(
            policy,
            held_out,
            config.eval_prompts,
            greedy=False,
            temperature=config.temperature,
            reference=reference,
        )
    row = {
        "eval/success": greedy.success.mean,
        "eval/success_low": greedy.success.low,
        "eval/success_high": greedy.success.high,
        "eval/reward": greedy.reward,
        "eval/sampled_success": sampled.success.mean,
        "eval/sampled_reward": sampled.reward,
        "eval/sampled_distinct_1": sampled.distinct_1,
        "eval/sampled_distinct_2": sampled.distinct_2,
        "eval/sampled_ref_kl": float(sampled.ref_kl.mean()),
        "eval/unseen_n": greedy.unseen.n,
    }
    if greedy.unseen.n:
        row["eval/unseen_success"] = greedy.unseen.mean
    return _Evaluated(row, greedy.samples[:8])


def _sum_across(accelerator: Accelerator) -> Callable[[Tensor], Tensor]:
    """Adds up over processes; the gradient is that of the own share (see losses.py)."""
    if accelerator.num_processes == 1:
        return lambda tensor: tensor
    return lambda tensor: tensor + (accelerator.reduce(tensor.detach().clone(), "sum") - tensor.detach())


def _on_any(flag: bool, accelerator: Accelerator) -> bool:
    """Whether a flag is set on any process: clocks differ, and all must stop together."""
    return bool(accelerator.gather(torch.tensor([float(flag)], device=accelerator.device)).max() > 0)


def _rollout_metrics(rollout: Rollout) -> dict[str, float]:
    episode_rewards = rollout.episode_rewards
    unexplained = (rollout.returns - rollout.values)[rollout.active].var(correction=0)
    spread = rollout.returns[rollout.active].var(correction=0)
    return {
        "reward": float(episode_rewards.mean()),
        "reward_std": float(episode_rewards.std(correction=0)),
        "success": float(rollout.is_success.float().mean()),
        "length": float(rollout.active.sum() / len(rollout.active)),
        "distinct_1": distinct(rollout.completions, rollout.active, 1),
        "distinct_2": distinct(rollout.completions, rollout.active, 2),
        "explained_variance": float(1 - unexplained / spread) if spread > 0 else 0.0,
        **{f"part/{name}": float(part.mean()) for name, part in rollout.parts.items()},
    }


def _export(policy: Policy, envs: TokenVectorEnv, config: PPOConfig, folder: Path, row: dict[str, float]) -> None:
    """Saves the policy in Hugging Face form with a model card."""
    facts = {
        "env_id": config.env_id,
        "env_kwargs": config.env_kwargs,
        "prompt_length": envs.prompt_length,
        "completion_length": envs.completion_length,
        "temperature": config.temperature,
        "trained_by": f"reinforcement learning from a programmed reward on {row['samples']} completions",
    }
    checkpoint.export(policy, envs.tokenizer, folder, facts, row)
