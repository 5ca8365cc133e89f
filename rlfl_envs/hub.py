"""The Hugging Face hub: whether a name can be had, asked once before a library that would go on asking for minutes."""

from __future__ import annotations

import huggingface_hub

from rlfl_envs.errors import ConfigError

__all__ = ["check_hub"]

_SECONDS = 10


def check_hub(argument: str, name: str, file: str) -> None:
    """Makes sure that a model's file has been downloaded before, or that the hub answers and knows the model.

    Args:
        argument: What the user calls it, for the message.
        name: Such as "gpt2" or "EleutherAI/pythia-410m".
        file: The file that is wanted first.

    Raises:
        ConfigError: The name is no folder (the caller has looked), and the hub does not have it or does not answer.
    """
    try:
        if isinstance(huggingface_hub.try_to_load_from_cache(name, file), str):
            return
        huggingface_hub.model_info(name, timeout=_SECONDS)
    except Exception as error:  # the hub's client raises many kinds
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"{argument}={name!r} is no file or folder, and cannot be had from the Hugging Face hub "
            f"({type(error).__name__}: {reason})."
        ) from error
