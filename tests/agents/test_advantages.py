"""Advantages against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch

from rlfl_agents.learn.advantages import gae, group_norm, rloo, whiten


def test_gae_of_a_constant_value() -> None:
    """With value v everywhere and a reward at the end, each delta is known: (gamma - 1) v, and r - v at the end."""
    v, r, gamma, lam = 0.5, 2.0, 0.9, 0.8
    rewards = torch.tensor([[0.0, 0.0, r], [0.0, r, 0.0]])
    active = torch.tensor([[True, True, True], [True, True, False]])
    advantages, returns = gae(rewards, torch.full((2, 3), v), active, gamma, lam)
    last, between = r - v, (gamma - 1) * v
    second = between + gamma * lam * last
    first = between + gamma * lam * second
    torch.testing.assert_close(advantages, torch.tensor([[first, second, last], [second, last, 0.0]]))
    torch.testing.assert_close(returns, torch.where(active, advantages + v, 0.0))


def test_gae_with_lambda_one_is_the_return_minus_the_value() -> None:
    """The telescoping sum, for values that differ."""
    values = torch.tensor([[0.3, -0.2, 0.9]])
    rewards = torch.tensor([[1.0, 0.0, 2.0]])
    active = torch.ones(1, 3, dtype=torch.bool)
    advantages, _ = gae(rewards, values, active, 1.0, 1.0)
    torch.testing.assert_close(advantages, torch.tensor([[3.0, 2.0, 2.0]]) - values)


def test_gae_ignores_what_lies_past_the_end() -> None:
    """Rewards and values where not active change nothing."""
    active = torch.tensor([[True, False]])
    clean = gae(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.0]]), active, 1.0, 0.95)
    dirty = gae(torch.tensor([[1.0, 7.0]]), torch.tensor([[0.5, 9.0]]), active, 1.0, 0.95)
    for a, b in zip(clean, dirty, strict=True):
        torch.testing.assert_close(a, b)


def test_rloo_by_hand() -> None:
    """1 against (2 + 6) / 2 and so on; the second group is constant."""
    found = rloo(torch.tensor([1.0, 2.0, 6.0, 4.0, 4.0, 4.0]), 3)
    torch.testing.assert_close(found, torch.tensor([-3.0, -1.5, 4.5, 0.0, 0.0, 0.0]))


def test_group_norm_by_hand() -> None:
    """Mean 3, unbiased variance 7; a constant group gives 0 and not NaN."""
    found = group_norm(torch.tensor([1.0, 2.0, 6.0, 4.0, 4.0, 4.0]), 3, eps=0.0)
    expected = torch.tensor([-2.0, -1.0, 3.0]) / 7**0.5
    torch.testing.assert_close(found[:3], expected)
    assert group_norm(torch.full((3,), 4.0), 3).tolist() == [0.0, 0.0, 0.0]


def test_whiten_counts_active_tokens_only() -> None:
    """Mean 0 and variance 1 over the active ones; the others 0."""
    active = torch.tensor([[True, True], [True, False]])
    found = whiten(torch.tensor([[1.0, 2.0], [6.0, 100.0]]), active)
    assert found[1, 1] == 0
    assert found[active].mean() == pytest.approx(0, abs=1e-6)
    assert found[active].var(correction=0) == pytest.approx(1, rel=1e-5)
