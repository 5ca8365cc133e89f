"""Imitating one's own successes: what is kept, what is learned from it, and that a run goes on with it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from rlfl_agents.environments import make_envs
from rlfl_agents.ppo import train
from rlfl_agents.rollout.collect import collect
from rlfl_agents.rollout.rollout import Rollout
from rlfl_agents.rollout.successes import Successes
from rlfl_agents.run.checkpoint import latest, load
from rlfl_agents.run.metrics import read_metrics

from .conftest import small_config, small_policy

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def rollout() -> Rollout:
    """Four prompts, two completions of each, of which none ends at its budget."""
    envs = make_envs("rlfl/Copy-v0", 8, alphabet="abc", length=3, split="all", max_completion_tokens=6)
    policy = small_policy(envs, value="none")
    return collect(
        policy, envs, torch.Generator().manual_seed(0), group_size=2, prompts=sorted(["abc", "ba", "cc", "a"] * 2)
    )


def with_successes(rollout: Rollout, solved: list[bool]) -> Rollout:
    """The rollout with these successes."""
    return dataclasses.replace(rollout, is_success=torch.tensor(solved))


def row_of(rollout: Rollout, row: int) -> list[int]:
    """A completion with its prompt, as it is kept."""
    completion = rollout.completions[row].tolist()
    missing = 6 - len(completion)
    return [*rollout.prompts[row // 2].tolist(), *completion, *[0] * missing, int(rollout.active[row].sum())]


def test_what_is_kept(rollout: Rollout) -> None:
    """One success a prompt, the newest; none of a group that was solved as a whole; the oldest prompts go first."""
    kept = Successes(2, rollout.prompts.shape[1], 6)
    kept.add(with_successes(rollout, [True, False, True, True, False, True, False, False]))
    assert kept.state().tolist() == [row_of(rollout, 0), row_of(rollout, 5)]
    kept.add(with_successes(rollout, [False, True, False, False, False, False, False, False]))
    assert kept.state().tolist() == [row_of(rollout, 5), row_of(rollout, 1)]
    kept.add(with_successes(rollout, [False, False, False, False, False, False, True, False]))
    assert kept.state().tolist() == [row_of(rollout, 1), row_of(rollout, 6)]
    again = Successes(2, rollout.prompts.shape[1], 6)
    again.restore(kept.state())
    assert again.state().equal(kept.state())


def test_what_is_kept_is_alone_in_its_memory(rollout: Rollout) -> None:
    """A row that is part of its rollout would keep all of it."""
    kept = Successes(8, rollout.prompts.shape[1], 6)
    kept.add(with_successes(rollout, [True, False] * 4))
    rows = kept._kept.values()
    assert all(row.untyped_storage().nbytes() == row.numel() * row.element_size() for row in rows)


def test_without_groups_every_success_is_kept(rollout: Rollout) -> None:
    """A group of one is always solved as a whole or not at all."""
    single = dataclasses.replace(
        with_successes(rollout, [False, True] * 4), prompts=rollout.prompts.repeat_interleave(2, dim=0)
    )
    kept = Successes(9, rollout.prompts.shape[1], 6)
    kept.add(single)
    assert len(kept) == 4


def test_what_is_drawn(rollout: Rollout) -> None:
    """Different ones, as long as the longest of them; active from each row's start to its end."""
    kept = Successes(9, rollout.prompts.shape[1], 6)
    kept.add(with_successes(rollout, [True, False] * 4))
    generator = torch.Generator().manual_seed(0)
    assert len(kept.draw(2, generator, CPU).prompts) == 2
    drawn = kept.draw(9, generator, CPU)
    lengths = rollout.active[::2].sum(dim=1)
    assert drawn.completions.shape == (4, int(lengths.max()))
    for prompt, completion, active in zip(*drawn, strict=True):
        (place,) = (rollout.prompts == prompt).all(dim=1).nonzero()[:, 0].tolist()
        assert completion[active].equal(rollout.completions[2 * place][rollout.active[2 * place]])
        assert active.sum() == lengths[place]
        assert not active.int().diff().gt(0).any()


def test_successes_become_likelier(tmp_path: Path) -> None:
    """Of two runs that differ in it alone, the one that imitates has learned what it kept by heart sooner."""
    settings: dict[str, Any] = {
        "env_kwargs": {"alphabet": "abc", "length": 2, "split": "all"},
        "total_samples": 32 * 60,
    }
    train(small_config(**settings, eval_every=0), tmp_path / "plain", quiet=True)
    train(small_config(**settings, eval_every=0, imitation_coef=1.0), tmp_path / "imitating", quiet=True)
    plain, imitating = (read_metrics(tmp_path / name) for name in ("plain", "imitating"))
    assert set(plain["imitation_loss"][1:]) == {0.0}
    losses = [loss for loss in imitating["imitation_loss"][1:] if loss > 0]
    assert losses[-1] < 0.75 * losses[0]
    assert imitating["eval/success"][-1] > plain["eval/success"][-1] + 0.1


def test_a_run_goes_on_bit_by_bit(tmp_path: Path) -> None:
    """Half a run resumed has the weights and the successes of an unbroken one."""
    settings: dict[str, Any] = {"imitation_coef": 0.5, "imitation_batch": 3, "imitation_kept": 3, "epochs": 2}
    whole, half = (small_config(**settings, total_samples=32 * updates) for updates in (6, 4))
    train(whole, tmp_path / "unbroken", quiet=True)
    train(half, tmp_path / "broken", quiet=True)
    train(whole, tmp_path / "broken", resume=True, quiet=True)
    one, two = (load(latest(tmp_path / name) or tmp_path) for name in ("unbroken", "broken"))
    assert all(torch.equal(one["model"][name], two["model"][name]) for name in one["model"])
    assert len(one["successes"]) > 0
    assert one["successes"].equal(two["successes"])
    columns = [read_metrics(tmp_path / name)["imitation_loss"] for name in ("unbroken", "broken")]
    assert repr(columns[0]) == repr(columns[1])


def test_without_a_weight_nothing_is_kept_or_drawn(tmp_path: Path) -> None:
    """A run that imitates nothing is the same whatever the other settings say, and its checkpoints are small."""
    train(small_config(), tmp_path / "one", quiet=True)
    train(small_config(imitation_batch=1, imitation_kept=1), tmp_path / "two", quiet=True)
    one, two = (load(latest(tmp_path / name) or tmp_path) for name in ("one", "two"))
    assert len(one["successes"]) == 0
    assert one["generator"].equal(two["generator"])
    assert all(torch.equal(one["model"][name], two["model"][name]) for name in one["model"])
