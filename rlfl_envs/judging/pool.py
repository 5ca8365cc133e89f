"""Rewards that are slow, native or hostile: judged in processes of their own, several at a time, each only once.

A backend is a module with `screen(request)` (cheap checks, in the caller's process: a judgement, or None to go on),
`judge(request)` (in a worker), `start()` (once in each worker), `normalise(text)` and `version(request)` (of what
judges: another one makes those judgements obsolete that were kept). What goes wrong in a worker, an error, a crash or a
timeout, is the result of that one request.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import itertools
import json
import multiprocessing
import os
import sys
import threading
import time
import types
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures import wait
from dataclasses import asdict, dataclass, replace
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any, Literal

from rlfl_envs.arguments import check_value
from rlfl_envs.cache import write
from rlfl_envs.errors import MissingDependencyError, RLFLError, how_to_install

__all__ = ["Judgement", "Pool", "Request", "kept"]

Setting = tuple[str, int | float | str]
_MEMO_SIZE = 100_000


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be judged, with all that its judgement depends on.

    Attributes:
        text: The whole game.
        settings: Sorted (name, value) pairs, such as ("max_turns", 200) and ("num_playouts", 100).
        seed: Of the playouts, 0 or more.
    """

    text: str
    settings: tuple[Setting, ...] = ()
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Judgement:
    """What came of it.

    Attributes:
        status: "no_parse", "no_compile", "unplayable", "playable", "timeout" or "crash".
        parts: Measures of `playouts.measures`, where there are any.
    """

    status: str
    parts: Mapping[str, float]


class Pool:
    """Judges requests on workers that are started when they are first needed.

    A worker that takes too long or too much memory is killed and replaced. The pool may be pickled and copied: a copy
    has the same settings, and workers of its own. A process that ends, however it ends, leaves no worker behind.

    Attributes:
        backend: The backend's module.
    """

    def __init__(
        self,
        backend: str,
        *,
        workers: int = 1,
        timeout: float = 60.0,
        memory_mb: int = 4096,
        max_tasks: int = 300,
        pool: Literal["processes", "ray"] = "processes",
        cache: str | Path | None = None,
    ) -> None:
        """Takes the settings; starts nothing.

        Args:
            backend: A module's path, such as "rlfl_envs.tasks.games.ludax.judge".
            workers: How many processes judge; 0 judges in this one, for debugging: without limits, and errors are
                raised.
            timeout: Seconds that a request may take, more than 0.
            memory_mb: What a worker may allocate, MiB (on Linux; not on Ray).
            max_tasks: After how many requests a worker is replaced by a fresh one.
            pool: "processes" of this machine, or "ray": one task a request, on the cluster that `ray.init` finds.
            cache: A folder in which judgements are kept from one run to the next (`kept` reads it); timeouts and
                crashes are not.

        Raises:
            ConfigError: An argument is not allowed.
        """
        check_value("workers", workers, workers >= 0, "0 or more")
        check_value("timeout", timeout, timeout > 0, "more than 0")
        check_value("memory_mb", memory_mb, memory_mb >= 64, "64 or more")
        check_value("max_tasks", max_tasks, max_tasks >= 1, "1 or more")
        check_value("pool", pool, pool in ("processes", "ray"), "'processes' or 'ray'")
        self._settings: dict[str, Any] = {
            "workers": workers,
            "timeout": timeout,
            "memory_mb": memory_mb,
            "max_tasks": max_tasks,
            "pool": pool,
            "cache": cache,
        }
        self.backend = importlib.import_module(backend)
        self._memo: dict[Request, Judgement] = {}
        self._folder = None if cache is None else Path(cache)
        self._workers: Any = None
        self._context = _Context()
        self._end: Callable[[], Any] = _nothing
        self._owner = 0  # the process that started the workers: a fork has a copy of them that does not work

    def evaluate(self, requests: Sequence[Request]) -> list[Judgement]:
        """Judges a batch, in its order; equal requests once.

        Raises:
            RLFLError: The backend cannot work here, such as without Java.
            MissingDependencyError: Pebble, or Ray, is not installed.
        """
        missing: dict[Request, None] = {}
        for request in dict.fromkeys(requests):
            if request not in self._memo:
                judgement = self.backend.screen(request) or self._remembered(self._normalised(request))
                if judgement is None:
                    missing[self._normalised(request)] = None
                else:
                    self._memo[request] = judgement
        if missing:
            try:
                judgements = self._judge([*missing])
            except BaseException:  # Ctrl-C too: what is under way is given up
                self.close()
                raise
            for request, judgement in zip(missing, judgements, strict=True):
                self._remember(request, judgement)
        for request in requests:
            if request not in self._memo:
                self._memo[request] = self._memo[self._normalised(request)]
        found = [self._memo[request] for request in requests]
        for oldest in [*itertools.islice(self._memo, max(0, len(self._memo) - _MEMO_SIZE))]:
            del self._memo[oldest]
        return found

    def close(self) -> None:
        """Ends the workers; the next request starts others."""
        self._end()
        self._workers, self._end = None, _nothing

    def __enter__(self) -> Pool:
        """The pool itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes it."""
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """The settings."""
        return _pool, (self.backend.__name__, self._settings)

    # --- judging ---------------------------------------------------------------------------------------------------

    def _judge(self, requests: list[Request]) -> list[Judgement]:
        if not self._settings["workers"]:
            return [self.backend.judge(request) for request in requests]
        return (self._judge_on_ray if self._settings["pool"] == "ray" else self._judge_in_processes)(requests)

    def _judge_in_processes(self, requests: list[Request]) -> list[Judgement]:
        if self._workers is None or self._owner != os.getpid():
            self._start()
        from pebble import ProcessExpired

        timeout = self._settings["timeout"]
        futures = [
            self._workers.schedule(_judge, args=(self.backend.__name__, request), timeout=timeout)
            for request in requests
        ]
        # A Ctrl-C that comes just before a wait without an end does not wake it.
        while wait(futures, timeout=1.0).not_done:
            pass
        judgements = []
        for future in futures:
            try:
                judgements.append(_checked(future.result()))
            except FutureTimeoutError:
                judgements.append(Judgement("timeout", {}))
            except ProcessExpired:
                judgements.append(Judgement("crash", {}))
        return judgements

    def _start(self) -> None:
        try:
            from pebble import ProcessPool
        except ImportError as error:
            raise MissingDependencyError("workers need the package Pebble: pip install pebble") from error
        settings, self._context = self._settings, _Context()
        self._workers = ProcessPool(
            max_workers=settings["workers"],
            max_tasks=settings["max_tasks"],
            initializer=_begin,
            initargs=(settings["memory_mb"], os.getpid()),
            context=self._context,
        )
        self._owner = os.getpid()
        self._end = weakref.finalize(self, _stop, self._workers, self._context, self._owner)

    def _judge_on_ray(self, requests: list[Request]) -> list[Judgement]:
        """No more than `workers` at a time, so that no request's time runs while it waits."""
        try:
            import ray
        except ImportError as error:
            raise MissingDependencyError(f"pool='ray' needs Ray: {how_to_install('ray')}") from error
        settings = self._settings
        judge = ray.remote(max_calls=settings["max_tasks"], max_retries=0)(_judge)
        waiting = list(enumerate(requests))[::-1]
        running: dict[Any, tuple[int, float]] = {}  # which request, and when its time is over
        judgements: list[Judgement] = [Judgement("crash", {})] * len(requests)
        while waiting or running:
            while waiting and len(running) < settings["workers"]:
                number, request = waiting.pop()
                running[judge.remote(self.backend.__name__, request)] = number, time.monotonic() + settings["timeout"]
            soonest = min(deadline for _, deadline in running.values())
            done, _ = ray.wait([*running], timeout=max(0.0, soonest - time.monotonic()))
            for task in done:
                number, _ = running.pop(task)
                with contextlib.suppress(ray.exceptions.RayError):  # a crash
                    judgements[number] = _checked(ray.get(task))
            for task, (number, deadline) in [*running.items()]:
                if time.monotonic() >= deadline:
                    del running[task]
                    ray.cancel(task, force=True)
                    judgements[number] = Judgement("timeout", {})
        return judgements

    # --- what is known already -------------------------------------------------------------------------------------

    def _normalised(self, request: Request) -> Request:
        return replace(request, text=self.backend.normalise(request.text))

    def _remembered(self, request: Request) -> Judgement | None:
        if request in self._memo:
            return self._memo[request]
        if self._folder is None:
            return None
        try:
            return _read(self._file(request))[1]
        except (OSError, ValueError, TypeError, KeyError):  # not kept, or not whole
            return None

    def _remember(self, request: Request, judgement: Judgement) -> None:
        self._memo[request] = judgement
        if self._folder is not None and judgement.status not in ("timeout", "crash"):
            entry = json.dumps({"request": asdict(request), "judgement": asdict(judgement)})
            with contextlib.suppress(OSError):  # a full disk: it is judged again next time
                write(self._file(request), entry.encode())

    def _file(self, request: Request) -> Path:
        assert self._folder is not None
        what = repr((self.backend.__name__, self.backend.version(request), request)).encode(errors="replace")
        return self._folder / f"{hashlib.blake2b(what, digest_size=16).hexdigest()}.json"


def kept(cache: str | Path) -> list[tuple[Request, Judgement]]:
    """Reads a pool's folder: what was judged (texts as their backend normalises them), and what came of it."""
    return [_read(file) for file in Path(cache).glob("*.json")]


def _read(file: Path) -> tuple[Request, Judgement]:
    entry = json.loads(file.read_text(encoding="utf-8"))
    request = entry["request"]
    settings = tuple((name, value) for name, value in request["settings"])
    return Request(request["text"], settings, request["seed"]), Judgement(**entry["judgement"])


def _pool(backend: str, settings: dict[str, Any]) -> Pool:
    return Pool(backend, **settings)


def _checked(result: object) -> Judgement:
    """A worker's result; an error of ours is raised, for it is the user's to mend."""
    if isinstance(result, RLFLError):
        raise result
    return result if isinstance(result, Judgement) else Judgement("crash", {})


def _nothing() -> None:
    """Ends the workers of a pool that has none."""


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


# --- in a worker -----------------------------------------------------------------------------------------------------


def _begin(memory_mb: int, parent: int) -> None:
    """Prepares a worker."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if sys.platform == "linux":
        import resource

        # Of data alone: Java and JAX reserve far more addresses than they ever write to.
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        limit = memory_mb * 2**20 if most == resource.RLIM_INFINITY else min(memory_mb * 2**20, most)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _end_with(parent: int) -> None:
    """Ends this process once its parent is gone, which may have been killed and told nobody."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


_started: set[str] = set()


def _judge(backend: str, request: Request) -> object:
    """A judgement, or the error that stands in the way of all."""
    module = importlib.import_module(backend)
    try:
        if backend not in _started:
            module.start()
            _started.add(backend)
        judgement = module.judge(request)
        return Judgement(judgement.status, {name: float(value) for name, value in judgement.parts.items()})
    except RLFLError as error:
        return error
    except (Exception, SystemExit):  # noqa: BLE001 (whatever a game provokes in a library is that game's result)
        return None


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
            try:
                super().start()
            finally:
                sys.modules["__main__"] = main
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
