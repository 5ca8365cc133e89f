"""The PPO in one file learns."""

from collections.abc import Callable
from typing import Any

import pytest


def test_example_learns(example: Callable[[str], Any]) -> None:
    """Copying two letters to 0.99 on held-out prompts takes seconds."""
    pytest.importorskip("torch", reason="needs the extra agent")
    script = example("benchmarks/cleanrl_ppo.py")
    settings = {"total_steps": 100_000, "stop_at_success": 0.999, "width": 64, "quiet": True}
    assert script.train(script.Args(env_kwargs='{"alphabet": "ab", "length": 2}', **settings)) >= 0.99


@pytest.mark.parametrize("ended", [False, True])
def test_advantages(example: Callable[[str], Any], ended: bool) -> None:
    """With lambda 1 an advantage is the return less the value; nothing crosses the end of an episode."""
    torch = pytest.importorskip("torch", reason="needs the extra agent")
    script = example("benchmarks/cleanrl_ppo.py")
    rewards, values = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.25], [0.5]])
    ends = torch.tensor([[False], [ended]])
    found = script.generalised_advantages(rewards, values, ends, torch.tensor([4.0]), gamma=1.0, gae_lambda=1.0)
    after = 0.0 if ended else 4.0
    assert found.flatten().tolist() == [1.0 + after - 0.25, 1.0 + after - 0.5]
