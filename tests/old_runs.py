"""What version 0.1 left on disk: two runs killed half way and a warm start, and what it made of them afterwards.

Under `tests/data/run-0.1/`; made once, from a checkout of version 0.1:

    PYTHONPATH=CHECKOUT:CHECKOUT/agents python tests/old_runs.py
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from rlfl_agents import PPOConfig, SFTConfig, train, warm_start
from rlfl_agents.cli import main

FOLDER = Path(__file__).parent / "data" / "run-0.1"
EXPECTED = FOLDER / "expected"
WARM_START = "warm-start"
_SMALL: dict[str, Any] = {
    "layers": 1,
    "width": 16,
    "heads": 2,
    "learning_rate": 3e-3,
    "eval_prompts": 32,
    "device": "cpu",
    "threads": 1,
}
_RUN: dict[str, Any] = _SMALL | {
    "epochs": 1,
    "group_size": 4,
    "prompts": 8,
    "total_samples": 8 * 32,
    "eval_every": 2,
    "save_every": 2,
    "keep_last": 1,
}
_COPY: dict[str, Any] = {
    "env_id": "rlfl/Copy-v0",
    "env_kwargs": {"alphabet": "ab", "length": 2, "split": "all"},
}
RUNS: dict[str, dict[str, Any]] = {
    "gae": _RUN
    | _COPY
    | {
        "advantage": "gae",
        "minibatches": 2,
        "batch_entropy_coef": 0.1,
        "batch_entropy_target": 0.6,
        "kl": "adaptive",
        "lr_schedule": "cosine",
    },
    "rloo-masked": _RUN
    | {
        "env_id": "rlfl/ArithmeticSteps-v0",
        "env_kwargs": {
            "operators": "+*",
            "expression_length": 5,
            "max_operand": 3,
            "mask": "syntax",
            "reward_scale": 50.0,
        },
        "advantage": "rloo",
        "entropy_coef": 0.02,
    },
}
SFT = _SMALL | _COPY | {"examples": 32, "epochs": 3}


def finish(name: str, run: Path) -> None:
    """Goes on with a run through the command line, from a copy of its folder; for WARM_START begins one."""
    if name == WARM_START:
        train(PPOConfig(**_RUN | _COPY | {"advantage": "rloo", "model": str(FOLDER / name)}), run, quiet=True)
        return
    shutil.copytree(FOLDER / name, run)
    assert main(["train", RUNS[name]["env_id"], "--resume", "--run-dir", str(run), "--quiet"]) == 0


def evaluation(name: str) -> list[str]:
    """The shares and means that `rlfl eval` prints of a folder, in order."""
    printed = _printed(["eval", str(FOLDER / name), "--prompts", "32", "--worst", "0", "--device", "cpu"])
    return re.findall(r"\d+\.\d{3,4}", printed)


def answers(name: str) -> list[str]:
    """What `rlfl play` lets a folder's model answer to three held-out prompts, prompts included."""
    env_id = RUNS.get(name, _COPY)["env_id"]
    with mock.patch("builtins.input", side_effect=["", "", "", EOFError]):
        printed = _printed(["play", env_id, "--model", str(FOLDER / name), "--seed", "0"])
    return [line.strip() for line in printed.splitlines() if line.startswith("    ") and "reward" not in line]


def _printed(words: list[str]) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        assert main(words) == 0
    return output.getvalue()


def _begin(name: str) -> None:
    """Trains until the checkpoint of update 4 is in its place, and is killed."""
    rename = Path.rename

    def rename_and_die(source: Path, target: Path) -> Path:
        renamed = rename(source, target)
        if renamed.name == "update-000004":
            raise KeyboardInterrupt
        return renamed

    with mock.patch.object(Path, "rename", rename_and_die), contextlib.suppress(KeyboardInterrupt):
        train(PPOConfig(**RUNS[name]), FOLDER / name, quiet=True)
    shutil.rmtree(FOLDER / name / "checkpoints" / "update-000002")
    shutil.rmtree(FOLDER / name / "tensorboard")


def _write() -> None:
    EXPECTED.mkdir(parents=True)
    warm_start(SFTConfig(**SFT), FOLDER / WARM_START, quiet=True)
    for name in RUNS:
        _begin(name)
    said = {}
    for name in (*RUNS, WARM_START):
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            finish(name, run)
            shutil.copy(run / "metrics.csv", EXPECTED / f"{name}.csv")
            shutil.copy(run / "samples.jsonl", EXPECTED / f"{name}.jsonl")
        said[name] = {"eval": evaluation(name), "play": answers(name)}
    (EXPECTED / "said.json").write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    _write()
