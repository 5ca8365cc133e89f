"""What a model wrote is text on the terminal, in any encoding; a full disk names the file and what is safe."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.record_writer import RecordWriter

from rlfl_agents import ppo
from rlfl_agents.cli import main
from rlfl_agents.ppo import train
from rlfl_agents.run.log import RunLog
from rlfl_agents.run.metrics import Sample, columns, read_metrics
from rlfl_agents.run.report import before_and_after
from rlfl_agents.terminal import say
from rlfl_envs import printable

from .conftest import small_config

CLIPBOARD = "\x1b]52;c;aGVsbG8=\x07"
HOSTILE = f"{CLIPBOARD}\x1b[2J\r\x08\x9b31m\u202e\u2028\ud800 end"


@given(st.text())
def test_what_is_printable(text: str) -> None:
    """Nothing but newlines is obeyed or hidden; what was printable stays as it is."""
    shown = printable(text)
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert printable(shown) == shown
    if text.isprintable():
        assert shown == text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_any_encoding_will_do(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it lacks is written as an escape."""
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    say(f"p̄ 漢 {HOSTILE}")
    content = out.buffer.getvalue()
    assert b"\x1b" not in content
    assert "\\x1b]52;c;aGVsbG8=\\x07" in content.decode(encoding)
    assert ("漢" in content.decode(encoding)) == (encoding == "utf-8")


def test_a_run_ends_well_in_latin_1(tmp_path: Path) -> None:
    """In a process of its own, on an alphabet that latin-1 lacks."""
    flags = ["--total-samples=8", "--prompts=4", "--group-size=2", "--layers=1", "--width=16", "--heads=2"]
    words = ["train", "rlfl/Copy-v0", "--env-kwargs", "alphabet=漢字ab", "length=2", "split=all", *flags]
    small = ["--eval-prompts", "8", "--device", "cpu", "--run-dir", str(tmp_path / "run")]
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, "-m", "rlfl_agents", *words, *small]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"\\u" in done.stdout


def test_samples_are_shown_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the live picture, in notes, and in what is said at the end; samples.jsonl has them as they are."""
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdout", out)
    (tmp_path / "run").mkdir()
    log = RunLog(tmp_path / "run", columns(()), 1, -1)
    sample = Sample(CLIPBOARD, HOSTILE, 0.0, False)
    log.row({"update": 0, "samples": 0}, [sample])
    log.samples(0, "greedy", [sample])
    log.note(HOSTILE)
    log.close()
    shown = out.getvalue()
    assert CLIPBOARD not in shown
    assert "\x07" not in shown
    assert "\\x1b]52;c;" in shown
    say(before_and_after(tmp_path / "run"))
    assert CLIPBOARD not in out.getvalue()
    line, _ = (tmp_path / "run" / "samples.jsonl").read_text(encoding="utf-8").split("\n")
    entry = json.loads(line)
    assert entry["prompt"] == CLIPBOARD


def test_a_person_who_plays_sees_text(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt of control characters, in `rlfl play` and in an environment that prints."""
    arguments = {"alphabet": "\x1b\x07", "length": 2, "split": "all"}
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    words = [f"{name}={json.dumps(value)}" for name, value in arguments.items()]
    assert main(["play", "rlfl/Copy-v0", "--seed", "0", "--env-kwargs", *words]) == 0
    env = gymnasium.make("rlfl/Copy-v0", render_mode="human", **arguments)
    env.reset(seed=0)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "\\x1b" in shown


class Full:
    """An open file, or TensorBoard's writer, on a disk that is full."""

    def __getattr__(self, name: str) -> Any:
        """Fails, whatever is asked of it."""

        def fail(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        return fail


@pytest.mark.parametrize(
    ("file", "method", "attribute"),
    [
        ("metrics.csv", "row", "_writer"),
        ("tensorboard", "row", "_board"),
        ("samples.jsonl", "samples", "_samples"),
        ("seen_keys.npy", None, None),
    ],
)
def test_a_full_disk_names_the_file_and_what_is_safe(
    file: str, method: str | None, attribute: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever file it is that is written when the disk fills, in the third update; the run then goes on."""
    run = tmp_path / "run"
    config = small_config(save_every=1, eval_every=1)
    improve, real = ppo.improve, getattr(RunLog, method) if method else None
    begun: list[int] = []

    def count(*arguments: Any) -> Any:
        begun.append(1)
        if len(begun) == 3 and method is None:
            monkeypatch.setattr("numpy.save", Full().save)
        return improve(*arguments)

    def fail_at_the_third(log: RunLog, *arguments: Any) -> None:
        with monkeypatch.context() as patch:
            if len(begun) == 3 and attribute is not None:
                patch.setattr(log, attribute, Full())
            assert real is not None
            real(log, *arguments)

    monkeypatch.setattr(ppo, "improve", count)
    if method is not None:
        monkeypatch.setattr(RunLog, method, fail_at_the_third)
    message = rf"{file} could not be written; is the disk full\?.*The last good checkpoint is kept: .*update-000002\.$"
    with pytest.raises(OSError, match=message):
        train(config, run, quiet=True)
    monkeypatch.undo()
    train(config, run, resume=True, quiet=True)
    assert [int(update) for update in read_metrics(run)["update"]] == list(range(7))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk here that is always full")
def test_a_full_disk_prints_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """TensorBoard's file is written by the training itself: its error is the training's, and no thread tells it too."""
    run = tmp_path / "run"
    run.mkdir()
    threads = threading.active_count()
    log = RunLog(run, columns(()), 1, -1, quiet=True)
    with Path("/dev/full").open("wb", buffering=0) as full, monkeypatch.context() as patch:
        patch.setattr(log._board, "_records", RecordWriter(full))
        with pytest.raises(OSError, match=r"tensorboard could not be written; is the disk full\?"):
            log.row({"update": 0, "samples": 0})
    log.close()
    assert threading.active_count() == threads
    assert capfd.readouterr().err == ""


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    """By its own reader: a run that went on from update 1 counts from update 2 on anew."""
    for from_update, updates in ((-1, range(4)), (1, range(2, 6))):
        (tmp_path / "run").mkdir(exist_ok=True)
        log = RunLog(tmp_path / "run", columns(()), 6, from_update, quiet=True)
        for update in updates:
            log.row({"update": update, "samples": 8 * update, "reward": from_update + update / 4})
        log.close()
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert {event.step: event.value for event in events.Scalars("reward")} == {
        0: -1.0, 1: -0.75, 2: 1.5, 3: 1.75, 4: 2.0, 5: 2.25
    }  # fmt: skip
