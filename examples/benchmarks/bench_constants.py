"""What the same answer to every prompt earns, and what copying the shown examples does (`make bench-constants`).

Of each id that runs what was written, and of each of its levels, with the strict reward: the best constant among the
task's own and the fifty commonest references, chosen on 1,000 prompts; and, where the prompt shows examples, an answer
that lists them. Both are judged on 10,000 prompts. More than 0.1 of reward would be a reward for nothing: then it
fails. Prints a line for each id and level, writes results/constants.jsonl, and skips what is there.

    python examples/benchmarks/bench_constants.py [WORD ...]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import rlfl_envs
from rlfl_agents.run.results import append_result, read_results
from rlfl_envs import Prompt, Task

RESULTS = Path(__file__).parent / "results" / "constants.jsonl"
PROMPTS, CHOSEN_ON, REFERENCES, MOST = 10_000, 1_000, 50, 0.1
PLAYED: Sequence[tuple[str, dict[str, Any]]] = (
    ("rlfl/Machine-v0", {}),
    ("rlfl/Sql-v0", {}),
    ("rlfl/Json-v0", {}),
    ("rlfl/Regex-v0", {}),
    ("rlfl/Program-v0", {}),
    ("rlfl/Program-v0", {"form": "function"}),
)


# --- the shown examples as an answer -------------------------------------------------------------------------------


def program(prompt: Prompt) -> str:
    """A table of the cases, and the commonest result for all others."""
    names = ", ".join(prompt.data.signature.scope)
    known = {str([*arguments]): result for arguments, result in prompt.data.shown}
    results = [repr(result) for result in known.values()]
    returned = "" if prompt.text.endswith("return ") else "return "
    return f"{returned}{known!r}.get(str([{names}]), {max(results, key=results.count)})"


def machine(prompt: Prompt) -> str:
    """A comparison with each case's arguments, and the commonest result for all others; it has four digits at most."""
    cases = [(arguments, result) for arguments, result in prompt.data.shown if abs(result) <= 9999]
    results = [result for _, result in cases] or [0]
    lines = f"i64.const {max(results, key=results.count)}\n"
    for arguments, result in cases:
        named = zip(prompt.data.names, arguments, strict=True)
        asked = "".join(f"local.get ${name}\ni64.const {value}\ni64.eq\n" for name, value in named)
        lines = f"i64.const {result}\n{lines}{asked}{'i32.and' if len(arguments) == 2 else 'nop'}\nselect\n"
    return lines


def regex(prompt: Prompt) -> str:
    """The words that must match."""
    return "|".join(word[1:] for word in prompt.text.split(" ") if word[0:1] == "+")


LISTED: dict[str, Callable[[Prompt], str]] = {
    "rlfl/Program-v0": program,
    "rlfl/Machine-v0": machine,
    "rlfl/Regex-v0": regex,
}


# --- measuring -----------------------------------------------------------------------------------------------------


def measure(id: str, arguments: dict[str, Any], level: int, count: int = PROMPTS) -> dict[str, Any]:
    """The best constant, and the shown examples as an answer: [reward, success] each."""
    task = rlfl_envs.load_task(id, **arguments, split="all", level=level)
    rng = np.random.default_rng(0)
    prompts = task.sample_prompts(rng, count)
    references = Counter([task.reference_completion(prompt, rng) or "" for prompt in prompts])
    candidates = [*task.constant_completions(), *(reference for reference, _ in references.most_common(REFERENCES))]
    best = max(candidates, key=lambda answer: _means(task, prompts[:CHOSEN_ON], [answer] * CHOSEN_ON)[0])
    listed = LISTED.get(id)
    return {
        "prompts": count,
        "answer": best,
        "constant": _means(task, prompts, [best] * count),
        "listed": None if listed is None else _means(task, prompts, [listed(prompt) for prompt in prompts]),
    }


def _means(task: Task, prompts: Sequence[Prompt], answers: Sequence[str]) -> tuple[float, float]:
    outcomes = task.evaluate(prompts, answers[: len(prompts)])
    rewards, successes = zip(*((outcome.reward, outcome.is_success) for outcome in outcomes), strict=True)
    return float(np.mean(rewards)), float(np.mean(successes))


def tables() -> dict[str, str]:
    """A line for each id and its arguments: the most that any of its levels pays."""
    lines: list[Sequence[str]] = [
        ("Id", "Levels", "Best constant", "succeeds", "Shown examples", "succeed"),
        ("---",) * 6,
    ]
    for id, arguments in PLAYED:
        name, given = id.removeprefix("rlfl/"), _words(arguments)
        rows = [row for row in read_results(RESULTS) if row["id"] == id and row["variant"] in _variants(id, arguments)]
        words = [f"[{name.removesuffix('-v0')}](environments/{name}.md)", *([f"`{given}`"] if given else [])]
        if rows:
            cells = [
                *_most([row["constant"] for row in rows]),
                *_most([row["listed"] for row in rows if row["listed"]]),
            ]
            lines.append((", ".join(words), str(len(rows)), *cells))
    return {"constants: all": "\n".join(f"| {' | '.join(line)} |" for line in lines)}


def _most(pairs: Sequence[Sequence[float]]) -> list[str]:
    return [f"{max(column):.3f}" for column in zip(*pairs, strict=True)] if pairs else ["", ""]


def _words(arguments: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in arguments.items())


def _variants(id: str, arguments: dict[str, Any]) -> list[str]:
    """What names the levels of an id that is made with these arguments."""
    config = rlfl_envs.task_class(gymnasium.spec(id).kwargs["task"]).Config(**arguments)
    return [f"{_words(arguments)} level {level}".strip() for level in range(len(config.levels()))]


def main() -> None:
    """Measures what has no line yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="only what has each of these in its id and variant: Sql 'level 3'")
    asked, failed = parser.parse_args(), []
    for id, arguments in PLAYED:
        for level, variant in enumerate(_variants(id, arguments)):
            name, known = f"{id} {variant}", {(row["id"], row["variant"]) for row in read_results(RESULTS)}
            if not all(word in name for word in asked.words) or (id, variant) in known:
                continue
            row = {"id": id, "variant": variant, **measure(id, arguments, level)}
            append_result(RESULTS, row)
            print(json.dumps(row), flush=True)
            failed += [name] * (max(pair[0] for pair in (row["constant"], row["listed"]) if pair) > MOST)
    sys.exit(f"More than {MOST} for nothing: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
