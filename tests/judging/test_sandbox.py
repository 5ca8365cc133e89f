"""The sandbox: each hostile program has its own result and costs nobody else anything; results are strict."""

from __future__ import annotations

import importlib.util
import multiprocessing.pool
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings

from rlfl_envs import ConfigError, MissingDependencyError
from rlfl_envs.judging import kept, monty
from rlfl_envs.judging.plain import same
from rlfl_envs.judging.sandbox import Kind, Limits, Program, Result, Run, Sandbox
from tests.judging.hostile_programs import PROGRAMS
from tests.judging.test_plain import PLAIN
from tests.judging.test_pool import assert_gone

pytest.importorskip("pydantic_monty", reason="needs the extra programs")
pytest.importorskip("pebble", reason="needs the extra programs")

FINE = Program("def f(x):\n    return x + 1", "f", ((3,), (4,)))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """Two workers, as many characters of output as nobody else allows, so that they are nobody else's."""
    with Sandbox(limits=Limits(output=1001), workers=2) as sandbox:
        yield sandbox


def run_one(sandbox: Sandbox, source: str, *arguments: Any, function: str = "f") -> Result:
    """The result of a program's only case."""
    (run,) = sandbox.run([Program(source, function, (arguments,))])
    (result,) = run.results
    return result


def values(run: Run) -> list[Any]:
    """What its cases came to."""
    return [result.value for result in run.results]


def assert_expected(run: Run, expected: str | tuple[str, str]) -> None:
    """Compares with what `hostile_programs` expects."""
    (result,) = run.results
    kind = result.kind if run.status == "ran" else f"status {run.status}"
    if expected == "any":
        assert run.status in ("ran", "no_parse")
    elif isinstance(expected, tuple):
        assert (kind, result.error) == expected or kind in expected
    else:
        assert kind == expected


# --- hostile programs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROGRAMS)
def test_hostile_programs(sandbox: Sandbox, name: str) -> None:
    """Each comes to what it should, on any Python that runs the tests; and the next result is right."""
    source, expected = PROGRAMS[name]
    hostile, fine = sandbox.run(
        [Program(source, "f", ((3,),)), Program(FINE.source + f"\n# {name!r}", "f", FINE.cases)]
    )
    assert_expected(hostile, expected)
    assert len(hostile.results[0].printed) <= 1001
    assert values(fine) == [4, 5]


def test_all_hostile_programs_at_once(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In one batch each costs its own result alone; nothing is on the screen or the disk, and no worker is lost."""
    assert len(PROGRAMS) >= 40
    monkeypatch.chdir(tmp_path)
    names = random.Random(0).sample([*PROGRAMS], len(PROGRAMS))
    programs = [Program(PROGRAMS[name][0], "f", ((3,),)) for name in names]
    fine = [Program(f"def f(x):\n    return x + {i}", "f", ((1,),)) for i in range(len(programs))]
    with Sandbox(limits=Limits(output=1002), workers=2) as sandbox:
        found = sandbox.run([program for pair in zip(programs, fine, strict=True) for program in pair])
        workers = {child.pid for child in multiprocessing.active_children()}
        again = sandbox.run([Program(f"def f(x):\n    return x - {i}", "f", ((1,),)) for i in range(64)])
        assert {child.pid for child in multiprocessing.active_children()} == workers  # none had to be replaced
    for name, run in zip(names, found[::2], strict=True):
        assert_expected(run, PROGRAMS[name][1])
    assert [values(run) for run in found[1::2]] == [[1 + i] for i in range(len(programs))]
    assert [values(run) for run in again] == [[1 - i] for i in range(64)]
    assert capfd.readouterr() == ("", "")
    assert [*tmp_path.iterdir()] == []


def test_mutants(sandbox: Sandbox) -> None:
    """A thousand programs with a few characters changed: each has a status and results of the kinds that there are."""
    source = (
        "def f(x):\n    total = 0\n    for i in range(x):\n        if i % 2 == 0:\n            total += i ** 2\n"
        "    return [total]"
    )
    rng = random.Random(0)
    alphabet = [*"0123456789()[]{}=+-*/%:, \n\"'\\xfi", "while ", "True", "range(", "10**", "lambda: ", "print("]
    mutants = []
    for _ in range(1000):
        characters = [*source]
        for _ in range(rng.randint(1, 2)):
            characters[rng.randrange(len(characters))] = rng.choice(alphabet)
        mutants.append(Program("".join(characters), "f", ((3,), (6,))))
    found = sandbox.run([*mutants, Program(source, "f", ((3,), (6,)))])
    statuses = {"ran", "no_parse", "unsupported", *get_args(Kind)}
    assert all(run.status in statuses and len(run.results) == 2 for run in found)
    assert values(found[-1]) == [[4], [20]]
    assert 50 < sum(run.status == "ran" for run in found) < 950


def test_calls_at_once_are_calls_one_by_one() -> None:
    """Where all calls are made in one go, what comes of each is what comes of it alone."""
    sources = [
        *(source for source, _ in PROGRAMS.values()),
        "def f(x):\n    return [x, str(x), (x,), {1: {x}}, frozenset([x]), None, True, 1.5, b'a']",
        "def f(x):\n    return 1 // (x - 4)",
        "seen = []\ndef f(x):\n    seen.append(x)\n    return seen",
        "int = str\ntype = 3\nlist = 4\ndef f(x):\n    return [x, '3']",
        "type = lambda value: [].__class__\ndef f(x):\n    return f",
        "Exception = 3\ndef f(x):\n    return 1 // (x - 4)",
        "def f(x):\n    global _rlfl_run\n    _rlfl_run = None\n    return x",
        "import random\ndef f(x):\n    return random.random()",
        "def f(x):\n    global f\n    f = lambda y: y\n    return bytearray(b'a')",
        "def f(x):\n    return x * 2",
        "def f(x):\n    return x == 4",
        "def f(x):\n    return x / 4",
        "def f(x):\n    return None if x == 4 else f",
        "def f(x):\n    return float('nan')",
        "def f(x):\n    return 1 // (x - 4)\nException = 3",
        "def f(x):\n    return [].append(4 // 0)\ntype = lambda value: 3",
    ]
    # What is said to give numbers is called in another way, whatever it gives.
    begins = "def f(x):"
    sources += [source.replace(begins, "def f(x) -> int:", 1) for source in sources if source.startswith(begins)]
    settings = dict(FINE.request(Limits(seconds=0.05, total_seconds=0.1)).settings)
    cases, told = [(3,), (4,), (5,)], 0
    for source in sources:
        at_once = monty._all_at_once(f"{source}\nNone", "f", cases, settings, 0)
        if at_once is not None:
            told += at_once.status == "ran"
            assert at_once == monty._one_by_one(f"{source}\nNone", "f", cases, settings, 0), source
    assert told > 8


def test_cases_to_come_are_not_to_be_found(sandbox: Sandbox) -> None:
    """A program sees the arguments that it is called with, and no others."""
    source = "def f(x):\n    return [value for name, value in globals().items() if 'cases' in name]"
    (run,) = sandbox.run([Program(source, "f", ((1,), (2,)))])
    assert all(result.kind == "error" or result.value == [[]] for result in run.results)
    (run,) = sandbox.run([Program("def f(x):\n    return _rlfl_cases", "f", ((1,), (2,)))])
    assert all(result.kind == "error" or result.value == [] for result in run.results)


def test_a_case_that_meets_a_limit_costs_itself(sandbox: Sandbox) -> None:
    """The cases around it have their own results, also where the interpreter had to be killed."""
    source = "def f(x):\n    if x == 1:\n        while True: pass\n    return pow(3, 10**7) % 7 if x == 3 else 'a' * x"
    (run,) = sandbox.run([Program(source, "f", tuple((i,) for i in (0, 1, 2, 3, 4, 10**10, 5)))])
    kinds = ["value", "timeout", "value", "timeout", "value", "memory", "value"]
    assert [result.kind for result in run.results] == kinds
    assert [result.value for result in run.results if result.kind == "value"] == ["", "aa", "aaaa", "aaaaa"]


@pytest.mark.timing
def test_the_time_of_all_cases_is_limited() -> None:
    """A hundred endless cases take nowhere near a hundred times the time of one."""
    limits = Limits(seconds=0.2, total_seconds=0.4)
    with Sandbox(limits=limits) as sandbox:
        sandbox.run([FINE])
        began = time.monotonic()
        (run,) = sandbox.run([Program("def f(x):\n    while True: pass", "f", tuple((i,) for i in range(100)))])
        assert time.monotonic() - began < 100 * limits.seconds / 2
    assert {result.kind for result in run.results} == {"timeout"}
    assert len(run.results) == 100


def children(process: int) -> set[int]:
    """The processes that a process has started (on Linux)."""
    return {
        int(child) for file in Path(f"/proc/{process}/task").glob("*/children") for child in file.read_text().split()
    }


def test_killed_from_outside() -> None:
    """An interpreter that is killed costs its case; a worker costs none, and takes its interpreter along."""
    slow = Program("def f(x):\n    while x: pass\n    return x", "f", ((0,), (1,), (0,)))
    others = {child.pid for child in multiprocessing.active_children()}
    with Sandbox(limits=Limits(seconds=5.0, total_seconds=20.0)) as sandbox:
        assert values(sandbox.run([FINE])[0]) == [4, 5]
        (worker,) = {child.pid for child in multiprocessing.active_children()} - others
        assert worker is not None
        (interpreter,) = children(worker)
        with multiprocessing.pool.ThreadPool(1) as threads:
            running = threads.apply_async(sandbox.run, ([slow],))
            time.sleep(1.0)
            os.kill(interpreter, signal.SIGKILL)
            assert [result.kind for result in running.get()[0].results] == ["value", "crash", "value"]
        (interpreter,) = children(worker)
        os.kill(worker, signal.SIGKILL)
        assert_gone({worker, interpreter})
        assert values(sandbox.run([Program(FINE.source + "\n", "f", ((5,),))])[0]) == [6]


# --- results ---------------------------------------------------------------------------------------------------------


@given(value=PLAIN)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_plain_values_cross_unchanged(sandbox: Sandbox, value: Any) -> None:
    """In as an argument and out as a result, types and NaN included."""
    assert same(run_one(sandbox, "def f(x):\n    return x", value).value, value)


def test_results_are_strict_about_types(sandbox: Sandbox) -> None:
    """Whatever the program calls by the names of types."""
    source = "class int:\n    pass\ndef f(x):\n    return [1, True, 1.0, (1,), '1', float('nan')][x]"
    (run,) = sandbox.run([Program(source, "f", tuple((i,) for i in range(6)))])
    expected = [1, True, 1.0, (1,), "1", float("nan")]
    for i, result in enumerate(run.results):
        assert [same(result.value, value) for value in expected] == [i == j for j in range(6)]


def test_nothing_leaks_from_one_program_to_the_next() -> None:
    """Neither names nor modules that were changed nor what was printed, although they share an interpreter."""
    first = Program("import math\nsecret = 5\nmath.pi = 3\ndef f(x):\n    print(x)\n    return x", "f", ((1,),))
    second = Program("import math\ndef f(x):\n    return [math.pi > 3, secret]", "f", ((1,),))
    third = Program("import math\ndef f(x):\n    return math.pi > 3", "f", ((1,),))
    with Sandbox(limits=Limits(output=1003)) as sandbox:
        for programs in ([first, second, third], [second, first, third]):
            runs = dict(zip(programs, sandbox.run(programs), strict=True))
            assert runs[second].results[0].error == "NameError"
            assert runs[third].results[0] == Result("value", True)


def test_calls_are_made_in_order_in_one_session(sandbox: Sandbox) -> None:
    """What a call leaves in a global variable the next finds."""
    source = "seen = []\ndef f(x):\n    print('saw', x)\n    seen.append(x)\n    return seen"
    (run,) = sandbox.run([Program(source, "f", ((1,), (2,)))])
    assert run == Run("ran", (Result("value", [1], "", "saw 1\n"), Result("value", [1, 2], "", "saw 2\n")))


def test_a_program_without_cases_is_loaded(sandbox: Sandbox) -> None:
    """So it is known whether it can be."""
    runs = sandbox.run([Program(source, "f", ()) for source in ("x = 1", "x = ", "x = 1 / 0", "x = 1\\")])
    assert runs == [Run(status, ()) for status in ("ran", "no_parse", "error", "no_parse")]


def test_no_clock_and_no_chance(sandbox: Sandbox) -> None:
    """A program comes to the same whenever it runs; what `random` draws is a function of the seed."""
    source = (
        "import datetime, random, time\ndef f():\n    return str(datetime.datetime.now()), time.time(), random.random()"
    )
    programs = [Program(source + "\n" * i, "f", ((),), seed) for i, seed in enumerate((0, 0, 1))]
    one, two, other = (run.results[0] for run in sandbox.run(programs))
    assert one.kind == "value"
    assert one == two
    assert one.value[:2] == other.value[:2]
    assert one.value[2] != other.value[2]


def test_results_are_kept_on_disk(tmp_path: Path) -> None:
    """And read back as they were, types included; what timed out is tried again."""
    source = "def f(x):\n    while x: pass\n    return {(1, True): {1.0, None}, 'é': b'x'}"
    programs = [
        Program(source, "f", ((0,),)),
        Program("while True: pass", "f", ((1,),)),
        Program(source, "f", ((1,), (0,))),  # one of its cases
    ]
    with Sandbox(cache=tmp_path) as sandbox:
        found = sandbox.run(programs)
    assert len(kept(tmp_path)) == 1
    with Sandbox(cache=tmp_path) as sandbox:
        again = sandbox.run(programs)
    assert [run.status for run in found] == ["ran", "timeout", "ran"]
    assert [result.kind for result in found[2].results] == ["timeout", "value"]
    assert again == found
    assert same(again[0].results[0].value, {(1, True): {1.0, None}, "é": b"x"})


# --- arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "case", "message"),
    [
        ("f(", (1,), "function='f(' is not allowed; allowed: an identifier."),
        ("if", (1,), "function='if' is not allowed; allowed: an identifier."),
        (5, (1,), "function=5 is not allowed; allowed: str."),
        ("f", (print,), "builtin_function_or_method is not plain"),
        ("f", (10**5000,), "allowed: plain data"),
    ],
)
def test_wrong_programs(sandbox: Sandbox, function: Any, case: tuple[Any, ...], message: str) -> None:
    """Names that are none, and cases that are not plain, are the caller's fault."""
    with pytest.raises(ConfigError) as error:
        sandbox.run([Program("", function, (case,))])
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("seconds", float("inf"), "0.01..60"),
        ("seconds", float("nan"), "0.01..60"),
        ("seconds", "1", "0.01..60"),
        ("memory_mb", 0, "1..1024"),
        ("memory_mb", 1.5, "1..1024"),
        ("recursion", True, "1..1000"),
    ],
)
def test_wrong_limits(name: str, value: Any, allowed: str) -> None:
    """The message names the limit, its value and what is allowed; and there is no way to have none."""
    with pytest.raises(ConfigError) as error:
        Limits(**{name: value})
    assert str(error.value) == f"{name}={value!r} is not allowed; allowed: {allowed}."


def test_a_source_that_is_no_text(sandbox: Sandbox) -> None:
    """Nor may it be bytes."""
    with pytest.raises(ConfigError, match=r"^source=b'' is not allowed; allowed: str\.$"):
        sandbox.run([Program(b"", "f", ((1,),))])


def test_without_monty(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence says what to install, and where there is nothing to install."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pydantic_monty, .* Linux, macOS and Windows.*programs"):
        Sandbox()
