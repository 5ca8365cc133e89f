"""A training run through kills, signals, full disks, rivals and damage (`make soak`).

One small run is trained in processes that are killed with -9, stopped by SIGTERM, can write no longer (and can again),
are joined by a second one that wants the same run, and find their newest checkpoint damaged; meanwhile pairs of
processes make the same entry of the cache, of which one may be killed. After each event the run's rows are counted:
what was saved must be there. At last the run is finished, and compared with one that nothing happened to: every number
in metrics.csv but the clock's, every sample and every weight must be the same, bit by bit.

What has been done is in the folder; a soak that was stopped goes on from there. Leaves a line in results/soak.jsonl,
and fails where a row was lost or a bit differs.

A full disk is a limit on the size of files, set and lifted from outside while the process runs: that needs no rights.

    python examples/benchmarks/soak.py [--minutes 30] [--folder runs/soak]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rlfl_agents import PPOConfig, train
from rlfl_agents.run.checkpoint import latest, load
from rlfl_agents.run.metrics import METRICS_FILE, SAMPLES_FILE, read_metrics
from rlfl_agents.run.results import append_result
from rlfl_agents.run.signals import StoppedError
from rlfl_envs import ConfigError, load_task

RESULTS = Path(__file__).parent / "results" / "soak.jsonl"
SETTINGS: dict[str, Any] = {
    "env_id": "rlfl/Copy-v0",
    "env_kwargs": {"length": 3},
    "layers": 1,
    "width": 32,
    "heads": 2,
    "prompts": 16,
    "group_size": 4,
    "advantage": "rloo",
    "lr_schedule": "constant",
    "batch_entropy_coef": 0.02,
    "eval_prompts": 16,
    "eval_every": 20,
    "save_every": 5,
    "keep_last": 3,
    "device": "cpu",
    "threads": 1,
}
ROWS = SETTINGS["prompts"] * SETTINGS["group_size"]
LONG, FEWEST_EVENTS = 1_000_000, 100  # updates that no soak comes to; events
REFUSED, NO_SPACE = 3, 4  # exit statuses
STARTING = 60.0  # seconds until a process must have begun to learn

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["rlfl_agents.ppo"])


# --- what runs in processes of its own -----------------------------------------------------------------------------


def learn(run: str, updates: int) -> None:
    """Goes on with the run, quietly; its exit status says how it ended."""
    try:
        train(PPOConfig(total_samples=ROWS * updates, **SETTINGS), run, resume=True, quiet=True)
    except StoppedError as stop:
        os._exit(128 + stop.number)
    except ConfigError:
        os._exit(REFUSED)
    except OSError:
        os._exit(NO_SPACE)


def make_vocabulary(cache: str, output: str) -> None:
    """Makes an entry of the cache, or reads it, and writes down what it has."""
    os.environ["RLFL_CACHE"] = cache
    task = load_task("rlfl/Sentiment-v0", corpus="template", vocabulary_size=300)
    Path(output).write_text(task.tokenizer.backend.to_str(), encoding="utf-8")


def started(function: Callable[..., None], *arguments: object) -> ForkServerProcess:
    """A process that has begun."""
    process = processes.Process(target=function, args=arguments)
    process.start()
    return process


# --- events --------------------------------------------------------------------------------------------------------


class Soak:
    """A run, and what has happened to it.

    Attributes:
        run: Its folder.
        events: What has happened, one word each.
    """

    def __init__(self, folder: Path) -> None:
        """Goes on with what a folder has."""
        self.folder, self.run, self._log = folder, folder / "run", folder / "events.txt"
        folder.mkdir(parents=True, exist_ok=True)
        self.events = self._log.read_text().split() if self._log.exists() else []
        self._notes = folder / "notes.txt"
        self._rng = np.random.default_rng(len(self.events))

    @property
    def notes(self) -> list[str]:
        """What should not have happened, in all sittings."""
        return self._notes.read_text().splitlines() if self._notes.exists() else []

    def _note(self, text: str) -> None:
        with self._notes.open("a") as file:
            file.write(f"{text}\n")

    def happen(self) -> None:
        """Lets one more thing happen to the run."""
        kinds = {
            "kill": (self._killed, 0.39),
            "stop": (self._stopped, 0.15),
            "full": (self._full, 0.15),
            "rival": (self._rival, 0.1),
            "damage": (self._damaged, 0.15),
            "cache": (self._cache, 0.06),
        }
        kind = str(self._rng.choice([*kinds], p=[weight for _, weight in kinds.values()]))
        before = self._saved()
        kinds[kind][0]()
        self._check_rows(before if kind != "damage" else -1, kind)
        self.events.append(kind)
        with self._log.open("a") as file:
            file.write(f"{kind}\n")

    def _saved(self) -> int:
        """The update of the newest checkpoint."""
        newest = latest(self.run)
        return int(newest.name[-6:]) if newest is not None else -1

    def _check_rows(self, before: int, kind: str) -> None:
        """What was saved is still there, and so are the rows up to it."""
        saved = self._saved()
        if saved < before:
            self._note(f"{kind}: the newest checkpoint was {before}, and is {saved}")
        path = self.run / METRICS_FILE
        rows = path.read_bytes().split(b"\n")[1:-1] if path.exists() else []
        lost = {*range(saved + 1)} - {int(row.split(b",")[0]) for row in rows if row.split(b",")[0].isdigit()}
        if lost:
            self._note(f"{kind}: the rows {sorted(lost)[:5]} are lost")

    def _learning(self, updates: int = LONG) -> ForkServerProcess:
        """A process that has begun to learn, and has done so for a random time."""
        before = (self.run / METRICS_FILE).stat().st_mtime_ns if (self.run / METRICS_FILE).exists() else 0
        process = started(learn, str(self.run), updates)
        until = time.monotonic() + STARTING
        while process.is_alive() and time.monotonic() < until:
            with contextlib.suppress(FileNotFoundError):
                if (self.run / METRICS_FILE).stat().st_mtime_ns > before:
                    break
            time.sleep(0.02)
        time.sleep(float(self._rng.exponential(0.8)))
        return process

    def _ended(self, process: ForkServerProcess, *allowed: int) -> None:
        process.join(timeout=STARTING)
        if process.exitcode is None:
            self._note("a process did not end")
            process.kill()
            process.join()
        elif process.exitcode not in allowed:
            self._note(f"a process ended with {process.exitcode}; allowed: {allowed}")

    def _killed(self) -> None:
        """With -9, after a random time, sometimes before it has begun to learn."""
        if self._rng.random() < 0.2:
            process = started(learn, str(self.run), LONG)
            time.sleep(float(self._rng.uniform(0, 1)))
        else:
            process = self._learning()
        process.kill()
        self._ended(process, -signal.SIGKILL)

    def _stopped(self) -> None:
        """It saves what it has learned, and its status says so; before its first update it ends at once."""
        process = self._learning()
        process.terminate()
        self._ended(process, 128 + signal.SIGTERM, -signal.SIGTERM)
        rows = read_metrics(self.run)["update"]
        if process.exitcode == 128 + signal.SIGTERM and rows[-1] != self._saved():
            self._note(f"stop: the last row is {rows[-1]:.0f}, the newest checkpoint {self._saved()}")

    def _full(self) -> None:
        """Nothing larger than so many bytes can be written; sometimes it soon can again."""
        process = self._learning()
        limit = int(self._rng.choice([1, 20_000, 100_000]))
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(process.pid or 0, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            if self._rng.random() < 0.5:
                time.sleep(float(self._rng.exponential(0.3)))
                resource.prlimit(process.pid or 0, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        time.sleep(1.0)
        if process.is_alive():
            process.kill()
        self._ended(process, NO_SPACE, -signal.SIGKILL)

    def _rival(self) -> None:
        """A second process wants the run, and is refused; the first is killed later."""
        first = self._learning()
        self._ended(started(learn, str(self.run), LONG), REFUSED)
        if not first.is_alive():
            self._note("rival: the first process ended as well")
        first.kill()
        self._ended(first, -signal.SIGKILL)

    def _damaged(self) -> None:
        """The newest checkpoint is cut short, or has a bit that is another; an older one is there."""
        checkpoints = sorted((self.run / "checkpoints").glob("update-*"))
        if len(checkpoints) < 2 or self.events[-1:] == ["damage"]:
            self._killed()
            return
        path = checkpoints[-1] / "state.pt"
        content = bytearray(path.read_bytes())
        if self._rng.random() < 0.5:
            del content[int(self._rng.integers(len(content))) :]
        else:
            content[int(self._rng.integers(len(content)))] ^= 1 << int(self._rng.integers(8))
        path.write_bytes(bytes(content))
        process = self._learning()
        process.kill()
        self._ended(process, -signal.SIGKILL)

    def _cache(self) -> None:
        """Two processes make the same entry of an empty cache; one may be killed meanwhile. A third finds it whole."""
        cache, outputs = self.folder / "cache", [str(self.folder / f"vocabulary-{i}.json") for i in range(3)]
        shutil.rmtree(cache, ignore_errors=True)
        both = [started(make_vocabulary, str(cache), output) for output in outputs[:2]]
        is_killed = bool(self._rng.random() < 0.5)
        if is_killed:
            time.sleep(float(self._rng.uniform(0, 2)))
            both[0].kill()
        self._ended(both[0], 0, *([-signal.SIGKILL] if is_killed else []))
        self._ended(both[1], 0)
        self._ended(started(make_vocabulary, str(cache), outputs[2]), 0)
        if Path(outputs[1]).read_bytes() != Path(outputs[2]).read_bytes():
            self._note("cache: two processes have different vocabularies")

    def finish(self) -> int:
        """Trains for twenty more updates, to the end; returns how many there are."""
        done = self.folder / "updates.txt"
        updates = int(done.read_text()) if done.exists() else 20 * (self._saved() // 20 + 2)
        done.write_text(str(updates))
        self._ended(started(learn, str(self.run), updates), 0)
        return updates


# --- the comparison ------------------------------------------------------------------------------------------------


def differences(one: Path, other: Path) -> list[str]:
    """What two runs do not have in common: numbers, samples, and what the last checkpoint keeps."""
    found = []
    metrics = [read_metrics(run) for run in (one, other)]
    for name, column in metrics[0].items():
        if not name.startswith("clock/") and repr(column) != repr(metrics[1].get(name)):  # NaN equals NaN
            found.append(f"metrics.csv: {name}")
    if (one / SAMPLES_FILE).read_bytes() != (other / SAMPLES_FILE).read_bytes():
        found.append(SAMPLES_FILE)
    states = [load(latest(run) or run) for run in (one, other)]
    for state in states:
        del state["minutes"]  # the clock
    found += [f"state: {name}" for name, value in states[0].items() if not same(value, states[1].get(name))]
    return found


def same(one: Any, other: Any) -> bool:
    """Whether two states are the same, bit by bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def main() -> None:
    """Soaks for so long, then finishes and compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long things happen")
    parser.add_argument("--folder", type=Path, default=Path("runs") / "soak")
    arguments = parser.parse_args()
    soak = Soak(arguments.folder)
    clock = soak.folder / "minutes.txt"
    minutes = float(clock.read_text()) if clock.exists() else 0.0
    last = time.monotonic()
    while minutes < arguments.minutes:
        soak.happen()
        now = time.monotonic()
        minutes, last = minutes + (now - last) / 60, now
        clock.write_text(str(minutes))
        print(f"{minutes:5.1f} min  {len(soak.events):4} events  {soak.events[-1]:7} {soak.notes[-1:]}", flush=True)
    updates = soak.finish()
    calm = soak.folder / "calm"
    learn(str(calm), updates)
    found = differences(soak.run, calm)
    rows = read_metrics(soak.run)["update"]
    result = {
        "experiment": "soak",
        "minutes": round(minutes, 1),
        "updates": updates,
        "events": len(soak.events),
        "kinds": dict(sorted(Counter(soak.events).items())),
        "lost_rows": updates + 1 - len({*rows}),
        "notes": soak.notes,
        "differences": found,
        "settings": {},
    }
    append_result(RESULTS, result)
    print(json.dumps(result, indent=2))
    if soak.notes or found or result["lost_rows"] or len(soak.events) < FEWEST_EVENTS:
        sys.exit("The run did not survive as it should, or too little has happened.")


if __name__ == "__main__":
    main()
