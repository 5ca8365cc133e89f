"""Many runs: what has left a result is not run again, and what a run leaves can be read back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from rlfl_agents.config import PPOConfig
from rlfl_agents.run.results import SCHEMA, read_results
from rlfl_agents.sweep import Job, run_missing, train_agent


def test_what_has_a_result_is_not_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each job leaves one line; a second call runs what is missing alone."""
    path = tmp_path / "runs" / "results.jsonl"
    jobs = [Job(path, {"variant": "a", "seed": i}, partial(dict, minutes=0.5)) for i in range(3)]
    run_missing(jobs[:2], 1)
    assert capsys.readouterr().out.splitlines() == ["a, seed 0: 0.5 min", "a, seed 1: 0.5 min"]
    run_missing(jobs, 2)
    assert capsys.readouterr().out == "a, seed 2: 0.5 min\n"
    assert read_results(path) == [{"schema": SCHEMA, "variant": "a", "seed": i, "minutes": 0.5} for i in range(3)]


def test_a_key_is_compared_as_it_is_read_again(tmp_path: Path) -> None:
    """A tuple is a list in JSON; a key needs no seed."""
    job = Job(tmp_path / "r.jsonl", {"levels": (1, 2)}, partial(dict, minutes=0.5))
    for _ in range(2):
        run_missing([job], 1)
    assert read_results(tmp_path / "r.jsonl") == [{"schema": SCHEMA, "levels": [1, 2], "minutes": 0.5}]


def test_a_run_that_fails_does_not_stop_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named at once, and raised in the end."""
    works = [partial(int, "x"), partial(dict, minutes=0.5)]
    jobs = [Job(tmp_path / "r.jsonl", {"variant": "a", "seed": i}, work) for i, work in enumerate(works)]
    with pytest.raises(BaseExceptionGroup, match="1 of 2 runs failed"):
        run_missing(jobs, 1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("a, seed 0, failed: ValueError")
    assert lines[1] == "a, seed 1: 0.5 min"
    assert [result["seed"] for result in read_results(tmp_path / "r.jsonl")] == [1]


def test_a_run_that_dies_takes_no_other_along(tmp_path: Path) -> None:
    """One whose process ends without a word, as for want of memory, is a failure like any other."""
    works = [partial(os._exit, 9), *[partial(dict, minutes=0.5)] * 2]
    jobs = [Job(tmp_path / "r.jsonl", {"seed": i}, work) for i, work in enumerate(works)]
    with pytest.raises(BaseExceptionGroup, match="1 of 3 runs failed"):
        run_missing(jobs, 2)
    assert sorted(result["seed"] for result in read_results(tmp_path / "r.jsonl")) == [1, 2]


STOPPED = """
from functools import partial
from pathlib import Path
from rlfl_agents.sweep import Job, run_missing
if __name__ == "__main__":
    beat = "import pathlib, time\\nwhile True: pathlib.Path('beat').write_text(str(time.time())); time.sleep(0.05)"
    run_missing([Job(Path("never.jsonl"), {"variant": "endless"}, partial(exec, beat))], 1)
"""


def test_killed_it_leaves_no_run_behind(tmp_path: Path) -> None:
    """A worker in the middle of a run ends with the process that started it, even if that was killed."""
    (tmp_path / "stopped.py").write_text(STOPPED)
    beat = tmp_path / "beat"
    with subprocess.Popen([sys.executable, "stopped.py"], cwd=tmp_path) as process:
        deadline = time.monotonic() + 120
        while not beat.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        process.kill()
    assert beat.exists()
    time.sleep(2)
    last = beat.read_text()
    time.sleep(1)
    assert beat.read_text() == last


def test_a_run_of_our_agent() -> None:
    """The curve has the evaluations alone, the tokens add up, and `examine` sees the run before it is deleted."""
    config = PPOConfig(
        env_id="rlfl/Copy-v0",
        env_kwargs={"length": 3},
        seed=3,
        layers=1,
        width=16,
        heads=2,
        total_samples=128,
        prompts=32,
        eval_every=2,
        eval_prompts=16,
    )
    result = train_agent(config, ("update", "tokens", "eval/success"), lambda run: {"files": sorted(run.iterdir())})
    assert result["seed"] == 3
    assert result["device"] == "cpu"
    assert PPOConfig(**result["settings"]) == config
    assert "epochs" not in result["settings"]
    assert result["curve"]["update"] == [0, 2, 4]
    first, middle, last = result["curve"]["tokens"]
    assert first == 0 < middle < last <= 128 * 3
    assert result["final"]["eval/success"] == result["curve"]["eval/success"][-1]
    assert "metrics.csv" in {path.name for path in result["files"]}
