"""Saving and loading, so that a crash at any moment leaves the last good state whole.

A file or a checkpoint is written under a temporary name beside its place, flushed to the disk, and renamed: it is there
completely or not at all. A policy's folder is complete once it has a config.json. Everything is read back with
`weights_only=True`: no checkpoint can run code.

    RUN/checkpoints/update-000120/state.pt   model, optimiser, every random state: what `--resume` goes on from
    RUN/policy/                              the latest policy in Hugging Face form
    RUN/best/                                the policy with the best held-out success so far, likewise
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import random
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import PreTrainedTokenizerFast

from rlfl_agents.config import PPOConfig
from rlfl_agents.policy import Policy, no_progress_bar
from rlfl_envs import ConfigError, Tokenizer

__all__ = [
    "check_run",
    "clean",
    "export",
    "latest",
    "load",
    "random_state",
    "restore_random_state",
    "save",
    "to_arrays",
    "to_tensors",
    "write_keys",
    "write_text",
]

_TEMPORARY = ".writing-"


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically."""
    temporary = path.with_name(_TEMPORARY + path.name)
    temporary.write_text(text, encoding="utf-8")
    _flush(temporary)
    temporary.replace(path)
    _flush(path.parent)


def check_run(run: Path, config: PPOConfig, may_change: Collection[str], resume: bool) -> None:
    """Makes the run's directory, or says why these settings cannot be run in it.

    Args:
        run: The run's directory.
        config: The settings.
        may_change: The settings that may differ from those the run was begun with.
        resume: Whether to go on with a run.

    Raises:
        ConfigError: It holds a run already and `resume` is False, or a run with other settings.
    """
    run.mkdir(parents=True, exist_ok=True)
    path = run / "config.json"
    if not path.exists():
        return
    if not resume:
        raise ConfigError(
            f"run_dir={str(run)!r} already holds a run. Continue it with --resume, or choose another --run-dir."
        )
    begun = PPOConfig.read(path).to_json()
    for name, value in json.loads(json.dumps(config.to_json())).items():
        if name not in may_change and begun[name] != value:
            raise ConfigError(f"{name}={value!r}, but the run in {str(run)!r} was begun with {begun[name]!r}.")


def clean(run: Path) -> None:
    """Removes what a killed run left half written."""
    for stale in [*run.glob(_TEMPORARY + "*"), *run.glob(f"checkpoints/{_TEMPORARY}*")]:
        if stale.is_dir():
            shutil.rmtree(stale)
        else:
            stale.unlink()


def write_keys(path: Path, keys: Collection[int]) -> None:
    """Writes the novelty hashes that training has met, int64, atomically."""
    temporary = path.with_name(_TEMPORARY + path.name)
    with temporary.open("wb") as file:
        np.save(file, np.sort(np.fromiter(keys, dtype=np.int64, count=len(keys))))
    _flush(temporary)
    temporary.replace(path)
    _flush(path.parent)


def save(run: Path, update: int, state: dict[str, Any], keep: int) -> Path:
    """Writes `checkpoints/update-NNNNNN` and removes all but the newest `keep`.

    Args:
        run: The run's directory.
        update: How many updates the state has seen.
        state: Tensors, numbers, strings, and dictionaries and lists of them.
        keep: How many checkpoints stay, 1 or more.

    Returns:
        The new checkpoint's folder.

    Raises:
        OSError: It could not be written; the older ones are as they were.
    """
    folder = run / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"update-{update:06d}"
    if not final.exists():
        temporary = folder / (_TEMPORARY + final.name)
        temporary.mkdir()
        with _or_nothing(temporary, final):
            torch.save({"update": update, **state}, temporary / "state.pt")
        _flush(temporary / "state.pt")
        _flush(temporary)
        temporary.rename(final)
        _flush(folder)
    for old in _all(run)[:-keep]:
        shutil.rmtree(old)
    return final


def _all(run: Path) -> list[Path]:
    """A run's checkpoints, the newest last."""
    return sorted((run / "checkpoints").glob("update-*"), key=lambda path: int(path.name.removeprefix("update-")))


@contextlib.contextmanager
def _or_nothing(temporary: Path, final: Path) -> Iterator[None]:
    """Removes what could not be written whole, and says so as an OSError."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # so the disk, torch and safetensors report a full one
        shutil.rmtree(temporary)
        raise OSError(f"{final} could not be written; is the disk full? ({error})") from error


def latest(run: Path) -> Path | None:
    """The newest checkpoint of a run, or None."""
    found = _all(run)
    return found[-1] if found else None


def load(checkpoint: Path) -> dict[str, Any]:
    """Reads what `save` wrote, onto the CPU."""
    state: dict[str, Any] = torch.load(checkpoint / "state.pt", map_location="cpu", weights_only=True)
    return state


def to_tensors(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Arrays of any number type as bytes, with their type and shape: `torch.load(weights_only=True)` takes no NumPy."""
    return {
        name: [
            str(array.dtype),
            list(array.shape),
            torch.from_numpy(np.frombuffer(array.tobytes(), dtype=np.uint8).copy()),
        ]
        for name, array in arrays.items()
    }


def to_arrays(tensors: dict[str, Any]) -> dict[str, np.ndarray]:
    """Undoes `to_tensors`."""
    return {name: data.numpy().view(dtype).reshape(shape).copy() for name, (dtype, shape, data) in tensors.items()}


def random_state() -> dict[str, Any]:
    """The states of the generators of Python, NumPy and torch (CPU and CUDA), as plain numbers and tensors."""
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002 -- kept, not used
    return {
        "python": [version, list(internal), gauss],
        "numpy": [
            str(name),
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Undoes everything drawn since `random_state()`."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def export(policy: Policy, tokenizer: Tokenizer, folder: Path, facts: dict[str, Any], row: Mapping[str, float]) -> None:
    """Saves a policy in Hugging Face form, with its tokenizer and a model card; adapters merged, and once more apart.

    Args:
        policy: The policy; its value head is not part of a language model and stays in the checkpoint.
        tokenizer: The environment's.
        folder: Where; files that are there are replaced one by one, each atomically, config.json last.
        facts: Goes into `rlfl.json`, for `rlfl eval`: env_id, env_kwargs, prompt_length, completion_length,
            temperature, trained_by.
        row: The metrics at this moment, for the model card.

    Raises:
        OSError: It could not be written; what was in the folder is as it was.
    """
    temporary = folder.with_name(_TEMPORARY + folder.name)
    if temporary.exists():
        shutil.rmtree(temporary)
    temporary.mkdir(parents=True)
    model = policy.language_model
    with _or_nothing(temporary, folder), no_progress_bar():
        if policy.has_adapters:
            policy.model.save_pretrained(temporary / "adapter")
            model = copy.deepcopy(policy.model).merge_and_unload()
        model.save_pretrained(temporary)
        names = {role: tokenizer.id_to_token(i) for role, i in _special_tokens(tokenizer).items() if i is not None}
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend, padding_side="left", **names)
        fast.save_pretrained(temporary)
        (temporary / "README.md").write_text(_card(policy, facts, row), encoding="utf-8")
        (temporary / "rlfl.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    folder.mkdir(exist_ok=True)
    files = (path for path in temporary.rglob("*") if path.is_file())
    for source in sorted(files, key=lambda path: (path.name == "config.json", path)):
        target = folder / source.relative_to(temporary)
        target.parent.mkdir(exist_ok=True)
        _flush(source)
        source.replace(target)
    _flush(folder)
    shutil.rmtree(temporary)


_CARD = """---
library_name: transformers
tags: [rlfl-envs, reinforcement-learning]
---

# A policy for `{env_id}`

Trained with `rlfl-envs` by {trained_by}; arguments of the environment: `{env_kwargs}`.
Held-out success, greedy: {success}.

Its inputs are the environment's observations: the prompt, left-padded to {prompt_length} columns, then up to
{completion_length} completion tokens. {positions}

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
```
"""


def _card(policy: Policy, facts: dict[str, Any], row: Mapping[str, float]) -> str:
    by_column = "Positions count columns: pass `position_ids` = 0, 1, 2, ... from the first padding column on."
    by_text = "Positions count from the first real token, as `generate` does by itself."
    low, high = row.get("eval/success_low", 0.0), row.get("eval/success_high", 0.0)
    success = (
        f"{row['eval/success']:.3f} (95% interval {low:.3f} to {high:.3f})" if "eval/success" in row else "not measured"
    )
    return _CARD.format(
        **facts,
        success=success,
        positions=by_column if policy.position_ids == "columns" else by_text,
    )


def _special_tokens(tokenizer: Tokenizer) -> dict[str, int | None]:
    return {"pad_token": tokenizer.pad_id, "eos_token": tokenizer.eos_id, "bos_token": tokenizer.bos_id}


def _flush(path: Path) -> None:
    """Asks the operating system to put a file, or a folder's list of names, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
