"""Prompts by the hundred thousand: solvable, drawn fast, and none in both splits (`make bench-prompts`).

Of each id and level 90,000 prompts are drawn from the training split and 10,000 from the held-out one. Every
reference is judged, and has to be a success that earns full reward. No problem may be in both splits; nor may one that
is written with other names or in another order, where DISGUISES knows how. Then 1,024 completions are judged at a time,
half of them references, half with a character changed; where the task has arrays by these as well.

Times are processor time, but for ids that have worker processes. Prints a line for each id and level, writes
results/prompts.jsonl, and skips what is there, also with fewer prompts where --seconds ran out: remove a line to
measure it anew. Fails where something is not as it has to be.

    python examples/benchmarks/bench_prompts.py [--seconds S] [WORD ...]
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from numpy.typing import NDArray

import rlfl_envs
from rlfl_agents.run.results import append_result, read_results
from rlfl_envs import ArrayTask, Prompt, Task

RESULTS = Path(__file__).parent / "results" / "prompts.jsonl"
BATCH, AT_ONCE, DISGUISED = 1024, 1000, 2000
PLAYED: Sequence[tuple[str, dict[str, Any]]] = (
    ("rlfl/Countdown-v0", {}),
    ("rlfl/Countdown-v0", {"min_numbers": 5, "max_numbers": 6}),
    ("rlfl/Sat-v0", {}),
    *(("rlfl/Planning-v0", {"domain": domain}) for domain in ("blocks", "gripper", "lights", "logistics")),
    ("rlfl/Symbolic-v0", {"max_terms": 4}),
    ("rlfl/Proof-v0", {"max_steps": 8}),
    ("rlfl/Proof-v0", {"max_steps": 8, "axioms": ""}),
    ("rlfl/Machine-v0", {}),
    ("rlfl/Program-v0", {}),
    ("rlfl/Program-v0", {"form": "function"}),
    ("rlfl/Json-v0", {}),
    ("rlfl/Regex-v0", {}),
    ("rlfl/Sql-v0", {}),
    *(
        ("rlfl/ReasoningGym-v0", {"dataset": name})
        for name in ("ab", "lcm", "ransom_note", "shortest_path", "word_sorting")
    ),
)
Random = np.random.Generator


# --- the same problem in other words -------------------------------------------------------------------------------


def countdown(text: str, rng: Random) -> str:
    """Numbers in another order."""
    numbers, target = text.split("=")
    return f"{' '.join(rng.permutation(numbers.split(' ')))}={target}"


def sat(text: str, rng: Random) -> str:
    """Variables by other names, clauses and the literals in them in another order."""
    head, *clauses, tail = text.split("\n")
    names = rng.permutation(int(head.split()[2])) + 1
    rows = [[int(literal) for literal in clause.split()[:-1]] for clause in rng.permutation(clauses)]
    named = [rng.permutation([int(np.sign(each)) * names[abs(each) - 1] for each in row]) for row in rows]
    return "\n".join([head, *(f" {' '.join(map(str, row))} 0" for row in named), tail])


def planning(text: str, rng: Random) -> str:
    """Facts in another order; blocks, balls and packages, of which the map says nothing, by other names."""
    head, begin, facts = text.partition("\n(:init")
    facts = re.sub(r"( \([^()]*\))+", lambda run: "".join(rng.permutation(re.findall(r" \([^()]*\)", run[0]))), facts)
    named = re.search(r"\(:objects(?:.* (?:room|plane))?((?: \w)+)(?: - (?:ball|package).*)?\)", head)
    if named and "(door " not in facts:
        names = named[1].split()
        others = dict(zip(names, rng.permutation(names).tolist(), strict=True))
        facts = re.sub(r"(?<= )\w(?=[ )])", lambda word: others.get(word[0], word[0]), facts)
    return f"{head}{begin}{facts}"


def proof(text: str, rng: Random) -> str:
    """Variables by other names, premises in another order."""
    premises, goal = text.split("|-")
    body = ",".join(rng.permutation(premises.split(",")))
    return f"{body}|-{goal}".translate(str.maketrans("pqrstu", "".join(rng.permutation([*"pqrstu"]))))


def symbolic(text: str, rng: Random) -> str:
    """The terms of a sum in another order, and of an equation its sides."""
    kind, given = text.removesuffix(":").split(" ")
    sides = [_shuffled(side, rng) for side in given.split("=")]
    return f"{kind} {'='.join(rng.permutation(sides))}:"


def _shuffled(total: str, rng: Random) -> str:
    depths = [0, *itertools.accumulate((character == "(") - (character == ")") for character in total)]
    ends = [i for i, character in enumerate(total) if i and character in "+-" and not depths[i] and total[i - 1] != "^"]
    terms = [total[first:last] for first, last in itertools.pairwise([0, *ends, len(total)])]
    return "".join(rng.permutation([term if term[0] in "+-" else f"+{term}" for term in terms])).removeprefix("+")


DISGUISES: dict[str, Callable[[str, Random], str]] = {
    "rlfl/Countdown-v0": countdown,
    "rlfl/Sat-v0": sat,
    "rlfl/Planning-v0": planning,
    "rlfl/Proof-v0": proof,
    "rlfl/Symbolic-v0": symbolic,
}


# --- measuring -----------------------------------------------------------------------------------------------------


def measure(id: str, arguments: dict[str, Any], level: int | None, seconds: float) -> dict[str, Any]:
    """Draws and judges prompts of a level, for so many seconds at most.

    Raises:
        MissingDependencyError: The id cannot be played here.
        ConfigError: A level has no prompts of a split.
    """
    train, test = (rlfl_envs.load_task(id, **arguments, split=split, level=level) for split in ("train", "test"))
    clock = time.perf_counter if hasattr(train.config, "workers") else time.process_time
    rng = np.random.default_rng(0)
    # A held-out prompt is the tenth that is drawn, so that both splits take as long.
    found = [_drawn(task, count, seconds / 2, clock, rng) for task, count in ((train, 90_000), (test, 10_000))]
    return {
        "prompts": sum(part.prompts for part in found),
        "problems": [len(part.problems) for part in found],
        "unsolved": sum(part.unsolved for part in found),
        "in_both": len(found[0].problems & found[1].problems),
        "elsewhere": _elsewhere(train, DISGUISES.get(id), rng),
        "drawn_per_second": found[0].prompts / found[0].seconds,
        "judge_ms": _judging(train, clock, rng),
    }


class Drawn(NamedTuple):
    """What was drawn of a split: how many prompts, of which problems, how many unsolved, and the seconds they took."""

    prompts: int
    problems: set[str]
    unsolved: int
    seconds: float


def _drawn(task: Task, most: int, seconds: float, clock: Callable[[], float], rng: Random) -> Drawn:
    """Draws so many prompts, and judges their references, but for no more than so many seconds."""
    until, drawing = time.perf_counter() + seconds, 0.0
    drawn, problems, unsolved = 0, set[str](), 0
    while drawn < most and time.perf_counter() < until:
        begun = clock()
        prompts = task.sample_prompts(rng, AT_ONCE)
        drawing += clock() - begun
        outcomes = task.evaluate(prompts, [task.reference_completion(prompt, rng) or "" for prompt in prompts])
        unsolved += sum(not outcome.is_success or outcome.reward != task.reward_range[1] for outcome in outcomes)
        problems.update(map(task.problem_key, prompts))
        drawn += len(prompts)
    return Drawn(drawn, problems, unsolved, drawing)


def _elsewhere(task: Task, disguise: Callable[[str, Random], str] | None, rng: Random) -> int | None:
    """How many of some problems are in the other split when they are written in other words; None if none are."""
    if disguise is None:
        return None
    whole = task.changed(level=None)  # what is written otherwise may be longer than a level's prompts
    others = [whole.parse_prompt(disguise(prompt.text, rng)) for prompt in task.sample_prompts(rng, DISGUISED)]
    return int((~whole.in_split(others)).sum())


def _judging(task: Task, clock: Callable[[], float], rng: Random) -> list[float]:
    """Milliseconds that a batch takes, by texts, and by arrays where there are any: medians of five."""
    times: list[list[float]] = [[], []]
    for _ in range(5):
        prompts = task.sample_prompts(rng, BATCH)
        completions = [*_completions(task, prompts, rng)]
        times[0].append(_milliseconds(clock, lambda: task.evaluate(prompts, completions)))  # noqa: B023
        if isinstance(task, ArrayTask):
            data = task.arrays_from_prompts(prompts)[1]
            tokens, lengths = _tokens(task, prompts, rng)
            times[1].append(_milliseconds(clock, lambda: task.evaluate_arrays(data, tokens, lengths)))  # noqa: B023
    return [statistics.median(each) for each in times if each]


def _completions(task: Task, prompts: Sequence[Prompt], rng: Random) -> Iterator[str]:
    """References, every other one with a character in another's place."""
    for row, prompt in enumerate(prompts):
        reference = task.reference_completion(prompt, rng) or ""
        if row % 2 and reference:  # some of reasoning-gym's right answers are empty
            place, other = rng.integers(len(reference), size=2)
            reference = f"{reference[:place]}{reference[other]}{reference[place + 1 :]}"
        yield reference


def _tokens(task: Task, prompts: Sequence[Prompt], rng: Random) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The tokens of references, every other one shuffled, [n, C], and how many they are."""
    tokens = np.zeros((len(prompts), task.max_completion_tokens), dtype=np.int64)
    lengths = np.zeros(len(prompts), dtype=np.int64)
    for row, prompt in enumerate(prompts):
        ids = task.tokenizer.encode(task.reference_completion(prompt, rng) or "")
        lengths[row] = len(ids)
        tokens[row, : len(ids)] = rng.permutation(ids) if row % 2 else ids
    return tokens, lengths


def _milliseconds(clock: Callable[[], float], judge: Callable[[], object]) -> float:
    gc.collect()  # so that the judge does not pay for what drawing and solving have left
    begun = clock()
    judge()
    return 1000 * (clock() - begun)


# --- tables --------------------------------------------------------------------------------------------------------


HEAD = ("Id", "Levels", "Prompts", "Problems", "Unsolved", "In both splits", "Drawn/s, least", "1,024 judged, ms, most")


def tables() -> dict[str, str]:
    """The table of all that was drawn: a line for each id and its arguments, with the worst of its levels."""
    lines = [HEAD, ["---"] * len(HEAD)]
    for id, arguments in PLAYED:
        variants = _variants(id, arguments)
        rows = [row for row in read_results(RESULTS) if row["id"] == id and row["variant"] in variants]
        lines += [_line(id, arguments, rows)] if rows else []
    return {"prompts: all": "\n".join(f"| {' | '.join(line)} |" for line in lines)}


def _line(id: str, arguments: dict[str, Any], rows: Sequence[dict[str, Any]]) -> list[str]:
    name = id.removeprefix("rlfl/")
    words = [f"[{name.removesuffix('-v0')}](environments/{name}.md)", *(f"`{n}={v!r}`" for n, v in arguments.items())]
    slowest = map(max, zip(*[row["judge_ms"] for row in rows], strict=True))
    return [
        ", ".join(words),
        str(len(rows)),
        f"{sum(row['prompts'] for row in rows):,}",
        f"{sum(sum(row['problems']) for row in rows):,}",
        str(sum(row["unsolved"] for row in rows)),
        str(sum(row["in_both"] + (row["elsewhere"] or 0) for row in rows)),
        f"{min(row['drawn_per_second'] for row in rows):,.0f}",
        " / ".join(f"{milliseconds:,.0f}" for milliseconds in slowest),
    ]


def _variants(id: str, arguments: dict[str, Any]) -> list[str]:
    """What names the levels of an id that is made with these arguments."""
    words = [f"{name}={value}" for name, value in arguments.items()]
    config = rlfl_envs.task_class(gymnasium.spec(id).kwargs["task"]).Config(**arguments)
    return [" ".join([*words, f"level {level}"]) for level in range(len(config.levels()))]


def main() -> None:
    """Measures what has no line yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="only what has each of these in its id and variant: Proof 'level 3'")
    parser.add_argument("--seconds", type=float, default=3600, help="how long to draw and judge for each, at most")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file of results")
    asked = parser.parse_args()
    failed = []
    for id, arguments in PLAYED:
        for level, variant in enumerate(_variants(id, arguments)):
            name = f"{id} {variant}"
            if not all(word in name for word in asked.words) or _is_known(asked.results, id, variant):
                continue
            row = {"id": id, "variant": variant, **measure(id, arguments, level, asked.seconds)}
            append_result(asked.results, {"python": platform.python_version(), "machine": platform.machine(), **row})
            print(json.dumps(row), flush=True)
            failed += [name] * bool(row["unsolved"] or row["in_both"] or row["elsewhere"])
    sys.exit(f"Not as it has to be: {', '.join(failed)}" if failed else 0)


def _is_known(results: Path, id: str, variant: str) -> bool:
    return any((row["id"], row["variant"]) == (id, variant) for row in read_results(results))


if __name__ == "__main__":
    main()
