"""How good is a policy on held-out prompts? Success with its confidence interval, reward and parts, the worst misses.

Prompts are those of `split="test"`, each drawn from a fixed seed of its own, so that every evaluation of an id asks the
same questions, however many environments it has. A task of few prompts is asked each of them once, in their order.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from rlfl_agents.learn.diversity import distinct
from rlfl_agents.learn.losses import sequence_kl
from rlfl_agents.model.policy import Policy
from rlfl_agents.rollout.collect import collect, reference_log_probs
from rlfl_agents.run.metrics import Sample
from rlfl_agents.run.seen import is_among
from rlfl_envs import FiniteTask, Prompt, Task, TokenVectorEnv, check_value

__all__ = [
    "EVAL_SEED",
    "Evaluation",
    "Share",
    "count_solved",
    "evaluate_policy",
    "evaluation_row",
    "novelty_hashes",
    "pass_at_k",
]

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
        distinct_1: Share of different tokens among all completion tokens.
        distinct_2: Share of different pairs of adjacent tokens.
        ref_kl: Float64 [n], each episode's sum of log p - log p_ref, nats; 0 without a reference.
        samples: Every episode, in the order drawn.
    """

    success: Share
    unseen: Share
    reward: float
    parts: Mapping[str, float]
    distinct_1: float
    distinct_2: float
    ref_kl: np.ndarray
    samples: list[Sample]

    def worst(self, count: int) -> list[Sample]:
        """The misses with the lowest rewards."""
        misses = [sample for sample in self.samples if not sample.is_success]
        return sorted(misses, key=lambda sample: sample.reward)[:count]


def novelty_hashes(task: Task, prompts: Iterable[Prompt]) -> np.ndarray:
    """Eight bytes for each prompt's novelty key: int64 [n]. Compact enough to keep those of a whole run."""
    digests = [hashlib.blake2b(task.novelty_key(prompt).encode(), digest_size=8).digest() for prompt in prompts]
    return np.frombuffer(b"".join(digests), dtype=np.int64)


def evaluate_policy(
    policy: Policy,
    envs: TokenVectorEnv,
    prompts: int,
    *,
    seed: int = 0,
    greedy: bool = True,
    temperature: float = 1.0,
    seen: np.ndarray | None = None,
    reference: Policy | None = None,
) -> Evaluation:
    """Plays held-out prompts.

    Args:
        policy: The policy.
        envs: From `make_envs(id, n, split="test")`.
        prompts: How many prompts, 1 or more; of a `FiniteTask` no more than there are.
        seed: Of prompts and samples, 0 or more; training evaluates with 0.
        greedy: Take the likeliest token each time, else sample.
        temperature: For sampling.
        seen: Int64 novelty hashes of the training prompts, or None where they are not known.
        reference: The frozen model that the policy started from, or the policy itself where it has adapters.

    Raises:
        ConfigError: `prompts` or `seed` is not allowed.
    """
    first, prompts, every = _begin(envs.task, prompts, seed)
    generator = torch.Generator().manual_seed(first)
    samples: list[Sample] = []
    parts: dict[str, list[float]] = {}
    hashes: list[np.ndarray] = []
    tokens: list[Tensor] = []
    active: list[Tensor] = []
    ref_kl: list[Tensor] = []
    while len(samples) < prompts:
        asked = _questions(envs, first, len(samples), every)
        rollout = collect(policy, envs, generator, temperature=temperature, greedy=greedy, **asked)
        played = envs.prompts
        rewards, successes = rollout.episode_rewards.tolist(), rollout.is_success.tolist()
        texts = [prompt.text for prompt in played]
        samples += map(Sample, texts, rollout.completion_texts, rewards, successes)
        hashes.append(novelty_hashes(envs.task, played))
        missing = (0, envs.completion_length - rollout.completions.shape[1])
        tokens.append(pad(rollout.completions, missing))
        active.append(pad(rollout.active, missing))
        ref_log_probs = rollout.log_probs
        if reference is not None:
            ref_log_probs = reference_log_probs(reference, rollout, temperature)
        ref_kl.append(sequence_kl(rollout.log_probs, ref_log_probs, rollout.active))
        for name, values in rollout.parts.items():
            parts.setdefault(name, []).extend(values.tolist())
    samples = samples[:prompts]
    written = torch.cat(tokens)[:prompts], torch.cat(active)[:prompts]
    solved = np.array([sample.is_success for sample in samples])
    is_new = np.zeros(prompts, dtype=np.bool_)
    if seen is not None:
        is_new = ~is_among(np.concatenate(hashes)[:prompts], np.sort(seen, kind="stable"))
    return Evaluation(
        success=Share.of(solved),
        unseen=Share.of(solved[is_new]),
        reward=float(np.mean([sample.reward for sample in samples])),
        parts={name: float(np.mean(values[:prompts])) for name, values in parts.items()},
        distinct_1=distinct(*written, 1),
        distinct_2=distinct(*written, 2),
        ref_kl=torch.cat(ref_kl)[:prompts].cpu().double().numpy(),
        samples=samples,
    )


def _begin(task: Task, prompts: int, seed: int) -> tuple[int, int, Sequence[Prompt]]:
    """The seed of the first prompt; how many there are to ask; which, if the task is finite."""
    check_value("prompts", prompts, prompts >= 1, "1 or more")
    check_value("seed", seed, 0 <= seed < 2**20, "0 to 2**20 - 1")
    first = EVAL_SEED + seed * 2**40  # as many prompts as one likes lie between two seeds
    if not isinstance(task, FiniteTask):
        return first, prompts, ()
    every = task.every_prompt()
    if len(every) > prompts:
        every = [every[i] for i in np.random.default_rng(first).permutation(len(every))[:prompts].tolist()]
    return first, len(every), every


def _questions(
    envs: TokenVectorEnv, first: int, begin: int, every: Sequence[Prompt], group_size: int = 1
) -> dict[str, Any]:
    """What `collect` asks: the prompts from number `begin` on, each in `group_size` environments side by side."""
    numbers = [begin + i // group_size for i in range(envs.num_envs)]
    if every:
        return {"group_size": group_size, "prompts": [every[number % len(every)].text for number in numbers]}
    return {"group_size": group_size, "seed": [first + number for number in numbers]}


# --- pass@k ----------------------------------------------------------------------------------------------------------


def count_solved(
    policy: Policy, envs: TokenVectorEnv, prompts: int, samples: int, *, seed: int = 0, temperature: float = 1.0
) -> NDArray[np.int64]:
    """Samples several completions of each held-out prompt, and counts those that succeed: for `pass_at_k`.

    The prompts are those of `evaluate_policy`.

    Args:
        policy: The policy.
        envs: From `make_envs(id, n, split="test")`; `samples` divides n.
        prompts: How many prompts, 1 or more; of a `FiniteTask` no more than there are.
        samples: How many completions of each, 1 or more.
        seed: Of prompts and samples, 0 or more.
        temperature: For sampling.

    Returns:
        Int64 [prompts], each 0..samples.

    Raises:
        ConfigError: `prompts`, `samples` or `seed` is not allowed.
    """
    first, prompts, every = _begin(envs.task, prompts, seed)
    is_divisor = samples >= 1 and envs.num_envs % samples == 0
    check_value("samples", samples, is_divisor, f"a divisor of num_envs={envs.num_envs}")
    generator = torch.Generator().manual_seed(first)
    counts: list[int] = []
    while len(counts) < prompts:
        asked = _questions(envs, first, len(counts), every, samples)
        rollout = collect(policy, envs, generator, temperature=temperature, **asked)
        counts += rollout.is_success.reshape(-1, samples).sum(dim=1).tolist()
    return np.array(counts[:prompts], dtype=np.int64)


def pass_at_k(samples: int, solved: Iterable[int], k: int) -> float:
    """The chance that one of k completions of a prompt succeeds, averaged over prompts.

    Of a prompt with c successes among n samples, 1 - C(n - c, k) / C(n, k) is without bias (Chen et al. 2021, equation
    1); 1 - (1 - c / n) ** k would be too small.

    Args:
        samples: n, how many completions of each prompt were judged.
        solved: c of each prompt, 0..n.
        k: 1..n.

    Raises:
        ConfigError: k is not allowed.
    """
    check_value("k", k, 1 <= k <= samples, f"1..{samples}, the number of samples")
    all_fail = [math.comb(samples - int(count), k) / math.comb(samples, k) for count in solved]
    return 1 - sum(all_fail) / len(all_fail)


# --- as numbers ------------------------------------------------------------------------------------------------------


def evaluation_row(greedy: Evaluation, sampled: Evaluation) -> dict[str, float]:
    """The columns of metrics.csv that an evaluation fills (EVAL_METRICS)."""
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
    return row | ({"eval/unseen_success": greedy.unseen.mean} if greedy.unseen.n else {})
