"""What an id pays without learning anything: the four numbers to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlfl_envs.arguments import check_value, is_integer
from rlfl_envs.episode import Outcome, Prompt
from rlfl_envs.protocols import SlowTask
from rlfl_envs.task import Task
from rlfl_envs.vector import TokenVectorEnv

__all__ = ["Baseline", "Played", "baselines", "play_at_random"]

_PROMPTS = 500


@dataclass(frozen=True, slots=True)
class Baseline:
    """The mean result of one fixed way to answer.

    Attributes:
        name: "random tokens", "random legal tokens", "best constant answer" or "reference".
        reward: Mean reward.
        success: Share of episodes that succeed, 0..1.
        example: A completion it gave; for the constant answer the constant.
        prompts: Over how many prompts the means are.
    """

    name: str
    reward: float
    success: float
    example: str
    prompts: int


def baselines(task: Task, *, num_prompts: int | None = None, seed: int = 0) -> list[Baseline]:
    """Plays an id without a model.

    "random tokens" draws uniformly from the whole vocabulary, "random legal tokens" from what the mask allows, "best
    constant answer" is the one of `task.constant_completions()` with the highest mean reward over the same prompts,
    "reference" is `task.reference_completion`.

    Args:
        task: The task, as `load_task` makes it.
        num_prompts: How many prompts each is averaged over; 500 by default, or what a `SlowTask` says.
        seed: Of prompts and random tokens.

    Returns:
        The baselines that the task has: the last two only where it gives candidates and references.

    Raises:
        ConfigError: `task` is something else, such as an id, or there are no prompts.
    """
    check_value("task", task, isinstance(task, Task), "a Task, as load_task makes it")
    if num_prompts is None:
        num_prompts = task.baseline_prompts if isinstance(task, SlowTask) else _PROMPTS
    check_value(
        "num_prompts", num_prompts, is_integer(num_prompts) and num_prompts >= 1, "an integer, 1 or more, or None"
    )
    check_value("seed", seed, is_integer(seed) and seed >= 0, "an integer, 0 or more")
    rng = np.random.default_rng(seed)
    found = []
    for name, legal in (("random tokens", False), ("random legal tokens", True)):
        played = play_at_random(task, num_prompts, seed, legal=legal)
        example = next((text for text in played.texts if text), "")
        means = float(played.rewards.mean()), float(played.successes.mean())
        found.append(Baseline(name, *means, example, num_prompts))
    prompts = task.sample_prompts(rng, num_prompts)
    constants = [
        _summary("best constant answer", constant, task.evaluate(prompts, [constant] * num_prompts))
        for constant in task.constant_completions()
    ]
    if constants:
        found.append(max(constants, key=lambda baseline: baseline.reward))
    references = [task.reference_completion(prompt, rng) for prompt in prompts]
    if all(reference is not None for reference in references):
        texts = [str(reference) for reference in references]
        found.append(_summary("reference", texts[0], task.evaluate(prompts, texts)))
    return found


def _summary(name: str, example: str, outcomes: list[Outcome]) -> Baseline:
    reward = float(np.mean([outcome.reward for outcome in outcomes]))
    return Baseline(name, reward, float(np.mean([outcome.is_success for outcome in outcomes])), example, len(outcomes))


class Played(NamedTuple):
    """Episodes of random tokens.

    Attributes:
        prompts: Their prompts.
        texts: Their completions.
        rewards: What they earned, float64 [N].
        successes: bool [N].
    """

    prompts: list[Prompt]
    texts: list[str]
    rewards: NDArray[np.float64]
    successes: NDArray[np.bool_]


def play_at_random(task: Task, num_prompts: int, seed: int, *, legal: bool) -> Played:
    """Plays an episode of each prompt by tokens drawn uniformly, of the whole vocabulary or of what the mask allows."""
    envs = TokenVectorEnv(task, num_prompts, autoreset_mode="Disabled")
    rng = np.random.default_rng(seed)
    _, infos = envs.reset(seed=seed)
    rewards, successes = np.zeros(num_prompts), np.zeros(num_prompts, dtype=np.bool_)
    finished = np.zeros(num_prompts, dtype=np.bool_)
    while not finished.all():
        weights = rng.random((num_prompts, task.tokenizer.vocab_size))
        if legal:
            weights *= infos["action_mask"]
        _, reward, finished, _, infos = envs.step(weights.argmax(axis=1))
        rewards += reward
        ends: dict[str, Any] = infos
        successes |= ends.get("is_success", False)
    texts = [envs.current_completion(row) for row in range(num_prompts)]
    return Played([*envs.prompts], texts, rewards, successes)
