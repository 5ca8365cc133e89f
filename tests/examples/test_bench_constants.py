"""What the same answer earns: the script measures it, and its lists of examples are right in all that is shown."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from rlfl_envs import load_task
from tests.settings import missing


@pytest.fixture
def constants(example: Callable[[str], ModuleType]) -> ModuleType:
    """The script."""
    return example("benchmarks/bench_constants.py")


@pytest.mark.parametrize(
    ("id", "arguments"),
    [("rlfl/Program-v0", {}), ("rlfl/Program-v0", {"form": "function"}), ("rlfl/Machine-v0", {"family": "one_step"})],
)
def test_listed_examples_are_right_where_they_are_shown(
    constants: ModuleType, id: str, arguments: dict[str, Any]
) -> None:
    """All cases of the prompt are solved, so that what they earn is what copying earns."""
    if missing(id):
        pytest.skip(f"{id} needs {', '.join(missing(id))}")
    task = load_task(id, **arguments)
    prompts = task.sample_prompts(np.random.default_rng(0), 20)
    outcomes = task.evaluate(prompts, [constants.LISTED[id](prompt) for prompt in prompts])
    assert {outcome.parts["shown"] for outcome in outcomes} == {1.0}


def test_words_that_match_are_listed(constants: ModuleType) -> None:
    """As a pattern, and none of the others."""
    prompt = load_task("rlfl/Regex-v0").parse_prompt("+bba +abaa -ba -bb -bbb -baaa -baabaa -ababaab = ")
    assert constants.regex(prompt) == "bba|abaa"


def test_what_is_measured(constants: ModuleType) -> None:
    """A constant that earns something, though little, and no list where no examples are shown."""
    row = constants.measure("rlfl/Json-v0", {}, 0, 1000)
    assert 0 < row["constant"][0] < constants.MOST
    assert row["listed"] is None


def test_every_line_is_in_the_table(constants: ModuleType) -> None:
    """What was measured is of an id, arguments and a level that are measured now."""
    known = {(id, variant) for id, arguments in constants.PLAYED for variant in constants._variants(id, arguments)}
    assert {(row["id"], row["variant"]) for row in constants.read_results(constants.RESULTS)} <= known
