"""The optimiser steps that are taken from one batch.

With several processes all choose the same minibatches, and each takes its share of a minibatch's prompts; the losses
are means over the whole minibatch, whoever holds its rows. So two processes learn what one would.
"""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from rlfl_agents.config import PPOConfig
from rlfl_agents.learn import losses
from rlfl_agents.learn.head import Summary, summary_of
from rlfl_agents.learn.losses import Entropies, PolicyLoss, Share
from rlfl_agents.model.sharding import without_shards
from rlfl_agents.rollout.batch import Batch
from rlfl_agents.rollout.processes import sum_across
from rlfl_agents.run.state import Rates, TrainState
from rlfl_envs import RLFLError

__all__ = ["DivergedError", "improve"]

_LARGEST_LOSS = 1e6
_WHAT_TO_TRY = (
    "Training has diverged. Try a lower --learning-rate, a smaller --max-grad-norm, a --target-kl (0.02, say), more "
    "--prompts per update, or --mixed-precision no."
)


class DivergedError(RLFLError):
    """Training ran into a loss or gradient that is not finite or far too large."""


def improve(config: PPOConfig, state: TrainState, batch: Batch, rates: Rates) -> dict[str, float]:
    """Takes the optimiser steps of one batch.

    Args:
        config: The settings.
        state: Its model and optimiser move on, and the generator that orders the minibatches.
        batch: Of all processes.
        rates: The weights of the entropies.

    Returns:
        The batch's metrics, averaged over what was read and not skipped.

    Raises:
        DivergedError: The loss or the gradient is not finite, or nothing could be learned from.
    """
    model, optimizer, accelerator = state.model, state.optimizer, state.accelerator
    rank, processes = accelerator.process_index, accelerator.num_processes
    active = batch.rollout.active
    tokens = active.reshape(len(batch.rollout.prompts), -1).sum(dim=1).cpu().double()  # active ones of each group
    means = _Means()
    steps, grad_norms, imitated = 0, 0.0, list[float]()
    for minibatch in _minibatches(config, len(tokens), state.generator):
        micros = _micro_batches(config, minibatch, tokens, batch.rollout.prompts.shape[1], processes)
        whole = _whole(state, batch, config, rates, micros)
        learned, approx_kl, read = 0, 0.0, list[tuple[dict[str, float], float, bool]]()
        total: Summary | None = None
        imitated.append(_imitate(config, state))
        for i, micro in enumerate(micros):
            part = batch.take(micro[rank::processes].to(accelerator.device))
            weight = float(tokens[micro].sum() / tokens[minibatch].sum())
            with contextlib.nullcontext() if i == len(micros) - 1 else accelerator.no_sync(model):
                share = None if whole is None else Share(whole, weight)
                terms, nothing, summary = _terms(model, part, config, rates, sum_across(accelerator), share)
                numbers = dict(zip(terms, torch.stack([*terms.values()]).tolist(), strict=True))
                is_wild = numbers["ratio_mean"] > config.ratio_threshold
                if not is_wild and not abs(numbers["loss"]) < _LARGEST_LOSS:
                    raise DivergedError(f"The loss is {numbers['loss']}. {_WHAT_TO_TRY}")
                read.append((numbers, weight, is_wild))
                if whole is None and len(micros) > 1:  # otherwise the numbers are of the whole minibatch already
                    total = summary if total is None else total.plus(summary)
                learned += not is_wild
                loss = nothing if is_wild else terms["loss"]  # processes have to meet in backward all the same
                # DistributedDataParallel averages what has to be summed.
                accelerator.backward(loss * weight * processes)
                if not steps and not i:
                    _draw_ahead(state)
            approx_kl += weight * numbers["approx_kl"]
        of_whole = {} if total is None else _of_whole(config, total, sum_across(accelerator))
        for numbers, weight, is_wild in read:
            means.add(numbers | of_whole, weight, is_wild)
        if config.target_kl is not None and steps > 0 and approx_kl > 1.5 * config.target_kl:
            optimizer.zero_grad()
            break
        if learned:
            grad_norms += _step(state, config.max_grad_norm)
            steps += 1
        optimizer.zero_grad()
    if not steps:
        raise DivergedError(f"Every minibatch had a mean ratio above {config.ratio_threshold}. {_WHAT_TO_TRY}")
    imitation_loss = sum(imitated) / len(imitated)
    return means.all() | {"grad_norm": grad_norms / steps, "minibatches": steps, "imitation_loss": imitation_loss}


def _draw_ahead(state: TrainState) -> None:
    """A device works for a while on a gradient: meanwhile the environments draw their next prompts, if they choose."""
    if state.accelerator.device.type != "cpu" and not state.sampler.chooses:
        state.envs.draw_ahead()


def _minibatches(config: PPOConfig, prompts: int, generator: torch.Generator) -> Iterator[Tensor]:
    """The prompts of every minibatch, int64 each: all of them in every epoch, in a new order."""
    for _ in range(config.epochs):
        yield from torch.randperm(prompts, generator=generator).chunk(config.minibatches)


def _micro_batches(
    config: PPOConfig, minibatch: Tensor, tokens: Tensor, width: int, processes: int
) -> Sequence[Tensor]:
    """The prompts of every micro-batch, int64 each: as many for every process.

    Args:
        config: How many, or of how many tokens.
        minibatch: Int64, its prompts.
        tokens: Float64 [G], the active tokens of each prompt's completions.
        width: P.
        processes: How many share a micro-batch.
    """
    if not config.micro_batch_tokens:
        return minibatch.chunk(config.accumulation)
    read = (tokens[minibatch] + width).view(-1, processes).sum(dim=1).cumsum(dim=0)
    numbers = ((read - 1) // config.micro_batch_tokens).long()
    counts = numbers.unique_consecutive(return_counts=True)[1] * processes
    micros: tuple[Tensor, ...] = minibatch.split(counts.tolist())
    return micros


@torch.no_grad()
def _whole(
    state: TrainState, batch: Batch, config: PPOConfig, rates: Rates, micros: Sequence[Tensor]
) -> Summary | None:
    """The distributions of a minibatch added up before it is learned from, as its batch entropy needs them.

    None where a micro-batch is the whole of it, or batch entropy has no weight.
    """
    if len(micros) == 1 or not rates.batch_entropy_coef:
        return None
    accelerator, total = state.accelerator, None
    rank, processes = accelerator.process_index, accelerator.num_processes
    for micro in micros:
        rollout = batch.take(micro[rank::processes].to(accelerator.device)).rollout
        summary = state.policy(rollout.prompts, rollout.completions, rollout.masks, config.temperature, rollout.active)[
            0
        ]
        total = summary if total is None else total.plus(summary)
    return total


def _of_whole(config: PPOConfig, total: Summary, across: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """What is logged of a minibatch's mean distributions, known once all its micro-batches have been read.

    Where batch entropy has no weight, nothing was read before, and a mean over micro-batches would be biased low.
    """
    found = _of_mean(losses.entropies(total, config.batch_entropy_positions, across))
    return dict(zip(found, torch.stack([*found.values()]).tolist(), strict=True))


def _of_mean(entropy: Entropies) -> dict[str, Tensor]:
    """The metrics of the distributions' mean over the batch, scalars."""
    return {
        "batch_entropy": entropy.batch,
        "batch_max_action": entropy.batch_max_action,
        **{f"information/{t + 1}": information for t, information in enumerate(entropy.information)},
    }


def _terms(
    model: torch.nn.Module,
    part: Batch,
    config: PPOConfig,
    rates: Rates,
    across: Callable[[Tensor], Tensor],
    share: Share | None,
) -> tuple[dict[str, Tensor], Tensor, Summary]:
    """What a micro-batch has to say.

    Returns:
        The loss, its terms and their diagnostics, scalars; a loss of 0 in which every weight has a part; and the
        summary of the distributions, without a gradient.
    """
    rollout = part.rollout
    policy, summary, values = _policy_terms(model, part, config, across)
    entropy = losses.entropies(summary, config.batch_entropy_positions, across, share)
    values = values.repeat_interleave(len(rollout.completions) // len(values), dim=0)
    loss = policy.loss
    if rates.entropy_coef:  # a term without weight costs no gradient
        loss = loss - rates.entropy_coef * entropy.token
    if rates.batch_entropy_coef:
        loss = loss - rates.batch_entropy_coef * entropy.batch
    if config.kl_cov:
        held = losses.kl_cov_penalty(summary.log_probs, rollout.log_probs, part.leading, rollout.active, across)
        loss = loss + config.kl_cov_coef * held
    value_loss = torch.zeros_like(loss)
    if config.advantage == "gae":
        value_loss = losses.clipped_value_loss(
            values, rollout.values, part.returns, rollout.active, config.value_clip, across
        )
        loss = loss + config.vf_coef * value_loss
    terms = {
        "loss": loss,
        "policy_loss": policy.loss,
        "value_loss": value_loss,
        "entropy": entropy.token,
        "approx_kl": policy.approx_kl,
        "clip_fraction": policy.clip_fraction,
        "ratio_mean": policy.ratio_mean,
        **_of_mean(entropy),
    }
    known = Summary(*(each.detach() for each in summary))
    return terms, 0.0 * (summary.log_probs.sum() + values.sum()), known


def _policy_terms(
    model: torch.nn.Module, part: Batch, config: PPOConfig, across: Callable[[Tensor], Tensor]
) -> tuple[PolicyLoss, Summary, Tensor]:
    """The policy loss, the summary of the distributions, and the values, float [N, T]."""
    rollout, tried = part.rollout, part.rollout.tried
    inputs = (rollout.prompts, rollout.completions, rollout.masks, config.temperature)
    clips: dict[str, Any] = {"clip_range_high": config.clip_range_high, "dual_clip": config.dual_clip}
    if tried is None and config.advantage != "tries":
        summary, values = model(*inputs, rollout.active)
        drawn = (summary.log_probs, rollout.log_probs, part.advantages, rollout.active)
        return losses.clipped_policy_loss(*drawn, config.clip_range, across, **clips), summary, values
    log_dist, values = model(*inputs)
    summary = summary_of(log_dist, rollout.completions, rollout.active)
    if tried is None:
        judged = losses.tries_loss(
            log_dist, rollout.completions, rollout.is_right, rollout.wrong, rollout.active, across
        )
        # What is judged is learned whoever drew it: there is no ratio to the policy that sampled.
        return PolicyLoss(judged, *judged.new_tensor([1.0, 0.0, 0.0])), summary, values
    log_probs = losses.tried_log_probs(log_dist, tried.tokens)
    active = rollout.active[..., None].expand(log_probs.shape)
    drawn = (log_probs, tried.log_probs, part.advantages, active)
    policy = losses.clipped_policy_loss(*drawn, config.clip_range, across, **clips, weights=tried.weights)
    return policy, summary, values


def _imitate(config: PPOConfig, state: TrainState) -> float:
    """Begins a step's gradient with that of imitating successes of one's own; returns -log p, nats per token.

    0 where none are imitated: too few were found, or are drawn, for each process to have one.
    """
    model, accelerator = state.model, state.accelerator
    rank, processes = accelerator.process_index, accelerator.num_processes
    if min(len(state.successes), config.imitation_batch) < processes:
        return 0.0
    drawn = state.successes.draw(config.imitation_batch, state.generator, accelerator.device)
    prompts, completions, active = (part[rank::processes] for part in drawn)
    with accelerator.no_sync(model):
        summary, _ = model(prompts, completions, None, config.temperature, active)
        loss = -losses.masked_mean(summary.log_probs, active, sum_across(accelerator))
        accelerator.backward(config.imitation_coef * loss * processes)
    return float(loss.detach())


def _step(state: TrainState, max_grad_norm: float) -> float:
    """Takes one optimiser step and returns the gradient's norm before it was clipped."""
    norm = state.accelerator.clip_grad_norm_(state.model.parameters(), max_grad_norm)
    grad_norm = float(without_shards(norm, keep=True))
    # In fp16 the scaler skips such steps by itself.
    if not math.isfinite(grad_norm) and state.accelerator.scaler is None:
        raise DivergedError(f"The gradient's norm is {grad_norm}. {_WHAT_TO_TRY}")
    state.optimizer.step()
    return grad_norm


class _Means:
    """Weighted means over the micro-batches that were learned from."""

    def __init__(self) -> None:
        self._totals: dict[str, float] = defaultdict(float)
        self._weight = 0.0
        self._count = 0
        self._skipped = 0

    def add(self, numbers: dict[str, float], weight: float, skipped: bool) -> None:
        self._count += 1
        self._skipped += skipped
        if not skipped:
            self._weight += weight
            for name, number in numbers.items():
                self._totals[name] += weight * number

    def all(self) -> dict[str, float]:
        means = {name: total / self._weight for name, total in self._totals.items()}
        return means | {"skipped": self._skipped / self._count}
