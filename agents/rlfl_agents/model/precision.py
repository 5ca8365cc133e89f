"""How products of float32 matrices are made: as exactly as they can be, by whoever is quickest at it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cache
from typing import Literal

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

__all__ = ["as_before", "compiled_for", "matmul_precision", "products_of_views", "short_attention"]

_SHORT = 255
"""Up to so many columns, PyTorch's attention on a CPU makes products too small for oneDNN: it was 15 times as slow."""
_TERMS = 512  # of the sums that are tried
_COUNTS = 32  # to the next power of two
_FLOAT32 = 1e-5  # of the largest value: what float32 keeps of such a sum, and bfloat16 does not


@contextlib.contextmanager
def matmul_precision(asked: Literal["auto", "highest", "high", "medium"], device: torch.device) -> Iterator[None]:
    """Sets torch's precision of float32 products while a policy on a device is used, and puts the old one back.

    With "auto" a CPU's products are oneDNN's, which is up to twice as fast as MKL on some processors. torch asks oneDNN
    only where it may round to bfloat16, so it is tried first whether it does here.
    """
    if asked == "auto":
        asked = "medium" if device.type == "cpu" and _onednn_is_exact() else "highest"
    with _set(asked):
        yield


@contextlib.contextmanager
def products_of_views(device: torch.device) -> Iterator[None]:
    """Inside, a CPU's products are MKL's: torch copies for oneDNN what does not lie together."""
    with _set("highest") if device.type == "cpu" else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def short_attention(tokens: torch.Tensor) -> Iterator[None]:
    """Inside, where oneDNN multiplies, attention over so few columns as those of [N, L] is made of whole products."""
    is_onednns = tokens.device.type == "cpu" and torch.get_float32_matmul_precision() != "highest"
    is_whole = is_onednns and tokens.shape[1] <= _SHORT and not torch.is_autocast_enabled("cpu")
    with sdpa_kernel(SDPBackend.MATH) if is_whole else contextlib.nullcontext():
        yield


def as_before() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """For `torch.utils.checkpoint`: attention that is made again for its gradient is made as it is now."""
    kernels = torch.backends.cuda  # a CPU's attention goes by the same switches
    is_whole = not (kernels.flash_sdp_enabled() or kernels.mem_efficient_sdp_enabled() or kernels.cudnn_sdp_enabled())
    return contextlib.nullcontext(), sdpa_kernel(SDPBackend.MATH) if is_whole else contextlib.nullcontext()


def compiled_for(count: int) -> int:
    """So many rows, or up to a sixteenth more: oneDNN compiles a product for its shape, so few should come up."""
    step: int = max(1, 2 ** count.bit_length() // _COUNTS)
    return count + -count % step


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
    left, right = (torch.rand(shape, generator=generator) for shape in ((64, _TERMS), (_TERMS, 4 * _TERMS)))
    exact = left.double() @ right.double()
    with _set("medium"):
        error = ((left @ right).double() - exact).abs().max() / exact.max()
    return float(error) < _FLOAT32
