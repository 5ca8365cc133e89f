"""SmolLM2's benchmark, with a tiny model in its place: every line is written, and none is measured again."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rlfl_agents.run.results import append_result, read_results
from rlfl_envs import load_tokenizer
from tests.agents.test_families import tiny


@pytest.fixture
def bench(example: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with settings for a few seconds."""
    script = example("benchmarks/bench_smollm2.py")
    # In the tests' own process, which has trained in float32.
    less: dict[str, Any] = {"prompts": 4, "group_size": 2, "lora_rank": 0, "mixed_precision": "no"}
    monkeypatch.setattr(script, "TRAINING", dataclasses.replace(script.TRAINING, **less))
    monkeypatch.setitem(script.ON_CPU, "total_samples", 16)
    monkeypatch.setattr(script, "IMITATING", dataclasses.replace(script.IMITATING, examples=8, epochs=1))
    return script


@pytest.fixture
def plan(bench: ModuleType, chat_folder: Path, tmp_path: Path) -> Any:
    """A model that chats, and ten minutes."""
    model = tmp_path / "model"
    shutil.copytree(chat_folder, model)
    size: dict[str, Any] = {"vocab_size": load_tokenizer(str(model)).vocab_size, "max_position_embeddings": 256}
    tiny("llama", head_dim=None, **size).save_pretrained(model)
    return bench.Plan(
        model=str(model),
        results=tmp_path / "out" / "smollm2.jsonl",
        runs=tmp_path / "runs",
        device="cpu",
        threads=1,
        prompts=8,
        deadline=time.time() + 600,
        reserve=1.0,
    )


def test_every_way_leaves_a_line(bench: ModuleType, plan: Any) -> None:
    """Shares of the held-out prompts, with what was trained and for how long; the table has a row each."""
    ways = (bench.BASE, bench.BEST_OF, bench.IMITATION, bench.PPO)
    for variant in ways:
        job = bench.job(plan, variant, 0)
        append_result(job.results, job.key | job.work())
    results = read_results(plan.results)
    assert [result["variant"] for result in results] == [*ways]
    for result in results:
        share, low, high = result["sampled"]
        assert 0 <= low <= share <= high <= 1
        assert result["device"] == "cpu"
    learned = results[-1]
    assert (learned["updates"], learned["samples"]) == (2, 16)
    assert learned["curve"]["samples"] == [0, 8, 16]
    assert learned["settings"]["env_kwargs"]["chat"] is True
    table = bench.table(results).splitlines()
    assert len(table) == 2 + len(ways)
    assert table[3].startswith("| best of 16 | 0 | - |")


def test_nothing_begins_when_the_time_is_over(bench: ModuleType, plan: Any) -> None:
    """A borrowed machine goes back in time."""
    late = dataclasses.replace(plan, deadline=time.time() - 1)
    with pytest.raises(TimeoutError, match="no time is left"):
        bench.job(late, bench.BASE, 0).work()
