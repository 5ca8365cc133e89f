"""What is said about a run: a warning where its answers collapse, and no false alarm."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rlfl_agents import ppo
from rlfl_agents.environments import make_envs
from rlfl_agents.learn.diversity import commonest_share
from rlfl_agents.ppo import train
from rlfl_agents.rollout.batch import Batch
from rlfl_agents.rollout.collect import collect
from rlfl_agents.run.report import COLLAPSED, has_collapsed

from .conftest import small_config, small_policy


def batch(completions: list[str], successes: list[bool], prompts: list[str]) -> Batch:
    """A batch of Copy with these texts of one length, a prompt each."""
    envs = make_envs("rlfl/Copy-v0", len(prompts))
    rollout = collect(small_policy(envs), envs, torch.Generator().manual_seed(0), prompts=prompts)
    tokens = torch.tensor([envs.tokenizer.encode(completion) for completion in completions])
    rollout = replace(
        rollout,
        completions=tokens,
        active=torch.ones_like(tokens, dtype=torch.bool),
        is_success=torch.tensor(successes),
    )
    zeros = torch.zeros(tokens.shape)
    return Batch(rollout, zeros, zeros, zeros, zeros > 0)


DIFFERENT = ["abab", "bbbb", "cdcd", "ddaa"]


@pytest.mark.parametrize(
    ("completions", "successes", "prompts", "batch_max_action", "expected"),
    [
        (["ab", "ab", "ab", "cd"], [False] * 4, DIFFERENT, 0.3, True),  # one completion for most prompts
        (["ab", "bb", "cd", "dd"], [False] * 4, DIFFERENT, 0.95, True),  # a distribution that is nearly one token
        (["ab", "bb", "cd", "dd"], [False] * 4, DIFFERENT, 0.85, False),
        (["ab", "ab", "bb", "bb"], [False] * 4, DIFFERENT, 0.5, False),  # half is not most
        (["ab", "ab", "ab", "ab"], [True] * 4, DIFFERENT, 1.0, False),  # all prompts have one right answer
        (["ab", "ab", "ab", "ab"], [True, False, False, False], DIFFERENT, 1.0, True),
        (["ab", "ab", "ab", "ab"], [False] * 4, ["abab"] * 4, 1.0, False),  # a single prompt
    ],
)
def test_a_collapse_is_seen_and_nothing_else(
    completions: list[str], successes: list[bool], prompts: list[str], batch_max_action: float, expected: bool
) -> None:
    """By p̄ or by the completions; never where the one answer is right or the prompts are one."""
    assert has_collapsed(batch(completions, successes, prompts), batch_max_action) is expected


def test_the_commonest_completion_ends_where_it_ends() -> None:
    """What stands after a row's end does not count, and a longer completion is another one."""
    completions = torch.tensor([[5, 2, 0], [5, 2, 9], [5, 2, 2], [6, 2, 0]])
    active = torch.tensor([[1, 1, 0], [1, 1, 0], [1, 1, 1], [1, 1, 0]], dtype=torch.bool)
    assert commonest_share(completions, active) == 0.5
    assert commonest_share(completions[:1], active[:1]) == 1.0


CONSTANT = {"env_kwargs": {"alphabet": "abcd", "length": 1, "split": "all"}, "total_samples": 5 * 32, "eval_every": 0}


def constant_answer(policy: torch.nn.Module) -> None:
    """Makes the model answer with one token whatever the prompt is: its last layer norm ignores what came before."""
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "ln_f.weight" in name:
                parameter.zero_()
            if "ln_f.bias" in name:
                parameter.fill_(1.0)
            if "wte" in name:
                parameter[3] = 3.0


@pytest.mark.parametrize("collapses", [True, False])
def test_a_run_that_collapses_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], collapses: bool
) -> None:
    """A policy that answers "a" to everything is warned about once in five updates, one from random weights never."""
    real = ppo.build_policy

    def build(*args: object, **settings: object) -> torch.nn.Module:
        policy = real(*args, **settings)
        if collapses:
            constant_answer(policy)
        return policy

    monkeypatch.setattr(ppo, "build_policy", build)
    train(small_config(**CONSTANT, learning_rate=0.0), tmp_path / "run")
    assert capsys.readouterr().out.count(COLLAPSED) == collapses
    assert "--batch-entropy-coef" in COLLAPSED
