"""The columns of metrics.csv, and how a run's files are read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from rlfl_envs import ConfigError

__all__ = [
    "CLOCK_METRICS",
    "EVAL_METRICS",
    "METRICS",
    "METRICS_FILE",
    "SAMPLES_FILE",
    "Sample",
    "Table",
    "columns",
    "read_metrics",
    "readable_rows",
    "readable_samples",
]

METRICS_FILE, SAMPLES_FILE = "metrics.csv", "samples.jsonl"

# What each column is. Means are over the rollout of one update, or over its minibatches where it is a loss.
METRICS: dict[str, str] = {
    "update": "updates done",
    "samples": "completions sampled so far",
    "prompts": "prompts drawn so far",
    "reward": "mean return of an episode, without the KL penalty",
    "reward_std": "standard deviation of the returns",
    "success": "share of episodes with is_success",
    "first_try": "share of episodes that succeed without a second try at any state; success where there are no tries",
    "flat_groups": "share of groups whose completions all have the same return: nothing to compare; 0 without groups",
    "length": "mean completion tokens, EOS included",
    "distinct_1": "share of different tokens among all completion tokens of the rollout",
    "distinct_2": "share of different pairs among all pairs of adjacent completion tokens; 0 where there are none",
    "entropy": "mean over tokens of -sum_a p(a) log p(a), nats",
    "batch_entropy": "-sum_a p̄(a) log(p̄(a) + 1e-9), p̄ the mean distribution of the minibatch, nats",
    "batch_max_action": "the largest entry of p̄, mean over positions: near 1 when every prompt gets the same answer",
    "loss": "policy_loss + vf_coef value_loss - entropy_coef entropy - batch_entropy_coef batch_entropy (+ KL-Cov)",
    "policy_loss": 'mean of max(-A r, -A clip(r, 1-c, 1+c)); of -log p(right) - 0.3 log(1 - p(wrong)) for "tries"',
    "value_loss": "half the mean of max((v - R)^2, (v_clipped - R)^2)",
    "imitation_loss": "mean of -log p over the tokens of successes of one's own; 0 where none are imitated",
    "explained_variance": "1 - Var(R - v) / Var(R) over the rollout's tokens; 0 without a value head",
    "approx_kl": "mean of (r - 1) - log r: new against old policy",
    "clip_fraction": "share of tokens whose ratio is outside 1 ± c",
    "ratio_mean": "mean ratio r of new to old probability",
    "ref_kl": "mean over episodes of the sum of log p - log p_ref: against the frozen reference, nats; 0 without one",
    "kl_coef": "the weight of ref_kl in the reward",
    "entropy_coef": "the weight of entropy",
    "batch_entropy_coef": "the weight of batch_entropy",
    "learning_rate": "of this update",
    "grad_norm": "mean norm of the gradient before clipping",
    "skipped": "share of micro-batches skipped because their mean ratio exceeded the threshold",
    "minibatches": "optimiser steps taken",
}
EVAL_METRICS: dict[str, str] = {
    "eval/success": "share of held-out prompts solved, greedy",
    "eval/success_low": "lower end of its 95% Wilson interval",
    "eval/success_high": "upper end",
    "eval/reward": "mean reward on held-out prompts, greedy",
    "eval/sampled_success": "share solved, sampled at the training temperature",
    "eval/sampled_reward": "mean reward, sampled",
    "eval/sampled_distinct_1": "distinct_1 of the sampled completions",
    "eval/sampled_distinct_2": "distinct_2 of the sampled completions",
    "eval/sampled_ref_kl": "ref_kl of the sampled completions; 0 without a reference",
    "eval/unseen_success": "greedy success on the prompts whose novelty key training has not met",
    "eval/unseen_n": "how many prompts those are",
}
# Of positions from 1 on, so many have a column.
_POSITIONS = 32
CLOCK_METRICS: dict[str, str] = {
    "clock/minutes": "wall-clock minutes of training, evaluation and saving left out",
    "clock/sample": "seconds of this update spent choosing tokens",
    "clock/env": "seconds spent in the environment",
    "clock/learn": "seconds spent in the update",
    "clock/samples_per_second": "completions that were learned from per second of this update",
}


class Sample(NamedTuple):
    """One episode as text."""

    prompt: str
    completion: str
    reward: float
    is_success: bool


def columns(part_names: Iterable[str], strata: Iterable[str] = (), positions: int = 0) -> list[str]:
    """The columns of metrics.csv.

    Args:
        part_names: The task's reward parts.
        strata: Whose success is told apart, such as "level/0" and "kind/4 operands" (see sampler.py).
        positions: How many a completion can have.
    """
    informed = (f"information/{position + 1}" for position in range(min(positions, _POSITIONS)))
    parts = (f"part/{name}" for name in part_names)
    return [*METRICS, *parts, *strata, *informed, *EVAL_METRICS, *CLOCK_METRICS]


def read_metrics(run: Path) -> dict[str, list[float]]:
    """Reads metrics.csv: one list per column, NaN where a row has no value.

    Raises:
        ConfigError: It is damaged.
        OSError: There is none.
    """
    path = run / METRICS_FILE
    path.stat()
    table = readable_rows(path)
    if not table.is_whole or "samples" not in table.names:
        raise ConfigError(f"{str(path)!r} is damaged; going on with the run (--resume) keeps what can be read of it.")
    return {name: [float(row[name] or math.nan) for row in table.rows] for name in table.names}


class Table(NamedTuple):
    """What can be read of a metrics.csv.

    Attributes:
        names: Its columns.
        rows: Its rows, as texts.
        is_whole: Whether that is all that it holds.
    """

    names: list[str]
    rows: list[dict[str, str]]
    is_whole: bool


def readable_rows(path: Path) -> Table:
    """Reads what can be read of a metrics.csv; nothing where there is none.

    Its last line may lack its end, since a killed run was still writing it: it is no row.
    """
    if not path.exists():
        return Table([], [], True)
    header, *lines = _whole_lines(path) or [""]
    names = header.split(",")
    if names[0] != "update" or len(set(names)) < len(names):
        return Table([], [], False)
    rows = [dict(zip(names, line.split(","), strict=False)) for line in lines if line.count(",") == len(names) - 1]
    kept = [row for row in rows if _is_row(row)]
    updates = [int(row["update"]) for row in kept]
    return Table(names, kept, len(kept) == len(lines) and updates == sorted(set(updates)))


def _is_row(row: dict[str, str]) -> bool:
    try:
        numbers = [float(value) for value in row.values() if value]
    except ValueError:
        return False
    return bool(numbers) and row.get("update", "").isdecimal()


def readable_samples(path: Path) -> tuple[list[tuple[str, dict[str, Any]]], bool]:
    """The lines of a samples.jsonl that can be read, each with its entries; and whether that is all of them."""
    lines = _whole_lines(path)
    samples = [(line, entry) for line in lines if (entry := _sample(line)) is not None]
    return samples, len(samples) == len(lines)


def _sample(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
        is_sample = _SAMPLE.items() <= {name: type(value) for name, value in entry.items()}.items()
    except (ValueError, AttributeError, RecursionError):
        return None
    return entry if is_sample else None


_SAMPLE = {"update": int, "kind": str, "prompt": str, "completion": str, "reward": float, "is_success": bool}


def _whole_lines(path: Path) -> list[str]:
    """The lines of a file, but for a last one without its end, which a killed run was still writing."""
    if not path.exists():
        return []
    return path.read_bytes().decode("utf-8", errors="replace").split("\n")[:-1]
