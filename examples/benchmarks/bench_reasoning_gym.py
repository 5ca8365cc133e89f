"""What the datasets of reasoning-gym draw, take and pay for nothing (`make bench-reasoning-gym`; an hour of one core).

Of each dataset: how long its texts are, how fast it draws and scores, which levels of its curriculum fit, how often its
own answers earn less than 1, and what the empty answer, random characters and the best of some constants earn. The
library is used in this process: only our own texts are scored, and random ones where no scorer executes them.

Writes what the task must know beforehand to rlfl_envs/tasks/reasoning_gym/datasets.json, and all of it, with the
arguments left out or named, to results/reasoning_gym.jsonl, a line a dataset. `docs/_scripts/fill_tables.py` makes the
table of it.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import random
import signal
import statistics
import string
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from rlfl_agents.run.results import append_result, read_results
from rlfl_envs.tasks.reasoning_gym import library
from rlfl_envs.tasks.reasoning_gym.scoring import FORMS
from rlfl_envs.tasks.reasoning_gym.task import is_answer

RESULTS = Path(__file__).parent / "results" / "reasoning_gym.jsonl"
DATASETS = Path(library.__file__).with_name("datasets.json")
LEFT_OUT = ("composite",)  # mixes others
LONGEST_QUESTION, LONGEST_ANSWER = 8192, 1024  # characters; longer ones are drawn again
WITHOUT_ANSWERS = 256  # characters of an answer where the library gives none
GENERIC = ("", "0", "1", "True", "False", "Yes", "No", "x")

Item = tuple[library.Entry, str, str | None]


class _TooSlowError(Exception):
    pass


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Raises _TooSlowError after so many seconds."""

    def stop(*_: object) -> None:
        raise _TooSlowError

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def draw(name: str, difficulty: int, count: int, seconds: float) -> tuple[list[Item], float, int]:
    """Draws up to `count` items in about so many seconds: the items, the seconds for each, how many failed."""
    items: list[Item] = []
    rng, failed, begun = random.Random(0), 0, time.perf_counter()
    while len(items) + failed < count and (time.perf_counter() - begun < seconds or len(items) < 4):
        try:
            entry = library.draw(name, difficulty, rng.randrange(2**32))
        except (_TooSlowError, MemoryError):
            raise
        except Exception:  # noqa: BLE001 - as the judge that draws does
            failed += 1
            continue
        items.append((entry, str(entry["question"]), entry["answer"]))
    return items, (time.perf_counter() - begun) / max(1, len(items) + failed), failed


def size(lengths: Sequence[int], most: int, step: int) -> int:
    """The longest with a quarter to spare unless all are alike, rounded up, up to a bound."""
    longest = max(lengths)
    return min(most, step * math.ceil((longest if longest == min(lengths) else 1.25 * longest) / step))


def pays(name: str, difficulty: int, items: Sequence[Item], answer: Callable[[Item], str]) -> tuple[float, float]:
    """Mean reward and share of successes of an answer to each item."""
    rewards, successes = [], []
    for item in items:
        entry, _, reference = item
        text = answer(item)
        try:
            score = library.score(name, difficulty, entry, text)
        except Exception:  # noqa: BLE001 - as the judge that scores does
            score = 0.0
        rewards.append(score)
        successes.append(score == 1 and is_answer(name, text, reference))
    return statistics.mean(rewards), statistics.mean(successes)


def levels(name: str, sizes: tuple[int, int]) -> list[int]:
    """The levels of the curriculum of which most prompts fit and have paid answers, in a second each at most."""
    from reasoning_gym.factory import CURRICULA

    found: list[int] = []
    if name not in CURRICULA:
        return found
    curriculum: Any = CURRICULA[name]()
    for level in range(max((len(attribute.levels) for attribute in curriculum.attributes.values()), default=0)):
        try:
            with limit(15):
                items, seconds, failed = draw(name, level, 8, 2.0)
                good = [item for item in items if fits(item, sizes) and is_paid(name, level, item)]
        except Exception:  # noqa: BLE001 - a level that the library cannot make
            continue
        if seconds <= 1 and 2 * len(good) >= len(items) + failed:
            found.append(level)
    return found


def fits(item: Item, sizes: tuple[int, int]) -> bool:
    """Whether both texts are short enough."""
    return len(item[1]) <= sizes[0] and len(item[2] or "") <= sizes[1]


def is_paid(name: str, difficulty: int, item: Item) -> bool:
    """Whether the item's own answer, if it has one, earns 1."""
    return item[2] is None or pays(name, difficulty, [item], lambda item: item[2] or "")[0] == 1


def measure(name: str) -> dict[str, Any]:
    """All that is said of a dataset."""
    items, seconds, failed = draw(name, library.DEFAULTS, 400, 4.0)
    answers = [item[2] for item in items if item[2] is not None]
    sizes = (
        size([len(item[1]) for item in items], LONGEST_QUESTION, 8),
        size([len(answer) for answer in answers], LONGEST_ANSWER, 4) if answers else WITHOUT_ANSWERS,
    )
    begun = time.perf_counter()
    paid = [item for item in items if is_paid(name, library.DEFAULTS, item)]
    scoring = (time.perf_counter() - begun) / len(items)
    kept = [item for item in paid if fits(item, sizes)]
    some, others = (kept[:60], kept[-24:]) if scoring < 0.002 else (kept[:5], kept[-4:])
    candidates = [*dict.fromkeys([*GENERIC, *[answer for _, _, answer in others if answer is not None]])]
    constants = {text: pays(name, library.DEFAULTS, some, lambda _, text=text: text) for text in candidates}  # type: ignore[misc]
    rng = random.Random(1)
    noise = (0.0, 0.0)  # the first wall refuses it
    if name not in FORMS:
        noise = pays(name, library.DEFAULTS, some, lambda _: "".join(rng.choices(string.printable[:95], k=sizes[1])))
    best = sorted(constants, key=lambda text: (constants[text][1], constants[text][0]), reverse=True)[:3]
    richest = max(constants, key=lambda text: constants[text][0])
    texts = "".join(item[1] + (item[2] or "") for item in kept)
    return {
        "dataset": name,
        "question": sizes[0],
        "answer": sizes[1],
        "characters": "".join(sorted({each for each in texts if not (" " <= each <= "~" or each == "\n")})),
        "references": bool(answers),
        "levels": levels(name, sizes),
        "constants": [*dict.fromkeys([*best, richest])],
        "prompts_per_second": 1 / seconds,
        "milliseconds": 1000 * scoring,
        "kept": len(kept) / (len(items) + failed),
        "unpaid": 1 - len(paid) / len(items),
        "empty": constants[""][0],
        "random": noise[0],
        "constant": constants[richest][0],
        "constant_success": constants[best[0]][1],
        "executes": name in FORMS,
    }


_KNOWN_BEFOREHAND = ("question", "answer", "characters", "references", "levels", "constants")


def write_datasets(rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes what the task must know before the library is imported, a line a dataset."""
    lines = [
        f"{json.dumps(row['dataset'])}: {json.dumps({name: row[name] for name in _KNOWN_BEFOREHAND})}"
        for row in sorted(rows, key=lambda row: row["dataset"])
    ]
    DATASETS.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def tables() -> dict[str, str]:
    """The table of datasets, for the page."""
    rows = []
    for row in sorted(read_results(RESULTS), key=lambda row: row["dataset"]):
        notes = [
            *(["executes answers"] if row["executes"] else []),
            *(["gives no answers"] if not row["references"] else []),
            *([f"{row['unpaid']:.1%} of its answers unpaid"] if row["unpaid"] else []),
        ]
        rows.append(
            [
                f"`{row['dataset']}`",
                f"{row['question']}, {row['answer']}",
                ", ".join(map(str, row["levels"])) or "none",
                f"{row['prompts_per_second']:,.0f}",
                f"{row['milliseconds']:.2g}",
                f"{row['empty']:.2f}",
                f"{row['random']:.2f}",
                f"{row['constant']:.2f}",
                f"{row['constant_success']:.2f}",
                "; ".join(notes),
            ]
        )
    header = [
        "Dataset", "P, C", "Levels", "Prompts/s", "ms a score", "Empty", "Random", "Best constant", "its success", ""
    ]  # fmt: skip
    lines = [header, ["---"] * len(header), *rows]
    return {"datasets: reasoning-gym": "\n".join(f"| {' | '.join(line)} |" for line in lines)}


def main() -> None:
    """Measures the datasets that have no line yet, and writes the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="*", help="which; by default all")
    from reasoning_gym.factory import DATASETS as ALL

    names = parser.parse_args().datasets or [name for name in sorted(ALL) if name not in LEFT_OUT]
    known = {row["dataset"] for row in read_results(RESULTS)}
    for name in names:
        if name in known:
            continue
        with (
            limit(300),
            Path(os.devnull).open("w") as null,
            redirect_stdout(null),
            tempfile.TemporaryDirectory() as scratch,  # programs of codeio write files
            chdir(scratch),
        ):
            row = measure(name)
        append_result(RESULTS, {"reasoning_gym": importlib.metadata.version("reasoning-gym"), **row})
        print(f"{name:28} {row['prompts_per_second']:10,.0f}/s  levels {row['levels']}  unpaid {row['unpaid']:.2f}")
    write_datasets(read_results(RESULTS))


if __name__ == "__main__":
    main()
