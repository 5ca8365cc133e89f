"""Judging on a Ray cluster: one task a request."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

from rlfl_envs.errors import MissingDependencyError, RLFLError, how_to_install
from rlfl_envs.judging.judge import Judgement, Request
from rlfl_envs.judging.worker import judge_all

__all__ = ["judge_on_ray"]


def judge_on_ray(
    name: str, requests: Sequence[Request], *, workers: int, timeout: float, max_tasks: int
) -> list[Judgement | RLFLError]:
    """Judges in order, no more than `workers` at a time, so that no request's time runs while it waits."""
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(f"pool='ray' needs Ray: {how_to_install('ray')}") from error
    judge = ray.remote(max_calls=max_tasks, max_retries=0)(judge_all)
    waiting = list(enumerate(requests))[::-1]
    running: dict[Any, tuple[int, float]] = {}  # which request, and when its time is over
    found: list[Judgement | RLFLError] = [Judgement("crash") for _ in requests]
    while waiting or running:
        while waiting and len(running) < workers:
            number, request = waiting.pop()
            running[judge.remote(name, [request])] = number, time.monotonic() + timeout
        soonest = min(deadline for _, deadline in running.values())
        done, _ = ray.wait([*running], timeout=max(0.0, soonest - time.monotonic()))
        for task in done:
            number, _ = running.pop(task)
            with contextlib.suppress(ray.exceptions.RayError):  # a crash
                (found[number],) = ray.get(task)
        for task, (number, deadline) in [*running.items()]:
            if time.monotonic() >= deadline:
                del running[task]
                ray.cancel(task, force=True)
                found[number] = Judgement("timeout")
    return found
