"""How products of float32 matrices are made: as exactly as they can be, by whoever is quickest at it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache
from typing import Literal

import torch

from rlfl_agents.model.policy import Policy

__all__ = ["matmul_precision"]

_WIDE = 512  # hidden units; narrower models gain nothing by oneDNN, or lose
_FLOAT32 = 1e-5  # of the largest value: what float32 keeps of a sum of 512 products, and bfloat16 does not


@contextlib.contextmanager
def matmul_precision(asked: Literal["auto", "highest", "high", "medium"], policy: Policy) -> Iterator[None]:
    """Sets torch's precision of float32 products while a policy is used, and puts the old one back.

    With "auto" a wide model on a CPU is multiplied by oneDNN, which is up to twice as fast as MKL on some processors.
    torch asks oneDNN only where it may round to bfloat16, so it is tried first whether it does here.
    """
    if asked == "auto":
        is_on_cpu = next(policy.parameters()).device.type == "cpu"
        is_onednns = is_on_cpu and policy.reader.hidden_size >= _WIDE and _onednn_is_exact()
        asked = "medium" if is_onednns else "highest"
    with _set(asked):
        yield


@contextlib.contextmanager
def _set(precision: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@cache
def _onednn_is_exact() -> bool:
    """Whether "medium" keeps float32 on this processor: those with instructions for bfloat16 matrices round."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.rand(shape, generator=generator) for shape in ((64, _WIDE), (_WIDE, 4 * _WIDE)))
    exact = left.double() @ right.double()
    with _set("medium"):
        error = ((left @ right).double() - exact).abs().max() / exact.max()
    return float(error) < _FLOAT32
