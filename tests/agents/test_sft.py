"""The supervised warm start learns, and training goes on from its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlfl_agents.models import load_policy
from rlfl_agents.ppo import train
from rlfl_agents.rollout import make_envs
from rlfl_agents.sft import SFTConfig, _examples, warm_start
from rlfl_envs import ConfigError

from .conftest import small_config

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


def test_settings_that_cannot_work_are_named() -> None:
    """No examples."""
    with pytest.raises(ConfigError, match="examples=0"):
        SFTConfig(examples=0)
