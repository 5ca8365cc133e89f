"""What version 0.1 left on disk goes on, is evaluated and answers as version 0.1 itself went on."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests import old_runs

EXPECTED = old_runs.EXPECTED
SAID: dict[str, Any] = json.loads((EXPECTED / "said.json").read_text(encoding="utf-8"))
each_folder = pytest.mark.parametrize("name", [*old_runs.RUNS, old_runs.WARM_START])


def read_csv(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics.csv without what a clock said; NaN for what is empty."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [*csv.DictReader(file)]
    return [
        {name: float(value or "nan") for name, value in row.items() if not name.startswith("clock/")} for row in rows
    ]


def read_samples(path: Path) -> list[dict[str, Any]]:
    """The lines of a samples.jsonl."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@each_folder
def test_an_old_run_goes_on(name: str, tmp_path: Path) -> None:
    """Resumed half way, or begun from an old warm start, a run has 0.1's metrics and samples to its end."""
    run = tmp_path / "run"
    old_runs.finish(name, run)
    found, expected = read_csv(run / "metrics.csv"), read_csv(EXPECTED / f"{name}.csv")
    assert len(found) == len(expected) == 9
    for row, old_row in zip(found, expected, strict=True):
        # Nearly: other machines add in another order.
        assert {name: row[name] for name in old_row} == pytest.approx(old_row, rel=1e-4, abs=1e-6, nan_ok=True)
    samples, old_samples = read_samples(run / "samples.jsonl"), read_samples(EXPECTED / f"{name}.jsonl")
    assert len(samples) == len(old_samples)
    for sample, old_sample in zip(samples, old_samples, strict=True):
        assert {name: sample[name] for name in old_sample} == old_sample


@each_folder
def test_an_old_folder_is_evaluated(name: str) -> None:
    """`rlfl eval` prints the shares, intervals and means that 0.1 printed."""
    assert SAID[name]["eval"]
    assert old_runs.evaluation(name) == SAID[name]["eval"]


@each_folder
def test_an_old_folder_plays(name: str) -> None:
    """`rlfl play` shows the same held-out prompts, and the model answers the same."""
    assert len(SAID[name]["play"]) == 3
    assert old_runs.answers(name) == SAID[name]["play"]
