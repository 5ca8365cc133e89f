"""The benchmark of algorithms: its statistics by hand, its runs in small, and whether it is complete."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from rlfl_agents.run.results import append_result, read_results
from tests.settings import EXAMPLES


@pytest.fixture
def bench(example: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    monkeypatch.syspath_prepend(str(EXAMPLES / "benchmarks"))
    return example("benchmarks/bench_algorithms.py")


def test_interquartile_mean(bench: ModuleType) -> None:
    """The quarter at either end does not count; values of several ids are pooled, an id with few seeds counts alike."""
    assert bench.interquartile_mean(np.array([0.0, 0.5, 0.6, 0.7, 1.0])) == pytest.approx(0.6)
    assert bench.interquartile_mean(np.array([0.0, 0.6]), np.array([0.8, 1.0])) == pytest.approx(0.7)
    assert bench.interquartile_mean(np.array([0.0]), np.ones(5)) == pytest.approx(0.5)


def test_estimate(bench: ModuleType) -> None:
    """The interval lies around the mean, is the same every time, and is left out where there is nothing to vary."""
    assert bench.estimate([np.array([1.0, 1.0, 1.0])]) == "1.00"
    spread = bench.estimate([np.array([0.1, 0.5, 0.5, 0.5, 0.9])])
    assert spread == bench.estimate([np.array([0.1, 0.5, 0.5, 0.5, 0.9])])
    mean, _, low, high = spread.replace("(", "( ").replace(" to ", " ").strip(")").split()
    assert 0.1 <= float(low) < float(mean) == 0.5 < float(high) <= 0.9


def test_the_benchmark_is_complete(bench: ModuleType) -> None:
    """Every run with the reward at the end has a result, no run two, none is left over; all trained for their tokens.

    That is, within a fifth, and but for those by token that have not been run yet; the table says so. Of those, our
    agent's count completions, which are longer where tries go on.
    """
    results = read_results(bench.RESULTS)
    runs = sorted((result["algorithm"], result["id"], result["seed"]) for result in results)
    wanted = {name: bench.jobs(bench.ALGORITHMS, [name], range(5)) for name in bench.COLUMNS}
    keys = {name: sorted(tuple(job.key.values()) for job in jobs) for name, jobs in wanted.items()}
    assert len(set(runs)) == len(runs)
    for name in bench.END:
        assert sorted(run for run in runs if run[1] == name) == keys[name]
    assert set(runs) <= {key for each in keys.values() for key in each}
    for result in results:
        share = result["curve"]["tokens"][-1] / bench.COLUMNS[result["id"]].tokens
        counts_completions = result["id"] in bench.JUDGED and result["algorithm"] in bench.AGENT_JUDGED
        lowest, highest = (0, 1.4) if counts_completions else (0.8, 1.2)
        assert lowest <= share < highest, result


def test_what_has_not_been_run(bench: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The tables say so, of a cell and of some of its seeds."""
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results.jsonl")
    name = next(iter(bench.JUDGED))
    curve = {"tokens": [10], "seconds": [1.0], "success": [0.5]}
    append_result(bench.RESULTS, {"algorithm": "PPO", "id": name, "seed": 0, "curve": curve})
    row = next(row for row in bench.table(bench.JUDGED).splitlines() if row.startswith("| PPO |"))
    others = " not run |" * (len(bench.JUDGED) - 1)
    assert row == f"| PPO | 0.50, 1 of 3 seeds |{others}  |"
    row = next(row for row in bench.table_to_goal(bench.JUDGED).splitlines() if row.startswith("| PPO |"))
    assert row == f"| PPO | never |{others}"


def test_a_run_that_is_not_part_of_it(bench: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """Asking for it is an error that says so."""
    with pytest.raises(SystemExit):
        bench.main(["--algorithms", "rlfl PPO", "--ids", "rlfl/Arithmetic-v0", "--seeds", "3"])
    assert "none of these runs is part of the benchmark: --seeds 3" in capsys.readouterr().err


@pytest.mark.filterwarnings("default")  # TRL and Transformers warn of each other
@pytest.mark.parametrize(
    ("algorithm", "name"),
    [
        ("A2C", "rlfl/Copy-v0"),
        ("rlfl PPO + batch entropy", "rlfl/Copy-v0"),
        ("rlfl RLOO", "rlfl/Copy-v0"),
        ("TRL GRPO", "rlfl/Copy-v0"),
        ("A2C", "rlfl/ArithmeticSteps-v0, tokens"),
        ("rlfl PPO", "rlfl/ArithmeticSteps-v0, tokens"),
        ("rlfl tries", "rlfl/ArithmeticSteps-v0, tokens"),
    ],
)
def test_a_run(bench: ModuleType, algorithm: str, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It leaves a line with a curve, which is read back, and is not run again."""
    if algorithm in bench.SB3:
        pytest.importorskip("sb3_contrib", reason="needs the extra sb3")
    if algorithm == bench.TRL:
        pytest.importorskip("trl", reason="needs the extra trl")
    column = dataclasses.replace(bench.COLUMNS[name], tokens=8192)
    monkeypatch.setitem(bench.END if name in bench.END else bench.JUDGED, name, column)
    monkeypatch.setitem(bench.COLUMNS, name, column)
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results.jsonl")
    result = bench.run(algorithm, name, 0)
    curve = result["curve"]
    share = curve["tokens"][-1] / 8192
    assert share < 1.3
    assert share > 0.7 or (algorithm in bench.AGENT_JUDGED and name in bench.JUDGED)  # wrong tokens end completions
    assert curve["tokens"] == sorted(curve["tokens"])
    assert curve["seconds"] == sorted(curve["seconds"])
    assert all(0 <= success <= 1 for success in curve["success"])
    (job,) = bench.jobs([algorithm], [name], [0])
    append_result(job.results, {**job.key, **result})
    assert bench.curves(algorithm, name) == [curve]
    bench.run_missing([job], 1)  # has nothing to do: a pool would fail, since this module is not the main one
    row = next(row for row in bench.table({name: column}).splitlines() if row.startswith(f"| {algorithm} |"))
    assert f"{curve['success'][-1]:.2f}" in row
