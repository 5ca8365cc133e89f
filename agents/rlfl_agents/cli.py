"""The command line: `rlfl list | show | play | pretrain | from-gguf | sft | train | eval | plot`.

The first three need no torch. The others import it when they are called, and say what to install where it is missing.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import tyro
from tyro.conf import Positional
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

import rlfl_envs
from rlfl_envs import ConfigError, IllustratedTask, MissingDependencyError, Outcome, RLFLError, Task

__all__ = ["EnvKwargs", "main", "parse"]

EnvKwargs = dict[str, Any]
_NONE: EnvKwargs = {}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: What follows `rlfl`; the process's own arguments by default.

    Returns:
        The exit status: 0, or 2 after an error of ours or of the operating system, which gets one line.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(_usage())
        return 0
    command = _COMMANDS.get(words[0])
    try:
        if command is None:
            known = ", ".join(_COMMANDS)
            raise ConfigError(f"command={words[0]!r} is not known; allowed: {known}.")
        command(words[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (RLFLError, OSError) as error:
        print(f"rlfl: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _usage() -> str:
    lines = ["usage: rlfl COMMAND [...]; `rlfl COMMAND --help` explains a command", ""]
    lines += [f"  {name:9} {(command.__doc__ or '').splitlines()[0]}" for name, command in _COMMANDS.items()]
    return "\n".join(lines)


def parse(function: Callable[..., None], name: str, words: Sequence[str]) -> None:
    """Calls a function with its arguments taken from the words after the command."""
    tyro.cli(
        function,
        args=list(words),
        prog=f"rlfl {name}",
        registry=_registry(),
        config=(tyro.conf.OmitArgPrefixes,),
        compact_help=False,
    )


def _registry() -> ConstructorRegistry:
    """Teaches tyro `--env-kwargs operators=+* length=8`."""
    registry = ConstructorRegistry()

    @registry.primitive_rule
    def _env_kwargs(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[EnvKwargs] | None:
        if info.type_origin is not dict:
            return None
        return PrimitiveConstructorSpec(
            nargs="*",
            metavar="NAME=VALUE [NAME=VALUE ...]",
            instance_from_str=lambda words: dict(map(_name_and_value, words)),
            is_instance=lambda value: isinstance(value, dict),
            str_from_instance=lambda value: [f"{name}={_written(each)}" for name, each in value.items()],
        )

    return registry


def _name_and_value(word: str) -> tuple[str, Any]:
    """Reads `length=8` (JSON where it is JSON) or `operators=+*` (else text)."""
    name, equals, value = word.partition("=")
    if not equals or not name:
        raise ValueError(f"{word!r} is not of the form NAME=VALUE")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


# --- without torch --------------------------------------------------------------------------------------------------


def _list(words: Sequence[str]) -> None:
    """Show every id and what it is."""

    def run() -> None:
        """Show every id and what it is."""
        for env_id in rlfl_envs.list_ids():
            own = dict(gymnasium.spec(env_id).kwargs)
            cls = rlfl_envs.task_class(own.pop("task"))
            words = [(cls.__doc__ or "").strip().splitlines()[0], *(f"{name}={value}" for name, value in own.items())]
            missing = [package for package in cls.packages if importlib.util.find_spec(package) is None]
            words += [f"(not installed: {', '.join(missing)})"] if missing else []
            print(f"{env_id:28} {' '.join(words)}")

    parse(run, "list", words)


def _show(words: Sequence[str]) -> None:
    """Show an id's card, spaces, baselines and sample prompts, or a picture of one of its texts."""

    def run(
        env_id: Positional[str],
        env_kwargs: EnvKwargs = _NONE,
        prompts: int = 5,
        baseline_prompts: int | None = None,
        picture: Path | None = None,
        text: Path | None = None,
        seed: int = 0,
    ) -> None:
        """Show an id's card, spaces, baselines and sample prompts, or a picture of one of its texts.

        Args:
            env_id: Which environment.
            env_kwargs: Its arguments.
            prompts: How many sample prompts.
            baseline_prompts: How many prompts each baseline is averaged over; by default 500, or fewer where judging
                is slow.
            picture: Draw this picture (PNG) instead, of a game's board say, and print what is in it.
            text: A file with the game to be drawn; one of the task's own by default.
            seed: Of prompts, baselines and pictures.
        """
        task = rlfl_envs.load_task(env_id, **env_kwargs)
        if picture is not None:
            if not isinstance(task, IllustratedTask):
                raise ConfigError(f"picture={str(picture)!r} is not allowed; {type(task).__name__} has no pictures.")
            print(task.illustrate(picture, text.read_text(encoding="utf-8") if text else None, seed))
            return
        print(f"{env_id}\n{'=' * len(env_id)}\n{_unindented(type(task).__doc__ or '')}\n")
        vocabulary, columns = task.tokenizer.vocab_size, task.max_prompt_tokens + task.max_completion_tokens
        print(f"Spaces here:\n    action       Discrete({vocabulary})")
        print(f"    observation  MultiDiscrete([{vocabulary}] * {columns}):")
        print(
            f"                 {task.max_prompt_tokens} prompt columns, {task.max_completion_tokens} completion columns"
        )
        print(f"    reward       {task.reward_range[0]:g} to {task.reward_range[1]:g}\n")
        rows = rlfl_envs.baselines(task, num_prompts=baseline_prompts, seed=seed)
        print(f"Baselines ({rows[0].prompts} prompts):\n    {'':22} {'reward':>7} {'success':>8}  example")
        for row in rows:
            print(f"    {row.name:22} {row.reward:7.3f} {row.success:8.3f}  {row.example[:40]!r}")
        print("\nSample prompts, with reference completions and their rewards:")
        rng = np.random.default_rng(seed)
        for prompt in task.sample_prompts(rng, prompts):
            reference = task.reference_completion(prompt, rng)
            if reference is None:
                print(f"    {prompt.text!r}")
                continue
            outcome = task.evaluate([prompt], [reference])[0]
            print(f"    {prompt.text!r} -> {reference!r}  {outcome.reward:.3f}")

    parse(run, "show", words)


def _unindented(card: str) -> str:
    lines = card.strip().splitlines()
    return "\n".join([lines[0], *(line.removeprefix("    ") for line in lines[1:])])


def _play(words: Sequence[str]) -> None:
    """Type completions yourself and see what they earn, or let a model answer."""

    def run(
        env_id: Positional[str], model: Path | None = None, env_kwargs: EnvKwargs = _NONE, seed: int | None = None
    ) -> None:
        """Type completions yourself and see what they earn, or let a model answer your prompts.

        Args:
            env_id: Which environment.
            model: A model or run directory (needs the agent extra): then you type prompts and it answers.
            env_kwargs: The environment's arguments, on top of those a model was trained with.
            seed: Of the prompts; another one each time by default.
        """
        rng = np.random.default_rng(seed)
        if model is None:
            _answer_prompts(rlfl_envs.load_task(env_id, **env_kwargs), rng)
        else:
            _ask_model(model, env_id, env_kwargs, rng)

    parse(run, "play", words)


def _answer_prompts(task: Task, rng: np.random.Generator) -> None:
    print("Complete each prompt; an empty line shows a reference completion, Ctrl-D ends.\n")
    while True:
        prompt = task.sample_prompts(rng, 1)[0]
        try:
            completion = input(prompt.text)
        except EOFError:
            print()
            return
        if not completion:
            reference = task.reference_completion(prompt, rng)
            print(
                f"    a reference completion: {reference!r}" if reference is not None else "    there is no reference"
            )
            if reference is None:
                continue
            completion = reference
        print(f"    {_verdict(task.evaluate([prompt], [completion])[0])}")


def _ask_model(model: Path, env_id: str, env_kwargs: EnvKwargs, rng: np.random.Generator) -> None:
    _need_agent("play --model")
    import torch

    from rlfl_agents.model.names import load_policy
    from rlfl_agents.rollout.collect import collect

    loaded = load_policy(model, env_id, env_kwargs, num_envs=1)
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
            print(f"    {error}")
            continue
        completion = rollout.completion_texts[0]
        print(f"    {text}{completion}\n    {_verdict(task.evaluate([task.parse_prompt(text)], [completion])[0])}")


def _verdict(outcome: Outcome) -> str:
    parts = ", ".join(f"{name} {value:g}" for name, value in outcome.parts.items())
    return (
        f"reward {outcome.reward:.3f}  {'solved' if outcome.is_success else 'not solved'}  ({parts}; {outcome.status})"
    )


# --- with torch: in cli_agent.py, imported when called ------------------------------------------------------------


def _need_agent(command: str) -> None:
    """Raises MissingDependencyError where the agent extra is not installed; quietens what is."""
    missing = [name for name in ("torch", "transformers", "accelerate") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f'`rlfl {command}` needs {", ".join(missing)}; install the agent: pip install "rlfl-envs[agent]"'
        )
    import transformers

    transformers.utils.logging.disable_progress_bar()  # it would draw over ours at every checkpoint


def _lazily(name: str, summary: str) -> Callable[[Sequence[str]], None]:
    """A command of cli_agent.py."""

    def command(words: Sequence[str]) -> None:
        _need_agent(name)
        from rlfl_agents import cli_agent

        getattr(cli_agent, name)(words)

    command.__doc__ = summary
    return command


_COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "list": _list,
    "show": _show,
    "play": _play,
    "pretrain": _lazily("pretrain", "Train a small language model on an id's own texts."),
    "from-gguf": _lazily("from_gguf", "Convert a GGUF file, SmolLM2's by default, into a model that can be trained."),
    "sft": _lazily("sft", "Warm a model up on reference completions."),
    "train": _lazily("train", "Train a policy on an id, by its preset unless flags say otherwise."),
    "eval": _lazily("evaluate", "Measure a run or a model on held-out prompts."),
    "plot": _lazily("plot", "Draw the learning curves of runs over each other."),
}
