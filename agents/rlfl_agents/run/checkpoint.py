"""Checkpoints: what a run goes on from, whenever it was stopped.

    RUN/config.json                          the settings it was begun with
    RUN/checkpoints/update-000120/state.pt   `TrainState.state_dict()`: model, optimiser, every random state
    RUN/checkpoints/update-000120/SHA256SUMS what `sha256sum --check` reads: a checkpoint is whole, or is not used
    RUN/seen_keys.npy                        the novelty keys that training has met
    RUN/policy/                              the latest policy in Hugging Face form
    RUN/best/                                the policy with the best held-out success so far, likewise

All are written atomically (files.py). States are read back with `weights_only=True`: no checkpoint can run code.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rlfl_agents.config import PPOConfig
from rlfl_agents.files import remove_half_written, write_file, write_folder, write_text
from rlfl_agents.run.metrics import METRICS_FILE, readable_rows
from rlfl_envs import ConfigError

__all__ = ["begin", "check_run", "latest", "load", "restore", "save", "write_keys"]

_SUMS = "SHA256SUMS"
# What reading a damaged checkpoint, or one that lacks something, may raise.
_UNREADABLE = (
    *(OSError, EOFError, pickle.UnpicklingError, RuntimeError),
    *(AttributeError, LookupError, TypeError, ValueError),
)

# How long a run goes on and how it is watched, not what is learned.
_MAY_CHANGE = (
    *("total_samples", "minutes", "eval_every", "stop_at_success", "save_every", "keep_last"),
    *("device", "threads", "matmul_precision", "report_to", "shard"),
)


def check_run(run: Path, config: PPOConfig, resume: bool) -> None:
    """Says why these settings cannot be run in a directory.

    A setting that did not exist yet when the run was begun counts as begun with its default.

    Args:
        run: The run's directory.
        config: The settings.
        resume: Whether to go on with a run.

    Raises:
        ConfigError: It holds a run already and `resume` is False; or a run with other settings, or without its
            checkpoints; or checkpoints alone.
    """
    path = run / "config.json"
    if not path.exists():
        if _all(run):
            raise ConfigError(
                f"run_dir={str(run)!r} has checkpoints, but no config.json that says what they are of. Put it back, or "
                "choose another --run-dir."
            )
        return
    if not resume:
        raise ConfigError(
            f"run_dir={str(run)!r} already holds a run. Continue it with --resume, or choose another --run-dir."
        )
    begun = PPOConfig.read(path).to_json()
    for name, value in json.loads(json.dumps(config.to_json())).items():
        if name not in _MAY_CHANGE and begun[name] != value:
            raise ConfigError(f"{name}={value!r}, but the run in {str(run)!r} was begun with {begun[name]!r}.")
    rows = len(readable_rows(run / METRICS_FILE).rows)
    if not _all(run) and ((run / "curves.png").exists() or rows > begun["save_every"] + 1):
        raise ConfigError(
            f"run_dir={str(run)!r} has no checkpoints any more, and would begin anew. Put them back, or choose another "
            f"--run-dir; what it had learned may still be in {run / 'policy'}, for --model."
        )


def begin(run: Path, config: PPOConfig, update: int) -> None:
    """Makes the run's directory, clears what a killed or damaged run left there, and writes the settings down.

    Args:
        run: The run's directory.
        config: The settings.
        update: Where the run goes on. Later checkpoints could not be read, or they would have been taken: they are put
            aside as `damaged-update-NNNNNN`.
    """
    run.mkdir(parents=True, exist_ok=True)
    for folder in (run, run / "checkpoints", run / "policy", run / "best"):
        remove_half_written(folder)
    for damaged in _all(run):
        if _update_of(damaged) > update:
            aside = damaged.with_name(f"damaged-{damaged.name}")
            shutil.rmtree(aside, ignore_errors=True)
            damaged.rename(aside)
    write_text(run / "config.json", json.dumps(config.to_json(), indent=2) + "\n")


def write_keys(path: Path, keys: NDArray[np.int64]) -> None:
    """Writes the novelty hashes that training has met, int64 and sorted, atomically."""
    write_file(path, lambda file: np.save(file, keys))


def save(run: Path, state: dict[str, Any], keep: int) -> Path:
    """Writes `checkpoints/update-NNNNNN` with its checksum, and removes all but the newest `keep`.

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
    with write_folder(folder, last=_SUMS) as temporary:
        torch.save(state, temporary / "state.pt")
        (temporary / _SUMS).write_text(f"{_sha256(temporary / 'state.pt')}  state.pt\n")
    for old in _all(run)[:-keep]:
        shutil.rmtree(old)
    return folder


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _all(run: Path) -> list[Path]:
    """A run's checkpoints, the newest last."""
    found = (path for path in (run / "checkpoints").glob("update-*") if path.name[7:].isdecimal())
    return sorted(found, key=_update_of)


def _update_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("update-"))


def latest(run: Path) -> Path | None:
    """The newest checkpoint of a run, or None."""
    found = _all(run)
    return found[-1] if found else None


def load(checkpoint: Path) -> dict[str, Any]:
    """Reads what `save` wrote, onto the CPU.

    Raises:
        ConfigError: It is damaged.
    """
    try:
        if (checkpoint / _SUMS).exists():
            written, _, name = (checkpoint / _SUMS).read_text(encoding="utf-8").strip().partition("  ")
            if name != "state.pt" or written != _sha256(checkpoint / name):
                raise ValueError("its checksum is another")
        if not zipfile.is_zipfile(checkpoint / "state.pt"):
            raise ValueError("it is no archive of tensors")
        state: dict[str, Any] = torch.load(checkpoint / "state.pt", map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise ConfigError(f"{checkpoint} is damaged ({_first_line(error)}).") from error
    return state


def restore(run: Path, take: Callable[[dict[str, Any]], None]) -> list[str]:
    """Goes on from the newest checkpoint that is whole; from none where the run has none.

    Args:
        run: The run's directory.
        take: Takes a state. What it raises, but for ConfigError, means that something is missing in the state.

    Returns:
        What the user should know: which checkpoints were not used, and why, and whether one without checksum was.

    Raises:
        ConfigError: There are checkpoints, and none can be used; or `take` says so.
    """
    said: list[str] = []
    for checkpoint in reversed(_all(run)):
        try:
            state = load(checkpoint)
        except ConfigError as error:
            said.append(str(error))
            continue
        try:
            take(state)
        except ConfigError:
            raise
        except _UNREADABLE as error:
            said.append(f"{checkpoint} is no checkpoint of this version ({_first_line(error)}).")
            continue
        if not (checkpoint / _SUMS).exists():
            said.append(f"{checkpoint} has no checksum, as version 0.1 wrote them, and is taken as it is.")
        return [*said, f"The run goes on from {checkpoint}."] if said else []
    if said:
        raise ConfigError(
            f"run_dir={str(run)!r} has no checkpoint that can be read. {' '.join(said)} Begin another run; what this "
            f"one had learned may still be in {run / 'policy'}, for --model."
        )
    return []


def _first_line(error: BaseException) -> str:
    words = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    return words if len(words) <= 200 else f"{words[:200]}..."
