"""The columns of metrics.csv, and how a run's files are read."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

__all__ = ["CLOCK_METRICS", "EVAL_METRICS", "METRICS", "Sample", "columns", "read_metrics", "whole_lines"]

# What each column is. Means are over the rollout of one update, or over its minibatches where it is a loss.
METRICS: dict[str, str] = {
    "update": "updates done",
    "samples": "completions sampled so far",
    "prompts": "prompts drawn so far",
    "reward": "mean return of an episode, without the KL penalty",
    "reward_std": "standard deviation of the returns",
    "success": "share of episodes with is_success",
    "length": "mean completion tokens, EOS included",
    "distinct_1": "share of different tokens among all completion tokens of the rollout",
    "distinct_2": "share of different pairs among all pairs of adjacent completion tokens; 0 where there are none",
    "entropy": "mean over tokens of -sum_a p(a) log p(a), nats",
    "batch_entropy": "-sum_a p̄(a) log(p̄(a) + 1e-9), p̄ the mean distribution of the micro-batch, nats",
    "batch_max_action": "the largest entry of p̄, mean over positions: near 1 when every prompt gets the same answer",
    "loss": "policy_loss + vf_coef value_loss - entropy_coef entropy - batch_entropy_coef batch_entropy",
    "policy_loss": 'mean of max(-A r, -A clip(r, 1-c, 1+c)); of -log p(right) - 0.3 log(1 - p(wrong)) for "tries"',
    "value_loss": "half the mean of max((v - R)^2, (v_clipped - R)^2)",
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
CLOCK_METRICS: dict[str, str] = {
    "clock/minutes": "wall-clock minutes of training, evaluation and saving left out",
    "clock/sample": "seconds of this update spent choosing tokens",
    "clock/env": "seconds spent in the environment",
    "clock/learn": "seconds spent in the update",
    "clock/samples_per_second": "completions per second of this update",
}


class Sample(NamedTuple):
    """One episode as text."""

    prompt: str
    completion: str
    reward: float
    is_success: bool


def columns(part_names: Iterable[str]) -> list[str]:
    """The columns of metrics.csv for a task with these reward parts."""
    return [*METRICS, *(f"part/{name}" for name in part_names), *EVAL_METRICS, *CLOCK_METRICS]


def read_metrics(run: Path) -> dict[str, list[float]]:
    """Reads metrics.csv: one list per column, NaN where a row has no value."""
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name] or math.nan) for row in rows] for name in (rows[0] if rows else ())}


def whole_lines(path: Path) -> list[str]:
    """The lines of a file, but for a last one without its end, which a killed run was still writing."""
    return path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
