"""The judge of programs: runs one on its cases in Monty. See `sandbox`, which asks it."""

from __future__ import annotations

import datetime as dt
import functools
import json
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rlfl_envs.errors import MissingDependencyError, how_to_install
from rlfl_envs.judging.judge import FAILURES, Judgement, Request
from rlfl_envs.judging.plain import decode, encode

if TYPE_CHECKING:
    from pydantic_monty import Monty, MontySession

__all__ = ["batch", "judge", "screen", "start", "version"]

batch = 16  # a program takes about a millisecond

_QUICK = 0.05  # seconds for all calls in one go
_UNCLEAR = ("MemoryError", "RecursionError", "TimeoutError")  # which the calls' own messages explain
_GRACE = 0.05  # seconds that Monty has to keep a time limit itself, before its process is killed
_NOON = dt.datetime(2000, 1, 1, 12, tzinfo=dt.UTC)  # a program's result must not depend on the clock
_SPENT = ("timeout", "memory", "crash")  # after these Monty vouches for nothing in a session
_Written = tuple[str, Any, str]  # a result's kind, content and what was printed

# --- before a worker is asked ----------------------------------------------------------------------------------------


def screen(request: Request) -> Judgement | None:
    """Refuses what is too long, and what is no text."""
    if len(request.text) > int(dict(request.settings)["source"]):
        return Judgement("too_long")
    try:
        request.text.encode()
    except UnicodeEncodeError:  # lone surrogates
        return Judgement("no_parse")
    return None


def version(request: Request) -> str:
    """Of the results: this module's, and Monty's."""
    import pydantic_monty

    return f"3 {pydantic_monty.__version__}"


# --- in the worker ---------------------------------------------------------------------------------------------------


def start(settings: Mapping[str, int | float | str]) -> None:
    """Starts Monty, and sees to it that nobody reads what its process says when it runs out of memory."""
    # Monty imports it at every message; where it is missing, searching for it took a third of a program's time.
    sys.modules.setdefault("opentelemetry", None)  # type: ignore[arg-type]
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 2)
    os.close(silence)
    _monty(os.getpid())


@functools.cache  # by process: a fork must neither use its parent's nor end it
def _monty(process: int) -> Monty:
    """This process's Monty: one process below it, which Monty replaces where it dies or is killed."""
    from pydantic_monty import Monty

    monty = Monty(
        min_processes=1,
        max_processes=1,
        max_checkouts_per_worker=1000,
        request_timeout=700.0,
        feed_duration_limit_grace=_GRACE,
        turn_duration_limit_grace=_GRACE,
    )
    try:
        monty.__enter__()
    except (OSError, RuntimeError, IndexError) as error:  # the last where its search for its program leaves the path
        raise MissingDependencyError(f"Monty cannot be started ({error}): {how_to_install('programs')}") from error
    return monty


def judge(request: Request) -> Judgement:
    """Loads the program and calls its function on each case.

    The data are the results, [kind, content, printed] each, the content being an encoded value or an exception's name;
    or the name of the exception that loading it raised.
    """
    limits, asked = dict(request.settings), json.loads(request.context)
    cases = [tuple(decode(case)) for case in asked["cases"]]
    # None, so that no value crosses; a backslash at the end is wrong, and must not become right.
    program = request.text if request.text.endswith("\\") else f"{request.text}\nNone"
    at_once = _all_at_once(program, asked["function"], cases, limits, request.seed) if len(cases) > 1 else None
    found = at_once or _one_by_one(program, asked["function"], cases, limits, request.seed)
    is_strained = found.status == "ran" and any(kind in FAILURES for kind, _, _ in found.data)
    return replace(found, status="strained") if is_strained else found


def _all_at_once(
    program: str, function: str, cases: Sequence[tuple[Any, ...]], limits: Mapping[str, Any], seed: int
) -> Judgement | None:
    """All calls in one go, for each message to Monty's process takes as long as a short program.

    None where that cannot tell what came of each: a limit was met, something was printed, or a value is not plain.
    """
    gives_numbers = _GIVES_NUMBERS.match(program) is not None
    with _session({**limits, "seconds": min(_QUICK, float(limits["seconds"]))}, seed) as session:
        kind, error, _ = _feed(session, program, {}, limits)
        if kind != "value":
            return None if kind == "timeout" else Judgement(kind, data=error)
        inputs = {"_rlfl_cases": [*cases], "_rlfl_types": () if gives_numbers else _COPIED}
        run = _RUN_FOR_NUMBERS if gives_numbers else _RUN
        kind, found, printed = _feed(session, f"{run}_rlfl_run({function}, _rlfl_cases, *_rlfl_types)", inputs, limits)
    if kind != "value" or printed or any(not isinstance(name, str) or name in _UNCLEAR for name, _ in found):
        return None
    if gives_numbers and any(type(value) not in _NUMBERS for _, value in found):
        return None
    return Judgement("ran", data=[("error", name, "") if name else ("value", value, "") for name, value in found])


def _one_by_one(
    program: str, function: str, cases: Sequence[tuple[Any, ...]], limits: Mapping[str, Any], seed: int
) -> Judgement:
    """A call at a time, in another session after one that a call did not leave whole."""
    call = "_rlfl_value = _rlfl_function(*_rlfl_arguments)\n_rlfl_value"
    ends = time.monotonic() + float(limits["total_seconds"])
    results: list[_Written] | None = None
    while results is None or len(results) < len(cases):
        if results is not None and time.monotonic() > ends:
            return Judgement("ran", data=results + [("timeout", None, "")] * (len(cases) - len(results)))
        with _session(limits, seed) as session:
            loaded, error, _ = _feed(session, program, {}, limits)
            if loaded == "value":
                results = results or []
                _feed(session, f"_rlfl_function = {function}\nNone", {}, limits)  # one and the same for all calls
                results += _call(session, call, cases[len(results) :], limits, ends)
            elif results is None:
                return Judgement(loaded, data=error)
            else:  # it loads differently the second time, perhaps because time was short
                results.append((loaded, error, ""))
    return Judgement("ran", data=results)


def _session(limits: Mapping[str, Any], seed: int) -> MontySession:
    """A fresh session: nothing of another program is in it, and each has the same clock and randomness."""
    return _monty(os.getpid()).checkout(
        limits={
            "max_feed_duration_secs": float(limits["seconds"]),
            "max_turn_duration_secs": float(limits["seconds"]),
            "max_memory": int(limits["memory_mb"]) * 2**20,
            "max_recursion_depth": int(limits["recursion"]),
            "max_suspensions": 1000,
            "max_total_sleep_secs": 0.0,
        },
        os_policy={"datetime": _NOON, "sleep": "zero", "random_start": {"seed": seed}},
    )


def _call(
    session: MontySession, call: str, cases: Sequence[tuple[Any, ...]], limits: Mapping[str, Any], ends: float
) -> list[_Written]:
    """Results, up to the first that a session does not survive."""
    results: list[_Written] = []
    for arguments in cases:
        if time.monotonic() > ends:
            return results + [("timeout", None, "")] * (len(cases) - len(results))
        kind, content, printed = _feed(session, call, {"_rlfl_arguments": arguments}, limits)
        results.append(("error" if kind in ("no_parse", "unsupported") else kind, content, printed))
        if kind in _SPENT:
            break
    return results


class _Printed:
    """Takes what is printed, up to a limit."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self.text = ""
        self.is_full = False

    def __call__(self, stream: str, text: str) -> None:
        self.text += text[: self._left]
        self._left -= len(text)
        if self._left < 0:
            self._left, self.is_full = 0, True
            raise ValueError("too much is printed")  # which ends the program


def _feed(session: MontySession, code: str, inputs: dict[str, Any], limits: Mapping[str, Any]) -> _Written:
    """What comes of a piece of code."""
    from pydantic_monty import MontyConversionError, MontyCrashedError, MontyRuntimeError, MontySyntaxError

    printed, most = _Printed(int(limits["output"])), int(limits["result"])
    try:
        value = session.feed_run(code, inputs=inputs, print_callback=printed)
        content = encode(value, most)
        is_checked = "_rlfl_cases" in inputs or not _holds_text(content)
        is_plain = is_checked or session.feed_run(_CHECK, inputs=_TYPES | {"_rlfl_left": most})
        kind, content = ("value", content) if is_plain else ("type", None)
    except MontySyntaxError:
        kind, content = "no_parse", "SyntaxError"
    except MontyCrashedError as error:
        kind, content = "timeout" if error.timed_out else "crash", None
    except MontyRuntimeError as error:
        kind, content = _raised(error.display("type-msg"))
    except (TypeError, MontyConversionError):
        kind, content = "type", None
    except (OverflowError, ValueError):  # Monty's own ValueError: an integer of more than 4,300 digits
        kind, content = "output", None
    return ("output", None, printed.text) if printed.is_full else (kind, content, printed.text)


def _raised(line: str) -> tuple[str, str | None]:
    """The kind of an exception by the last line of its traceback, and its name where it is the program's own."""
    name, _, message = line.partition(": ")
    name = name.rpartition(".")[2]
    if name == "MemoryError":
        return "memory", None
    if name == "TimeoutError" and "time limit exceeded" in message:
        return "timeout", None
    if name == "NotImplementedError" and message.startswith("The monty"):
        return "unsupported", name
    return "error", name


# --- texts that are none ---------------------------------------------------------------------------------------------
# Monty hands out a function, a range, an iterator or a list within itself as a text that describes it. So where a value
# holds a text, the sandbox is asked for the types. The program cannot meddle: types come in by inputs, and none of its
# code runs meanwhile.

_PLAIN = (bool, int, float, str, bytes, list, tuple, set, frozenset, dict)
_TYPES: dict[str, Any] = {f"_rlfl_{kind.__name__}": kind for kind in _PLAIN}
_CHECK = """
def _rlfl_check(todo, left):
    while todo and left:
        left -= 1
        item = todo.pop()
        match item:
            case _rlfl_list() | _rlfl_tuple() | _rlfl_set() | _rlfl_frozenset():
                todo.extend(item)
            case _rlfl_dict():
                todo.extend(item.keys())
                todo.extend(item.values())
            case None | _rlfl_bool() | _rlfl_int() | _rlfl_float() | _rlfl_str() | _rlfl_bytes():
                pass
            case _:
                return False
    return not todo
_rlfl_check([_rlfl_value], _rlfl_left)
"""

# Calls on all cases: a value is copied before the next call can change it, and one that is not plain ends it. The
# program's code runs in between, but what a copy goes by is in local variables, which it cannot reach. Nor can it find
# the cases to come.
_COPIED = (_PLAIN, int, float, str, bytes, list, tuple, set, frozenset, dict)
_CALLS = """
    todo, found = cases[:], []
    cases.clear()
    for case in todo:
        try:
            value = call(*case)
        except Exception as error:
            found.append([type(error).__name__, None])
        else:
            found.append(['', {kept}])
    return found
"""
_RUN = """
def _rlfl_run(call, cases, plain, Int, Float, Str, Bytes, List, Tuple, Set, Frozen, Dict):
    def copy(value):
        if value is not None and type(value) not in plain:  # such as a named tuple
            raise TypeError
        match value:
            case None | Int() | Float() | Str() | Bytes():
                return value
            case List():
                return [copy(item) for item in value]
            case Tuple():
                return Tuple([copy(item) for item in value])
            case Set():
                return Set([copy(item) for item in value])
            case Frozen():
                return Frozen([copy(item) for item in value])
            case Dict():
                return {copy(key): copy(item) for key, item in value.items()}
        raise TypeError""" + _CALLS.format(kept="copy(value)")

# The same where a program says that it gives numbers: these cannot change, and need not be copied, which takes as long
# as all the rest. Where it gives something else after all, its calls are made again, one at a time.
_GIVES_NUMBERS = re.compile(r"def \w+\([^\n]*\) -> (?:int|bool|float):")
_NUMBERS = (int, bool, float, type(None))
_RUN_FOR_NUMBERS = "\ndef _rlfl_run(call, cases):" + _CALLS.format(kept="value")


def _holds_text(content: Any) -> bool:
    """Whether an encoded value holds a text."""
    if isinstance(content, dict):
        return "bytes" not in content and "float" not in content and any(map(_holds_text, content.values()))
    return any(map(_holds_text, content)) if isinstance(content, list) else isinstance(content, str)
