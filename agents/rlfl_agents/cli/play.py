"""`rlfl play`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import rlfl_envs
from rlfl_agents.cli.words import AS_THEY_ARE, NONE, EnvKwargs, Prompting, find, need_agent
from rlfl_agents.settings import EnvId
from rlfl_envs import Outcome, RLFLError, Task, check_value, printable

__all__ = ["play"]


def play(
    env_id: EnvId,
    model: Path | None = None,
    env_kwargs: EnvKwargs = NONE,
    prompting: Prompting = AS_THEY_ARE,
    seed: int | None = None,
    trust_folder: bool = False,
) -> None:
    """Type completions yourself and see what they earn, or let a model answer your prompts.

    Args:
        env_id: Which environment; "package.module:namespace/Name-v0" imports the module that registers it.
        model: A model or run directory (needs the agent extra): then you type prompts and it answers.
        env_kwargs: The environment's arguments, on top of those a model was trained with.
        prompting: How prompts are put to you or the model.
        seed: Of the prompts; another one each time by default.
        trust_folder: Let the model's folder say which code, files and downloads are loaded.
    """
    check_value("seed", seed, seed is None or seed >= 0, "0 or more, or None")
    rng = np.random.default_rng(seed)
    env_kwargs = env_kwargs | prompting.arguments()
    if model is None:
        _answer_prompts(rlfl_envs.load_task(find(env_id), **env_kwargs), rng)
    else:
        _ask_model(model, find(env_id), env_kwargs, rng, trust_folder)


def _answer_prompts(task: Task, rng: np.random.Generator) -> None:
    print("Complete each prompt; an empty line shows a reference completion, Ctrl-D ends.\n")
    while True:
        prompt = task.sample_prompts(rng, 1)[0]
        try:
            completion = input(printable(task.text_for_model(prompt)))
        except EOFError:
            print()
            return
        if not completion:
            reference = task.reference_completion(prompt, rng)
            if reference is None:
                print("    there is no reference")
                continue
            print(f"    a reference completion: {reference!r}")
            completion = reference
        print(f"    {_verdict(task.evaluate([prompt], [completion])[0])}")


def _ask_model(model: Path, env_id: str, env_kwargs: EnvKwargs, rng: np.random.Generator, trust_folder: bool) -> None:
    need_agent("play --model")
    import torch

    from rlfl_agents import collect
    from rlfl_agents.model.names import load_policy

    loaded = load_policy(model, env_id, env_kwargs, num_envs=1, trust_folder=trust_folder)
    task = loaded.envs.task
    example = task.sample_prompts(rng, 1)[0].text
    print(f"Type a prompt, or an empty line for a held-out one, such as {example!r}; Ctrl-D ends.\n")
    while True:
        try:
            text = input("prompt: ") or task.sample_prompts(rng, 1)[0].text
            rollout = collect(loaded.policy, loaded.envs, torch.Generator(), greedy=True, prompts=[text])
        except EOFError:
            print()
            return
        except RLFLError as error:
            print(f"    {printable(str(error))}")
            continue
        completion = rollout.completion_texts[0]
        outcome = task.evaluate([task.parse_prompt(text)], [completion])[0]
        print(f"    {printable(text + completion)}\n    {_verdict(outcome)}")


def _verdict(outcome: Outcome) -> str:
    parts = ", ".join(f"{name} {value:g}" for name, value in outcome.parts.items())
    solved = "solved" if outcome.is_success else "not solved"
    return f"reward {outcome.reward:.3f}  {solved}  ({parts}; {outcome.status})"
