"""What the kernels of fused.py compute is what PyTorch does; Triton interprets them here, where it is installed.

No test here needs a GPU. What stands around the kernels is tried without Triton, in test_head.py and test_choice.py.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from torch import Tensor

from rlfl_agents.model import choice

from .test_head import Kernels

os.environ["TRITON_INTERPRET"] = "1"
pytest.importorskip("triton", minversion="3.8", reason="its interpreter")
V = 200


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, whose kernels read a few numbers at a time."""
    from rlfl_agents.learn import fused as module

    for name, size in {"_BLOCK": 64, "_TOKENS": 32, "_ROWS": 4}.items():
        monkeypatch.setattr(module, name, size)
    return module


@pytest.mark.parametrize("masks", ["none", "one", "each"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kernels_compute_what_pytorch_does(fused: Any, dtype: torch.dtype, temperature: float, masks: str) -> None:
    """Statistics, sums and slopes, of rows that lie apart too, under no mask, one for all, and one for each."""
    torch.manual_seed(0)
    states, positions = 11, torch.tensor([0] * 4 + [1] + [2] * 6)
    logits = (torch.randn(states, V + 8) * 3).to(dtype)[:, :V]
    illegal = torch.rand(5, V) < 0.4
    illegal[:, :2] = False
    numbers = torch.randint(5, (1,) if masks == "one" else (states,))
    given: tuple[Any, ...] = (None, None) if masks == "none" else (illegal, numbers)
    given = *given, temperature
    log_sums, entropy = fused.statistics(logits, *given)
    expected = Kernels.statistics(logits.float(), *given)
    torch.testing.assert_close((log_sums, entropy), expected, atol=2e-6, rtol=1e-6)
    counts, bounds = torch.rand(states) * 3, torch.tensor([0, 4, 5, 11])
    found, sums = torch.zeros(3, V), torch.zeros(3, V)
    fused.sums(logits, *given, log_sums, counts, bounds, found)
    Kernels.sums(logits.float(), *given, log_sums, counts, bounds, sums)
    torch.testing.assert_close(found, sums, atol=2e-6, rtol=1e-6)
    chosen, slopes = torch.randint(2, (states, 2)), [torch.randn(states), torch.randn(3, V), torch.randn(states, 2)]
    rest = *given, log_sums, entropy, slopes[0], slopes[1], positions, counts, slopes[2], chosen
    room = 1e-5 if dtype == torch.float32 else 0.02
    slope = Kernels.slopes_(logits.float(), *rest)
    torch.testing.assert_close(fused.slopes_(logits.clone(), *rest).float(), slope, atol=room, rtol=room)


@pytest.mark.parametrize("masks", ["none", "one", "each"])
def test_kernels_choose_the_same_tokens(fused: Any, monkeypatch: pytest.MonkeyPatch, masks: str) -> None:
    """Of the same noise, with the same log-probabilities."""
    torch.manual_seed(0)
    monkeypatch.setattr(fused, "_BLOCK", 1024)
    logits, noise = torch.randn(6, 9000) * 3, torch.rand(6, 5, dtype=torch.float64)
    legal: Tensor | None = None if masks == "none" else torch.rand(1 if masks == "one" else 6, 9000) < 0.3
    expected = choice.choose(logits, noise, legal, temperature=0.7, greedy=False)
    monkeypatch.setattr(choice, "kernels", lambda *_: fused)
    found = choice.choose(logits, noise, legal, temperature=0.7, greedy=False)
    same = found[0] == expected[0]
    assert float(same.float().mean()) > 0.9  # noise that falls between two tokens up to rounding may choose either
    torch.testing.assert_close(found[1][same], expected[1][same], atol=5e-6, rtol=1e-6)
