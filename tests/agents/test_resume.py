"""A killed run goes on as if nothing had happened, and a crash never harms an older checkpoint."""

from __future__ import annotations

import multiprocessing
import random
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from rlfl_agents import ppo
from rlfl_agents.config import PPOConfig
from rlfl_agents.environments import make_envs
from rlfl_agents.files import remove_half_written
from rlfl_agents.model.policy import Policy
from rlfl_agents.ppo import train
from rlfl_agents.run import checkpoint
from rlfl_agents.run.export import export
from rlfl_agents.run.metrics import read_metrics
from rlfl_agents.run.state import TrainState
from rlfl_envs import TokenVectorEnv

from .conftest import small_config, small_policy

# Children start from a clean process that has imported everything already, not from the test's.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["rlfl_agents.ppo"])


def begin(config: PPOConfig, run: Path) -> BaseProcess:
    """Starts, or resumes, a run in a process of its own."""
    process = processes.Process(target=train, args=(config, run), kwargs={"resume": True, "quiet": True})
    process.start()
    return process


def rows(run: Path) -> int:
    """Lines of metrics.csv so far."""
    path = run / "metrics.csv"
    return path.read_text().count("\n") if path.exists() else 0


def wait_for_rows(process: BaseProcess, run: Path, count: int) -> None:
    """Until the run has written so many more lines."""
    target = rows(run) + count
    while process.is_alive() and rows(run) < target:
        time.sleep(0.001)


def without_clock(run: Path) -> dict[str, str]:
    """Metrics as text, bit by bit (NaN equals NaN)."""
    return {name: repr(column) for name, column in read_metrics(run).items() if not name.startswith("clock/")}


def test_a_run_killed_at_random_moments_ends_like_an_unbroken_one(tmp_path: Path) -> None:
    """Five kills with -9, one of them while a checkpoint is being written; metrics, samples and weights are equal."""
    config = small_config(
        advantage="gae",
        minibatches=2,
        epochs=2,
        batch_entropy_coef=0.1,
        batch_entropy_target=0.6,
        kl="adaptive",
        lr_schedule="cosine",
        width=64,
        total_samples=32 * 60,
        save_every=3,
        eval_every=10,
        threads=1,
    )
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    unbroken = begin(config, whole)
    unbroken.join()
    assert unbroken.exitcode == 0
    moments = random.Random(0)
    for kill in range(5):
        process = begin(config, killed)
        wait_for_rows(process, killed, moments.randint(2, 8))
        if kill == 3:
            hit = False
            while process.is_alive() and not hit:
                hit = bool(list(killed.glob("checkpoints/.writing-*")))
            process.kill()
            process.join()
            # Seen while it was there; the kill may still have come an instant too late, which is a random moment too.
            assert hit
            continue
        time.sleep(moments.random() * 0.02)
        process.kill()
        process.join()
        assert process.exitcode == -9
    last = begin(config, killed)
    last.join()
    assert last.exitcode == 0
    assert without_clock(killed) == without_clock(whole)
    assert (killed / "samples.jsonl").read_text() == (whole / "samples.jsonl").read_text()
    assert not list(killed.rglob(".writing-*"))
    ends = [checkpoint.load(checkpoint.latest(run) or run) for run in (whole, killed)]
    for name, weight in ends[0]["model"].items():
        assert torch.equal(weight, ends[1]["model"][name])


def test_a_crash_inside_a_checkpoint_leaves_the_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever step of the writing fails, the newest complete checkpoint is still found and loads."""
    checkpoint.save(tmp_path, {"update": 1, "x": torch.ones(3)}, keep=2)
    for step in ("torch.save", "os.fsync", "pathlib.Path.rename"):
        with monkeypatch.context() as patch:

            def crash(*_: object, **__: object) -> None:
                raise KeyboardInterrupt

            patch.setattr(step, crash)
            with pytest.raises(KeyboardInterrupt):
                checkpoint.save(tmp_path, {"update": 2, "x": torch.zeros(3)}, keep=2)
        found = checkpoint.latest(tmp_path)
        assert found is not None
        assert checkpoint.load(found)["x"].tolist() == [1, 1, 1]
        remove_half_written(tmp_path / "checkpoints")
        assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["update-000001"]


def export_policy(policy: Policy, envs: TokenVectorEnv, folder: Path) -> None:
    """Saves it as training does."""
    export(policy, envs, small_config(), folder, "nobody", {})


def test_a_policy_half_exported_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash at any file of a folder leaves no config.json, which says that a model is there."""
    envs = make_envs("rlfl/Copy-v0", 1)
    policy = small_policy(envs)
    folder = tmp_path / "policy"
    folder.mkdir()  # as `rlfl sft` makes it, with its settings in it; a folder that is not there appears as a whole
    moved = []
    replace = Path.replace

    def crash_at_the_last(source: Path, target: Path) -> Path:
        moved.append(source.name)
        if source.name == "config.json":
            raise KeyboardInterrupt
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", crash_at_the_last)
    with pytest.raises(KeyboardInterrupt):
        export_policy(policy, envs, folder)
    assert (folder / "model.safetensors").exists()
    assert not (folder / "config.json").exists()
    assert moved[-1] == "config.json"
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]


def test_a_full_disk_is_named_and_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch raises then becomes an OSError, and the older checkpoint stays the newest."""
    checkpoint.save(tmp_path, {"update": 1, "x": torch.ones(3)}, keep=2)

    def fail(*_: object) -> None:
        raise RuntimeError("unexpected pos 572160 vs 572052")

    monkeypatch.setattr("torch.save", fail)
    with pytest.raises(OSError, match="is the disk full"):
        checkpoint.save(tmp_path, {"update": 2, "x": torch.zeros(3)}, keep=2)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["update-000001"]


def test_a_full_disk_harms_no_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What safetensors raises then becomes an OSError too; the older policy stays, with nothing half written beside."""
    envs = make_envs("rlfl/Copy-v0", 1)
    policy = small_policy(envs)
    export_policy(policy, envs, tmp_path / "policy")
    before = (tmp_path / "policy" / "model.safetensors").read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(policy.model, "save_pretrained", fail)
    with pytest.raises(OSError, match="policy could not be written; is the disk full"):
        export_policy(policy, envs, tmp_path / "policy")
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]
    assert (tmp_path / "policy" / "model.safetensors").read_bytes() == before


def test_a_run_killed_in_its_last_checkpoint_leaves_its_last_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the kill cuts off is done again on resuming: policy and keys are those of the end."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    config = small_config(save_every=10**6)
    train(config, whole, quiet=True)
    for module, step in ((checkpoint, "save"), (checkpoint, "write_keys"), (ppo, "export")):
        real = getattr(module, step)

        def killed_after(*args: Any, _real: Any = real, **settings: Any) -> None:
            _real(*args, **settings)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(module, step, killed_after)
            with pytest.raises(KeyboardInterrupt):
                train(config, killed / step, quiet=True)
        train(config, killed / step, quiet=True, resume=True)
        for name in ("policy/model.safetensors", "seen_keys.npy"):
            assert (killed / step / name).read_bytes() == (whole / name).read_bytes(), (step, name)


def test_the_best_policy_has_met_no_more_than_the_keys_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also between two checkpoints, where a kill leaves the best so far."""
    met: list[int] = []
    real = ppo.export

    def noted(policy: Policy, envs: TokenVectorEnv, config: Any, folder: Path, *args: Any, **kwargs: Any) -> None:
        real(policy, envs, config, folder, *args, **kwargs)
        met.append(len(np.load(folder.parent / "seen_keys.npy")))

    monkeypatch.setattr(ppo, "export", noted)
    monkeypatch.setattr(TrainState, "is_best", lambda state, row: True)
    train(
        small_config(env_id="rlfl/Arithmetic-v0", env_kwargs={}, eval_every=1, save_every=10**6), tmp_path, quiet=True
    )
    assert met == sorted(met)
    assert met[1] > met[0]


def test_the_last_few_checkpoints_are_kept(tmp_path: Path) -> None:
    """Older ones go, after the new one is there."""
    for update in range(1, 6):
        checkpoint.save(tmp_path, {"update": update}, keep=2)
    assert [path.name for path in sorted((tmp_path / "checkpoints").iterdir())] == ["update-000004", "update-000005"]
