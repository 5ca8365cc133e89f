"""Two processes learn what one learns. They are real ones, started by torchrun, and meet over gloo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from accelerate import Accelerator

from rlfl_agents.ppo import train
from rlfl_agents.rollout.processes import sum_across
from rlfl_agents.run.checkpoint import latest, load
from rlfl_agents.run.metrics import read_metrics

from .conftest import small_config

# Half of the run, then the rest from its checkpoint, so that resuming is covered too.
SCRIPT = """
import dataclasses, json, sys
import torch
from accelerate import PartialState
from rlfl_agents.config import PPOConfig
from rlfl_agents.ppo import train

torch.set_num_threads(1)
for entry in json.loads(open(sys.argv[1]).read()):
    config = PPOConfig.from_json(entry["config"])
    first, second = (dataclasses.replace(config, shard=shard) for shard in entry["shard"])
    train(dataclasses.replace(first, total_samples=config.total_samples // 2), entry["run"], quiet=True)
    assert PartialState().num_processes == 2, PartialState().num_processes
    assert torch.distributed.get_backend() == "gloo"
    train(second, entry["run"], resume=True, quiet=True)
PartialState().destroy_process_group()
"""

CASES = {
    "gae": {
        "advantage": "gae",
        "group_size": 2,
        "minibatches": 2,
        "epochs": 2,
        "kl": "fixed",
        "critic": "separate",
        "micro_batch_tokens": 15,
        "env_kwargs": {"alphabet": "abc", "length": 3, "mask": "syntax", "split": "all", "max_completion_tokens": 4},
    },
    "one token": {
        "env_id": "rlfl/Arithmetic-v0",
        "env_kwargs": {},
        "accumulation": 2,
        "batch_entropy_positions": "last",
        "refill": 1,
    },
    "tries": {
        "advantage": "tries",
        "tries": 4,
        "random_tries": 1,
        "group_size": 2,
        "minibatches": 2,
        "accumulation": 2,
        "env_kwargs": {"alphabet": "abc", "length": 3, "split": "all", "rewards": "tokens"},
        "level_weights": (1.0, 1.0, 2.0),
        "redraw": 0.5,
    },
    "tries, learned value": {
        "advantage": "gae",
        "tries": 3,
        "random_tries": 1,
        "group_size": 2,
        "minibatches": 2,
        "accumulation": 2,
        "epochs": 2,
        "critic": "separate",
        # So long that the processes' longest episodes differ.
        "env_kwargs": {"alphabet": "abcde", "length": 8, "split": "all", "rewards": "tokens"},
    },
    "imitation": {"minibatches": 2, "imitation_coef": 0.5, "imitation_batch": 3},
    "adapters": {"lora_rank": 2, "kl": "fixed", "gradient_checkpointing": True, "layers": 2},
}
# Whether the weights are spread over the processes, before and after the run is resumed. A checkpoint is the same one.
WHOLE = dict.fromkeys(CASES, (False, False))
SHARDED = {"gae": (True, False), "tries": (False, True), "adapters": (True, True)}


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks for it
@pytest.mark.parametrize("shards", [WHOLE, SHARDED], ids=["all weights in each", "a share in each"])
def test_two_processes_learn_what_one_does(shards: Mapping[str, tuple[bool, bool]], tmp_path: Path) -> None:
    """Weights, losses, batch entropy (of the global p̄), evaluation and seen keys agree after several updates."""
    shared = {
        "adam_eps": 1e-3,
        "entropy_coef": 0.01,
        "batch_entropy_coef": 0.3,
        "eval_every": 4,
        "total_samples": 8 * 32,
    }
    entries = []
    for name, shard in shards.items():
        config = small_config(**(shared | CASES[name]))
        train(config, tmp_path / f"{name}, one", quiet=True)
        entries.append({"config": config.to_json(), "shard": shard, "run": str(tmp_path / f"{name}, two")})
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "entries.json").write_text(json.dumps(entries))
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    arguments = [str(tmp_path / "script.py"), str(tmp_path / "entries.json")]
    done = subprocess.run([*launcher, *arguments], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "FSDP" not in done.stderr  # it warns of what would lose its gradient
    for name in shards:
        runs = tmp_path / f"{name}, one", tmp_path / f"{name}, two"
        one, two = (load(latest(run) or run) for run in runs)
        for weight in one["model"]:
            torch.testing.assert_close(one["model"][weight], two["model"][weight], atol=2e-5, rtol=1e-3)
        assert one["seen"].tolist() == two["seen"].tolist()
        assert one["generator"].tolist() == two["generator"].tolist()
        metrics = [read_metrics(run) for run in runs]
        assert len(metrics[0]["update"]) == len(metrics[1]["update"]) > 8
        for column in metrics[0]:
            if not column.startswith("clock/"):
                expected = pytest.approx(metrics[0][column], rel=1e-3, abs=1e-5, nan_ok=True)
                assert metrics[1][column] == expected, column


@pytest.mark.parametrize("words", [[], ["--shard", "--mixed-precision", "bf16"]], ids=["alone", "shards, bfloat16"])
def test_torchrun_needs_no_other_word(words: list[str], tmp_path: Path) -> None:
    """`torchrun -m rlfl_agents train ID` on a machine without accelerator: two processes are one run, not two."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = ["-m", "rlfl_agents", "train", "rlfl/Copy-v0", "--run-dir", str(tmp_path / "run")]
    small = ["--total-samples", "2048", "--eval-prompts", "16", "--eval-every", "0", "--quiet", *words]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ACCELERATE_")}
    environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([*launcher, *command, *small], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    newest = latest(tmp_path / "run")
    assert newest is not None
    assert len(load(newest)["envs"]) == 2  # streams of prompts, one of each process
    assert read_metrics(tmp_path / "run")["update"] == [0, 1, 2]


@pytest.mark.timing
def test_a_dead_rank_ends_the_others(tmp_path: Path) -> None:
    """Within fifteen seconds, whoever it was and whatever the others were waiting for; what was saved is there."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = ["-m", "rlfl_agents", "train", "rlfl/Copy-v0", "--run-dir", str(tmp_path / "run"), "--quiet"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with subprocess.Popen([*launcher, *command], env=environment, stderr=subprocess.DEVNULL) as torchrun:
        wait_until(lambda: latest(tmp_path / "run") is not None, seconds=200)
        ranks = children_of(torchrun.pid)
        assert len(ranks) == 2
        os.kill(ranks[1], signal.SIGKILL)
        killed = time.monotonic()
        assert torchrun.wait(timeout=60) == 1
        assert time.monotonic() - killed < 15
        assert not any(Path(f"/proc/{rank}").exists() for rank in ranks)
    newest = latest(tmp_path / "run")
    assert newest is not None
    assert len(load(newest)["envs"]) == 2


def wait_until(is_so: Callable[[], bool], seconds: float) -> None:
    """Waits for something that happens in another process."""
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, "nothing has happened"
        time.sleep(0.1)


def children_of(process: int) -> list[int]:
    """The processes that a process has started, the oldest first."""
    listed = Path(f"/proc/{process}/task").glob("*/children")
    return sorted(int(child) for children in listed for child in children.read_text().split())


def test_every_process_has_the_same_sum() -> None:
    """However the sum rounds, no process has another one: they decide by it."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        parts = torch.rand(3, generator=generator)
        whole = parts.sum()
        across = sum_across(cast(Accelerator, SimpleNamespace(num_processes=3, reduce=lambda *_, whole=whole: whole)))
        assert {float(across(part)) for part in parts} == {float(whole)}
