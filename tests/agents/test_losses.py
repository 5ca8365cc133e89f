"""The loss terms against numbers worked out by hand, and batch entropy against its definition."""

from __future__ import annotations

import math

import pytest
import torch

from rlfl_agents.learn import losses
from rlfl_agents.learn.head import summary_of


def entropies(
    dist: torch.Tensor,
    active: torch.Tensor,
    positions: losses.Positions = "all",
    sum_across: losses.SumAcross = lambda x: x,
) -> losses.Entropies:
    """Of log-probabilities [N, T, V], whatever was written."""
    return losses.entropies(
        summary_of(dist, torch.zeros(active.shape, dtype=torch.int64), active), positions, sum_across
    )


def test_policy_loss_by_hand() -> None:
    """Ratios 1.5 and 0.5 with both signs of the advantage, clip 0.2."""
    ratio = torch.tensor([[1.5, 1.5, 0.5, 0.5, 1.1]])
    advantages = torch.tensor([[1.0, -1.0, 1.0, -1.0, 2.0]])
    active = torch.tensor([[True, True, True, True, True]])
    found = losses.clipped_policy_loss(ratio.log(), torch.zeros(1, 5), advantages, active, 0.2)
    # max(-A r, -A clip(r)): -1.2, 1.5, -0.5, 0.8, -2.2
    assert found.loss == pytest.approx((-1.2 + 1.5 - 0.5 + 0.8 - 2.2) / 5)
    assert found.ratio_mean == pytest.approx((1.5 + 1.5 + 0.5 + 0.5 + 1.1) / 5)
    assert found.clip_fraction == pytest.approx(4 / 5)
    kl = [r - 1 - math.log(r) for r in (1.5, 1.5, 0.5, 0.5, 1.1)]
    assert found.approx_kl == pytest.approx(sum(kl) / 5)


def test_policy_loss_ignores_padding_even_where_it_is_wild() -> None:
    """A padded column holds log-probabilities of masked tokens; they reach neither value nor gradient."""
    log_probs = torch.tensor([[0.1, -1e9]], requires_grad=True)
    active = torch.tensor([[True, False]])
    found = losses.clipped_policy_loss(log_probs, torch.zeros(1, 2), torch.ones(1, 2), active, 0.2)
    found.loss.backward()
    assert found.loss.item() == pytest.approx(-math.exp(0.1))
    assert log_probs.grad is not None
    assert log_probs.grad.tolist() == [[pytest.approx(-math.exp(0.1)), 0.0]]


def test_clip_higher_by_hand() -> None:
    """Between 1 + c and the higher bound a ratio is still rewarded; the lower bound stays; what is beyond counts."""
    ratios, advantages = torch.tensor([[1.5, 1.25, 0.7, 0.9]]), torch.tensor([[1.0, 1.0, -1.0, -1.0]])
    everything = torch.ones(1, 4, dtype=torch.bool)
    found = losses.clipped_policy_loss(
        ratios.log(), torch.zeros(1, 4), advantages, everything, 0.2, clip_range_high=0.3
    )
    assert found.loss == pytest.approx((-1.3 - 1.25 + 0.8 + 0.9) / 4)
    assert found.clip_fraction == pytest.approx(2 / 4)
    plain = losses.clipped_policy_loss(ratios.log(), torch.zeros(1, 4), advantages, everything, 0.2)
    assert plain.loss == pytest.approx((-1.2 - 1.2 + 0.8 + 0.9) / 4)


def test_dual_clip_by_hand() -> None:
    """A ratio of 10 that should fall weighs 3 and has no gradient; one that should rise is clipped as ever."""
    log_probs = torch.tensor([[10.0, 2.0, 10.0]]).log().requires_grad_()
    advantages = torch.tensor([[-2.0, -2.0, 2.0]])
    found = losses.clipped_policy_loss(
        log_probs, torch.zeros(1, 3), advantages, torch.ones(1, 3, dtype=torch.bool), 0.2, dual_clip=3.0
    )
    assert found.loss.item() == pytest.approx((2 * 3 + 2 * 2 - 2 * 1.2) / 3)
    found.loss.backward()
    assert log_probs.grad is not None
    assert log_probs.grad.tolist() == [[0.0, pytest.approx(4 / 3), 0.0]]


def test_leading_tokens_by_hand() -> None:
    """By hand the covariances are 2 (likely and good), 0, 2 (unlikely and bad), -4 and 6; a padded token has none."""
    log_probs = torch.tensor([[-1.0, -2.0, -3.0], [0.0, -4.0, 9.0]])
    advantages = torch.tensor([[2.0, 5.0, -2.0], [-2.0, -3.0, 9.0]])
    active = torch.tensor([[True, True, True], [True, True, False]])
    covariance = torch.tensor([2.0, 0.0, 2.0, -4.0, 6.0])
    assert [float(values[active].mean()) for values in (log_probs, advantages)] == [-2.0, 0.0]
    centred = (log_probs[active] + 2) * advantages[active]
    assert centred.tolist() == covariance.tolist()
    for share, count in ((0.1, 1), (0.2, 1), (0.6, 3), (1.0, 5)):
        found = losses.leading_tokens(log_probs, advantages, active, share)
        assert found.sum() == count
        assert not found[1, 2]
        assert found[1, 1]  # of the highest covariance
    assert losses.leading_tokens(log_probs, advantages, active, 0.6).tolist() == [
        [True, False, True],
        [False, True, False],
    ]


def test_kl_cov_penalty_by_hand() -> None:
    """|log r| of the leading tokens over all active ones, whichever way they moved."""
    log_probs = torch.tensor([[0.5, -0.3, 9.0], [0.2, 0.0, 0.0]], requires_grad=True)
    leading = torch.tensor([[True, True, False], [False, True, False]])
    active = torch.tensor([[True, True, True], [True, True, False]])
    found = losses.kl_cov_penalty(log_probs, torch.zeros(2, 3), leading, active)
    assert found.item() == pytest.approx(0.8 / 5)
    found.backward()
    assert log_probs.grad is not None
    assert log_probs.grad[0].tolist() == pytest.approx([0.2, -0.2, 0])


def test_value_loss_by_hand() -> None:
    """Old value 0, clip 0.2: a value of 1 against return 1 still pays for its clipped self."""
    found = losses.clipped_value_loss(
        torch.tensor([[1.0, 0.1]]),
        torch.zeros(1, 2),
        torch.tensor([[1.0, 0.0]]),
        torch.ones(1, 2, dtype=torch.bool),
        0.2,
    )
    assert found == pytest.approx(0.5 * (0.8**2 + 0.1**2) / 2)


def test_token_entropy_by_hand() -> None:
    """A fair coin and a sure thing; the padded position does not count."""
    dist = torch.tensor([[[0.5, 0.5], [1.0, 1e-12]], [[1.0, 1e-12], [0.5, 0.5]]]).log()
    active = torch.tensor([[True, True], [True, False]])
    assert entropies(dist, active).token == pytest.approx(math.log(2) / 3, abs=1e-6)


def test_batch_entropy_by_hand() -> None:
    """Two sure rows that differ have token entropy 0 and batch entropy log 2; that is the point of it."""
    sure = torch.tensor([[[1.0, 1e-12]], [[1e-12, 1.0]]]).log()
    found = entropies(sure, torch.ones(2, 1, dtype=torch.bool))
    assert found.token == pytest.approx(0, abs=1e-6)
    assert found.batch == pytest.approx(math.log(2), abs=1e-6)
    assert found.batch_max_action == pytest.approx(0.5)
    collapsed = entropies(sure[:1].expand(2, 1, 2), torch.ones(2, 1, dtype=torch.bool))
    assert collapsed.batch == pytest.approx(0, abs=1e-6)
    assert collapsed.batch_max_action == pytest.approx(1.0)


def test_information_by_hand() -> None:
    """The bits by which prompts tell tokens apart, position by position: all, none, some; 0 where nothing is active."""
    sure, even = [[1.0, 1e-12], [1e-12, 1.0]], [[0.5, 0.5], [0.5, 0.5]]
    dist = torch.tensor([sure, even, [[0.9, 0.1], [0.1, 0.9]], even]).transpose(0, 1).log()
    active = torch.tensor([[True, True, True, False]] * 2)
    some = math.log(2) + 0.9 * math.log(0.9) + 0.1 * math.log(0.1)
    found = entropies(dist, active).information
    assert found.tolist() == pytest.approx([math.log(2), 0, some, 0], abs=1e-6)


def test_batch_entropy_averages_positions_by_their_active_rows() -> None:
    """Position 0 has three rows and position 1 one: weights 3/4 and 1/4. "last" reads position 1 alone."""
    p = torch.tensor([[[0.7, 0.3], [0.9, 0.1]], [[0.2, 0.8], [0.5, 0.5]], [[0.6, 0.4], [0.5, 0.5]]])
    active = torch.tensor([[True, True], [True, False], [True, False]])

    def entropy(a: float) -> float:
        return -(a * math.log(a + 1e-9) + (1 - a) * math.log(1 - a + 1e-9))

    first, second = entropy((0.7 + 0.2 + 0.6) / 3), entropy(0.9)
    assert entropies(p.log(), active).batch == pytest.approx(0.75 * first + 0.25 * second, rel=1e-5)
    assert entropies(p.log(), active, "last").batch == pytest.approx(second, rel=1e-5)
    three_long = torch.cat([p, p[:, :1]], dim=1).log()
    padded = torch.cat([active, torch.zeros(3, 1, dtype=torch.bool)], dim=1)
    assert entropies(three_long, padded, "last").batch == pytest.approx(second, rel=1e-5)


def test_a_groups_one_distribution_weighs_as_its_members() -> None:
    """[N, T, V] for groups of k equals the same rows written out k times, gradients too."""
    torch.manual_seed(0)
    logits = torch.randn(3, 1, 5, requires_grad=True)
    active = torch.ones(12, 1, dtype=torch.bool)
    active[5] = False
    short = entropies(logits.log_softmax(-1), active)
    (gradient,) = torch.autograd.grad(short.batch + 0.5 * short.token, logits)
    long = entropies(logits.log_softmax(-1).repeat_interleave(4, dim=0), active)
    (expected,) = torch.autograd.grad(long.batch + 0.5 * long.token, logits)
    for a, b in zip(short, long, strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(gradient, expected)


def test_gather_log_probs_for_groups_and_rows() -> None:
    """Each completion reads its own row's, or its group's, distribution."""
    dist = torch.arange(24.0).view(2, 3, 4)
    completions = torch.tensor([[0, 1, 2], [3, 3, 3], [1, 0, 1], [2, 2, 0]])
    expected = dist.repeat_interleave(2, dim=0).gather(2, completions[:, :, None])[:, :, 0]
    assert losses.gather_log_probs(dist, completions).tolist() == expected.tolist()
    rows = dist.repeat_interleave(2, dim=0)
    assert losses.gather_log_probs(rows, completions).tolist() == expected.tolist()


def test_sequence_kl_sums_over_active_tokens() -> None:
    """The second row ends after one token."""
    found = losses.sequence_kl(
        torch.tensor([[-1.0, -2.0], [-0.5, 9.0]]),
        torch.tensor([[-1.5, -2.5], [-1.0, 0.0]]),
        torch.tensor([[True, True], [True, False]]),
    )
    assert found.tolist() == [1.0, 0.5]


@pytest.mark.parametrize("positions", ["all", "last"])
def test_two_shares_make_the_whole(positions: losses.Positions) -> None:
    """With `sum_across`, halves of unequal weight give the values of the whole and gradients that add up."""
    torch.manual_seed(1)
    logits = torch.randn(6, 3, 5)
    active = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 0], [1, 0, 0]], dtype=torch.bool)
    old, advantages = torch.randn(6, 3), torch.randn(6, 3)
    completions = torch.randint(5, (6, 3))

    def loss(part: slice, leaf: torch.Tensor, sum_across: losses.SumAcross) -> torch.Tensor:
        dist = leaf.log_softmax(-1)
        log_probs = losses.gather_log_probs(dist, completions[part])
        policy = losses.clipped_policy_loss(log_probs, old[part], advantages[part], active[part], 0.2, sum_across)
        entropy = entropies(dist, active[part], positions, sum_across)
        return policy.loss - 0.1 * entropy.token - 0.3 * entropy.batch

    leaf = logits.clone().requires_grad_()
    whole = loss(slice(0, 6), leaf, lambda x: x)
    (expected,) = torch.autograd.grad(whole, leaf)
    shares = (slice(0, 2), slice(2, 6))
    recorded: list[list[torch.Tensor]] = []
    for part in shares:  # what each process would contribute to each sum
        recorded.append([])

        def record(x: torch.Tensor, kept: list[torch.Tensor] = recorded[-1]) -> torch.Tensor:
            kept.append(x.detach())
            return x

        loss(part, logits[part], record)
    # Sums later in the loss do not depend on earlier ones, so the recorded shares are exact.
    totals = [sum(values) for values in zip(*recorded, strict=True)]
    gradients = []
    for part, own in zip(shares, recorded, strict=True):
        others = iter([total - mine for total, mine in zip(totals, own, strict=True)])
        leaf = logits[part].clone().requires_grad_()
        value = loss(part, leaf, lambda x: x + next(others))  # noqa: B023 -- used within the same turn
        torch.testing.assert_close(value, whole)
        gradients.append(torch.autograd.grad(value, leaf)[0])
    torch.testing.assert_close(torch.cat(gradients), expected)
