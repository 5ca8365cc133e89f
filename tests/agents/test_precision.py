"""Products of float32 matrices keep float32, whoever makes them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from rlfl_agents.environments import make_envs
from rlfl_agents.model import precision
from rlfl_agents.model.build import build_policy
from rlfl_agents.model.policy import Policy
from rlfl_agents.model.precision import matmul_precision


@pytest.fixture
def policy_of() -> Callable[[int], Policy]:
    """Makes a policy of one layer that is so wide."""
    envs = make_envs("rlfl/Copy-v0", 1)
    return lambda width: build_policy(
        envs.tokenizer, envs.prompt_length, envs.completion_length, layers=1, width=width, heads=2
    )


def test_what_is_chosen_is_float32(policy_of: Callable[[int], Policy]) -> None:
    """A product of the chosen precision has float32's error, not bfloat16's, which is a thousand times as large."""
    left, right = torch.rand(64, 768), torch.rand(768, 768)
    exact = left.double() @ right.double()
    with matmul_precision("auto", policy_of(768)):
        error = ((left @ right).double() - exact).abs().max() / exact.max()
    assert float(error) < 1e-5


@pytest.mark.parametrize(("width", "is_exact", "expected"), [(512, True, "medium"), (512, False, "highest")])
def test_wide_models_go_to_onednn_where_it_is_exact(
    width: int, is_exact: bool, expected: str, policy_of: Callable[[int], Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And torch's own setting is back afterwards."""
    monkeypatch.setattr(precision, "_onednn_is_exact", lambda: is_exact)
    before = torch.get_float32_matmul_precision()
    with matmul_precision("auto", policy_of(width)):
        assert torch.get_float32_matmul_precision() == expected
    assert torch.get_float32_matmul_precision() == before


def test_narrow_models_stay_as_they_are(policy_of: Callable[[int], Policy], monkeypatch: pytest.MonkeyPatch) -> None:
    """Their products are not faster by it; and what is asked for by name is done."""
    monkeypatch.setattr(precision, "_onednn_is_exact", lambda: True)
    policy = policy_of(64)
    with matmul_precision("auto", policy):
        assert torch.get_float32_matmul_precision() == "highest"
    with matmul_precision("high", policy):
        assert torch.get_float32_matmul_precision() == "high"
