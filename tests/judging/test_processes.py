"""Workers may be started from anywhere, and end with whoever started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rlfl_envs import ConfigError
from rlfl_envs.judging import Pool
from tests.judging.test_pool import assert_gone, requests

pytest.importorskip("pebble", reason="needs the extra ludax, ludii or programs")

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PATHS = os.pathsep.join([str(HERE), str(ROOT), str(ROOT / "agents")])

SCRIPT = """
import multiprocessing, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
from rlfl_envs.judging import Pool, Request
pool = Pool("hostile", workers=2, timeout=60)
pool.evaluate([Request("sleep 0.3"), Request("sleep 0.31")])
print(*(worker.pid for worker in multiprocessing.active_children()), flush=True)
"""


def run(*command: str, text: str = "") -> subprocess.Popen[str]:
    """Starts Python so that it finds the backend."""
    process = subprocess.Popen(
        [sys.executable, *command],
        env=os.environ | {"PYTHONPATH": PATHS},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None
    process.stdin.write(text)
    process.stdin.close()
    return process


def printed(process: subprocess.Popen[str]) -> set[int]:
    """The process numbers on its next line."""
    assert process.stdout is not None
    return {int(number) for number in process.stdout.readline().split()}


@pytest.mark.parametrize("how", ["script", "command", "standard input"])
def test_an_unguarded_main_module(how: str, tmp_path: Path) -> None:
    """Workers do not import it; and the interpreter's end is theirs."""
    file = tmp_path / "script.py"
    file.write_text(SCRIPT)
    command = {"script": [str(file)], "command": ["-c", SCRIPT], "standard input": ["-"]}[how]
    with run(*command, text=SCRIPT if how == "standard input" else "") as process:
        workers = printed(process)
        assert process.wait(20) == 0
    assert len(workers) == 2
    assert_gone(workers)


@pytest.mark.parametrize("way", ["Ctrl-C", "SIGTERM", "SIGKILL"])
def test_a_process_that_is_ended_leaves_no_worker(way: str) -> None:
    """Also where a worker is busy."""
    with run("-c", SCRIPT + 'pool.evaluate([Request("loop"), Request("sleep 99")])') as process:
        workers = printed(process)
        time.sleep(0.5)
        if way == "Ctrl-C":
            os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group
        else:
            os.kill(process.pid, getattr(signal, way))
        assert process.wait(20) != 0
    assert len(workers) == 2
    assert_gone(workers)


def test_a_daemonic_process() -> None:
    """Such as AsyncVectorEnv's and SubprocVecEnv's: it has a pool like any other, and takes it along when it ends."""
    code = """
import multiprocessing
def main():
    exec(SCRIPT)
if __name__ == "__main__":
    process = multiprocessing.get_context("fork").Process(target=main, daemon=True)
    process.start()
    process.join()
"""
    with run("-W", "ignore", "-c", f"SCRIPT = {SCRIPT!r}{code}") as process:
        workers = printed(process)
        assert process.wait(20) == 0
    assert len(workers) == 2
    assert_gone(workers)


def test_a_process_that_keeps_its_pool_to_the_end_ends() -> None:
    """One that multiprocessing started, as a sweep's runs are, ends its workers and does not wait for them."""
    code = """
import multiprocessing
def main():
    exec(SCRIPT, globals())
if __name__ == "__main__":
    process = multiprocessing.get_context("fork").Process(target=main)
    process.start()
    process.join()
"""
    with run("-W", "ignore", "-c", f"SCRIPT = {SCRIPT!r}{code}") as process:
        workers = printed(process)
        assert process.wait(20) == 0
    assert len(workers) == 2
    assert_gone(workers)


def test_ray() -> None:
    """The same on a local Ray: order, timeouts, crashes and errors of ours."""
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": str(HERE)}}
    )
    try:
        pool = Pool("hostile", workers=2, timeout=20.0, pool="ray")
        found = pool.evaluate(requests("a", "sleep 60", "exit", "error", "b", "no"))
        assert [j.status for j in found] == ["playable", "timeout", "crash", "crash", "playable", "no_parse"]
        with pytest.raises(ConfigError):
            pool.evaluate(requests("ours"))
    finally:
        ray.shutdown()


def test_ray_on_two_nodes() -> None:
    """A cluster of two nodes with a core each, to which the pool connects by itself, judges on both at once."""
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    node = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=node)
    try:
        cluster.add_node(**node)
        ray.init(cluster.address, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": PATHS}})
        pool = Pool("hostile", workers=2, timeout=60.0, pool="ray")
        found = pool.evaluate(requests(*(f"sleep 1.{i}" for i in range(6))))
        assert [judgement.status for judgement in found] == ["playable"] * 6
        assert len({judgement.parts["parent"] for judgement in found}) == 2  # each node starts workers of its own
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_pools_that_start_workers_at_once_keep_the_main_module() -> None:
    """Starting a worker hides the main module for a moment; it is there again afterwards."""
    main = sys.modules["__main__"]

    def use(number: int) -> None:
        with Pool("hostile", workers=2, max_tasks=1) as pool:
            pool.evaluate(requests(*(f"fine {number} {i}" for i in range(6))))

    threads = [threading.Thread(target=use, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        assert sys.modules["__main__"] is main
    finally:
        sys.modules["__main__"] = main


def test_a_fork_that_drops_its_copy_leaves_the_workers_alone() -> None:
    """The parent's workers go on."""
    code = """
import os
if not os.fork():
    del pool
    os._exit(0)
os.wait()
print(int(pool.evaluate([Request("fine")])[0].parts["process"]), flush=True)
"""
    with run("-W", "ignore", "-c", SCRIPT + code) as process:
        workers, again = printed(process), printed(process)
        assert process.wait(20) == 0
    assert again < workers
