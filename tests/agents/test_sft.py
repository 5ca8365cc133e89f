"""The supervised warm start learns, and training goes on from its folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from rlfl_agents.config import SFTConfig
from rlfl_agents.environments import make_envs
from rlfl_agents.learn.losses import gather_log_probs
from rlfl_agents.model.names import load_policy, seen_keys
from rlfl_agents.ppo import train
from rlfl_agents.run.metrics import read_metrics
from rlfl_agents.sft import _examples, _log_probs, warm_start
from rlfl_envs import ConfigError

from .conftest import small_config, small_policy

SMALL = {"layers": 1, "width": 32, "heads": 2, "device": "cpu", "eval_prompts": 32}


@pytest.mark.parametrize("prompt_loss", [True, False])
def test_it_learns_from_references_and_ppo_goes_on(tmp_path: Path, prompt_loss: bool) -> None:
    """Far above chance (1 in 9) after a second; the model keeps its positions on the way."""
    kwargs = {"alphabet": "abc", "length": 2, "split": "all"}
    config = SFTConfig("rlfl/Copy-v0", kwargs, epochs=30, learning_rate=5e-3, prompt_loss=prompt_loss, **SMALL)
    row = warm_start(config, tmp_path / "sft", quiet=True)
    assert row["eval/success"] >= 0.9
    assert load_policy(tmp_path / "sft", None, {}).policy.position_ids == "columns"
    with pytest.raises(ConfigError, match="already holds a model"):
        warm_start(config, tmp_path / "sft", quiet=True)
    after = train(
        small_config(env_kwargs=kwargs, model=str(tmp_path / "sft"), total_samples=32, kl="fixed"),
        tmp_path / "run",
        quiet=True,
    )
    assert after["success"] >= 0.6  # the first rollout is the warm start's


def test_a_second_warm_start_remembers_the_first(tmp_path: Path) -> None:
    """What the model has met before it met as well."""
    first = SFTConfig("rlfl/Arithmetic-v0", examples=64, epochs=1, **SMALL)
    warm_start(first, tmp_path / "one", quiet=True)
    warm_start(
        dataclasses.replace(first, examples=8, seed=1, model=str(tmp_path / "one")), tmp_path / "two", quiet=True
    )
    one, two = (set(np.load(tmp_path / name / "seen_keys.npy").tolist()) for name in ("one", "two"))
    assert one < two


def test_references_are_not_cut(tmp_path: Path) -> None:
    """A budget that a reference does not fit would teach to stop in the middle."""
    config = SFTConfig("rlfl/Copy-v0", {"length": 4, "max_completion_tokens": 2}, **SMALL)
    with pytest.raises(ConfigError, match=r"^max_completion_tokens=2 is not allowed; allowed: \d or more"):
        warm_start(config, tmp_path / "sft", quiet=True)


def test_examples_are_laid_out_as_the_environment_shows_them() -> None:
    """Left-padded prompt, reference, EOS where there is room; padding never counts."""
    envs = make_envs("rlfl/ArithmeticSteps-v0", 20)
    for prompt_loss in (True, False):
        tokens, counts = _examples(envs, SFTConfig("rlfl/ArithmeticSteps-v0", examples=20, prompt_loss=prompt_loss))
        for row, prompt in enumerate(envs.prompts):
            text = envs.tokenizer.decode(tokens[row].tolist())
            completion = text.removeprefix(prompt.text)
            assert envs.task.evaluate([prompt], [completion])[0].is_success
            counted = tokens[row][counts[row]].tolist()
            assert envs.tokenizer.pad_id not in counted
            assert envs.tokenizer.bos_id not in counted
            assert envs.tokenizer.decode(counted) == (text if prompt_loss else completion)


@pytest.mark.parametrize("position_ids", ["columns", "places", "text"])
def test_what_is_imitated_is_read_as_it_will_be_sampled(position_ids: str) -> None:
    """A completion's tokens have the log-probabilities that PPO gives them, however positions are counted."""
    envs = make_envs("rlfl/ArithmeticSteps-v0", 6)
    policy = small_policy(envs, position_ids=position_ids)
    tokens, _ = _examples(envs, SFTConfig("rlfl/ArithmeticSteps-v0", examples=6))
    prompts, completions = tokens[:, : envs.prompt_length], tokens[:, envs.prompt_length :]
    with torch.no_grad():
        found = _log_probs(policy, tokens, envs.prompt_length)[:, -envs.completion_length :]
        expected = gather_log_probs(policy(prompts, completions)[0], completions)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


def test_settings_that_cannot_work_are_named() -> None:
    """No examples, no heads, a device that is not known."""
    for name, value in {"examples": 0, "heads": 0, "device": "gpu"}.items():
        with pytest.raises(ConfigError, match=f"{name}={value!r} is not allowed"):
            SFTConfig(**{name: value})


def test_what_the_warm_start_met_is_not_unseen(tmp_path: Path) -> None:
    """A run that goes on from it begins with its novelty keys; on another id they say nothing."""
    warm_start(SFTConfig("rlfl/Arithmetic-v0", examples=64, epochs=1, **SMALL), tmp_path / "sft", quiet=True)
    known = set(seen_keys(str(tmp_path / "sft"), "rlfl/Arithmetic-v0"))
    assert 1 < len(known) <= 64
    assert seen_keys(str(tmp_path / "sft"), "rlfl/Copy-v0") is seen_keys("gpt2", "rlfl/Arithmetic-v0") is None
    changes = {"env_id": "rlfl/Arithmetic-v0", "env_kwargs": {}, "total_samples": 32, "seed": 1}
    for model, run in ((str(tmp_path / "sft"), "warm"), (None, "cold")):
        train(small_config(**changes, model=model), tmp_path / run, quiet=True)
    unseen = [read_metrics(tmp_path / run)["eval/unseen_n"][0] for run in ("warm", "cold")]
    assert unseen[0] < unseen[1]
    assert known < set(seen_keys(str(tmp_path / "warm" / "policy"), "rlfl/Arithmetic-v0"))
