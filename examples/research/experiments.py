"""What an experiment is, and what several of them share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlfl_agents.ppo import PPOConfig
from rlfl_agents.sft import SFTConfig

THREE_DIGITS: dict[str, Any] = {"vocabulary": "characters", "max_operand": 500, "max_value": 999}
# A verdict on every token, at several tries each. Registered runs keep their settings whatever the presets become.
TRIES: dict[str, Any] = {
    "layers": 2,
    "width": 64,
    "heads": 4,
    "advantage": "tries",
    "tries": 16,
    "random_tries": 4,
    "prompts": 256,
    "epochs": 1,
    "minibatches": 4,
    "learning_rate": 3e-3,
    "lr_schedule": "linear",
    "warmup": 0.05,
    "weight_decay": 0.01,
    "batch_entropy_coef": 0.05,
    "batch_entropy_coef_final": 0.0,
    "save_every": 10**6,
}
NO_BATCH_ENTROPY: dict[str, Any] = {"batch_entropy_coef": 0.0, "batch_entropy_coef_final": None}


@dataclass(frozen=True)
class Experiment:
    """A table's worth of runs.

    Attributes:
        variants: The settings by name.
        seeds: Of each variant.
        warm_start: What each seed's model imitates first; from random weights where None.
        table: Which cells of `CELLS` its table shows.
        changed_from: Experiment and variant that its variants differ from, to be drawn beside them.
    """

    variants: Mapping[str, PPOConfig]
    seeds: Sequence[int] = (0, 1, 2)
    warm_start: SFTConfig | None = None
    table: Sequence[str] = ("exact", "sampled", "millions to 0.9", "batch entropy", "largest p̄", "different answers")
    changed_from: tuple[str, str] | None = None


def around(base: PPOConfig, changes: Mapping[str, Mapping[str, Any]]) -> dict[str, PPOConfig]:
    """The base with each set of changes, by name."""
    return {name: dataclasses.replace(base, **changed) for name, changed in changes.items()}
