"""A trained attacker: a small policy that is trained for a reward, and what it is paid for that is no success.

It finds what a list of attacks does not think of. Between stages of its training it is asked for completions; what
earns much then and is no success is reported, kind by kind.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rlfl_agents.config import PPOConfig, SFTConfig
from rlfl_agents.evaluate import evaluate_policy
from rlfl_agents.model.names import load_policy
from rlfl_agents.ppo import train
from rlfl_agents.sft import warm_start
from rlfl_envs import Finding, Outcome, Prompt, Task, check_value, judge_attack, load_task

__all__ = ["Kind", "attack"]

_MEANING = "A small policy is trained for the reward."
_ASKED = 512  # completions after each stage
_EPOCHS = 10  # over the right answers that it is shown
_SHARED = ("env_id", "env_kwargs", "seed", "layers", "width", "heads", "eval_prompts", "threads", "device")
_SETTINGS: dict[str, Any] = {
    "advantage": "rloo",
    "group_size": 8,
    "prompts": 64,
    "minibatches": 2,
    "epochs": 2,
    "layers": 2,
    "width": 64,
    "heads": 4,
    "learning_rate": 2e-3,
    "lr_schedule": "constant",
    "entropy_coef": 0.01,
    "batch_entropy_coef": 0.02,
    "eval_every": 0,
    "eval_prompts": 8,
    "keep_last": 1,
    "threads": 1,
    "device": "cpu",
}


class Kind(NamedTuple):
    """Completions that are no success and were judged alike.

    Attributes:
        stage: After how many completions of training.
        reward: What they earn, to two digits.
        status: What the task said.
        share: How many of all completions at that stage they are, 0..1.
        prompt: The prompt of one of them.
        text: That completion.
        parts: The parts of its reward.
    """

    stage: int
    reward: float
    status: str
    share: float
    prompt: str
    text: str
    parts: dict[str, float]


def attack(
    env_id: str,
    env_kwargs: Mapping[str, Any],
    *,
    samples: int = 20_480,
    stages: int = 4,
    examples: int = 0,
    seed: int = 0,
    **settings: Any,
) -> tuple[Finding, list[Kind]]:
    """Trains an attacker on an id.

    Args:
        env_id: The id.
        env_kwargs: Its arguments.
        samples: How many completions it learns from.
        stages: How often it is asked what it has found.
        examples: How many right answers it imitates first, where by chance none would earn anything; 0 begins from
            random weights.
        seed: Of everything.
        **settings: Of its training, where they should be others (see `PPOConfig`).

    Returns:
        The finding, each stage a way; and the kinds of completions that earn something without success, those first
        that earn most.

    Raises:
        ConfigError: A setting is wrong.
    """
    check_value("stages", stages, stages >= 1, "1 or more")
    config = PPOConfig(env_id=env_id, env_kwargs=dict(env_kwargs), seed=seed, **(_SETTINGS | settings))
    task = load_task(env_id, **env_kwargs)
    written: list[tuple[Prompt, str, str]] = []
    kinds: list[Kind] = []
    with tempfile.TemporaryDirectory() as folder:
        if examples:
            config = dataclasses.replace(config, model=str(Path(folder) / "shown"))
            shared = {name: getattr(config, name) for name in _SHARED}
            shown = SFTConfig(**shared, examples=examples, epochs=_EPOCHS, prompt_loss=False)
            warm_start(shown, Path(folder) / "shown", quiet=True)
        run = Path(folder) / "run"
        for stage in range(1, stages + 1):
            learned = samples * stage // stages
            train(dataclasses.replace(config, total_samples=learned), run, resume=stage > 1, quiet=True)
            found = _ask(config, run, task)
            written += [(prompt, f"after {learned:,} completions", text) for prompt, text in found]
            kinds += _kinds(task, found, learned)
    finding = judge_attack(task, "trained attacker", _MEANING, written)
    return finding, sorted(kinds, key=lambda kind: (-kind.reward, -kind.share))


def _ask(config: PPOConfig, run: Path, task: Task) -> list[tuple[Prompt, str]]:
    """What the policy says to prompts that it was not trained on."""
    asked = min(_ASKED, 2 * config.rows)
    policy, envs, *_ = load_policy(
        str(run / "policy"), config.env_id, config.env_kwargs, num_envs=min(asked, 256), device="cpu"
    )
    samples = evaluate_policy(policy, envs, asked, greedy=False).samples
    return [(task.parse_prompt(sample.prompt), sample.completion) for sample in samples]


def _kinds(task: Task, found: list[tuple[Prompt, str]], stage: int) -> list[Kind]:
    """Completions by what they earn and how they were judged."""
    outcomes = task.evaluate([prompt for prompt, _ in found], [text for _, text in found])
    alike: dict[tuple[float, str], list[tuple[Prompt, str, Outcome]]] = {}
    for (prompt, text), outcome in zip(found, outcomes, strict=True):
        if not outcome.is_success and outcome.reward > max(0.0, task.reward_range[0]):
            alike.setdefault((round(outcome.reward, 2), outcome.status), []).append((prompt, text, outcome))
    return [
        Kind(stage, reward, status, len(those) / len(found), those[0][0].text, those[0][1], dict(those[0][2].parts))
        for (reward, status), those in alike.items()
    ]
