"""A judge for the pool's tests: a request's text says what goes wrong."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from rlfl_envs import ConfigError
from rlfl_envs.judging import Judgement, Request


def version(request: Request) -> str:
    """Always the first."""
    return "1"


def screen(request: Request) -> Judgement | None:
    """Refuses "no"."""
    return Judgement("no_parse") if request.text == "no" else None


def start(settings: Mapping[str, int | float | str]) -> None:
    """Does what the settings say."""
    match settings.get("start"):
        case "slow":
            time.sleep(2.0)
        case "fail":
            raise ImportError("no such library")
        case "exit":
            os._exit(3)


def normalise(text: str) -> str:
    """Spaces mean nothing."""
    return " ".join(text.split())


def judge(request: Request) -> Judgement:
    """Does what the text says, and reports which process did it."""
    words = request.text.split()
    match words[0]:
        case "loop":
            while True:
                pass
        case "sleep":
            time.sleep(float(words[1]))
        case "work":
            until = time.process_time() + float(words[1])
            while time.process_time() < until:
                pass
        case "memory":
            hoard = [bytearray(2**28) for _ in range(2**6)]  # 16 GiB
            return Judgement("playable", {"size": float(len(hoard))})
        case "exit":
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "once":  # dies the first time
            if not Path(words[1]).exists():
                Path(words[1]).touch()
                os._exit(3)
        case "tell":
            Path(words[1]).write_text(str(os.getpid()))
            time.sleep(1.0)
        case "data":
            return Judgement("told", {}, {"results": [1, 1.0, None, "é"], "context": request.context})
        case "set":
            return Judgement("told", {}, {1, 2})
        case "crash":
            os.abort()
        case "error":
            raise ValueError("of the game")
        case "recursion":
            return judge(request)
        case "quit":
            sys.exit()
        case "ours":
            raise ConfigError("jar='x' is no file.")
        case "garbage":
            return "garbage"  # type: ignore[return-value]
        case "unpicklable":
            return Judgement("playable", {"f": lambda: 0})  # type: ignore[dict-item]
    numbers = {"process": os.getpid(), "parent": os.getppid(), "seed": request.seed}
    return Judgement("playable", {name: float(number) for name, number in numbers.items()})
