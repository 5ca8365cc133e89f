"""What happens in a worker: it is limited, started, and judges what it is sent."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence

from rlfl_envs.errors import RLFLError
from rlfl_envs.judging.judge import Judgement, Request, load_judge

__all__ = ["begin", "judge_all"]

_refusals: dict[str, RLFLError | None] = {}  # by judge that has been started: what stands in the way of all


def begin(name: str, settings: Mapping[str, int | float | str], memory_mb: int, parent: int) -> None:
    """Prepares a process: its memory is limited, it ends with its parent, and the judge is started."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if sys.platform != "win32":
        import resource

        # Of data alone: Java and JAX reserve far more addresses than they ever write to.
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        limit = memory_mb * 2**20 if most == resource.RLIM_INFINITY else min(memory_mb * 2**20, most)
        if sys.platform == "linux":
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash leaves no file
    _start(name, settings)


def _end_with(parent: int) -> None:
    """Ends this process once its parent is gone, which may have been killed and told nobody."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _start(name: str, settings: Mapping[str, int | float | str]) -> None:
    """Starts the judge; what goes wrong would go wrong for every request, and each will be told."""
    _refusals[name] = None
    try:
        load_judge(name).start(settings)
    except RLFLError as error:
        _refusals[name] = error
    except (Exception, SystemExit) as error:  # noqa: BLE001 (whatever a library raises)
        _refusals[name] = RLFLError(f"the judge {name} cannot be started: {type(error).__name__}: {error}")


def judge_all(name: str, requests: Sequence[Request]) -> list[Judgement | RLFLError]:
    """A judgement for each request, or the error that stands in the way of all."""
    if name not in _refusals:  # on Ray, where nobody begins a worker
        _start(name, dict(requests[0].settings))
    return [_refusals[name] or _judge(name, request) for request in requests]


def _judge(name: str, request: Request) -> Judgement | RLFLError:
    try:
        judgement = load_judge(name).judge(request)
        parts = {measure: float(value) for measure, value in judgement.parts.items()}
        return Judgement(judgement.status, parts, json.loads(json.dumps(judgement.data)))  # as it would be kept
    except RLFLError as error:
        return error
    except (Exception, SystemExit):  # noqa: BLE001 (whatever a request provokes in a library is that request's result)
        return Judgement("crash")
