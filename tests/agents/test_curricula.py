"""Rules for levels: what they do to the weights, by hand."""

from __future__ import annotations

import math

import pytest

from rlfl_agents.learn.curricula import Curriculum, FixedLevels, ProgressCurriculum, TargetCurriculum


def test_the_target_moves_the_difficulty_by_the_rule() -> None:
    """One step by hand: full success at the easiest of five levels moves the place by 0.03 * 4 * tanh(1)."""
    rule = TargetCurriculum(5, 0.5)
    assert rule.weights == pytest.approx([0.84, 0.04, 0.04, 0.04, 0.04])
    rule.observe([1.0, None, None, None, 0.0])
    place = 0.12 * math.tanh(1)
    assert rule.state() == pytest.approx([place])
    assert rule.weights == pytest.approx([0.04 + 0.8 * (1 - place), 0.04 + 0.8 * place, 0.04, 0.04, 0.04])


def test_the_target_rises_while_all_is_solved_and_falls_while_nothing_is() -> None:
    """And stays within the levels at both ends; success elsewhere does not count."""
    rule = TargetCurriculum(3, 0.5)
    for _ in range(100):
        rule.observe([1.0, 1.0, 1.0])
    assert rule.state() == [2.0]
    for _ in range(3):
        rule.observe([1.0, 0.5, 0.0])
    lower = rule.state()[0]
    assert 1 < lower < 2
    rule.observe([None, None, None])
    assert rule.state() == [lower]
    for _ in range(100):
        rule.observe([0.0, 0.0, 0.0])
    assert rule.state() == [0.0]


def test_progress_prefers_what_changes() -> None:
    """What is neither solved nor being learned, and what is solved for long, get the share that is spread alone."""
    rule = ProgressCurriculum(3)
    assert rule.weights == pytest.approx([1 / 3] * 3)
    for _ in range(400):
        rule.observe([1.0, None, 0.0])
    for success in (0.1, 0.2, 0.3):
        rule.observe([1.0, success, 0.0])
    even = 0.2 / 3
    assert rule.weights == pytest.approx([even, 1 - 2 * even, even], abs=1e-3)
    for _ in range(3):
        rule.observe([0.5, 0.3, 0.0])  # what is forgotten changes, too
    assert rule.weights[0] > rule.weights[1] > rule.weights[2]


@pytest.mark.parametrize("rules", [[TargetCurriculum(3, 0.4) for _ in "12"], [ProgressCurriculum(3) for _ in "12"]])
def test_a_restored_rule_goes_on(rules: list[Curriculum]) -> None:
    """Its weights are those of the one that was kept, then and later."""
    kept, restored = rules
    kept.observe([0.7, 0.2, None])
    restored.restore(kept.state())
    for rule in rules:
        rule.observe([0.9, 0.3, 0.1])
    assert kept.weights == restored.weights
    assert sum(kept.weights) == pytest.approx(1)


def test_fixed_levels_stay() -> None:
    """Given weights are scaled to sum to 1, whatever is observed."""
    rule = FixedLevels([0, 3, 1])
    rule.observe([None, 1.0, 0.0])
    rule.restore(rule.state())
    assert rule.weights == [0, 0.75, 0.25]
