"""What the benchmarks that train share: every run leaves one JSON file, and what has one is not run again."""

from __future__ import annotations

import dataclasses
import json
import math
import multiprocessing
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from rlfl_agents.metrics import read_metrics
from rlfl_agents.ppo import PPOConfig, train

__all__ = ["Job", "keep", "run_missing"]


@dataclasses.dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        target: The JSON file it leaves.
        name: What it is, in words.
        config: The settings; one thread, on the CPU.
        columns: Which columns of metrics.csv to keep, at the updates with an evaluation.
    """

    target: Path
    name: str
    config: PPOConfig
    columns: tuple[str, ...]


def run_missing(jobs: Sequence[Job], processes: int) -> None:
    """Runs those jobs that have left no result yet, so many at a time."""
    missing = [job for job in jobs if not job.target.exists()]
    if missing:
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            for line in pool.map(_run, missing):
                print(line, flush=True)


def keep(path: Path, result: Any) -> None:
    """Writes a result as JSON, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def _run(job: Job) -> str:
    config = dataclasses.replace(job.config, threads=1, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        last = train(config, Path(folder) / "run", quiet=True)
        metrics = read_metrics(Path(folder) / "run")
    evaluated = [i for i, success in enumerate(metrics["eval/success"]) if not math.isnan(success)]
    result: dict[str, Any] = {
        "name": job.name,
        "seed": config.seed,
        "config": dataclasses.asdict(job.config),
        "minutes": last["clock/minutes"],
        "final": {name: value for name, value in last.items() if not math.isnan(value)},
        "curve": {name: [metrics[name][i] for i in evaluated] for name in job.columns},
    }
    keep(job.target, result)
    return f"{job.name}, seed {config.seed}: reward {last['eval/reward']:.3f} after {result['minutes']:.1f} min"
