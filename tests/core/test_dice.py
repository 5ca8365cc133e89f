"""Random choices by many small steps."""

from __future__ import annotations

import random

import numpy as np
import pytest

from rlfl_envs import ConfigError
from rlfl_envs.dice import Choices, first_drawn, pick


def test_choices_are_even_and_the_same_everywhere() -> None:
    """Prompts stand on them: if they change, ids need new versions. Numbers are drawn anew when they run out."""
    choices = Choices(np.random.default_rng(0), 8)
    assert [choices.below(10) for _ in range(12)] == [7, 6, 9, 8, 0, 0, 2, 6, 1, 7, 0, 8]
    assert [choices.of("abc") for _ in range(6)] == ["a", "c", "c", "b", "b", "c"]
    counts = np.bincount([choices.below(4) for _ in range(4000)], minlength=4)
    assert (np.abs(counts - 1000) < 150).all()
    dice = random.Random(0)
    assert "".join(pick(dice, "abcdef") for _ in range(10)) == "fecbdcebcd"


def test_the_first_that_comes_or_an_error() -> None:
    """What is None is drawn again; where nothing ever comes the refusal says so."""
    numbers = iter([None, None, 0, 1])
    assert first_drawn(lambda: next(numbers), "nothing left") == 0
    with pytest.raises(ConfigError, match=r"^size=9 leaves nothing\.$"):
        first_drawn(lambda: None, "size=9 leaves nothing.")
