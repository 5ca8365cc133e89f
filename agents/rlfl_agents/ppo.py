"""PPO from a programmed reward: sample, compare, learn, report, save.

Follows Padula & Soemers 2024 (arXiv 2410.17126): clipped policy and value losses, GAE, whitening, a KL penalty to a
frozen reference in the reward, minibatches with a mean ratio above 10 skipped, and batch entropy. What differs:
batch entropy reads every completion position unless told otherwise; several completions per prompt with a group
baseline (RLOO, GRPO) may stand in for the learned value; the entropy coefficients may follow a line or be steered
to a target.

With several processes every rollout is gathered everywhere, and two processes learn what one would (see update.py).
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from rlfl_agents.allocator import keep_freed_memory
from rlfl_agents.config import PPOConfig
from rlfl_agents.environments import held_out_envs, make_envs
from rlfl_agents.evaluate import Evaluation, evaluate_policy, evaluation_row, novelty_hashes
from rlfl_agents.files import owned
from rlfl_agents.learn.schedules import Coefficient, KLController
from rlfl_agents.model.build import build_policy
from rlfl_agents.model.kernels import fuse
from rlfl_agents.model.names import resolve, seen_keys, with_own_vocabulary
from rlfl_agents.model.policy import Policy
from rlfl_agents.model.products import matmul_precision
from rlfl_agents.model.recorded import RecordedPasses, RecordedSteps
from rlfl_agents.rollout.batch import compare
from rlfl_agents.rollout.collect import collect, reference_log_probs
from rlfl_agents.rollout.processes import (
    gathered,
    gathered_columns,
    largest,
    make_accelerator,
    place,
    prepared,
)
from rlfl_agents.rollout.refill import refilled
from rlfl_agents.rollout.rollout import Rollout
from rlfl_agents.rollout.sampler import Sampler
from rlfl_agents.rollout.successes import Successes
from rlfl_agents.run import checkpoint, plot
from rlfl_agents.run.export import export
from rlfl_agents.run.log import Log, RunLog
from rlfl_agents.run.metrics import Sample, columns, read_metrics
from rlfl_agents.run.report import COLLAPSED, batch_metrics, before_and_after, has_collapsed
from rlfl_agents.run.seen import SeenKeys
from rlfl_agents.run.signals import StoppedError, noted
from rlfl_agents.run.state import TrainState
from rlfl_agents.terminal import say
from rlfl_agents.update import DivergedError, improve
from rlfl_envs import ConfigError, TokenVectorEnv

__all__ = ["DivergedError", "PPOConfig", "train"]


def train(config: PPOConfig, run_dir: str | Path, *, resume: bool = False, quiet: bool = False) -> dict[str, float]:
    """Trains a policy and leaves a run directory (see log.py and checkpoint.py for what is in it).

    Args:
        config: The settings.
        run_dir: Where the run is written. It must not hold a run already, unless `resume` is given.
        resume: Go on from the run's newest checkpoint; from the start where it has none yet.
        quiet: Print nothing.

    Returns:
        The last row of metrics.

    Raises:
        ConfigError: A setting is wrong, or the directory holds another run, or another process writes to it.
        DivergedError: The loss stopped being finite; the message says what to try, and which checkpoint is kept.
        OSError: Something could not be written; the message names it, and which checkpoint is kept.
        StoppedError: Ctrl-C or SIGTERM stopped the run after an update, and it was saved. A second Ctrl-C ends at once.
    """
    with _begun(config, Path(run_dir), resume, quiet) as run, noted(quiet) as came:
        config, state, log = run.config, run.state, run.log
        row: dict[str, float] = {}
        stopped = 0
        if state.update == 0:
            evaluation, found = _evaluate(run)
            log.row({"update": 0, "samples": 0, "prompts": 0, **found})
            log.samples(0, "greedy", evaluation.samples[:8])
        for update in _updates_left(config, state):
            started = time.perf_counter()
            rates = state.rates(config)

            # 1. Sample completions from the frozen policy.
            rollout, ref_log_probs, local = _sample(run)

            # 2. Compare each with what was expected, from the reward less the KL penalty.
            batch = compare(rollout, ref_log_probs, rates.kl_coef, config)

            # 3. Learn from the comparison.
            sampled = time.perf_counter()
            learned = improve(config, state, batch, rates)
            now = time.perf_counter()
            row = {
                "update": update,
                "samples": update * config.rows + state.refilled,
                "prompts": update * config.prompts + state.refilled // config.group_size,
                **batch_metrics(batch),
                **state.sampler.metrics,
                **learned,
                **rates._asdict(),
                "clock/minutes": state.minutes + (now - started) / 60,
                "clock/sample": local.seconds_model,
                "clock/env": local.seconds_env,
                "clock/learn": now - sampled,
                "clock/samples_per_second": config.rows / (now - started),
            }
            state.observe(row, config.rows)

            # 4. Report.
            is_last = update == config.updates or _is_out_of_time(run)
            samples = _samples(run, local)
            if has_collapsed(batch, row["batch_max_action"]):
                log.note(COLLAPSED)
            if is_last or (config.eval_every and update % config.eval_every == 0):
                evaluation, found = _evaluate(run)
                row |= found
                has_succeeded = config.stop_at_success is not None and row["eval/success"] >= config.stop_at_success
                is_last |= bool(largest(has_succeeded, state.accelerator))
                log.samples(update, "train", samples)
                log.samples(update, "greedy", evaluation.samples[:8])
                if largest(state.is_best(row), state.accelerator):
                    _export(run, "best", row)
            log.row(row, samples)
            state.accelerator.log(row, step=update)

            # 5. Save.
            stopped = largest(came.number, state.accelerator)
            if is_last or stopped or update % config.save_every == 0:
                _save(run, row)
            if is_last or stopped:
                break
        return _end(run, row, stopped)


class _Run(NamedTuple):
    """What a run works with.

    Attributes:
        config: Its settings; the model's vocabulary is among the environment's arguments.
        folder: Its directory.
        quiet: Whether to print nothing.
        state: What it learns, counts and draws from.
        reference: The frozen model it started from, or the policy itself where it has adapters; None without a penalty.
        held_out: The environments for evaluations.
        log: Where its numbers go.
    """

    config: PPOConfig
    folder: Path
    quiet: bool
    state: TrainState
    reference: Policy | None
    held_out: TokenVectorEnv
    log: Log


@contextlib.contextmanager
def _begun(config: PPOConfig, folder: Path, resume: bool, quiet: bool) -> Iterator[_Run]:
    """Makes everything that a run needs, or restores it from the newest whole checkpoint; closes it at the end."""
    if config.threads:
        torch.set_num_threads(config.threads)
    keep_freed_memory()
    config, model = _resolved(config, folder, resume)
    accelerator = make_accelerator(config, folder)
    with _owned(folder, accelerator):
        run = _made(config, model, folder, resume, quiet, accelerator)
        try:
            with matmul_precision(config.matmul_precision, run.state.accelerator.device):
                yield run
        except (DivergedError, OSError) as error:
            kept = checkpoint.latest(folder)
            raise type(error)(f"{error} The last good checkpoint is kept: {kept or 'none was written yet'}.") from error
        finally:
            run.log.close()
            for tracker in accelerator.trackers:
                tracker.finish()


@contextlib.contextmanager
def _owned(folder: Path, accelerator: Accelerator) -> Iterator[None]:
    """Keeps other runs out of a folder. The main process does so for all, and all fail where it cannot."""
    failure = None
    with contextlib.ExitStack() as held:
        if accelerator.is_main_process:
            try:
                held.enter_context(owned(folder, "run_dir"))
            except (ConfigError, OSError) as error:
                failure = error
        if largest(failure is not None, accelerator):
            raise failure or ConfigError(f"run_dir={str(folder)!r} cannot be had; the main process says why.")
        yield


def _made(
    config: PPOConfig, model: str | None, folder: Path, resume: bool, quiet: bool, accelerator: Accelerator
) -> _Run:
    """Makes what a run works with, as it begins or as its checkpoint says."""
    checkpoint.check_run(folder, config, resume)
    accelerator.wait_for_everyone()  # nobody writes before all have looked

    # Everything random comes from here on from these seeds, or from the checkpoint.
    random.seed(config.seed)
    np.random.seed(config.seed)  # noqa: NPY002 -- a model or a task may draw from it
    torch.manual_seed(config.seed)
    env_kwargs = with_own_vocabulary(config.env_id, config.env_kwargs, folder / "policy")
    envs = make_envs(config.env_id, config.rows // accelerator.num_processes, **env_kwargs)
    held_out = held_out_envs(config.env_id, min(config.eval_prompts, 512), **env_kwargs)
    policy = _policy(config, model, envs)
    if accelerator.device.type == "cuda":
        fuse(policy, autocast=config.mixed_precision != "no")
    reference = None
    if config.kl != "off":  # with adapters, the reference is the same model with the adapters off
        reference = policy
        if not policy.has_adapters:
            reference = place(copy.deepcopy(policy).requires_grad_(False), accelerator, config.shard)
    state = _state(config, policy, envs, accelerator)
    said = checkpoint.restore(folder, state.load_state_dict)

    log = Log()
    if accelerator.is_main_process:
        checkpoint.begin(folder, config, state.update)
        names = columns(envs.task.part_names, state.sampler.names, envs.completion_length)
        log = RunLog(folder, names, config.updates, state.update or -1, quiet, config.minutes)
    for text in said:
        log.note(text)
    if config.report_to:
        accelerator.init_trackers("rlfl", config={name: str(value) for name, value in config.to_json().items()})
    return _Run(config, folder, quiet, state, reference, held_out, log)


def _resolved(config: PPOConfig, folder: Path, resume: bool) -> tuple[PPOConfig, str | None]:
    """The settings with the model's full name and its vocabulary, and where the model is.

    A run that goes on needs it only for its shape, which the run's own policy has too; but a reference has its weights.
    """
    if config.model is None:
        return config, None
    try:
        model, env_kwargs = resolve(config.model, config.env_id, config.env_kwargs)
    except ConfigError:
        own = folder / "policy"
        has_shape = resume and checkpoint.latest(folder) is not None and (own / "config.json").exists()
        if not has_shape or (config.kl != "off" and not config.lora_rank):
            raise
        begun = PPOConfig.read(folder / "config.json")  # where the model's vocabulary was added
        return dataclasses.replace(config, env_kwargs=begun.env_kwargs | config.env_kwargs), str(own)
    return dataclasses.replace(config, model=model, env_kwargs=env_kwargs), model


def _policy(config: PPOConfig, model: str | None, envs: TokenVectorEnv) -> Policy:
    """The policy that training begins with, from where `_resolved` has found the model."""
    return build_policy(
        envs.tokenizer,
        envs.prompt_length,
        envs.completion_length,
        model=model,
        layers=config.layers,
        width=config.width,
        heads=config.heads,
        position_ids=config.position_ids,
        value=config.critic if config.advantage == "gae" else "none",
        lora_rank=config.lora_rank,
        lora_alpha=config.lora_alpha,
        frozen_dtype=config.frozen_dtype,
        gradient_checkpointing=config.gradient_checkpointing,
    )


def _state(config: PPOConfig, policy: Policy, envs: TokenVectorEnv, accelerator: Accelerator) -> TrainState:
    """The state of a run that has not learned anything yet."""
    on_cuda = accelerator.device.type == "cuda"
    policy = place(policy, accelerator, config.shard)
    if on_cuda and config.cuda_graphs and policy.shards is None:  # gathered weights lie elsewhere each time
        policy.recorded = RecordedSteps()
        policy.passes = RecordedPasses() if accelerator.num_processes == 1 else None
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(
        [p for p in policy.parameters() if p.requires_grad],
        lr=config.learning_rate,
        eps=config.adam_eps,
        weight_decay=config.weight_decay,
        fused=True,
    )
    model, optimizer = prepared(policy, optimizer, accelerator)
    return TrainState(
        accelerator,
        model,
        optimizer,
        envs,
        Sampler(config, envs.task),
        torch.Generator().manual_seed(config.seed),
        KLController(config.kl_coef, config.kl_target if config.kl == "adaptive" else None, config.kl_horizon),
        Coefficient(config.entropy_coef, config.entropy_coef_final, config.entropy_target, config.entropy_rate),
        Coefficient(
            config.batch_entropy_coef,
            config.batch_entropy_coef_final,
            config.batch_entropy_target,
            config.entropy_rate,
        ),
        SeenKeys(seen_keys(config.model, config.env_id) if config.model is not None else None),
        Successes(config.imitation_kept if config.imitation_coef else 0, envs.prompt_length, envs.completion_length),
    )


def _updates_left(config: PPOConfig, state: TrainState) -> range:
    """The updates that are still to be made: none where a resumed run had come to its end."""
    has_run = state.update > 0
    is_out_of_time = config.minutes is not None and state.minutes >= config.minutes
    has_succeeded = config.stop_at_success is not None and state.best[0] >= config.stop_at_success
    if has_run and (is_out_of_time or has_succeeded):
        return range(0)
    return range(state.update + 1, config.updates + 1)


def _sample(run: _Run) -> tuple[Rollout, Tensor, Rollout]:
    """Returns what all processes sampled, its log-probabilities under the reference, and this process's latest part."""
    config, state = run.config, run.state
    rollout, ref_log_probs, local = _play(run, is_first=state.update == 0)
    for _ in range(config.refill):
        if not bool(rollout.is_flat.any()):
            break
        more, _, latest = _play(run, is_more=True)
        local = latest.after(local)
        rollout = refilled(rollout, more)
        ref_log_probs = rollout.log_probs  # with a reference nothing is refilled
        state.refilled += config.rows
    state.successes.add(rollout)
    return rollout, ref_log_probs, local


def _play(run: _Run, *, is_first: bool = False, is_more: bool = False) -> tuple[Rollout, Tensor, Rollout]:
    """Plays one batch of prompts; the first of a run seeds the environments, more may refill an update's.

    Returns what `_sample` does.
    """
    config, state, accelerator = run.config, run.state, run.state.accelerator
    rank, processes = accelerator.process_index, accelerator.num_processes
    prompts = state.sampler.choose(state.generator)
    if prompts is not None:
        share = config.prompts // processes
        prompts = [text for text in prompts[rank * share : (rank + 1) * share] for _ in range(config.group_size)]
    # Streams are seeded seed, seed + 1, ...: a wide step keeps those of neighbouring seeds apart.
    first_seed = config.seed * 2**20 + rank * state.envs.num_envs
    with accelerator.autocast():
        local = collect(
            state.policy,
            state.envs,
            state.generator,
            group_size=config.group_size,
            temperature=config.temperature,
            tries=config.tries if config.has_tries else None,
            random_tries=config.random_tries,
            keep_tried=config.advantage != "tries",
            seed=first_seed if is_first else None,
            process=(rank, processes),
            prompts=prompts,
        )
        ref_log_probs = local.log_probs
        if run.reference is not None:
            parts = config.minibatches * config.accumulation
            ref_log_probs = reference_log_probs(run.reference, local, config.temperature, parts)
    asked = [state.envs.prompt(row) for row in range(0, state.envs.num_envs, config.group_size)]
    hashes = torch.from_numpy(novelty_hashes(state.envs.task, asked).copy()).to(accelerator.device)
    state.seen.update(accelerator.gather(hashes).cpu().numpy())
    rollout = gathered(local, accelerator)
    kinds = torch.from_numpy(state.sampler.kinds_of(asked)).to(accelerator.device)
    state.sampler.observe(rollout.solved, accelerator.gather(kinds), is_more=is_more)
    return rollout, gathered_columns(ref_log_probs, accelerator), local


def _samples(run: _Run, local: Rollout) -> list[Sample]:
    """The first completions of the first six prompts."""
    envs, k = run.state.envs, run.config.group_size
    texts = [envs.prompt(row).text for row in range(0, min(6 * k, envs.num_envs), k)]
    rewards, successes = local.episode_rewards[::k].tolist(), local.is_success[::k].tolist()
    return list(map(Sample, texts, local.completion_texts[::k], rewards, successes))


def _is_out_of_time(run: _Run) -> bool:
    minutes, state = run.config.minutes, run.state
    return minutes is not None and bool(largest(state.minutes >= minutes, state.accelerator))


def _evaluate(run: _Run) -> tuple[Evaluation, dict[str, float]]:
    """Plays the held-out prompts, greedily and sampled: the greedy result, and the columns of both.

    Every process does the same.
    """
    policy, count = run.state.policy, run.config.eval_prompts
    seen = run.state.seen.array()
    with run.state.accelerator.autocast():
        greedy = evaluate_policy(policy, run.held_out, count, seen=seen)
        sampled = evaluate_policy(
            policy, run.held_out, count, greedy=False, temperature=run.config.temperature, reference=run.reference
        )
    return greedy, evaluation_row(greedy, sampled)


def _export(run: _Run, name: str, row: dict[str, float]) -> None:
    """Saves the policy in Hugging Face form with a model card, in a folder of the run."""
    state, config = run.state, run.config
    trained_by = f"reinforcement learning from a programmed reward on {row['samples']} completions"
    with state.policy.whole() as policy:
        if state.accelerator.is_main_process:
            checkpoint.write_keys(run.folder / "seen_keys.npy", state.seen.array())  # first: no policy has met more
            export(policy, state.envs, config, run.folder / name, trained_by, row, temperature=config.temperature)


def _save(run: _Run, row: dict[str, float]) -> None:
    """Saves the policy, what it has met, and the checkpoint last: what a kill leaves undone is done on resuming."""
    state = run.state.state_dict()
    _export(run, "policy", row)
    run.log.sync()
    if run.state.accelerator.is_main_process:
        checkpoint.save(run.folder, state, run.config.keep_last)
    run.state.accelerator.wait_for_everyone()


def _end(run: _Run, row: dict[str, float], stopped: int) -> dict[str, float]:
    """Draws the curves, shows what has changed, and returns the last row of metrics; raises where a signal came."""
    config, update = run.config, run.state.update
    if run.state.accelerator.is_main_process:
        plot.plot_runs([run.folder], run.folder / "curves.png")
        if not run.quiet and not stopped:
            say(before_and_after(run.folder))
    if stopped and update < config.updates:
        again = f"rlfl train {config.env_id} --resume --run-dir {run.folder}"
        run.log.note(f"stopped at update {update} of {config.updates}; go on with {again}")
    if stopped:
        raise StoppedError(stopped)
    # A run that was complete already did nothing; its result is the last row it wrote.
    last = {name: column[-1] for name, column in read_metrics(run.folder).items() if column}
    return row or {name: value for name, value in last.items() if not math.isnan(value)}
