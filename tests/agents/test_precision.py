"""Products of float32 matrices keep float32, whoever makes them."""

from __future__ import annotations

import contextlib
from typing import Literal

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from rlfl_agents.model import precision
from rlfl_agents.model.precision import as_before, compiled_for, matmul_precision, products_of_views, short_attention

CPU = torch.device("cpu")


def test_what_is_chosen_is_float32() -> None:
    """A product of the chosen precision has float32's error, not bfloat16's, which is a thousand times as large."""
    left, right = torch.rand(64, 768), torch.rand(768, 768)
    exact = left.double() @ right.double()
    with matmul_precision("auto", CPU):
        error = ((left @ right).double() - exact).abs().max() / exact.max()
    assert float(error) < 1e-5


@pytest.mark.parametrize(("is_exact", "expected"), [(True, "medium"), (False, "highest")])
def test_onednn_multiplies_where_it_is_exact(is_exact: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """MKL multiplies what does not lie together; what is asked for by name is done; torch's own setting is back."""
    monkeypatch.setattr(precision, "_onednn_is_exact", lambda: is_exact)
    before = torch.get_float32_matmul_precision()
    with matmul_precision("auto", CPU):
        assert torch.get_float32_matmul_precision() == expected
        with products_of_views(CPU):
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == expected
    with matmul_precision("high", CPU):
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before


def test_a_device_decides_for_itself() -> None:
    """A GPU has no oneDNN, and reads views as they are."""
    device = torch.device("cuda")
    with matmul_precision("auto", device):
        assert torch.get_float32_matmul_precision() == "highest"
    with matmul_precision("high", device), products_of_views(device):
        assert torch.get_float32_matmul_precision() == "high"


@pytest.mark.parametrize(
    ("columns", "precision", "is_whole"), [(8, "medium", True), (300, "medium", False), (8, "highest", False)]
)
def test_short_attention_is_made_of_whole_products(
    columns: int, precision: Literal["medium", "highest"], is_whole: bool
) -> None:
    """PyTorch's own is left to long texts, and to MKL; the results are the same."""
    states = torch.randn(2, 4, columns, 16)
    exact = scaled_dot_product_attention(states, states, states, is_causal=True)
    with matmul_precision(precision, CPU), short_attention(torch.ones(2, columns)):
        assert torch.backends.cuda.flash_sdp_enabled() is not is_whole
        found = scaled_dot_product_attention(states, states, states, is_causal=True)
    assert torch.backends.cuda.flash_sdp_enabled()
    torch.testing.assert_close(found, exact)


def test_few_counts_of_rows_come_up() -> None:
    """At most a sixteenth more than there are, and sixteen for each doubling."""
    counts = [compiled_for(count) for count in range(4097)]
    assert all(count <= found <= count + count // 16 for count, found in enumerate(counts))
    assert len({count for count in counts if 2048 < count <= 4096}) == 16


def test_what_is_computed_again_is_left_to_those_kernels_that_were_there() -> None:
    """A user may have switched some off; only where products alone were left are they asked for again."""
    with sdpa_kernel([SDPBackend.MATH, SDPBackend.EFFICIENT_ATTENTION]):
        assert isinstance(as_before()[1], contextlib.nullcontext)
    with sdpa_kernel(SDPBackend.MATH):
        _, again = as_before()
    with again:
        assert not torch.backends.cuda.flash_sdp_enabled()
