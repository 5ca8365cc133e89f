"""Lessons on every language, in small: a run leaves a line, and the table and the picture show it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from rlfl_agents.config import PPOConfig
from rlfl_agents.run.results import append_result, read_results


@pytest.fixture
def bench(example: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script, with small models, its results and its picture elsewhere."""
    script = example("benchmarks/bench_languages.py")
    monkeypatch.setattr(script, "RESULTS", tmp_path / "languages.jsonl")
    monkeypatch.setattr(script, "PICTURE", tmp_path / "languages.png")
    less = {"layers": 1, "width": 16, "heads": 2, "prompts": 4, "group_size": 2, "minibatches": 1, "eval_prompts": 8}
    few = {"total_samples": 16, "eval_every": 1}
    monkeypatch.setattr(script, "_COMMON", script._COMMON | less | few)
    monkeypatch.setattr(script, "_AFTER", script._AFTER | {"group_size": 2} | few)
    return script


def test_every_lesson_is_of_settings_that_are_allowed(bench: ModuleType) -> None:
    """No lesson is twice, none takes more than 1,000 references, and all of them learn with batch entropy."""
    names = [(lesson.id, lesson.start) for lesson in bench.LESSONS]
    assert len(set(names)) == len(names)
    for lesson in bench.LESSONS:
        config = PPOConfig(env_id=lesson.id, env_kwargs=lesson.env_kwargs, **bench.settings_of(lesson))
        assert config.batch_entropy_coef > 0
        assert lesson.examples <= 1000


@pytest.mark.parametrize("examples", [0, 8])
def test_a_lesson(bench: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, examples: int) -> None:
    """From random weights, or warmed up: success before and after, the settings, and the minutes of both."""
    lesson = bench.Lesson("rlfl/Countdown-v0", {"max_numbers": 3, "mask": "syntax"}, examples)
    monkeypatch.setattr(bench, "LESSONS", [dataclasses.replace(lesson, epochs=1)])
    (job,) = bench.jobs(bench.LESSONS, [0], 1.0, bench.RESULTS)
    append_result(job.results, job.key | job.work())
    (line,) = read_results(bench.RESULTS)
    assert (line["id"], line["variant"]) == (lesson.id, "8 references" if examples else "random weights")
    assert line["curve"]["samples"] == [0, 8, 16]
    assert ("warm_start" in line) == bool(examples)
    assert "model" not in line["settings"]
    bench.main(["--plot-only"])
    (row,) = bench.tables()["languages: before and after"].splitlines()[2:]
    assert row.startswith("| Countdown | `max_numbers=3 mask=syntax` |")
    assert bench.PICTURE.exists()
