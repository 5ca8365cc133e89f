"""`rlfl show`."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np

import rlfl_envs
from rlfl_agents.cli.words import AS_THEY_ARE, NONE, EnvKwargs, Prompting, find
from rlfl_agents.settings import EnvId
from rlfl_envs import ConfigError, IllustratedTask, PromptedTask, Task, check_value

__all__ = ["show"]


def show(
    env_id: EnvId,
    env_kwargs: EnvKwargs = NONE,
    prompting: Prompting = AS_THEY_ARE,
    prompts: int = 5,
    baseline_prompts: int | None = None,
    picture: Path | None = None,
    text: Path | None = None,
    seed: int = 0,
) -> None:
    """Show an id's card, spaces, baselines and sample prompts, or a picture of one of its texts.

    Args:
        env_id: Which environment; "package.module:namespace/Name-v0" imports the module that registers it.
        env_kwargs: Its arguments.
        prompting: How prompts are put to a model.
        prompts: How many sample prompts.
        baseline_prompts: How many prompts each baseline is averaged over; by default 500, or fewer where judging is
            slow.
        picture: Draw this picture (PNG) instead, of a game's board say, and print what is in it.
        text: A file with the game to be drawn; one of the task's own by default.
        seed: Of prompts, baselines and pictures.
    """
    check_value("prompts", prompts, prompts >= 0, "0 or more")
    check_value("text", str(text), text is None or picture is not None, "a file to draw a picture of, with --picture")
    task = rlfl_envs.load_task(find(env_id), **(env_kwargs | prompting.arguments()))
    if picture is not None:
        if not isinstance(task, IllustratedTask):
            raise ConfigError(f"picture={str(picture)!r} is not allowed; {task.name} has no pictures.")
        said = task.illustrate(picture, text.read_text(encoding="utf-8") if text else None, seed)
        print(rlfl_envs.printable(said))
        return
    print(f"{env_id}\n{'=' * len(env_id)}\n{task.card}\n")
    _print_spaces(task)
    _print_baselines(task, baseline_prompts, seed)
    _print_prompts(task, prompts, seed)


def _print_spaces(task: Task) -> None:
    vocabulary, prompt, completion = task.tokenizer.vocab_size, task.max_prompt_tokens, task.max_completion_tokens
    print(f"Spaces here:\n    action       Discrete({vocabulary})")
    print(f"    observation  MultiDiscrete([{vocabulary}] * {prompt + completion}):")
    print(f"                 {prompt} prompt columns, {completion} completion columns")
    print(f"    reward       {task.reward_range[0]:g} to {task.reward_range[1]:g}\n")


def _print_baselines(task: Task, num_prompts: int | None, seed: int) -> None:
    rows = rlfl_envs.baselines(task, num_prompts=num_prompts, seed=seed)
    print(f"Baselines ({rows[0].prompts} prompts):\n    {'':22} {'reward':>7} {'success':>8}  example")
    for row in rows:
        print(f"    {row.name:22} {row.reward:7.3f} {row.success:8.3f}  {row.example[:40]!r}")


def _print_prompts(task: Task, count: int, seed: int) -> None:
    print("\nSample prompts, with reference completions and their rewards:")
    rng = np.random.default_rng(seed)
    for prompt in task.sample_prompts(rng, count):
        if isinstance(task, PromptedTask):
            print(textwrap.indent(rlfl_envs.printable(task.text_for_model(prompt)), "    | ", lambda _: True))
        reference = task.reference_completion(prompt, rng)
        if reference is None:
            print(f"    {prompt.text!r}")
            continue
        outcome = task.evaluate([prompt], [reference])[0]
        print(f"    {prompt.text!r} -> {reference!r}  {outcome.reward:.3f}")
