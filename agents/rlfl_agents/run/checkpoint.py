"""Checkpoints: what a run goes on from, whenever it was stopped.

    RUN/config.json                          the settings it was begun with
    RUN/checkpoints/update-000120/state.pt   `TrainState.state_dict()`: model, optimiser, every random state
    RUN/seen_keys.npy                        the novelty keys that training has met
    RUN/policy/                              the latest policy in Hugging Face form
    RUN/best/                                the policy with the best held-out success so far, likewise

All are written atomically (files.py). States are read back with `weights_only=True`: no checkpoint can run code.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rlfl_agents.config import PPOConfig
from rlfl_agents.files import remove_half_written, write_bytes, write_folder, write_text
from rlfl_envs import ConfigError

__all__ = ["begin", "check_run", "latest", "load", "save", "write_keys"]

# How long a run goes on and how it is watched, not what is learned.
_MAY_CHANGE = (
    *("total_samples", "minutes", "eval_every", "stop_at_success", "save_every", "keep_last"),
    *("device", "threads", "report_to"),
)


def check_run(run: Path, config: PPOConfig, resume: bool) -> None:
    """Says why these settings cannot be run in a directory.

    A setting that did not exist yet when the run was begun counts as begun with its default.

    Args:
        run: The run's directory.
        config: The settings.
        resume: Whether to go on with a run.

    Raises:
        ConfigError: It holds a run already and `resume` is False, or a run with other settings.
    """
    path = run / "config.json"
    if not path.exists():
        return
    if not resume:
        raise ConfigError(
            f"run_dir={str(run)!r} already holds a run. Continue it with --resume, or choose another --run-dir."
        )
    begun = PPOConfig.read(path).to_json()
    for name, value in json.loads(json.dumps(config.to_json())).items():
        if name not in _MAY_CHANGE and begun[name] != value:
            raise ConfigError(f"{name}={value!r}, but the run in {str(run)!r} was begun with {begun[name]!r}.")


def begin(run: Path, config: PPOConfig) -> None:
    """Makes the run's directory, removes what a killed run left half written there, and writes the settings down."""
    run.mkdir(parents=True, exist_ok=True)
    for folder in (run, run / "checkpoints"):
        remove_half_written(folder)
    write_text(run / "config.json", json.dumps(config.to_json(), indent=2) + "\n")


def write_keys(path: Path, keys: Collection[int]) -> None:
    """Writes the novelty hashes that training has met, int64, atomically."""
    content = io.BytesIO()
    np.save(content, np.sort(np.fromiter(keys, dtype=np.int64, count=len(keys))))
    write_bytes(path, content.getvalue())


def save(run: Path, state: dict[str, Any], keep: int) -> Path:
    """Writes `checkpoints/update-NNNNNN` and removes all but the newest `keep`.

    Args:
        run: The run's directory.
        state: Tensors, numbers, strings, and dictionaries and lists of them; `update` is how many updates it has seen.
        keep: How many checkpoints stay, 1 or more.

    Returns:
        The new checkpoint's folder.

    Raises:
        OSError: It could not be written; the older ones are as they were.
    """
    folder = run / "checkpoints" / f"update-{state['update']:06d}"
    with write_folder(folder) as temporary:
        torch.save(state, temporary / "state.pt")
    for old in _all(run)[:-keep]:
        shutil.rmtree(old)
    return folder


def _all(run: Path) -> list[Path]:
    """A run's checkpoints, the newest last."""
    return sorted((run / "checkpoints").glob("update-*"), key=lambda path: int(path.name.removeprefix("update-")))


def latest(run: Path) -> Path | None:
    """The newest checkpoint of a run, or None."""
    found = _all(run)
    return found[-1] if found else None


def load(checkpoint: Path) -> dict[str, Any]:
    """Reads what `save` wrote, onto the CPU."""
    state: dict[str, Any] = torch.load(checkpoint / "state.pt", map_location="cpu", weights_only=True)
    return state
