"""Advantages against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlfl_agents.learn.advantages import (
    gae,
    group_norm,
    rloo,
    tried_gae,
    tried_group_norm,
    tried_rloo,
    whiten,
)
from rlfl_agents.learn.losses import clipped_policy_loss


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


def test_rounding_is_no_difference() -> None:
    """Returns of a group that are equal but for the rounding of their sums teach nothing, whitened or not."""
    nearly = torch.tensor([1.0, 1.0000001, 1.0, 0.9999999])
    assert not whiten(group_norm(nearly, 4)[:, None], torch.ones(4, 1, dtype=torch.bool)).any()
    assert group_norm(nearly + torch.tensor([0, 0, 0, 1e-4]), 4).any()


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


def test_whiten_by_weight() -> None:
    """What counts twice counts as two that are equal."""
    once = whiten(torch.tensor([[1.0, 2.0, 2.0, 6.0, 9.0]]), torch.tensor([[True, True, True, True, False]]))
    twice = whiten(torch.tensor([[1.0, 2.0, 6.0, 9.0]]), torch.tensor([[1.0, 2.0, 1.0, 0.0]]))
    torch.testing.assert_close(twice[0], once[0, [0, 1, 3, 4]])


@given(seed=st.integers(0, 2**16), gamma=st.floats(0, 1), lam=st.floats(0, 1))
def test_one_try_at_each_state_is_gae(seed: int, gamma: float, lam: float) -> None:
    """Episodes of any lengths, which end right or wrong."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 6, (7,), generator=generator)
    active = torch.arange(5) < lengths[:, None]
    values = torch.randn(7, 5, generator=generator) * active
    is_right = active & (torch.arange(5) < lengths[:, None] - torch.randint(0, 2, (7, 1), generator=generator))
    rewards = torch.rand(7, 5, generator=generator) * is_right
    found, returns = tried_gae(rewards, values, is_right[..., None], active[..., None].float(), gamma, lam)
    expected, expected_returns = gae(rewards, values, active, gamma, lam)
    torch.testing.assert_close(found[..., 0], expected)
    torch.testing.assert_close(returns, expected_returns, atol=2e-6, rtol=1e-5)


def test_tries_by_hand() -> None:
    """Two states: half of the weight is right at the first, a quarter at the second, where the reward is 0.6."""
    is_right = torch.tensor([[[True, False, True], [False, True, False]]])
    weights = torch.tensor([[[0.5, 1.0, 0.5], [2.0, 1.0, 1.0]]])
    rewards, values = torch.tensor([[0.4, 0.6]]), torch.tensor([[0.1, 0.3]])
    found, returns = tried_gae(rewards, values, is_right, weights, 1.0, 1.0)
    second = 0.25 * 0.6
    first = 0.5 * (0.4 + second)
    torch.testing.assert_close(returns, torch.tensor([[first, second]]))
    right = 0.4 + second
    expected = [[right - 0.1, -0.1, right - 0.1], [-0.3, 0.6 - 0.3, -0.3]]
    torch.testing.assert_close(found, torch.tensor([expected]))
    # Against the right ones' share of the others' weight: [[1/3, 1, 1/3], [1/2, 0, 1/3]].
    expected = [[right * (1 - 1 / 3), -right, right * (1 - 1 / 3)], [-0.6 / 2, 0.6, -0.6 / 3]]
    torch.testing.assert_close(tried_rloo(rewards, is_right, weights), torch.tensor([expected]))
    spread = [0.5 + 1 / 3, 0.1875**0.5 + 1 / 3]
    expected = [[0.5 / spread[0], -0.5 / spread[0], 0.5 / spread[0]], [-0.25 / spread[1], 0.75 / spread[1]]]
    expected[1].append(expected[1][0])
    torch.testing.assert_close(tried_group_norm(is_right, weights), torch.tensor([expected]))


def test_a_state_that_is_over_or_has_one_verdict_teaches_nothing() -> None:
    """All right, all wrong, nothing drawn: 0 from the others of a state, and nowhere NaN."""
    is_right = torch.tensor([[[True, True], [False, False], [False, False]]])
    weights = torch.tensor([[[1.2, 0.8], [0.0, 2.0], [0.0, 0.0]]])
    rewards = torch.tensor([[0.5, 0.0, 0.0]])
    torch.testing.assert_close(tried_rloo(rewards, is_right, weights), torch.zeros(1, 3, 2))
    torch.testing.assert_close(tried_group_norm(is_right, weights), torch.zeros(1, 3, 2))
    found, returns = tried_gae(rewards, torch.tensor([[0.2, 0.4, 0.0]]), is_right, weights, 0.9, 0.9)
    torch.testing.assert_close(found, torch.tensor([[[0.336, 0.336], [0.0, -0.4], [0.0, 0.0]]]))
    torch.testing.assert_close(returns, torch.tensor([[0.536, 0.0, 0.0]]))


def test_a_try_that_hardly_weighs_anything_is_not_praised_without_limit() -> None:
    """One uniform try, which the policy would never draw, against fifteen draws that agree."""
    is_right = torch.zeros(1, 1, 16, dtype=torch.bool).index_fill(2, torch.tensor([15]), True)
    weights = torch.cat([torch.full((1, 1, 15), 16 / 15), torch.full((1, 1, 1), 1e-9)], dim=2)
    assert 15 < float(tried_group_norm(is_right, weights).max()) <= 16


def test_a_try_that_was_impossible_leaves_loss_and_gradient_finite() -> None:
    """Its probability was exp(-200), and it is likely now: right or wrong."""
    for advantage in (5.0, -5.0):
        log_probs = torch.full((1, 1, 1), -0.1, requires_grad=True)
        arguments = (torch.full((1, 1, 1), -200.0), torch.full((1, 1, 1), advantage), torch.ones(1, 1, 1) > 0)
        found = clipped_policy_loss(log_probs, *arguments, 0.2, weights=torch.full((1, 1, 1), 1e-30))
        found.loss.backward()
        assert all(each.isfinite() for each in found)
        assert log_probs.grad is not None
        assert log_probs.grad.isfinite().all()


def test_what_is_logged_counts_by_weight() -> None:
    """Ratios of 1 and 3, of which the second counts for a fifth, over two tokens."""
    log_probs = torch.tensor([[0.0, math.log(3.0)]])
    arguments = (torch.zeros(1, 2), torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool))
    found = clipped_policy_loss(log_probs, *arguments, 0.2, weights=torch.tensor([[1.8, 0.2]]))
    assert float(found.loss) == pytest.approx(-(1.8 + 0.2 * 1.2) / 2)
    assert float(found.ratio_mean) == pytest.approx((1.8 + 0.2 * 3) / 2)
    assert float(found.clip_fraction) == pytest.approx(0.1)
    assert float(found.approx_kl) == pytest.approx(0.1 * (2 - math.log(3)))


@pytest.mark.parametrize(("baseline", "bias"), [("value", 0.005), ("others", 0.03)])
def test_uniform_tries_leave_the_policy_gradient_as_it_is(baseline: str, bias: float) -> None:
    """50,000 states, three draws of the policy and two uniform ones each: the gradient of the right tokens' share.

    The others of a state are not as many draws of the policy for a uniform try as for one of the policy's: their mean
    leaves a bias of a few percent.
    """
    generator = torch.Generator().manual_seed(0)
    logits = torch.tensor([2.0, 0.5, -1.0, -2.0], requires_grad=True)
    right = torch.tensor([False, True, False, True])
    log_dist = logits.log_softmax(dim=0)
    probs = log_dist.detach().exp()
    own = torch.multinomial(probs, 150_000, replacement=True, generator=generator).view(-1, 1, 3)
    even = torch.randint(0, 4, (50_000, 1, 2), generator=generator)
    tokens = torch.cat([own, even], dim=2)
    weights = 5 * probs[tokens] / (3 * probs[tokens] + 2 / 4)
    rewards = torch.ones(50_000, 1)
    advantages = tried_rloo(rewards, right[tokens], weights)
    if baseline == "value":
        advantages, _ = tried_gae(rewards, 0.2 * rewards, right[tokens], weights, 1.0, 1.0)
    log_probs, active = log_dist[tokens], torch.ones_like(weights, dtype=torch.bool)
    loss = clipped_policy_loss(log_probs, log_probs.detach(), advantages, active, 0.2, weights=weights).loss
    (found,) = torch.autograd.grad(loss, logits, retain_graph=True)
    (expected,) = torch.autograd.grad(-log_dist.exp()[right].sum(), logits)
    assert float((found - expected).norm() / expected.norm()) < bias
