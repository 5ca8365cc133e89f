"""Running a program on cases, by wasmtime, which counts every instruction.

It runs in this process: a program is put together of instructions of ours and of numbers, so nothing that a model wrote
reaches the compiler; it knows no memory, no calls and no imports, it is short, and its fuel ends.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlfl_envs.errors import MissingDependencyError, how_to_install
from rlfl_envs.tasks.machine.problems import header

if TYPE_CHECKING:
    from wasmtime import Engine

__all__ = ["FUEL", "Run", "check_installed", "run"]

FUEL = 10_000
"""What a case may use: about a unit for each instruction, some microseconds in all."""


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


def check_installed() -> None:
    """Raises a MissingDependencyError where wasmtime is not installed."""
    if importlib.util.find_spec("wasmtime") is None:
        raise MissingDependencyError(f"rlfl/Machine-v0 needs the package wasmtime: {how_to_install('machine')}")


@functools.lru_cache(maxsize=4096)
def run(lines: str, cases: Sequence[tuple[int, ...]]) -> Run:
    """Runs a program that `syntax.read` has read, or a reference, in an instance of its own, on each case."""
    import wasmtime

    engine = _engine(os.getpid())
    module_text = f'(module {header(len(cases[0]))}{lines}) (export "f" (func $f)))'
    try:
        module = wasmtime.Module(engine, bytes(wasmtime.wat2wasm(module_text)))
    except wasmtime.WasmtimeError:
        return Run("invalid", (None,) * len(cases), ())
    store = wasmtime.Store(engine)
    function = wasmtime.Instance(store, module, []).exports(store)["f"]
    assert isinstance(function, wasmtime.Func)
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


@functools.cache  # by process: a fork makes its own
def _engine(process: int) -> Engine:
    import wasmtime

    atexit.register(_engine.cache_clear)  # while wasmtime can still end it
    config = wasmtime.Config()
    config.consume_fuel = True
    config.parallel_compilation = False  # threads would not survive a fork
    config.cranelift_opt_level = "none"  # a program runs for microseconds
    return wasmtime.Engine(config)
