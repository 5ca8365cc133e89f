"""Ctrl-C and SIGTERM: the update under way is finished and saved; the run then goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from rlfl_agents import ppo
from rlfl_agents.config import PPOConfig
from rlfl_agents.ppo import train
from rlfl_agents.run.checkpoint import latest, load
from rlfl_agents.run.metrics import read_metrics
from rlfl_agents.run.signals import StoppedError, noted

from .conftest import small_config

# `rlfl train` in a process of its own, whose updates take as long as the test says.
SLOW = """
import signal, sys, time
from rlfl_agents import cli, ppo
signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal, wherever the tests were started
improve = ppo.improve
def slow(*arguments):
    time.sleep(float(sys.argv[1]))
    return improve(*arguments)
ppo.improve = slow
sys.exit(cli.main(sys.argv[2:]))
"""
FLAGS = ["--total-samples", str(32 * 40), "--prompts", "8", "--group-size", "4", "--eval-every", "0", "--layers", "1"]
SMALL = [*FLAGS, "--width", "16", "--heads", "2", "--eval-prompts", "8", "--threads", "1", "--device", "cpu"]


def begin(run: Path, seconds: float) -> subprocess.Popen[str]:
    """Starts a run whose updates take so many seconds, and waits until it has begun."""
    words = [sys.executable, "-c", SLOW, str(seconds), "train", "rlfl/Copy-v0", "--run-dir", str(run), *SMALL]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    metrics = run / "metrics.csv"
    while process.poll() is None and not (metrics.exists() and metrics.read_text().count("\n") >= 2):
        time.sleep(0.01)
    return process


def without_clock(run: Path) -> dict[str, str]:
    """Metrics as text, bit by bit (NaN equals NaN)."""
    return {name: repr(column) for name, column in read_metrics(run).items() if not name.startswith("clock/")}


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_the_run_goes_on(number: signal.Signals, status: int, tmp_path: Path) -> None:
    """With a checkpoint of the update under way, the picture, one line, and the status that a shell expects."""
    run = tmp_path / "run"
    process = begin(run, 0.1)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert "Traceback" not in err
    assert "Stopping after this update; a second Ctrl-C ends at once." in err
    done = int(read_metrics(run)["update"][-1])
    assert f"stopped at update {done} of 40; go on with rlfl train rlfl/Copy-v0 --resume --run-dir {run}" in out
    newest = latest(run)
    assert newest is not None
    assert load(newest)["update"] == done
    assert (run / "curves.png").stat().st_size > 10_000
    assert not (run / ".lock").exists()
    config = PPOConfig.read(run / "config.json")
    train(config, run, resume=True, quiet=True)
    train(config, tmp_path / "whole", quiet=True)
    assert without_clock(run) == without_clock(tmp_path / "whole")


def test_a_second_one_ends_at_once(tmp_path: Path) -> None:
    """In the midst of an update of minutes; what was saved before is left as it was."""
    process = begin(tmp_path / "run", 300)
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)  # such as torchrun passes on: one press, not two
    time.sleep(1.2)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert latest(tmp_path / "run") is None


def test_the_caller_learns_of_it(tmp_path: Path) -> None:
    """`train` raises a KeyboardInterrupt that survives pickling, and the signal's handlers are as before."""
    before = signal.getsignal(signal.SIGTERM)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    with pytest.raises(KeyboardInterrupt, match="stopped by SIGTERM") as raised:
        train(small_config(total_samples=32 * 10_000), tmp_path / "run", quiet=True)
    assert pickle.loads(pickle.dumps(raised.value)).number == signal.SIGTERM
    assert isinstance(raised.value, StoppedError)
    assert signal.getsignal(signal.SIGTERM) is before
    assert latest(tmp_path / "run") is not None


def test_a_signal_in_the_last_update_stops_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is complete and saved; whatever would have been run next is not."""
    evaluate = ppo._evaluate

    def stopped(run: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(run)

    config = small_config(total_samples=32, eval_every=0)
    with monkeypatch.context() as patch:
        patch.setattr(ppo, "_evaluate", stopped)
        with pytest.raises(StoppedError):
            train(config, tmp_path / "run", quiet=True)
    newest = latest(tmp_path / "run")
    assert newest is not None
    assert load(newest)["update"] == config.updates


def test_what_is_ignored_stays_ignored_and_threads_get_none() -> None:
    """As in a background job; and in a thread, where no handler can be set, nothing is changed."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with noted() as came:
            os.kill(os.getpid(), signal.SIGINT)
            assert came.number == 0
        found = []

        def look() -> None:
            with noted():
                found.append(signal.getsignal(signal.SIGTERM))

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        assert found == [signal.getsignal(signal.SIGTERM)]
    finally:
        signal.signal(signal.SIGINT, before)


RANKS = """
import json, os, signal, sys, threading
import torch
from accelerate import PartialState
from rlfl_agents.config import PPOConfig
from rlfl_agents.ppo import train
from rlfl_agents.run.signals import StoppedError

torch.set_num_threads(1)
config = PPOConfig.from_json(json.loads(open(sys.argv[1]).read()))
if os.environ["RANK"] == "1":
    threading.Timer(5, os.kill, (os.getpid(), signal.SIGTERM)).start()
try:
    train(config, sys.argv[2], quiet=True)
except StoppedError as stop:
    PartialState().wait_for_everyone()
    open(sys.argv[2] + os.environ["RANK"], "w").write(str(stop.number))
PartialState().destroy_process_group()
"""


def test_all_processes_stop_together(tmp_path: Path) -> None:
    """A signal to one of two ends both after the same update."""
    (tmp_path / "script.py").write_text(RANKS)
    config = small_config(total_samples=32 * 10**6, eval_every=0, save_every=10**9)
    (tmp_path / "config.json").write_text(json.dumps(config.to_json()))
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    arguments = [str(tmp_path / "script.py"), str(tmp_path / "config.json"), str(tmp_path / "run")]
    done = subprocess.run([*launcher, *arguments], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [(tmp_path / f"run{rank}").read_text() for rank in (0, 1)] == ["15", "15"]
    newest = latest(tmp_path / "run")
    assert newest is not None
    assert load(newest)["update"] == read_metrics(tmp_path / "run")["update"][-1]
