"""`rlfl eval`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import tyro
from tyro.conf import Positional

from rlfl_agents.cli.words import AS_THEY_ARE, NONE, EnvKwargs, Prompting, find, need_agent
from rlfl_envs import TokenVectorEnv, check_value

if TYPE_CHECKING:
    from rlfl_agents import Evaluation

__all__ = ["evaluate"]

_SHOWN = (1, 2, 5, 10, 20, 50, 100, 200)  # of pass@k; the file has every k


def evaluate(
    model: Positional[str],
    env_id: Annotated[str | None, Positional, tyro.conf.arg(metavar="ID")] = None,
    env_kwargs: EnvKwargs = NONE,
    prompting: Prompting = AS_THEY_ARE,
    prompts: int = 1000,
    samples: int = 1,
    temperature: float | None = None,
    worst: int = 8,
    seed: int = 1,
    output: Path | None = None,
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
        prompts: How many held-out prompts; of an id that has fewer each is asked once.
        samples: How many completions of each prompt are sampled for pass@k, 1 to 1000; 1 leaves it out.
        temperature: For sampling, more than 0; by default what it was trained with, or 1.
        worst: How many of the worst misses to show, 0 or more.
        seed: Of prompts and samples; 0 are those by which training chose its best policy.
        output: A file for all numbers, as JSON.
        device: "auto" takes an accelerator where there is one.
        trust_folder: Let the folder say which code, files and downloads are loaded.
    """
    need_agent("eval")
    from rlfl_agents import evaluate_policy
    from rlfl_agents.evaluate import count_solved, pass_at_k
    from rlfl_agents.model.names import load_policy
    from rlfl_agents.model.products import matmul_precision

    check_value("worst", worst, worst >= 0, "0 or more")
    check_value("samples", samples, 1 <= samples <= 1000, "1..1000")
    check_value("temperature", temperature, temperature is None or temperature >= 1e-6, "1e-6 or more")
    policy, envs, trained_with, seen, reference, found_id = load_policy(
        model,
        find(env_id) if env_id else None,
        env_kwargs | prompting.arguments(),
        num_envs=max(1, min(256, prompts)),
        device=device,
        trust_folder=trust_folder,
    )
    if output is not None:  # now, and not after everything is measured
        output.parent.mkdir(parents=True, exist_ok=True)
    temperature = temperature or trained_with
    reads_on = next(policy.parameters()).device
    with matmul_precision("auto", reads_on):
        greedy = evaluate_policy(policy, envs, prompts, seed=seed, seen=seen, reference=reference)
        sampled = evaluate_policy(
            policy, envs, prompts, seed=seed, greedy=False, temperature=temperature, seen=seen, reference=reference
        )
    asked = greedy.success.n
    print(f"{model} on {asked} prompts of split={envs.task.config.split!r}")
    for name, result in (("greedy", greedy), ("sampled", sampled)):
        _print_evaluation(name, result, seen is not None, reference is not None)
    found: dict[str, Any] = {"greedy": _numbers(greedy), "sampled": _numbers(sampled)}
    if samples > 1:
        groups = max(1, min(256 // samples, asked))
        grouped = TokenVectorEnv(envs.task, groups * samples, autoreset_mode="Disabled")
        with matmul_precision("auto", reads_on):
            solved = count_solved(policy, grouped, prompts, samples, seed=seed, temperature=temperature)
        rates = {k: pass_at_k(samples, solved, k) for k in range(1, samples + 1)}
        found |= {"pass_at": rates, "solved": solved.tolist()}
        shown = ", ".join(f"pass@{k} {rate:.3f}" for k, rate in rates.items() if k in {*_SHOWN, samples})
        print(f"\n{samples} samples of each prompt at temperature {temperature:g}: {shown}")
    _print_worst(greedy, envs, worst)
    if output is not None:
        settings = {"prompts": asked, "samples": samples, "temperature": temperature, "seed": seed}
        asked_of = {"model": model, "id": found_id, **settings, "arguments": asdict(envs.task.config)}
        output.write_text(json.dumps(asked_of | found) + "\n")


def _numbers(result: Evaluation) -> dict[str, Any]:
    """What is not a text."""
    return {
        "success": asdict(result.success),
        "unseen": asdict(result.unseen) if result.unseen.n else None,
        "reward": result.reward,
        "parts": dict(result.parts),
        "distinct_1": result.distinct_1,
        "distinct_2": result.distinct_2,
        "ref_kl": float(result.ref_kl.mean()),
    }


def _print_worst(greedy: Evaluation, envs: TokenVectorEnv, worst: int) -> None:
    rng = np.random.default_rng(0)
    print(f"\nWorst misses, greedy ({greedy.success.n - round(greedy.success.mean * greedy.success.n)} in all):")
    for miss in greedy.worst(worst):
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
