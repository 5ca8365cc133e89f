"""Weights in a folder: whether they are as they were written, and fit the model that the folder asks for.

A checksum lies in the file itself, among what safetensors calls its metadata: so there is no moment at which the one is
new and the other old.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from rlfl_envs import ConfigError

__all__ = ["check_sums", "check_weights", "seal"]

_SUM = "sha256"
_LONGEST_HEADER = 100_000_000  # bytes: safetensors' own limit
_LARGEST_NUMBER = 2**27  # in a config.json; vocabularies and contexts have a few millions at most
_MOST_LAYERS = 1024
_LAYERS = ("layer", "layers", "blocks")  # how their names end: n_layer, decoder_layers, num_hidden_layers
_SMALLEST_WEIGHT = 0.5  # bytes, of four bits


def seal(folder: Path) -> None:
    """Writes into each file of weights a checksum of its tensors.

    Raises:
        OSError: It could not be written.
    """
    for path in sorted(folder.rglob("*.safetensors")):
        with path.open("rb") as file:
            header, tensors = _header(file), file.tell()
            header["__metadata__"] = {**header.get("__metadata__", {}), _SUM: _digest(file)}
            text = json.dumps(header).encode()
            text += b" " * (-len(text) % 8)
            sealed = path.with_suffix(".sealed")
            with sealed.open("wb") as target:
                target.write(struct.pack("<Q", len(text)) + text)
                file.seek(tensors)
                target.writelines(_blocks(file))
        sealed.replace(path)


def check_weights(folder: Path) -> None:
    """Makes sure that a folder's weights are as they were written, and that its config.json asks for no other model.

    What has no checksum, as other libraries write it, is taken at its word.

    Raises:
        ConfigError: A file is damaged, or the config asks for a model that is absurd or far larger than the weights.
    """
    if (folder / "adapter_config.json").exists():  # Transformers would load, and download, what it names
        raise ConfigError(f"{str(folder)!r} is an adapter of another model; allowed: a whole one, adapters merged.")
    check_sums(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    config = folder / "config.json"
    if not size or not config.is_file():
        return  # whoever loads it says what is missing
    try:
        _check_numbers(config, json.loads(config.read_text(encoding="utf-8")))
    except (ValueError, OSError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise
        return  # likewise
    most, asked = round(size / _SMALLEST_WEIGHT), _parameters(folder)
    if asked is not None and asked > most:
        raise ConfigError(
            f"{str(config)!r} asks for a model of {asked:,} weights, and the files beside it hold {most:,} at the most."
        )


def check_sums(folder: Path) -> None:
    """Compares each file of weights in a folder with its checksum, where it has one.

    Raises:
        ConfigError: They differ, or the file is no safetensors.
    """
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with path.open("rb") as file:
                known = _header(file).get("__metadata__", {}).get(_SUM)
                found = _digest(file) if known is not None else None
        except (OSError, ValueError, TypeError, AttributeError, RecursionError, struct.error) as error:
            raise ConfigError(f"{str(path)!r} is damaged ({error}).") from error
        if found != known:
            raise ConfigError(f"{str(path)!r} is damaged (its checksum is another).")


def _header(file: BinaryIO) -> dict[str, Any]:
    """What a safetensors file says of its tensors, and leaves the file where they begin."""
    (length,) = struct.unpack("<Q", file.read(8))
    if length > _LONGEST_HEADER:
        raise ValueError(f"a header of {length} bytes")
    header: dict[str, Any] = json.loads(file.read(length))
    return header


def _digest(file: BinaryIO) -> str:
    """Of the rest of a file."""
    total = hashlib.sha256()
    for block in _blocks(file):
        total.update(block)
    return total.hexdigest()


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(2**20):
        yield block


def _check_numbers(path: Path, entries: Any) -> None:
    """Refuses sizes that no model has, for which memory or time would not do, and attention from elsewhere."""
    if not isinstance(entries, dict):
        return
    for name, value in entries.items():
        if isinstance(value, dict):
            _check_numbers(path, value)
        most = _MOST_LAYERS if name.rpartition("_")[2] in _LAYERS else _LARGEST_NUMBER
        if isinstance(value, int) and abs(value) > most:
            raise ConfigError(f"{str(path)!r} says {name}={value}; allowed: at most {most}.")
        if name.endswith("attn_implementation") and "/" in str(value):  # Transformers would download and import it
            raise ConfigError(f"{str(path)!r} says {name}={value!r}; allowed: what Transformers has itself.")


def _parameters(folder: Path) -> int | None:
    """How many weights the model has that a folder's config.json asks for; None where that cannot be told."""
    try:
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
        with torch.device("meta"):  # which takes no memory
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception:  # noqa: BLE001 - whatever a library says here it says again where the model is loaded
        return None
    return sum(int(parameter.numel()) for parameter in model.parameters())
