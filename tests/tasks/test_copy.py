"""Copy: what completions earn, and what is drawn."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlfl_envs import PromptError, load_task
from tests.settings import COPY


@pytest.mark.parametrize(
    ("completion", "reward", "right"),
    [
        ("abba", 1, 4),
        ("abbb", 3 / 4, 3),
        ("aaaa", 2 / 4, 2),
        ("abb", 3 / 4, 3),  # too short
        ("a", 1 / 4, 1),
        ("", 0, 0),
        ("abbaa", 4 / 5, 4),  # too long
        ("abba" * 25, 4 / 100, 4),
        ("babb", 1 / 4, 1),  # moved by one
        ("ABBA", 0, 0),
        (" abba", 1 / 5, 1),
        ("abba\n", 4 / 5, 4),
        ("\u0430bba", 3 / 4, 3),  # the first letter is Cyrillic
        ("abba\x00", 4 / 5, 4),
    ],
)
def test_near_misses(completion: str, reward: float, right: int) -> None:
    """The share of right characters, of the longer of the two; success is equality."""
    task = load_task(COPY)
    (outcome,) = task.evaluate([task.parse_prompt("abba")], [completion])
    assert outcome.reward == pytest.approx(reward)
    assert outcome.parts == {"right_characters": right}
    assert outcome.is_success == (completion == "abba")
    assert outcome.status == "ok"


@given(text=st.text("abcdefgh", min_size=4, max_size=4), completion=st.text(max_size=10))
def test_reward(text: str, completion: str) -> None:
    """In [0, 1]; 1 for the prompt itself and for nothing else; never more for a longer text with the same beginning."""
    task = load_task(COPY)
    prompt = task.parse_prompt(text)
    whole, longer, same = task.evaluate([prompt] * 3, [completion, text + completion, text])
    assert 0 <= whole.reward <= 1
    assert (whole.reward == 1) == whole.is_success == (completion == text)
    assert longer.reward == pytest.approx(4 / (4 + len(completion)))
    assert same.is_success


def test_prompts() -> None:
    """Every character equally often at every place."""
    task = load_task(COPY, alphabet="abcd", length=3, split="all")
    prompts = task.sample_prompts(np.random.default_rng(0), 4000)
    counts = Counter((place, character) for prompt in prompts for place, character in enumerate(prompt.text))
    assert len(counts) == 12
    assert 900 < min(counts.values()) <= max(counts.values()) < 1100
    assert len({prompt.text for prompt in prompts}) == 64


def test_splits() -> None:
    """Every string is in exactly one of them, a tenth in "test"."""
    drawn = {
        split: {p.text for p in load_task(COPY, alphabet="abc", length=5, split=split).sample_prompts(rng, 2500)}
        for split, rng in ((split, np.random.default_rng(0)) for split in ("train", "test", "all"))
    }
    assert not drawn["train"] & drawn["test"]
    assert len(drawn["train"] | drawn["test"]) == len(drawn["all"]) == 3**5
    assert 0.05 < len(drawn["test"]) / 3**5 < 0.16


def test_a_split_may_be_empty() -> None:
    """Of two problems none is "test": the message says which split, and what to do."""
    task = load_task(COPY, alphabet="ab", length=1, split="test")
    with pytest.raises(ValueError, match=r"^split='test' holds none of 10000 prompts drawn; allowed here: 'all'.$"):
        task.sample_prompts(np.random.default_rng(0), 1)


@pytest.mark.parametrize("text", ["", "abbaa", "abbx", "ABBA"])
def test_wrong_prompts(text: str) -> None:
    """The message names the value and what is allowed."""
    with pytest.raises(PromptError) as error:
        load_task(COPY).parse_prompt(text)
    assert str(error.value) == f"prompt={text!r} is not allowed; allowed: 1 to 4 characters of 'abcdefgh'."


def test_constant_answers() -> None:
    """One character all along earns its share, 1 / 8 on average, and never more than another."""
    task = load_task(COPY, split="all")
    prompts = task.sample_prompts(np.random.default_rng(0), 2000)
    for constant in task.constant_completions():
        rewards = [outcome.reward for outcome in task.evaluate(prompts, [constant] * 2000)]
        assert np.mean(rewards) == pytest.approx(1 / 8, abs=0.015)
