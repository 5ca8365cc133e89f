"""Products of float32 matrices keep float32, whoever makes them."""

from __future__ import annotations

import contextlib
from typing import Any, Literal

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from rlfl_agents.model import products
from rlfl_agents.model.products import (
    matmul_precision,
    products_of_views,
    rounded_up,
    same_kernels_again,
    short_attention,
)

CPU = torch.device("cpu")
ONEDNN: Any = torch.backends.mkldnn
ON_CPU, ON_CUDA = ONEDNN.matmul, torch.backends.cuda.matmul  # torch's own settings of products


def test_what_is_chosen_is_float32() -> None:
    """A product of the chosen precision has float32's error, not bfloat16's, which is a thousand times as large."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.rand(rows, 768, generator=generator) for rows in (64, 768))
    exact = left.double() @ right.double()
    with matmul_precision("auto", CPU):
        error = ((left @ right).double() - exact).abs().max() / exact.max()
    assert float(error) < 1e-5


@pytest.mark.parametrize(("is_exact", "expected"), [(True, "bf16"), (False, "ieee")])
def test_onednn_multiplies_where_it_is_exact(is_exact: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """MKL multiplies what does not lie together; what is asked for by name is done; torch's own setting is back."""
    monkeypatch.setattr(products, "_onednn_is_exact", lambda: is_exact)
    before = ON_CPU.fp32_precision
    with matmul_precision("auto", CPU):
        assert ON_CPU.fp32_precision == expected
        with products_of_views(CPU):
            assert ON_CPU.fp32_precision == "ieee"
        assert ON_CPU.fp32_precision == expected
    with matmul_precision("high", CPU):
        assert ON_CPU.fp32_precision == "tf32"
    assert ON_CPU.fp32_precision == before


def test_a_device_decides_for_itself() -> None:
    """A GPU has no oneDNN, and reads views as they are; a CPU's setting says nothing of a GPU's, nor the other way."""
    device, before = torch.device("cuda"), (ON_CPU.fp32_precision, ON_CUDA.fp32_precision)
    with matmul_precision("auto", device):
        assert ON_CUDA.fp32_precision == "ieee"
    with matmul_precision("high", device), products_of_views(device):
        assert (ON_CPU.fp32_precision, ON_CUDA.fp32_precision) == (before[0], "tf32")
    with matmul_precision("medium", CPU):
        assert (ON_CPU.fp32_precision, ON_CUDA.fp32_precision) == ("bf16", before[1])
    with matmul_precision("high", torch.device("meta")):
        pass
    assert (ON_CPU.fp32_precision, ON_CUDA.fp32_precision) == before


def test_others_may_have_set_one_device_alone() -> None:
    """Then torch refuses to say what it has for all devices; nobody here asks."""
    before = ON_CUDA.fp32_precision
    ON_CUDA.fp32_precision = "tf32"
    try:
        with matmul_precision("auto", CPU), products_of_views(CPU), short_attention(torch.ones(2, 8)):
            assert rounded_up(1000) in (1000, 1024)
        assert ON_CUDA.fp32_precision == "tf32"
    finally:
        ON_CUDA.fp32_precision = before


@pytest.mark.parametrize(
    ("columns", "precision", "is_whole"), [(8, "medium", True), (300, "medium", False), (8, "highest", False)]
)
def test_short_attention_is_made_of_whole_products(
    columns: int, precision: Literal["medium", "highest"], is_whole: bool
) -> None:
    """PyTorch's own is left to long texts, and to MKL; the results are the same, but for what bfloat16 rounds."""
    states = torch.randn(2, 4, columns, 16, generator=torch.Generator().manual_seed(0))
    exact = scaled_dot_product_attention(states, states, states, is_causal=True)
    room = 1e-5 if precision == "highest" or products._onednn_is_exact() else 0.05
    with matmul_precision(precision, CPU), short_attention(torch.ones(2, columns)):
        assert torch.backends.cuda.flash_sdp_enabled() is not is_whole
        found = scaled_dot_product_attention(states, states, states, is_causal=True)
    assert torch.backends.cuda.flash_sdp_enabled()
    torch.testing.assert_close(found, exact, atol=room, rtol=room)


def test_few_counts_of_rows_come_up() -> None:
    """At most a sixteenth more than there are, and sixteen for each doubling; as many as there are, where MKL does."""
    with matmul_precision("medium", CPU):
        counts = [rounded_up(count) for count in range(4097)]
    with matmul_precision("highest", CPU):
        assert all(rounded_up(count) == count for count in range(4097))
    assert all(count <= found <= count + count // 16 for count, found in enumerate(counts))
    assert len({count for count in counts if 2048 < count <= 4096}) == 16


def test_what_is_computed_again_is_left_to_those_kernels_that_were_there() -> None:
    """A user may have switched some off; only where products alone were left are they asked for again."""
    with sdpa_kernel([SDPBackend.MATH, SDPBackend.EFFICIENT_ATTENTION]):
        assert isinstance(same_kernels_again()[1], contextlib.nullcontext)
    with sdpa_kernel(SDPBackend.MATH):
        _, again = same_kernels_again()
    with again:
        assert not torch.backends.cuda.flash_sdp_enabled()
