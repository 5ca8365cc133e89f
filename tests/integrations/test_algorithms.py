"""The benchmark of algorithms: its statistics by hand, its runs in small, and whether it is complete."""

from __future__ import annotations

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
    """Every run has a result and none is left over, and each has trained for its tokens, within a fifth."""
    results = read_results(bench.RESULTS)
    runs = sorted((result["algorithm"], result["id"], result["seed"]) for result in results)
    jobs = bench.jobs(bench.ALGORITHMS, [*bench.TOKENS], range(5))
    assert runs == sorted(tuple(job.key.values()) for job in jobs)
    for result in results:
        assert abs(result["curve"]["tokens"][-1] / bench.TOKENS[result["id"]] - 1) < 0.2, result


def test_a_run_that_is_not_part_of_it(bench: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """Asking for it is an error that says so."""
    with pytest.raises(SystemExit):
        bench.main(["--algorithms", "rlfl PPO", "--ids", "rlfl/Arithmetic-v0", "--seeds", "3"])
    assert "none of these runs is part of the benchmark: --seeds 3" in capsys.readouterr().err


@pytest.mark.filterwarnings("default")  # TRL and Transformers warn of each other
@pytest.mark.parametrize("algorithm", ["A2C", "rlfl PPO + batch entropy", "rlfl RLOO", "TRL GRPO"])
def test_a_run(bench: ModuleType, algorithm: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It leaves a line with a curve, which is read back, and is not run again."""
    if algorithm in bench.SB3:
        pytest.importorskip("sb3_contrib", reason="needs the extra sb3")
    if algorithm == bench.TRL:
        pytest.importorskip("trl", reason="needs the extra trl")
    monkeypatch.setitem(bench.TOKENS, "rlfl/Copy-v0", 8192)
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results.jsonl")
    result = bench.run(algorithm, "rlfl/Copy-v0", 0)
    curve = result["curve"]
    assert abs(curve["tokens"][-1] / 8192 - 1) < 0.3
    assert curve["tokens"] == sorted(curve["tokens"])
    assert curve["seconds"] == sorted(curve["seconds"])
    assert all(0 <= success <= 1 for success in curve["success"])
    (job,) = bench.jobs([algorithm], ["rlfl/Copy-v0"], [0])
    append_result(job.results, {**job.key, **result})
    assert bench.curves(algorithm, "rlfl/Copy-v0") == [curve]
    bench.run_missing([job], 1)  # has nothing to do: a pool would fail, since this module is not the main one
    row = next(row for row in bench.table().splitlines() if row.startswith(f"| {algorithm} |"))
    assert f"{curve['success'][-1]:.2f}" in row
