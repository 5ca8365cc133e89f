"""`rlfl train`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from rlfl_agents.cli.words import (
    ARGUMENT_RULES,
    AS_THEY_ARE,
    EnvKwargs,
    Prompting,
    leading_id,
    named_folder,
    need_agent,
)
from rlfl_agents.config import PPOConfig
from rlfl_agents.presets import AFTER_WARM_START, preset
from rlfl_agents.trust import check_files, check_run_settings

__all__ = ["train", "training_settings"]

Recipe = Literal["ours", "paper"]


@dataclass(frozen=True)
class _Start:
    """The flags that decide, as the id does, what the defaults of all others are."""

    recipe: Recipe = "ours"
    run_dir: Path | None = None
    resume: bool = False
    seed: int = 0
    model: str | None = None
    trust_folder: bool = False
    env_kwargs: EnvKwargs = field(default_factory=dict)

    def folder(self, config: PPOConfig) -> Path:
        """Where the run is written."""
        return self.run_dir or named_folder(f"{config.short_id}-seed{self.seed}", self.resume)

    def settings(self, env_id: str) -> PPOConfig:
        """The id's preset, or what the run was begun with that goes on."""
        asked = {"env_kwargs": self.env_kwargs} | ({"model": self.model} if self.model else {})
        config = preset(env_id, self.recipe, **asked)
        if self.model and not self.trust_folder:
            check_files(Path(self.model))
        begun = self.folder(config) / "config.json"
        if not self.resume or not begun.exists():
            return config
        config = PPOConfig.read(begun)
        if not self.trust_folder:
            check_files(begun.parent)
            check_run_settings(config, env_id, self.env_kwargs, self.model, begun)
        return config


def training_settings(words: Sequence[str]) -> PPOConfig:
    """The defaults of `rlfl train ID`."""
    env_id = leading_id(words, PPOConfig.env_id)
    try:
        start, _ = tyro.cli(
            _Start,
            args=words,
            return_unknown_args=True,
            add_help=False,
            console_outputs=False,
            registry=ARGUMENT_RULES,
        )
    except SystemExit:  # a value is wrong, which is said when all flags are read
        start = _Start()
    return start.settings(env_id)


def train(
    config: PPOConfig,
    prompting: Prompting = AS_THEY_ARE,
    recipe: Recipe = "ours",
    run_dir: Path | None = None,
    resume: bool = False,
    quiet: bool = False,
    trust_folder: bool = False,
) -> None:
    """Train a policy on an id, by its preset unless flags say otherwise.

    Args:
        config: The settings. The defaults shown are the id's preset.
        prompting: How prompts are put to the model.
        recipe: Which preset the settings begin from: ours, or the paper's where it has such a task.
        run_dir: Where the run is written; by default runs/<id>-seed<seed>, or the next such name that is free.
        resume: Go on with the run in run_dir, by default the last one of that name, from its newest checkpoint and
            with the settings it was begun with.
        quiet: Print nothing.
        trust_folder: Let the folders of the run and of the model say which code, files and downloads are loaded.
    """
    need_agent("train")
    from accelerate import PartialState

    import rlfl_agents

    asked = config.env_kwargs | prompting.arguments()
    start = _Start(recipe, run_dir, resume, config.seed, config.model, trust_folder, asked)
    folder = start.folder(config)
    config = dataclasses.replace(config, env_kwargs=start.settings(config.env_id).env_kwargs | asked)
    quiet = quiet or os.environ.get("RANK", "0") != "0"  # under torchrun, one process speaks
    if not quiet:
        print(f"{config.env_id} -> {folder}")
        if resume and not (folder / "config.json").exists():
            print("There is no run to resume: this one begins.")
        if config.env_id in AFTER_WARM_START and config.model is None:
            print(
                "The preset goes on from a warm start; from random weights it learns next to nothing. First\n"
                f"    rlfl sft {config.env_id} --layers 2 --width 64 --epochs 120 --output warm\nthen --model warm."
            )
    rlfl_agents.train(config, folder, resume=resume, quiet=quiet)
    if not quiet:
        named = f" {config.env_id}" if ":" in config.env_id else ""  # no folder makes a module be imported
        print(f"\nlearning curves: {folder / 'curves.png'}\nevaluate it:     rlfl eval {folder}{named}")
    PartialState().destroy_process_group()
