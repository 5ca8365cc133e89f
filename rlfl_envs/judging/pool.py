"""The pool: what is known already, what is refused at once, and workers for the rest."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from rlfl_envs.arguments import check_path, check_value, check_workers, is_integer
from rlfl_envs.errors import RLFLError
from rlfl_envs.judging.judge import FAILURES, Judgement, Request, load_judge
from rlfl_envs.judging.kept import Folder
from rlfl_envs.judging.processes import Processes
from rlfl_envs.judging.ray import judge_on_ray

__all__ = ["Pool", "shared_pool"]

_ROUNDS = 3  # so often may all workers die before any request is judged
_BELIEVED = 10  # times the timeout: how long a failure is believed, so that trying again takes a tenth of a run at most


class Pool:
    """Judges requests on workers that are started when they are first needed.

    A worker that takes too long or too much memory is killed and replaced. Equal requests are judged once, and
    remembered; a timeout or a crash, which may have been the machine's fault, for ten timeouts only. Threads may share
    a pool. It may be pickled and copied: a copy has the same settings, and workers of its own. A process that ends,
    however it ends, leaves no worker behind.

    Attributes:
        name: The judge's module.
        judge: The judge.
    """

    def __init__(
        self,
        judge: str,
        *,
        workers: int = 1,
        timeout: float = 60.0,
        memory_mb: int = 4096,
        max_tasks: int = 300,
        pool: Literal["processes", "ray"] = "processes",
        cache: str | Path | None = None,
        remembered: int = 10_000,
    ) -> None:
        """Takes the settings; starts nothing.

        Args:
            judge: A judge's module, such as "rlfl_envs.tasks.games.ludax.judge" (see `Judge`).
            workers: How many processes judge, 0..256; 0 judges in this one, for debugging: without limits, and errors
                are raised.
            timeout: Seconds that a request may take, more than 0; a worker's start does not count.
            memory_mb: What a worker may allocate, MiB (on Linux; not on Ray).
            max_tasks: After how many requests (or batches of them) a worker is replaced by a fresh one.
            pool: "processes" of this machine, or "ray": one task a request, on the cluster that `ray.init` finds.
            cache: A folder in which judgements are kept from one run to the next (`kept` reads it); timeouts and
                crashes are not.
            remembered: How many requests are remembered with their judgements, 1 or more.

        Raises:
            ConfigError: An argument is not allowed.
        """
        check_workers(workers, least=0)
        is_number = is_integer(timeout) or isinstance(timeout, float)
        check_value("timeout", timeout, is_number and 0 < timeout < math.inf, "a number above 0")
        check_value("memory_mb", memory_mb, is_integer(memory_mb) and memory_mb >= 64, "an integer, 64 or more")
        check_value("max_tasks", max_tasks, is_integer(max_tasks) and max_tasks >= 1, "an integer, 1 or more")
        check_value("pool", pool, pool in ("processes", "ray"), "'processes' or 'ray'")
        check_value("remembered", remembered, remembered >= 1, "1 or more")
        if cache is not None:
            check_path("cache", cache)
        self._settings: dict[str, Any] = {
            "workers": workers,
            "timeout": timeout,
            "memory_mb": memory_mb,
            "max_tasks": max_tasks,
            "pool": pool,
            "cache": cache,
            "remembered": remembered,
        }
        self.name, self.judge = judge, load_judge(judge)
        self._memo: dict[Request, Judgement] = {}
        self._doubted: dict[Request, float] = {}  # failures, and until when they are believed
        self._folder = None if cache is None else Folder(Path(cache))
        self._lock = threading.RLock()  # of the three above and the one below, never held while something is judged
        self._workers: Processes | None = None

    def evaluate(self, requests: Sequence[Request]) -> list[Judgement]:
        """Judges a batch, in its order.

        Raises:
            RLFLError: The judge cannot work here, such as without Java.
            MissingDependencyError: Pebble, or Ray, is not installed.
        """
        found: dict[Request, Judgement] = {}
        normal: dict[Request, Request] = {}  # what is neither remembered nor refused, and how it is written
        for request in dict.fromkeys(requests):
            judgement = self._remembered(request) or self.judge.screen(request)
            if judgement is None:
                normal[request] = replace(request, text=self.judge.normalise(request.text))
            else:
                found[request] = judgement
        known = {request: self._known(request) for request in dict.fromkeys(normal.values())}
        missing = [request for request, judgement in known.items() if judgement is None]
        judged = self._judge(missing) if missing else {}
        for request, written in normal.items():
            found[request] = known[written] or judged[written]
        self._remember({**judged, **found})
        return [found[request] for request in requests]

    def close(self) -> None:
        """Ends the workers; the next request starts others."""
        with self._lock:
            workers, self._workers = self._workers, None
        if workers is not None:
            workers.end()

    def __enter__(self) -> Pool:
        """The pool itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes it."""
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """The settings."""
        return _pool, (self.name, self._settings)

    # --- judging ---------------------------------------------------------------------------------------------------

    def _judge(self, requests: Sequence[Request]) -> dict[Request, Judgement]:
        """Judges what nothing is known of, and keeps it; an error of ours is raised, for it is the user's to mend."""
        settings = self._settings
        if not settings["workers"]:
            return self._kept({request: self.judge.judge(request) for request in requests})
        try:
            if settings["pool"] == "ray":
                limits = {name: settings[name] for name in ("workers", "timeout", "max_tasks")}
                found = dict(zip(requests, judge_on_ray(self.name, requests, **limits), strict=True))
            else:
                found = self._judge_in_processes(requests)
        except BaseException:  # Ctrl-C too: what is under way is given up
            self.close()
            raise
        judged = {request: result for request, result in found.items() if isinstance(result, Judgement)}
        self._kept(judged)
        for result in found.values():
            if isinstance(result, RLFLError):
                raise result
        return judged

    def _judge_in_processes(self, requests: Sequence[Request]) -> dict[Request, Judgement | RLFLError]:
        found: dict[Request, Judgement | RLFLError] = {}
        waiting, rounds = requests, 0
        while waiting:
            workers = self._started(waiting[0])
            found.update(workers.judge(waiting, timeout=self._settings["timeout"], batch=self.judge.batch))
            left = [request for request in waiting if request not in found]
            rounds = rounds + 1 if len(left) == len(waiting) else 0
            if rounds == _ROUNDS:
                raise RLFLError(
                    f"judge={self.name!r}: its workers died {rounds} times before they judged anything; does it start "
                    f"within memory_mb={self._settings['memory_mb']}?"
                )
            waiting = left
        return found

    def _started(self, first: Request) -> Processes:
        """The workers, whoever needs them first; others where these have died, or belong to the process forked from."""
        with self._lock:
            if self._workers is None or not self._workers.is_active:
                self.close()
                limits = {name: self._settings[name] for name in ("workers", "memory_mb", "max_tasks")}
                self._workers = Processes(self.name, dict(first.settings), **limits)
            return self._workers

    # --- what is known already -------------------------------------------------------------------------------------

    def _known(self, request: Request) -> Judgement | None:
        """What is remembered or kept."""
        judgement = self._remembered(request)
        if judgement is None and self._folder is not None:
            judgement = self._folder.find(self.name, self.judge.version(request), request)
        return judgement

    def _kept(self, judged: dict[Request, Judgement]) -> dict[Request, Judgement]:
        for request, judgement in judged.items():
            if self._folder is not None and judgement.status not in FAILURES:
                self._folder.add(self.name, self.judge.version(request), request, judgement)
        return judged

    def _remembered(self, request: Request) -> Judgement | None:
        with self._lock:
            if time.monotonic() > self._doubted.get(request, math.inf):
                del self._doubted[request]
                self._memo.pop(request, None)
            return self._memo.get(request)

    def _remember(self, found: dict[Request, Judgement]) -> None:
        until = time.monotonic() + _BELIEVED * self._settings["timeout"]
        with self._lock:
            self._memo.update(found)
            for request, judgement in found.items():
                if judgement.status in FAILURES:
                    self._doubted.setdefault(request, until)
            for request in [*itertools.islice(self._memo, max(0, len(self._memo) - self._settings["remembered"]))]:
                del self._memo[request]
                self._doubted.pop(request, None)


def _pool(judge: str, settings: dict[str, Any]) -> Pool:
    return Pool(judge, **settings)


@lru_cache(maxsize=8)
def shared_pool(judge: str, **settings: Any) -> Pool:
    """The pool of these settings (see `Pool`) in this process: tasks that ask for the same share its workers."""
    return Pool(judge, **settings)
