"""What is freed is not handed back."""

from __future__ import annotations

import ctypes
import resource
import sys

import pytest
import torch

from rlfl_agents.allocator import keep_freed_memory


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library")
def test_freed_memory_is_used_again() -> None:
    """16 MB are 4,096 pages, and ten times as many are asked for."""
    keep_freed_memory()
    for _ in range(3):
        _use_sixteen()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        _use_sixteen()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 4000


def _use_sixteen() -> None:
    """As an update does: several pieces, all of them freed."""
    pieces = [torch.ones(2**19) for _ in range(8)]
    assert sum(piece.numel() for piece in pieces) == 2**22


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no such library, none is asked for."""
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "CDLL", None)
    keep_freed_memory()
