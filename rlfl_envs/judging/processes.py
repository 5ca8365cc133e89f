"""Workers on this machine: processes that may be started from anywhere, on Pebble's pool."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import sys
import threading
import types
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, Future, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.util import Finalize
from typing import Any, Literal

from rlfl_envs.errors import MissingDependencyError, RLFLError
from rlfl_envs.judging.judge import Judgement, Request
from rlfl_envs.judging.worker import begin, judge_all

__all__ = ["Processes"]

# Exit codes of workers that somebody else killed; Pebble's end with the number of a signal that they could handle.
_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM, signal.SIGTERM) if sys.platform != "win32" else ()


class Processes:
    """Workers that judge for one pool, until they are ended; whoever drops this object ends them, too."""

    def __init__(
        self, name: str, settings: Mapping[str, int | float | str], *, workers: int, memory_mb: int, max_tasks: int
    ) -> None:
        """Starts them with the first requests.

        Args:
            name: The judge.
            settings: Those of the first request, for the judge's start.
            workers: How many processes, 1 or more.
            memory_mb: What each may allocate, MiB.
            max_tasks: After how many tasks a worker is replaced.

        Raises:
            MissingDependencyError: Pebble is not installed.
        """
        try:
            from pebble import ProcessPool
        except ImportError as error:
            raise MissingDependencyError("workers need the package Pebble: pip install pebble") from error
        self._name, self._count = name, workers
        self._owner = os.getpid()  # a fork has a copy of the workers that does not work
        context = _Context()
        self._pool: Any = ProcessPool(
            max_workers=workers,
            max_tasks=max_tasks,
            initializer=begin,
            initargs=(name, settings, memory_mb, self._owner),
            context=context,
        )
        self.end = weakref.finalize(self, _stop, self._pool, context, self._owner)
        # A process that multiprocessing started leaves without weakref's finalizers, and would wait for its workers.
        Finalize(self, self.end, exitpriority=0)

    @property
    def is_active(self) -> bool:
        """Whether they can judge: not in a fork, nor once they were ended, or one died while it had nothing to do."""
        return bool(self._owner == os.getpid() and self.end.alive and self._pool.active)

    def judge(self, requests: Sequence[Request], *, timeout: float, batch: int) -> dict[Request, Judgement | RLFLError]:
        """Judges requests, up to `batch` of them at a time in one worker.

        `timeout` holds for each request, from when a worker begins with it. A batch that takes as long, or that kills
        its worker, is taken apart, so that only the request that did it pays. A worker that was killed from outside
        (the machine may have run out of memory) is no request's fault: its request is judged once more.

        Returns:
            What came of each; those are missing that no worker came to before all had died, or were ended.
        """
        size = max(1, min(batch, math.ceil(len(requests) / self._count)))
        batches = [requests[i : i + size] for i in range(0, len(requests), size)]
        found: dict[Request, Judgement | RLFLError] = {}
        for is_last in (False, True):
            again: list[Sequence[Request]] = []
            for judged, outcome in zip(batches, self._run(batches, timeout), strict=True):
                if isinstance(outcome, list):
                    found.update(zip(judged, outcome, strict=True))
                elif outcome == "unjudged":
                    pass
                elif len(judged) > 1 or (outcome == "killed" and not is_last):
                    again += [[request] for request in judged]
                else:
                    found[judged[0]] = Judgement("timeout" if outcome == "timeout" else "crash")
            batches = again
        return found

    def _run(self, batches: Sequence[Sequence[Request]], timeout: float) -> list[_Outcome]:
        """What came of each batch."""
        futures: list[Future[list[Judgement | RLFLError]]] = []
        with contextlib.suppress(RuntimeError):  # all workers have died, or another thread has ended them
            futures.extend(
                self._pool.schedule(judge_all, args=(self._name, batch), timeout=timeout) for batch in batches
            )
        # A Ctrl-C that comes just before a wait without an end does not wake it.
        while wait(futures, timeout=1.0).not_done and self.is_active:
            pass
        outcomes = [_outcome(future) for future in futures]
        return outcomes + ["unjudged"] * (len(batches) - len(futures))


_Outcome = list[Judgement | RLFLError] | Literal["timeout", "crash", "killed", "unjudged"]


def _outcome(future: Future[list[Judgement | RLFLError]]) -> _Outcome:
    from pebble import ProcessExpired

    try:
        return future.result(timeout=0) if future.done() else "unjudged"
    except TimeoutError:
        return "timeout"
    except ProcessExpired as error:
        return "killed" if error.exitcode in _FROM_OUTSIDE else "crash"
    except (BrokenProcessPool, CancelledError):
        return "unjudged"
    except Exception:  # noqa: BLE001 (an error that the worker could not turn into a judgement, such as of memory)
        return "crash"


def _stop(workers: Any, context: _Context, owner: int) -> None:
    """Ends the workers at once, however they and the pool's threads are: a Ctrl-C may have left these with locks."""
    if owner != os.getpid():  # a fork that drops its copy must not end the workers of its parent
        return
    workers.stop()
    context.kill()
    with contextlib.suppress(RuntimeError):  # no thread can be started at Python's end, nor need it be
        threading.Thread(target=_clear_up, args=(workers,), daemon=True).start()


def _clear_up(workers: Any) -> None:
    """Ends the pool's own threads; Pebble may find that the workers it would stop are gone."""
    with contextlib.suppress(AttributeError, LookupError, OSError, RuntimeError):
        workers.join()


# --- starting workers from anywhere ----------------------------------------------------------------------------------


# Two pools that start workers at once would restore each other's main module. Reentrant, since a pool may be collected
# as garbage, and so be stopped, in the midst of another's start.
_starting = threading.RLock()


class _Process(SpawnProcess):
    """A spawned process that does not import the main module, and that a daemonic process may start.

    Workers need nothing of the main module; importing it would fail without `if __name__ == "__main__":`. Daemonic
    processes, such as those of AsyncVectorEnv, may have no children because these would outlive them; ours do not.
    """

    context: _Context

    def start(self) -> None:
        """Starts it."""
        with _starting:
            if self.context.is_closed:
                raise OSError("The pool has been closed.")
            configuration = multiprocessing.current_process()._config  # type: ignore[attr-defined]
            is_daemon, main = configuration.pop("daemon", None), sys.modules["__main__"]
            sys.modules["__main__"] = types.ModuleType("__main__")
            hashes = os.environ.get("PYTHONHASHSEED")
            os.environ["PYTHONHASHSEED"] = "0"  # so that sets have the same order in every worker of every run
            try:
                super().start()
            finally:
                sys.modules["__main__"] = main
                if hashes is None:
                    del os.environ["PYTHONHASHSEED"]
                else:
                    os.environ["PYTHONHASHSEED"] = hashes
                if is_daemon is not None:
                    configuration["daemon"] = is_daemon
            self.context.processes.add(self)

    def __getstate__(self) -> dict[str, Any]:
        """What the worker needs to know of itself."""
        return {name: value for name, value in self.__dict__.items() if name != "context"}


class _Context(SpawnContext):
    """Makes such processes, and knows those that there are."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: weakref.WeakSet[_Process] = weakref.WeakSet()
        self.is_closed = False

    def Process(self, *arguments: Any, **named: Any) -> _Process:  # type: ignore[override]  # noqa: N802
        """What Pebble starts its workers with."""
        process = _Process(*arguments, **named)
        process.context = self
        return process

    def kill(self) -> None:
        """Ends all, and lets no other start."""
        with _starting:
            self.is_closed = True
            for process in self.processes:
                process.kill()
