"""The judge that draws: a request's seed is an item's number, its judgement the item. It never sees a model's text.

The dataset codeio runs programs that come with the library. Some write files, or would reach the network: they are
refused, by Python's audit events, which is enough for programs that nobody wrote to get around it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from rlfl_envs.judging import Judgement, Request
from rlfl_envs.tasks.reasoning_gym import library
from rlfl_envs.tasks.reasoning_gym.scoring import FORMS

__all__ = ["batch", "judge", "start"]

batch = 64

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {
    *("os.chdir", "os.chmod", "os.chown", "os.exec", "os.fork", "os.kill", "os.link", "os.mkdir", "os.posix_spawn"),
    *("os.remove", "os.rename", "os.rmdir", "os.symlink", "os.system", "os.truncate", "os.utime"),
}

# Datasets that say the same in several ways: which of their metadata make the problem. Elsewhere the question does.
_PROBLEMS: dict[str, tuple[str, ...]] = {
    "advanced_geometry": ("A", "B", "C"),
    "basic_arithmetic": ("expression",),
    "complex_arithmetic": ("num1", "num2", "operation"),
    "countdown": ("numbers", "target"),
    "intermediate_integration": ("integrand",),
    "kakurasu": ("row_sums", "col_sums"),
    "polynomial_equations": ("polynomial_expr",),
    "polynomial_multiplication": ("polynomial_expr",),
    "puzzle24": ("numbers",),
    "quantum_lock": ("initial_value", "target_value", "buttons"),
    "rubiks_cube": ("scramble_moves",),
    "simple_equations": ("equation",),
    "simple_geometry": ("known_angles",),
    "simple_integration": ("integrand",),
    "survo": ("puzzle", "candidate_numbers"),
    "tsumego": ("board",),
}


def start(_: Mapping[str, int | float | str]) -> None:
    """Silences what the library's programs print, and lets them change nothing, for as long as the process lives."""
    library.silence()
    sys.dont_write_bytecode = True
    sys.addaudithook(_refuse_changes)


def _refuse_changes(event: str, arguments: tuple[Any, ...]) -> None:
    """Lets files be read, and nothing be written, started or connected to."""
    is_writing = event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & _WRITES)
    if is_writing or event in _CHANGES or event.partition(".")[0] in ("shutil", "socket", "subprocess"):
        raise PermissionError(f"{event} is not allowed while items are drawn")


def judge(request: Request) -> Judgement:
    """Draws the item of a number.

    Returns:
        "drawn", with the question, the answer or None, what makes the problem, and the packed entry; "long" where the
        question or the answer has more characters than the settings allow; "unsound" where the answer does not earn 1,
        or has not the form that answers may have, such as an integral that is left as it stands; "failed" where the
        library raises an exception.
    """
    settings = dict(request.settings)
    name, difficulty = str(settings["dataset"]), int(settings["difficulty"])
    try:
        entry = library.draw(name, difficulty, request.seed)
        question, answer = str(entry["question"]), entry["answer"]
        if len(question) > int(settings["question"]) or len(answer or "") > int(settings["answer"]):
            return Judgement("long")
        if answer is not None and name in FORMS and not FORMS[name].fullmatch(answer):
            return Judgement("unsound")
        if answer is not None and library.score(name, difficulty, entry, answer) < 1:
            return Judgement("unsound")
    except Exception:  # noqa: BLE001 (whatever the library raises for a number, it raises every time)
        return Judgement("failed")
    return Judgement("drawn", data=[question, answer, _problem(name, entry), library.pack(entry)])


def _problem(name: str, entry: library.Entry) -> str:
    """What makes the problem, however it is put into words."""
    if name not in _PROBLEMS:
        return " ".join(str(entry["question"]).lower().split())
    values: list[Any] = [entry["metadata"].get(part) for part in _PROBLEMS[name]]
    return json.dumps(
        [sorted(value) if part == "numbers" else value for part, value in zip(_PROBLEMS[name], values, strict=True)],
        default=str,
    )
