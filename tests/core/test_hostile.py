"""Hostile completions: no judge raises, leaves its range, differs the second time, or takes long over a long text."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from rlfl_envs import ArrayTask, load_task
from tests.settings import HUMAN_EVAL, IDS, LUDAX, LUDII, PROGRAM, QUICK, REGEX, SENTIMENT, SQL

_COUNTS = {PROGRAM: 60, HUMAN_EVAL: 30, LUDAX: 60, LUDII: 20, REGEX: 120, SQL: 240, SENTIMENT: 120}
_SETTINGS = {SENTIMENT: {"corpus": "template"}}


@pytest.mark.parametrize("id", IDS)
def test_hostile_completions_are_judged(id: str, example: Callable[[str], ModuleType]) -> None:
    """As texts twice, by the array path, in the vector environment and in the scalar one, all alike."""
    bench = example("benchmarks/bench_hostile.py")
    task = load_task(id, **_SETTINGS.get(id, QUICK.get(id, {})))
    count = _COUNTS.get(id, 600)
    bench.judge_texts(task, count, 0)
    if isinstance(task, ArrayTask):
        bench.judge_arrays(task, count, 0)
    bench.play(task, min(count, 60), 0)


@pytest.mark.timing
@pytest.mark.parametrize("id", [id for id in IDS if id not in (LUDAX, LUDII)])
def test_a_megabyte_is_judged_at_once(id: str, example: Callable[[str], ModuleType]) -> None:
    """In less than 0.2 s of processor time, whatever it is made of, where no games are played."""
    seconds, text = example("benchmarks/bench_hostile.py").slowest_megabyte(load_task(id, **_SETTINGS.get(id, {})))
    assert seconds < 0.2, text
