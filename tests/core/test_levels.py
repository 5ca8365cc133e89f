"""Levels: prompts from easy to hard, of one vocabulary, one P and one C."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from rlfl_envs import ConfigError, check_task, load_task
from rlfl_envs.keys import weighted_integers
from tests.settings import ANSWER, BRACKETS, COPY, GIVEN, SENTIMENT, STEPS

LEVELLED = [GIVEN, STEPS, ANSWER, BRACKETS, COPY, "rlfl/Mixture-v0"]


@pytest.mark.parametrize("id", LEVELLED)
def test_a_level_is_a_task_of_the_same_shape(id: str) -> None:
    """Each level keeps the contract; the whole task accepts and judges its prompts alike, in the same columns."""
    whole = load_task(id)
    assert len(whole.levels) > 1
    rng = np.random.default_rng(0)
    for number in range(len(whole.levels)):
        level = load_task(id, level=number)
        check_task(level, num_prompts=8)
        assert level.levels == ()
        assert (level.max_prompt_tokens, level.max_completion_tokens, level.tokenizer.vocab_size) == (
            whole.max_prompt_tokens,
            whole.max_completion_tokens,
            whole.tokenizer.vocab_size,
        )
        for prompt in level.sample_prompts(rng, 8):
            parsed = whole.parse_prompt(prompt.text)
            assert np.array_equal(whole.encode_prompt(parsed), level.encode_prompt(prompt))
            assert whole.in_split([parsed]).all()
            reference = level.reference_completion(prompt, rng)
            assert reference is not None
            answers = [reference, reference[:1], "?"]
            assert whole.evaluate([parsed] * 3, answers) == level.evaluate([prompt] * 3, answers)


@pytest.mark.parametrize("id", LEVELLED)
def test_vector_environments_play_levels_as_scalar_ones_do(id: str) -> None:
    """A level for each environment, None among them, through an autoreset: the scalar environments' prompts."""
    levels = [0, 1, None, 1]
    envs = gymnasium.make_vec(id, num_envs=4, autoreset_mode="SameStep")
    envs.reset(seed=3, options={"level": levels})
    first = [prompt.text for prompt in envs.unwrapped.prompts]
    envs.step(np.full(4, 2))  # EOS
    second = [prompt.text for prompt in envs.unwrapped.prompts]
    for i, level in enumerate(levels):
        env = gymnasium.make(id).unwrapped
        env.reset(seed=3 + i, options={"level": level})
        assert env.prompt.text == first[i]
        env.reset(options={"level": level})
        assert env.prompt.text == second[i]
    envs.reset(seed=3)
    whole = [prompt.text for prompt in envs.unwrapped.prompts]
    assert whole[2] == first[2]
    assert whole != first


def test_a_level_is_the_leaders() -> None:
    """A group shares its prompt, and so its leader's level."""
    envs = gymnasium.make_vec(COPY, num_envs=6).unwrapped
    envs.reset(seed=0, options={"group_size": 3, "level": [0, 1, 2, 3, 1, 0]})
    texts = [prompt.text for prompt in envs.prompts]
    assert len(set(texts[:3])) == len(set(texts[3:])) == 1
    assert [len(text) for text in texts] == [1, 1, 1, 4, 4, 4]


def test_levels_follow_new_leaders() -> None:
    """Where a reset of some groups environments anew, levels that hold are those of the new leaders."""
    envs = gymnasium.make_vec(COPY, num_envs=2, autoreset_mode="Disabled").unwrapped
    envs.reset(seed=0, options={"level": [0, 3]})
    for group_size, lengths in ((2, [1, 1]), (1, [1, 4])):
        for member in ([True, False], [False, True]):
            envs.reset(options={"reset_mask": np.array(member), "group_size": group_size})
        assert [len(prompt.text) for prompt in envs.prompts] == lengths


@pytest.mark.parametrize("id", [COPY, BRACKETS])
def test_equal_seeds_at_different_levels(id: str) -> None:
    """The same stream at two levels is two prompts, each its scalar environment's."""
    envs = gymnasium.make_vec(id, num_envs=3).unwrapped
    levels = [0, 3, None]
    envs.reset(seed=[7, 7, 7], options={"level": levels})
    env = gymnasium.make(id).unwrapped
    for prompt, level in zip(envs.prompts, levels, strict=True):
        env.reset(seed=7, options={"level": level})
        assert prompt == env.prompt


def test_numpys_levels() -> None:
    """NumPy's integers and arrays, one without dimensions among them, are levels as Python's are."""
    envs = gymnasium.make_vec(COPY, num_envs=2).unwrapped
    for level in (np.int64(1), np.array(1), np.array([1, 1]), [np.uint8(1), 1]):
        envs.reset(seed=0, options={"level": level})
        assert [len(prompt.text) for prompt in envs.prompts] == [2, 2]


def test_weights_choose_levels_by_key() -> None:
    """Levels come about as often as their weights say, never where the weight is 0, and the same again by the seed."""
    envs = gymnasium.make_vec(COPY, num_envs=400).unwrapped
    envs.reset(seed=0, options={"level_weights": [3, 0, 1, 0]})
    lengths = [len(prompt.text) for prompt in envs.prompts]
    assert set(lengths) == {1, 3}
    assert 250 < lengths.count(1) < 350
    again = gymnasium.make_vec(COPY, num_envs=1).unwrapped
    again.reset(seed=7, options={"level_weights": [3, 0, 1, 0]})
    assert again.prompt(0).text == envs.prompt(7).text


def test_weighted_integers() -> None:
    """In proportion to the weights."""
    keys = np.arange(20_000, dtype=np.uint64)
    counts = np.bincount(weighted_integers(keys, np.array([0.0, 1.0, 3.0, 0.0])), minlength=4)
    assert (counts[0], counts[3]) == (0, 0)
    assert counts[2] / counts[1] == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize(
    ("id", "level", "allowed"),
    [
        (COPY, 4, "None, or 0..3"),
        (COPY, -1, "None, or 0..3"),
        (SENTIMENT, 0, "None: Sentiment has no levels"),
    ],
)
def test_no_such_level(id: str, level: int, allowed: str) -> None:
    """The error says which there are."""
    with pytest.raises(ConfigError) as error:
        load_task(id, level=level)
    assert str(error.value) == f"level={level} is not allowed; allowed: {allowed}."
