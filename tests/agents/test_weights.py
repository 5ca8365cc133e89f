"""Checksums of weights: every bit of the tensors counts, and other libraries read the files as before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from rlfl_agents.model.weights import check_sums, check_weights, seal
from rlfl_envs import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Weights in two files, sealed."""
    for name in ("a", "b"):
        save_file({name: torch.arange(7.0)}, tmp_path / f"{name}.safetensors", metadata={"format": "pt"})
    seal(tmp_path)
    return tmp_path


def test_sealed_weights_are_weights(folder: Path) -> None:
    """With the same tensors and what else was said of them; nothing else is left in the folder."""
    check_weights(folder)
    assert torch.equal(load_file(folder / "b.safetensors")["b"], torch.arange(7.0))
    with safe_open(folder / "a.safetensors", framework="pt") as file:
        assert file.metadata()["format"] == "pt"
        assert len(file.metadata()["sha256"]) == 64
    assert sorted(path.name for path in folder.iterdir()) == ["a.safetensors", "b.safetensors"]
    seal(folder)
    check_sums(folder)


def test_any_bit_of_a_tensor_counts(folder: Path) -> None:
    """So does a byte more or less."""
    path = folder / "a.safetensors"
    whole = path.read_bytes()
    for position in range(len(whole) - 28, len(whole)):
        content = bytearray(whole)
        content[position] ^= 1
        path.write_bytes(bytes(content))
        with pytest.raises(ConfigError, match=r"a\.safetensors' is damaged \(its checksum is another\)"):
            check_sums(folder)
    for other in (whole[:-1], whole + b"x"):
        path.write_bytes(other)
        with pytest.raises(ConfigError, match="is damaged"):
            check_sums(folder)


def test_headers_that_are_none(folder: Path) -> None:
    """A sentence for each."""
    rng = np.random.default_rng(0)
    huge = (2**63).to_bytes(8, "little")
    for content in (
        b"",
        b"abc",
        huge,
        (4).to_bytes(8, "little") + b"[[[[",
        (2).to_bytes(8, "little") + b"[]",
        rng.bytes(99),
    ):
        (folder / "a.safetensors").write_bytes(content)
        with pytest.raises(ConfigError, match=r"a\.safetensors' is damaged"):
            check_sums(folder)


def test_weights_of_other_libraries_have_no_checksum(tmp_path: Path) -> None:
    """They are taken at their word."""
    save_file({"a": torch.zeros(3)}, tmp_path / "model.safetensors")
    check_weights(tmp_path)
    check_weights(tmp_path / "nowhere")
