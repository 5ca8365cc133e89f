"""Baselines: what an id pays without learning."""

from __future__ import annotations

from typing import Any

import pytest

from rlfl_envs import ConfigError, baselines, load_task
from tests.settings import ANSWER, COPY, IDS, QUICK, STEPS, Parentheses, has_references


@pytest.mark.parametrize("id", IDS)
def test_the_four(id: str) -> None:
    """Rewards lie in range, the reference earns it all and nothing else comes near; the same for the same seed."""
    task = load_task(id, **QUICK.get(id, {}))
    found = {baseline.name: baseline for baseline in baselines(task, num_prompts=300)}
    assert list(found)[:2] == ["random tokens", "random legal tokens"]
    assert ("best constant answer" in found) == bool(task.constant_completions())
    low, high = task.reward_range
    for baseline in found.values():
        assert low - 1e-9 <= baseline.reward <= high + 1e-9
        assert 0 <= baseline.success <= 1
    assert ("reference" in found) == has_references(task)
    if "reference" in found and task.references_succeed:
        assert found["reference"].reward == pytest.approx(high)
        assert found["reference"].success == 1
        assert max(baseline.success for name, baseline in found.items() if name != "reference") < 0.2
    assert baselines(task, num_prompts=50, seed=3) == baselines(task, num_prompts=50, seed=3)


def test_takes_a_task() -> None:
    """An id is none yet."""
    with pytest.raises(ConfigError, match=r"^task='rlfl/Copy-v0' is not allowed; allowed: a Task, as load_task"):
        baselines("rlfl/Copy-v0")


@pytest.mark.parametrize("num_prompts", [0, -1, 2.0, True])
def test_takes_a_number_of_prompts(num_prompts: Any) -> None:
    """None for the default, else 1 or more."""
    with pytest.raises(ConfigError, match=rf"^num_prompts={num_prompts} is not allowed; allowed: an integer, 1"):
        baselines(load_task("rlfl/Copy-v0"), num_prompts=num_prompts)


def test_the_best_constant_answer() -> None:
    """To sums it is a middling one, paid about 0.7; to Copy one character all along; to Steps a sum that stops."""
    best = {id: baselines(load_task(id), num_prompts=400)[2] for id in (ANSWER, COPY, STEPS)}
    assert 18 <= int(best[ANSWER].example) <= 32
    assert 0.6 < best[ANSWER].reward < 0.8
    assert len(set(best[COPY].example)) == 1
    assert best[COPY].reward == pytest.approx(1 / 8, abs=0.03)
    assert best[STEPS].example.endswith("+0")
    assert best[STEPS].success == 0


def test_a_mask_helps_random_tokens() -> None:
    """Under "syntax" random legal tokens are well-formed; random tokens end in an illegal one."""
    random, legal, *_ = baselines(load_task(STEPS, mask="syntax"), num_prompts=200)
    assert random.reward < 1e-4 < 1e-3 < legal.reward
    assert legal.example


def test_what_a_task_has_not() -> None:
    """Without candidates there is no best constant answer."""
    assert [baseline.name for baseline in baselines(Parentheses(), num_prompts=20)] == [
        "random tokens",
        "random legal tokens",
        "reference",
    ]
