"""What passes between the environments and the policy's device: little, and never so that one waits for the other."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rlfl_agents.environments import make_envs
from rlfl_agents.model.recorded import RecordedSteps
from rlfl_agents.rollout import collect as module
from rlfl_agents.rollout.collect import collect
from rlfl_agents.rollout.link import Link, Present

from .conftest import small_policy

WAITING = {"_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "_unique2", "unique_consecutive"}


class Waits(TorchDispatchMode):
    """Counts the operations whose result the host has to wait for, were they on another device."""

    def __init__(self) -> None:
        """Begins at 0."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        self.counts[name] += name in WAITING
        return function(*args, **kwargs or {})


def waits(monkeypatch: Any, length: int) -> tuple[int, int]:
    """How often the host would wait in a rollout of so many tokens, and how often it says what it fetches."""
    sent: list[str] = []

    class Counted(Link):
        def send(self, numbers: np.ndarray, running: np.ndarray) -> tuple[Tensor, Tensor]:
            sent.append("there")
            return super().send(numbers, running)

        def fetch(self, tokens: Tensor) -> Any:
            sent.append("back")
            return super().fetch(tokens)

    monkeypatch.setattr(module, "Link", Counted)
    monkeypatch.setattr(Present, "leave", lambda *_: None)  # as on a device: rows do not leave
    exactly = {"max_completion_tokens": length, "min_completion_tokens": length}
    envs = make_envs("rlfl/Copy-v0", 8, **exactly)
    policy = small_policy(envs)
    policy.recorded = RecordedSteps()
    policy.reader.plain_head(policy.language_model)
    with Waits() as counted:
        collect(policy, envs, torch.Generator().manual_seed(0), group_size=2, seed=0)
    assert sent == ["there", "back"] * length
    return sum(counted.counts.values()), counted.counts.total()


def test_a_token_makes_one_copy_there_and_one_back(monkeypatch: Any) -> None:
    """Whatever else a rollout waits for does not grow with its tokens: masks are indexed where they are."""
    assert waits(monkeypatch, 6) == waits(monkeypatch, 16)
