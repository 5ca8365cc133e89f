"""Many runs, several at a time: each leaves one line of results, and what has one is not run again.

This is how every benchmark and every experiment of this repository is run, stopped and gone on with.
"""

from __future__ import annotations

import dataclasses
import math
import multiprocessing
import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rlfl_agents.config import PPOConfig
from rlfl_agents.run.metrics import read_metrics
from rlfl_agents.run.results import append_result, changed_settings, find_results

__all__ = ["Job", "run_missing", "train_agent"]


@dataclasses.dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        results: The `results.jsonl` to which it adds a line.
        key: What names it there, JSON-able, such as `{"variant": "PPO", "seed": 0}`.
        work: Does it, in a process of its own, and returns what to keep beside the key. Pickled, so a module's own
            function or a `functools.partial` of one.
    """

    results: Path
    key: dict[str, Any]
    work: Callable[[], dict[str, Any]]

    @property
    def name(self) -> str:
        """Its key in words, such as `PPO, seed 0`."""
        words = {name: str(value) for name, value in self.key.items()}
        return ", ".join(f"seed {value}" if name == "seed" else value for name, value in words.items())


def run_missing(jobs: Sequence[Job], processes: int) -> None:
    """Runs those jobs that have left no result yet, in their order, and prints a line for each.

    Call it below `if __name__ == "__main__":`, since the processes are spawned.

    Args:
        jobs: The runs. What `work` returns has the `minutes` it took.
        processes: How many run at a time, 1 or more.

    Raises:
        BaseExceptionGroup: Runs failed; the others have been run all the same.
    """
    missing = [job for job in jobs if not find_results(job.results, **job.key)]
    if missing:
        failures: list[BaseException] = []
        with ThreadPoolExecutor(processes) as threads:
            running = {threads.submit(_run_apart, job): job for job in missing}
            try:
                for done in as_completed(running):
                    failure = done.exception()
                    if failure is None:
                        print(done.result(), flush=True)
                    else:
                        print(f"{running[done].name}, failed: {failure!r}", flush=True)
                        failures.append(failure)
            except BaseException:  # Ctrl-C: what has not begun is not begun any more
                threads.shutdown(wait=False, cancel_futures=True)
                raise
        if failures:
            raise BaseExceptionGroup(f"{len(failures)} of {len(missing)} runs failed", failures)


def train_agent(
    config: PPOConfig,
    columns: Sequence[str],
    examine: Callable[[Path], dict[str, Any]] | None = None,
    device: Literal["auto", "cpu"] = "cpu",
) -> dict[str, Any]:
    """Trains our agent on one thread and keeps what a plot needs; the run itself is deleted.

    Args:
        config: The settings.
        columns: Which columns of metrics.csv to keep, at the updates with an evaluation; "tokens" as well, those
            sampled so far.
        examine: Looks at the run directory before it goes; what it returns is kept as well.
        device: As in `PPOConfig`; the CPU unless asked, since the minutes of runs are compared.

    Returns:
        `seed`, `settings` (those that are not the defaults), `device` ("cpu", "cuda", ...), `minutes` of training,
        `final` (the last row of metrics), `curve` (a list for each column), and what `examine` found.
    """
    from accelerate import PartialState  # with torch: not where jobs are only listed, or results read

    from rlfl_agents.ppo import train

    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        last = train(dataclasses.replace(config, threads=1, device=device), run, quiet=True)
        metrics = read_metrics(run)
        found = examine(run) if examine else {}
    metrics["tokens"] = np.nancumsum(np.array(metrics["length"]) * config.rows).tolist()
    evaluated = [i for i, success in enumerate(metrics["eval/success"]) if not math.isnan(success)]
    return {
        "seed": config.seed,
        "settings": changed_settings(config),
        "device": PartialState().device.type,  # what Accelerate has trained on
        "minutes": last["clock/minutes"],
        "final": {name: value for name, value in last.items() if not math.isnan(value)},
        "curve": {name: [metrics[name][i] for i in evaluated] for name in columns},
        **found,
    }


def _end_with_parent() -> None:
    """Ends this process, in the middle of a run, when the one that started it is gone, however that ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _run_apart(job: Job) -> str:
    """Runs a job in a process of its own, so that one that dies (out of memory, say) takes no other along."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=_end_with_parent) as pool:
        return pool.submit(_run, job).result()


def _run(job: Job) -> str:
    result = job.work()
    append_result(job.results, job.key | result)
    return f"{job.name}: {result['minutes']:.1f} min"
