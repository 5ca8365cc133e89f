"""Schedules and controllers by hand."""

from __future__ import annotations

import math

import pytest

from rlfl_agents.learn.schedules import Coefficient, KLController, scheduled


def test_schedules_at_their_ends_and_middle() -> None:
    """Constant, line, half a cosine; a final share; a warm-up."""
    assert [scheduled("constant", p) for p in (0, 0.5, 1)] == [1, 1, 1]
    assert [scheduled("linear", p) for p in (0, 0.5, 1)] == [1, 0.5, 0]
    assert [scheduled("linear", p, final=0.2) for p in (0, 0.5, 1)] == pytest.approx([1, 0.6, 0.2])
    assert [scheduled("cosine", p) for p in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])
    assert [scheduled("linear", p, warmup=0.5) for p in (0, 0.25, 0.5, 0.75, 1)] == [0, 0.5, 1, 0.5, 0]


def test_a_coefficient_follows_its_line_or_its_target() -> None:
    """The dual variable grows while the entropy is below the target, within bounds."""
    assert [Coefficient(0.3).value(p) for p in (0, 1)] == [0.3, 0.3]
    assert [Coefficient(0.3, final=0.1).value(p) for p in (0, 0.5, 1)] == pytest.approx([0.3, 0.2, 0.1])
    steered = Coefficient(0.1, target=2.0, rate=0.5)
    steered.observe(1.0)
    assert steered.value(0) == pytest.approx(0.1 * math.exp(0.5))
    again = Coefficient(0.1, target=2.0, rate=0.5)
    again.restore(steered.state())
    assert again.value(0) == steered.value(0)
    for _ in range(100):
        steered.observe(0.0)
    assert steered.value(0) == pytest.approx(10)
    for _ in range(100):
        steered.observe(9.0)
    assert steered.value(0) == pytest.approx(1e-5)


def test_the_kl_controller_by_hand() -> None:
    """TRL's: error clipped to 0.2, scaled by episodes / horizon; a fixed one stays."""
    adaptive = KLController(0.2, target=6.0, horizon=10_000)
    adaptive.observe(12.0, 100)
    assert adaptive.coef == pytest.approx(0.2 * (1 + 0.2 * 0.01))
    adaptive.observe(5.4, 100)
    assert adaptive.coef == pytest.approx(0.2 * (1 + 0.2 * 0.01) * (1 - 0.1 * 0.01))
    adaptive.observe(0.0, 10**6)
    assert adaptive.coef > 0  # however many at once
    fixed = KLController(0.2, None, 10_000)
    fixed.observe(100.0, 100)
    assert fixed.coef == 0.2
