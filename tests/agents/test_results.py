"""Results as lines: what is added is found again, whoever else adds at the same time and however they were killed."""

from __future__ import annotations

import json
import math
import multiprocessing
from pathlib import Path

import pytest

from rlfl_agents.config import PPOConfig
from rlfl_agents.run.results import SCHEMA, append_result, changed_settings, find_results, read_results
from rlfl_envs import ConfigError


def add_fifty(path: Path, writer: int) -> None:
    """Adds results long enough for several disk pages."""
    for seed in range(50):
        append_result(path, {"variant": str(writer), "seed": seed, "curve": [writer] * 2000})


def test_results_are_found_by_what_names_them(tmp_path: Path) -> None:
    """By seed; a longer name is another one, and a missing file holds none."""
    path = tmp_path / "folder" / "results.jsonl"
    assert read_results(path) == find_results(path, variant="PPO") == []
    for variant, seed in (("PPO", 10), ("PPO", 2), ("PPO + batch entropy", 0)):
        append_result(path, {"variant": variant, "seed": seed})
    assert [result["seed"] for result in find_results(path, variant="PPO")] == [2, 10]
    assert find_results(path, variant="PPO", seed=2) == [{"schema": SCHEMA, "variant": "PPO", "seed": 2}]
    assert find_results(path, variant="RLOO") == []


def test_half_a_line_counts_as_none(tmp_path: Path) -> None:
    """A process killed at any byte of a line loses that line alone, and the next result takes its place."""
    path = tmp_path / "results.jsonl"
    append_result(path, {"seed": 0, "text": "ä\n"})
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole + whole[:cut])
        assert [result["seed"] for result in read_results(path)] == [0]
        append_result(path, {"seed": 1})
        assert [result["seed"] for result in read_results(path)] == [0, 1]


def test_several_processes_add_to_one_file(tmp_path: Path) -> None:
    """No line is lost or torn."""
    path = tmp_path / "results.jsonl"
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=add_fifty, args=(path, writer)) for writer in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    for number in range(3):
        assert [result["seed"] for result in find_results(path, variant=str(number))] == list(range(50))


def test_a_line_is_strict_json(tmp_path: Path) -> None:
    """What was not measured is null; an infinite number is refused, and nothing is written."""
    path = tmp_path / "results.jsonl"
    append_result(path, {"seed": 0, "curve": {"reward": (math.nan, 0.5)}})
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_result(path, {"seed": 1, "reward": math.inf})
    assert read_results(path) == [{"schema": SCHEMA, "seed": 0, "curve": {"reward": [None, 0.5]}}]


@pytest.mark.parametrize("line", ["{", "3", "{}", '{"schema": 1, "reward": NaN}', '{"schema": 3}', '{"schema": "1"}'])
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    """With its number, and so is a schema that this version does not know."""
    path = tmp_path / "results.jsonl"
    append_result(path, {"seed": 0})
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ConfigError, match="Line 2 of"):
        read_results(path)


def test_only_changed_settings_are_kept() -> None:
    """They make the same config again, through JSON too."""
    config = PPOConfig(seed=3, env_kwargs={"length": 3}, learning_rate=0.5)
    kept = json.loads(json.dumps(changed_settings(config)))
    assert kept == {"seed": 3, "env_kwargs": {"length": 3}, "learning_rate": 0.5}
    assert PPOConfig(**kept) == config
