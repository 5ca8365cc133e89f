"""The judges of programs, queries, patterns and documents, against the naive way (`make bench-judges`).

Each id judges references one at a time, of prompts that it has met with another completion (median and 99th percentile)
and of new ones, and 512 in one batch (164 of HumanEval) on one worker and on two. Ids that judge in the caller's
process are played by one process and by two. The naive way judges the same references in the same run, one at a time: a
Python process for each program, with its tests in it; three databases built anew for each query; Python's `re`,
compiled anew, on the same words; a validator built anew for each schema; a Python process that compiles and runs each
WebAssembly program. Seconds are wall-clock time, for other processes work: the ratio to the naive way says more than
either.

Prints a table and writes results/judges.json. Budget: two minutes of two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rlfl_envs import Prompt, Task, load_task

RESULTS = Path(__file__).parent / "results" / "judges.json"
SINGLE, BATCH, NAIVE = 200, 512, 30
Given = list[tuple[Prompt, str]]


class Judged(NamedTuple):
    """An id that is measured.

    Attributes:
        id: The id.
        arguments: Its arguments.
        naive: Prepares the naive way for a prompt and a completion: what it returns judges once, and says whether all
            is right.
        has_workers: Whether the task judges in workers of its own.
    """

    id: str
    arguments: dict[str, Any]
    naive: Callable[[Task, Prompt, str], Callable[[], bool]]
    has_workers: bool = False


# --- the naive ways --------------------------------------------------------------------------------------------------


def _python(source: str) -> bool:
    """A process for a program with its tests."""
    return subprocess.run([sys.executable, "-c", source], capture_output=True, timeout=60, check=False).returncode == 0


def naive_program(task: Task, prompt: Prompt, completion: str) -> Callable[[], bool]:
    """The function, then an assertion for each case."""
    cases = (*prompt.data.shown, *prompt.data.hidden)
    tests = [f"assert f(*{arguments!r}) == {result!r}\n" for arguments, result in cases]
    source = f"{prompt.text.split(chr(10), len(prompt.data.shown))[-1]}{completion}\n{''.join(tests)}"
    return lambda: _python(source)


def naive_human_eval(task: Task, prompt: Prompt, completion: str) -> Callable[[], bool]:
    """As HumanEval's authors do it."""
    problem = task._problems[prompt.text]  # type: ignore[attr-defined]
    source = f"{prompt.text}{completion}\n{problem['test']}\ncheck({problem['entry_point']})\n"
    return lambda: _python(source)


def naive_machine(task: Task, prompt: Prompt, completion: str) -> Callable[[], bool]:
    """A process that compiles the module and calls it on each case."""
    header = prompt.text.split("\n", len(prompt.data.shown))[-1]
    module = f'(module {header}{completion}) (export "f" (func $f)))'
    source = (
        "import wasmtime\nengine = wasmtime.Engine()\nstore = wasmtime.Store(engine)\n"
        f"f = wasmtime.Instance(store, wasmtime.Module(engine, {module!r}), []).exports(store)['f']\n"
        f"assert all(f(store, *case) == due for case, due in {(*prompt.data.shown, *prompt.data.hidden)!r})\n"
    )
    return lambda: _python(source)


def naive_sql(task: Task, prompt: Prompt, completion: str) -> Callable[[], bool]:
    """Three databases filled anew, in each of which both queries run."""
    from rlfl_envs.tasks.sql.databases import databases

    scripts = []
    for content, *_ in databases(prompt.data):
        with closing(sqlite3.connect(":memory:")) as database:
            database.deserialize(content)
            scripts.append("\n".join(database.iterdump()))

    def judge() -> bool:
        is_right = True
        for script in scripts:
            with closing(sqlite3.connect(":memory:")) as database:
                database.executescript(script)
                found, due = (database.execute(query).fetchall() for query in (completion, prompt.data.query))
                is_right &= found == due
        return is_right

    return judge


def naive_regex(task: Task, prompt: Prompt, completion: str) -> Callable[[], bool]:
    """Python's `re`, both patterns compiled anew."""
    from rlfl_envs.tasks.regex.matcher import JUDGED

    def judge() -> bool:
        re.purge()
        found, due = (
            [re.fullmatch(pattern, word) is not None for word in JUDGED]
            for pattern in (completion, prompt.data.pattern)
        )
        return found == due

    return judge


def naive_json(task: Task, prompt: Prompt, completion: str) -> Callable[[], bool]:
    """A validator of the schema and one of each value's, built anew."""
    import jsonschema_rs

    def judge() -> bool:
        document = json.loads(completion)
        for leaf in prompt.data.leaves:
            jsonschema_rs.validator_for(leaf.schema)
        return jsonschema_rs.validator_for(prompt.data.schema).is_valid(document)

    return judge


JUDGES = [
    Judged("rlfl/Program-v0", {"family": "arithmetic"}, naive_program, has_workers=True),
    Judged("rlfl/Program-v0", {"form": "function", "family": "loops"}, naive_program, has_workers=True),
    Judged("rlfl/HumanEval-v0", {}, naive_human_eval, has_workers=True),
    Judged("rlfl/Machine-v0", {}, naive_machine),
    Judged("rlfl/Sql-v0", {}, naive_sql),
    Judged("rlfl/Regex-v0", {}, naive_regex),
    Judged("rlfl/Json-v0", {}, naive_json),
]


# --- measuring -------------------------------------------------------------------------------------------------------


def references(task: Task, count: int, seed: int) -> Given:
    """So many prompts with their references, none twice; of HumanEval each problem, its solution with a comment."""
    rng = np.random.default_rng(seed)
    if task.config.split == "test":
        prompts = task.every_prompt()[:count]  # type: ignore[attr-defined]
        return [(prompt, f"{task.reference_completion(prompt, rng)}    # {seed}\n") for prompt in prompts]
    found: dict[str, Prompt] = {}
    while len(found) < count:
        found |= {prompt.text: prompt for prompt in task.sample_prompts(rng, count)}
    return [(prompt, str(task.reference_completion(prompt, rng))) for prompt in [*found.values()][:count]]


def evaluate(task: Task, given: Given) -> None:
    """Judges a batch; all must be right."""
    prompts, completions = zip(*given, strict=True)
    assert all(outcome.is_success for outcome in task.evaluate(prompts, completions))


_tasks: dict[str, Task] = {}


def meet(task: Task, given: Given) -> None:
    """Judges nothing for each prompt, so that what depends on prompts alone is there."""
    task.evaluate([prompt for prompt, _ in given], [""] * len(given))


def evaluate_part(id: str, arguments: dict[str, Any], given: Given) -> float:
    """Judges a batch in a process that keeps its task; the completions a second."""
    key = f"{id} {arguments}"
    if key not in _tasks:
        _tasks[key] = load_task(id, **arguments)
    meet(_tasks[key], given)
    begun = time.perf_counter()
    evaluate(_tasks[key], given)
    return len(given) / (time.perf_counter() - begun)


def rate(judged: Judged, workers: int, warm_up: Given, given: Given) -> float:
    """Completions a second in one batch, on so many workers that were started before."""
    if judged.has_workers:
        task = load_task(judged.id, **judged.arguments, workers=workers)
        evaluate(task, warm_up)
        begun = time.perf_counter()
        evaluate(task, given)
        return len(given) / (time.perf_counter() - begun)
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:

        def all_parts(batch: Given) -> float:
            parts: Sequence[Given] = [batch[i::workers] for i in range(workers)]
            futures = [pool.submit(evaluate_part, judged.id, judged.arguments, part) for part in parts]
            return sum(future.result() for future in futures)

        for _ in range(4):  # so that each process has started
            all_parts(warm_up)
        return all_parts(given)


def seconds(calls: Sequence[Callable[[], Any]]) -> Iterator[float]:
    """How long each call takes."""
    for call in calls:
        begun = time.perf_counter()
        call()
        yield time.perf_counter() - begun


def measure(judged: Judged) -> dict[str, Any]:
    """All numbers of an id."""
    task = load_task(judged.id, **judged.arguments)
    evaluate(task, references(task, 2, seed=0))  # which starts what there is to start
    new, singles = references(task, SINGLE, seed=2), references(task, SINGLE, seed=1)
    meet(task, singles)
    at_first, alone = (sorted(seconds([partial(evaluate, task, [pair]) for pair in pairs])) for pairs in (new, singles))
    rates = {}
    for workers in (1, 2):
        warm_up, given = (references(task, count, seed=10 * workers + count) for count in (64, BATCH))
        rates[str(workers)] = rate(judged, workers, warm_up, given)
    ways = [judged.naive(task, prompt, completion) for prompt, completion in singles[:NAIVE]]
    assert all(way() for way in ways)
    naive = statistics.median(seconds(ways))
    return {
        "id": judged.id,
        "arguments": judged.arguments,
        "completions": len(given),
        "median_ms": 1000 * statistics.median(alone),
        "p99_ms": 1000 * alone[int(0.99 * len(alone))],
        "new_prompt_ms": 1000 * statistics.median(at_first),
        "per_second": rates,
        "naive_ms": 1000 * naive,
        "times_naive": {workers: rate * naive for workers, rate in rates.items()},
    }


def tables() -> dict[str, str]:
    """A line for each id that is measured."""
    lines: list[Sequence[str]] = [
        ("Id", "Alone, ms", "99 of 100", "New prompt", "Naive, ms", "One worker, /s", "Two", "Times naive"),
        ("---",) * 8,
    ]
    for row in json.loads(RESULTS.read_text(encoding="utf-8"))["judges"]:
        name, words = row["id"].removeprefix("rlfl/"), [f"`{key}={value}`" for key, value in row["arguments"].items()]
        linked = f"[{name.removesuffix('-v0')}](environments/{name}.md)"
        times = [f"{row[key]:.2g}" for key in ("median_ms", "p99_ms", "new_prompt_ms", "naive_ms")]
        rates = [f"{rate:,.0f}" for rate in row["per_second"].values()]
        ratios = ", ".join(f"{ratio:.2g}" for ratio in row["times_naive"].values())
        lines.append((", ".join([linked, *words]), *times, *rates, ratios))
    return {"judges: all": "\n".join(f"| {' | '.join(line)} |" for line in lines)}


def main() -> None:
    """Measures each id, prints a table and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ids", nargs="+", help="these ids alone, without writing the file")
    ids = parser.parse_args().ids
    print(f"{'':48}{'median':>9}{'p99':>9}{'new':>9}{'naive':>9}{'1 worker':>11}{'2 workers':>11}{'to naive':>16}")
    found = []
    for judged in JUDGES:
        if ids and judged.id not in ids:
            continue
        line = measure(judged)
        found.append(line)
        words = " ".join([judged.id, *(f"{name}={value}" for name, value in judged.arguments.items())])
        one, two = line["per_second"].values()
        ratios = ", ".join(f"{ratio:.0f} x" for ratio in line["times_naive"].values())
        times = "".join(f"{line[name]:>6.2f} ms" for name in ("median_ms", "p99_ms", "new_prompt_ms", "naive_ms"))
        print(f"{words:<48}{times}{one:>9.0f}/s{two:>9.0f}/s{ratios:>16}", flush=True)
    if not ids:
        facts = {"cores": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()[0]}
        RESULTS.write_text(json.dumps({**facts, "judges": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
