"""A minibatch whose reading was recorded is learned from as one that is read; on a CPU a replay is a run."""

from __future__ import annotations

import pytest
import torch

from rlfl_agents.model.recorded import RecordedPasses
from rlfl_agents.rollout.collect import collect

from .conftest import small_policy
from .test_groups import ENVS


@pytest.mark.parametrize("envs", ENVS)
@pytest.mark.parametrize("value", ["none", "shared", "separate"])
def test_a_recorded_pass_is_a_pass(value: str, envs: str) -> None:
    """The same numbers and gradients as reading prompts and completions in one; recorded the second time."""
    vector = ENVS[envs]()
    policy, passes = small_policy(vector, scale=3.0, value=value), RecordedPasses()
    rollout = collect(policy, vector, torch.Generator().manual_seed(3), seed=5)
    width = rollout.prompts.shape[1]
    tokens = torch.cat([rollout.prompts, rollout.completions[:, :-1]], dim=1)
    gradients = []
    assert passes.of(policy, tokens, width) is None
    for found in (policy.read_whole(tokens, width), passes.of(policy, tokens, width)):
        assert found is not None
        hidden, values = found
        assert hidden.shape[:2] == values.shape == rollout.completions.shape
        (hidden.square().sum() + values.sum()).backward()
        gradients.append([each.grad.clone() for each in policy.parameters() if each.grad is not None])
        policy.zero_grad()
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_gradients_that_add_up_are_not_recorded() -> None:
    """A replay writes its gradient where the last one is: with one there, or without any asked for, nothing is."""
    vector = ENVS["prompts of one length"]()
    policy, passes = small_policy(vector), RecordedPasses()
    tokens = torch.ones(4, 6, dtype=torch.int64)
    assert passes.of(policy, tokens, 3) is None
    with torch.no_grad():
        assert passes.of(policy, tokens, 3) is None
    found = passes.of(policy, tokens, 3)
    assert found is not None
    found[0].sum().backward()
    assert passes.of(policy, tokens, 3) is None
    policy.zero_grad()
    assert passes.of(policy, tokens[:2], 3) is None  # of another shape
    assert passes.of(policy, tokens, 3) is not None  # the last that was recorded is still there


def test_shapes_that_take_turns_are_not_recorded_each_time() -> None:
    """The first is recorded when it comes again; another, which costs as much, when it has come eight times."""
    vector = ENVS["prompts of one length"]()
    policy, passes = small_policy(vector), RecordedPasses()
    first, second = torch.ones(4, 6, dtype=torch.int64), torch.ones(4, 5, dtype=torch.int64)
    assert [passes.of(policy, first, 3) is not None for _ in range(3)] == [False, True, True]
    assert [passes.of(policy, second, 3) is not None for _ in range(4)] == [False] * 4
    assert passes.of(policy, first, 3) is not None
    assert [passes.of(policy, second, 3) is not None for _ in range(9)] == [False] * 7 + [True] * 2
