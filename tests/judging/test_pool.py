"""The worker pool: what goes wrong costs one result, and no process is left behind."""

from __future__ import annotations

import copy
import gc
import json
import multiprocessing
import os
import pickle
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import pytest

from rlfl_envs import ConfigError, RLFLError
from rlfl_envs.cache import write
from rlfl_envs.judging import Judgement, Pool, Request, kept, shared_pool

pytest.importorskip("pebble", reason="needs the extra ludax or ludii")


@pytest.fixture
def pool() -> Iterator[Pool]:
    """Two workers, two seconds."""
    with Pool("hostile", workers=2, timeout=2.0, memory_mb=1024) as pool:
        yield pool


def requests(*texts: str) -> list[Request]:
    """A request for each text."""
    return [Request(text) for text in texts]


def is_alive(process: int) -> bool:
    """Whether there is such a process, zombies aside."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # the second while it is read
        return False
    return state != "Z"


def assert_gone(processes: set[int], seconds: float = 10.0) -> None:
    """Waits until none of them is alive."""
    until = time.monotonic() + seconds
    while any(map(is_alive, processes)):
        assert time.monotonic() < until, f"left behind: {[p for p in processes if is_alive(p)]}"
        time.sleep(0.1)


def test_what_goes_wrong_costs_one_result(pool: Pool) -> None:
    """Each hostile request has its status, those around it theirs, in order, and both workers are there afterwards."""
    hostile = {
        "loop": "timeout",
        "sleep 60": "timeout",
        "memory": "crash",
        "exit": "crash",
        "crash": "crash",
        "error": "crash",
        "recursion": "crash",
        "quit": "crash",
        "garbage": "crash",
        "unpicklable": "crash",
        "kill": "crash",
        "set": "crash",
        "no": "no_parse",
    }
    texts = [text for i, name in enumerate(hostile) for text in (name, f"fine {i}")]
    found = pool.evaluate(requests(*texts))
    statuses = {text: judgement.status for text, judgement in zip(texts[::2], found[::2], strict=True)}
    if statuses["memory"] == "timeout":  # on a busy machine the clock may be first
        hostile["memory"] = "timeout"
    assert statuses == hostile
    assert all(judgement.status == "playable" for judgement in found[1::2])
    after = pool.evaluate(requests("sleep 1", "sleep 1.01"))
    assert len({judgement.parts["process"] for judgement in after}) == 2


def test_equal_requests_are_judged_once(pool: Pool) -> None:
    """In a batch, in a later one, and where only the writing differs; another seed is another request."""
    first = pool.evaluate([Request("a b"), Request("a  b"), Request("a b", seed=1)])
    assert first[0] is first[1]
    assert (first[0].parts["seed"], first[2].parts["seed"]) == (0, 1)
    (again,) = pool.evaluate([Request("a  b")])
    assert again is first[0]


def test_judgements_are_kept_on_disk(tmp_path: Path) -> None:
    """Another pool finds them; timeouts and crashes are tried again, and a broken file is as good as none."""
    with Pool("hostile", timeout=1.0, cache=tmp_path) as pool:
        fine, late = pool.evaluate(requests("fine", "sleep 9"))
    (file,) = tmp_path.iterdir()
    assert late.status == "timeout"
    assert kept(tmp_path) == [(request, fine) for request in requests("fine")]
    other = Pool("hostile", cache=tmp_path)
    assert other.evaluate(requests(" fine "))[0] == fine
    assert other._workers is None
    file.write_text('{"status": "play')
    with Pool("hostile", cache=tmp_path) as pool:
        assert pool.evaluate(requests("fine"))[0].status == "playable"
    assert json.loads(file.read_text())["judgement"]["status"] == "playable"


@pytest.mark.parametrize(
    "damage",
    ["", "[]", "{}", "7", '{"request": 3}', "[" * 100_000, "\xff", "half", "other"],
    ids=lambda damage: damage[:9],
)
def test_a_damaged_file_is_made_anew(damage: str, tmp_path: Path) -> None:
    """Whatever is in it, be it the whole entry of another request."""
    with Pool("hostile", cache=tmp_path) as pool:
        (right,) = pool.evaluate([Request("data", context="a case")])
    (file,) = tmp_path.iterdir()
    whole = file.read_text()
    damages = {"half": whole[: len(whole) // 2], "other": whole.replace('"data"', '"fine"')}
    file.write_text(damages.get(damage, damage), encoding="latin-1")
    if damage != "other":
        assert kept(tmp_path) == []
    with Pool("hostile", cache=tmp_path) as pool:
        assert pool.evaluate([Request("data", context="a case")]) == [right]
    assert file.read_text() == whole


def test_judgements_may_hold_data(pool: Pool, tmp_path: Path) -> None:
    """Data for which numbers do not do cross over as they are, types included, and so do they from the disk."""
    request = Request("data", context="a case")
    (found,) = pool.evaluate([request])
    assert found == Judgement("told", {}, {"results": [1, 1.0, None, "é"], "context": "a case"})
    assert [type(value) for value in found.data["results"]] == [int, float, type(None), str]
    with Pool("hostile", cache=tmp_path) as keeping:
        keeping.evaluate([request])
    assert kept(tmp_path) == [(request, found)]


def test_a_full_disk_costs_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A judgement that cannot be kept is still given."""

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    pool = Pool("hostile", workers=0, cache=tmp_path / "new")
    monkeypatch.setattr(Path, "write_bytes", full)
    assert pool.evaluate(requests("fine"))[0].status == "playable"


def test_another_version_judges_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What another engine said is not kept for this one."""
    pool = Pool("hostile", workers=0, cache=tmp_path)
    pool.evaluate(requests("fine"))
    monkeypatch.setattr(sys.modules["hostile"], "version", lambda _: "2")
    Pool("hostile", workers=0, cache=tmp_path).evaluate(requests("fine"))
    assert len(list(tmp_path.glob("*.json"))) == 2


def test_two_that_write_at_once_leave_a_whole_file(tmp_path: Path) -> None:
    """Threads have one process number, as containers may have; a reader sees the one or the other."""
    contents = [bytes([i]) * 2**20 for i in range(4)]
    path = tmp_path / "file"
    with ThreadPoolExecutor(4) as threads:
        writing = [threads.submit(write, path, content) for content in contents * 10]
        while any(not each.done() for each in writing):
            if path.exists():
                assert path.read_bytes() in contents
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_pool_may_be_garbage_while_another_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A garbage collection in the midst of a start stops the pools that it finds, and is not stuck."""
    start = SpawnProcess.start

    def collect_and_start(process: SpawnProcess) -> None:
        gc.collect()
        start(process)

    def use_two_pools() -> None:
        old: Any = Pool("hostile")
        old.evaluate(requests("fine"))
        old.itself = old  # a cycle, which only the garbage collector finds
        del old
        with Pool("hostile") as pool:
            found.extend(pool.evaluate(requests("fine")))

    found: list[Judgement] = []
    monkeypatch.setattr(SpawnProcess, "start", collect_and_start)
    thread = threading.Thread(target=use_two_pools, daemon=True)
    thread.start()
    thread.join(timeout=60)
    assert [judgement.status for judgement in found] == ["playable"]


def test_inline() -> None:
    """Without workers it happens here, and errors are seen."""
    pool = Pool("hostile", workers=0)
    assert pool.evaluate(requests("fine"))[0].parts["process"] == os.getpid()
    with pytest.raises(ValueError, match="of the game"):
        pool.evaluate(requests("error"))


def test_a_module_with_a_judge_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All other functions have defaults: nothing is refused, prepared or normalised. Without a judge it is refused."""
    (tmp_path / "shortest.py").write_text(
        "from rlfl_envs.judging import Judgement\ndef judge(request):\n    return Judgement(request.text)\n"
    )
    (tmp_path / "empty.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    with Pool("shortest") as pool:
        assert [judgement.status for judgement in pool.evaluate(requests("a", " a", "a"))] == ["a", " a", "a"]
    with pytest.raises(ConfigError) as error:
        Pool("empty")
    assert str(error.value) == "judge='empty' is not allowed; allowed: a module with a function `judge`."
    for name in ("nowhere.judge", "", "..shortest"):
        with pytest.raises(ConfigError, match=r"^judge='.*' cannot be loaded \(.*\); allowed: 'package\.module'\.$"):
            Pool(name)


# --- no request pays for what is not its fault -----------------------------------------------------------------------


@pytest.mark.timing
def test_the_start_takes_no_time_of_the_first_request() -> None:
    """A judge that needs two seconds to start judges within one."""
    with Pool("hostile", timeout=1.0) as pool:
        (found,) = pool.evaluate([Request("fine", settings=(("start", "slow"),))])
    assert found.status == "playable"


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("fail", "the judge hostile cannot be started: ImportError: no such library"),
        ("exit", "judge='hostile': its workers died 3 times before they judged anything"),
    ],
)
def test_a_judge_that_cannot_start_says_so(start: str, message: str) -> None:
    """It would be the result of every request; so it is the user's to mend, and nobody waits for ever."""
    with Pool("hostile") as pool, pytest.raises(RLFLError, match=re.escape(message)):
        pool.evaluate([Request("fine", settings=(("start", start),))])


def test_a_worker_killed_from_outside_costs_nothing(tmp_path: Path) -> None:
    """Neither the request that it was at, nor the next where it had nothing to do."""
    told = tmp_path / "process"

    def kill() -> None:
        while not (told.exists() and told.read_text()):
            time.sleep(0.01)
        os.kill(int(told.read_text()), signal.SIGKILL)

    with Pool("hostile") as pool:
        killing = threading.Thread(target=kill)
        killing.start()
        (found,) = pool.evaluate(requests(f"tell {told}"))
        killing.join()
        assert found.status == "playable"
        assert int(told.read_text()) == found.parts["process"]
        os.kill(int(found.parts["process"]), signal.SIGKILL)
        assert_gone({int(found.parts["process"])})
        assert pool.evaluate(requests("fine"))[0].status == "playable"


@pytest.mark.timing
def test_a_failure_is_not_believed_for_ever(tmp_path: Path) -> None:
    """For ten times the timeout it is, so that trying again takes a tenth of the time at most; then it is tried."""
    request = Request(f"once {tmp_path / 'tried'}")
    with Pool("hostile", timeout=0.5) as pool:
        assert [pool.evaluate([request])[0].status for _ in range(3)] == ["crash"] * 3
        until = time.monotonic() + 5.0
        while pool.evaluate([request])[0].status == "crash":
            assert time.monotonic() < until + 5.0
            time.sleep(0.1)
        assert time.monotonic() > until - 1.0
        assert pool.evaluate([request])[0].status == "playable"


def test_a_batch_that_fails_is_taken_apart(pool: Pool) -> None:
    """Where requests travel together, one that hangs or kills its worker still costs its own result only."""
    pool.judge.batch = 8
    texts = ["fine 1", "exit", *(f"fine {i}" for i in range(2, 9)), "loop", *(f"fine {i}" for i in range(9, 16)), "no"]
    found = pool.evaluate(requests(*texts))
    wrong = {"exit": "crash", "loop": "timeout", "no": "no_parse"}
    assert [judgement.status for judgement in found] == [wrong.get(text, "playable") for text in texts]


def pids() -> set[float]:
    """This process's children, those that other tests' pools have left to the garbage among them."""
    return {float(child.pid or 0) for child in multiprocessing.active_children()}


def test_threads_share_the_workers_of_a_pool() -> None:
    """Four threads at its first use start one worker, and none is left behind; an error of ours is its thread's own."""
    barrier, others = threading.Barrier(4), pids()

    def use(number: int) -> list[Judgement]:
        barrier.wait()
        return pool.evaluate(requests(*(f"fine {number} {i}" for i in range(20)), *(["ours"] if number == 3 else [])))

    with Pool("hostile", workers=1) as pool, ThreadPoolExecutor(4) as threads:
        *using, wrong = [threads.submit(use, number) for number in range(4)]
        processes = {judgement.parts["process"] for future in using for judgement in future.result(timeout=60)}
        with pytest.raises(ConfigError, match="jar='x' is no file"):
            wrong.result(timeout=60)
        assert processes == pids() - others
        assert len(processes) == 1
    assert_gone({int(process) for process in processes})


def test_closing_while_another_thread_waits() -> None:
    """What that thread waits for is judged by the next workers; it does not wait for ever."""
    with Pool("hostile") as pool, ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(pool.evaluate, requests("sleep 2"))
        while not multiprocessing.active_children():
            time.sleep(0.01)
        pool.close()
        assert waiting.result(timeout=60)[0].status == "playable"


def test_tasks_share_a_pool() -> None:
    """Of the same settings there is one pool in a process."""
    assert shared_pool("hostile", workers=2) is shared_pool("hostile", workers=2)
    assert shared_pool("hostile", workers=2) is not shared_pool("hostile", workers=1)


@pytest.mark.parametrize(
    ("argument", "allowed"),
    [
        ({"workers": -1}, "an integer, 0..256"),
        ({"workers": 10**9}, "an integer, 0..256"),
        ({"workers": 1.5}, "an integer, 0..256"),
        ({"workers": "2"}, "an integer, 0..256"),
        ({"timeout": 0.0}, "a number above 0"),
        ({"timeout": float("nan")}, "a number above 0"),
        ({"timeout": "1"}, "a number above 0"),
        ({"memory_mb": 1}, "an integer, 64 or more"),
        ({"max_tasks": 0}, "an integer, 1 or more"),
        ({"pool": "threads"}, "'processes' or 'ray'"),
    ],
    ids=str,
)
def test_wrong_arguments(argument: dict[str, Any], allowed: str) -> None:
    """The message names the argument, its value and what is allowed."""
    ((name, value),) = argument.items()
    with pytest.raises(ConfigError) as error:
        Pool("hostile", **argument)
    assert str(error.value) == f"{name}={value!r} is not allowed; allowed: {allowed}."


def test_our_errors_are_raised(pool: Pool) -> None:
    """What the user can mend is no game's fault, and the pool goes on afterwards."""
    with pytest.raises(ConfigError, match="jar='x' is no file"):
        pool.evaluate(requests("fine", "ours"))
    assert pool.evaluate(requests("fine"))[0].status == "playable"


def test_copies_have_workers_of_their_own(pool: Pool) -> None:
    """Pickled or copied, with the same settings."""
    (found,) = pool.evaluate(requests("a"))
    for twin in (copy.deepcopy(pool), pickle.loads(pickle.dumps(pool))):
        with twin:
            assert twin.evaluate(requests("sleep 9"))[0] == Judgement("timeout")
            (other,) = twin.evaluate(requests("a"))
            assert other.parts["process"] != found.parts["process"]


def test_workers_are_replaced() -> None:
    """After so many requests each."""
    with Pool("hostile", workers=1, max_tasks=2) as pool:
        processes = {pool.evaluate(requests(f"fine {i}"))[0].parts["process"] for i in range(6)}
    assert len(processes) == 3


def test_closing_and_forgetting_end_the_workers() -> None:
    """`close`, and the end of the last reference; after `close` the pool may be used again."""
    pool = Pool("hostile")
    processes = {int(pool.evaluate(requests("a"))[0].parts["process"])}
    pool.close()
    assert_gone(processes)
    processes = {int(pool.evaluate(requests("b"))[0].parts["process"])}
    del pool
    assert_gone(processes)


@pytest.mark.timing
def test_two_workers_use_two_cores() -> None:
    """Eight pieces of work of a quarter second each take less than their sum."""
    with Pool("hostile", workers=2) as pool:
        pool.evaluate(requests("sleep 1", "sleep 1.01"))  # both have started
        began = time.monotonic()
        found = pool.evaluate(requests(*(f"sleep 0.25 {i}" for i in range(8))))
        assert time.monotonic() - began < 1.8
    assert len({judgement.parts["process"] for judgement in found}) == 2
