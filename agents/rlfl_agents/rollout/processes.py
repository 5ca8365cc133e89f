"""The processes of a run: each samples its share of a rollout, and all learn from the whole of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from torch import Tensor, nn
from torch.nn.functional import pad

from rlfl_agents.config import PPOConfig
from rlfl_agents.model.policy import Policy
from rlfl_agents.model.sharding import Shards
from rlfl_agents.rollout.link import alike
from rlfl_agents.rollout.rollout import PER_ROW, PER_TOKEN, Rollout, Tried
from rlfl_envs import ConfigError

__all__ = [
    "gathered",
    "gathered_columns",
    "is_on_cpu",
    "largest",
    "make_accelerator",
    "place",
    "prepared",
    "sum_across",
]


def is_on_cpu(device: Literal["auto", "cpu"]) -> bool:
    """Whether training runs on the CPU: as asked, or for want of an accelerator.

    Accelerate has to be told: left to itself without an accelerator, it takes each of torchrun's processes for the only
    one.
    """
    return device == "cpu" or not torch.accelerator.is_available()


def make_accelerator(config: PPOConfig, folder: Path) -> Accelerator:
    """Finds the device and the other processes of a run.

    Raises:
        ConfigError: A tracker is unknown, the precision cannot be had here, or the prompts cannot be shared out.
    """
    unknown = [name for name in config.report_to if name not in {str(known) for known in get_available_trackers()}]
    if unknown:
        raise ConfigError(f"report_to={unknown[0]!r} is not a tracker that Accelerate knows and finds installed.")
    try:
        accelerator = Accelerator(
            cpu=is_on_cpu(config.device),
            mixed_precision=config.mixed_precision,
            log_with=list(config.report_to) or None,
            project_dir=folder,
        )
    except ValueError as error:  # such as: this process has trained in another precision before
        raise ConfigError(f"mixed_precision={config.mixed_precision!r} is not possible here: {error}") from error
    processes = accelerator.num_processes
    if config.prompts % (config.minibatches * config.accumulation * processes):
        raise ConfigError(
            f"prompts={config.prompts} must be a multiple of minibatches * accumulation * {processes} processes."
        )
    return accelerator


def place(policy: Policy, accelerator: Accelerator, shard: bool) -> Policy:
    """Puts a policy on this process's device, or its share of the weights, where there are others to share with."""
    if not shard or accelerator.num_processes == 1:
        return policy.to(accelerator.device)
    policy.shards = Shards(policy, accelerator.device)
    return policy


def prepared(
    policy: Policy, optimizer: torch.optim.Optimizer, accelerator: Accelerator
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A policy that was placed and its optimiser as Accelerate wraps them: processes learn from each other's rows."""
    if policy.shards is None:
        model, optimizer = accelerator.prepare(policy, optimizer)
        return model, optimizer
    model = accelerator.prepare_model(policy, device_placement=False, evaluation_mode=True)  # shards meet by themselves
    return model, accelerator.prepare_optimizer(optimizer)


def gathered(rollout: Rollout, accelerator: Accelerator) -> Rollout:
    """The rollout of all processes, in the order of their ranks, on every process."""
    if accelerator.num_processes == 1:
        return rollout
    whole: dict[str, Any] = {name: accelerator.gather(getattr(rollout, name)) for name in ("prompts", *PER_ROW)}
    whole |= {name: gathered_columns(getattr(rollout, name), accelerator) for name in PER_TOKEN}
    whole["mask_table"], whole["mask_rows"] = _gathered_masks(rollout, accelerator)
    if rollout.tried is not None:
        whole["tried"] = Tried(*(gathered_columns(each, accelerator) for each in rollout.tried))
    whole["parts"] = {name: accelerator.gather(part) for name, part in rollout.parts.items()}
    return replace(rollout, **whole)


def gathered_columns(columns: Tensor, accelerator: Accelerator) -> Tensor:
    """[local B, local T, ...] of every process as one [B, T, ...], with zeros where one stopped before the others."""
    if accelerator.num_processes == 1:
        return columns
    length = largest(columns.shape[1], accelerator)
    missing = columns.new_zeros(len(columns), length - columns.shape[1], *columns.shape[2:])
    whole: Tensor = accelerator.gather(torch.cat([columns, missing], dim=1))
    return whole


def _gathered_masks(rollout: Rollout, accelerator: Accelerator) -> tuple[Tensor, Tensor]:
    """One table of the different masks of all processes, and the numbers of its rows."""
    size = largest(len(rollout.mask_table), accelerator)
    tables = accelerator.gather(pad(rollout.mask_table, (0, 0, 0, size - len(rollout.mask_table))))
    table, numbers = tables.unique(dim=0, return_inverse=True)
    rows = rollout.mask_rows + size * accelerator.process_index
    rows = gathered_columns(rows.expand(rollout.completions.shape).contiguous(), accelerator)
    return table, alike(numbers.int()[rows])


def largest(number: int, accelerator: Accelerator) -> int:
    """The largest of a number over all processes; of a flag, whether any has set it."""
    if accelerator.num_processes == 1:
        return int(number)
    return int(accelerator.gather(torch.tensor([number], dtype=torch.int64, device=accelerator.device)).max())


def sum_across(accelerator: Accelerator) -> Callable[[Tensor], Tensor]:
    """Adds up over processes; the gradient is that of the own share (see losses.py)."""
    if accelerator.num_processes == 1:
        return lambda tensor: tensor
    # What is added to the sum is exactly 0: all processes have the same value, and decide alike.
    return lambda tensor: accelerator.reduce(tensor.detach().clone(), "sum") + (tensor - tensor.detach())
