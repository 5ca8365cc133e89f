"""What `rlfl train ID` does without further flags."""

from __future__ import annotations

import dataclasses
from typing import Literal

import pytest

from rlfl_agents.presets import PAPER, PRESETS, preset
from rlfl_envs import ConfigError, list_ids


def test_presets_are_valid() -> None:
    """They are of ids that exist, and flags of one's own go on top."""
    assert set(PRESETS) <= set(list_ids())
    for env_id in list_ids():
        assert preset(env_id, seed=3).seed == 3
        assert preset(env_id).env_id == env_id
    steps = preset("rlfl/ArithmeticSteps-v0", env_kwargs={"max_value": 50})
    assert steps.env_kwargs == {"reward": "worked_out", "rewards": "tokens", "max_value": 50}


def test_a_model_changes_the_recipe_of_whole_derivations() -> None:
    """From random weights they take tries; what was warmed up learns from the reward at the end, as before."""
    assert preset("rlfl/ArithmeticSteps-v0").advantage == "tries"
    warm = preset("rlfl/ArithmeticSteps-v0", model="warm")
    assert (warm.advantage, warm.env_kwargs) == ("gae", {"reward": "strict", "mask": "syntax"})


def test_characters_change_the_recipe_of_answers() -> None:
    """Answers of several tokens are learned by tries, from numbers that are aligned; the id's own vocabulary is not."""
    written = preset("rlfl/ArithmeticAnswer-v0", env_kwargs={"vocabulary": "characters", "max_operand": 500})
    assert (written.advantage, written.position_ids) == ("tries", "places")
    assert written.env_kwargs == {"rewards": "tokens", "vocabulary": "characters", "max_operand": 500}
    assert preset("rlfl/ArithmeticAnswer-v0").advantage == "gae"


@pytest.mark.parametrize("env_id", ["rlfl/Json-v0", "rlfl/Proof-v0", "rlfl/Regex-v0"])
def test_a_model_learns_the_whole_id(env_id: str) -> None:
    """From random weights the first level, by verdicts on tokens; a given model has all of it, in its own tokens."""
    assert preset(env_id).env_kwargs["rewards"] == "tokens"
    assert preset(env_id, model="warm").env_kwargs == {}


@pytest.mark.parametrize("recipe", ["ours", "paper"])
def test_a_module_before_the_id_changes_nothing(recipe: Literal["ours", "paper"]) -> None:
    """But the id itself."""
    for env_id in PAPER if recipe == "paper" else PRESETS:
        long_id = f"rlfl_envs:{env_id}"
        assert preset(long_id, recipe) == dataclasses.replace(preset(env_id, recipe), env_id=long_id)


def test_an_id_that_nobody_has_tuned() -> None:
    """Answers are held apart, groups need no learned value, the learning rate falls, and the run ends in minutes."""
    own = preset("mine:me/Mine-v0")
    assert own.advantage == "rloo"
    assert own.group_size > 1
    assert own.batch_entropy_coef > 0
    assert own.lr_schedule == "linear"
    assert 50_000 <= own.total_samples <= 200_000
    from_model = preset("mine:me/Mine-v0", model="smollm2")
    assert from_model.learning_rate < own.learning_rate
    assert from_model.kl == "adaptive"


def test_there_is_no_paper_for_it() -> None:
    """The message names the ids that have one."""
    with pytest.raises(ConfigError, match=r"recipe='paper' is not allowed; allowed: 'ours', and 'paper' for rlfl/"):
        preset("mine:me/Mine-v0", "paper")
