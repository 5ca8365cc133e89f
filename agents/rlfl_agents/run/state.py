"""All that a training run learns, counts and draws from: what a checkpoint keeps."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from rlfl_agents.config import PPOConfig
from rlfl_agents.learn.schedules import Coefficient, KLController, scheduled
from rlfl_agents.model.policy import Policy
from rlfl_agents.model.sharding import as_shards, without_shards
from rlfl_agents.rollout.sampler import Sampler
from rlfl_agents.rollout.successes import Successes
from rlfl_agents.run.seen import SeenKeys
from rlfl_envs import ConfigError, TokenVectorEnv

__all__ = ["Rates", "TrainState"]


class Rates(NamedTuple):
    """The numbers that a run changes from update to update, named as their columns in metrics.csv."""

    learning_rate: float
    kl_coef: float
    entropy_coef: float
    batch_entropy_coef: float


@dataclass
class TrainState:
    """A training run between two updates. Two runs whose states are equal go on alike.

    Attributes:
        accelerator: Which process this is, on which device; its gradient scaler, where it has one, is state too.
        model: The policy, as `accelerator` has wrapped it.
        optimizer: Its optimiser.
        envs: The training environments; their prompt streams are state.
        sampler: What chooses which prompts are played.
        generator: The source of sampling noise and of the order of minibatches, in the same state on every process.
        kl: The weight of the reference KL.
        entropy_coef: The weight of token entropy.
        batch_entropy_coef: The weight of batch entropy.
        seen: Novelty hashes of the prompts that training has met.
        successes: What was solved and is imitated; nothing unless asked for.
        update: Updates done.
        refilled: Completions that were sampled to refill batches.
        minutes: Wall-clock minutes of training, evaluation and saving left out.
        best: Held-out success and reward of the best policy so far.
    """

    accelerator: Accelerator
    model: nn.Module
    optimizer: torch.optim.Optimizer
    envs: TokenVectorEnv
    sampler: Sampler
    generator: torch.Generator
    kl: KLController
    entropy_coef: Coefficient
    batch_entropy_coef: Coefficient
    seen: SeenKeys = field(default_factory=SeenKeys)
    successes: Successes = field(default_factory=Successes)
    update: int = 0
    refilled: int = 0
    minutes: float = 0.0
    best: tuple[float, float] = (-1.0, -math.inf)

    @property
    def policy(self) -> Policy:
        """The policy itself."""
        policy: Policy = self.accelerator.unwrap_model(self.model)
        return policy

    def rates(self, config: PPOConfig) -> Rates:
        """Sets the optimiser's learning rate for the next update, and returns it with the weights of that update."""
        progress = self.update / config.updates
        factor = scheduled(config.lr_schedule, progress, config.warmup, config.lr_final)
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * factor
        return Rates(
            learning_rate=config.learning_rate * factor,
            kl_coef=self.kl.coef if config.kl != "off" else 0.0,
            entropy_coef=self.entropy_coef.value(progress),
            batch_entropy_coef=self.batch_entropy_coef.value(progress),
        )

    def observe(self, row: Mapping[str, float], episodes: int) -> None:
        """Counts an update, and moves the steered weights by what it has measured.

        Args:
            row: Its `update`, `clock/minutes`, `ref_kl`, `entropy` and `batch_entropy`, as in metrics.csv.
            episodes: How many completions were sampled in it.
        """
        self.update, self.minutes = int(row["update"]), row["clock/minutes"]
        self.kl.observe(row["ref_kl"], episodes)
        self.entropy_coef.observe(row["entropy"])
        self.batch_entropy_coef.observe(row["batch_entropy"])

    def is_best(self, row: Mapping[str, float]) -> bool:
        """Whether an evaluation's success, then reward, are the best so far; they are remembered then.

        Of policies that do equally well the latest is the best: it has learned most, which other prompts show.
        """
        found = row["eval/success"], row["eval/reward"]
        is_best = found >= self.best
        self.best = max(self.best, found)
        return is_best

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that changes, as tensors, numbers and texts. All processes must call it together."""
        scaler = self.accelerator.scaler
        streams = [_to_tensors(self.envs.rng_state)]
        is_main = self.accelerator.is_main_process  # what was sharded is whole there alone
        return {
            "update": self.update,
            "refilled": self.refilled,
            "model": without_shards(self.policy.state_dict(), is_main),
            "optimizer": without_shards(self.optimizer.state_dict(), is_main),
            "scaler": scaler.state_dict() if scaler is not None else None,
            "minutes": self.minutes,
            "best": list(self.best),
            "seen": torch.from_numpy(self.seen.array()),
            "kl_coef": self.kl.coef,
            "entropy_coef": self.entropy_coef.state(),
            "batch_entropy_coef": self.batch_entropy_coef.state(),
            "envs": self.accelerator.gather_for_metrics(streams, use_gather_object=True),
            "sampler": self.sampler.state_dict(),
            "successes": self.successes.state(),
            "generator": self.generator.get_state(),
            "random": _random_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from where `state_dict` was called.

        Raises:
            ConfigError: There were more or fewer processes then.
        """
        begun, here = len(state["envs"]), self.accelerator.num_processes
        if begun != here:
            raise ConfigError(f"The run was begun with {begun} processes and cannot go on with {here}.")
        weights, learned = self.policy.state_dict(), [p for p in self.policy.parameters() if p.requires_grad]
        model = {name: as_shards(value, weights.get(name, value)) for name, value in state["model"].items()}
        moments = {i: as_shards(of_one, learned[i]) for i, of_one in state["optimizer"]["state"].items()}
        self.policy.load_state_dict(model)
        self.optimizer.load_state_dict(state["optimizer"] | {"state": moments})
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.update, self.minutes = int(state["update"]), float(state["minutes"])
        success, reward = map(float, state["best"])
        self.best = success, reward
        self.seen = SeenKeys(state["seen"].numpy())
        self.kl.coef = float(state["kl_coef"])
        self.entropy_coef.restore(state["entropy_coef"])
        self.batch_entropy_coef.restore(state["batch_entropy_coef"])
        self.envs.rng_state = _to_arrays(state["envs"][self.accelerator.process_index])
        if "sampler" in state:  # version 0.1 had none
            self.sampler.load_state_dict(state["sampler"])
            self.refilled = int(state["refilled"])
        if "successes" in state:
            self.successes.restore(state["successes"])
        self.generator.set_state(state["generator"])
        _restore_random_state(state["random"])


def _to_tensors(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Arrays of any number type as bytes, with their type and shape: `torch.load(weights_only=True)` takes no NumPy."""
    return {
        name: [
            str(array.dtype),
            list(array.shape),
            torch.from_numpy(np.frombuffer(array.tobytes(), dtype=np.uint8).copy()),
        ]
        for name, array in arrays.items()
    }


def _to_arrays(tensors: dict[str, Any]) -> dict[str, np.ndarray]:
    """Undoes `_to_tensors`."""
    return {name: data.numpy().view(dtype).reshape(shape).copy() for name, (dtype, shape, data) in tensors.items()}


def _random_state() -> dict[str, Any]:
    """The states of the generators of Python, NumPy and torch (CPU and CUDA), as plain numbers and tensors."""
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002 -- kept, not used
    return {
        "python": [version, list(internal), gauss],
        "numpy": [
            str(name),
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _restore_random_state(state: dict[str, Any]) -> None:
    """Undoes everything drawn since `_random_state()`."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
