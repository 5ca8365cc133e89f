"""How products of float32 matrices are made: as exactly as they can be, by whoever is quickest at it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, Literal

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

__all__ = ["matmul_precision", "products_of_views", "rounded_up", "same_kernels_again", "short_attention"]

_SHORT = 255
"""Up to so many columns, PyTorch's attention on a CPU makes products too small for oneDNN: it was 15 times as slow."""
_TERMS = 512  # of each dot product by which oneDNN is tried
_FLOAT32 = 1e-5  # of the largest value: what float32 keeps of such a product, and bfloat16 does not
_STEPS = 16  # from a number of rows to twice as many
# torch's settings of float32 products, by device, and what `matmul_precision` calls them. They are set where they are
# used, because `torch.set_float32_matmul_precision` sets all devices at once, and reading it back raises as soon as
# anybody has set one of them alone.
_ONEDNN: Any = torch.backends.mkldnn  # whose `matmul` torch's own types do not know
_SETTINGS: Mapping[str, Any] = {"cpu": _ONEDNN.matmul, "cuda": torch.backends.cuda.matmul}
_NAMES = {
    "cpu": {"highest": "ieee", "high": "tf32", "medium": "bf16"},
    "cuda": {"highest": "ieee", "high": "tf32", "medium": "tf32"},
}


@contextlib.contextmanager
def matmul_precision(asked: Literal["auto", "highest", "high", "medium"], device: torch.device) -> Iterator[None]:
    """Sets the precision of a device's float32 products while a policy is used there, and puts the old one back.

    With "auto" a CPU's products are oneDNN's, which is up to twice as fast as MKL on some processors. torch asks oneDNN
    only where it may round to bfloat16, so it is tried first whether it does here.
    """
    if asked == "auto":
        asked = "medium" if device.type == "cpu" and _onednn_is_exact() else "highest"
    with _set(asked, device):
        yield


@contextlib.contextmanager
def products_of_views(device: torch.device) -> Iterator[None]:
    """Inside, a CPU's products are MKL's: torch copies for oneDNN what does not lie together."""
    with _set("highest", device) if device.type == "cpu" else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def short_attention(tokens: torch.Tensor) -> Iterator[None]:
    """Inside, where oneDNN multiplies, attention over so few columns as those of [N, L] is PyTorch's MATH kernel.

    That one makes whole products.
    """
    is_onednns = tokens.device.type == "cpu" and _onednn_multiplies()
    is_whole = is_onednns and tokens.shape[1] <= _SHORT and not torch.is_autocast_enabled("cpu")
    with sdpa_kernel(SDPBackend.MATH) if is_whole else contextlib.nullcontext():
        yield


def same_kernels_again() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """For `torch.utils.checkpoint`: attention that is made again for its gradient is made as it is now."""
    kernels = torch.backends.cuda  # a CPU's attention goes by the same switches
    is_whole = not (kernels.flash_sdp_enabled() or kernels.mem_efficient_sdp_enabled() or kernels.cudnn_sdp_enabled())
    return contextlib.nullcontext(), sdpa_kernel(SDPBackend.MATH) if is_whole else contextlib.nullcontext()


def rounded_up(count: int) -> int:
    """So many rows, or up to a sixteenth more: oneDNN compiles a product for its shape, so few should come up."""
    if not _onednn_multiplies():
        return count
    step: int = max(1, 2 ** (count.bit_length() - 1) // _STEPS)
    return count + -count % step


def _onednn_multiplies() -> bool:
    """Whether a CPU's products are oneDNN's now: torch asks it only where it may round."""
    return bool(_SETTINGS["cpu"].fp32_precision == "bf16")


@contextlib.contextmanager
def _set(precision: str, device: torch.device) -> Iterator[None]:
    settings = _SETTINGS.get(device.type)
    if settings is None:  # other devices have no such choice
        yield
        return
    before = settings.fp32_precision
    settings.fp32_precision = _NAMES[device.type][precision]
    try:
        yield
    finally:
        settings.fp32_precision = before


@cache
def _onednn_is_exact() -> bool:
    """Whether "medium" keeps float32 on this processor: those with instructions for bfloat16 matrices round."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.rand(shape, generator=generator) for shape in ((64, _TERMS), (_TERMS, 4 * _TERMS)))
    exact = left.double() @ right.double()
    with _set("medium", torch.device("cpu")):
        error = ((left @ right).double() - exact).abs().max() / exact.max()
    return float(error) < _FLOAT32
