"""Running a program on cases, by wasmtime, which counts every instruction.

It runs in this process: a program is put together of instructions of ours and of numbers, so nothing that a model wrote
reaches the compiler; it knows no memory, no calls and no imports, it is short, and its fuel ends. So programs in one
module share nothing.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import itertools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlfl_envs.errors import MissingDependencyError, how_to_install
from rlfl_envs.tasks.machine.problems import header

if TYPE_CHECKING:
    from wasmtime import Engine, Func, Store

__all__ = ["FUEL", "Run", "check_installed", "run", "run_all"]

FUEL = 10_000
"""What a case may use: about a unit for each instruction, some microseconds in all."""

Cases = tuple[tuple[int, ...], ...]
Program = tuple[str, int]  # instructions, and how many parameters
Request = tuple[str, Cases]

_TOGETHER = 64  # programs in a module; more of them gain nothing
_MOST_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a program.

    Attributes:
        status: "ok"; "invalid" (instructions do not fit together), or what came of the first case without a value:
            "trap" (a division by zero, say) or "fuel" (it takes too long).
        values: Of each case its value, or None.
        fuel: What each case used; nothing where the program is invalid.
    """

    status: str
    values: tuple[int | None, ...]
    fuel: tuple[int, ...]


_kept: dict[Request, Run] = {}  # what came of the latest, the oldest first


def check_installed() -> None:
    """Raises a MissingDependencyError where wasmtime is not installed."""
    if importlib.util.find_spec("wasmtime") is None:
        raise MissingDependencyError(f"rlfl/Machine-v0 needs the package wasmtime: {how_to_install('machine')}")


def run(lines: str, cases: Cases) -> Run:
    """Runs a program that `syntax.read` has read, or a reference, on each case."""
    return run_all([(lines, cases)])[0]


def run_all(requests: Iterable[Request]) -> list[Run]:
    """Runs programs, each on its cases.

    Those that were not run lately are compiled together, which takes a quarter of the time.
    """
    requests = [*requests]
    found = {request: known for request in requests if (known := _kept.get(request)) is not None}
    due = [request for request in dict.fromkeys(requests) if request not in found]
    functions = _compiled([*dict.fromkeys((lines, len(cases[0])) for lines, cases in due)])
    for lines, cases in due:
        made = functions.get((lines, len(cases[0])))
        found[lines, cases] = _kept[lines, cases] = _run(*made, cases) if made else _invalid(cases)
    for request in [*itertools.islice(_kept, max(0, len(_kept) - _MOST_KEPT))]:
        _kept.pop(request, None)  # which another thread may have done
    return [found[request] for request in requests]


def _compiled(programs: Sequence[Program]) -> dict[Program, tuple[Store, Func]]:
    """The functions of those whose instructions fit together, each with the store it runs in."""
    import wasmtime

    engine = _engine(os.getpid())
    valid = [program for program in programs if _is_valid(engine, program)]
    found = {}
    for first in range(0, len(valid), _TOGETHER):
        part = valid[first : first + _TOGETHER]
        module = wasmtime.Module(engine, _binary(part))
        store = wasmtime.Store(engine)
        exports = wasmtime.Instance(store, module, []).exports(store)
        for place, program in enumerate(part):
            function = exports[f"f{place}"]
            assert isinstance(function, wasmtime.Func)
            found[program] = store, function
    return found


def _is_valid(engine: Engine, program: Program) -> bool:
    import wasmtime

    try:
        wasmtime.Module.validate(engine, _binary([program]))
    except wasmtime.WasmtimeError:
        return False
    return True


def _binary(programs: Sequence[Program]) -> bytes:
    """A module of the functions f0, f1, ..."""
    import wasmtime

    named = [
        header(count).replace("$f", f'$f{place} (export "f{place}")', 1) + f"{lines})"
        for place, (lines, count) in enumerate(programs)
    ]
    return bytes(wasmtime.wat2wasm(f"(module {''.join(named)})"))


def _run(store: Store, function: Func, cases: Cases) -> Run:
    import wasmtime

    status, values, fuel = "ok", list[int | None](), []
    for case in cases:
        store.set_fuel(FUEL)
        try:
            values.append(function(store, *case))
        except wasmtime.Trap as trap:
            values.append(None)
            kind = "fuel" if trap.trap_code is wasmtime.TrapCode.OUT_OF_FUEL else "trap"
            status = kind if status == "ok" else status
        fuel.append(FUEL - store.get_fuel())
    return Run(status, tuple(values), tuple(fuel))


def _invalid(cases: Cases) -> Run:
    return Run("invalid", (None,) * len(cases), ())


@functools.cache  # by process: a fork makes its own
def _engine(process: int) -> Engine:
    import wasmtime

    atexit.register(_engine.cache_clear)  # while wasmtime can still end it
    config = wasmtime.Config()
    config.consume_fuel = True
    config.parallel_compilation = False  # threads would not survive a fork
    config.cranelift_opt_level = "none"  # a program runs for microseconds
    return wasmtime.Engine(config)
