"""Prompts by the hundred thousand: what the script measures, and that it knows the same problem in other words."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from rlfl_envs import load_task


@pytest.fixture
def prompts(example: Callable[[str], ModuleType]) -> ModuleType:
    """The script."""
    return example("benchmarks/bench_prompts.py")


@pytest.mark.parametrize(
    ("id", "arguments"),
    [
        ("rlfl/Countdown-v0", {"max_numbers": 6}),
        ("rlfl/Sat-v0", {}),
        *(("rlfl/Planning-v0", {"domain": domain}) for domain in ("blocks", "gripper", "lights", "logistics")),
        ("rlfl/Proof-v0", {}),
        ("rlfl/Symbolic-v0", {"max_terms": 4}),
    ],
)
def test_the_same_problem_in_other_words(prompts: ModuleType, id: str, arguments: dict[str, object]) -> None:
    """Nearly every prompt can be written otherwise, and is the same problem then."""
    task, rng = load_task(id, **arguments), np.random.default_rng(0)
    drawn = task.sample_prompts(rng, 60)
    others = [task.parse_prompt(prompts.DISGUISES[id](prompt.text, rng)) for prompt in drawn]
    assert [*map(task.problem_key, others)] == [*map(task.problem_key, drawn)]
    assert sum(prompt.text != other.text for prompt, other in zip(drawn, others, strict=True)) > 35


def test_what_is_measured(prompts: ModuleType) -> None:
    """Within the seconds given: all solved, no problem in both splits, two prices of judging where there are arrays."""
    row = prompts.measure("rlfl/Countdown-v0", {}, 0, 0.1)
    assert row["prompts"] >= 2000
    assert row["unsolved"] == row["in_both"] == row["elsewhere"] == 0
    assert row["drawn_per_second"] > 0
    assert len(row["judge_ms"]) == 2


def test_every_line_is_in_the_table(prompts: ModuleType) -> None:
    """What was measured is of an id, arguments and a level that are measured now."""
    known = {(id, variant) for id, arguments in prompts.PLAYED for variant in prompts._variants(id, arguments)}
    assert {(row["id"], row["variant"]) for row in prompts.read_results(prompts.RESULTS)} <= known
    assert prompts.tables()["prompts: all"].count("\n") >= 2
