"""How good is a policy on held-out prompts? Success with its confidence interval, reward and parts, the worst misses.

Prompts are those of `split="test"`, drawn from a fixed seed, so that every evaluation of an id asks the same questions.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import torch

from rlfl_agents.metrics import Sample
from rlfl_agents.policy import Policy, build_policy
from rlfl_agents.rollout import collect, make_envs
from rlfl_envs import ConfigError, Prompt, Task, TokenVectorEnv

__all__ = ["EVAL_SEED", "Evaluation", "Loaded", "Share", "evaluate_policy", "load_policy", "novelty_hashes"]

_Z = NormalDist().inv_cdf(0.975)
EVAL_SEED = 1_000_003  # far from the small seeds of training


@dataclass(frozen=True)
class Share:
    """A share of n trials with its 95% Wilson score interval (Wilson 1927). All NaN where n is 0."""

    n: int
    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, outcomes: np.ndarray) -> Share:
        """Counts bool outcomes [n]."""
        n = len(outcomes)
        if n == 0:
            return cls(0, float("nan"), float("nan"), float("nan"))
        mean = float(outcomes.mean())
        spread = _Z**2 / n
        centre = (mean + spread / 2) / (1 + spread)
        half = math.sqrt(mean * (1 - mean) * spread + spread**2 / 4) / (1 + spread)
        return cls(n, mean, centre - half, centre + half)

    def __str__(self) -> str:
        """Such as `0.951 [0.938, 0.962] n=1000`."""
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}] n={self.n}" if self.n else "none"


@dataclass(frozen=True)
class Evaluation:
    """The result of one way of choosing tokens.

    Attributes:
        success: Share of prompts solved.
        unseen: The same among prompts whose novelty key training never met; n is 0 where that is not known.
        reward: Mean reward.
        parts: Mean of each reward part.
        samples: Every episode, in the order drawn.
    """

    success: Share
    unseen: Share
    reward: float
    parts: Mapping[str, float]
    samples: list[Sample]

    def worst(self, count: int) -> list[Sample]:
        """The misses with the lowest rewards."""
        misses = [sample for sample in self.samples if not sample.is_success]
        return sorted(misses, key=lambda sample: sample.reward)[:count]


class Loaded(NamedTuple):
    """A policy, held-out environments for it, its training temperature, and its training prompts' novelty hashes."""

    policy: Policy
    envs: TokenVectorEnv
    temperature: float
    seen: np.ndarray | None


def novelty_hashes(task: Task, prompts: Iterable[Prompt]) -> np.ndarray:
    """Eight bytes for each prompt's novelty key: int64 [n]. Compact enough to keep those of a whole run."""
    digests = [hashlib.blake2b(task.novelty_key(prompt).encode(), digest_size=8).digest() for prompt in prompts]
    return np.frombuffer(b"".join(digests), dtype=np.int64)


def evaluate_policy(
    policy: Policy,
    envs: TokenVectorEnv,
    prompts: int,
    *,
    greedy: bool = True,
    temperature: float = 1.0,
    seen: np.ndarray | None = None,
) -> Evaluation:
    """Plays held-out prompts.

    Args:
        policy: The policy.
        envs: From `make_envs(id, n, split="test")`.
        prompts: How many prompts.
        greedy: Take the likeliest token each time, else sample.
        temperature: For sampling.
        seen: Int64 novelty hashes of the training prompts, or None where they are not known.
    """
    generator = torch.Generator().manual_seed(EVAL_SEED)
    samples: list[Sample] = []
    parts: dict[str, list[float]] = {}
    hashes: list[np.ndarray] = []
    seed: int | None = EVAL_SEED
    while len(samples) < prompts:
        rollout = collect(policy, envs, generator, temperature=temperature, greedy=greedy, seed=seed)
        seed = None  # the streams go on
        played = envs.prompts
        rewards, successes = rollout.episode_rewards.tolist(), rollout.is_success.tolist()
        texts = [prompt.text for prompt in played]
        samples += map(Sample, texts, rollout.completion_texts, rewards, successes)
        hashes.append(novelty_hashes(envs.task, played))
        for name, values in rollout.parts.items():
            parts.setdefault(name, []).extend(values.tolist())
    samples = samples[:prompts]
    solved = np.array([sample.is_success for sample in samples])
    is_new = np.zeros(prompts, dtype=np.bool_)
    if seen is not None:
        is_new = ~np.isin(np.concatenate(hashes)[:prompts], seen)
    return Evaluation(
        success=Share.of(solved),
        unseen=Share.of(solved[is_new]),
        reward=float(np.mean([sample.reward for sample in samples])),
        parts={name: float(np.mean(values[:prompts])) for name, values in parts.items()},
        samples=samples,
    )


def load_policy(folder: Path, env_id: str | None, env_kwargs: Mapping[str, Any]) -> Loaded:
    """Finds out what a run directory or a model folder holds, and loads it for evaluation.

    Args:
        folder: A run directory (its `best/` is taken, or its `policy/` where there is none yet), or a folder or
            name that `transformers` can load.
        env_id: The id to evaluate on; the one it was trained on by default.
        env_kwargs: Arguments of the environment, on top of those it was trained with.

    Raises:
        ConfigError: There is no such model, or nothing says which id to evaluate on.
    """
    model = next((folder / name for name in ("best", "policy") if (folder / name / "config.json").exists()), folder)
    facts: dict[str, Any] = {}
    if (model / "rlfl.json").exists():
        facts = json.loads((model / "rlfl.json").read_text(encoding="utf-8"))
    env_id = env_id or facts.get("env_id")
    if env_id is None:
        raise ConfigError(f"{str(folder)!r} does not say what it was trained on; name an id too.")
    trained_kwargs = facts.get("env_kwargs", {}) if facts.get("env_id") == env_id else {}
    kwargs = {
        "split": "test",
        **{k: v for k, v in trained_kwargs.items() if v != "train" or k != "split"},
        **env_kwargs,
    }
    envs = make_envs(env_id, 256, **kwargs)
    policy = build_policy(envs.tokenizer, envs.prompt_length, envs.completion_length, model=str(model))
    keys = folder / "seen_keys.npy"
    seen = np.load(keys) if keys.exists() and facts.get("env_id") == env_id else None
    return Loaded(policy, envs, float(facts.get("temperature", 1.0)), seen)
