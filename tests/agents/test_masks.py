"""Masks as a table and row numbers: the same numbers as with dense masks, in a small part of their memory."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlfl_agents.environments import make_envs
from rlfl_agents.learn.losses import gather_log_probs
from rlfl_agents.model import masks as module
from rlfl_agents.model.masks import Masks, masked_log_dist
from rlfl_agents.rollout.collect import collect
from rlfl_agents.rollout.link import alike
from rlfl_envs import TokenVectorEnv

from .conftest import small_policy


def dense(masks: Masks, shape: tuple[int, int]) -> torch.Tensor:
    """Bool [B, T, V]."""
    return masks.table[masks.rows.expand(shape)]


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_a_table_masks_as_dense_masks_do(data: st.DataObject) -> None:
    """Distributions and gradients are bit-equal, whatever the rows share and however few positions fit at a time."""
    rows, length, vocab, kinds = (data.draw(st.integers(1, most)) for most in (4, 5, 6, 3))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    table = torch.rand(kinds, vocab, generator=generator) < 0.5
    table[:, 0] = True
    shape = data.draw(st.sampled_from([(rows, length), (1, length), (1, 1)]))
    numbers = torch.randint(kinds, shape, generator=generator, dtype=torch.int32)
    found, expected = (torch.randn(rows, length, vocab, generator=generator.manual_seed(7)) for _ in range(2))
    weight = torch.randn(rows, length, vocab, generator=generator)
    masks = Masks(table, numbers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_AT_ONCE", data.draw(st.sampled_from([1, rows * vocab * 2, 2**24])))
        ends = [masked_log_dist(found.requires_grad_(), masks, 0.7)]
        ends.append(masked_log_dist(expected.requires_grad_(), dense(masks, (rows, length)), 0.7))
        for end in ends:
            (end * weight).sum().backward()
    assert torch.equal(*ends)
    assert found.grad is not None
    assert expected.grad is not None
    assert torch.equal(found.grad, expected.grad)


def test_rows_are_kept_as_far_as_they_differ() -> None:
    """One number where all are alike, one row where all episodes are."""
    assert alike(torch.tensor([[3, 3], [3, 3]])).tolist() == [[3]]
    assert alike(torch.tensor([[3, 4], [3, 4]])).tolist() == [[3, 4]]
    assert alike(torch.tensor([[3, 3], [4, 4]])).tolist() == [[3, 3], [4, 4]]


class Watched:
    """An environment that keeps the dense masks it has shown."""

    def __init__(self, envs: TokenVectorEnv) -> None:
        """Takes the environment to watch."""
        self._envs = envs
        self.shown: list[np.ndarray] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._envs, name)

    def reset(self, **arguments: object) -> tuple[np.ndarray, dict[str, object]]:
        """As the environment's own."""
        result = self._envs.reset(**arguments)
        self.shown.append(self._envs.action_masks())
        return result

    def step(self, actions: np.ndarray) -> tuple[object, ...]:
        """As the environment's own."""
        result = self._envs.step(actions)
        self.shown.append(self._envs.action_masks())
        return result


@pytest.mark.parametrize(
    ("env_id", "env_kwargs"),
    [
        ("rlfl/ArithmeticSteps-v0", {"mask": "syntax"}),
        ("rlfl/Brackets-v0", {"mask": "syntax"}),
        ("rlfl/Copy-v0", {"min_completion_tokens": 3}),
        ("rlfl/Copy-v0", {}),
        ("rlfl/Arithmetic-v0", {"mask": "syntax"}),
    ],
)
def test_a_rollout_keeps_the_masks_that_the_environment_showed(env_id: str, env_kwargs: dict[str, Any]) -> None:
    """At every active position, for the second rollout too; the table has no row twice."""
    envs = Watched(make_envs(env_id, 24, **env_kwargs))
    policy = small_policy(envs, scale=2.0)
    for seed in (3, None):
        envs.shown.clear()
        rollout = collect(policy, envs, torch.Generator().manual_seed(0), group_size=4, seed=seed)
        shape = rollout.completions.shape
        shown = torch.from_numpy(np.stack(envs.shown[: shape[1]], axis=1))
        active = rollout.active
        assert torch.equal(dense(rollout.masks, (shape[0], shape[1]))[active], shown[active])
        assert len(rollout.mask_table) == len(rollout.mask_table.unique(dim=0))
        with torch.no_grad():
            log_dist, _ = policy(rollout.prompts, rollout.completions, rollout.masks)
        found = gather_log_probs(log_dist, rollout.completions)
        torch.testing.assert_close(found[active], rollout.log_probs[active], atol=2e-5, rtol=1e-4)


class AnyLegal:
    """A policy that takes any legal token, without a model."""

    pad_id = 50256

    def parameters(self) -> object:
        """One, which says on which device it is."""
        return iter([torch.zeros(1)])

    def sampling(self) -> contextlib.AbstractContextManager[object]:
        """Nothing to merge."""
        return contextlib.nullcontext(self)

    def keep(self, state: int, rows: torch.Tensor) -> bool:
        """All rows stay."""
        return False

    def start(self, prompts: torch.Tensor, rows: int, keep_cache: bool = True, room: int = 32) -> int:
        """How many rows there are."""
        return rows

    def sample(self, state: int, noise: torch.Tensor, masks: torch.Tensor, *_: object) -> tuple[torch.Tensor, ...]:
        """The legal token that the noise points at."""
        counts = masks.sum(dim=1).expand(state)
        nth = (noise * counts).long() + 1
        tokens = [
            int(torch.searchsorted(mask.cumsum(0), n)) for mask, n in zip(masks.expand(state, -1), nth, strict=True)
        ]
        return torch.tensor(tokens), torch.zeros(state), torch.zeros(state)


def test_a_large_vocabulary_takes_little_memory() -> None:
    """512 episodes of 16 tokens or more of GPT-2 under a syntax mask: below 10 MB, where dense masks take 412 MB."""
    envs = make_envs("rlfl/Copy-v0", 512, vocabulary="gpt2", length=40, mask="syntax")
    rollout = collect(AnyLegal(), envs, torch.Generator().manual_seed(0), seed=0)
    assert rollout.completions.shape[0] == 512
    assert rollout.completions.shape[1] >= 16
    assert len(rollout.mask_table) > 1
    assert rollout.mask_table.nbytes + rollout.mask_rows.nbytes < 10e6
    assert rollout.mask_table[rollout.mask_rows.expand(rollout.completions.shape), rollout.completions][
        rollout.active
    ].all()
