"""Rollouts: what is stored, that masks bind, and that two processes sample what one would."""

from __future__ import annotations

import contextlib

import pytest
import torch

from rlfl_agents.environments import make_envs
from rlfl_agents.learn import losses
from rlfl_agents.learn.diversity import distinct
from rlfl_agents.rollout.collect import collect
from rlfl_envs import UnknownIdError

from .conftest import small_policy


def generator(seed: int = 0) -> torch.Generator:
    """The noise of a rollout."""
    return torch.Generator().manual_seed(seed)


def test_a_rollout_is_what_the_environment_says() -> None:
    """Rewards, success, parts and ends agree with the task, and padding is inactive."""
    envs = make_envs("rlfl/ArithmeticSteps-v0", 24, mask="syntax")
    policy = small_policy(envs, scale=2.0)
    rollout = collect(policy, envs, generator(), group_size=4, seed=5)
    outcomes = envs.task.evaluate(envs.prompts, rollout.completion_texts)
    assert rollout.episode_rewards.tolist() == pytest.approx([outcome.reward for outcome in outcomes])
    assert rollout.is_success.tolist() == [outcome.is_success for outcome in outcomes]
    assert rollout.parts["error"].tolist() == pytest.approx([outcome.parts["error"] for outcome in outcomes])
    assert rollout.prompts.shape == (6, envs.prompt_length)
    assert rollout.group_size == 4
    lengths = rollout.active.sum(dim=1)
    assert int(lengths.max()) == rollout.completions.shape[1]
    for row, length in enumerate(lengths.tolist()):
        assert rollout.active[row, :length].all()
        assert (rollout.completions[row, length:] == envs.tokenizer.pad_id).all()
        assert envs.tokenizer.decode(rollout.completions[row, :length].tolist()) == rollout.completion_texts[row]
    assert (rollout.rewards != 0).sum(dim=1).max() <= 1


def test_distinct_n() -> None:
    """Counted by hand: padding never counts, and neither do pairs that reach into it."""
    completions = torch.tensor([[5, 6, 5, 6], [5, 6, 0, 0], [7, 0, 0, 0]])
    active = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]], dtype=torch.bool)
    assert distinct(completions, active, 1) == pytest.approx(3 / 7)
    assert distinct(completions, active, 2) == pytest.approx(2 / 4)
    assert distinct(completions, active, 4) == 1.0
    assert distinct(completions, active, 5) == 0.0
    assert distinct(completions[2:], active[2:], 2) == 0.0


@pytest.mark.parametrize("env_id", ["rlfl/ArithmeticSteps-v0", "rlfl/Arithmetic-v0"])
@pytest.mark.parametrize("mask", ["none", "syntax"])
def test_masks_apply_alike_when_sampling_and_learning(env_id: str, mask: str) -> None:
    """Stored masks reproduce the sampled log-probabilities, and no illegal token was ever drawn."""
    envs = make_envs(env_id, 24, mask=mask)
    policy = small_policy(envs, scale=3.0)
    rollout = collect(policy, envs, generator(), group_size=4, seed=5, temperature=0.8)
    with torch.no_grad():
        dist, values = policy(rollout.prompts, rollout.completions, rollout.masks, 0.8)
    found = losses.gather_log_probs(dist, rollout.completions)
    torch.testing.assert_close(found[rollout.active], rollout.log_probs[rollout.active], atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(
        values.repeat_interleave(24 // len(values), dim=0)[rollout.active],
        rollout.values[rollout.active],
        atol=2e-5,
        rtol=1e-4,
    )
    legal = rollout.mask_table[rollout.mask_rows.expand(rollout.completions.shape), rollout.completions]
    assert legal[rollout.active].all()
    if mask == "none":
        assert rollout.mask_rows.shape == (1, 1)  # not stored per row or step
        assert rollout.mask_table.shape == (1, policy.vocab_size)
    part = rollout.take(torch.tensor([4, 1]))
    assert part.completions.tolist() == rollout.completions[[16, 17, 18, 19, 4, 5, 6, 7]].tolist()


def test_a_mask_that_depends_on_the_step_alone_is_stored_once_per_step() -> None:
    """EOS is masked until three tokens are written: the same in every row."""
    envs = make_envs("rlfl/Copy-v0", 8, min_completion_tokens=3)
    rollout = collect(small_policy(envs), envs, generator(), seed=0)
    assert rollout.mask_rows.shape in {(1, 4), (8, 4)}
    assert len(rollout.mask_table) == 2
    assert (rollout.active.sum(dim=1) >= 3).all()


def test_the_same_seed_gives_the_same_rollout() -> None:
    """And another seed another."""
    envs = make_envs("rlfl/Copy-v0", 8)
    policy = small_policy(envs)
    first, again, other = (collect(policy, envs, generator(s), seed=0) for s in (0, 0, 1))
    assert first.completions.tolist() == again.completions.tolist()
    assert first.log_probs.tolist() == again.log_probs.tolist()
    assert first.completions.tolist() != other.completions.tolist()


def test_two_processes_sample_what_one_would() -> None:
    """Halves with their share of the noise and of the environments' seeds equal the whole."""
    envs, half = make_envs("rlfl/Copy-v0", 16), make_envs("rlfl/Copy-v0", 8)
    policy = small_policy(envs)
    whole = collect(policy, envs, generator(), group_size=2, seed=100)
    parts = [collect(policy, half, generator(), group_size=2, seed=100 + 8 * i, process=(i, 2)) for i in range(2)]
    for field in ("prompts", "completions", "rewards", "is_success"):
        assert torch.cat([getattr(part, field) for part in parts]).tolist() == getattr(whole, field).tolist()


def test_greedy_takes_the_likeliest_token_whatever_the_noise() -> None:
    """And finishes with the prompt's own answer when the prompts are given."""
    envs = make_envs("rlfl/Copy-v0", 4)
    policy = small_policy(envs)
    texts = ["abcd", "hhhh", "aaaa", "abba"]
    first = collect(policy, envs, generator(0), greedy=True, prompts=texts)
    again = collect(policy, envs, generator(1), greedy=True, prompts=texts)
    assert [prompt.text for prompt in envs.prompts] == texts
    assert first.completions.tolist() == again.completions.tolist()
    with torch.no_grad():
        dist, _ = policy(first.prompts, first.completions, first.masks)
    assert dist.argmax(dim=-1)[first.active].tolist() == first.completions[first.active].tolist()


def test_episodes_that_all_end_early_stop_the_rollout() -> None:
    """A policy that always says EOS takes one step."""
    envs = make_envs("rlfl/Copy-v0", 4)
    policy = small_policy(envs)
    only_eos = collect(_AlwaysEOS(policy), envs, generator(), seed=0)
    assert only_eos.completions.shape == (4, 1)
    assert only_eos.completion_texts == [""] * 4


class _AlwaysEOS:
    """A stand-in that answers EOS."""

    def __init__(self, policy: torch.nn.Module) -> None:
        self._policy = policy
        self.pad_id = 0

    def parameters(self) -> object:
        return self._policy.parameters()

    def sampling(self) -> contextlib.AbstractContextManager[object]:
        return contextlib.nullcontext(self)

    def start(self, prompts: torch.Tensor, rows: int, keep_cache: bool = True, room: int = 32) -> int:
        return rows

    def sample(self, state: int, *_: object) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return torch.full((state,), 2), torch.zeros(state), torch.zeros(state)


def test_an_unknown_id_suggests_the_nearest() -> None:
    """The error is the library's own."""
    with pytest.raises(UnknownIdError, match="Did you mean 'rlfl/Copy-v0'"):
        make_envs("rlfl/Copi-v0", 1)
