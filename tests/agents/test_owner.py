"""A folder that is being written has one owner; the lock of a dead one keeps nobody out."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rlfl_agents.config import PretrainConfig, SFTConfig
from rlfl_agents.files import owned, write_folder, write_text
from rlfl_agents.ppo import train
from rlfl_agents.pretrain import pretrain_model
from rlfl_agents.run.metrics import read_metrics
from rlfl_agents.sft import warm_start
from rlfl_envs import ConfigError

from .conftest import small_config

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["rlfl_agents.ppo"])

HOLD = """
import sys, time
from pathlib import Path
from rlfl_agents.files import owned
with owned(Path(sys.argv[1]), "run_dir"):
    print("owned", flush=True)
    time.sleep(600)
"""


def test_a_folder_has_one_owner_at_a_time(tmp_path: Path) -> None:
    """The other is told who it is. Once that one is killed, with -9, the folder is free; its half-written files go."""
    folder = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "owned\n"
        message = rf"^run_dir='.*run' is being written by another process, {process.pid}; wait until it has ended, or "
        with pytest.raises(ConfigError, match=message), owned(folder, "run_dir"):
            pass
        (folder / ".writing-x").write_text("half")
        process.send_signal(signal.SIGKILL)
    assert (folder / ".lock").exists()
    with owned(folder, "run_dir"):
        assert (folder / ".lock").read_text() == f"{os.getpid()}\n"
    assert not folder.exists() or list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["file", "file/run", "circle"])
def test_what_is_no_folder_has_no_owner(name: str, tmp_path: Path) -> None:
    """A file, what would lie in one, and a link to itself: a sentence, and nothing has changed."""
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    message = r"^run_dir='.*' is no folder, and none can be made there\.$"
    with pytest.raises(ConfigError, match=message), owned(tmp_path / name, "run_dir"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"file", "circle"}


def test_an_empty_folder_goes_and_others_stay(tmp_path: Path) -> None:
    """Whatever was made for nothing."""
    with pytest.raises(ZeroDivisionError), owned(tmp_path / "a" / "b", "output"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with owned(tmp_path / "a" / "b", "output"):
        write_text(tmp_path / "a" / "b" / "x", "kept")
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["x"]


def try_to_train(run: Path, seed: int, results: Any) -> None:
    """Trains in a process of its own, and says how that ended."""
    try:
        train(small_config(seed=seed, total_samples=32 * 12), run, quiet=True)
        results.put(("done", seed))
    except ConfigError as error:
        results.put((str(error), seed))


def test_two_runs_that_begin_at_once_in_one_folder(tmp_path: Path) -> None:
    """One trains, undisturbed; the other is refused, before or after that one is done."""
    results = processes.Queue()
    both = [processes.Process(target=try_to_train, args=(tmp_path / "run", seed, results)) for seed in (0, 1)]
    for process in both:
        process.start()
    found = sorted((results.get(timeout=120) for _ in both), key=lambda result: result[0] != "done")
    for process in both:
        process.join()
    assert found[0][0] == "done"
    assert "is being written by another process" in found[1][0] or "already holds a run" in found[1][0]
    assert read_metrics(tmp_path / "run")["update"] == list(range(13))
    train(small_config(seed=found[0][1], total_samples=32 * 12), tmp_path / "whole", quiet=True)
    assert read_metrics(tmp_path / "run")["reward"][1:] == read_metrics(tmp_path / "whole")["reward"][1:]


def test_a_warm_start_in_the_folder_that_one_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`rlfl sft --output .`: the folder has no name of its own, and what lies there stays."""
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("mine")
    config = SFTConfig("rlfl/Copy-v0", examples=8, epochs=1, layers=1, width=16, heads=2, eval_prompts=8, device="cpu")
    warm_start(config, ".", quiet=True)
    names = {path.name for path in Path().iterdir()}
    assert {"notes.txt", "config.json", "model.safetensors", "seen_keys.npy"} <= names
    assert not {".lock"} & names
    assert not list(Path().glob(".writing-*"))


def pretrain(folder: Path, corpus: Path, results: Any) -> None:
    """Pretrains on an empty cache in a process of its own."""
    os.environ["RLFL_CACHE"] = str(folder)
    env_kwargs = {"corpus": str(corpus), "min_characters": 10, "vocabulary_size": 300, "max_completion_tokens": 6}
    config = PretrainConfig(
        "rlfl/Sentiment-v0", env_kwargs, tokens=2000, layers=1, width=32, heads=2, context=16, threads=1, device="cpu"
    )
    made = pretrain_model(config, quiet=True)
    results.put((str(made), (made / "model.safetensors").stat().st_ino))


def test_two_that_pretrain_at_once_make_one_model(tmp_path: Path) -> None:
    """The second waits for the first, and takes what that has made."""
    pytest.importorskip("nltk", reason="rlfl/Sentiment-v0 needs nltk")
    corpus = tmp_path / "texts.txt"
    corpus.write_text("\n".join(f"the cast of number {i} is great and the plot is bad" for i in range(50)))
    results = processes.Queue()
    both = [processes.Process(target=pretrain, args=(tmp_path / "cache", corpus, results)) for _ in range(2)]
    for process in both:
        process.start()
    found = [results.get(timeout=120) for _ in both]
    for process in both:
        process.join()
        assert process.exitcode == 0
    assert found[0] == found[1]
    assert not list((tmp_path / "cache").rglob(".writing-*"))


def test_a_folder_that_appears_meanwhile_is_filled(tmp_path: Path) -> None:
    """Two that write one cache entry at once: the second puts its files where the first has put its own."""
    with write_folder(tmp_path / "entry") as temporary:
        write_text(temporary / "x", "second")
        (tmp_path / "entry").mkdir()
        (tmp_path / "entry" / "x").write_text("first")
    assert (tmp_path / "entry" / "x").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["entry"]
