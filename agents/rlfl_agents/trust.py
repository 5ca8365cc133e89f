"""What a folder from elsewhere may say: numbers and words, and nothing that loads code, other files or downloads.

The user's own words are believed, and so is a folder that the user trusts (`--trust-folder`).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlfl_agents.config import PPOConfig
from rlfl_agents.settings import check_env_kwargs
from rlfl_envs import ConfigError, RLFLError, arguments_that_load

__all__ = ["check_arguments", "check_files", "check_run_settings", "names_download"]

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_ALIASES = ("pretrained", "smollm2")


def check_files(folder: Path) -> None:
    """Refuses a folder with links that lead out of it, pipes and devices, and a list of weights that are not in it.

    A folder of the hub's own cache is links into the cache, which are allowed.

    Raises:
        ConfigError: With the file.
    """
    root = Path(os.path.realpath(folder))  # Path.resolve raises where links go in a circle
    allowed = [root, *([root.parents[1] / "blobs"] if root.parent.name == "snapshots" else [])]
    for path in folder.rglob("*"):
        if path.is_symlink() and not any(Path(os.path.realpath(path)).is_relative_to(place) for place in allowed):
            raise ConfigError(f"{str(path)!r} is a link out of its folder. {_HOW_TO_TRUST}")
        if path.is_fifo() or path.is_socket() or path.is_char_device() or path.is_block_device():
            raise ConfigError(f"{str(path)!r} is no file: whoever reads it may wait for ever. {_HOW_TO_TRUST}")
    for path in folder.rglob("*.safetensors.index.json"):
        try:
            files = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
            outside = sorted(file for file in files if Path(file).name != file)
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise ConfigError(f"{str(path)!r} is damaged ({error!r}).") from error
        if outside:
            raise ConfigError(f"{str(path)!r} names weights outside its folder: {outside[0]!r}.")


def check_arguments(env_id: str, env_kwargs: Any, source: Path) -> None:
    """Refuses arguments of an environment that a file must not choose.

    Args:
        env_id: The id that they are of.
        env_kwargs: The arguments that the file names, without those that the user has named as well.
        source: The file.

    Raises:
        ConfigError: They are no arguments of the task, or would load code, a file or a download.
    """
    if not isinstance(env_kwargs, Mapping):
        raise ConfigError(f"{str(source)!r} is damaged: env_kwargs is {env_kwargs!r}.")
    try:
        check_env_kwargs(env_kwargs)
        loading = arguments_that_load(env_id, env_kwargs)
    except RLFLError as error:
        raise ConfigError(f"{str(source)!r} cannot be used: {error}") from error
    if loading:
        name = loading[0]
        raise ConfigError(
            f"{str(source)!r} asks for {name}={env_kwargs[name]!r}, which would load what lies elsewhere. "
            f"{_HOW_TO_TRUST} Or say it yourself: --env-kwargs {name}=..."
        )


def check_run_settings(
    config: PPOConfig, env_id: str, env_kwargs: Mapping[str, Any], model: str | None, source: Path
) -> None:
    """Refuses settings of a run that its folder must not choose.

    Args:
        config: The settings that the file names.
        env_id: The id that the user has named; the file's own is not looked up, since that may import a module.
        env_kwargs: The arguments that the user has named.
        model: The model that the user has named.
        source: The file.

    Raises:
        ConfigError: They are of another id, would load code, a file or a download, or send metrics elsewhere.
    """
    if config.env_id != env_id:
        raise ConfigError(f"env_id={env_id!r}, but the run in {str(source.parent)!r} was begun with {config.env_id!r}.")
    chosen = {name: value for name, value in config.env_kwargs.items() if name not in env_kwargs}
    if chosen.get("vocabulary") == (model or config.model):  # the model's own
        chosen.pop("vocabulary", None)
    check_arguments(env_id, chosen, source)
    if model is None and config.model is not None and names_download(config.model):
        raise ConfigError(
            f"{str(source)!r} asks for model={config.model!r}, which is no folder here. {_HOW_TO_TRUST} Or say it "
            f"yourself: --model {config.model}"
        )
    if config.report_to:
        raise ConfigError(
            f"{str(source)!r} asks for report_to={config.report_to!r}, which would send metrics elsewhere. "
            f"{_HOW_TO_TRUST}"
        )


def names_download(model: str) -> bool:
    """Whether a model's name is none that this machine has, and one that the hub may have."""
    return model not in _ALIASES and not Path(model).is_dir() and _HUB_NAME.fullmatch(model) is not None


_HOW_TO_TRUST = "If the folder is your own, or you trust it as you trust a program, add --trust-folder."
