"""`rlfl push`."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

from rlfl_agents.cli.words import need_agent
from rlfl_envs import ConfigError

__all__ = ["push"]


def push(run: Positional[Path], name: Positional[str], private: bool = False) -> None:
    """Upload a run's best policy to the Hugging Face hub, where `--model NAME` and Transformers find it.

    Args:
        run: A run directory, or a model's folder.
        name: Its name there, USER/NAME; `hf auth login` says who you are.
        private: Only you can see it.
    """
    need_agent("push")
    import huggingface_hub

    from rlfl_agents.model.names import policy_folder

    folder = policy_folder(run)
    if not (folder / "rlfl.json").exists():
        raise ConfigError(f"run={str(run)!r} holds no policy that this library has saved.")
    try:
        url = huggingface_hub.create_repo(name, private=private, exist_ok=True)
    except huggingface_hub.errors.HFValidationError as error:
        raise ConfigError(f"name={name!r} is not allowed; allowed: USER/NAME ({error}).") from error
    huggingface_hub.upload_folder(repo_id=name, folder_path=folder, commit_message="A policy of rlfl-envs")
    print(url)
