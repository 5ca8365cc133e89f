"""`rlfl eval`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import tyro
from tyro.conf import Positional

from rlfl_agents.cli.words import AS_THEY_ARE, NONE, EnvKwargs, Prompting, find, need_agent
from rlfl_envs import check_value

if TYPE_CHECKING:
    from rlfl_agents import Evaluation

__all__ = ["evaluate"]


def evaluate(
    model: Positional[str],
    env_id: Annotated[str | None, Positional, tyro.conf.arg(metavar="ID")] = None,
    env_kwargs: EnvKwargs = NONE,
    prompting: Prompting = AS_THEY_ARE,
    prompts: int = 1000,
    worst: int = 8,
    seed: int = 1,
    device: Literal["auto", "cpu"] = "auto",
    trust_folder: bool = False,
) -> None:
    """Measure a run or a model on held-out prompts, greedily and sampled.

    Args:
        model: A run directory (its best policy is taken), a model's folder, or a Hugging Face name.
        env_id: The id; by default the one it was trained on. An id with a module has to be named: no folder makes a
            module be imported.
        env_kwargs: The environment's arguments, on top of those it was trained with.
        prompting: How prompts are put to it; by default as in its training.
        prompts: How many held-out prompts.
        worst: How many of the worst misses to show, 0 or more.
        seed: Of prompts and samples; 0 are those by which training chose its best policy.
        device: "auto" takes an accelerator where there is one.
        trust_folder: Let the folder say which code, files and downloads are loaded.
    """
    need_agent("eval")
    from rlfl_agents import evaluate_policy
    from rlfl_agents.model.names import load_policy

    check_value("worst", worst, worst >= 0, "0 or more")
    policy, envs, temperature, seen, reference = load_policy(
        model,
        find(env_id) if env_id else None,
        env_kwargs | prompting.arguments(),
        num_envs=max(1, min(256, prompts)),
        device=device,
        trust_folder=trust_folder,
    )
    greedy = evaluate_policy(policy, envs, prompts, seed=seed, seen=seen, reference=reference)
    sampled = evaluate_policy(
        policy, envs, prompts, seed=seed, greedy=False, temperature=temperature, seen=seen, reference=reference
    )
    print(f"{model} on {prompts} prompts of split={envs.task.config.split!r}")
    for name, result in (("greedy", greedy), ("sampled", sampled)):
        _print_evaluation(name, result, seen is not None, reference is not None)
    rng = np.random.default_rng(0)
    misses = greedy.worst(worst)
    print(f"\nWorst misses, greedy ({greedy.success.n - round(greedy.success.mean * greedy.success.n)} in all):")
    for miss in misses:
        answer = envs.task.reference_completion(envs.task.parse_prompt(miss.prompt), rng)
        right = f"  right: {answer!r}" if answer is not None else ""
        print(f"    {miss.reward:6.3f}  {miss.prompt!r} -> {miss.completion!r}{right}")


def _print_evaluation(name: str, result: Evaluation, knows_unseen: bool, knows_reference: bool) -> None:
    parts = ", ".join(f"{part} {value:.3f}" for part, value in result.parts.items())
    print(f"\n{name:8} success {result.success} (95% Wilson interval)\n{'':8} reward  {result.reward:.4f} ({parts})")
    if knows_reference:
        diversity = f"distinct-1 {result.distinct_1:.3f}, distinct-2 {result.distinct_2:.3f}"
        print(f"{'':8} ref_kl  {result.ref_kl.mean():.2f} nats per completion, {diversity}")
    if knows_unseen:
        print(f"{'':8} success on novelty keys not met in training: {result.unseen}")
